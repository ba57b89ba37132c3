/** A scenario's cluster as values: steps change it, and it gives the snapshot the agent would have and the flows a probe causes. */
import type { Direction, Family, PolicyMode } from '../../src/core/vocabulary.ts';
import { PROTOCOL_NUMBER } from '../../src/core/vocabulary.ts';
import { type ClusterSnapshot, type Flow, type Pod, type Problem, objectKey } from '../../src/policy/model.ts';
import { parseClusterPolicy } from '../../src/policy/parse-cluster-policy.ts';
import { parsePolicy } from '../../src/policy/parse.ts';
import type {
  Change,
  Expectation,
  LabelPatch,
  NodePortSpec,
  PodSpec,
  ProbeProtocol,
  Topology,
  Via,
} from '../scenarios/scenario.ts';
import {
  type AddressOf,
  type Addresses,
  nodeAddresses,
  outsideAddresses,
  podAddresses,
  resolvePlaceholders,
} from './address-plan.ts';
import { namespace, pod } from './builders.ts';

interface PodState {
  readonly spec: PodSpec;
  /** What the pod has on the network; empty once another pod took its addresses. */
  readonly addresses: Addresses;
  /** The object, with the addresses it publishes. */
  readonly object: Pod;
}

export interface ClusterState {
  readonly topology: Topology;
  /** Of placeholders that do not name one. */
  readonly family: Family;
  readonly pods: ReadonlyMap<string, PodState>;
  readonly created: number;
  readonly snapshot: ClusterSnapshot;
}

export function initialState(topology: Topology, family: Family): ClusterState {
  const empty: ClusterState = {
    topology,
    family,
    pods: new Map(),
    created: 0,
    snapshot: {
      pods: new Map(),
      namespaces: new Map(Object.entries(topology.namespaces).map(([name, labels]) => [name, namespace(name, labels)])),
      policies: new Map(),
      nodes: new Map(
        topology.nodes.map((name, index) => [name, { name, addresses: Object.values(nodeAddresses(index)) }]),
      ),
      labelledNodes: new Map(
        topology.nodes.map((name, index) => {
          const labels = { 'kubernetes.io/hostname': name, 'kubernetes.io/os': 'linux' };
          return [name, { name, addresses: Object.values(nodeAddresses(index)), labels }];
        }),
      ),
      problems: [],
    },
  };
  return topology.pods.reduce((state, pod) => createPod(state, pod), empty);
}

export function applyChange(state: ClusterState, change: Change): ClusterState {
  switch (change.kind) {
    case 'apply':
      return change.object.kind === 'NetworkPolicy'
        ? applyPolicy(state, change.object)
        : applyClusterPolicy(state, change.object);
    case 'delete-policy': {
      const policies = new Map(state.snapshot.policies);
      if (!policies.delete(change.policy)) throw new Error(`no policy ${change.policy} to delete`);
      return { ...state, snapshot: { ...state.snapshot, policies } };
    }
    case 'delete-cluster-policy': {
      const clusterPolicies = new Map(state.snapshot.clusterPolicies);
      if (!clusterPolicies.delete(change.policy)) throw new Error(`no cluster policy ${change.policy} to delete`);
      const problems = state.snapshot.problems.filter(({ object }) => object.name !== change.policy);
      return { ...state, snapshot: { ...state.snapshot, clusterPolicies, problems } };
    }
    case 'label-node': {
      const labelledNodes = new Map(state.snapshot.labelledNodes);
      const before = labelledNodes.get(change.node);
      if (before === undefined) throw new Error(`no node ${change.node} to label`);
      labelledNodes.set(change.node, { ...before, labels: patch(before.labels, change.labels) });
      return { ...state, snapshot: { ...state.snapshot, labelledNodes } };
    }
    case 'set-mode':
      return setMode(state, change.object, change.mode);
    case 'label-namespace': {
      const before = state.snapshot.namespaces.get(change.namespace);
      if (before === undefined) throw new Error(`no namespace ${change.namespace} to label`);
      const after = { ...before, labels: patch(before.labels, change.labels) };
      const namespaces = new Map(state.snapshot.namespaces).set(change.namespace, after);
      return { ...state, snapshot: { ...state.snapshot, namespaces } };
    }
    case 'label-pod':
      return changePod(state, change.pod, (pod) => ({ ...pod, labels: patch(pod.labels, change.labels) }));
    case 'set-phase':
      return changePod(state, change.pod, (pod) => ({ ...pod, phase: change.phase }));
    case 'terminate':
      return changePod(state, change.pod, (pod) => ({ ...pod, terminating: true }));
    case 'publish-addresses': {
      const published = publish(podState(state, change.pod).addresses, change.addresses);
      return changePod(state, change.pod, (pod) => ({ ...pod, addresses: published }));
    }
    case 'delete-pod': {
      podState(state, change.pod);
      return withPods(state, new Map([...state.pods].filter(([key]) => key !== change.pod)));
    }
    case 'create-pod':
      return createPod(state, change.pod, change.addressesOf);
  }
}

function setMode({ snapshot, ...rest }: ClusterState, key: string, mode: PolicyMode | null): ClusterState {
  const withMode = <T extends { readonly mode?: PolicyMode }>(all: ReadonlyMap<string, T>): Map<string, T> => {
    const before = all.get(key);
    if (before === undefined) throw new Error(`no ${key} to set the mode of`);
    const { mode: _, ...others } = before;
    return new Map(all).set(key, { ...others, ...(mode ? { mode } : {}) } as T);
  };
  const changed = key.includes('/')
    ? { policies: withMode(snapshot.policies) }
    : { namespaces: withMode(snapshot.namespaces) };
  return { ...rest, snapshot: { ...snapshot, ...changed } };
}

function applyPolicy(state: ClusterState, object: object): ClusterState {
  const resolved = resolvePlaceholders(
    object,
    (endpoint, family) => addressesOf(state, endpoint)?.[family],
    state.family,
  );
  const { policy, problems: found } = parsePolicy(resolved);
  if (policy === undefined) throw new Error('a scenario policy has no usable name');
  const others = state.snapshot.problems.filter((problem: Problem) => objectKeyOf(problem) !== objectKey(policy));
  return {
    ...state,
    snapshot: {
      ...state.snapshot,
      policies: new Map(state.snapshot.policies).set(objectKey(policy), policy),
      problems: [...others, ...found],
    },
  };
}

function applyClusterPolicy(state: ClusterState, given: object): ClusterState {
  const addressOf: AddressOf = (endpoint, family) => addressesOf(state, endpoint)?.[family];
  const { policy, problems } = parseClusterPolicy(resolvePlaceholders(given, addressOf, state.family));
  if (policy === undefined) throw new Error('a cluster-wide policy of a scenario has no usable name');
  const clusterPolicies = new Map(state.snapshot.clusterPolicies).set(policy.name, policy);
  const others = state.snapshot.problems.filter(({ object }) => object.name !== policy.name);
  return { ...state, snapshot: { ...state.snapshot, clusterPolicies, problems: [...others, ...problems] } };
}

function objectKeyOf({ object }: Problem): string {
  return `${object.namespace}/${object.name}`;
}

function createPod(state: ClusterState, spec: PodSpec, reusing?: string): ClusterState {
  const node = state.topology.nodes.indexOf(spec.node);
  if (node < 0) throw new Error(`pod ${spec.key} is on unknown node ${spec.node}`);
  if (state.pods.has(spec.key)) throw new Error(`pod ${spec.key} exists already`);
  const own = spec.hostNetwork ? nodeAddresses(node) : podAddresses(node, state.created);
  const addresses = reusing === undefined ? own : podState(state, reusing).addresses;
  const object = pod(spec.key, {
    uid: `uid-${state.created}`,
    nodeName: spec.node,
    addresses: Object.values(addresses),
    hostNetwork: spec.hostNetwork,
    createdAtMs: 1_000_000_000_000 + state.created * 1000,
    addressesSince: state.created,
    labels: spec.labels,
    // S-45: init containers that end do not count.
    namedPorts: spec.ports
      .filter(({ container }) => container !== 'init')
      .map(({ name, protocol, port }) => ({ name, protocol, port })),
  });
  const pods = new Map(state.pods);
  if (reusing !== undefined) pods.set(reusing, { ...podState(state, reusing), addresses: {} });
  pods.set(spec.key, { spec, addresses, object });
  return withPods({ ...state, created: state.created + 1 }, pods);
}

function withPods(state: ClusterState, pods: ReadonlyMap<string, PodState>): ClusterState {
  const objects = new Map([...pods].map(([key, { object }]) => [key, object]));
  return { ...state, pods, snapshot: { ...state.snapshot, pods: objects } };
}

function changePod(state: ClusterState, key: string, change: (pod: Pod) => Pod): ClusterState {
  const before = podState(state, key);
  return withPods(state, new Map(state.pods).set(key, { ...before, object: change(before.object) }));
}

function podState(state: ClusterState, key: string): PodState {
  const found = state.pods.get(key);
  if (found === undefined) throw new Error(`no pod ${key}`);
  return found;
}

function patch(labels: Readonly<Record<string, string>>, changes: LabelPatch): Record<string, string> {
  const merged = Object.entries({ ...labels, ...changes });
  return Object.fromEntries(merged.filter((entry): entry is [string, string] => entry[1] !== null));
}

function publish(addresses: Addresses, which: 'none' | 'only4' | 'only6' | 'all'): string[] {
  switch (which) {
    case 'none':
      return [];
    case 'only4':
      return addresses[4] === undefined ? [] : [addresses[4]];
    case 'only6':
      return addresses[6] === undefined ? [] : [addresses[6]];
    case 'all':
      return Object.values(addresses);
  }
}

// --- endpoints and probes ---

/** Undefined for a name that is not in the cluster (yet, or any more). */
export function addressesOf(state: ClusterState, endpoint: string): Addresses | undefined {
  if (endpoint.includes('/')) return state.pods.get(endpoint)?.addresses;
  const node = state.topology.nodes.indexOf(endpoint);
  if (node >= 0) return nodeAddresses(node);
  const index = state.topology.outside.findIndex(({ name }) => name === endpoint);
  if (index < 0) return undefined;
  const fixed = state.topology.outside[index]?.addresses;
  if (fixed === undefined) return outsideAddresses(index);
  const [four, six] = [fixed.find((each) => !each.includes(':')), fixed.find((each) => each.includes(':'))];
  return { ...(four === undefined ? {} : { 4: four }), ...(six === undefined ? {} : { 6: six }) };
}

/** The node an endpoint is on; undefined for outside hosts. */
function nodeOf(state: ClusterState, endpoint: string): string | undefined {
  return endpoint.includes('/') ? podState(state, endpoint).spec.node : hostNodeOf(state, endpoint);
}

/** The node whose host network an endpoint is. */
function hostNodeOf(state: ClusterState, endpoint: string): string | undefined {
  if (!endpoint.includes('/')) return state.topology.nodes.includes(endpoint) ? endpoint : undefined;
  const { spec } = podState(state, endpoint);
  return spec.hostNetwork ? spec.node : undefined;
}

export interface Probe {
  readonly from: string;
  readonly to: string;
  readonly protocol: ProbeProtocol;
  readonly port: number;
  readonly family: Family;
  readonly via: Via;
}

/** A flow and the sides of it that are judged where it passes a node's forward hook. */
export interface Leg {
  readonly flow: Flow;
  readonly sides: readonly Direction[];
}

const BOTH: readonly Direction[] = ['egress', 'ingress'];

/**
 * The flows a probe consists of as the nodes see them, after DNAT and before SNAT (S-51, S-53, S-55); it gets through iff every leg does.
 * Undefined if an end has no address of the family, so that there is nothing to probe.
 */
export function legsOf(state: ClusterState, probe: Probe): readonly Leg[] | undefined {
  const source = addressesOf(state, probe.from)?.[probe.family];
  const destination = addressesOf(state, probe.to)?.[probe.family];
  if (source === undefined || destination === undefined) return undefined;
  const fromNode = hostNodeOf(state, probe.from);
  const protocol = protocolNumber(probe);
  const flow: Flow = {
    source,
    destination,
    protocol,
    port: probe.port,
    ...(fromNode === undefined ? {} : { fromNode }),
    // N-71.
    ...(probe.via === 'cluster-ip' ? { viaService: true } : {}),
  };
  // A Service in front changes nothing: the forward hook sees the pod's address and port either way (S-51).
  if (probe.via === 'pod-ip' || probe.via === 'cluster-ip') return [{ flow, sides: BOTH }];
  return nodePortLegs(state, probe, flow, probe.via.nodePortOf);
}

function protocolNumber({ protocol, family }: Probe): number {
  return protocol === 'ICMP' && family === 6 ? PROTOCOL_NUMBER.ICMPv6 : PROTOCOL_NUMBER[protocol];
}

/** `flow` goes to the node port of node `entry` instead of to the pod. Senders: pods and outside hosts. */
function nodePortLegs(state: ClusterState, probe: Probe, flow: Flow, entry: string): readonly Leg[] {
  const { nodePort } = nodePortFor(state.topology, probe);
  const entryAddress = addressesOf(state, entry)?.[probe.family];
  if (entryAddress === undefined) throw new Error(`no node ${entry}`);
  const podNode = nodeOf(state, probe.to);
  const senderNode = nodeOf(state, probe.from);
  // The entry node rewrites the source after its forward hook: only another node sees the new one (S-53).
  const arriving = podNode === entry ? flow : { ...flow, source: entryAddress };
  if (senderNode === entry) {
    return podNode === entry
      ? [{ flow, sides: BOTH }]
      : [
          { flow, sides: ['egress'] },
          { flow: arriving, sides: ['ingress'] },
        ];
  }
  return [
    { flow: { ...flow, destination: entryAddress, port: nodePort }, sides: ['egress'] },
    { flow: arriving, sides: ['ingress'] },
  ];
}

function nodePortFor(of: Topology, probe: Probe): NodePortSpec {
  const found = of.nodePorts.find(
    ({ pod, protocol, port }) => pod === probe.to && protocol === probe.protocol && port === probe.port,
  );
  if (found === undefined) throw new Error(`no node port leads to ${probe.to} ${probe.protocol}/${probe.port}`);
  return found;
}

/** Everything some table of the scenario probes: what every endpoint must listen on. */
export function probedPorts(
  expectations: readonly Expectation[],
): readonly { readonly protocol: ProbeProtocol; readonly port: number }[] {
  const found = new Map(expectations.map(({ protocol, port }) => [`${protocol}/${port}`, { protocol, port }]));
  return [...found.values()];
}
