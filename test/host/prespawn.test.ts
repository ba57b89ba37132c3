import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CommandFailed, type CommandRequest, runCommand } from '../../src/host/command.ts';
import { type PrespawnedCommands, prespawn } from '../../src/host/prespawn.ts';

const TIMEOUT_MS = 5_000;
const SOURCE = join(import.meta.dirname, '../../src/host/prespawn.ts');
const COMMAND = join(import.meta.dirname, '../../src/host/command.ts');

describe('a prespawned command', () => {
  let folder: string;
  let diary: string;
  let argv: readonly [string, ...string[]];
  let command: PrespawnedCommands;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-waiting-'));
    diary = join(folder, 'started');
    writeFileSync(diary, '');
    // Writes down its pid before it reads; exits as its input says.
    argv = ['sh', '-c', `echo $$ >>${diary}; read code words; echo "$words"; echo complaint >&2; exit $code`];
    const own = argv;
    command = prespawn((asked) => asked[0] === 'sh' && asked[2] === own[2], runCommand);
  });
  afterEach(() => {
    command.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const ask = (stdin: string, timeoutMs = TIMEOUT_MS) => command.run({ argv, stdin, timeoutMs });
  const started = (): readonly number[] => readFileSync(diary, 'utf8').split('\n').filter(Boolean).map(Number);
  const until = async (what: string, holds: () => boolean): Promise<void> => {
    for (let i = 0; !holds(); i++) {
      if (i === 300) assert.fail(`never: ${what}`);
      await sleep(10);
    }
  };

  it('the next one is started before it is asked for, and does what it would have done', async () => {
    assert.deepEqual(started(), []);
    const { stdout, stderr } = await ask('0 one\n');
    assert.deepEqual([stdout, stderr], ['one\n', 'complaint\n']);
    await until('one waits', () => started().length === 2);
    await sleep(50);
    assert.equal((await ask('0 two\n')).stdout, 'two\n');
    assert.equal((await ask('0 three\n')).stdout, 'three\n');
    await until('one waits', () => started().length === 4);
    await sleep(50);
    assert.equal(started().length, 4, 'more than one waits');
  });

  it('fails as it would have failed, and the next is there all the same', async () => {
    await ask('0 one\n');
    await until('one waits', () => started().length === 2);
    await assert.rejects(ask('3 two\n'), (error: unknown) => {
      assert.ok(error instanceof CommandFailed);
      assert.deepEqual(
        [error.reason, error.exitCode, error.stderr, error.stdin],
        ['exit', 3, 'complaint\n', '3 two\n'],
      );
      return true;
    });
    await until('one waits', () => started().length === 3);
    assert.equal((await ask('0 three\n')).stdout, 'three\n');
  });

  it('one that was ended while it waited is replaced', async () => {
    await ask('0 one\n');
    await until('one waits', () => started().length === 2);
    process.kill(started()[1]!, 'SIGKILL');
    await sleep(100);
    assert.equal((await ask('0 two\n')).stdout, 'two\n');
    assert.equal(started().length, 3);
  });

  it('waiting does not count toward its time limit', async () => {
    await ask('0 one\n');
    await until('one waits', () => started().length === 2);
    await sleep(300);
    assert.equal((await ask('0 two\n', 250)).stdout, 'two\n');
  });

  it('is not for other arguments, nor with an environment or a signal', async () => {
    await ask('0 one\n');
    await until('one waits', () => started().length === 2);
    const [, waiting] = started();
    const other = ['sh', '-c', 'echo other'] as const;
    assert.equal((await command.run({ argv: other, timeoutMs: TIMEOUT_MS })).stdout, 'other\n');
    await command.run({ argv, stdin: '0 two\n', timeoutMs: TIMEOUT_MS, env: { WORDS: 'other' } });
    await command.run({ argv, stdin: '0 two\n', timeoutMs: TIMEOUT_MS, signal: new AbortController().signal });
    assert.equal(started().length, 4);
    process.kill(waiting!, 0);
  });

  it('of commands with different arguments the two that were used last wait', async () => {
    const commands = ['a', 'b', 'c'].map((name): CommandRequest['argv'] => [...argv, name]);
    const many = prespawn(() => true, runCommand);
    for (const one of commands) await many.run({ argv: one, stdin: '0 x\n', timeoutMs: TIMEOUT_MS });
    await until('two wait', () => started().length === 5);
    await sleep(50);
    assert.equal(started().length, 5);
    for (const one of commands.slice(1)) await many.run({ argv: one, stdin: '0 x\n', timeoutMs: TIMEOUT_MS });
    many.stop();
    await until('none waits', () => started().every((pid) => !isRunning(pid)));
    assert.equal(started().length, 5, 'the two that waited were used');
  });

  it('none waits after it was stopped', async () => {
    await ask('0 one\n');
    await until('one waits', () => started().length === 2);
    const [, waiting] = started();
    command.stop();
    await until('it is gone', () => !isRunning(waiting!));
    assert.equal((await ask('0 two\n')).stdout, 'two\n');
    await sleep(100);
    assert.equal(started().length, 3);
  });

  it('does not outlive its owner, nor keep it alive', async () => {
    const script = `
      const { prespawn } = await import(${JSON.stringify(SOURCE)});
      const { runCommand } = await import(${JSON.stringify(COMMAND)});
      const argv = ${JSON.stringify(argv)};
      await prespawn(() => true, runCommand).run({ argv, stdin: '0 one\\n', timeoutMs: ${TIMEOUT_MS} });
      await new Promise((resolve) => setTimeout(resolve, 200));
      console.log('end');`;
    const { stdout, status } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { timeout: 10_000 });
    assert.deepEqual([String(stdout), status], ['end\n', 0]);
    assert.equal(started().length, 2);
    await until('it is gone', () => !isRunning(started()[1]!));
  });

  it('a program that cannot be started fails each time it is asked, and does nobody harm while it is not', async () => {
    for (const [unstartable, reason] of [
      [['portcullis-no-such-program'], 'not-found'],
      [['sh', 'x'.repeat(200_000)], 'spawn'],
      [['/'], 'spawn'],
    ] as const) {
      const bad = prespawn(() => true, runCommand);
      for (let i = 0; i < 2; i++) {
        const asked = bad.run({ argv: unstartable as unknown as [string], stdin: '', timeoutMs: TIMEOUT_MS });
        await assert.rejects(asked, (error: unknown) => error instanceof CommandFailed && error.reason === reason);
        await sleep(50);
      }
      bad.stop();
    }
  });

  it('without a descriptor for its pipes it fails with a word, and works again afterwards', () => {
    const script = `
      const fs = await import('node:fs');
      const { prespawn } = await import(${JSON.stringify(SOURCE)});
      const { runCommand } = await import(${JSON.stringify(COMMAND)});
      const command = prespawn(() => true, runCommand);
      const ask = () => command.run({ argv: ['cat'], stdin: 'x', timeoutMs: 5000 }).then((r) => r.stdout, (e) => e.reason);
      const open = [];
      try { for (;;) open.push(fs.openSync('/dev/null')); } catch {}
      console.log(await ask());
      await new Promise((resolve) => setTimeout(resolve, 100));
      for (const fd of open) fs.closeSync(fd);
      console.log(await ask());`;
    const { stdout, stderr, status } = spawnSync(
      'sh',
      ['-c', 'ulimit -n 60; exec "$@"', 'sh', process.execPath, '--input-type=module', '-e', script],
      { timeout: 10_000 },
    );
    assert.deepEqual([String(stdout), status], ['spawn\nx\n', 0], String(stderr));
  });
});

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
