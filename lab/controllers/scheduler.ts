/** Puts pods on nodes, in turn. */
import type { ApiStore } from '../api/api-store.ts';
import { type NodeObject, type PodObject, refOf } from '../api/objects.ts';
import { isFinished, isTerminating, nodeFits, withCondition } from './pod-state.ts';

/** The node for the pod when it is the `turn`-th to be placed; undefined if no node will do. `nodes` sorted by name. */
export function chooseNode(pod: PodObject, nodes: readonly NodeObject[], turn: number): string | undefined {
  const fitting = nodes.filter((node) => isUsable(node) && nodeFits(node, pod.spec.nodeSelector));
  return fitting[turn % fitting.length]?.metadata.name;
}

/** A node that nobody reports on counts as ready. */
function isUsable(node: NodeObject): boolean {
  const ready = (node.status?.conditions ?? []).find((condition) => condition.type === 'Ready');
  const tainted = (node.spec?.taints ?? []).some(
    (taint) => taint.effect === 'NoSchedule' || taint.effect === 'NoExecute',
  );
  return node.spec?.unschedulable !== true && !tainted && ready?.status !== 'False' && !isTerminating(node);
}

export class Scheduler {
  readonly #store: ApiStore;
  readonly #waiting = new Set<string>();
  #turn = 0;

  constructor(store: ApiStore) {
    this.#store = store;
  }

  /** Keys of pods that found no node. */
  get waiting(): readonly string[] {
    return [...this.#waiting];
  }

  /** Places one pod if it needs a place. */
  place(key: string, pod: PodObject | undefined): void {
    this.#waiting.delete(key);
    if (!pod || pod.spec.nodeName || isTerminating(pod) || isFinished(pod)) return;
    const nodeName = chooseNode(pod, this.#store.list('nodes'), this.#turn);
    if (nodeName !== undefined) {
      this.#turn += 1;
      this.#store.bind(refOf(pod), nodeName);
      return;
    }
    this.#waiting.add(key);
    const why = { type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: 'no node fits the pod' };
    const conditions = withCondition(pod.status?.conditions, why, this.#store.timestamp());
    this.#store.setStatus('pods', refOf(pod), { conditions });
  }
}
