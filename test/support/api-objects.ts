/** Objects as a user writes them and as the API server sends them. Values of the policy stage are in builders.ts. */
import { type PolicySpec, policyObject, splitKey } from './builders.ts';

export interface PodFields {
  readonly labels?: Readonly<Record<string, string>>;
  /** More of it. */
  readonly metadata?: object;
  readonly spec?: object;
}

/** A pod on `node-1` with one container and the label `pod: <name>`; `fields` adds and replaces. */
export function podObject(key: string, { labels, metadata, spec }: PodFields = {}) {
  const { namespace, name } = splitKey(key);
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace, name, labels: labels ?? { pod: name }, ...metadata },
    spec: { nodeName: 'node-1', containers: [{ name: 'main', image: 'lab' }], ...spec },
  };
}

/** A namespace; `metadata` adds to it. */
export function namespaceObject(name: string, metadata: object = {}) {
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name, ...metadata } };
}

/** A node with these addresses; `metadata` adds to it. */
export function nodeObject(name: string, addresses: readonly string[] = [], metadata: object = {}) {
  const status = { addresses: addresses.map((address) => ({ type: 'InternalIP', address })) };
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, ...metadata },
    ...(addresses.length > 0 ? { status } : {}),
  };
}

/** Of a pod that runs and shows these addresses. */
export function runningStatus(...addresses: readonly string[]) {
  return { phase: 'Running', podIP: addresses[0], podIPs: addresses.map((ip) => ({ ip })) };
}

export interface ApiPodOptions {
  readonly uid?: string;
  readonly version?: string;
  readonly labels?: Record<string, string>;
  readonly ip?: string;
}

/** A running pod in namespace x, as listed or watched. */
export function apiPod(name: string, options: ApiPodOptions = {}): object {
  const { uid = `uid-${name}`, version = '1', labels, ip = '203.0.113.1' } = options;
  const containers = [{ name: 'c', ports: [{ name: 'web', containerPort: 80 }] }];
  return {
    ...podObject(`x/${name}`, {
      ...(labels ? { labels } : {}),
      metadata: { uid, resourceVersion: version, creationTimestamp: '2026-11-01T00:00:00Z' },
      spec: { containers },
    }),
    // Without podIP: what is wrong with an address is a problem of one field.
    status: { phase: 'Running', podIPs: [{ ip }] },
  };
}

export function apiList(items: readonly unknown[], version: string, token?: string): object {
  return {
    kind: 'PodList',
    apiVersion: 'v1',
    metadata: { resourceVersion: version, ...(token === undefined ? {} : { continue: token }) },
    items,
  };
}

export interface ApiPolicyOptions {
  readonly namespace?: string;
  /** Seconds after some moment. */
  readonly created?: number;
  readonly uid?: string;
  readonly spec?: PolicySpec;
}

/** A policy that isolates pods with the label `app: <name>`, as listed or watched. */
export function apiPolicy(name: string, options: ApiPolicyOptions = {}) {
  const { namespace = 'x', created = 0, uid = `uid-${name}`, spec = {} } = options;
  const creationTimestamp = new Date(1_790_000_000_000 + created * 1000).toISOString();
  return policyObject(
    `${namespace}/${name}`,
    { podSelector: { matchLabels: { app: name } }, policyTypes: ['Ingress'], ...spec },
    { uid, resourceVersion: '1', creationTimestamp },
  );
}

/** A section of rules of about that many bytes of JSON. */
export function rulesOf(bytes: number, seed = 0): readonly unknown[] {
  const block = (n: number): unknown => ({
    ipBlock: { cidr: `${11 + ((n + seed) % 90)}.${(n >> 8) % 256}.${n % 256}.${(n * 7 + seed) % 256}/32` },
  });
  const each = JSON.stringify(block(77)).length + 1;
  return [{ from: Array.from({ length: Math.max(1, Math.round(bytes / each)) }, (_, n) => block(n)) }];
}
