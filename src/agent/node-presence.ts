/**
 * Whether the cluster knows this node, and what must not be concluded while it does not. A node that is not in the cluster (a typing
 * mistake, another cluster, a Node object that was deleted) looks the same as one without pods; taken for one, it would lose its rules.
 *
 * - Before the Node object or a pod bound to it was ever seen, nothing is known: the kernel is left alone.
 * - While the Node object is away, deletions of this node's pods are held back: the garbage collector deletes the pods of a node
 *   that is gone, whether or not their containers still run. Everything else, policies included, goes on.
 * - A pod held back gives way to any pod that shows one of its addresses.
 */
import type { NodeRecord, Pod } from '../policy/model.ts';

/** What follows for the compiler, in order; `after` undefined: the pod is gone. */
type PodChange = readonly [key: string, after: Pod | undefined];

export class NodePresence {
  readonly #nodeName: string;
  #node: NodeRecord | undefined;
  #isPresent = false;
  #isNamed = false;
  readonly #held = new Map<string, Pod>();

  constructor(nodeName: string) {
    this.#nodeName = nodeName;
  }

  /** The Node object exists. */
  get isPresent(): boolean {
    return this.#isPresent;
  }

  /** The name is that of a node: its object, or a pod bound to it, was seen at least once. */
  get isNamed(): boolean {
    return this.#isNamed;
  }

  /** As last seen; undefined if it never was. */
  get node(): NodeRecord | undefined {
    return this.#node;
  }

  /** Pods that the API no longer has and whose rules stay. */
  get held(): ReadonlyMap<string, Pod> {
    return this.#held;
  }

  /** The Node object came, changed or went. Result: deletions that are no longer held back. */
  nodeChanged(after: NodeRecord | undefined): readonly PodChange[] {
    this.#isPresent = after !== undefined;
    if (after === undefined) return [];
    this.#node = after;
    this.#isNamed = true;
    const released = [...this.#held.keys()].map((key): PodChange => [key, undefined]);
    this.#held.clear();
    return released;
  }

  /** `before` and `after` as in a ClusterChange. Result: what the compiler is to be told. */
  podChanged(key: string, before: Pod | undefined, after: Pod | undefined): readonly PodChange[] {
    if (after?.nodeName === this.#nodeName) this.#isNamed = true;
    if (after === undefined) {
      if (this.#isPresent || before?.nodeName !== this.#nodeName) return [[key, undefined]];
      this.#held.set(key, before);
      return [];
    }
    return this.#held.size === 0 ? [[key, after]] : [...this.#release(key, after), [key, after]];
  }

  #release(key: string, after: Pod): readonly PodChange[] {
    const released: PodChange[] = [];
    for (const [heldKey, pod] of this.#held) {
      if (heldKey !== key && !pod.addresses.some((address) => after.addresses.includes(address))) continue;
      this.#held.delete(heldKey);
      released.push([heldKey, undefined]);
    }
    return released;
  }
}
