/** An iptables-restore that stays, played by a script that reads, commits and fails as it does; the kernel tests run the real ones. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CommandFailed, type CommandRequest, runCommand } from '../../src/host/command.ts';
import { type CommitSessions, openCommitSessions } from '../../src/host/commit-session.ts';

const TIMEOUT_MS = 5_000;
const SOURCE = join(import.meta.dirname, '../../src/host/commit-session.ts');
const COMMAND = join(import.meta.dirname, '../../src/host/command.ts');

/** What is between `*mangle` and COMMIT is written down as one line; a mute one tells nothing. */
const SCRIPT = `
cd "$(dirname "$0")" || exit 1
echo "$$ $*" >>started
n=0
while read -r line; do
  n=$((n+1))
  case "$line" in
    '#'*) [ -e mute ] || { echo "$line"; echo $$ >>ready; };;
    '*mangle') rules=;;
    COMMIT) echo "$rules" >>did;;
    refused) echo "Error occurred at line: $n" >&2; exit 2;;
    locked) echo "Another app is currently holding the xtables lock." >&2; exit 4;;
    die) kill -9 $$;;
    hang) echo hangs >>did; exec sleep 60;;
    slow) sleep 1.3;;
    *) rules="$rules $line";;
  esac
done
`;

describe('a restore that stays', () => {
  let folder: string;
  let argv: readonly [string, ...string[]];
  let session: CommitSessions;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-commits-'));
    writeFileSync(join(folder, 'restore'), SCRIPT);
    for (const file of ['started', 'did', 'ready']) writeFileSync(join(folder, file), '');
    argv = ['sh', join(folder, 'restore'), '--noflush'];
    session = openCommitSessions({
      stays: (asked) => asked.includes('--noflush'),
      needsDeleted: ({ stdin }) => stdin === 'destroy',
      run: runCommand,
    });
  });
  afterEach(() => {
    session.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const text = (...rules: readonly string[]): string => ['*mangle', ...rules, 'COMMIT', ''].join('\n');
  const commit = (...rules: readonly string[]) => session.run({ argv, stdin: text(...rules), timeoutMs: TIMEOUT_MS });
  /** The first is a command of its own; after it one stays. */
  const first = async (): Promise<void> => {
    await commit('-A 1');
    await until('one has answered', () => linesOf('ready').length === 1);
    await sleep(30);
  };
  const linesOf = (file: string) => readFileSync(join(folder, file), 'utf8').split('\n').filter(Boolean);
  const done = (): readonly string[] => linesOf('did').map((line) => line.trim());
  const started = (): readonly number[] => linesOf('started').map((line) => Number.parseInt(line, 10));
  const until = async (what: string, holds: () => boolean): Promise<void> => {
    for (let i = 0; !holds(); i++) {
      if (i === 300) assert.fail(`never: ${what}`);
      await sleep(10);
    }
  };
  const failsWith = (reason: string, code: number | null, stderr: RegExp) => (error: unknown) => {
    assert.ok(error instanceof CommandFailed);
    assert.deepEqual([error.reason, error.exitCode, error.argv], [reason, code, argv]);
    assert.match(error.stderr, stderr);
    return true;
  };

  it('takes one commit after the other, and each is in when it says so', async () => {
    assert.deepEqual(started(), []);
    await first();
    for (let round = 0; round < 5; round++) {
      await commit(`-A ${round}`, '-A x');
      assert.equal(done().at(-1), `-A ${round} -A x`);
    }
    assert.equal(started().length, 2);
    assert.match(linesOf('started')[1]!, /--noflush --verbose$/);
  });

  it('a refused line is told as that of its own commit, nothing of which is in; another program goes on', async () => {
    await first();
    await assert.rejects(commit('-A 2', 'refused', '-A 3'), failsWith('exit', 2, /^Error occurred at line: 3$/));
    await until('another has answered', () => started().length === 3);
    await commit('-A 4');
    assert.deepEqual(done(), ['-A 1', '-A 4']);
  });

  it('an end that names no line is told with its exit code, and is not tried twice', async () => {
    await first();
    await assert.rejects(commit('-A 2', 'locked'), failsWith('exit', 4, /xtables lock/));
    assert.deepEqual(done(), ['-A 1']);
  });

  it('fault: it is killed while it waits: the next commit is a command of its own, and another is there for the one after', async () => {
    await first();
    process.kill(started()[1]!, 'SIGKILL');
    await sleep(50);
    await commit('-A 2');
    await until('another has answered', () => linesOf('ready').length === 2);
    await sleep(30);
    await commit('-A 3');
    assert.deepEqual(done(), ['-A 1', '-A 2', '-A 3']);
    assert.equal(started().length, 4);
  });

  it('fault: it is killed in the middle of a commit: nobody knows whether it is in, so it fails', async () => {
    await first();
    await assert.rejects(commit('-A 2', 'die'), failsWith('signal', null, /^/));
    await commit('-A 3');
    assert.deepEqual(done(), ['-A 1', '-A 3']);
  });

  it('fault: it hangs: killed when its time is over, and the next commit goes to another', async () => {
    await first();
    const hung = session.run({ argv, stdin: text('hang'), timeoutMs: 300 });
    await assert.rejects(hung, failsWith('timeout', null, /^/));
    assert.ok(!isRunning(started()[1]!));
    await commit('-A 2');
    assert.deepEqual(done(), ['-A 1', 'hangs', '-A 2']);
  });

  it('fault: it does not answer: no commit waits for it, each is a command of its own', async () => {
    writeFileSync(join(folder, 'mute'), '');
    const began = performance.now();
    for (const round of [1, 2, 3]) {
      await commit(`-A ${round}`);
      await sleep(50);
    }
    assert.ok(performance.now() - began < 900, 'somebody waits for an answer');
    assert.deepEqual(done(), ['-A 1', '-A 2', '-A 3']);
    await until('the mute one is gone', () => !started().some(isRunning));
    await commit('-A 4');
    await sleep(50);
    assert.equal(started().length, 5, 'another is tried');
  });

  it('one that takes longer than it is waited for is told by its end, and others stay after it', async () => {
    await first();
    await commit('slow', '-A 2');
    assert.deepEqual(done(), ['-A 1', '-A 2']);
    await until('another has answered', () => started().length === 3);
    await commit('-A 3');
    assert.deepEqual(done(), ['-A 1', '-A 2', '-A 3']);
  });

  it('a long commit is a command of its own; after many lines another program takes the next one', async () => {
    const bounded = openCommitSessions({
      stays: () => true,
      run: runCommand,
      limits: { inputBytes: 200, lines: 8 },
    });
    const write = (...rules: readonly string[]) =>
      bounded.run({ argv, stdin: [text(...rules)], timeoutMs: TIMEOUT_MS });
    await write('-A 1');
    await until('one has answered', () => linesOf('ready').length === 1);
    await sleep(30);
    await write(...Array.from({ length: 60 }, () => '-A x'));
    assert.equal(started().length, 3);
    for (const round of [2, 3]) await write(`-A ${round}`);
    await until('another takes its place', () => started().length === 4 && !isRunning(started()[1]!));
    assert.equal(done().length, 4);
    bounded.stop();
  });

  it('is not for other arguments, nor with an environment or a signal', async () => {
    await first();
    const other = ['sh', '-c', 'echo other'] as const;
    assert.equal((await session.run({ argv: other, timeoutMs: TIMEOUT_MS })).stdout, 'other\n');
    const stdin = text('-A 2');
    await session.run({ argv, stdin, timeoutMs: TIMEOUT_MS, env: { WORDS: 'other' } });
    await session.run({ argv, stdin, timeoutMs: TIMEOUT_MS, signal: new AbortController().signal });
    assert.equal(started().length, 4);
    await commit('-A 3');
    assert.equal(started().length, 4);
  });

  it('of tools with different arguments the two that were used last stay', async () => {
    const tools = ['a', 'b', 'c'].map((name): CommandRequest['argv'] => [...argv, name]);
    const use = (tool: CommandRequest['argv']) => session.run({ argv: tool, stdin: text('x'), timeoutMs: TIMEOUT_MS });
    for (const tool of tools) await use(tool);
    await until('two have answered', () => linesOf('ready').length === 2);
    await sleep(30);
    for (const tool of tools.slice(1)) await use(tool);
    assert.equal(started().length, 5);
  });

  it('a tool that has committed is ended, and its end waited for, ahead of what needs that which it deleted', async () => {
    await first();
    await commit('-A 2');
    const [, used] = started();
    const other = (stdin: string) => session.run({ argv: ['cat'], stdin, timeoutMs: TIMEOUT_MS });
    await other('else');
    assert.ok(isRunning(used!));
    await other('destroy');
    assert.ok(!isRunning(used!));
    await until('another waits', () => started().length === 3);
    await sleep(100);
    await other('destroy');
    assert.ok(isRunning(started()[2]!), 'it has deleted nothing');
  });

  it('two commits at once: both are carried out', async () => {
    await first();
    await Promise.all([commit('-A 2'), commit('-A 3')]);
    assert.deepEqual([...done()].sort(), ['-A 1', '-A 2', '-A 3']);
    await until('one is left', () => started().filter(isRunning).length === 1);
  });

  it('none waits after it was stopped', async () => {
    await first();
    session.stop();
    await until('it is gone', () => !started().some(isRunning));
    await commit('-A 2');
    await sleep(50);
    assert.ok(!started().some(isRunning));
  });

  it('fault: it does not outlive its owner, nor keep it alive', async () => {
    const script = `
      const { openCommitSessions } = await import(${JSON.stringify(SOURCE)});
      const { runCommand } = await import(${JSON.stringify(COMMAND)});
      const argv = ${JSON.stringify(argv)};
      await openCommitSessions({ stays: () => true, run: runCommand }).run({ argv, stdin: '*mangle\\nCOMMIT\\n', timeoutMs: ${TIMEOUT_MS} });
      await new Promise((resolve) => setTimeout(resolve, 200));
      console.log('end');`;
    const { stdout, status } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { timeout: 10_000 });
    assert.deepEqual([String(stdout), status], ['end\n', 0]);
    await until('it is gone', () => !started().some(isRunning));
  });

  it('fault: the tool is not there: told as of the command itself, each time', async () => {
    const missing = ['portcullis-no-such-program', '--noflush'] as const;
    for (let i = 0; i < 2; i++) {
      const asked = session.run({ argv: missing, stdin: text(), timeoutMs: TIMEOUT_MS });
      await assert.rejects(asked, (error: unknown) => error instanceof CommandFailed && error.reason === 'not-found');
      await sleep(30);
    }
  });
});

function isRunning(pid: number): boolean {
  return existsSync(`/proc/${pid}`) && !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
}
