/** The objects of a running cluster, read once with a user's own rights: what `kubectl get -A` would print. */
import type { ManifestObject } from './read-manifests.ts';
import type { Transport } from './transport.ts';

import { isRecord } from '../policy/raw-values.ts';
import { parseJson, readBounded, readStatus } from './read-answer.ts';

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
  for (const { path, plural, apiVersion, kind, isNeeded } of KINDS) {
    const found: ManifestObject[] = [];
    let next = '';
    do {
      onProgress(`reading ${plural}${found.length > 0 ? `: ${found.length} so far` : ''}`);
      const query = new URLSearchParams({ limit: `${PAGE}`, ...(next === '' ? {} : { continue: next }) });
      const page = await readPage(transport, `${path}/${plural}?${query.toString()}`, signal);
      if ('problem' in page) {
        const problem = `${plural} cannot be read from ${transport.server}: ${page.problem}`;
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

type Page = { readonly items: readonly unknown[]; readonly next: string } | { readonly problem: string };

async function readPage(transport: Transport, path: string, signal: AbortSignal): Promise<Page> {
  const response = await transport.open({ path, signal });
  if (response.status !== 200) {
    const { said } = await readStatus(response);
    return { problem: `${response.status} ${said}` };
  }
  const body = parseJson(await readBounded(response, MAX_PAGE_BYTES));
  if (!isRecord(body) || !Array.isArray(body.items)) return { problem: 'the answer is no list' };
  const next = isRecord(body.metadata) && typeof body.metadata.continue === 'string' ? body.metadata.continue : '';
  return { items: body.items, next };
}
