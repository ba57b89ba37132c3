/** Keeps a node's compiler up to date with the cluster, change by change, and in slices when there is much to do at once. */
import type { Namespace, NodeRecord, Pod, Policy } from '../policy/model.ts';
import type { NodeIntent } from '../compile/intent.ts';
import type { Sliced } from '../core/sliced.ts';
import type { ClusterChange, ClusterWatch } from '../cluster/watch-cluster.ts';
import type { EarlyAddresses } from './early-addresses.ts';
import type { MonotonicClock } from '../core/clock.ts';

import { NodePresence } from './node-presence.ts';

import { loadSnapshot, NodeCompiler } from '../compile/compile-node.ts';
import { runSliced } from '../core/run-sliced.ts';
import { withEarlyAddresses } from './early-addresses.ts';

/**
 * Namespaces with more to compile than this, in bytes of rules times kinds of local pods, are compiled beside the syncs: what others
 * change does not wait for them. That much takes some 100 ms.
 */
const SLOW_BYTES = 1024 * 1024;

export class ClusterFollower {
  readonly #cluster: Pick<ClusterWatch, 'snapshot'>;
  readonly #nodeName: string;
  readonly #clock: MonotonicClock;
  readonly #early: EarlyAddresses | undefined;
  #compiler: NodeCompiler;
  #isWhole = true;
  /** Nothing of the cluster is in an intent so far: to leave something out would take it out of the kernel. */
  #isFirst = true;
  #isSlowUnderWay = false;
  readonly #onCompiled: () => void;
  readonly #presence: NodePresence;

  /** `onCompiled`: there is more in the intent than when it was asked for last. */
  constructor(
    cluster: Pick<ClusterWatch, 'snapshot'>,
    nodeName: string,
    clock: MonotonicClock,
    onCompiled: () => void = () => {},
    early?: EarlyAddresses,
  ) {
    this.#early = early;
    this.#onCompiled = onCompiled;
    this.#cluster = cluster;
    this.#nodeName = nodeName;
    this.#clock = clock;
    this.#compiler = new NodeCompiler(nodeName);
    this.#presence = new NodePresence(nodeName);
  }

  get presence(): Pick<NodePresence, 'isPresent' | 'isNamed'> {
    return this.#presence;
  }

  /** Returns whether this node may have something to do. */
  change({ kind, key, before, after }: ClusterChange): boolean {
    try {
      switch (kind) {
        case 'pods':
          return this.#podChanged(key, before as Pod | undefined, after as Pod | undefined);
        case 'namespaces':
          return this.#compiler.namespace(key, after as Namespace | undefined);
        case 'networkpolicies':
          // Also what says only that an object has problems must be looked at.
          this.#compiler.policy(key, after as Policy | undefined);
          return true;
        case 'nodes':
          this.#nodeChanged(key, after as NodeRecord | undefined);
          return true;
      }
    } catch {
      // Half a change may be in: the next intent is made from scratch.
      this.#isWhole = false;
      return true;
    }
  }

  /** Another address was allocated to a pod of this node. Returns whether this node may have something to do. */
  allocated(key: string): boolean {
    const pod = this.#cluster.snapshot().pods.get(key);
    return pod !== undefined && this.#compiler.pod(key, this.#known(key, pod));
  }

  #known(key: string, pod: Pod | undefined): Pod | undefined {
    if (!this.#early || pod?.nodeName !== this.#nodeName) return pod;
    return withEarlyAddresses(pod, this.#early.current().get(key));
  }

  #podChanged(key: string, before: Pod | undefined, after: Pod | undefined): boolean {
    const wasNamed = this.#presence.isNamed;
    let concerns = false;
    for (const [changed, pod] of this.#presence.podChanged(key, before, after))
      concerns = this.#compiler.pod(changed, this.#known(changed, pod)) || concerns;
    return concerns || wasNamed !== this.#presence.isNamed;
  }

  #nodeChanged(name: string, after: NodeRecord | undefined): void {
    if (name !== this.#nodeName) return;
    for (const [key, pod] of this.#presence.nodeChanged(after)) this.#compiler.pod(key, pod);
    // Its addresses stay what they were while its object is away.
    if (after) this.#compiler.node(name, after);
  }

  async intent(): Promise<NodeIntent> {
    if (!this.#isWhole) {
      this.#compiler = this.#compiler.successor();
      loadSnapshot(this.#compiler, this.#cluster.snapshot());
      for (const key of this.#early?.current().keys() ?? []) this.allocated(key);
      for (const [key, pod] of this.#presence.held) this.#compiler.pod(key, pod);
      if (this.#presence.node) this.#compiler.node(this.#nodeName, this.#presence.node);
      this.#isWhole = true;
      this.#isFirst = true;
    }
    const compiler = this.#compiler;
    await this.#run(compiler.work(this.#isFirst ? undefined : SLOW_BYTES));
    this.#isFirst = false;
    const intent = compiler.current();
    if (intent.waiting.length > 0 && !this.#isSlowUnderWay) void this.#runSlow(compiler);
    return intent;
  }

  async #runSlow(compiler: NodeCompiler): Promise<void> {
    this.#isSlowUnderWay = true;
    try {
      await this.#run(compiler.slowWork());
    } catch {
      if (compiler === this.#compiler) this.#isWhole = false;
    }
    this.#isSlowUnderWay = false;
    this.#onCompiled();
  }

  #run(work: Sliced<void>): Promise<void> {
    return runSliced(work, {
      now: () => this.#clock.now(),
      next: () => new Promise((resolve) => void this.#clock.after(0, resolve)),
    });
  }
}
