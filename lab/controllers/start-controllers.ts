/** Door of this folder: what a cluster's control plane does with the objects, on one store. */
import type { ApiStore } from '../api/api-store.ts';
import { equalJson } from '../api/json.ts';
import {
  type ApiObject,
  type DaemonSetObject,
  type JobObject,
  type PodObject,
  refOf,
  type ReplicatedObject,
  type ResourceName,
} from '../api/objects.ts';
import { RESOURCES } from '../api/resources.ts';
import { type ControlLoop, startControlLoop } from './control-loop.ts';
import { objectKey, OwnerIndex } from './owner-index.ts';
import {
  desiredEndpoints,
  desiredSlices,
  hasSelector,
  MANAGED_BY_LABEL,
  MANAGER,
  selects,
  SERVICE_NAME_LABEL,
} from './plan-endpoints.ts';
import {
  type DeploymentPlan,
  planDaemonSet,
  planDeployment,
  planJob,
  planReplicaSet,
  planStatefulSet,
  type PodPlan,
  REVISION_ANNOTATION,
} from './plan-workloads.ts';
import { controllerOf, isTerminating } from './pod-state.ts';
import { Scheduler } from './scheduler.ts';
import { allocateServiceAddresses, NODE_PORTS } from './service-addresses.ts';

export interface ControllerOptions {
  /** One CIDR per family, main family first; default 10.96.0.0/16. */
  readonly serviceCidrs?: readonly string[];
  /** First and last; default 30000-32767. */
  readonly nodePorts?: readonly [number, number];
  /**
   * Who removes a pod whose deletion was asked for: these controllers when its time is up, or the kubelet alone
   * (which deletes it with gracePeriodSeconds 0 when it has cleaned up). Default `after-grace`.
   */
  readonly podRemoval?: 'after-grace' | 'by-kubelet';
  /** Longest grace period under `after-grace`, ms; default 30 s. */
  readonly maxGraceMs?: number;
  /** Told of a pass that failed; it is tried again. */
  readonly onError?: (error: unknown, key: string) => void;
}

export interface Controllers {
  stop(): void;
}

const DEFAULTS = { serviceCidrs: ['10.96.0.0/16'], nodePorts: NODE_PORTS, maxGraceMs: 30_000 } as const;

const OWNERS = ['deployments', 'replicasets', 'daemonsets', 'statefulsets', 'jobs', 'services'] as const;
const DEPENDENTS = ['pods', 'replicasets', 'endpointslices'] as const;

/** Starts every controller on the store. Pods get addresses and become Running through someone else: the lab's kubelet. */
export function startControllers(store: ApiStore, options: ControllerOptions = {}): Controllers {
  return new RunningControllers(store, options);
}

class RunningControllers implements Controllers {
  readonly #store: ApiStore;
  readonly #scheduler: Scheduler;
  readonly #loop: ControlLoop;
  readonly #stops: (() => void)[] = [];
  readonly #removals = new Map<string, NodeJS.Timeout>();
  readonly #owned = new OwnerIndex();
  readonly #maxGraceMs: number;

  constructor(store: ApiStore, options: ControllerOptions) {
    this.#store = store;
    this.#scheduler = new Scheduler(store);
    this.#maxGraceMs = options.maxGraceMs ?? DEFAULTS.maxGraceMs;
    this.#loop = startControlLoop((key) => this.#reconcile(key), options.onError ?? (() => {}));
    this.#stops.push(
      allocateServiceAddresses(store, {
        serviceCidrs: options.serviceCidrs ?? DEFAULTS.serviceCidrs,
        nodePorts: options.nodePorts ?? DEFAULTS.nodePorts,
      }),
    );
    for (const resource of DEPENDENTS) this.#stops.push(this.#owned.follow(store, resource));
    for (const resource of DEPENDENTS) this.#followDependents(resource);
    for (const resource of OWNERS) this.#followOwners(resource);
    this.#followNodes();
    if ((options.podRemoval ?? 'after-grace') === 'after-grace') this.#removeTerminatingPods();
  }

  stop(): void {
    for (const stop of this.#stops) stop();
    this.#loop.stop();
    for (const timer of this.#removals.values()) clearTimeout(timer);
  }

  // ---- who looks at what

  #followDependents(resource: (typeof DEPENDENTS)[number]): void {
    this.#stops.push(
      this.#store.watch(resource, ({ object, previous }) => {
        for (const state of previous ? [previous, object] : [object]) this.#wakeOwner(state);
        if (resource === 'pods') this.#podChanged(object as PodObject, previous as PodObject | undefined);
      }),
    );
  }

  #wakeOwner(object: ApiObject): void {
    const owner = controllerOf(object);
    const info = owner && RESOURCES.find(({ kind, plural }) => kind === owner.kind && plural !== 'services');
    if (owner && info) this.#loop.add(`${info.plural}/${object.metadata.namespace ?? ''}/${owner.name}`);
  }

  #podChanged(pod: PodObject, previous: PodObject | undefined): void {
    if (!pod.spec.nodeName) this.#loop.add(objectKey('pods', pod));
    for (const service of this.#store.list('services', { namespace: pod.metadata.namespace })) {
      const concerned = selects(service, pod) || (previous !== undefined && selects(service, previous));
      if (concerned && hasSelector(service)) this.#loop.add(objectKey('services', service));
    }
  }

  #followOwners(resource: (typeof OWNERS)[number]): void {
    this.#stops.push(
      this.#store.watch(resource, ({ type, object }) => {
        if (type === 'DELETED') this.#deleteDependents(object.metadata.uid);
        this.#loop.add(objectKey(resource, object));
      }),
    );
  }

  /** What the owner's deletion leaves behind goes with it. */
  #deleteDependents(ownerUid: string): void {
    for (const { resource, ref } of this.#owned.all(ownerUid)) {
      if (this.#store.get(resource, ref)) this.#store.delete(resource, ref);
    }
  }

  #followNodes(): void {
    this.#stops.push(
      this.#store.watch('nodes', () => {
        for (const key of this.#scheduler.waiting) this.#loop.add(key);
        for (const set of this.#store.list('daemonsets')) this.#loop.add(objectKey('daemonsets', set));
      }),
    );
  }

  #removeTerminatingPods(): void {
    this.#stops.push(
      this.#store.watch('pods', ({ type, object }) => {
        const { uid, deletionTimestamp, deletionGracePeriodSeconds = 0 } = object.metadata;
        clearTimeout(this.#removals.get(uid));
        this.#removals.delete(uid);
        if (type === 'DELETED' || deletionTimestamp === undefined) return;
        const waitMs = Math.min(deletionGracePeriodSeconds * 1000, this.#maxGraceMs);
        this.#removals.set(uid, setTimeout(() => this.#removePod(object), waitMs).unref());
      }),
    );
  }

  #removePod(pod: PodObject): void {
    const present = this.#store.get('pods', refOf(pod));
    if (present?.metadata.uid !== pod.metadata.uid) return;
    this.#store.delete('pods', refOf(pod), { gracePeriodSeconds: 0 });
  }

  // ---- passes

  #reconcile(key: string): void {
    const [resource, namespace, name] = key.split('/') as [ResourceName, string, string];
    const ref = { namespace, name };
    if (resource === 'pods') this.#scheduler.place(key, this.#store.get('pods', ref));
    else if (resource === 'services') this.#reconcileService(ref);
    else {
      const owner = this.#store.get(resource, ref);
      if (owner && !isTerminating(owner) && !this.#namespaceGoes(namespace)) this.#reconcileOwner(resource, owner);
    }
  }

  #namespaceGoes(namespace: string): boolean {
    const found = this.#store.get('namespaces', { name: namespace });
    return !found || isTerminating(found);
  }

  #reconcileOwner(resource: ResourceName, owner: ApiObject): void {
    if (resource === 'deployments') this.#reconcileDeployment(owner as ReplicatedObject);
    const plan = this.#planPods(resource, owner, this.#owned.of(owner, 'pods'));
    if (!plan) return;
    for (const pod of plan.remove) this.#store.delete('pods', refOf(pod));
    for (const pod of plan.create) this.#store.create('pods', pod);
    this.#store.setStatus(resource, refOf(owner), plan.status);
  }

  /** Undefined for kinds that make no pods themselves. */
  #planPods(resource: ResourceName, owner: ApiObject, pods: readonly PodObject[]): PodPlan | undefined {
    if (resource === 'replicasets') return planReplicaSet(owner as ReplicatedObject, pods);
    if (resource === 'statefulsets') return planStatefulSet(owner as ReplicatedObject, pods);
    if (resource === 'daemonsets') return planDaemonSet(owner as DaemonSetObject, pods, this.#store.list('nodes'));
    if (resource === 'jobs') return planJob(owner as JobObject, pods);
    return undefined;
  }

  #reconcileDeployment(deployment: ReplicatedObject): void {
    const sets = this.#owned.of(deployment, 'replicasets').filter((set) => !isTerminating(set));
    const plan = planDeployment(deployment, sets, this.#store.timestamp());
    if (plan.create) this.#store.create('replicasets', plan.create);
    for (const { set, replicas } of plan.scale) {
      this.#store.modify('replicasets', refOf(set), (draft) => {
        draft.spec.replicas = replicas;
      });
    }
    this.#markRevision(deployment, plan);
    this.#store.setStatus('deployments', refOf(deployment), plan.status);
  }

  /** Writes the revision on the deployment, and on a set that an older template made current again. */
  #markRevision(deployment: ReplicatedObject, plan: DeploymentPlan): void {
    const revision = String(plan.revision);
    const targets = [
      ['deployments', deployment],
      ...(plan.current ? [['replicasets', plan.current] as const] : []),
    ] as const;
    for (const [resource, object] of targets) {
      if (object.metadata.annotations?.[REVISION_ANNOTATION] === revision) continue;
      this.#store.modify(resource, refOf(object), (draft) => {
        draft.metadata.annotations = { ...object.metadata.annotations, [REVISION_ANNOTATION]: revision };
      });
    }
  }

  #reconcileService(ref: { readonly namespace: string; readonly name: string }): void {
    const service = this.#store.get('services', ref);
    if (service && !hasSelector(service)) return;
    const labelSelector = `${SERVICE_NAME_LABEL}=${ref.name},${MANAGED_BY_LABEL}=${MANAGER}`;
    const present = this.#store.list('endpointslices', { namespace: ref.namespace, labelSelector });
    const usable = service && !this.#namespaceGoes(ref.namespace) ? service : undefined;
    const pods = usable ? this.#store.list('pods', { namespace: ref.namespace }) : [];
    const desired = usable ? desiredSlices(usable, pods) : [];
    const names = new Set(desired.map((slice) => slice.metadata.name));
    for (const slice of present) {
      if (!names.has(slice.metadata.name)) this.#store.delete('endpointslices', refOf(slice));
    }
    for (const slice of desired) this.#put('endpointslices', slice);
    if (usable) this.#put('endpoints', desiredEndpoints(usable, pods));
    else if (!service && this.#store.get('endpoints', ref)) this.#store.delete('endpoints', ref);
  }

  #put(resource: ResourceName, desired: ApiObject): void {
    const present = this.#store.get(resource, refOf(desired));
    if (!present) this.#store.create(resource, desired);
    else if (!sameContent(present, desired)) this.#store.update(resource, desired);
  }
}

function sameContent(a: ApiObject, b: ApiObject): boolean {
  const { metadata: metadataA, ...restA } = a;
  const { metadata: metadataB, ...restB } = b;
  return equalJson(restA, restB) && equalJson(metadataA.labels, metadataB.labels);
}
