import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { type LineProgram, type ProgramEnd, startLineProgram } from '../../src/host/line-program.ts';

const SOURCE = new URL('../../src/host/line-program.ts', import.meta.url).href;

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let i = 0; !holds(); i++) {
    if (i === 500) assert.fail(`never: ${what}`);
    await sleep(10);
  }
}

function start(argv: readonly [string, ...string[]], guarded = true) {
  const lines: string[] = [];
  const ends: ProgramEnd[] = [];
  const program: LineProgram = startLineProgram({
    argv,
    guarded,
    onLine: (line) => lines.push(line),
    ended: (how) => ends.push(how),
  });
  return { program, lines, ends };
}

describe('a program that runs beside the agent', () => {
  it('its lines arrive one by one, and its end with what it said last', async () => {
    const { lines, ends } = start(['sh', '-c', 'echo one; echo two; echo sorry >&2; exit 3']);
    await until('end', () => ends.length > 0);
    assert.deepEqual(lines, ['one', 'two']);
    assert.deepEqual(ends, [{ isMissing: false, code: 3, complaint: 'sorry' }]);
  });

  it('one that is not installed', async () => {
    const guarded = start(['no-such-program']);
    const bare = start(['no-such-program'], false);
    await until('ends', () => guarded.ends.length > 0 && bare.ends.length > 0);
    assert.ok(guarded.ends[0]!.isMissing);
    assert.ok(bare.ends[0]!.isMissing);
  });

  it('a line without end does not fill the memory', async () => {
    const { lines, ends } = start(['sh', '-c', 'head -c 3000000 /dev/zero | tr "\\0" x; echo; echo last']);
    await until('end', () => ends.length > 0);
    assert.equal(lines.at(-1), 'last');
    assert.ok(lines[0]!.length < 100_000, `${lines[0]!.length} bytes kept`);
  });

  it('killed, it ends; a guarded one that reads no input as well', async () => {
    const guarded = start(['sh', '-c', 'echo $$; exec sleep 60']);
    await until('its pid', () => guarded.lines.length > 0);
    const pid = Number(guarded.lines[0]);
    guarded.program.kill();
    await until('end', () => guarded.ends.length > 0 && !isAlive(pid));
  });

  it('reads what is written to it', async () => {
    const { program, lines, ends } = start(
      ['sh', '-c', 'while read -r line; do echo "got $line"; done; exit 1'],
      false,
    );
    void program.write(['a\n']);
    await program.write(['b\n']);
    await until('both', () => lines.length === 2);
    assert.deepEqual(lines, ['got a', 'got b']);
    program.endInput();
    await until('end', () => ends.length > 0);
    assert.equal(ends[0]!.code, 1);
  });

  it('fault: it ends with the process that started it, however that ends', async () => {
    const script =
      `import { startLineProgram } from '${SOURCE}';` +
      `startLineProgram({ argv: ['sh', '-c', 'echo $$; exec sleep 60'], guarded: true, onLine: (line) => console.log(line), ended: () => {} });` +
      'setTimeout(() => {}, 60_000);';
    const parent = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let text = '';
    parent.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    await until('the pid', () => text.includes('\n'));
    const pid = Number(text);
    assert.ok(isAlive(pid));
    parent.kill('SIGKILL');
    await until('its end', () => !isAlive(pid));
  });
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
