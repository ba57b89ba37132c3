/** Manifests into the lab's API server, in an order that works whatever order they were written in. */
import type { ManifestObject } from '../cluster/read-manifests.ts';
import type { ApiStore } from './api/api-store.ts';
import type { ApiObject } from './api/objects.ts';

import { ApiError } from './api/errors.ts';
import { RESOURCES } from './api/resources.ts';

export interface ApplyOutcome {
  /** `namespace/name` or `name`. */
  readonly name: string;
  readonly object: ApiObject;
}

/** Kinds others depend on; the rest follows in the order written, policies last. */
const FIRST = ['Namespace', 'Node', 'ServiceAccount', 'ConfigMap', 'Service'];

export function orderForApply(objects: readonly ManifestObject[]): {
  readonly others: readonly ManifestObject[];
  readonly policies: readonly ManifestObject[];
} {
  const rank = ({ object }: ManifestObject): number => {
    const index = FIRST.indexOf(kindOf(object));
    return index < 0 ? FIRST.length : index;
  };
  const others = objects.filter((from) => !isPolicy(from)).toSorted((a, b) => rank(a) - rank(b));
  return { others, policies: objects.filter(isPolicy) };
}

function isPolicy({ object }: ManifestObject): boolean {
  return kindOf(object) === 'NetworkPolicy';
}

function kindOf(object: unknown): string {
  return String((object as { kind?: unknown } | null)?.kind ?? '');
}

/**
 * Creates or replaces one object, as `kubectl apply --server-side` would. Namespaces it mentions are made when missing.
 * Throws ApiError naming object and field.
 */
export function applyObject(store: ApiStore, from: ManifestObject): ApplyOutcome {
  const object = from.object as {
    apiVersion?: string;
    kind?: string;
    metadata?: { name?: string; namespace?: string };
  };
  const info = Object.values(RESOURCES).find(
    (candidate) => candidate.kind === object.kind && apiVersion(candidate) === object.apiVersion,
  );
  if (!info) throw new ApiError(400, 'BadRequest', `the lab knows no kind ${object.kind} of ${object.apiVersion}`);
  const name = object.metadata?.name ?? '';
  const namespace = info.namespaced ? (object.metadata?.namespace ?? 'default') : undefined;
  if (namespace !== undefined && !store.get('namespaces', { name: namespace })) {
    store.create('namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } });
  }
  const written = store.apply(info.plural, { name, namespace }, object, 'portcullis-lab');
  return { name: namespace === undefined ? name : `${namespace}/${name}`, object: written.object };
}

function apiVersion({ group, version }: { readonly group: string; readonly version: string }): string {
  return group === '' ? version : `${group}/${version}`;
}
