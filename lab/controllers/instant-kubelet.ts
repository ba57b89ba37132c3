/** A kubelet without containers: pods on a node become Running and Ready at once, with made-up addresses. For tests of the API alone. */
import type { ApiStore } from '../api/api-store.ts';
import { type PodObject, refOf } from '../api/objects.ts';
import { isFinished, isTerminating } from './pod-state.ts';

/** `addressesOf` gives a pod's addresses, main family first. Terminating pods are removed at once. Returns a function that stops. */
export function startInstantKubelet(store: ApiStore, addressesOf: (pod: PodObject) => readonly string[]): () => void {
  const settle = (pod: PodObject): void => {
    const present = store.get('pods', refOf(pod));
    if (present?.metadata.uid !== pod.metadata.uid || !present.spec.nodeName) return;
    if (isTerminating(present)) store.delete('pods', refOf(present), { gracePeriodSeconds: 0 });
    else if (!isFinished(present) && present.status?.phase !== 'Running') {
      store.setStatus('pods', refOf(present), runningStatus(present, addressesOf(present), store.timestamp()));
    }
  };
  return store.watch('pods', ({ type, object }) => {
    if (type !== 'DELETED' && object.spec.nodeName) settle(object);
  });
}

/** The status of a pod whose containers all run. Empty `addresses` leaves the pod without address. */
export function runningStatus(pod: PodObject, addresses: readonly string[], timestamp: string): object {
  const [podIP] = addresses;
  const conditions = ['PodReadyToStartContainers', 'Initialized', 'Ready', 'ContainersReady', 'PodScheduled'].map(
    (type) => ({
      type,
      status: 'True',
      lastTransitionTime: timestamp,
    }),
  );
  return {
    phase: 'Running',
    startTime: timestamp,
    conditions,
    ...(podIP === undefined ? {} : { podIP, podIPs: addresses.map((ip) => ({ ip })) }),
    containerStatuses: pod.spec.containers.map(({ name, image }) => ({
      name,
      image: image ?? '',
      imageID: '',
      ready: true,
      started: true,
      restartCount: 0,
      state: { running: { startedAt: timestamp } },
    })),
  };
}
