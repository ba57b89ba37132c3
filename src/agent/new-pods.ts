/** Pods of this node on their way into the rules: which still wait for an address or a commit, and how long that took. */
import type { Pod } from '../policy/model.ts';
import type { ClusterChange } from '../cluster/watch-cluster.ts';

import { isFinished } from '../policy/address-owners.ts';

export class NewPods {
  readonly #nodeName: string;
  /** By `namespace/name`: when its address was first seen; undefined while it has none. */
  readonly #waiting = new Map<string, number | undefined>();

  constructor(nodeName: string) {
    this.#nodeName = nodeName;
  }

  change({ kind, key, before, after, arrivedAtMs }: ClusterChange): void {
    if (kind !== 'pods') return;
    const pod = after as Pod | undefined;
    if (!pod || !this.#isOurs(pod) || isFinished(pod.phase)) {
      this.#waiting.delete(key);
      return;
    }
    if (pod.addresses.length === 0) this.#waiting.set(key, undefined);
    else if (!hadAddress(before as Pod | undefined, pod)) this.#waiting.set(key, this.#waiting.get(key) ?? arrivedAtMs);
  }

  /** An address that is known before the API shows it. */
  early(key: string, atMs: number): void {
    if (this.#waiting.has(key)) this.#waiting.set(key, this.#waiting.get(key) ?? atMs);
  }

  /** Keys of pods whose address is known: what a sync that begins now brings into the rules. */
  known(): readonly string[] {
    return [...this.#waiting].flatMap(([key, atMs]) => (atMs === undefined ? [] : [key]));
  }

  /** They are in the rules now. Result: milliseconds since their addresses were known. */
  programmed(keys: readonly string[], nowMs: number): readonly number[] {
    return keys.flatMap((key) => {
      const atMs = this.#waiting.get(key);
      if (atMs === undefined) return [];
      this.#waiting.delete(key);
      return [nowMs - atMs];
    });
  }

  /** Pods that are not programmed yet. */
  get waiting(): number {
    return this.#waiting.size;
  }

  #isOurs(pod: Pod): boolean {
    return pod.nodeName === this.#nodeName && !pod.hostNetwork;
  }
}

function hadAddress(before: Pod | undefined, pod: Pod): boolean {
  return (
    before !== undefined &&
    before.uid === pod.uid &&
    pod.addresses.every((address) => before.addresses.includes(address))
  );
}
