/** Tiers of cluster-wide policies in a table of nftables: what is counted and logged, and which changes cut live flows. */
import assert from 'node:assert/strict';
import type { Table } from '../../../src/dataplane/nftables/table/table.ts';
import type { Counted } from '../../../src/dataplane/nftables/table/counted.ts';
import { NodeRenderer } from '../../../src/dataplane/nftables/render/render-node.ts';
import { type ClusterSnapshot, objectKey, type Policy } from '../../../src/policy/model.ts';
import { parseClusterPolicy } from '../../../src/policy/parse-cluster-policy.ts';
import { namespace, pod, policy, snapshot } from '../../support/builders.ts';
import { LAYOUT } from '../../support/fake-cluster.ts';
import { inForce } from '../../support/nft-fake.ts';
import { createNftNode } from '../../support/nft-node.ts';
import { traceTable } from '../../support/nft-tracer.ts';
import { compileNode } from '../../support/stages.ts';
import type { Packet } from '../../support/tracer.ts';

const [SERVER, CLIENT, OUTSIDE] = ['10.0.0.2', '10.9.0.1', '203.0.113.7'];
const FLOW = { source: CLIENT, destination: SERVER, protocol: 6, port: 80 } as const;
const OUTWARD = { source: SERVER, destination: OUTSIDE, protocol: 6, port: 443 } as const;

type Rule = Readonly<Record<string, unknown>>;
const from = (action: string, role?: string): Rule => ({
  action,
  from: [
    role === undefined
      ? { namespaces: {} }
      : { pods: { namespaceSelector: {}, podSelector: { matchLabels: { role } } } },
  ],
});

interface Parts {
  readonly admin?: readonly Rule[];
  readonly baseline?: readonly Rule[];
  readonly egress?: readonly Rule[];
  readonly policies?: readonly Policy[];
  readonly role?: string;
  readonly isNode?: boolean;
}

/** A server here, a client elsewhere, and what stands over both. */
function clusterOf({ admin, baseline, egress, policies = [], role = 'client', isNode = true }: Parts): ClusterSnapshot {
  const tiers = Object.entries({ Admin: admin, Baseline: baseline }).flatMap(([tier, ingress]) => {
    if (!ingress) return [];
    const spec = { tier, priority: 1, subject: { namespaces: {} }, ingress, ...(tier === 'Admin' ? { egress } : {}) };
    const { policy: parsed, problems } = parseClusterPolicy({ metadata: { name: tier.toLowerCase() }, spec });
    assert.deepEqual(problems, []);
    return [[parsed!.name, parsed!] as const];
  });
  const client = pod('x/client', { labels: { role }, nodeName: 'node-2', addresses: [CLIENT] });
  const server = pod('x/server', { labels: { app: 'server' }, addresses: [SERVER] });
  const labels = { zone: isNode ? 'a' : 'b' };
  return {
    ...snapshot({ namespaces: [namespace('x')], pods: [server, client], policies: [...policies] }),
    clusterPolicies: new Map(tiers),
    labelledNodes: new Map([['far', { name: 'far', addresses: [OUTSIDE], labels }]]),
  };
}

const opening = (mode?: 'audit') =>
  policy('x/open', { podSelector: { matchLabels: { app: 'server' } }, ingress: [{ ports: [{ port: 443 }] }] }, mode);

function packetOf({ source, destination, protocol, port }: typeof FLOW | typeof OUTWARD): Packet {
  return { family: 4, source, destination, protocol, port };
}

interface Met {
  readonly verdict: 'passed' | 'dropped';
  readonly logged: readonly string[];
  /** `action direction flow policies` of the rules that the packet met. */
  readonly counts: readonly string[];
}

function met(parts: Parts, packet: Packet = packetOf(FLOW), mode: 'enforce' | 'audit' = 'enforce'): Met {
  const { verdict, logged, matched } = traceTable(inForce(tableOf(parts, mode), 1, { ...LAYOUT, mode }), packet);
  const counted = matched.flatMap((text) => {
    const { counts } = JSON.parse(text.slice(text.indexOf(' ') + 1)) as { counts?: Counted };
    return !counts ? [] : counts.also ? [counts, { ...counts, ...counts.also }] : [counts];
  });
  const counts = counted.map(({ action, direction, flow, of }) => {
    return `${action} ${direction} ${flow} ${of.kind === 'policies' ? of.policies.map(objectKey).join() : of.kind}`;
  });
  return { verdict, logged, counts };
}

function tableOf(parts: Parts, mode: 'enforce' | 'audit' = 'enforce'): Table {
  return new NodeRenderer().render(compileNode(clusterOf(parts), 'node-1'), { ...LAYOUT, mode });
}

describe('tiers of cluster-wide policies in a table of nftables', () => {
  it('a denial is counted for the policy whose rule it is, once, and logged under the endpoint chain', () => {
    for (const tier of ['admin', 'baseline'] as const) {
      const { verdict, logged, counts } = met({ [tier]: [from('Deny', 'client')] });
      assert.equal(verdict, 'dropped');
      assert.deepEqual(counts, [`deny ingress new /${tier}`]);
      assert.match(logged.join(), /^denied ingress PCL-I-[a-z2-7]{16}$/);
    }
  });

  it('a live flow that a Deny ends is counted as such, and for the policy whose rule it is', () => {
    const live: Packet = { ...packetOf(FLOW), state: 'ESTABLISHED', direction: 'ORIGINAL' };
    const denied = { admin: [from('Deny', 'client')], baseline: [from('Deny', 'other')] };
    assert.deepEqual(met(denied, live).counts, ['deny ingress live /admin']);
    const passed = { admin: [from('Deny', 'other'), from('Pass', 'client')], baseline: [from('Deny', 'client')] };
    assert.deepEqual(met(passed, live).counts, ['deny ingress live /baseline']);
    assert.deepEqual(met(passed).counts, ['deny ingress new /baseline']);
  });

  it('a packet of a flow that was judged meets the same rules with tiers and without', () => {
    const connection = { mark: 0x02000000 };
    const judged = (parts: Parts): readonly string[] => {
      const table = inForce(tableOf(parts), 1, { ...LAYOUT, mode: 'enforce' });
      return traceTable(table, { ...packetOf(FLOW), state: 'ESTABLISHED', connection }).matched;
    };
    const first = { ...packetOf(FLOW), connection: { mark: 0 } };
    const tiers = { admin: [from('Accept', 'client')], baseline: [from('Deny')] };
    traceTable(inForce(tableOf(tiers), 1, { ...LAYOUT, mode: 'enforce' }), first);
    connection.mark = first.connection.mark;
    assert.deepEqual(judged(tiers), judged({ policies: [opening()] }));
  });

  it('an Accept is counted for its policy; a Pass counts nothing, and NetworkPolicy or Baseline has the next word', () => {
    const countsOf = (parts: Parts, port = 80) => met(parts, { ...packetOf(FLOW), port }).counts;
    const passed = { admin: [from('Pass', 'client'), from('Deny')], policies: [opening()] };
    assert.deepEqual(countsOf({ ...passed, admin: [from('Accept')] }), ['allow ingress new /admin']);
    assert.deepEqual(countsOf(passed), ['deny ingress new /admin,x/open']);
    assert.deepEqual(countsOf(passed, 443), ['allow ingress new x/open']);
    assert.deepEqual(countsOf({ admin: passed.admin, baseline: [from('Deny')] }), ['deny ingress new /baseline']);
  });

  it('in audit mode nothing is dropped: what would be denied is counted and logged', () => {
    const { verdict, logged, counts } = met({ admin: [from('Deny', 'client')] }, packetOf(FLOW), 'audit');
    assert.equal(verdict, 'passed');
    assert.match(logged.join(), /^would-deny ingress PCL-I-/);
    assert.deepEqual(counts, ['would-deny ingress new /admin']);
  });

  it('what a policy that is only audited would deny is counted between the tiers, and gives no verdict', () => {
    const policies = [opening('audit')];
    const passed = met({ policies, admin: [from('Pass', 'client'), from('Deny')] });
    const counted = ['would-deny ingress new x/open', 'would-deny-alone ingress new x/open'];
    assert.deepEqual([passed.verdict, passed.counts], ['passed', counted]);
    const based = met({ policies, baseline: [from('Deny')] });
    assert.deepEqual(based.counts, [...counted, 'deny ingress new /baseline']);
    assert.deepEqual(met({ policies, admin: [from('Deny')] }).counts, ['deny ingress new /admin']);
  });

  it('chains of other actions have other names', () => {
    const namesOf = (...actions: readonly [string, string]): readonly string[] => {
      const admin = [from(actions[0], 'client'), from(actions[1], 'other'), from('Deny')];
      return [...tableOf({ admin, baseline: [from('Deny')] }).chains.keys()].filter((name) =>
        name.startsWith('PCL-I-'),
      );
    };
    assert.notDeepEqual(namesOf('Deny', 'Pass'), namesOf('Pass', 'Deny'));
  });

  const accept = from('Accept', 'client');
  const deny = from('Deny', 'other');
  for (const [what, before, after, cuts] of [
    ['a Deny appears', {}, { admin: [from('Deny', 'client')] }, true],
    ['a Deny of somebody else appears', { admin: [accept] }, { admin: [deny, accept] }, undefined],
    ['an Accept appears at the end', { admin: [deny] }, { admin: [deny, accept] }, false],
    ['a Pass turns into a Deny', { admin: [from('Pass', 'client')] }, { admin: [from('Deny', 'client')] }, true],
    [
      'a Deny appears behind a Pass',
      { admin: [from('Pass', 'client'), from('Deny')], baseline: [deny] },
      { admin: [from('Pass', 'client'), from('Deny')], baseline: [from('Deny', 'client')] },
      true,
    ],
    ['an Accept goes behind what denies', { admin: [accept, from('Deny')] }, { admin: [from('Deny'), accept] }, true],
    ['a Deny goes', { admin: [deny] }, { admin: [from('Accept', 'nobody')] }, false],
    ['a pod joins what is denied', { admin: [deny] }, { admin: [deny], role: 'other' }, true],
    [
      'a pod joins what is passed on',
      { admin: [from('Pass', 'other'), from('Accept')], policies: [opening()] },
      { admin: [from('Pass', 'other'), from('Accept')], policies: [opening()], role: 'other' },
      true,
    ],
    [
      'a pod leaves what is accepted',
      { admin: [accept, from('Deny')] },
      { admin: [accept, from('Deny')], role: 'other' },
      true,
    ],
  ] as const satisfies readonly (readonly [string, Parts, Parts, boolean | undefined])[])
    it(`live flows: ${what}: ${cuts ? 'cut, both ways' : cuts === false ? 'no epoch begins' : 'judged again, and stay'}`, async () => {
      const node = createNftNode('node-1');
      await node.bring(clusterOf(before));
      const connection = { mark: 0 };
      assert.equal(node.walk({ ...packetOf(FLOW), connection }, FLOW).verdict, 'passed');
      const { change } = await node.bring(clusterOf(after));
      assert.equal(change!.counts.epochsAdvanced > 0, cuts !== false);
      const live: Packet = { ...packetOf(FLOW), state: 'ESTABLISHED' };
      const reply = {
        ...live,
        source: SERVER,
        destination: CLIENT,
        port: 40_001,
        sourcePort: 80,
        direction: 'REPLY',
      } as const;
      for (const packet of [live, reply])
        assert.equal(
          node.walk({ ...packet, connection: { ...connection } }, FLOW).verdict,
          cuts ? 'dropped' : 'passed',
        );
    });

  it('live flows: a node that leaves what is accepted cuts its flows, though its address is no pod’s', async () => {
    const egress = [
      { action: 'Accept', to: [{ nodes: { matchLabels: { zone: 'a' } } }] },
      { action: 'Deny', to: [{ networks: ['0.0.0.0/0'] }] },
    ];
    const node = createNftNode('node-1');
    await node.bring(clusterOf({ admin: [accept], egress }));
    const connection = { mark: 0 };
    assert.equal(node.walk({ ...packetOf(OUTWARD), connection }, OUTWARD).verdict, 'passed');
    await node.bring(clusterOf({ admin: [accept], egress, isNode: false }));
    const live: Packet = { ...packetOf(OUTWARD), state: 'ESTABLISHED', connection };
    assert.equal(node.walk(live, OUTWARD).verdict, 'dropped');
  });

  it('fault: the kernel refuses the part of a chain that denies: the pods it is for are closed, and it is told whose policies', async () => {
    const admin = [from('Deny', 'other')];
    const [cluster, table] = [clusterOf({ admin }), tableOf({ admin })];
    const part = [...table.chains.keys()].find((name) => name.startsWith('PCL-IX-'))!;
    const node = createNftNode('node-1');
    node.kernel.faults.refuse = (text) => text.startsWith(`add rule inet portcullis ${part} `);
    const { failures } = await node.sync(cluster);
    assert.deepEqual(
      failures.map(({ object, policies }) => [object, policies]),
      [[part, ['/admin']]],
    );
    assert.equal(node.walk(packetOf(FLOW), FLOW).verdict, 'dropped');
  });
});
