/** What the lab still waits for, and what it would wait for in vain. Pure, from the objects as they are. */
import type { DaemonSetObject, Labels, NodeObject, PodObject, ReplicatedObject } from './api/objects.ts';

export interface SettledInput {
  readonly pods: readonly PodObject[];
  readonly nodes: readonly NodeObject[];
  readonly replicated: readonly ReplicatedObject[];
  readonly daemonSets: readonly DaemonSetObject[];
  /** Why the kubelet gave up on a pod, by `namespace/name`. */
  readonly failures: ReadonlyMap<string, string>;
  /** Nodes that are there as network namespaces. */
  readonly nodeNames: readonly string[];
}

export interface SettledState {
  /** Will come by themselves: `pod default/a`, `Deployment shop/web`. */
  readonly waiting: readonly string[];
  /** Will not: object, field and reason. */
  readonly stuck: readonly string[];
}

export function settledState(input: SettledInput): SettledState {
  const waiting: string[] = [];
  const stuck: string[] = [];
  const stuckOwners = new Set<string>();
  for (const pod of input.pods.filter(isWaiting)) {
    const why = whyStuck(pod, input);
    if (why === undefined) waiting.push(`pod ${nameOf(pod)}`);
    else {
      stuck.push(`pod ${nameOf(pod)}: ${why}`);
      for (const { uid } of pod.metadata.ownerReferences ?? []) stuckOwners.add(uid);
    }
  }
  // A Deployment's pods belong to its ReplicaSets.
  for (const { metadata } of input.replicated)
    if (stuckOwners.has(metadata.uid)) for (const { uid } of metadata.ownerReferences ?? []) stuckOwners.add(uid);
  for (const workload of [...input.replicated, ...input.daemonSets]) {
    if (!isComplete(workload) && !stuckOwners.has(workload.metadata.uid))
      waiting.push(`${workload.kind} ${nameOf(workload)}`);
  }
  return { waiting, stuck };
}

function nameOf({ metadata }: PodObject | ReplicatedObject | DaemonSetObject): string {
  return `${metadata.namespace}/${metadata.name}`;
}

function isWaiting(pod: PodObject): boolean {
  if (pod.metadata.deletionTimestamp !== undefined) return false;
  return pod.status?.phase !== 'Running' && pod.status?.phase !== 'Succeeded' && pod.status?.phase !== 'Failed';
}

function whyStuck(pod: PodObject, { failures, nodes, nodeNames }: SettledInput): string | undefined {
  const { nodeName, nodeSelector } = pod.spec;
  if (nodeName !== undefined) {
    if (!nodeNames.includes(nodeName)) {
      return `spec.nodeName: no node ${JSON.stringify(nodeName)} in this lab, only ${nodeNames.join(', ')}`;
    }
    return failures.get(nameOf(pod));
  }
  const unschedulable = (pod.status?.conditions ?? []).some(
    ({ type, status }) => type === 'PodScheduled' && status === 'False',
  );
  if (!unschedulable) return undefined;
  if (nodeSelector && !nodes.some((node) => fits(node, nodeSelector))) {
    return (
      `spec.nodeSelector: ${labelText(nodeSelector)} matches none of ${nodeNames.join(', ')}; ` +
      `label one with a manifest of kind Node, name ${nodeNames[0]}`
    );
  }
  return 'no node takes it: those that match are tainted, unschedulable or not ready';
}

function fits({ metadata }: NodeObject, selector: Labels): boolean {
  return Object.entries(selector).every(([key, value]) => metadata.labels?.[key] === value);
}

function labelText(labels: Labels): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(',');
}

function isComplete(workload: ReplicatedObject | DaemonSetObject): boolean {
  const { status, metadata } = workload;
  if (metadata.deletionTimestamp !== undefined) return true;
  if (!status || status.observedGeneration !== metadata.generation) return false;
  if (isReplicated(workload)) {
    const wanted = workload.spec.replicas ?? 1;
    const { replicas = 0, readyReplicas = 0, updatedReplicas = replicas } = workload.status ?? {};
    return replicas === wanted && readyReplicas === wanted && updatedReplicas === wanted;
  }
  return workload.status?.numberReady === workload.status?.desiredNumberScheduled;
}

function isReplicated(workload: ReplicatedObject | DaemonSetObject): workload is ReplicatedObject {
  return workload.kind !== 'DaemonSet';
}
