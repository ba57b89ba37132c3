/**
 * The lab's kubelet: pods of the API server that have a node become network namespaces, and their status says so.
 * Level-triggered: each turn compares what the store holds with what runs, so no event can be missed.
 */
import type { ApiStore } from './api/api-store.ts';
import type { PodObject } from './api/objects.ts';
import type { LabNetworkDoor, LabPod, Listener, PodSpec } from './network/types.ts';
import { isAgentPod } from './agent-process.ts';
import { messageOf } from '../src/core/error-text.ts';

/** Comma-separated addresses the pod asks for; empty: none at all. For address reuse and late addresses. */
export const ADDRESSES_ANNOTATION = 'lab.portcullis.dev/addresses';
/** A pod with this annotation keeps running while its object exists, also when it is being deleted or has finished. */
export const LINGER_ANNOTATION = 'lab.portcullis.dev/linger';

export interface KubeletOptions {
  readonly store: ApiStore;
  readonly network: LabNetworkDoor;
  /** Ports of nodes that the lab uses itself: nothing of a host-network pod listens there. */
  readonly nodePortsInUse?: readonly number[];
  /** Something could not be set up; the pod stays Pending with the reason in its status. */
  readonly onProblem: (message: string) => void;
}

interface Running {
  readonly uid: string;
  /** What its address annotation said. */
  readonly wanted: string | undefined;
}

interface Failure {
  /** What was tried; something else is worth another try. */
  readonly attempt: string;
  readonly why: string;
}

export class Kubelet {
  readonly #options: KubeletOptions;
  readonly #running = new Map<string, Running>();
  readonly #failed = new Map<string, Failure>();
  #turn: Promise<void> | undefined;
  #again = false;
  #stopped = false;

  constructor(options: KubeletOptions) {
    this.#options = options;
  }

  /** Starts to follow the store; the returned function stops. */
  start(): () => void {
    const unsubscribe = this.#options.store.storage.subscribe((resource) => {
      if (resource === 'pods') this.#wake();
    });
    this.#wake();
    return () => {
      this.#stopped = true;
      unsubscribe();
    };
  }

  /** Why pods could not be started, by `namespace/name`. */
  get failures(): ReadonlyMap<string, string> {
    return new Map([...this.#failed].map(([key, { why }]) => [key, why]));
  }

  /** Resolves when everything the store asks for now was tried. */
  async idle(): Promise<void> {
    while (this.#turn) await this.#turn;
  }

  #wake(): void {
    if (this.#stopped) return;
    this.#again = true;
    this.#turn ??= this.#run().finally(() => {
      this.#turn = undefined;
    });
  }

  async #run(): Promise<void> {
    // Let a burst of writes finish: pods are brought up much faster together.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#again && !this.#stopped) {
      this.#again = false;
      try {
        await this.#sync();
      } catch (error) {
        if (!this.#stopped) this.#options.onProblem(`lab kubelet: ${messageOf(error)}`);
      }
    }
  }

  async #sync(): Promise<void> {
    const { store, network } = this.#options;
    const wanted = new Map<string, PodObject>();
    // Where there is no node there is no kubelet: such a pod stays Pending.
    const nodes = new Set(network.nodes().map(({ name }) => name));
    for (const pod of store.list('pods')) {
      if (nodes.has(pod.spec.nodeName ?? '') && shouldRun(pod)) wanted.set(keyOf(pod), pod);
    }
    for (const key of this.#failed.keys()) if (!wanted.has(key)) this.#failed.delete(key);
    await this.#stopPods(wanted);
    const starting = [...wanted.values()].filter((pod) => !this.#running.has(keyOf(pod)) && !this.#isFailed(pod));
    // Those that ask for an address first: it could be the next one for a pod that does not.
    await this.#startPods(starting.toSorted((a, b) => Number(!requested(a)) - Number(!requested(b))));
    for (const pod of wanted.values()) await this.#update(pod);
    for (const pod of store.list('pods')) {
      if (isLeaving(pod) && !this.#running.has(keyOf(pod))) store.delete('pods', refOf(pod), { gracePeriodSeconds: 0 });
    }
  }

  #isFailed(pod: PodObject): boolean {
    return this.#failed.get(keyOf(pod))?.attempt === attemptOf(pod);
  }

  async #stopPods(wanted: ReadonlyMap<string, PodObject>): Promise<void> {
    for (const [key, running] of this.#running) {
      if (wanted.get(key)?.metadata.uid === running.uid) continue;
      const [namespace, name] = key.split('/') as [string, string];
      await this.#options.network.removePod({ namespace, name });
      this.#running.delete(key);
    }
  }

  async #startPods(pods: readonly PodObject[]): Promise<void> {
    if (pods.length === 0) return;
    try {
      const inUse = this.#options.nodePortsInUse ?? [];
      const started = await this.#options.network.addPods(pods.map((pod) => specOf(pod, inUse)));
      for (const [index, pod] of pods.entries()) {
        const bare = requested(pod) === '';
        this.#report(pod, bare ? await this.#options.network.setPodAddresses(refOf(pod), []) : started[index]!);
      }
    } catch (error) {
      if (pods.length > 1) {
        // One bad pod must not keep the others from starting.
        for (const pod of pods) await this.#startPods([pod]);
        return;
      }
      const pod = pods[0]!;
      const message = messageOf(error);
      this.#failed.set(keyOf(pod), { attempt: attemptOf(pod), why: message });
      this.#options.onProblem(`pod ${keyOf(pod)} cannot start: ${message}`);
    }
  }

  #report(pod: PodObject, started: LabPod): void {
    this.#failed.delete(keyOf(pod));
    this.#running.set(keyOf(pod), { uid: pod.metadata.uid, wanted: requested(pod) });
    const { store, network } = this.#options;
    const node = network.nodes().find(({ name }) => name === pod.spec.nodeName);
    const now = store.timestamp();
    store.setStatus('pods', refOf(pod), {
      phase: 'Running',
      ...addressStatus(started.addresses),
      hostIP: node?.addresses[0],
      hostIPs: node?.addresses.map((ip) => ({ ip })),
      startTime: now,
      conditions: ['Initialized', 'Ready', 'ContainersReady', 'PodScheduled'].map((type) => ({
        type,
        status: 'True',
        lastTransitionTime: now,
      })),
      containerStatuses: pod.spec.containers.map((container) => ({
        name: container.name,
        image: container.image ?? '',
        imageID: '',
        ready: true,
        started: true,
        restartCount: 0,
        state: { running: { startedAt: now } },
      })),
    });
  }

  /** A changed address annotation moves the pod. */
  async #update(pod: PodObject): Promise<void> {
    const running = this.#running.get(keyOf(pod));
    const wanted = requested(pod);
    if (!running || running.uid !== pod.metadata.uid || running.wanted === wanted) return;
    const addresses = (wanted ?? '').split(',').filter((address) => address !== '');
    const moved = await this.#options.network.setPodAddresses(refOf(pod), addresses);
    this.#running.set(keyOf(pod), { ...running, wanted });
    this.#options.store.setStatus('pods', refOf(pod), addressStatus(moved.addresses));
  }
}

function addressStatus(addresses: readonly string[]): object {
  return { podIP: addresses[0] ?? null, podIPs: addresses.length > 0 ? addresses.map((ip) => ({ ip })) : null };
}

function keyOf(pod: PodObject): string {
  return `${pod.metadata.namespace}/${pod.metadata.name}`;
}

function refOf(pod: PodObject): { namespace: string; name: string } {
  return { namespace: pod.metadata.namespace ?? 'default', name: pod.metadata.name };
}

function requested(pod: PodObject): string | undefined {
  return pod.metadata.annotations?.[ADDRESSES_ANNOTATION];
}

function attemptOf(pod: PodObject): string {
  return `${pod.metadata.uid} ${requested(pod) ?? ''}`;
}

/** A finished pod has given its addresses back, although its status still shows them (S-71). */
function shouldRun(pod: PodObject): boolean {
  if (lingers(pod)) return true;
  const finished = pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
  return !finished && pod.metadata.deletionTimestamp === undefined;
}

function isLeaving(pod: PodObject): boolean {
  return pod.metadata.deletionTimestamp !== undefined && !lingers(pod);
}

function lingers(pod: PodObject): boolean {
  return pod.metadata.annotations?.[LINGER_ANNOTATION] !== undefined;
}

function specOf(pod: PodObject, nodePortsInUse: readonly number[]): PodSpec {
  const addresses = requested(pod);
  // A port where nobody listens refuses, which is an answer as well.
  const listeners = listenersOf(pod).filter(({ port }) => !pod.spec.hostNetwork || !nodePortsInUse.includes(port));
  return {
    ...refOf(pod),
    node: pod.spec.nodeName!,
    ...(pod.spec.hostNetwork ? { hostNetwork: true } : {}),
    ...(addresses ? { addresses: addresses.split(',') } : {}),
    ...(listeners.length > 0 ? { listeners } : {}),
  };
}

/** Every declared container port answers, in containers and sidecars alike. Those of an agent are its own. */
function listenersOf(pod: PodObject): Listener[] {
  if (isAgentPod(pod)) return [];
  const sidecars = (pod.spec.initContainers ?? []).filter((container) => container.restartPolicy === 'Always');
  const listeners = new Map<string, Listener>();
  for (const container of [...pod.spec.containers, ...sidecars]) {
    for (const { containerPort, protocol = 'TCP' } of container.ports ?? []) {
      if (protocol !== 'TCP' && protocol !== 'UDP' && protocol !== 'SCTP') continue;
      listeners.set(`${protocol} ${containerPort}`, { protocol, port: containerPort });
    }
  }
  return [...listeners.values()];
}
