/** Two pods at ports of a bridge, and what holds for them whoever writes the rules (S-56). */
import assert from 'node:assert/strict';
import type { Policy } from '../../src/policy/model.ts';
import type { PodInterface } from '../../src/host/pod-interfaces.ts';
import { pod, policy } from './builders.ts';
import type { Packet } from './tracer.ts';

const A = pod('x/a', { addresses: ['10.0.0.1', 'fd00::1'] });
const B = pod('x/b', { addresses: ['10.0.0.2'] });
export const PODS = [A, B];
export const PORTS: readonly PodInterface[] = [
  { name: 'veth-a', via: 'bridge', pod: 'x/a' },
  { name: 'veth-b', via: 'bridge', pod: 'x/b' },
];

export type ProbePacket = Partial<Packet> & Pick<Packet, 'source' | 'destination'>;

export interface BridgedNode {
  /** What the node has from now on. */
  attach(interfaces: readonly PodInterface[]): void;
  pass(...policies: readonly Policy[]): Promise<unknown>;
  verdict(packet: ProbePacket): string;
  epoch(): unknown;
}

export function isolated(name: string, spec: object = { policyTypes: ['Ingress', 'Egress'] }): Policy {
  return policy(`x/of-${name}`, { podSelector: { matchLabels: { pod: name } }, ...spec });
}

/** One of UDP, where nothing else is said. */
export function packetOf(packet: ProbePacket): Packet {
  const family = packet.source.includes(':') ? 6 : 4;
  return { family, protocol: 17, port: 9999, sourcePort: 40_000, ...packet };
}

/** Bridged from one pod's port to the other's. */
export const BRIDGED = { inPort: 'veth-b', outPort: 'veth-a', inInterface: 'cni0', outInterface: 'cni0' } as const;
export const BACK = { ...BRIDGED, inPort: 'veth-a', outPort: 'veth-b' } as const;

export const TO_A = [
  { source: 'fe80::b', destination: 'fe80::a', ...BRIDGED },
  { source: 'fe80::b', destination: 'ff02::1', ...BRIDGED },
  { source: '10.0.0.2', destination: '255.255.255.255', ...BRIDGED },
  { source: '10.0.0.2', destination: '224.0.0.251', ...BRIDGED },
  { source: '169.254.0.2', destination: '169.254.0.1', ...BRIDGED },
  { source: '10.0.0.2', destination: '10.0.0.77', ...BRIDGED },
];
export const FROM_A = TO_A.map(({ source, destination }) => ({
  source: source === '10.0.0.2' ? '10.0.0.99' : source,
  destination,
  ...BACK,
}));

export function itHoldsForBridgedPods(openNode: () => BridgedNode): void {
  it('nothing of it reaches a pod isolated for ingress, or leaves one isolated for egress', async () => {
    const t = openNode();
    await t.pass(isolated('a', { policyTypes: ['Ingress'] }));
    for (const packet of TO_A) assert.equal(t.verdict(packet), 'dropped', JSON.stringify(packet));
    for (const packet of FROM_A) assert.equal(t.verdict(packet), 'passed', JSON.stringify(packet));
    await t.pass(isolated('a', { policyTypes: ['Egress'] }));
    for (const packet of TO_A) assert.equal(t.verdict(packet), 'passed', JSON.stringify(packet));
    for (const packet of FROM_A) assert.equal(t.verdict(packet), 'dropped', JSON.stringify(packet));
    const routed = { inPort: 'veth-a', inInterface: 'cni0', outInterface: 'eth0' };
    const out = { source: '10.0.0.99', destination: '203.0.113.1', ...routed };
    assert.equal(t.verdict(out), 'dropped', 'routed');
    assert.equal(t.verdict({ ...out, destination: '172.18.0.2', hook: 'INPUT' }), 'dropped', 'to the node (S-61)');
  });

  it('a rule that allows everything lets it pass; pods that no policy selects are not touched', async () => {
    const t = openNode();
    await t.pass(isolated('a', { policyTypes: ['Ingress', 'Egress'], ingress: [{}], egress: [{}] }));
    for (const packet of [...TO_A, ...FROM_A]) assert.equal(t.verdict(packet), 'passed', JSON.stringify(packet));
    await t.pass(isolated('a'));
    const others = { ...BRIDGED, outPort: 'veth-c' };
    assert.equal(t.verdict({ source: 'fe80::b', destination: 'fe80::c', ...others }), 'passed');
    await t.pass();
    for (const packet of [...TO_A, ...FROM_A]) assert.equal(t.verdict(packet), 'passed', JSON.stringify(packet));
  });

  it('what is at listed addresses is judged by those, and not twice', async () => {
    const t = openNode();
    await t.pass(
      isolated('a', { ingress: [{ from: [{ podSelector: { matchLabels: { pod: 'b' } } }] }] }),
      isolated('b', {}),
    );
    assert.equal(t.verdict({ source: '10.0.0.2', destination: '10.0.0.1', ...BRIDGED }), 'passed');
    assert.equal(t.verdict({ source: '10.0.0.1', destination: '10.0.0.2', ...BACK }), 'dropped');
    assert.equal(t.verdict({ source: '10.0.0.99', destination: '10.0.0.1', ...BRIDGED }), 'dropped', 'not from b');
  });

  it('a pod without an address of the family is isolated in it as well', async () => {
    const t = openNode();
    await t.pass(isolated('b'));
    assert.equal(t.verdict({ source: 'fe80::a', destination: 'fe80::b', ...BACK }), 'dropped');
    assert.equal(t.verdict({ source: 'fe80::b', destination: 'fe80::a', ...BRIDGED }), 'dropped');
  });

  it('live flows are judged again when an interface becomes known or its rules get stricter, and not when they get looser', async () => {
    const t = openNode();
    t.attach([]);
    await t.pass(isolated('a', { policyTypes: ['Ingress'] }));
    const before = t.epoch();
    t.attach(PORTS);
    await t.pass(isolated('a', { policyTypes: ['Ingress'] }));
    const known = t.epoch();
    assert.notEqual(known, before);
    await t.pass(isolated('a', { ingress: [{ ports: [{ port: 80 }] }] }));
    assert.equal(t.epoch(), known);
    await t.pass(isolated('a', { ingress: [{ ports: [{ port: 81 }] }] }));
    assert.notEqual(t.epoch(), known);
  });
}
