/** Other programs undo what the agent wrote; it compares everything only once a minute, and must notice long before. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { AgentLab, type AgentProcess, BACKENDS, FIRST_PACKETS, skipUnlessRoot, until } from '../support/agent-lab.ts';

/** A few seconds are promised; the machine may be busy with other things. Far less than the minute of a resync. */
const NOTICED_MS = 15_000;
const WANTED = ['x/friend -> x/server', 'x/stranger -x x/server'] as const;

interface Case {
  readonly title: string;
  /** Absent: both. Looks in turn take seconds, and sets are the same under either. */
  readonly backend?: 'iptables-nft';
  readonly says: RegExp;
  readonly sabotage: (t: AgentLab, set: string) => Promise<unknown>;
  readonly undo?: (t: AgentLab) => Promise<unknown>;
}

const CASES: readonly Case[] = [
  {
    title: 'nft flush ruleset',
    backend: 'iptables-nft',
    says: /FORWARD, IPv4: our jump is gone; the chain is empty/,
    sabotage: (t) => t.on('node-1', ['nft', 'flush', 'ruleset']),
  },
  {
    title: 'nft delete table ip mangle',
    backend: 'iptables-nft',
    says: /FORWARD, IPv4: our jump is gone/,
    sabotage: (t) => t.on('node-1', ['nft', 'delete', 'table', 'ip', 'mangle']),
  },
  {
    title: 'table mangle flushed',
    says: /FORWARD, IPv4: our jump is gone/,
    sabotage: (t) => t.iptables(4, '-F'),
  },
  {
    title: 'rules of others before ours',
    says: /our jump is no longer first: 2 rules stand before ours, first: -s 10\.0\.0\.0\/8 -j ACCEPT/,
    sabotage: (t) => t.restore(['-I FORWARD 1 -j RETURN', '-I FORWARD 1 -s 10.0.0.0/8 -j ACCEPT']),
    undo: (t) => t.restore(['-D FORWARD -j RETURN', '-D FORWARD -s 10.0.0.0/8 -j ACCEPT']),
  },
  {
    title: 'our jump taken out, IPv6',
    says: /FORWARD, IPv6: our jump is gone/,
    sabotage: (t) => t.iptables(6, '-D', 'FORWARD', ...FIRST_PACKETS, '-j', 'PCL-FWD'),
  },
  {
    title: 'a chain of ours renamed',
    backend: 'iptables-nft',
    says: /PCL-FWD, IPv4: chain is gone/,
    sabotage: (t) => t.iptables(4, '-E', 'PCL-FWD', 'OTHER'),
    undo: async (t) => {
      // It is nobody's now; the agent leaves it where it is, behind its own.
      await t.iptables(4, '-D', 'FORWARD', ...FIRST_PACKETS, '-j', 'OTHER');
      await t.iptables(4, '-F', 'OTHER');
      await t.iptables(4, '-X', 'OTHER');
    },
  },
  {
    title: 'a rule that lets everything through in a chain of ours',
    says: /PCL-IN, IPv4: 0 rules missing or edited, 1 rules that are not ours/,
    sabotage: (t) => t.iptables(4, '-I', 'PCL-IN', '1', '-j', 'RETURN'),
  },
  { title: 'all sets flushed', says: /entries missing/, sabotage: (t) => t.ipset('flush') },
  {
    title: 'a set swapped with one of the same size',
    backend: 'iptables-nft',
    says: /1 entries missing or changed, 1 entries that are not ours/,
    sabotage: async (t, set) => {
      await t.ipset('create', 'OTHER', 'hash:ip');
      await t.ipset('add', 'OTHER', t.address('x/stranger'));
      await t.ipset('swap', set, 'OTHER');
    },
    undo: (t) => t.ipset('destroy', 'OTHER'),
  },
];

describe('fault: what neighbours do is noticed long before the next resync', function () {
  this.timeout(60_000);
  const labs: AgentLab[] = [];

  before(async function () {
    skipUnlessRoot.call(this);
    for (const backend of BACKENDS) labs.push(await AgentLab.create({ backend }));
    await each(async (t) => {
      await t.pods({ 'x/server': {}, 'x/friend': {}, 'x/stranger': {} });
      allow(t, 'friend');
      await t.start('node-1', { flags: ['--log-level=debug'] });
      await t.expect(WANTED);
      if (t.backend === 'iptables-nft') await listens(t.agents.get('node-1')!);
    });
  });
  after(() => each((t) => t.close()));

  async function each(action: (t: AgentLab) => Promise<unknown>): Promise<void> {
    await Promise.all(labs.map(action));
  }

  for (const { title, backend, says, sabotage, undo } of CASES) {
    it(title, () =>
      each(async (t) => {
        if (backend !== undefined && t.backend !== backend) return;
        const agent = t.agents.get('node-1')!;
        const from = agent.log.length;
        await sabotage(t, await setOf(t));
        const line = await agent.logged(({ message }) => says.test(message), `${t.backend}: ${says}`, from, NOTICED_MS);
        assert.match(line.message, /^repaired: /);
        await t.expect(WANTED, NOTICED_MS);
        await undo?.(t);
        await agent.ready();
      }),
    );
  }

  it('an old snapshot restored over ours', () =>
    each(async (t) => {
      const agent = t.agents.get('node-1')!;
      const save = (await t.on('node-1', [`${t.backend}-save`, '-t', 'mangle'])).replaceAll(/^.*--match-set.*\n/gm, '');
      allow(t, 'stranger');
      await t.expect(['x/friend -x x/server', 'x/stranger -> x/server']);
      const from = agent.log.length;
      await t.on('node-1', [`${t.backend}-restore`], save);
      await agent.logged(({ message }) => /^repaired: /.test(message), t.backend, from, NOTICED_MS);
      await t.expect(['x/friend -x x/server', 'x/stranger -> x/server'], NOTICED_MS);
      allow(t, 'friend');
      await t.expect(WANTED);
    }));

  it('whose program it was is told, where the kernel knows', async () => {
    const t = labs[0]!;
    const agent = t.agents.get('node-1')!;
    const from = agent.log.length;
    const before = await agent.metric('portcullis_drift_repaired_total', { kind: 'jump', by: 'nft' });
    await t.on('node-1', ['nft', 'insert', 'rule', 'ip', 'mangle', 'FORWARD', 'accept']);
    const line = await agent.logged(({ kind }) => kind === 'jump', 'repaired', from, NOTICED_MS);
    assert.equal(line.by, 'nft');
    assert.ok((await agent.metric('portcullis_drift_repaired_total', { kind: 'jump', by: 'nft' })) > before);
    await t.iptables(4, '-D', 'FORWARD', '-j', 'ACCEPT');
  });

  it('our own writes are taken for ours: nothing is compared because of them', () =>
    each(async (t) => {
      const agent = t.agents.get('node-1')!;
      await sleep(1_000);
      const from = agent.log.length;
      for (let round = 0; round < 6; round++) {
        allow(t, round % 2 === 0 ? 'stranger' : 'friend');
        await sleep(400);
      }
      await t.expect(WANTED);
      const reasons = agent.log.slice(from).flatMap((line) => (line.reasons as string[] | undefined) ?? []);
      assert.ok(reasons.includes('networkpolicies'));
      assert.deepEqual(
        reasons.filter((reason) => reason.startsWith('drift')),
        [],
        agent.tail(),
      );
    }));

  it('the agent gone, nothing of it runs on', () =>
    each(async (t) => {
      const agent = t.agents.get('node-1')!;
      const own = processesOf(agent.pid);
      assert.ok(own.length > 0);
      await agent.end('SIGKILL');
      await until(
        () => own.every((pid) => !existsSync(`/proc/${pid}`)),
        () => `ended: ${own.join(' ')}`,
      );
    }));

  function allow(t: AgentLab, friend: string): void {
    t.policy('x/only-friend', {
      podSelector: { matchLabels: { pod: 'server' } },
      ingress: [{ from: [{ podSelector: { matchLabels: { pod: friend } } }] }],
    });
  }

  async function setOf(t: AgentLab): Promise<string> {
    return /^(PCL4-\S+)$/m.exec(await t.ipset('list', '-name'))![1]!;
  }
});

async function listens(agent: AgentProcess): Promise<void> {
  await until(async () => /the kernel tells/.test((await agent.get('/readyz')).body), 'it listens', NOTICED_MS);
}

function processesOf(parent: number): readonly number[] {
  const found = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  const children = found.map(Number).filter((pid) => {
    try {
      return Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')[1]) === parent;
    } catch {
      return false;
    }
  });
  return children.flatMap((pid) => [pid, ...processesOf(pid)]);
}
