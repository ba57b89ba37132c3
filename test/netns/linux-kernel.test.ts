/** The kernel suite on real kernels: both iptables variants, each in a network namespace of its own. Needs root and ipset. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CommandFailed, type RunCommand, runCommand, startProgram } from '../../src/host/command.ts';
import { prespawn } from '../../src/host/prespawn.ts';
import { openRestoreSession, type RestoreSession } from '../../src/host/restore-session.ts';
import { WRITE_SETS } from '../../src/dataplane/iptables/kernel/linux-kernel.ts';
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
    const rules = prespawn((argv) => argv.includes('--noflush'), runCommand);
    const locked = [...inside, 'env', `XTABLES_LOCKFILE=${env.XTABLES_LOCKFILE}`] as const;
    const run: RunCommand = (request) => runCommand({ ...request, argv: [...inside, ...request.argv], env });
    const write: RunCommand = (request) =>
      request.argv[0] === 'ipset'
        ? sets.run({ ...request, argv: [...inside, ...request.argv] })
        : rules.run({ ...request, argv: [...locked, ...request.argv] });
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

for (const tool of ['iptables-nft-restore', 'ip6tables-nft-restore', 'iptables-legacy-restore'] as const) {
  describe(`${tool} that waits for its input`, function () {
    this.timeout(20_000);
    const namespace = `pclkw-${process.pid}-${tool.split('-').slice(0, 2).join('')}`;
    let folder: string;
    before(async function () {
      if (process.getuid?.() !== 0) this.skip();
      folder = await mkdtemp(join(tmpdir(), 'portcullis-waiting-'));
      await runCommand({ argv: ['ip', 'netns', 'add', namespace], timeoutMs: 10_000 });
    });
    after(async () => {
      if (!folder) return;
      await runCommand({ argv: ['ip', 'netns', 'delete', namespace], timeoutMs: 10_000 });
      await rm(folder, { recursive: true });
    });

    it('holds no lock, and finds the kernel as others left it meanwhile', async () => {
      const lock = `XTABLES_LOCKFILE=${join(folder, 'xtables.lock')}`;
      const argv = ['ip', 'netns', 'exec', namespace, 'env', lock, tool, '--noflush', '-w', '1'] as const;
      const restore = (...lines: readonly string[]) => {
        return { argv, stdin: ['*mangle', ...lines, 'COMMIT', ''].join('\n'), timeoutMs: 10_000 };
      };
      const waiting = startProgram(argv);
      await sleep(300);
      assert.equal(waiting.isOver, false);
      await runCommand(restore(':OF-OTHERS - [0:0]', '-A OF-OTHERS -j RETURN'));
      await waiting.finish(restore(':OURS - [0:0]', '-A OURS -g OF-OTHERS', '-I FORWARD -j OURS'));
      const save = tool.replace('restore', 'save');
      const { stdout } = await runCommand({
        argv: ['ip', 'netns', 'exec', namespace, save, '-t', 'mangle'],
        timeoutMs: 10_000,
      });
      const rules = stdout.split('\n').filter((line) => line.startsWith('-A'));
      assert.deepEqual(rules, ['-A FORWARD -j OURS', '-A OF-OTHERS -j RETURN', '-A OURS -g OF-OTHERS']);
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
