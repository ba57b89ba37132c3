/** The objects of a running cluster, read once with a user's own rights: what `kubectl get -A` would print. */
import type { ManifestObject } from './read-manifests.ts';
import type { Transport } from './transport.ts';

import { isRecord } from '../policy/raw-values.ts';
import { readList } from './read-list.ts';

/** What is asked for besides kinds without which nothing can be said. */
const KINDS = [
  { path: '/api/v1', plural: 'namespaces', apiVersion: 'v1', kind: 'Namespace', isNeeded: true },
  { path: '/api/v1', plural: 'pods', apiVersion: 'v1', kind: 'Pod', isNeeded: true },
  {
    path: '/apis/networking.k8s.io/v1',
    plural: 'networkpolicies',
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    isNeeded: true,
  },
  {
    path: '/apis/policy.networking.k8s.io/v1alpha2',
    plural: 'clusternetworkpolicies',
    apiVersion: 'policy.networking.k8s.io/v1alpha2',
    kind: 'ClusterNetworkPolicy',
    isNeeded: false,
    isOptional: true,
  },
  { path: '/api/v1', plural: 'nodes', apiVersion: 'v1', kind: 'Node', isNeeded: false },
  { path: '/api/v1', plural: 'services', apiVersion: 'v1', kind: 'Service', isNeeded: false },
  { path: '/apis/apps/v1', plural: 'deployments', apiVersion: 'apps/v1', kind: 'Deployment', isNeeded: false },
  { path: '/apis/apps/v1', plural: 'statefulsets', apiVersion: 'apps/v1', kind: 'StatefulSet', isNeeded: false },
  { path: '/apis/apps/v1', plural: 'daemonsets', apiVersion: 'apps/v1', kind: 'DaemonSet', isNeeded: false },
] as const;

const PAGE = 500;
const MAX_PAGE_BYTES = 256 * 1024 * 1024;

export interface ClusterObjects {
  readonly objects: readonly ManifestObject[];
  /** Kinds that could not be read, and why. */
  readonly warnings: readonly string[];
}

/** `onProgress` hears what is being read. Rejects with an `Error` in an operator's words where a needed kind cannot be read. */
export async function readCluster(
  transport: Transport,
  signal: AbortSignal,
  onProgress: (text: string) => void = () => {},
): Promise<ClusterObjects> {
  const objects: ManifestObject[] = [];
  const warnings: string[] = [];
  for (const { path, plural, apiVersion, kind, isNeeded, ...more } of KINDS) {
    const found: ManifestObject[] = [];
    let next = '';
    do {
      onProgress(`reading ${plural}${found.length > 0 ? `: ${found.length} so far` : ''}`);
      const query = new URLSearchParams({ limit: `${PAGE}`, ...(next === '' ? {} : { continue: next }) });
      const request = { path: `${path}/${plural}?${query.toString()}`, signal };
      const page = await readList(transport, request, MAX_PAGE_BYTES);
      if (page.kind !== 'list') {
        // Its CRD is not installed: there are none (N-3).
        if ('isOptional' in more && page.kind === 'refused' && page.status === 404) break;
        const why = page.kind === 'refused' ? `${page.status} ${page.said}` : 'the answer is no list';
        const problem = `${plural} cannot be read from ${transport.server}: ${why}`;
        if (isNeeded) throw new Error(problem);
        warnings.push(problem);
        break;
      }
      // The items of a list do not repeat their kind.
      for (const item of page.items)
        found.push({ object: isRecord(item) ? { apiVersion, kind, ...item } : item, file: transport.server, line: 0 });
      next = page.next;
    } while (next !== '');
    for (const each of found) objects.push(each);
  }
  return { objects, warnings };
}
