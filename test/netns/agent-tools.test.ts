/** Programs that are missing, a lock that somebody else holds, and a kernel that refuses one policy. */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LabNode } from '../../lab/network/types.ts';
import type { Backend } from '../../src/core/vocabulary.ts';
import { AgentLab, type AgentProcess, skipUnlessRoot, until } from '../support/agent-lab.ts';

const DENY = { podSelector: { matchLabels: { pod: 'server' } }, policyTypes: ['Ingress'] };
const SBIN = ['/usr/sbin', '/sbin', '/usr/bin', '/bin'];

describe('agent and its tools', function () {
  this.timeout(40_000);

  describe('a program is missing', () => {
    let t: AgentLab;
    let path: string;
    before(async function () {
      skipUnlessRoot.call(this);
      t = await AgentLab.create();
      path = join(t.lab.dir, 'bin');
      await t.pods({ 'x/server': {}, 'x/a': {} });
      t.policy('x/deny', DENY);
    });
    after(() => t?.close());
    beforeEach(() => mkdirSync(path));
    afterEach(async () => {
      await t.agents.get('node-1')?.end('SIGKILL');
      rmSync(path, { recursive: true });
    });

    const IPTABLES = ['iptables-nft-save', 'iptables-nft-restore', 'ip6tables-nft-save', 'ip6tables-nft-restore'];

    /** Only the folder of this test is searched. */
    const launch = (flags: readonly string[] = []): AgentProcess => t.launch('node-1', { env: { PATH: path }, flags });

    const install = async (programs: readonly string[]): Promise<void> => {
      for (const program of programs) {
        const found = (await t.on('node-1', ['sh', '-c', `command -v ${program}`])).trim();
        assert.ok(
          SBIN.some((directory) => found.startsWith(`${directory}/`)),
          found,
        );
        symlinkSync(found, join(path, program));
      }
    };

    const cases = [
      { there: ['ipset'], missing: IPTABLES, says: /iptables-nft-save: command not found; install package iptables/ },
      { there: IPTABLES, missing: ['ipset'], says: /ipset: command not found; install package ipset/ },
    ];
    for (const { there, missing, says } of cases) {
      it(`fault: ${missing.includes('ipset') ? 'ipset' : 'iptables'}: named with its package, waited for, then used`, async () => {
        await install(there);
        const agent = launch();
        const line = await agent.logged((entry) => says.test(entry.message), String(says));
        assert.equal(line.level, 'error');
        assert.match(line.message, /trying again every \d+ s/);
        const { status, missing: conditions } = await agent.readiness();
        assert.equal(status, 503);
        assert.match(conditions['kernel-tools']!, says);
        assert.equal((await agent.get('/healthz')).status, 200);
        await sleep(300);
        assert.ok(agent.running);
        assert.deepEqual(await t.leftovers(), []);
        await install(missing);
        await agent.ready();
        await t.expect(['x/a -x x/server']);
        await agent.end('SIGKILL');
        await clean(t);
      });
    }

    it('fault: disappears under a running agent: rules stay, the error says so, it goes on when it is back', async () => {
      await install([...IPTABLES, 'ipset', 'stdbuf']);
      const agent = launch();
      await agent.ready();
      rmSync(join(path, 'ipset'));
      t.policy('x/deny', { ...DENY, ingress: [{ from: [{ podSelector: { matchLabels: { pod: 'a' } } }] }] });
      await agent.logged((entry) => /ipset: command not found; install package ipset/.test(entry.message), 'ipset');
      assert.equal((await agent.readiness()).status, 503);
      await t.expect(['x/a -x x/server']);
      await install(['ipset']);
      await t.expect(['x/a -> x/server']);
      await agent.ready();
      await until(() => childrenOf(agent.pid).includes('ipset'), 'an ipset stays');
      rmSync(join(path, 'ipset'));
      t.policy('x/deny', { ...DENY, ingress: [{ from: [{ podSelector: { matchLabels: { pod: 'server' } } }] }] });
      // The one that stays may carry the change, or a read-back comes first and fails; either way it is in once the tool is back.
      await sleep(300);
      await install(['ipset']);
      await t.expect(['x/a -x x/server']);
      await agent.end('SIGKILL');
      await until(() => !childrenOf(1).includes('ipset'), 'ipset ends with the agent');
      await clean(t);
    });
  });

  it('fault: xtables lock held for several waits: told once, tried at once, written as soon as it is free', async () => {
    const t = await AgentLab.create({ backend: 'iptables-legacy' });
    try {
      await t.pods({ 'x/server': {}, 'x/a': {} });
      const agent = await t.start('node-1', { flags: ['--xtables-lock-wait=1'] });
      await t.expect(['x/a -> x/server']);
      const waited = await agent.metric('portcullis_xtables_lock_wait_seconds_total');
      const [{ xtablesLockFile }] = t.lab.network.nodes() as unknown as [LabNode];
      const held = t.on('node-1', ['flock', '-x', xtablesLockFile, 'sleep', '5']);
      await sleep(50);
      t.policy('x/deny', DENY);
      const line = await agent.logged((entry) => /xtables lock/.test(entry.message), 'lock');
      assert.equal(line.level, 'error');
      assert.equal(line.reason, 'lock');
      assert.equal(line.tool, 'iptables-legacy-restore');
      assert.match((await agent.readiness()).missing['last-sync']!, /xtables lock/);
      await held;
      // With a back-off the next try would begin four seconds later.
      await t.expect(['x/a -x x/server'], 2_500);
      await agent.logged(({ message }) => /lock is free again/.test(message), 'over');
      assert.equal(agent.log.filter(({ reason }) => reason === 'lock').length, 1);
      await agent.ready();
      assert.ok((await agent.metric('portcullis_xtables_lock_wait_seconds_total')) - waited > 0.9);
      assert.ok((await agent.metric('portcullis_restore_failures_total', { tool: 'iptables-legacy-restore' })) >= 1);
    } finally {
      await t.close();
    }
  });

  it('a lock that is free in time is waited for without an error', async () => {
    const t = await AgentLab.create({ backend: 'iptables-legacy' });
    try {
      await t.pods({ 'x/server': {}, 'x/a': {} });
      const agent = await t.start();
      const [{ xtablesLockFile }] = t.lab.network.nodes() as unknown as [LabNode];
      const held = t.on('node-1', ['flock', '-x', xtablesLockFile, 'sleep', '1']);
      await sleep(50);
      t.policy('x/deny', DENY);
      await t.expect(['x/a -x x/server'], 6000);
      await held;
      const waited = await agent.metric('portcullis_xtables_lock_wait_seconds_total');
      assert.ok(waited > 0.7 && waited < 1.5, `${waited} s`);
      assert.deepEqual(
        agent.log.filter(({ level }) => level === 'error'),
        [],
      );
    } finally {
      await t.close();
    }
  });

  for (const backend of ['iptables-nft', 'iptables-legacy'] satisfies Backend[]) {
    it(`the kernel refuses one policy: its pods are closed and named, the others go on (${backend})`, async () => {
      const t = await AgentLab.create({ backend });
      try {
        await t.pods({ 'x/server': {}, 'x/a': {}, 'x/other': {} });
        const allowed = (pod: string) => ({
          podSelector: { matchLabels: { pod } },
          ingress: [
            { from: [{ podSelector: { matchLabels: { pod: 'a' } } }, { ipBlock: { cidr: '203.0.113.0/24' } }] },
          ],
        });
        const agent = await t.start();
        t.policy('x/p', allowed('server'));
        await t.expect(['x/a -> x/server', 'x/other -x x/server']);
        const sets = (await t.ipset('list', '-name')).split('\n').filter((name) => name.startsWith('PCL4-'));
        assert.equal(sets.length, 1);
        t.deletePolicy('x/p');
        await until(async () => !(await t.ipset('list', '-name')).includes(sets[0]!), 'the set is destroyed');
        // Somebody else takes the name for a set of another type, and uses it.
        await t.ipset('create', sets[0]!, 'hash:ip');
        await t.iptables(4, '-A', 'PREROUTING', '-m', 'set', '--match-set', sets[0]!, 'src', '-j', 'RETURN');
        t.policy('x/p', allowed('server'));
        t.policy('x/q', { podSelector: { matchLabels: { pod: 'other' } }, policyTypes: ['Ingress'] });
        await t.expect(['x/a -x x/other', 'x/other -> x/a']);
        await until(
          async () => (await t.wrongIn(4, ['x/a -x x/server', 'x/other -x x/server'])).length === 0,
          'closed',
        );
        const line = await agent.logged((entry) => entry.level === 'error', 'refusal');
        assert.deepEqual(line.policies, ['x/p']);
        assert.match(line.message, new RegExp(sets[0]!));
        assert.equal((await agent.readiness()).status, 503);
        await t.iptables(4, '-D', 'PREROUTING', '-m', 'set', '--match-set', sets[0]!, 'src', '-j', 'RETURN');
        await t.expect(['x/a -> x/server', 'x/other -x x/server', 'x/a -x x/other'], 10_000);
        await agent.ready();
      } finally {
        await t.close();
      }
    });
  }
});

/** Takes away what an agent left, so that the next case starts from nothing. */
async function clean(t: AgentLab): Promise<void> {
  t.annotateNode('node-1', { 'portcullis.dev/mode': 'off' });
  const agent = await t.start();
  await until(async () => (await t.leftovers()).length === 0, 'nothing of ours is left');
  await agent.end('SIGKILL');
  t.annotateNode('node-1', { 'portcullis.dev/mode': null });
}

/** Names of the programs a process has started and that run. */
function childrenOf(parent: number): readonly string[] {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids.flatMap((pid) => {
    const status = attempt(() => readFileSync(`/proc/${pid}/status`, 'utf8')) ?? '';
    const isChild = Number(/^PPid:\t(\d+)$/m.exec(status)?.[1]) === parent;
    return isChild ? [/^Name:\t(.*)$/m.exec(status)![1]!] : [];
  });
}

/** Processes end while they are looked at. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
