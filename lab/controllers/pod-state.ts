/** Questions about pods that several controllers ask, and the pods they make. Pure but for the hash. */
import { createHash } from 'node:crypto';
import type {
  ApiObject,
  Condition,
  Labels,
  NodeObject,
  OwnerReference,
  PodObject,
  PodTemplate,
} from '../api/objects.ts';

export function isReady(pod: PodObject): boolean {
  return (pod.status?.conditions ?? []).some(({ type, status }) => type === 'Ready' && status === 'True');
}

export const isTerminating = (object: ApiObject): boolean => object.metadata.deletionTimestamp !== undefined;

export function isFinished(pod: PodObject): boolean {
  return pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
}

/** Counts toward a controller's replicas. */
export const isActive = (pod: PodObject): boolean => !isTerminating(pod) && !isFinished(pod);

export function nodeFits(node: NodeObject, nodeSelector: Labels | undefined): boolean {
  const labels: Labels = { 'kubernetes.io/hostname': node.metadata.name, ...node.metadata.labels };
  return Object.entries(nodeSelector ?? {}).every(([key, value]) => labels[key] === value);
}

/** The owner that controls the object, if any. */
export function controllerOf(object: ApiObject): OwnerReference | undefined {
  return (object.metadata.ownerReferences ?? []).find((owner) => owner.controller === true);
}

export function ownerReference(owner: ApiObject): OwnerReference {
  const { apiVersion, kind, metadata } = owner;
  return { apiVersion, kind, name: metadata.name, uid: metadata.uid, controller: true, blockOwnerDeletion: true };
}

const HASH_ALPHABET = 'bcdfghjklmnpqrstvwxz2456789';

/** A short name part for any JSON value: the same for equal values, whatever the order of their fields. */
export function shortHash(value: unknown, length: number): string {
  const digest = createHash('sha256').update(canonical(value)).digest();
  return Array.from(digest.subarray(0, length), (byte) => HASH_ALPHABET[byte % HASH_ALPHABET.length]).join('');
}

function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  const fields = Object.entries(value).filter(([, field]) => field !== undefined);
  const sorted = fields.sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${sorted.map(([key, field]) => `${JSON.stringify(key)}:${canonical(field)}`).join(',')}}`;
}

export function templateHash(template: PodTemplate): string {
  return shortHash(template, 10);
}

/** A pod from a template; `extra` labels are added to the template's. */
export function podFromTemplate(
  owner: ApiObject,
  template: PodTemplate,
  identity: { readonly name: string } | { readonly generateName: string },
  extra: Labels,
  spec: object = {},
): object {
  const { labels, annotations } = template.metadata ?? {};
  return {
    metadata: {
      ...identity,
      namespace: owner.metadata.namespace,
      labels: { ...labels, ...extra },
      ...(annotations ? { annotations } : {}),
      ownerReferences: [ownerReference(owner)],
    },
    spec: { ...template.spec, ...spec },
  };
}

/** The conditions with one set; its transition time moves only when its status does. */
export function withCondition(
  conditions: readonly Condition[] | undefined,
  wanted: Condition,
  timestamp: string,
): readonly Condition[] {
  const before = (conditions ?? []).find((condition) => condition.type === wanted.type);
  const same = before?.status === wanted.status;
  const lastTransitionTime = (same ? before.lastTransitionTime : undefined) ?? timestamp;
  const changed = !same || before.reason !== wanted.reason || before.message !== wanted.message;
  const lastUpdateTime = (changed ? undefined : before.lastUpdateTime) ?? timestamp;
  const others = (conditions ?? []).filter((condition) => condition.type !== wanted.type);
  return [...others, { ...wanted, lastUpdateTime, lastTransitionTime }];
}
