/** Keeps a node's compiler up to date with the cluster, change by change, and in slices when there is much to do at once. */
import type { Namespace, NodeRecord, Pod, Policy } from '../policy/model.ts';
import type { NodeIntent } from '../compile/intent.ts';
import type { ClusterChange, ClusterWatch } from '../cluster/watch-cluster.ts';
import type { LoopClock } from './reconcile-loop.ts';

import { loadSnapshot, NodeCompiler } from '../compile/compile-node.ts';
import { takeTurns } from '../kernel/take-turns.ts';

export class ClusterFollower {
  readonly #cluster: Pick<ClusterWatch, 'snapshot'>;
  readonly #nodeName: string;
  readonly #clock: LoopClock;
  #compiler: NodeCompiler;
  #isWhole = true;

  constructor(cluster: Pick<ClusterWatch, 'snapshot'>, nodeName: string, clock: LoopClock) {
    this.#cluster = cluster;
    this.#nodeName = nodeName;
    this.#clock = clock;
    this.#compiler = new NodeCompiler(nodeName);
  }

  /** Returns whether this node may have something to do. */
  change({ kind, key, after }: ClusterChange): boolean {
    try {
      switch (kind) {
        case 'pods':
          return this.#compiler.pod(key, after as Pod | undefined);
        case 'namespaces':
          return this.#compiler.namespace(key, after as Namespace | undefined);
        case 'networkpolicies':
          // Also what says only that an object has problems must be looked at.
          this.#compiler.policy(key, after as Policy | undefined);
          return true;
        case 'nodes':
          this.#compiler.node(key, after as NodeRecord | undefined);
          return true;
      }
    } catch {
      // Half a change may be in: the next intent is made from scratch.
      this.#isWhole = false;
      return true;
    }
  }

  async intent(): Promise<NodeIntent> {
    if (!this.#isWhole) {
      this.#compiler = new NodeCompiler(this.#nodeName);
      loadSnapshot(this.#compiler, this.#cluster.snapshot());
      this.#isWhole = true;
    }
    await takeTurns(this.#compiler.work(), {
      now: () => this.#clock.now(),
      next: () => new Promise((resolve) => void this.#clock.after(0, resolve)),
    });
    return this.#compiler.intent();
  }
}
