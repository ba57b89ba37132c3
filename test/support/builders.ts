/** Short ways to write the values of the policy stage in tests. */
import {
  type ClusterSnapshot,
  type Namespace,
  type NodeRecord,
  objectKey,
  type Pod,
  type Policy,
  type Problem,
} from '../../src/policy/model.ts';
import { parsePolicy } from '../../src/policy/parse.ts';
import { MODE_KEY, type PolicyMode } from '../../src/core/vocabulary.ts';

/** `x/a` -> namespace and name. */
export function splitKey(key: string): { readonly namespace: string; readonly name: string } {
  const [namespace, name, ...rest] = key.split('/');
  if (!namespace || !name || rest.length > 0) throw new Error(`"${key}" is not namespace/name`);
  return { namespace, name };
}

/** A running pod on `node-1` without addresses and with the label `pod: <name>`. */
export function pod(key: string, fields: Partial<Omit<Pod, 'namespace' | 'name'>> = {}): Pod {
  const { namespace, name } = splitKey(key);
  return {
    namespace,
    name,
    uid: `uid-of-${key}`,
    nodeName: 'node-1',
    addresses: [],
    hostNetwork: false,
    phase: 'Running',
    terminating: false,
    createdAtMs: 0,
    addressesSince: 0,
    labels: { pod: name },
    namedPorts: [],
    ...fields,
  };
}

/** A namespace with `labels` and the label the API server adds (S-21). */
export function namespace(name: string, labels: Readonly<Record<string, string>> = {}): Namespace {
  return { name, uid: `uid-of-${name}`, labels: { ...labels, 'kubernetes.io/metadata.name': name } };
}

/** The shape of a NetworkPolicy's spec, loosely: tests also write wrong ones. */
export type PolicySpec = Readonly<Record<string, unknown>>;

/** No interface: it is taken for any JSON object. */
export type PolicyObject = {
  readonly apiVersion: 'networking.k8s.io/v1';
  readonly kind: 'NetworkPolicy';
  readonly metadata: { readonly namespace: string; readonly name: string };
  readonly spec: PolicySpec;
};

/** A NetworkPolicy object as a user writes it; `metadata` adds to it. */
export function policyObject(key: string, spec: PolicySpec, metadata: object = {}): PolicyObject {
  const apiVersion = 'networking.k8s.io/v1';
  return { apiVersion, kind: 'NetworkPolicy', metadata: { ...splitKey(key), ...metadata }, spec };
}

/** No interface, for the same reason. */
export type ClusterPolicyObject = {
  readonly apiVersion: 'policy.networking.k8s.io/v1alpha2';
  readonly kind: 'ClusterNetworkPolicy';
  readonly metadata: { readonly name: string };
  readonly spec: PolicySpec;
};

/** A ClusterNetworkPolicy object as a user writes it. */
export function clusterPolicyObject(name: string, spec: PolicySpec): ClusterPolicyObject {
  return { apiVersion: 'policy.networking.k8s.io/v1alpha2', kind: 'ClusterNetworkPolicy', metadata: { name }, spec };
}

/** A NetworkPolicy, read by the parser; throws if the parser finds anything wrong with it. `mode`: annotated. */
export function policy(key: string, spec: PolicySpec, mode?: PolicyMode): Policy {
  return parsedPolicy(policyObject(key, spec, mode ? { annotations: { [MODE_KEY]: mode } } : {}));
}

/** Throws if the parser finds anything wrong with it. */
export function parsedPolicy(object: unknown): Policy {
  const { policy: parsed, problems } = parsePolicy(object);
  if (parsed === undefined || problems.length > 0) throw new Error(problems.map(problemText).join('\n'));
  return parsed;
}

export function problemText({ object, field, message }: Problem): string {
  return `${object.kind} ${object.namespace ?? '?'}/${object.name}: ${field} ${message}`;
}

/** Namespaces that `namespaces` does not mention but pods are in exist with their default label only. */
export function snapshot(parts: {
  readonly pods?: readonly Pod[];
  readonly namespaces?: readonly Namespace[];
  readonly policies?: readonly Policy[];
  readonly nodes?: readonly NodeRecord[];
}): ClusterSnapshot {
  const pods = parts.pods ?? [];
  const namespaces = new Map(pods.map((each) => [each.namespace, namespace(each.namespace)]));
  for (const each of parts.namespaces ?? []) namespaces.set(each.name, each);
  return {
    pods: new Map(pods.map((each) => [objectKey(each), each])),
    namespaces,
    policies: new Map((parts.policies ?? []).map((each) => [objectKey(each), each])),
    nodes: new Map((parts.nodes ?? []).map((each) => [each.name, each])),
    problems: [],
  };
}
