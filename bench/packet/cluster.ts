/**
 * The cluster whose rules are measured: one node with local pods in classes of equal size, each class with its own policies, and
 * remote pods that the policies name. All policies let the measured port through (or, if each has its own, another), but only the last
 * policy of the last class names the two measured pods, so every packet of theirs meets all other policies first.
 */
import type { Pod, ClusterSnapshot } from '../../src/policy/model.ts';
import { objectKey } from '../../src/policy/model.ts';
import { parseClusterPolicy } from '../../src/policy/parse-cluster-policy.ts';
import { namespaceObject, nodeObject, podObject as writtenPod, runningStatus } from '../../test/support/api-objects.ts';
import { parsedPolicy, pod as podOf, policyObject as writtenPolicy } from '../../test/support/builders.ts';
import { lowBits } from '../../src/dataplane/iptables/rules/low-bits.ts';
import type { ApiObjects } from '../api-process.ts';
import type { RawObject } from '../cluster-model.ts';
import type { Shape } from './shapes.ts';

export const NODE_NAME = 'measured';
export const PORT = 8080;
const NODE_ADDRESS = '10.3.0.1';
const NAMESPACE = 'bench';
const CREATED = '2024-01-01T00:00:00Z';
/** One object, as equal labels are where the agent reads them. */
const REMOTE: Pod['labels'] = { peer: 'yes' };
/** The first of the ports that policies have for themselves. */
const FIRST_OWN_PORT = 20_000;

export interface MeasuredCluster {
  /** The same cluster as the API has it. */
  readonly objects: ApiObjects;
  readonly snapshot: ClusterSnapshot;
  /** Addresses of the two pods between which traffic flows. */
  readonly client: string;
  readonly server: string;
}

export function makeCluster(shape: Shape): MeasuredCluster {
  const local = addresses('10.1', shape.pods).sort(bySearch);
  const [client, server] = local.slice(-2) as [string, string];
  const pods = [
    ...local.map((address, index) => localPod(address, index, shape)),
    ...addresses('10.2', shape.peers).map((address, index) => pod(`remote-${index}`, 'elsewhere', address, REMOTE)),
  ];
  const rawPolicies = Array.from({ length: shape.classes }, (_, group) =>
    Array.from({ length: shape.policies }, (_, index) => policyObject(group, index, shape)),
  ).flat();
  const policies = rawPolicies.map(parsedPolicy);
  const snapshot: ClusterSnapshot = {
    pods: new Map(pods.map((each) => [objectKey(each), each])),
    namespaces: new Map([[NAMESPACE, { name: NAMESPACE, uid: NAMESPACE, labels: {} }]]),
    policies: new Map(policies.map((each) => [objectKey(each), each])),
    nodes: new Map([[NODE_NAME, { name: NODE_NAME, addresses: [NODE_ADDRESS] }]]),
    problems: [],
  };
  const objects: ApiObjects = {
    namespaces: [namespaceObject(NAMESPACE, { uid: NAMESPACE })],
    nodes: [nodeObject(NODE_NAME, [NODE_ADDRESS], { uid: NODE_NAME })],
    pods: pods.map(podObject),
    networkpolicies: rawPolicies,
  };
  return { snapshot, objects, client, server };
}

/** Rules of one tier that every first packet of the measured pods is asked, in each direction; the API takes no more in one object. */
export const ORDERED_RULES = 25;

/** The same cluster under a policy of tier Admin whose rules accept and deny by turns, none of them what is measured. */
export function withTiers(snapshot: ClusterSnapshot): ClusterSnapshot {
  const everybody = { namespaces: {} };
  const rules = (peers: 'from' | 'to'): readonly object[] =>
    Array.from({ length: ORDERED_RULES }, (_, index) => ({
      action: index % 2 === 0 ? 'Accept' : 'Deny',
      [peers]: [everybody],
      protocols: [{ tcp: { destinationPort: { number: FIRST_OWN_PORT + index } } }],
    }));
  const spec = { tier: 'Admin', priority: 0, subject: everybody, ingress: rules('from'), egress: rules('to') };
  const { policy, problems } = parseClusterPolicy({ metadata: { name: 'guard-rails' }, spec });
  if (!policy || problems.length > 0) throw new Error(`the cluster-wide policy: ${problems[0]?.message}`);
  return { ...snapshot, clusterPolicies: new Map([[policy.name, policy]]) };
}

/** In the order in which both layouts look at them: the last four bits, where there are many the three before, the address as text. */
function bySearch(a: string, b: string): number {
  const [low, other] = [a, b].map((address) => [lowBits(address) & 15, (lowBits(address) >> 4) & 7] as const);
  return low![0] - other![0] || low![1] - other![1] || (a < b ? -1 : a > b ? 1 : 0);
}

/** The measured pods, the last two, are in the last class. */
function localPod(address: string, index: number, { pods, classes }: Shape): Pod {
  const isMeasured = index >= pods - 2;
  const group = isMeasured ? classes - 1 : index % classes;
  const name = `local-${String(index).padStart(5, '0')}`;
  return pod(name, NODE_NAME, address, { group: groupName(group), ...(isMeasured ? { measured: 'yes' } : {}) });
}

function pod(name: string, nodeName: string, address: string, labels: Pod['labels']): Pod {
  return podOf(`${NAMESPACE}/${name}`, { uid: name, nodeName, addresses: [address], labels });
}

function podObject({ name, uid, nodeName, addresses, labels }: Pod): RawObject {
  const metadata = { uid, creationTimestamp: CREATED };
  const written = writtenPod(`${NAMESPACE}/${name}`, { labels: { ...labels }, metadata, spec: { nodeName } });
  return { ...written, status: runningStatus(...addresses) };
}

function policyObject(group: number, index: number, { classes, policies, kind }: Shape): RawObject {
  const name = `${groupName(group)}-${String(index).padStart(3, '0')}`;
  // The name as one more value: no two policies mean the same set.
  const remote = { podSelector: { matchExpressions: [{ key: 'peer', operator: 'In', values: ['yes', name] }] } };
  const measured = { podSelector: { matchLabels: { measured: 'yes' } } };
  const isMeasured = group === classes - 1 && index === policies - 1;
  const peers = isMeasured ? [remote, measured] : [remote];
  const port = kind === 'own ports' && !isMeasured ? FIRST_OWN_PORT + group * policies + index : PORT;
  const ports = ['TCP', 'UDP'].map((protocol) => ({ protocol, port }));
  const key = `${NAMESPACE}/${name}`;
  const spec = {
    podSelector: {
      matchLabels: { group: groupName(group) },
      ...(kind === 'own words' ? { matchExpressions: [{ key: name, operator: 'DoesNotExist' }] } : {}),
    },
    policyTypes: ['Ingress', 'Egress'],
    ingress: [{ from: peers, ports }],
    egress: [{ to: peers, ports }],
  };
  return writtenPolicy(key, spec, { uid: name });
}

function groupName(group: number): string {
  return `g${String(group).padStart(3, '0')}`;
}

/** `count` addresses from the /16 that begins with `prefix`. */
function addresses(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}.${index >> 8}.${index & 255}`);
}
