/** The resources this API server offers. Pure data: discovery, routing and storage all read this table. */
import type { ResourceName } from './objects.ts';

export interface ResourceInfo {
  readonly group: string;
  readonly version: string;
  readonly plural: ResourceName;
  readonly singular: string;
  readonly kind: string;
  readonly namespaced: boolean;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  readonly subresources: readonly Subresource[];
}

export type Subresource = 'status' | 'scale' | 'binding' | 'eviction' | 'finalize' | 'log' | 'proxy';

interface Extra {
  readonly short?: readonly string[];
  readonly all?: boolean;
  readonly sub?: readonly Subresource[];
  readonly clusterScoped?: boolean;
}

function resource(groupVersion: string, plural: ResourceName, kind: string, extra: Extra = {}): ResourceInfo {
  const [first = '', second] = groupVersion.split('/');
  return {
    group: second === undefined ? '' : first,
    version: second ?? first,
    plural,
    singular: kind.toLowerCase(),
    kind,
    namespaced: !extra.clusterScoped,
    shortNames: extra.short ?? [],
    categories: extra.all ? ['all'] : [],
    subresources: extra.sub ?? [],
  };
}

const RBAC = 'rbac.authorization.k8s.io/v1';

export const RESOURCES: readonly ResourceInfo[] = [
  resource('v1', 'namespaces', 'Namespace', { short: ['ns'], sub: ['status', 'finalize'], clusterScoped: true }),
  resource('v1', 'pods', 'Pod', { short: ['po'], all: true, sub: ['status', 'binding', 'eviction', 'log', 'proxy'] }),
  resource('v1', 'services', 'Service', { short: ['svc'], all: true, sub: ['status'] }),
  resource('v1', 'nodes', 'Node', { short: ['no'], sub: ['status'], clusterScoped: true }),
  resource('v1', 'endpoints', 'Endpoints', { short: ['ep'] }),
  resource('v1', 'events', 'Event', { short: ['ev'] }),
  resource('v1', 'configmaps', 'ConfigMap', { short: ['cm'] }),
  resource('v1', 'secrets', 'Secret'),
  resource('v1', 'serviceaccounts', 'ServiceAccount', { short: ['sa'] }),
  resource('apps/v1', 'deployments', 'Deployment', { short: ['deploy'], all: true, sub: ['status', 'scale'] }),
  resource('apps/v1', 'daemonsets', 'DaemonSet', { short: ['ds'], all: true, sub: ['status'] }),
  resource('apps/v1', 'replicasets', 'ReplicaSet', { short: ['rs'], all: true, sub: ['status', 'scale'] }),
  resource('apps/v1', 'statefulsets', 'StatefulSet', { short: ['sts'], all: true, sub: ['status', 'scale'] }),
  resource('batch/v1', 'jobs', 'Job', { all: true, sub: ['status'] }),
  resource('discovery.k8s.io/v1', 'endpointslices', 'EndpointSlice'),
  resource('networking.k8s.io/v1', 'networkpolicies', 'NetworkPolicy', { short: ['netpol'] }),
  resource('policy.networking.k8s.io/v1alpha2', 'clusternetworkpolicies', 'ClusterNetworkPolicy', {
    short: ['cnp'],
    sub: ['status'],
    clusterScoped: true,
  }),
  resource('coordination.k8s.io/v1', 'leases', 'Lease'),
  resource(RBAC, 'clusterroles', 'ClusterRole', { clusterScoped: true }),
  resource(RBAC, 'clusterrolebindings', 'ClusterRoleBinding', { clusterScoped: true }),
  resource(RBAC, 'roles', 'Role'),
  resource(RBAC, 'rolebindings', 'RoleBinding'),
];

const BY_NAME: ReadonlyMap<string, ResourceInfo> = new Map(RESOURCES.map((info) => [info.plural, info]));

/** The table's entry for a resource; throws on a name that is not in the table (caller's bug). */
export function resourceInfo(name: ResourceName): ResourceInfo {
  const info = BY_NAME.get(name);
  if (!info) throw new Error(`unknown resource ${name}`);
  return info;
}

export function findResource(group: string, version: string, plural: string): ResourceInfo | undefined {
  const info = BY_NAME.get(plural);
  return info?.group === group && info.version === version ? info : undefined;
}

/** `v1` or `apps/v1`. */
export function apiVersionOf(info: { readonly group: string; readonly version: string }): string {
  return info.group === '' ? info.version : `${info.group}/${info.version}`;
}
