/** Which pods belong together: those of a workload, else those with the same labels. */
import type { Pod } from '../policy/model.ts';
import type { Inventory } from './inventory.ts';

import { lastingLabels } from '../policy/lasting-labels.ts';
import { objectKey, UNKNOWN_LABELS } from '../policy/model.ts';
import { isRecord } from '../policy/raw-values.ts';

export interface PodOwner {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

/** The kinds that people write come before those that controllers make. */
const KINDS = ['Deployment', 'StatefulSet', 'DaemonSet', 'CronJob', 'Job', 'ReplicationController', 'ReplicaSet'];

/** By pod. */
export function podOwners(inventory: Inventory): ReadonlyMap<string, PodOwner> {
  const owners = new Map<string, PodOwner>();
  const workloads = inventory.workloads.toSorted((a, b) => KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind));
  for (const { kind, namespace, name, pods } of workloads) {
    for (const pod of pods) if (!owners.has(objectKey(pod))) owners.set(objectKey(pod), { kind, namespace, name });
  }
  const referred = controllersOf(inventory);
  const alone: Pod[] = [];
  for (const [key, pod] of inventory.snapshot.pods) {
    if (owners.has(key)) continue;
    const owner = referred.get(key);
    if (owner) owners.set(key, ownerOf(pod, owner));
    else alone.push(pod);
  }
  for (const [namespace, pods] of Map.groupBy(alone, (pod) => pod.namespace)) nameByLabels(namespace, pods, owners);
  return owners;
}

interface Reference {
  readonly kind: string;
  readonly name: string;
}

function controllersOf({ objects }: Inventory): ReadonlyMap<string, Reference> {
  const found = new Map<string, Reference>();
  for (const { object } of objects) {
    if (!isRecord(object) || object.kind !== 'Pod' || !isRecord(object.metadata)) continue;
    const { namespace, name, ownerReferences: references } = object.metadata;
    const owner = (Array.isArray(references) ? references : []).find(
      (each) => isRecord(each) && each.controller === true,
    );
    if (typeof owner?.kind === 'string' && typeof owner.name === 'string')
      found.set(`${String(namespace)}/${String(name)}`, { kind: owner.kind, name: owner.name });
  }
  return found;
}

/** A Deployment's ReplicaSets are named after it and their pods' template. */
function ownerOf({ namespace, labels }: Pod, { kind, name }: Reference): PodOwner {
  const hash = labels['pod-template-hash'];
  const isOfDeployment = kind === 'ReplicaSet' && hash !== undefined && name.endsWith(`-${hash}`);
  return isOfDeployment
    ? { kind: 'Deployment', namespace, name: name.slice(0, -hash.length - 1) }
    : { kind, namespace, name };
}

/** Pods with the same labels are named by those that not all have. */
function nameByLabels(namespace: string, pods: readonly Pod[], owners: Map<string, PodOwner>): void {
  const alike = [...Map.groupBy(pods, (pod) => JSON.stringify(ownLabels(pod))).values()];
  const counts = new Map<string, number>();
  for (const label of alike.flatMap(([first]) => ownLabels(first!))) counts.set(label, (counts.get(label) ?? 0) + 1);
  for (const same of alike) {
    const labels = ownLabels(same[0]!);
    const name = tellingAmong(labels, counts, alike.length).join(',');
    const isKnown = same.length > 1 && name !== '';
    for (const pod of same)
      owners.set(
        objectKey(pod),
        isKnown ? { kind: 'Pods', namespace, name } : { kind: 'Pod', namespace, name: pod.name },
      );
  }
}

/** One label that no others have, the shortest; else those that not all have; else all. */
function tellingAmong(labels: readonly string[], counts: ReadonlyMap<string, number>, all: number): readonly string[] {
  const [only] = labels.filter((label) => counts.get(label) === 1).sort((a, b) => a.length - b.length);
  if (only !== undefined) return [only];
  const telling = labels.filter((label) => counts.get(label)! < all);
  return telling.length > 0 ? telling : labels;
}

/** Without those that controllers give. */
function ownLabels({ labels }: Pod): readonly string[] {
  if (labels === UNKNOWN_LABELS) return [];
  return Object.entries(lastingLabels(labels))
    .map(([key, value]) => `${key}=${value}`)
    .sort();
}
