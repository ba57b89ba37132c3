/** Pods of one workload, and the labels that select them and as few others as can be. */
import type { Labels, Pod } from '../model.ts';

import { identityLabels, lastingLabels } from '../lasting-labels.ts';
import { UNKNOWN_LABELS } from '../model.ts';

export interface PodGroup {
  readonly namespace: string;
  /** `deployment/web`: unique in its namespace. */
  readonly name: string;
  readonly pods: readonly Pod[];
  /** Every pod of the group has them. */
  readonly labels: Labels;
  /** Groups that the labels select as well, in part or whole. */
  readonly alsoSelects: readonly string[];
}

/** Those that change with a release are no part of a selector. */
const OF_RELEASES = new Set(['app.kubernetes.io/version', 'helm.sh/chart', 'version']);

export class PodGroups {
  readonly #groups = new Map<Pod, PodGroup>();

  /** `pods`: all that can be an end of a flow. Pods whose labels are not known are in no group. */
  constructor(pods: readonly Pod[], nameOf: (pod: Pod) => string) {
    const known = pods.filter(({ labels }) => labels !== UNKNOWN_LABELS);
    for (const inNamespace of Map.groupBy(known, ({ namespace }) => namespace).values()) {
      const byName = Map.groupBy(inNamespace, nameOf);
      for (const [name, members] of byName) {
        const group = groupOf(name, members, inNamespace, nameOf);
        for (const pod of members) this.#groups.set(pod, group);
      }
    }
  }

  of(pod: Pod): PodGroup | undefined {
    return this.#groups.get(pod);
  }
}

function groupOf(
  name: string,
  pods: readonly Pod[],
  inNamespace: readonly Pod[],
  nameOf: (pod: Pod) => string,
): PodGroup {
  const shared = sharedLabels(pods);
  const strangers = inNamespace.filter((pod) => nameOf(pod) !== name);
  const labels = narrowed(identityLabels(shared), shared, strangers);
  const covered = strangers.filter((pod) => hasAll(pod, labels));
  return { namespace: pods[0]!.namespace, name, pods, labels, alsoSelects: [...new Set(covered.map(nameOf))].sort() };
}

function sharedLabels(pods: readonly Pod[]): Labels {
  const [first] = pods;
  const shared = Object.entries(lastingLabels(first!.labels)).filter(
    ([key, value]) => !OF_RELEASES.has(key) && pods.every(({ labels }) => hasLabel(labels, key, value)),
  );
  return Object.fromEntries(shared);
}

function hasLabel(labels: Labels, key: string, value: string): boolean {
  return Object.hasOwn(labels, key) && labels[key] === value;
}

function hasAll({ labels: has }: Pod, labels: Labels): boolean {
  return Object.entries(labels).every(([key, value]) => hasLabel(has, key, value));
}

/** One more label at a time, the one that keeps most strangers out, as long as that helps. */
function narrowed(labels: Labels, shared: Labels, strangers: readonly Pod[]): Labels {
  const covered = strangers.filter((pod) => hasAll(pod, labels));
  const left = Object.entries(shared).filter(([key]) => !Object.hasOwn(labels, key));
  const ranked = left
    .map(([key, value]) => ({ key, value, stay: covered.filter((pod) => hasLabel(pod.labels, key, value)).length }))
    .sort((a, b) => a.stay - b.stay || (a.key < b.key ? -1 : 1));
  const [best] = ranked;
  if (!best || best.stay === covered.length) return labels;
  return narrowed({ ...labels, [best.key]: best.value }, shared, strangers);
}
