/** Somebody else's hand in our chains and sets: found by reading back, repaired, counted, told. What is not ours stays as it is. */
import assert from 'node:assert/strict';
import { NFT_TABLE } from '../../src/dataplane/nftables/table/names.ts';
import {
  FIRST_PACKETS,
  AgentLab,
  type AgentProcess,
  enforcedBy,
  ENGINES,
  type LogLine,
  skipUnlessRoot,
  until,
} from '../support/agent-lab.ts';

const OURS = /PCL-|PCL[46]-/;
/** Some are named almost like ours. */
const FOREIGN_RULES = [
  ['-N', 'OTHER-FW'],
  ['-N', 'PCLX'],
  ['-A', 'OTHER-FW', '-p', 'tcp', '--dport', '9999', '-j', 'RETURN'],
  ['-A', 'PCLX', '-j', 'RETURN'],
  ['-A', 'FORWARD', '-m', 'comment', '--comment', 'somebody else', '-j', 'OTHER-FW'],
  ['-A', 'INPUT', '-j', 'PCLX'],
  ['-A', 'PREROUTING', '-m', 'mark', '--mark', '0x80/0x80', '-j', 'RETURN'],
];

/** The lab's own, on a node whose kubelet uses this variant. */
const KUBE_CHAINS = ['KUBE-IPTABLES-HINT', 'KUBE-KUBELET-CANARY', 'KUBE-PROXY-CANARY'];
const INTRUDER = ['-m', 'comment', '--comment', 'intruder', '-j', 'ACCEPT'] as const;

interface Repair {
  readonly title: string;
  /** Absent: there is no such thing. */
  readonly iptables?: Hand;
  readonly nftables?: Hand;
}

/** Somebody else's. */
interface Hand {
  readonly kind: 'chain' | 'jump' | 'set' | 'member';
  readonly says: RegExp;
  readonly sabotage: (t: AgentLab, names: Names) => Promise<unknown>;
  /** Takes away what the agent rightly left. */
  readonly undo?: (t: AgentLab) => Promise<unknown>;
}

interface Names {
  readonly endpointChain: string;
  readonly set: string;
  /** Of IPv6; where there are buckets. */
  readonly bucket: string;
}

const IN_TABLE = ['inet', NFT_TABLE] as const;

const REPAIRS: readonly Repair[] = [
  {
    title: 'a rule removed',
    iptables: {
      kind: 'chain',
      says: /1 rules missing/,
      sabotage: (t, { endpointChain }) => t.iptables(4, '-D', endpointChain, '-j', 'DROP'),
    },
    nftables: {
      kind: 'chain',
      says: /PCL-I-\S+, edited/,
      sabotage: async (t, { endpointChain }) => {
        await t.nft('delete', 'rule', ...IN_TABLE, endpointChain, 'handle', await lastRule(t, endpointChain));
      },
    },
  },
  {
    title: 'a rule added in front that lets everything through',
    iptables: {
      kind: 'chain',
      says: /1 rules that are not ours/,
      sabotage: (t, { endpointChain }) => t.iptables(4, '-I', endpointChain, '1', '-j', 'RETURN'),
    },
    nftables: {
      kind: 'chain',
      says: /PCL-I-\S+, edited/,
      sabotage: (t, { endpointChain }) => t.nft('insert', 'rule', ...IN_TABLE, endpointChain, 'return'),
    },
  },
  {
    title: 'a rule edited',
    iptables: {
      kind: 'chain',
      says: /1 rules missing or edited, 1 rules that are not ours/,
      sabotage: async (t, { endpointChain }) => {
        const rules = (await t.iptables(4, '-S', endpointChain)).split('\n').filter((line) => line.startsWith('-A'));
        const number = rules.findIndex((line) => line.endsWith('-j DROP') && !line.includes('INVALID')) + 1;
        await t.iptables(4, '-R', endpointChain, String(number), '-j', 'ACCEPT');
      },
    },
    nftables: {
      kind: 'chain',
      says: /PCL-I-\S+, edited/,
      sabotage: async (t, { endpointChain }) => {
        const handle = await lastRule(t, endpointChain);
        await t.nft('replace', 'rule', ...IN_TABLE, endpointChain, 'handle', handle, 'accept');
      },
    },
  },
  {
    title: 'a rule moved',
    iptables: {
      kind: 'chain',
      says: /another order/,
      // In one commit, or the agent may look in between.
      sabotage: (t, { endpointChain }) => t.restore([`-D ${endpointChain} -j DROP`, `-I ${endpointChain} 1 -j DROP`]),
    },
    nftables: {
      kind: 'chain',
      says: /PCL-I-\S+, edited/,
      sabotage: async (t, { endpointChain }) => {
        const at = `rule ${IN_TABLE.join(' ')} ${endpointChain}`;
        await t.nft(`delete ${at} handle ${await lastRule(t, endpointChain)}; insert ${at} drop`);
      },
    },
  },
  {
    title: 'a chain flushed',
    iptables: {
      kind: 'chain',
      says: /rules missing/,
      sabotage: (t) => t.iptables(4, '-F', 'PCL-FWD'),
    },
    nftables: {
      kind: 'chain',
      says: /forward-first, edited/,
      sabotage: (t) => t.nft('flush', 'chain', ...IN_TABLE, 'forward-first'),
    },
  },
  {
    title: 'what finds a pod emptied, IPv6',
    iptables: {
      kind: 'chain',
      says: /IPv6: .*rules missing/,
      sabotage: (t, { bucket }) => t.iptables(6, '-F', bucket),
    },
    nftables: {
      kind: 'member',
      says: /ingress6, 1 missing, 0 too many/,
      sabotage: (t) => t.nft('flush', 'map', ...IN_TABLE, 'ingress6'),
    },
  },
  {
    title: 'a chain of ours that we never made',
    iptables: {
      kind: 'chain',
      says: /a chain we did not make/,
      sabotage: (t) => t.iptables(4, '-N', 'PCL-strange'),
    },
    nftables: {
      kind: 'chain',
      says: /PCL-strange, not ours/,
      sabotage: (t) => t.nft('add', 'chain', ...IN_TABLE, 'PCL-strange'),
    },
  },
  {
    title: 'our jump removed',
    iptables: {
      kind: 'jump',
      says: /our jump is gone/,
      sabotage: (t) => t.iptables(4, '-D', 'FORWARD', ...FIRST_PACKETS, '-j', 'PCL-FWD'),
    },
    nftables: {
      kind: 'jump',
      says: /forward, missing/,
      sabotage: (t) => t.nft(`flush chain ${IN_TABLE.join(' ')} forward; delete chain ${IN_TABLE.join(' ')} forward`),
    },
  },
  {
    title: 'our jump moved behind another that lets everything through',
    iptables: {
      kind: 'jump',
      says: /no longer first/,
      sabotage: (t) => t.iptables(4, '-I', 'FORWARD', '1', ...INTRUDER),
      undo: (t) => t.iptables(4, '-D', 'FORWARD', ...INTRUDER),
    },
    nftables: {
      kind: 'chain',
      says: /forward, edited/,
      sabotage: (t) => t.nft('insert', 'rule', ...IN_TABLE, 'forward', 'accept'),
    },
  },
  {
    title: 'our jump doubled',
    iptables: {
      kind: 'jump',
      says: /more than once/,
      sabotage: (t) => t.iptables(4, '-A', 'INPUT', ...FIRST_PACKETS, '-j', 'PCL-INP'),
    },
  },
  {
    title: 'a set entry removed',
    iptables: {
      kind: 'member',
      says: /1 entries missing/,
      sabotage: (t, { set }) => t.ipset('del', set, t.address('x/friend')),
    },
    nftables: {
      kind: 'member',
      says: /pods4-\S+, 1 missing, 0 too many/,
      sabotage: (t, { set }) => t.nft('delete', 'element', ...IN_TABLE, set, `{ ${t.address('x/friend')} }`),
    },
  },
  {
    title: 'a set entry added',
    iptables: {
      kind: 'member',
      says: /1 entries that are not ours/,
      sabotage: (t, { set }) => t.ipset('add', set, t.address('x/stranger')),
    },
    nftables: {
      kind: 'member',
      says: /pods4-\S+, 0 missing, 1 too many/,
      sabotage: (t, { set }) => t.nft('add', 'element', ...IN_TABLE, set, `{ ${t.address('x/stranger')} }`),
    },
  },
  {
    title: 'a set flushed',
    iptables: {
      kind: 'member',
      says: /entries missing/,
      sabotage: (t, { set }) => t.ipset('flush', set),
    },
    nftables: {
      kind: 'member',
      says: /pods4-\S+, 1 missing, 0 too many/,
      sabotage: (t, { set }) => t.nft('flush', 'set', ...IN_TABLE, set),
    },
  },
  {
    title: 'a set made under our prefix',
    iptables: {
      kind: 'set',
      says: /a set we did not make/,
      sabotage: (t) => t.ipset('create', 'PCL4-strange', 'hash:ip'),
    },
    nftables: {
      kind: 'set',
      says: /pods4-strange, not ours/,
      sabotage: (t) => t.nft('add', 'set', ...IN_TABLE, 'pods4-strange', '{ type ipv4_addr; }'),
    },
  },
  {
    title: 'everything: all tables flushed, all sets destroyed',
    iptables: {
      // The agent may find the tables flushed before the sets are destroyed, and then makes them anew without having missed them.
      kind: 'chain',
      says: /chain is gone/,
      sabotage: async (t) => {
        const variant = t.backend === 'iptables-nft' ? 'nft' : 'legacy';
        const flush = ['iptables', 'ip6tables'].map((tool) => `echo "*mangle\nCOMMIT" | ${tool}-${variant}-restore`);
        // The kernel lets go of sets a moment after the rules.
        const script = [...flush, 'sleep 0.05', 'ipset destroy'].join(' && ');
        await until(async () => !(await t.refused('node-1', ['sh', '-c', script])), 'all destroyed');
        await addForeign(t);
        await addKubeChains(t);
      },
    },
    nftables: {
      kind: 'chain',
      says: /the table, missing/,
      sabotage: async (t) => {
        await t.nft('flush', 'ruleset');
        await t.ipset('destroy');
        await addForeign(t);
        await addKubeChains(t);
      },
    },
  },
];

describe('agent repairs what others change', function () {
  this.timeout(30_000);
  const labs: AgentLab[] = [];
  const agents: AgentProcess[] = [];

  before(async function () {
    skipUnlessRoot.call(this);
    for (const engine of ENGINES) labs.push(await AgentLab.create(enforcedBy(engine)));
    await each(async (t) => {
      await addForeign(t);
      await t.pods({ 'x/server': {}, 'x/friend': {}, 'x/stranger': {} });
      t.policy('x/only-friend', {
        podSelector: { matchLabels: { pod: 'server' } },
        ingress: [{ from: [{ podSelector: { matchLabels: { pod: 'friend' } } }] }],
      });
      agents.push(await t.start('node-1', { flags: ['--resync-interval=1'] }));
      await t.expect(WANTED);
    });
  });
  after(() => each((t) => t.close()));

  const WANTED = ['x/friend -> x/server', 'x/stranger -x x/server', 'x/stranger -> x/friend'] as const;

  async function each(action: (t: AgentLab) => Promise<unknown>): Promise<void> {
    await Promise.all(labs.map(action));
  }

  for (const { title, iptables, nftables } of REPAIRS) {
    it(title, () =>
      each(async (t) => {
        const hand = t.engine === 'nftables' ? nftables : iptables;
        if (!hand) return;
        const { kind, says, sabotage, undo } = hand;
        const agent = t.agents.get('node-1')!;
        const from = agent.log.length;
        const before = withoutEpoch(await t.kernelText('node-1', undefined));
        const counted = await agent.metric('portcullis_drift_repaired_total', { kind });
        await sabotage(t, await namesOf(t));
        const isReport = ({ kind: found, message }: LogLine): boolean =>
          found === kind && message.startsWith('repaired: ') && says.test(message);
        const line = await agent.logged(isReport, `${t.engine}: ${says}`, from);
        assert.equal(line.level, 'warn');
        assert.ok((await agent.metric('portcullis_drift_repaired_total', { kind })) > counted);
        await t.expect(WANTED);
        await undo?.(t);
        let after = '';
        await until(
          async () => {
            after = withoutEpoch(await t.kernelText('node-1', undefined));
            return after === before;
          },
          () => `the kernel as before\n${difference(before, after)}`,
        );
      }),
    );
  }

  it('nothing changed: reading back writes nothing and reports nothing', () =>
    each(async (t) => {
      const agent = t.agents.get('node-1')!;
      await t.restingText();
      const writes = await agent.metric('portcullis_kernel_writes_total');
      const observed = (): Promise<number> =>
        agent.metric('portcullis_sync_duration_seconds_count', { phase: 'observe' });
      const count = await observed();
      const from = agent.log.length;
      for (let reading = 1; reading <= 2; reading++) {
        // Where nobody wrote, nftables is not read.
        if (t.engine === 'nftables')
          await t.nft('add chain inet portcullis comes-and-goes; delete chain inet portcullis comes-and-goes');
        await until(async () => (await observed()) >= count + reading, `${t.engine}: ${reading} read-backs`);
      }
      assert.equal(await agent.metric('portcullis_kernel_writes_total'), writes);
      assert.deepEqual(agent.log.slice(from), []);
    }));

  it('a set of ours in a rule of others: waits for it, ever less often, and tells once', () =>
    each(async (t) => {
      // No rule of another table can ask a set of ours.
      if (t.engine === 'nftables') return;
      const agent = t.agents.get('node-1')!;
      const { set } = await namesOf(t);
      const rule = ['PREROUTING', '-m', 'set', '--match-set', set, 'src', '-j', 'RETURN'] as const;
      await t.iptables(4, '-A', ...rule);
      const from = agent.log.length;
      t.deletePolicy('x/only-friend');
      const line = await agent.logged(({ message }) => /in use by rules that are not ours/.test(message), 'busy', from);
      assert.equal(line.sets, set);
      await until(async () => (await agent.metric('portcullis_passes_total', { result: 'later' })) >= 4, 'some passes');
      const told = agent.log.slice(from).filter(({ message }) => /in use by rules that are not ours/.test(message));
      assert.equal(told.length, 1, agent.tail());
      assert.equal((await agent.readiness()).status, 200);
      await t.iptables(4, '-D', ...rule);
      await until(async () => !(await t.ipset('list', '-name')).includes(set), 'the set is destroyed');
    }));

  it('told to go: takes away what is ours and nothing else', () =>
    each(async (t) => {
      const foreign = await foreignText(t);
      t.annotateNode('node-1', { 'portcullis.dev/mode': 'off' });
      await until(async () => (await t.leftovers()).filter((line) => OURS.test(line)).length === 0, 'all gone');
      assert.equal(await foreignText(t), foreign);
      await t.expect(['x/friend -> x/server', 'x/stranger -> x/server']);
    }));
});

async function addForeign(t: AgentLab): Promise<void> {
  for (const rule of FOREIGN_RULES) for (const family of [4, 6] as const) await t.iptables(family, ...rule);
  await t.ipset('create', 'OTHER-set', 'hash:net');
  await t.ipset('create', 'PCL4x', 'hash:ip');
}

async function addKubeChains(t: AgentLab): Promise<void> {
  for (const family of [4, 6] as const) for (const name of KUBE_CHAINS) await t.iptables(family, '-N', name);
}

/** The handle of a chain's last rule, which denies. */
async function lastRule(t: AgentLab, chain: string): Promise<string> {
  return [...(await t.nft('-a', 'list', 'chain', ...IN_TABLE, chain)).matchAll(/# handle (\d+)$/gm)].at(-1)![1]!;
}

async function namesOf(t: AgentLab): Promise<Names> {
  if (t.engine === 'nftables') {
    const endpointChain = /goto (PCL-I-\S+)/.exec(await t.nft('list', 'map', ...IN_TABLE, 'ingress4'))![1]!;
    const [, set] = /@(pods4-\S+)/.exec(await t.nft('list', 'chain', ...IN_TABLE, endpointChain))!;
    return { endpointChain, set: set!, bucket: '' };
  }
  const bucketOf = async (family: 4 | 6): Promise<{ bucket: string; endpointChain: string }> => {
    const found = /^-A (PCL-IN-\S+) .*-g (PCL-I-\S+)$/m.exec(await t.iptables(family, '-S'));
    assert.ok(found);
    return { bucket: found[1]!, endpointChain: found[2]! };
  };
  const { endpointChain } = await bucketOf(4);
  const set = /--match-set (PCL4-\S+) src/.exec(await t.iptables(4, '-S', endpointChain))?.[1];
  assert.ok(set !== undefined);
  return { endpointChain, set, bucket: (await bucketOf(6)).bucket };
}

/** All tables and sets, without our own. */
async function foreignText(t: AgentLab): Promise<string> {
  const own = t.engine === 'nftables' ? await t.kernelText() : '';
  const text = await t.kernelText('node-1', undefined);
  return text
    .slice(own.length)
    .split('\n')
    .filter((line) => !OURS.test(line))
    .join('\n');
}

function withoutEpoch(text: string): string {
  return text
    .replaceAll(/0x[0-9a-f]+\/0xff000000|0x[0-9a-f]{2}ffffff|0x[0-9a-f]{2}000000$/gm, 'GENERATION')
    .replaceAll(/ initval \S+/g, '');
}

function difference(a: string, b: string): string {
  const [before, after] = [a.split('\n'), b.split('\n')];
  const gone = before.filter((line) => !after.includes(line)).map((line) => `missing: ${line}`);
  const extra = after.filter((line) => !before.includes(line)).map((line) => `extra: ${line}`);
  return [...gone, ...extra].join('\n') || 'only the order differs';
}
