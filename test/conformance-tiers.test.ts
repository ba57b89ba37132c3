/** Points of cluster-wide policies that no scenario table can show: what is read of an object, and packets of one node (docs/conformance.md). */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { parseAllDocuments } from 'yaml';
import { API_KINDS } from '../src/cluster/kinds.ts';
import { evaluate } from '../src/policy/evaluate.ts';
import type { ClusterSnapshot } from '../src/policy/model.ts';
import { parseClusterPolicy } from '../src/policy/parse-cluster-policy.ts';
import { namespace, pod, policy, snapshot } from './support/builders.ts';
import { createFakeNode, enforce } from './support/fake-cluster.ts';
import { type Packet, traceRules } from './support/tracer.ts';

const NODE = 'node-1';
const TCP = 6;
const ICMPV6 = 58;
const A = { 4: '10.0.0.1', 6: 'fd00::1' } as const;
const B = { 4: '10.0.0.2', 6: 'fd00::2' } as const;
const FAMILIES = [4, 6] as const;

const ALL = { namespaces: {} };
const tcp = (number: number): object => ({ tcp: { destinationPort: { number } } });

function read(spec: object): ReturnType<typeof parseClusterPolicy> {
  return parseClusterPolicy({ metadata: { name: 'p' }, spec: { tier: 'Admin', priority: 1, subject: ALL, ...spec } });
}

/** `x/a` and `x/b` on the node, with both families. */
function clusterWith(spec: object): ClusterSnapshot {
  const pods = [pod('x/a', { addresses: [A[4], A[6]] }), pod('x/b', { addresses: [B[4], B[6]] })];
  const { policy: parsed, problems } = read(spec);
  assert.deepEqual(problems, []);
  return {
    ...snapshot({ pods, namespaces: [namespace('x')], nodes: [{ name: NODE, addresses: ['172.18.0.2'] }] }),
    clusterPolicies: new Map([['p', parsed!]]),
  };
}

async function sender(cluster: ClusterSnapshot): Promise<(packet: Omit<Packet, 'family'>) => 'passed' | 'dropped'> {
  const node = createFakeNode(NODE);
  await enforce(node, cluster);
  return (packet) =>
    traceRules(node.kernel.state(), { ...packet, family: packet.source.includes(':') ? 6 : 4 }).verdict;
}

describe('conformance: points of cluster-wide policies without a table', () => {
  it('N-1: the kind, which belongs to no namespace', () => {
    const { path, namespaced, project } = API_KINDS.clusternetworkpolicies;
    assert.deepEqual([path, namespaced], ['/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies', false]);
    const projected = project({ metadata: { name: 'p' }, spec: {} }, undefined as never);
    assert.equal(projected.kind === 'record' && projected.key, 'p');
  });

  it('N-5: its status is nobody of ours to write', () => {
    const rules = parseAllDocuments(readFileSync(new URL('../manifests/base/rbac.yaml', import.meta.url), 'utf8'))
      .map((document) => document.toJS() as { readonly rules?: readonly Record<string, readonly string[]>[] })
      .flatMap((object) => object.rules ?? [])
      .filter(({ apiGroups }) => apiGroups?.includes('policy.networking.k8s.io'));
    assert.deepEqual(
      rules.map(({ resources, verbs }) => [resources, verbs]),
      [[['clusternetworkpolicies'], ['get', 'list', 'watch']]],
    );
  });

  it('N-4, N-12: nothing has a default, and a subject is one thing', () => {
    for (const missing of ['tier', 'priority', 'subject']) {
      const { problems } = read({ [missing]: undefined });
      assert.deepEqual(
        problems.map(({ field }) => field),
        [`spec.${missing}`],
      );
    }
    assert.equal(read({ subject: { ...ALL, pods: { podSelector: {} } } }).problems[0]!.field, 'spec.subject');
  });

  it('N-18: peers of ingress are pods alone; what else is there matches nothing, or denies everything', () => {
    for (const peer of [{ networks: ['10.0.0.0/8'] }, { nodes: {} }, { domainNames: ['a.example'] }]) {
      const { policy: parsed } = read({
        ingress: [
          { action: 'Accept', from: [peer, ALL] },
          { action: 'Deny', from: [peer] },
        ],
      });
      assert.deepEqual(parsed!.ingress[0]!.peers, [
        { kind: 'pods', namespaces: { kind: 'all-of', requirements: [] }, pods: { kind: 'all-of', requirements: [] } },
      ]);
      assert.deepEqual(parsed!.ingress[1], { action: 'Deny', ports: 'any', peers: 'any' });
    }
  });

  it('N-19, N-22: peers of egress are also nodes and networks', () => {
    const { policy: parsed, problems } = read({
      egress: [{ action: 'Deny', to: [ALL, { nodes: {} }, { networks: ['10.0.0.0/8', '::/0'] }] }],
    });
    assert.deepEqual(problems, []);
    const [rule] = parsed!.egress;
    assert.deepEqual(rule!.peers !== 'any' && rule!.peers.map(({ kind }) => kind), [
      'pods',
      'nodes',
      'ip-block',
      'ip-block',
    ]);
  });

  it('N-25 to N-29: an entry is one protocol or one name, a port one number or one range with both ends in it', () => {
    const portsOf = (...protocols: object[]): unknown =>
      read({ ingress: [{ action: 'Accept', from: [ALL], protocols }] }).policy!.ingress[0]!.ports;
    const range = (protocol: string, first: number, last: number): object => ({ kind: 'range', protocol, first, last });
    assert.deepEqual(portsOf(tcp(80)), [range('TCP', 80, 80)]);
    assert.deepEqual(portsOf({ udp: { destinationPort: { range: { start: 5, end: 9 } } } }), [range('UDP', 5, 9)]);
    // N-26: the CRD takes none without a port today, and the API's overview says that it means all of them.
    assert.deepEqual(portsOf({ sctp: {} }), [range('SCTP', 0, 65_535)]);
    assert.deepEqual(
      portsOf({ destinationNamedPort: 'web' }),
      ['TCP', 'UDP', 'SCTP'].map((protocol) => ({ kind: 'named', protocol, name: 'web' })),
    );
    for (const odd of [
      { tcp: { destinationPort: { number: 80 } }, udp: { destinationPort: { number: 80 } } },
      { tcp: { destinationPort: { number: 80, range: { start: 1, end: 2 } } } },
      { tcp: { destinationPort: { number: 0 } } },
      { tcp: { destinationPort: { range: { start: 9, end: 5 } } } },
      { destinationNamedPort: '' },
      {},
    ])
      assert.deepEqual(portsOf(odd), [], JSON.stringify(odd));
  });

  it('N-43: all addresses of a pod count, of subjects and of peers', async () => {
    const cluster = clusterWith({
      ingress: [{ action: 'Deny', from: [{ pods: { podSelector: { matchLabels: { pod: 'b' } } } }] }],
    });
    const send = await sender(cluster);
    for (const family of FAMILIES) {
      const flow = { source: B[family], destination: A[family], protocol: TCP, port: 80 };
      assert.equal(send(flow), 'dropped');
      assert.equal(evaluate(cluster, flow).allowed, false);
    }
  });

  it('N-50: one of the peers and one of the protocols are enough, and both are needed', () => {
    const peer = (name: string): object => ({ pods: { podSelector: { matchLabels: { pod: name } } } });
    const cluster = clusterWith({
      ingress: [{ action: 'Deny', from: [peer('none'), peer('b')], protocols: [tcp(80), tcp(81)] }],
    });
    const allowed = (source: string, port: number): boolean =>
      evaluate(cluster, { source, destination: A[4], protocol: TCP, port }).allowed;
    assert.deepEqual(
      [80, 81, 82].map((port) => allowed(B[4], port)),
      [false, false, true],
    );
    assert.equal(allowed('203.0.113.9', 80), true);
  });

  it('N-57, N-69: replies and errors of what is accepted pass, whatever the rules say of their own way', async () => {
    const onlyB = { pods: { podSelector: { matchLabels: { pod: 'b' } } } };
    const send = await sender(
      clusterWith({
        subject: { pods: { podSelector: { matchLabels: { pod: 'a' } } } },
        ingress: [
          { action: 'Accept', from: [onlyB], protocols: [tcp(80)] },
          { action: 'Deny', from: [ALL] },
        ],
        egress: [{ action: 'Deny', to: [{ networks: ['0.0.0.0/0', '::/0'] }] }],
      }),
    );
    const request = { source: B[4], destination: A[4], protocol: TCP, port: 80 };
    assert.equal(send(request), 'passed');
    const back = { source: A[4], destination: B[4], protocol: TCP, port: 40_000, sourcePort: 80 };
    assert.equal(send(back), 'dropped', 'what it begins itself is egress');
    // Judged under these rules, and not denied.
    const connection = { mark: 1 << 24 };
    assert.equal(send({ ...back, state: 'ESTABLISHED', direction: 'REPLY', connection }), 'passed');
    assert.equal(send({ ...back, protocol: 1, port: 3, state: 'RELATED', direction: 'REPLY', connection }), 'passed');
  });

  it('N-58: neighbours find each other whatever the rules say', async () => {
    const send = await sender(
      clusterWith({
        ingress: [{ action: 'Deny', from: [ALL] }],
        egress: [{ action: 'Deny', to: [{ networks: ['0.0.0.0/0', '::/0'] }] }],
      }),
    );
    const message = { source: A[6], destination: B[6], protocol: ICMPV6, state: 'UNTRACKED' } as const;
    for (const type of [133, 134, 135, 136, 137])
      assert.equal(send({ ...message, port: type, hopLimit: 255 }), 'passed');
    assert.equal(send({ ...message, port: 135, hopLimit: 64 }), 'dropped', 'routed, so no neighbour sent it');
    assert.equal(send({ ...message, port: 128, hopLimit: 255 }), 'dropped', 'an echo request is a connection');
  });

  it('N-59: what belongs to nothing is dropped where it was without cluster-wide policies: at what NetworkPolicy isolates', async () => {
    const accepting = clusterWith({ ingress: [{ action: 'Accept', from: [ALL], protocols: [tcp(80)] }] });
    const deny = policy('x/deny', { podSelector: { matchLabels: { pod: 'a' } } });
    const send = await sender({ ...accepting, policies: new Map([['x/deny', deny]]) });
    const packet = { source: B[4], destination: A[4], protocol: TCP, port: 80 };
    assert.equal(send(packet), 'passed');
    assert.equal(send({ ...packet, state: 'INVALID' }), 'dropped');
    const open = await sender(accepting);
    assert.equal(open({ ...packet, state: 'INVALID' }), 'passed');
  });

  it('N-92: what cannot be understood is told with its field and what follows', () => {
    const { problems } = read({ egress: [{ action: 'Deny', to: [{ domainNames: ['a.example'] }] }] });
    assert.deepEqual(problems, [
      {
        object: { kind: 'ClusterNetworkPolicy', name: 'p' },
        field: 'spec.egress[0].to[0].domainNames',
        message: 'is not supported by this agent: the rule denies everything',
      },
    ]);
  });
});
