/** The kernel suite on real kernels: both iptables variants, each in a network namespace of its own. Needs root and ipset. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CommandFailed, type RunCommand, runCommand } from '../../src/host/command.ts';
import { type CommitSessions, openCommitSessions } from '../../src/host/commit-session.ts';
import { openRestoreSession, type RestoreSession } from '../../src/host/restore-session.ts';
import { destroysSets, WRITE_SETS } from '../../src/dataplane/iptables/kernel/linux-kernel.ts';
import { createOneVariantKernel } from '../support/one-variant-kernel.ts';
import { type KernelUnderTest, kernelSuite } from '../dataplane/iptables/kernel/kernel-suite.ts';

for (const backend of ['iptables-nft', 'iptables-legacy'] as const) {
  kernelSuite(`Linux, ${backend}`, async (): Promise<KernelUnderTest> => {
    const directory = await mkdtemp(join(tmpdir(), 'portcullis-kernel-'));
    const namespace = `pclkt-${process.pid}-${backend === 'iptables-nft' ? 'n' : 'l'}`;
    // The lock file is one per host: a private one keeps tests of several namespaces from waiting for each other.
    const env = { XTABLES_LOCKFILE: join(directory, 'xtables.lock') };
    const inside = ['ip', 'netns', 'exec', namespace] as const;
    const sets = openRestoreSession([...inside, ...WRITE_SETS]);
    const rules = openCommitSessions({
      stays: (argv) => argv.includes('--noflush'),
      needsDeleted: destroysSets,
      run: (request) =>
        request.argv[0] === 'ipset'
          ? sets.run({ ...request, argv: [...inside, ...request.argv] })
          : runCommand(request),
    });
    const locked = [...inside, 'env', `XTABLES_LOCKFILE=${env.XTABLES_LOCKFILE}`] as const;
    const run: RunCommand = (request) => runCommand({ ...request, argv: [...inside, ...request.argv], env });
    const write: RunCommand = (request) =>
      request.argv[0] === 'ipset' ? rules.run(request) : rules.run({ ...request, argv: [...locked, ...request.argv] });
    await runCommand({ argv: ['ip', 'netns', 'add', namespace], timeoutMs: 10_000 });
    return {
      kernel: createOneVariantKernel({ backend, families: [4, 6], run: write, lockWaitSeconds: 5 }),
      run,
      close: async () => {
        sets.stop();
        rules.stop();
        await runCommand({ argv: ['ip', 'netns', 'delete', namespace], timeoutMs: 10_000 });
        await rm(directory, { recursive: true });
      },
    };
  });
}

for (const tool of [
  'iptables-nft-restore',
  'ip6tables-nft-restore',
  'iptables-legacy-restore',
  'ip6tables-legacy-restore',
] as const) {
  describe(`${tool} that stays, the real one`, function () {
    this.timeout(20_000);
    const namespace = `pclkw-${process.pid}-${tool.split('-').slice(0, 2).join('')}`;
    const inside = ['ip', 'netns', 'exec', namespace] as const;
    let folder: string;
    let session: CommitSessions;
    before(async function () {
      if (process.getuid?.() !== 0) this.skip();
      folder = await mkdtemp(join(tmpdir(), 'portcullis-waiting-'));
      await runCommand({ argv: ['ip', 'netns', 'add', namespace], timeoutMs: 10_000 });
      session = openCommitSessions({ stays: (argv) => argv.includes('--noflush'), run: runCommand });
    });
    after(async () => {
      if (!session) return;
      session.stop();
      await runCommand({ argv: ['ip', 'netns', 'delete', namespace], timeoutMs: 10_000 });
      await rm(folder, { recursive: true });
    });

    const requestOf = (...lines: readonly string[]) => {
      const lock = `XTABLES_LOCKFILE=${join(folder, 'xtables.lock')}`;
      const argv = [...inside, 'env', lock, tool, '--noflush', '-w', '1'] as const;
      return { argv, stdin: ['*mangle', ...lines, 'COMMIT', ''].join('\n'), timeoutMs: 10_000 };
    };
    const commit = (...lines: readonly string[]) => session.run(requestOf(...lines));
    const asOther = (...lines: readonly string[]) => runCommand(requestOf(...lines));
    const rules = async (): Promise<readonly string[]> => {
      const argv = [...inside, tool.replace('restore', 'save'), '-t', 'mangle'] as const;
      const { stdout } = await runCommand({ argv, timeoutMs: 10_000 });
      return stdout.split('\n').filter((line) => line.startsWith('-A'));
    };
    const pids = async (): Promise<string> =>
      (await runCommand({ argv: ['ip', 'netns', 'pids', namespace], timeoutMs: 10_000 })).stdout.trim();
    /** Of the one that waits for a commit. */
    const stayingPid = async (): Promise<string> => {
      await sleep(200);
      for (let i = 0; i < 50 && !/^\d+$/.test(await pids()); i++) await sleep(50);
      await sleep(100);
      return await pids();
    };

    it('holds no lock, and finds the kernel as others left it meanwhile', async () => {
      await commit(':OURS - [0:0]', '-A OURS -j RETURN', '-I FORWARD -j OURS');
      const first = await stayingPid();
      await asOther(':OF-OTHERS - [0:0]', '-A OF-OTHERS -j RETURN', '-D FORWARD 1', ':OURS - [0:0]', '-X OURS');
      await commit(':OURS - [0:0]', '-A OURS -g OF-OTHERS', '-I FORWARD -j OURS');
      assert.deepEqual(await rules(), ['-A FORWARD -j OURS', '-A OF-OTHERS -j RETURN', '-A OURS -g OF-OTHERS']);
      for (let round = 1; round <= 20; round++) {
        await commit(`:OURS-${round} - [0:0]`, `-A OURS-${round} -j DROP`, `-I OURS 1 -g OURS-${round}`);
        if (round % 2 === 0) await asOther('-D OURS 1');
        else await commit('-D OURS 1', `:OURS-${round} - [0:0]`, `-X OURS-${round}`);
      }
      const left = (await rules()).filter((rule) => rule.startsWith('-A OURS '));
      assert.deepEqual(left, ['-A OURS -g OF-OTHERS']);
      assert.equal(await pids(), first);
    });

    it('a refused commit names its line, and nothing of it is in the kernel', async () => {
      await commit(':OURS - [0:0]', '-A OURS -j RETURN');
      const before = await rules();
      for (const bad of [
        '-A OURS -j NO-SUCH-CHAIN',
        '-A OURS -m set --match-set no-such-set src -j RETURN',
        '-D OURS 7',
      ])
        await assert.rejects(commit(':OTHER - [0:0]', '-A OTHER -j RETURN', bad), (error: unknown) => {
          assert.ok(error instanceof CommandFailed);
          assert.match(error.stderr, /\bline:? [45]\b|does not exist/);
          return true;
        });
      assert.deepEqual(await rules(), before);
      await commit('-A OURS -j DROP');
      assert.deepEqual(
        (await rules()).filter((rule) => rule.startsWith('-A OURS ')),
        ['-A OURS -j RETURN', '-A OURS -j DROP'],
      );
    });

    it('fault: it is killed while it waits, or in the middle of a commit: no part of a commit is in the kernel', async () => {
      await commit(':OURS - [0:0]', '-A OURS -j RETURN');
      const before = await rules();
      process.kill(Number(await stayingPid()), 'SIGKILL');
      await sleep(500);
      await commit('-A OURS -j DROP', '-D OURS 2');
      const { argv, stdin } = requestOf(...Array.from({ length: 500 }, () => '-A OURS -j DROP'));
      for (const end of [stdin.length - 1, stdin.length - 5, stdin.length - 100]) {
        const cut = runCommand({ argv: [...argv, '--verbose'], stdin: stdin.slice(0, end), timeoutMs: 10_000 });
        await cut.catch(() => {});
        const now = await rules();
        // COMMIT without its newline is one.
        if (end === stdin.length - 1) await asOther(':OURS - [0:0]', '-A OURS -j RETURN');
        else assert.deepEqual(now, before);
      }
    });
  });
}

describe('an ipset that stays, the real one', function () {
  this.timeout(20_000);
  const namespace = `pclks-${process.pid}`;
  const inside = ['ip', 'netns', 'exec', namespace] as const;
  const argv = [...inside, ...WRITE_SETS] as const;
  let session: RestoreSession;
  before(async function () {
    if (process.getuid?.() !== 0) this.skip();
    await runCommand({ argv: ['ip', 'netns', 'add', namespace], timeoutMs: 10_000 });
    session = openRestoreSession(argv);
  });
  after(async () => {
    if (!session) return;
    session.stop();
    await runCommand({ argv: ['ip', 'netns', 'delete', namespace], timeoutMs: 10_000 });
  });

  const write = (...lines: readonly string[]) =>
    session.run({ argv, stdin: lines.map((line) => `${line}\n`).join(''), timeoutMs: 10_000 });
  const ipset = async (...words: readonly string[]): Promise<string> =>
    (await runCommand({ argv: [...inside, 'ipset', ...words], timeoutMs: 10_000 })).stdout;
  const members = async (set: string): Promise<readonly string[]> => {
    const found = (await ipset('save', set)).split('\n').filter((line) => line.startsWith('add '));
    return found.map((line) => line.split(' ').slice(2).join(' ')).sort();
  };
  const pid = async (): Promise<string> => {
    const { stdout } = await runCommand({ argv: ['ip', 'netns', 'pids', namespace], timeoutMs: 10_000 });
    return stdout.trim();
  };

  it('all lines are in the kernel when it says so, whoever else writes meanwhile', async () => {
    await write('create A hash:ip', 'create B hash:net');
    const first = await pid();
    for (let round = 1; round <= 30; round++) {
      await write(`add A 10.0.0.${round}`, `add A 10.0.0.${round}`, `del A 10.0.0.${round - 1}`, 'add B 10.0.0.0/9');
      assert.deepEqual(await members('A'), [`10.0.0.${round}`]);
      await ipset('del', 'B', '10.0.0.0/9');
    }
    assert.equal(await pid(), first);
  });

  it('a refused line is the one of this input, and nothing after it is carried out', async () => {
    await write('flush A', 'add A 10.1.0.1');
    const before = await pid();
    await assert.rejects(write('add A 10.1.0.2', 'add NONE 10.1.0.3', 'add A 10.1.0.4'), (error: unknown) => {
      assert.ok(error instanceof CommandFailed);
      assert.match(error.stderr, /^ipset v\S+: Error in line 2: The set with the given name does not exist$/);
      return error.reason === 'exit';
    });
    await write('add A 10.1.0.5');
    assert.ok((await members('A')).includes('10.1.0.5'));
    assert.ok(!(await members('A')).includes('10.1.0.4'));
    assert.notEqual(await pid(), before);
  });

  it('fault: the set it is asked about was destroyed by somebody else: what is refused is told all the same', async () => {
    await write('create C hash:ip', 'add C 10.2.0.1');
    await ipset('destroy', 'C');
    await assert.rejects(write('add C 10.2.0.2'), (error: unknown) => {
      assert.ok(error instanceof CommandFailed);
      return /Error in line 1: The set with the given name does not exist/.test(error.stderr);
    });
    await write('create D hash:ip');
    await ipset('destroy', 'D');
    await write('destroy B');
    assert.equal(await ipset('list', '-name'), 'A\n');
  });

  it('fault: it is killed in the middle of 50,000 members: all of them are in', async () => {
    await write('create E hash:ip maxelem 100000');
    const all = Array.from(
      { length: 50_000 },
      (_, index) => `add E 10.${3 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`,
    );
    const stays = Number(await pid());
    const writing = write(...all);
    while (!/^[1-9]/.test(/^Number of entries: (\d+)$/m.exec(await ipset('list', '-terse', 'E'))?.[1] ?? '')) {}
    process.kill(stays, 'SIGKILL');
    await writing;
    assert.equal((await members('E')).length, all.length);
  });
});
