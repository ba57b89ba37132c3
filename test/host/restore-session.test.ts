/** An `ipset restore` that stays, played by a script that reads, answers and fails as ipset does; the kernel tests run the real one. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CommandFailed } from '../../src/host/command.ts';
import { openRestoreSession, type RestoreSession } from '../../src/host/restore-session.ts';

const TIMEOUT_MS = 5_000;
const SOURCE = join(import.meta.dirname, '../../src/host/restore-session.ts');

/** `add die` and `add exit` do so once; a mute one answers at the end of its input. */
const SCRIPT = `
cd "$(dirname "$0")" || exit 1
echo "$$ $1" >>started
[ "$1" = restore ] || { echo read; exit 0; }
n=0
while read -r verb set rest; do
  n=$((n+1))
  case "$verb $set" in
    list*) if [ -e mute ]; then later="$later $rest"; else echo "$rest"; fi; continue;;
    'add refused') echo "ipset v7: Error in line $n: no such thing" >&2; exit 1;;
    'add hang') echo hangs >>did; exec sleep 60;;
    'add die') [ -e died ] || { echo >died; kill -9 $$; };;
    'add exit') [ -e died ] || { echo >died; exit 0; };;
  esac
  echo "$verb $set\${rest:+ $rest}" >>did
done
for each in $later; do echo "$each"; done
`;

describe('an ipset that stays', () => {
  let folder: string;
  let argv: readonly [string, ...string[]];
  let session: RestoreSession;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-session-'));
    writeFileSync(join(folder, 'ipset'), SCRIPT);
    for (const file of ['started', 'did']) writeFileSync(join(folder, file), '');
    argv = ['sh', join(folder, 'ipset'), 'restore', '-exist'];
    session = openRestoreSession(argv);
  });
  afterEach(() => {
    session.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const lines = (...all: readonly string[]): string => all.map((line) => `${line}\n`).join('');
  const ask = (...all: readonly string[]) => session.run({ argv, stdin: lines(...all), timeoutMs: TIMEOUT_MS });
  const linesOf = (file: string) => readFileSync(join(folder, file), 'utf8').split('\n').filter(Boolean);
  const done = (): readonly string[] => linesOf('did');
  const started = (): readonly number[] => linesOf('started').map((line) => Number.parseInt(line, 10));
  const until = async (what: string, holds: () => boolean): Promise<void> => {
    for (let i = 0; !holds(); i++) {
      if (i === 300) assert.fail(`never: ${what}`);
      await sleep(10);
    }
  };

  it('takes one input after the other, and each is carried out when it says so', async () => {
    assert.deepEqual(started(), []);
    await ask('create A hash:ip', 'add A 10.0.0.1');
    assert.deepEqual(done(), ['create A hash:ip', 'add A 10.0.0.1']);
    await ask('del A 10.0.0.1');
    const many = Array.from({ length: 5_000 }, (_, index) => `add B ${index}`);
    await session.run({
      argv,
      stdin: [lines(...many.slice(0, 2_000)), lines(...many.slice(2_000))],
      timeoutMs: TIMEOUT_MS,
    });
    assert.deepEqual(done().slice(2), ['del A 10.0.0.1', ...many]);
    assert.equal(started().length, 1);
  });

  it('a refused line is told as that of its own input; nothing after it is carried out, and another program goes on', async () => {
    await ask('create A hash:ip', 'add A 10.0.0.1');
    await assert.rejects(ask('add A 10.0.0.2', 'add refused x', 'add A 10.0.0.3'), (error: unknown) => {
      assert.ok(error instanceof CommandFailed);
      assert.deepEqual(
        [error.reason, error.exitCode, error.stderr, error.argv],
        ['exit', 1, 'ipset v7: Error in line 2: no such thing', argv],
      );
      assert.equal(error.stdin, lines('add A 10.0.0.2', 'add refused x', 'add A 10.0.0.3'));
      return true;
    });
    await ask('add A 10.0.0.4');
    assert.deepEqual(done().slice(2), ['add A 10.0.0.2', 'add A 10.0.0.4']);
    assert.equal(started().length, 2);
  });

  it('fault: it is killed while it waits: the next input goes to another, which was started meanwhile', async () => {
    await ask('add A 10.0.0.1');
    process.kill(started()[0]!, 'SIGKILL');
    await ask('add A 10.0.0.2');
    assert.deepEqual(done(), ['add A 10.0.0.1', 'add A 10.0.0.2']);
    await until('another waits', () => isRunning(started().at(-1)!));
    process.kill(started().at(-1)!, 'SIGKILL');
    await sleep(50);
    const before = started().length;
    await ask('add A 10.0.0.3');
    assert.equal(started().length, before + 1);
  });

  for (const way of ['die', 'exit'])
    it(`fault: it is gone in the middle of an input (${way}): all its lines go to a command of their own`, async () => {
      await ask('add A 10.0.0.1');
      await ask('add A 10.0.0.2', `add ${way} x`, 'add A 10.0.0.3');
      assert.deepEqual(done().slice(1), ['add A 10.0.0.2', 'add A 10.0.0.2', `add ${way} x`, 'add A 10.0.0.3']);
      await ask('add A 10.0.0.4');
      assert.equal(done().at(-1), 'add A 10.0.0.4');
      assert.equal(started().length, 3, 'it stays again');
    });

  it('fault: it hangs: killed when its time is over, and the next input goes to another', async () => {
    await ask('add A 10.0.0.1');
    const began = performance.now();
    const hung = session.run({ argv, stdin: lines('add hang x', 'add A 10.0.0.2'), timeoutMs: 300 });
    await assert.rejects(hung, (error: unknown) => error instanceof CommandFailed && error.reason === 'timeout');
    assert.ok(performance.now() - began < 3_000);
    assert.ok(!isRunning(started()[0]!));
    await ask('add A 10.0.0.3');
    assert.deepEqual(done(), ['add A 10.0.0.1', 'hangs', 'add A 10.0.0.3']);
  });

  it('fault: it does not answer: its exit code does, and until the next read each input is a command of its own', async () => {
    writeFileSync(join(folder, 'mute'), '');
    await ask('add A 10.0.0.1');
    const began = performance.now();
    await ask('add A 10.0.0.2');
    await ask('add A 10.0.0.3');
    assert.ok(performance.now() - began < 900, 'nobody waits again');
    await sleep(50);
    assert.equal(started().length, 3);
    rmSync(join(folder, 'mute'));
    assert.equal((await session.run({ argv: ['sh', argv[1]!, 'save'], timeoutMs: TIMEOUT_MS })).stdout, 'read\n');
    await ask('add A 10.0.0.4');
    await ask('add A 10.0.0.5');
    assert.deepEqual(
      done(),
      [1, 2, 3, 4, 5].map((last) => `add A 10.0.0.${last}`),
    );
    assert.equal(started().length, 5);
  });

  it('what was met before a read is forgotten: another program takes the next input', async () => {
    await ask('add A 10.0.0.1');
    const [first] = started();
    await session.run({ argv: ['sh', argv[1]!, 'save'], timeoutMs: TIMEOUT_MS });
    await until('the first has ended', () => !isRunning(first!));
    await until('another waits', () => started().length === 3);
    await ask('add A 10.0.0.2');
    assert.equal(started().length, 3);
  });

  it('where sets are destroyed it is asked about one that stays; without such a set it is a command of its own', async () => {
    await ask('destroy B');
    assert.deepEqual(
      started().map((pid) => isRunning(pid)),
      [false],
    );
    await ask('create A hash:ip', 'create B hash:ip', 'add A 10.0.0.1');
    await ask('destroy B');
    assert.equal(started().length, 2);
    await ask('destroy C', 'destroy A');
    assert.equal(started().length, 3);
    assert.deepEqual(done().slice(-3), ['destroy B', 'destroy C', 'destroy A']);
  });

  it('is not for other arguments, nor with an environment or a signal', async () => {
    await ask('add A 10.0.0.1');
    const other = ['sh', '-c', 'echo other'] as const;
    assert.equal((await session.run({ argv: other, timeoutMs: TIMEOUT_MS })).stdout, 'other\n');
    await ask('add A 10.0.0.2');
    assert.equal(started().length, 1);
    const stdin = lines('add A 10.0.0.3');
    await session.run({ argv, stdin, timeoutMs: TIMEOUT_MS, env: { WORDS: 'other' } });
    await session.run({ argv, stdin, timeoutMs: TIMEOUT_MS, signal: new AbortController().signal });
    assert.ok(started().length >= 3);
  });

  it('two inputs at once: both are carried out, and one program stays', async () => {
    await Promise.all([ask('add A 10.0.0.1'), ask('add B 10.0.0.1')]);
    assert.deepEqual([...done()].sort(), ['add A 10.0.0.1', 'add B 10.0.0.1']);
    await until('one is left', () => started().filter((pid) => isRunning(pid)).length === 1);
  });

  it('none waits after it was stopped', async () => {
    await ask('add A 10.0.0.1');
    session.stop();
    await until('it is gone', () => !isRunning(started()[0]!));
    await ask('add A 10.0.0.2');
    await sleep(50);
    assert.equal(started().length, 2);
    assert.ok(!isRunning(started()[1]!));
  });

  it('fault: it does not outlive its owner, nor keep it alive', async () => {
    const script = `
      const { openRestoreSession } = await import(${JSON.stringify(SOURCE)});
      const argv = ${JSON.stringify(argv)};
      await openRestoreSession(argv).run({ argv, stdin: 'add A 10.0.0.1\\n', timeoutMs: ${TIMEOUT_MS} });
      console.log('end');`;
    const { stdout, status } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { timeout: 10_000 });
    assert.deepEqual([String(stdout), status], ['end\n', 0]);
    assert.equal(started().length, 1);
    await until('it is gone', () => !isRunning(started()[0]!));
  });

  it('fault: ipset cannot be started: told as of the command itself, each time, until it can', async () => {
    for (const [unstartable, reason] of [
      [['portcullis-no-such-program', 'restore'], 'not-found'],
      [['sh', 'x'.repeat(200_000), 'restore'], 'spawn'],
      [['/', 'restore'], 'spawn'],
    ] as const) {
      const bad = openRestoreSession(unstartable as unknown as [string]);
      for (let i = 0; i < 2; i++) {
        const asked = bad.run({ argv: unstartable as unknown as [string], stdin: 'add A x\n', timeoutMs: TIMEOUT_MS });
        await assert.rejects(asked, (error: unknown) => {
          assert.ok(error instanceof CommandFailed);
          assert.deepEqual([error.reason, error.argv], [reason, unstartable]);
          return true;
        });
        await sleep(30);
      }
      bad.stop();
    }
  });

  it('fault: no descriptor is left for its pipes: fails with a word, and works again afterwards', () => {
    const script = `
      const fs = await import('node:fs');
      const { openRestoreSession } = await import(${JSON.stringify(SOURCE)});
      const argv = ${JSON.stringify(argv)};
      const session = openRestoreSession(argv);
      const ask = () => session.run({ argv, stdin: 'add A x\\n', timeoutMs: 5000 }).then(() => 'done', (e) => e.reason);
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
    assert.deepEqual([String(stdout), status], ['spawn\ndone\n', 0], String(stderr));
  });
});

function isRunning(pid: number): boolean {
  return existsSync(`/proc/${pid}`) && !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
}
