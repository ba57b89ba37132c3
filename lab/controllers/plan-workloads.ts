/** What a workload should do next, from what there is. Pure: the same objects give the same plan. */
import type {
  Condition,
  DaemonSetObject,
  JobObject,
  Labels,
  NodeObject,
  PodObject,
  ReplicatedObject,
} from '../api/objects.ts';
import {
  isActive,
  isReady,
  isTerminating,
  nodeFits,
  ownerReference,
  podFromTemplate,
  templateHash,
  withCondition,
} from './pod-state.ts';

export interface PodPlan {
  /** Pods to create, complete but for what the API server fills in. */
  readonly create: readonly object[];
  readonly remove: readonly PodObject[];
  readonly status: object;
}

const desiredReplicas = (workload: ReplicatedObject): number => workload.spec.replicas ?? 1;

// ---- ReplicaSet

/** `pods` are all pods the set controls. */
export function planReplicaSet(set: ReplicatedObject, pods: readonly PodObject[]): PodPlan {
  const active = pods.filter(isActive);
  const missing = desiredReplicas(set) - active.length;
  const identity = { generateName: `${set.metadata.name}-` };
  const ready = active.filter(isReady).length;
  return {
    create: Array.from({ length: Math.max(0, missing) }, () => podFromTemplate(set, set.spec.template, identity, {})),
    remove: missing < 0 ? [...active].sort(leastUseful).slice(0, -missing) : [],
    status: {
      replicas: active.length,
      fullyLabeledReplicas: active.length,
      readyReplicas: ready,
      availableReplicas: ready,
      observedGeneration: set.metadata.generation,
    },
  };
}

/** Pods without a node first, then pods that are not ready, then the youngest. */
function leastUseful(a: PodObject, b: PodObject): number {
  const rank = (pod: PodObject): number => (pod.spec.nodeName ? (isReady(pod) ? 2 : 1) : 0);
  if (rank(a) !== rank(b)) return rank(a) - rank(b);
  const [createdA, createdB] = [a.metadata.creationTimestamp, b.metadata.creationTimestamp];
  if (createdA !== createdB) return createdA > createdB ? -1 : 1;
  return a.metadata.name < b.metadata.name ? -1 : 1;
}

// ---- Deployment

export const TEMPLATE_HASH_LABEL = 'pod-template-hash';
export const REVISION_ANNOTATION = 'deployment.kubernetes.io/revision';

export interface DeploymentPlan {
  /** The set for the present template, if it is still to be made. */
  readonly create?: object;
  /** The set for the present template, if it is there. */
  readonly current?: ReplicatedObject;
  readonly scale: readonly { readonly set: ReplicatedObject; readonly replicas: number }[];
  /** Revision of the present template. */
  readonly revision: number;
  readonly status: object;
}

/** `sets` are all ReplicaSets the deployment controls. Old pods go as new ones become ready. */
export function planDeployment(
  deployment: ReplicatedObject,
  sets: readonly ReplicatedObject[],
  timestamp: string,
): DeploymentPlan {
  const hash = templateHash(deployment.spec.template);
  const current = sets.find((set) => set.metadata.labels?.[TEMPLATE_HASH_LABEL] === hash);
  const old = sets.filter((set) => set !== current);
  const wanted = desiredReplicas(deployment);
  const recreate = deployment.spec.strategy?.type === 'Recreate';
  const oldPods = sum(old, (set) => set.status?.replicas ?? 0);
  const newReplicas = recreate && oldPods > 0 ? 0 : wanted;
  const oldAllowed = recreate ? 0 : Math.max(0, wanted - (current?.status?.readyReplicas ?? 0));
  const newest = Math.max(0, ...old.map(revisionOf));
  const own = current ? revisionOf(current) : 0;
  const revision = own > newest ? own : newest + 1;
  const scale = [...scaleDown(old, oldAllowed)];
  if (current && desiredReplicas(current) !== newReplicas) scale.push({ set: current, replicas: newReplicas });
  return {
    ...(current ? { current } : { create: replicaSetFor(deployment, hash, newReplicas, revision) }),
    scale,
    revision,
    status: deploymentStatus(deployment, sets, current, timestamp),
  };
}

function revisionOf(set: ReplicatedObject): number {
  return Number(set.metadata.annotations?.[REVISION_ANNOTATION] ?? 0) || 0;
}

const sum = <T>(items: readonly T[], of: (item: T) => number): number =>
  items.reduce((total, item) => total + of(item), 0);

function* scaleDown(
  sets: readonly ReplicatedObject[],
  allowed: number,
): Generator<{ set: ReplicatedObject; replicas: number }> {
  let left = allowed;
  // The newest of the old revisions keeps its pods longest.
  for (const set of [...sets].sort((a, b) => revisionOf(b) - revisionOf(a))) {
    const replicas = Math.min(desiredReplicas(set), left);
    left -= replicas;
    if (replicas !== desiredReplicas(set)) yield { set, replicas };
  }
}

function replicaSetFor(deployment: ReplicatedObject, hash: string, replicas: number, revision: number): object {
  const { spec, metadata } = deployment;
  const extra: Labels = { [TEMPLATE_HASH_LABEL]: hash };
  const labels = { ...spec.template.metadata?.labels, ...extra };
  return {
    metadata: {
      name: `${metadata.name}-${hash}`,
      namespace: metadata.namespace,
      labels,
      annotations: { [REVISION_ANNOTATION]: String(revision) },
      ownerReferences: [ownerReference(deployment)],
    },
    spec: {
      replicas,
      selector: { ...spec.selector, matchLabels: { ...spec.selector.matchLabels, ...extra } },
      template: { ...spec.template, metadata: { ...spec.template.metadata, labels } },
    },
  };
}

function deploymentStatus(
  deployment: ReplicatedObject,
  sets: readonly ReplicatedObject[],
  current: ReplicatedObject | undefined,
  timestamp: string,
): object {
  const wanted = desiredReplicas(deployment);
  const replicas = sum(sets, (set) => set.status?.replicas ?? 0);
  const ready = sum(sets, (set) => set.status?.readyReplicas ?? 0);
  const updated = current?.status?.replicas ?? 0;
  const complete = updated >= wanted && replicas <= updated && (current?.status?.readyReplicas ?? 0) >= wanted;
  const available: Condition =
    ready >= wanted
      ? { type: 'Available', status: 'True', reason: 'MinimumReplicasAvailable', message: 'enough replicas are ready' }
      : {
          type: 'Available',
          status: 'False',
          reason: 'MinimumReplicasUnavailable',
          message: 'too few replicas are ready',
        };
  const progressing: Condition = {
    type: 'Progressing',
    status: 'True',
    reason: complete ? 'NewReplicaSetAvailable' : 'ReplicaSetUpdated',
    message: complete ? 'the rollout is complete' : 'the rollout is under way',
  };
  const conditions = withCondition(deployment.status?.conditions, available, timestamp);
  return {
    observedGeneration: deployment.metadata.generation,
    replicas,
    updatedReplicas: updated,
    readyReplicas: ready,
    availableReplicas: ready,
    unavailableReplicas: Math.max(0, wanted - ready),
    conditions: withCondition(conditions, progressing, timestamp),
  };
}

// ---- DaemonSet

export const REVISION_LABEL = 'controller-revision-hash';

/** One pod on each node the template's nodeSelector fits. Outdated pods are replaced one node at a time. */
export function planDaemonSet(set: DaemonSetObject, pods: readonly PodObject[], nodes: readonly NodeObject[]): PodPlan {
  const { template } = set.spec;
  const hash = templateHash(template);
  const wanted = nodes.filter((node) => nodeFits(node, template.spec.nodeSelector)).map((node) => node.metadata.name);
  const active = pods.filter(isActive);
  const onNode = new Map(active.map((pod) => [pod.spec.nodeName ?? '', pod]));
  const occupied = new Set(pods.map((pod) => pod.spec.nodeName));
  const stray = active.filter(
    (pod) => !wanted.includes(pod.spec.nodeName ?? '') || onNode.get(pod.spec.nodeName ?? '') !== pod,
  );
  const outdated = active.filter((pod) => !stray.includes(pod) && pod.metadata.labels?.[REVISION_LABEL] !== hash);
  const onDelete = set.spec.updateStrategy?.type === 'OnDelete';
  const identity = { generateName: `${set.metadata.name}-` };
  const ready = active.filter(isReady).length;
  return {
    create: wanted
      .filter((node) => !occupied.has(node))
      .map((nodeName) => podFromTemplate(set, template, identity, { [REVISION_LABEL]: hash }, { nodeName })),
    remove: [...stray, ...(onDelete ? [] : nextOutdated(pods, outdated))],
    status: {
      currentNumberScheduled: active.length - stray.length,
      desiredNumberScheduled: wanted.length,
      numberMisscheduled: stray.length,
      numberReady: ready,
      numberAvailable: ready,
      numberUnavailable: Math.max(0, wanted.length - ready),
      updatedNumberScheduled: active.length - stray.length - outdated.length,
      observedGeneration: set.metadata.generation,
    },
  };
}

/** Outdated pods that are not ready go at once; of the others one, and only while all other pods are ready. */
function nextOutdated(pods: readonly PodObject[], outdated: readonly PodObject[]): readonly PodObject[] {
  const broken = outdated.filter((pod) => !isReady(pod));
  if (broken.length > 0) return broken;
  const settled = pods.every((pod) => isActive(pod) && isReady(pod));
  return settled ? outdated.slice(-1) : [];
}

// ---- Job

/** As many pods at a time as the job may have; they finish when somebody sets their phase, as the lab runs no containers. */
export function planJob(job: JobObject, pods: readonly PodObject[]): PodPlan {
  const { parallelism = 1, completions, suspend, template } = job.spec;
  const active = pods.filter(isActive);
  const succeeded = pods.filter((pod) => pod.status?.phase === 'Succeeded').length;
  const left = completions === undefined ? (succeeded > 0 ? 0 : parallelism) : Math.max(0, completions - succeeded);
  const wanted = suspend ? 0 : Math.min(parallelism, left);
  const { name } = job.metadata;
  const labels: Labels = { 'batch.kubernetes.io/job-name': name, 'job-name': name };
  return {
    create: Array.from({ length: Math.max(0, wanted - active.length) }, () =>
      podFromTemplate(job, template, { generateName: `${name}-` }, labels),
    ),
    remove: suspend ? active : active.slice(0, Math.max(0, active.length - parallelism)),
    status: { active: active.length, ready: active.filter(isReady).length, succeeded },
  };
}

// ---- StatefulSet

/** Pods `name-0`, `name-1`, ...; in order unless podManagementPolicy is Parallel. */
export function planStatefulSet(set: ReplicatedObject, pods: readonly PodObject[]): PodPlan {
  const { template, podManagementPolicy } = set.spec;
  const hash = templateHash(template);
  const ordered = podManagementPolicy !== 'Parallel';
  const wanted = desiredReplicas(set);
  const byName = new Map(pods.map((pod) => [pod.metadata.name, pod]));
  const inOrder = Array.from({ length: wanted }, (_, ordinal) => `${set.metadata.name}-${ordinal}`);
  const active = pods.filter(isActive);
  const surplus = active.filter((pod) => !inOrder.includes(pod.metadata.name)).sort(byOrdinalDescending);
  const outdated = active
    .filter((pod) => !surplus.includes(pod) && pod.metadata.labels?.[REVISION_LABEL] !== hash)
    .sort(byOrdinalDescending);
  const updatable = set.spec.updateStrategy?.type === 'OnDelete' ? [] : outdated;
  const ready = active.filter(isReady).length;
  return {
    create: missingInOrder(inOrder, byName, ordered).map((name) => statefulPod(set, name, hash)),
    remove:
      surplus.length > 0
        ? surplus.slice(0, ordered ? 1 : surplus.length)
        : nextOutdated(pods, [...updatable].reverse()),
    status: {
      replicas: active.length,
      readyReplicas: ready,
      availableReplicas: ready,
      currentReplicas: active.length - outdated.length,
      updatedReplicas: active.length - outdated.length,
      currentRevision: `${set.metadata.name}-${outdated.length === 0 ? hash : 'old'}`,
      updateRevision: `${set.metadata.name}-${hash}`,
      observedGeneration: set.metadata.generation,
    },
  };
}

const ordinalOf = (pod: PodObject): number => Number(pod.metadata.name.slice(pod.metadata.name.lastIndexOf('-') + 1));
const byOrdinalDescending = (a: PodObject, b: PodObject): number => ordinalOf(b) - ordinalOf(a);

function missingInOrder(names: readonly string[], pods: ReadonlyMap<string, PodObject>, ordered: boolean): string[] {
  const missing: string[] = [];
  for (const name of names) {
    const pod = pods.get(name);
    if (!pod) missing.push(name);
    if (ordered && (!pod || isTerminating(pod) || !isReady(pod))) break;
  }
  return missing;
}

function statefulPod(set: ReplicatedObject, name: string, hash: string): object {
  const labels: Labels = {
    [REVISION_LABEL]: hash,
    'statefulset.kubernetes.io/pod-name': name,
    'apps.kubernetes.io/pod-index': name.slice(set.metadata.name.length + 1),
  };
  const subdomain = set.spec.serviceName ? { subdomain: set.spec.serviceName } : {};
  return podFromTemplate(set, set.spec.template, { name }, labels, { hostname: name, ...subdomain });
}
