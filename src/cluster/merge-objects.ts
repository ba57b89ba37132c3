/** What a cluster will hold once manifests have come into it. */
import type { ManifestObject } from './read-manifests.ts';

import { isRecord, type RawRecord } from '../policy/raw-values.ts';

const CLUSTER_WIDE = ['Namespace', 'Node', 'ClusterNetworkPolicy'];

/**
 * `apply`: what is new takes the place of what has its name, the rest stays. `prune`: and policies of its namespaces that it does not hold are
 * gone, cluster-wide ones where it holds one of these. `whole`: nothing else is left.
 */
export const WAYS = ['apply', 'prune', 'whole'] as const;
export type Way = (typeof WAYS)[number];

export function mergeObjects(
  before: readonly ManifestObject[],
  after: readonly ManifestObject[],
  way: Way,
  defaultNamespace: string,
): readonly ManifestObject[] {
  if (way === 'whole') return after;
  const namespaceOf = ({ object }: ManifestObject): string => namespaceIn(object, defaultNamespace);
  const pruned = new Set(way === 'prune' ? after.filter(isPolicy).map(namespaceOf) : []);
  const keyOf = (from: ManifestObject): string => identityOf(from, namespaceOf(from));
  const coming = new Map(after.map((from) => [keyOf(from), from]));
  const kept = before.filter((from) => !coming.has(keyOf(from)) && !(isPolicy(from) && pruned.has(namespaceOf(from))));
  return [...kept, ...after];
}

function isPolicy({ object }: ManifestObject): boolean {
  return isRecord(object) && (object.kind === 'NetworkPolicy' || object.kind === 'ClusterNetworkPolicy');
}

/** Versions of one group are the same object. */
function identityOf({ object }: ManifestObject, namespace: string): string {
  if (!isRecord(object)) return '';
  const version = typeof object.apiVersion === 'string' ? object.apiVersion : '';
  const group = version.includes('/') ? version.slice(0, version.indexOf('/')) : '';
  return JSON.stringify([group, object.kind, namespace, metadataOf(object).name]);
}

function namespaceIn(object: unknown, defaultNamespace: string): string {
  const { namespace } = isRecord(object) ? metadataOf(object) : {};
  if (isRecord(object) && CLUSTER_WIDE.includes(String(object.kind))) return '';
  return typeof namespace === 'string' && namespace !== '' ? namespace : defaultNamespace;
}

function metadataOf(object: RawRecord): RawRecord {
  return isRecord(object.metadata) ? object.metadata : {};
}
