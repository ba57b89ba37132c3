/** Clauses of the semantics that no scenario table can show: packets traced through the rules of one node (docs/conformance.md). */
import assert from 'node:assert/strict';
import type { ClusterSnapshot, Pod, Policy } from '../src/policy/model.ts';
import { explainVerdict } from '../src/policy/explain-verdict.ts';
import { evaluate } from '../src/policy/evaluate.ts';
import { namespace, pod, policy, snapshot } from './support/builders.ts';
import { createFakeNode, enforce, type FakeNode } from './support/fake-cluster.ts';
import { type Packet, traceRules } from './support/tracer.ts';

const NODE = 'node-1';
const TCP = 6;
const UDP = 17;
const OUTSIDE = { 4: '203.0.113.9', 6: '2001:db8::9' } as const;
const A = { 4: '10.0.0.1', 6: 'fd00::1' } as const;
const B = { 4: '10.0.0.2', 6: 'fd00::2' } as const;
const NODES = [{ name: NODE, addresses: ['172.18.0.2', 'fd00:18::2'] }];

const ISOLATED = policy('x/isolated', {
  podSelector: { matchLabels: { pod: 'a' } },
  policyTypes: ['Ingress', 'Egress'],
});

/** `x/a` and `x/b` on the node, with both families; `x/a` is under the policies. */
function clusterWith(policies: readonly Policy[], fields: Partial<Pod> = {}): ClusterSnapshot {
  const pods = [pod('x/a', { addresses: [A[4], A[6]], ...fields }), pod('x/b', { addresses: [B[4], B[6]] })];
  return snapshot({ pods, policies, nodes: NODES });
}

async function nodeWith(cluster: ClusterSnapshot): Promise<FakeNode> {
  const node = createFakeNode(NODE);
  await enforce(node, cluster);
  return node;
}

type Sent = Omit<Packet, 'family'>;

function verdict(node: FakeNode, sent: Sent): 'passed' | 'dropped' {
  return traceRules(node.kernel.state(), { ...sent, family: sent.source.includes(':') ? 6 : 4 }).verdict;
}

/** The rules and, where it is a connection, the reference evaluator. */
async function expect(
  cluster: ClusterSnapshot,
  wanted: 'passed' | 'dropped',
  ...packets: readonly Sent[]
): Promise<void> {
  judge(await nodeWith(cluster), cluster, wanted, packets);
}

function judge(node: FakeNode, cluster: ClusterSnapshot, wanted: 'passed' | 'dropped', packets: readonly Sent[]): void {
  for (const packet of packets) {
    assert.equal(verdict(node, packet), wanted, JSON.stringify(packet));
    const isConnection = packet.state === undefined && packet.hook === undefined;
    if (!isConnection) continue;
    const judged = evaluate(cluster, packet);
    assert.equal(judged.allowed ? 'passed' : 'dropped', wanted, `${JSON.stringify(packet)}\n${explainVerdict(judged)}`);
  }
}

describe('conformance: clauses without a table', () => {
  it('S-01: connections without a pod at either end are none of its business', async () => {
    const everything = ['default', 'kube-system', 'x'].map((ns) =>
      policy(`${ns}/deny`, { podSelector: {}, policyTypes: ['Ingress', 'Egress'] }),
    );
    const others = { protocol: TCP, port: 22 };
    await expect(
      clusterWith(everything),
      'passed',
      { source: OUTSIDE[4], destination: '198.51.100.1', ...others },
      { source: OUTSIDE[6], destination: '2001:db8:1::1', ...others },
      { source: OUTSIDE[4], destination: '172.18.0.2', hook: 'INPUT', ...others },
      { source: '172.18.0.3', destination: '172.18.0.2', hook: 'INPUT', ...others },
    );
  });

  it('S-22: a pod whose namespace is not known matches no namespaceSelector but {}', async () => {
    const from = (selector: object): Policy => {
      const podSelector = { matchLabels: { pod: 'a' } };
      return policy('x/p', { podSelector, ingress: [{ from: [{ namespaceSelector: selector }] }] });
    };
    const without = (rule: Policy): ClusterSnapshot => {
      const stranger = pod('y/c', { addresses: ['10.0.1.3'], nodeName: 'node-2' });
      const known = clusterWith([rule]);
      return {
        ...known,
        pods: new Map([...known.pods, ['y/c', stranger]]),
        namespaces: new Map([['x', namespace('x')]]),
      };
    };
    const flow = { source: '10.0.1.3', destination: A[4], protocol: TCP, port: 80 };
    await expect(without(from({})), 'passed', flow);
    for (const operator of ['DoesNotExist', 'NotIn']) {
      const values = operator === 'NotIn' ? { values: ['v'] } : {};
      await expect(without(from({ matchExpressions: [{ key: 'k', operator, ...values }] })), 'dropped', flow);
    }
    await expect(without(from({ matchLabels: { 'kubernetes.io/metadata.name': 'y' } })), 'dropped', flow);
  });

  it('S-49: hundreds of ports, peers and rules, and thousands of excepts', async () => {
    const ports = Array.from({ length: 400 }, (_, index) => ({ port: 1000 + 2 * index }));
    const except = Array.from({ length: 3000 }, (_, index) => `10.${64 + (index >> 8)}.${index & 255}.128/25`);
    const peers = Array.from({ length: 300 }, (_, index) => ({ ipBlock: { cidr: `203.0.113.${index % 250}/32` } }));
    const rules = Array.from({ length: 200 }, (_, index) => ({ ports: [{ protocol: 'UDP', port: 5000 + 3 * index }] }));
    const large = policy('x/large', {
      podSelector: { matchLabels: { pod: 'a' } },
      ingress: [{ from: [...peers, { ipBlock: { cidr: '10.0.0.0/8', except } }], ports }, ...rules],
    });
    const to = (source: string, protocol: number, port: number): Sent => ({
      source,
      destination: A[4],
      protocol,
      port,
    });
    const cluster = clusterWith([large]);
    const node = await nodeWith(cluster);
    judge(node, cluster, 'passed', [
      ...[to('10.64.0.127', TCP, 1000), to('10.75.183.127', TCP, 1798), to('10.75.184.200', TCP, 1400)],
      ...[to('203.0.113.249', TCP, 1798), to('198.51.100.1', UDP, 5000), to('198.51.100.1', UDP, 5597)],
    ]);
    judge(node, cluster, 'dropped', [
      ...[to('10.64.0.128', TCP, 1000), to('10.75.183.255', TCP, 1798), to('10.64.0.127', TCP, 1001)],
      ...[to('203.0.113.250', TCP, 1798), to('10.64.0.127', TCP, 1800), to('198.51.100.1', UDP, 5001)],
    ]);
  });

  it('S-56: link-local addresses are addresses like others', async () => {
    const metadata = { source: A[4], destination: '169.254.169.254', protocol: TCP, port: 80 };
    const linkLocal = { source: A[6], destination: 'fe80::1', protocol: TCP, port: 80 };
    const multicast = { source: A[4], destination: '239.1.2.3', protocol: UDP, port: 5353 };
    await expect(clusterWith([ISOLATED]), 'dropped', metadata, linkLocal, multicast);
    const to = ['169.254.0.0/16', 'fe80::/10', '224.0.0.0/4'].map((cidr) => ({ ipBlock: { cidr } }));
    const allows = policy('x/allows', {
      podSelector: { matchLabels: { pod: 'a' } },
      policyTypes: ['Egress'],
      egress: [{ to }],
    });
    await expect(clusterWith([ISOLATED, allows]), 'passed', metadata, linkLocal, multicast);
    const nodeLocal = { source: A[4], destination: '169.254.20.10', protocol: UDP, port: 53, hook: 'INPUT' } as const;
    await expect(clusterWith([ISOLATED]), 'dropped', nodeLocal);
    await expect(clusterWith([ISOLATED, allows]), 'passed', nodeLocal);
  });

  it('S-58: neighbour discovery and MLD pass, echo requests do not', async () => {
    const sent = (port: number, hook: 'FORWARD' | 'INPUT', back = false): Sent => {
      const [source, destination] = back ? [B[6], A[6]] : [A[6], hook === 'INPUT' ? 'fd00:18::2' : B[6]];
      // conntrack keeps no entries of them.
      return { source, destination, protocol: 58, port, hook, state: 'UNTRACKED', hopLimit: 255 };
    };
    const both = (type: number): Sent[] => [sent(type, 'FORWARD'), sent(type, 'FORWARD', true)];
    for (const type of [133, 134, 135, 136, 137]) {
      const all = [...both(type), sent(type, 'INPUT')];
      await expect(clusterWith([ISOLATED]), 'passed', ...all);
      const routed = [254, 64, 1].flatMap((hopLimit) => all.map((each) => ({ ...each, hopLimit })));
      await expect(clusterWith([ISOLATED]), 'dropped', ...routed);
    }
    for (const type of [128, 1, 132, 138, 144]) await expect(clusterWith([ISOLATED]), 'dropped', ...both(type));
    for (const type of [130, 131, 132, 143]) {
      const routed = both(type).flatMap((each) => [1, 64, 255].map((hopLimit) => ({ ...each, hopLimit })));
      await expect(clusterWith([ISOLATED]), 'dropped', ...routed);
    }
  });

  it('S-60: the answers of a pod to its node pass, also where live flows are judged again', async () => {
    const node = await nodeWith(clusterWith([ISOLATED]));
    const answer = { source: A[4], destination: '172.18.0.2', protocol: TCP, port: 40_000, hook: 'INPUT' } as const;
    const live = { ...answer, state: 'ESTABLISHED', direction: 'REPLY', connection: { mark: 0 } } as const;
    assert.equal(verdict(node, live), 'passed');
    assert.equal(verdict(node, answer), 'dropped', 'what it begins itself is egress (S-61)');
  });

  it("S-60: the node's own traffic over a trunk interface passes; an address or an interface alone is not enough", async () => {
    const fromNode = { source: '172.18.0.2', destination: A[4], protocol: TCP, port: 80, inInterface: 'vlan.eth.7' };
    const cluster = clusterWith([ISOLATED]);
    const node = await nodeWith(cluster);
    assert.equal(verdict(node, { ...fromNode, sourceIsLocal: true }), 'passed');
    assert.equal(verdict(node, fromNode), 'dropped', 'from elsewhere over a trunk interface');
    assert.equal(verdict(node, { ...fromNode, sourceIsLocal: true, inInterface: 'eth0' }), 'dropped', 'forged');
    const egress = { ...fromNode, source: A[4], destination: OUTSIDE[4], sourceIsLocal: true };
    assert.equal(verdict(node, egress), 'dropped', 'the exemption is for ingress only');
  });

  it('S-69: packets that belong to nothing are dropped at isolated pods, whatever the rules allow', async () => {
    const open = policy('x/open', {
      podSelector: { matchLabels: { pod: 'a' } },
      policyTypes: ['Ingress', 'Egress'],
      ingress: [{}],
      egress: [{}],
    });
    const invalid = (source: string, destination: string): Sent => ({
      source,
      destination,
      protocol: TCP,
      port: 80,
      state: 'INVALID',
    });
    const cluster = clusterWith([open]);
    await expect(cluster, 'dropped', invalid(A[4], OUTSIDE[4]), invalid(OUTSIDE[4], A[4]), invalid(A[6], OUTSIDE[6]));
    await expect(cluster, 'passed', { source: OUTSIDE[4], destination: A[4], protocol: TCP, port: 80 });
    await expect(cluster, 'passed', invalid(B[4], OUTSIDE[4]), invalid(OUTSIDE[6], B[6]));
  });

  it('S-74: a pod whose object is gone is gone, whatever still runs', async () => {
    const flow = { source: A[4], destination: OUTSIDE[4], protocol: TCP, port: 80 };
    const before = clusterWith([ISOLATED]);
    await expect(before, 'dropped', flow);
    const node = await nodeWith(before);
    const after = { ...before, pods: new Map([...before.pods].filter(([key]) => key !== 'x/a')) };
    await enforce(node, after);
    assert.equal(verdict(node, flow), 'passed');
    assert.ok(evaluate(after, flow).allowed);
  });

  it('S-76: a pod is isolated from its first address on, while its init containers run', async () => {
    for (const phase of ['Pending', 'Running', 'Unknown'] as const) {
      const cluster = clusterWith([ISOLATED], { phase });
      await expect(cluster, 'dropped', { source: A[4], destination: OUTSIDE[4], protocol: TCP, port: 443 });
      await expect(cluster, 'dropped', { source: OUTSIDE[6], destination: A[6], protocol: TCP, port: 443 });
    }
  });
});
