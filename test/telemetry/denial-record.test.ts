/** What a line of the log says of a denied packet. */
import assert from 'node:assert/strict';
import { parseClusterPolicy } from '../../src/policy/parse-cluster-policy.ts';
import { NodeCompiler, loadSnapshot } from '../../src/compile/compile-node.ts';
import type { Denial } from '../../src/dataplane/denial.ts';
import type { LoggedPacket } from '../../src/host/packet-log.ts';
import type { ClusterSnapshot, Policy } from '../../src/policy/model.ts';
import {
  deniedPacket,
  type DenialRecord,
  denialText,
  type DenialWorld,
  flowKey,
  recordDenial,
} from '../../src/telemetry/denial-record.ts';
import { namespace, pod, policy, snapshot } from '../support/builders.ts';

const [WEB, DB] = ['10.0.0.1', '10.0.0.2'];
const PODS = [pod('shop/web', { addresses: [WEB] }), pod('data/db', { addresses: [DB] })];
const NODES = [{ name: 'node-1', addresses: ['172.18.0.2'] }];
const FORTY = policy('data/only-8080', {
  podSelector: {},
  policyTypes: ['Ingress'],
  ingress: [{ ports: [{ port: 8080 }] }],
});
const NONE = policy('data/none', { podSelector: {}, policyTypes: ['Ingress'] });
const PACKET: LoggedPacket = {
  prefix: '',
  source: WEB,
  destination: DB,
  protocol: 6,
  sourcePort: 40_000,
  destinationPort: 8443,
  inInterface: 'eni1',
  outInterface: 'eni2',
};
const DENIED: Denial = { verdict: 'denied', direction: 'ingress', isReply: false };

function worldOf(policies: readonly Policy[], more: Partial<DenialWorld> = {}): DenialWorld {
  const of: ClusterSnapshot = snapshot({ pods: PODS, nodes: NODES, namespaces: [namespace('shop')], policies });
  const compiler = new NodeCompiler('node-1');
  loadSnapshot(compiler, of);
  compiler.intent();
  return { nodeName: 'node-1', snapshot: of, directory: compiler.directory(), interfaces: [], ...more };
}

function record(
  policies: readonly Policy[],
  packet: Partial<LoggedPacket> = {},
  denial: Denial = DENIED,
  more: Partial<DenialWorld> = {},
): DenialRecord {
  return recordDenial(deniedPacket({ ...PACKET, ...packet }, denial), worldOf(policies, more));
}

describe('what is said of a denied packet', () => {
  it('both ends, every policy that isolates, and what of its nearest rule does not hold', () => {
    const said = record([FORTY, NONE]);
    assert.deepEqual(said, {
      verdict: 'denied',
      direction: 'ingress',
      source: { address: WEB, pod: 'shop/web' },
      destination: { address: DB, pod: 'data/db' },
      protocol: 'TCP',
      port: 8443,
      node: 'node-1',
      policies: [
        { policy: 'data/none', why: 'no rules: allows nothing' },
        { policy: 'data/only-8080', why: 'ingress[0]: port 8443 not in 8080' },
      ],
    });
    assert.equal(
      denialText(said),
      'denied: shop/web (10.0.0.1) to data/db (10.0.0.2), TCP 8443, ingress: data/none no rules: allows nothing; ' +
        'data/only-8080 ingress[0]: port 8443 not in 8080',
    );
  });

  it('a pod on its way to itself, by way of a Service, and the rule of a tier that denies that (N-71)', () => {
    const { policy: alone } = parseClusterPolicy({
      metadata: { name: 'alone' },
      spec: {
        tier: 'Admin',
        priority: 1,
        subject: { namespaces: {} },
        ingress: [{ action: 'Deny', from: [{ namespaces: {} }] }],
      },
    });
    const { snapshot: known, ...world } = worldOf([NONE]);
    const tiered = { ...world, snapshot: { ...known, clusterPolicies: new Map([['alone', alone!]]) } };
    const said = recordDenial(deniedPacket({ ...PACKET, source: DB }, DENIED), tiered);
    assert.equal(said.note, 'denied by ClusterNetworkPolicy alone (Admin) spec.ingress[0]');
  });

  it('what an audited policy would deny, and what it would newly let through', () => {
    const spec = { podSelector: {}, policyTypes: ['Ingress'], ingress: [{ ports: [{ port: 8443 }] }] };
    const audited = policy('data/audited', spec, 'audit');
    const wouldDeny: Denial = { verdict: 'would-deny', direction: 'ingress', isReply: false };
    const said = record([audited], { destinationPort: 8080 }, wouldDeny);
    assert.deepEqual(said.policies, [{ policy: 'data/audited', why: 'ingress[0]: port 8080 not in 8443' }]);
    assert.deepEqual([said.note, said.wouldAllow], [undefined, undefined]);
    const denied = record([audited, NONE]);
    assert.deepEqual(denied.policies, [{ policy: 'data/none', why: 'no rules: allows nothing' }]);
    assert.deepEqual(denied.wouldAllow, ['data/audited']);
    assert.match(denialText(denied), /; would be allowed by data\/audited, only audited so far$/);
    assert.equal(record([audited, NONE], { destinationPort: 8080 }).wouldAllow, undefined);
  });

  it('what one of several audited policies would deny by itself: that one, and those of the others that allow it', () => {
    const audited = (name: string, port: number) =>
      policy(`data/${name}`, { podSelector: {}, policyTypes: ['Ingress'], ingress: [{ ports: [{ port }] }] }, 'audit');
    const all = [audited('one', 8443), audited('two', 8080), audited('three', 8081)];
    const by = (name: string): Denial => {
      const alone = { namespace: 'data', name };
      return { verdict: 'would-deny', direction: 'ingress', isReply: false, alone, policies: [alone] };
    };
    const told = record(all, { destinationPort: 8443 }, by('two'));
    assert.deepEqual(told.policies, [{ policy: 'data/two', why: 'ingress[0]: port 8443 not in 8080' }]);
    assert.deepEqual(told.wouldAllow, ['data/one']);
    assert.equal(record(all, { destinationPort: 1 }, by('two')).wouldAllow, undefined);
    const keys = ['two', 'three'].map((name) => flowKey(deniedPacket(PACKET, by(name))));
    assert.notEqual(keys[0], keys[1]);
    assert.match(record(all, { destinationPort: 8080 }, by('two')).note!, /^would have been denied under rules since/);
  });

  it('an answer is of the flow that it answers', () => {
    const reply = { source: DB, destination: WEB, sourcePort: 8443, destinationPort: 40_000 };
    const cut: Denial = { verdict: 'live-flow-cut', direction: 'ingress', isReply: true };
    const said = record([FORTY], reply, cut);
    assert.deepEqual([said.source.pod, said.destination.pod, said.port], ['shop/web', 'data/db', 8443]);
    assert.equal(said.verdict, 'live-flow-cut');
    assert.equal(said.policies[0]!.why, 'ingress[0]: port 8443 not in 8080');
    const [asked, answered] = [
      deniedPacket(PACKET, { ...cut, isReply: false }),
      deniedPacket({ ...PACKET, ...reply }, cut),
    ];
    assert.equal(flowKey(asked), flowKey(answered));
  });

  it('the port of the client makes no other flow, everything else does', () => {
    const key = (packet: Partial<LoggedPacket>, denial = DENIED) =>
      flowKey(deniedPacket({ ...PACKET, ...packet }, denial));
    assert.equal(key({ sourcePort: 1 }), key({}));
    const others = [{ destinationPort: 1 }, { source: DB }, { destination: WEB }, { protocol: 17 }].map((each) =>
      key(each),
    );
    assert.equal(new Set([key({}), ...others, key({}, { ...DENIED, verdict: 'would-deny' })]).size, 6);
    const { destinationPort: _, ...ping } = { ...PACKET, protocol: 1 };
    const types = [8, 13].map((icmpType) => flowKey(deniedPacket({ ...ping, icmpType }, DENIED)));
    assert.equal(new Set(types).size, 2);
  });

  it('nodes, blocks and what is outside', () => {
    const block = policy('data/block', {
      podSelector: {},
      ingress: [
        { from: [{ ipBlock: { cidr: '192.0.2.0/24' } }, { ipBlock: { cidr: '192.0.0.0/16' } }], ports: [{ port: 1 }] },
      ],
    });
    const from = (source: string) => record([block], { source }).source;
    assert.deepEqual(from('192.0.2.1'), {
      address: '192.0.2.1',
      blocks: ['192.0.2.0/24 (data/block ingress[0])', '192.0.0.0/16 (data/block ingress[0])'],
    });
    assert.deepEqual(from('198.51.100.1'), { address: '198.51.100.1', outside: true });
    assert.deepEqual(from('172.18.0.2'), { address: '172.18.0.2', node: 'node-1' });
    assert.match(
      denialText(record([block], { source: '192.0.2.1' })),
      /: 192\.0\.2\.1 \(in 192\.0\.2\.0\/24 \(data\/block /,
    );
  });

  it('an ICMP type, and protocols without ports', () => {
    const { destinationPort: _, sourcePort: __, ...bare } = PACKET;
    const ping = recordDenial(deniedPacket({ ...bare, protocol: 1, icmpType: 8 }, DENIED), worldOf([FORTY]));
    assert.deepEqual([ping.protocol, ping.icmpType, ping.port], ['ICMP', 8, undefined]);
    assert.match(denialText(ping), /, ICMP type 8, ingress: /);
    const gre = recordDenial(deniedPacket({ ...bare, protocol: 47 }, DENIED), worldOf([FORTY]));
    assert.match(denialText(gre), /, protocol 47, ingress: data\/only-8080 ingress\[0\]: protocol 47 not in TCP 8080$/);
  });

  describe('what would pass now is never said to be denied by the policies of now', () => {
    const rows: readonly [string, readonly Policy[], RegExp][] = [
      [
        'allowed',
        [policy('data/all', { podSelector: {}, ingress: [{}] }), FORTY],
        /now allowed by data\/all spec\.ingress\[0\]$/,
      ],
      ['not isolated', [], /now open: no policy isolates the destination for ingress$/],
    ];
    for (const [what, policies, now] of rows) {
      it(what, () => {
        const said = record(policies, {}, { ...DENIED, policies: [{ namespace: 'data', name: 'old' }] });
        assert.deepEqual(said.policies, [{ policy: 'data/old' }]);
        assert.match(said.note!, /^denied under rules since replaced; /);
        assert.match(said.note!, now);
        assert.match(
          record(policies, {}, { ...DENIED, verdict: 'would-deny' }).note!,
          /^would have been denied under rules/,
        );
      });
    }

    it('from its own node', () => {
      assert.match(record([NONE], { source: '172.18.0.2' }).note!, /now open: a node always reaches its own pods$/);
    });
  });

  describe("an address that is not its pod's", () => {
    const out = policy('shop/out', { podSelector: {}, policyTypes: ['Egress'] });
    const spoofed = { source: '192.0.2.9' };
    const egress: Denial = { verdict: 'denied', direction: 'egress', isReply: false };

    it('is explained by the pod of the interface', () => {
      const interfaces = [{ name: 'eni1', via: 'route', pod: 'shop/web' } as const];
      const said = record([out], spoofed, egress, { interfaces });
      assert.deepEqual(said.policies, [{ policy: 'shop/out', why: 'no rules: allows nothing' }]);
      assert.equal(said.note, 'the source address is not one of pod shop/web, which was judged by its interface');
      const asNode = record([out], { source: '172.18.0.2' }, egress, { interfaces });
      assert.deepEqual(asNode.policies, said.policies);
      const answer: Denial = { verdict: 'live-flow-cut', direction: 'egress', isReply: true };
      const swapped = { source: DB, destination: '192.0.2.9', inInterface: 'eni2', outInterface: 'eni1' };
      assert.equal(record([out], swapped, answer, { interfaces }).policies.length, 1);
    });

    it('or by the policies of the rules, where the packet does not tell the interface', () => {
      const said = record([out], spoofed, { ...egress, policies: [{ namespace: 'shop', name: 'out' }] });
      assert.deepEqual(said.policies, [{ policy: 'shop/out' }]);
      assert.equal(said.note, "denied by the interface of the pod: the source address is no pod's");
    });
  });

  it('pods that are not programmed yet', () => {
    const said = record([], {}, { verdict: 'denied', isReply: false });
    assert.deepEqual(said.policies, []);
    assert.match(denialText(said), /TCP 8443: the rules of the pod were not in the kernel yet \(--new-pods=closed\)$/);
  });

  it('no more policies than a line holds', () => {
    const many = Array.from({ length: 40 }, (_, n) =>
      policy(`data/p${n}`, { podSelector: {}, policyTypes: ['Ingress'] }),
    );
    const said = record(many);
    assert.equal(said.policies.length, 16);
    assert.equal(said.morePolicies, 24);
    assert.match(denialText(said), /; 24 more policies$/);
  });
});
