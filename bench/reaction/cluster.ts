/**
 * The cluster in which reactions are timed: local pods in groups, policies spread over the groups, remote pods that they name; and one
 * local pod, the server, with a policy and a port for each kind of change, so that no kind meets the rules of another.
 */
import type { ApiObjects, ApiWrite } from '../api-process.ts';
import { namespaceObject, nodeObject, podObject, runningStatus } from '../../test/support/api-objects.ts';
import { policyObject } from '../../test/support/builders.ts';
import { LOCAL_NODE, NODE_ADDRESS, podAddress, type RawObject } from '../cluster-model.ts';

export const KINDS = [
  'policy edited',
  'local pod relabelled',
  'remote pod comes or goes',
  'remote pod relabelled',
] as const;
export type Kind = (typeof KINDS)[number];

export interface Probe {
  /** Addresses of both ends, and the UDP port. */
  readonly source: string;
  readonly port: number;
}

export interface ReactionSize {
  readonly localPods: number;
  readonly policies: number;
}

const NAMESPACE = 'bench';
const GROUPS = 50;
const REMOTE_PODS = 1_000;
const APPS = 100;

export const SERVER = '10.1.0.10';
/** Remote pods whose packets are watched: one is always there, one comes and goes, one changes its label. */
const CLIENT = '10.2.255.1';
const VISITOR = '10.2.255.2';
const TURNCOAT = '10.2.255.3';
export const CLIENTS: readonly string[] = [CLIENT, VISITOR, TURNCOAT];

export const PROBES: Readonly<Record<Kind, Probe>> = {
  'policy edited': { source: CLIENT, port: 8081 },
  'local pod relabelled': { source: CLIENT, port: 8082 },
  'remote pod comes or goes': { source: VISITOR, port: 8083 },
  'remote pod relabelled': { source: TURNCOAT, port: 8084 },
};

/** Of the rules all of which name pods of tier `wanted`. */
const TIER_PORT = PROBES['remote pod relabelled'].port;

export function groupCount({ localPods, policies }: ReactionSize): number {
  return Math.min(GROUPS, localPods, policies);
}

/** As `change` leaves it with `allowed: false`, for every kind. */
export function reactionObjects(size: ReactionSize): ApiObjects {
  const groups = groupCount(size);
  const local = Array.from({ length: size.localPods - 1 }, (_, index) =>
    pod(`local-${index}`, LOCAL_NODE, `10.1.${1 + (index >> 8)}.${index & 255}`, { group: `g${(index + 1) % groups}` }),
  );
  const remote = Array.from({ length: REMOTE_PODS }, (_, index) =>
    pod(`remote-${index}`, `node-${1 + (index % 20)}`, podAddress(0x30000 + index), { app: `a${index % APPS}` }),
  );
  const policies = Array.from({ length: size.policies }, (_, index) => groupPolicy(index, groups));
  return {
    namespaces: [namespaceObject(NAMESPACE, metaOf(NAMESPACE, { team: 'bench' }))],
    nodes: [nodeObject(LOCAL_NODE, [NODE_ADDRESS], metaOf(LOCAL_NODE))],
    pods: [
      ...local,
      serverPod('shut'),
      pod('client', 'node-1', CLIENT, { probe: 'client' }),
      turncoat('other'),
      ...remote,
    ],
    networkpolicies: [...policies, editedPolicy(false), ...serverPolicies()],
  };
}

/** The write that lets the probe of this kind through, or stops it. */
export function change(kind: Kind, allowed: boolean): ApiWrite {
  switch (kind) {
    case 'policy edited':
      return { type: 'put', resource: 'networkpolicies', object: editedPolicy(allowed) };
    case 'local pod relabelled':
      return { type: 'put', resource: 'pods', object: serverPod(allowed ? 'open' : 'shut') };
    case 'remote pod comes or goes':
      return {
        type: allowed ? 'put' : 'remove',
        resource: 'pods',
        object: pod('visitor', 'node-2', VISITOR, { probe: 'visitor' }),
      };
    case 'remote pod relabelled':
      return { type: 'put', resource: 'pods', object: turncoat(allowed ? 'wanted' : 'other') };
  }
}

/** Event `n` of pods of other nodes that come, change a label that policies name, and go: each pod takes three events. */
export function churnWrite(n: number): ApiWrite {
  const index = Math.floor(n / 3);
  const step = n % 3;
  const labels = { app: `a${index % APPS}`, tier: step === 0 ? 'wanted' : 'other' };
  const object = pod(`churn-${index}`, `node-${1 + (index % 20)}`, podAddress(0x40000 + (index % 20_000)), labels);
  return { type: step === 2 ? 'remove' : 'put', resource: 'pods', object };
}

/** Edit `n` of a policy on a group of local pods: other peers and another port each time. */
export function policyWrite(n: number, size: ReactionSize): ApiWrite {
  const groups = groupCount(size);
  const group = n % groups;
  return { type: 'put', resource: 'networkpolicies', object: groupPolicy(group, groups, 1 + n) };
}

function groupPolicy(index: number, groups: number, edit = 0): RawObject {
  const app = `a${(index + edit) % APPS}`;
  const peers = [{ podSelector: { matchLabels: { app } } }];
  // One policy of each group: all of them name the same remote pods.
  const tier = index < groups ? [allow([{ podSelector: { matchLabels: { tier: 'wanted' } } }], TIER_PORT)] : [];
  const port = 9_000 + (index % 500) + (edit % 2) * 1_000;
  return policy(`group-${index}`, { group: `g${index % groups}` }, [allow(peers, port), ...tier]);
}

function editedPolicy(allowed: boolean): RawObject {
  const port = PROBES['policy edited'].port + (allowed ? 0 : 1_000);
  return policy('edited', { probe: 'server' }, [allow(fromProbe('client'), port)]);
}

function serverPolicies(): readonly RawObject[] {
  return [
    policy('label', { probe: 'server', mode: 'open' }, [
      allow(fromProbe('client'), PROBES['local pod relabelled'].port),
    ]),
    policy('members', { probe: 'server' }, [allow(fromProbe('visitor'), PROBES['remote pod comes or goes'].port)]),
  ];
}

function fromProbe(probe: string): readonly object[] {
  return [{ podSelector: { matchLabels: { probe } } }];
}

function allow(from: readonly object[], port: number): object {
  return { from, ports: [{ protocol: 'UDP', port }] };
}

function policy(name: string, matchLabels: Record<string, string>, ingress: readonly object[]): RawObject {
  const spec = { podSelector: { matchLabels }, policyTypes: ['Ingress'], ingress };
  return policyObject(`${NAMESPACE}/${name}`, spec, metaOf(name));
}

function serverPod(mode: 'open' | 'shut'): RawObject {
  return pod('server', LOCAL_NODE, SERVER, { group: 'g0', probe: 'server', mode });
}

function turncoat(tier: 'wanted' | 'other'): RawObject {
  return pod('turncoat', 'node-3', TURNCOAT, { tier });
}

function pod(name: string, nodeName: string, podIP: string, labels: Record<string, string>): RawObject {
  const status = { ...runningStatus(podIP), conditions: [{ type: 'Ready', status: 'True' }] };
  return { ...podObject(`${NAMESPACE}/${name}`, { labels, metadata: metaOf(name), spec: { nodeName } }), status };
}

function metaOf(name: string, labels?: Record<string, string>) {
  return { uid: `uid-${name}`, creationTimestamp: '2024-01-01T00:00:00Z', ...(labels ? { labels } : {}) };
}
