/** Input of any length: whole, in order, and without holding anybody up. */
import assert from 'node:assert/strict';
import { CommandFailed, runCommand } from '../../src/host/command.ts';

const TIMEOUT_MS = 20_000;
const LONG = Array.from({ length: 40 }, (_, part) => `${part} `.repeat(30_000));

describe('command: input in parts', () => {
  it('arrives whole and in order', async () => {
    for (const stdin of [[], ['one\n'], ['one\n', 'two\n'], LONG]) {
      const { stdout } = await runCommand({ argv: ['cat'], stdin, timeoutMs: TIMEOUT_MS });
      assert.equal(stdout, stdin.join(''));
    }
  });

  it('gives others a turn while the program is slow to read it', async () => {
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    await runCommand({ argv: ['sh', '-c', 'sleep 0.2; cat >/dev/null'], stdin: LONG, timeoutMs: TIMEOUT_MS });
    clearInterval(timer);
    assert.ok(turns > 10, `${turns} turns`);
  });

  it('a program that does not read it, or not all of it, still ends as it ends', async () => {
    await runCommand({ argv: ['true'], stdin: LONG, timeoutMs: TIMEOUT_MS });
    const { stdout } = await runCommand({ argv: ['head', '-c', '4'], stdin: LONG, timeoutMs: TIMEOUT_MS });
    assert.equal(stdout, '0 0 ');
    const failed = runCommand({ argv: ['sh', '-c', 'head -c 4 >&2; exit 3'], stdin: LONG, timeoutMs: TIMEOUT_MS });
    await assert.rejects(failed, (error) => {
      assert.ok(error instanceof CommandFailed);
      assert.deepEqual([error.reason, error.exitCode, error.stderr], ['exit', 3, '0 0 ']);
      assert.equal(error.stdin, LONG.join(''));
      return true;
    });
  });

  it('a program that never reads it is killed when its time is over', async () => {
    const late = runCommand({ argv: ['sleep', '60'], stdin: LONG, timeoutMs: 100 });
    await assert.rejects(late, (error) => error instanceof CommandFailed && error.reason === 'timeout');
  });
});

describe('command: an aborted signal', () => {
  it('nothing is started', async () => {
    const request = {
      argv: ['portcullis-no-such-program'],
      timeoutMs: TIMEOUT_MS,
      signal: AbortSignal.abort(),
    } as const;
    await assert.rejects(runCommand(request), (error: unknown) => (error as CommandFailed).reason === 'aborted');
  });
});
