/** Keeps a node's compiler up to date with the cluster, change by change, and in slices when there is much to do at once. */
import type { ClusterPolicy, LabelledNode, Namespace, NodeRecord, Pod, Policy } from '../policy/model.ts';
import type { AddressDirectory } from '../compile/address-directory.ts';
import type { NodeIntent } from '../compile/intent.ts';
import type { Sliced } from '../core/sliced.ts';
import type { ClusterChange, ClusterWatch } from '../cluster/watch-cluster.ts';
import type { EarlyAddresses } from './early-addresses.ts';
import type { MonotonicClock } from '../core/clock.ts';
import type { Lane } from './pace.ts';

import { NodePresence } from './node-presence.ts';

import { loadSnapshot, NodeCompiler } from '../compile/compile-node.ts';
import { type Turns, runSliced, runSlicedFor } from '../core/run-sliced.ts';
import { withEarlyAddresses } from './early-addresses.ts';

/**
 * Namespaces with more to compile than this, in bytes of rules times kinds of local pods, may be compiled beside the syncs: what others
 * change does not wait for them. That much takes some 100 ms when nothing of it is known.
 */
const SLOW_BYTES = 1024 * 1024;
/**
 * Such a namespace is begun by the sync that finds it, and what is not at its end after so long is compiled further beside the syncs. Where
 * little of much has changed that is enough. All of them together: so long, and no longer, they hold up what others change.
 */
const BEGIN_MS = 25;

export class ClusterFollower {
  readonly #cluster: Pick<ClusterWatch, 'snapshot'>;
  readonly #nodeName: string;
  readonly #clock: MonotonicClock;
  readonly #early: EarlyAddresses | undefined;
  #compiler: NodeCompiler;
  #isWhole = true;
  /** Nothing of the cluster is in an intent so far: to leave something out would take it out of the kernel. */
  #isFirst = true;
  /** Namespaces begun by a sync, and not at their end. */
  #begun: Sliced<void>[] = [];
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

  /** Whose which address is now. */
  get directory(): AddressDirectory {
    return this.#compiler.directory();
  }

  /** Returns whether this node may have something to do, and what. */
  change(change: ClusterChange): Lane | undefined {
    try {
      const before = this.#compiler.ruleChanges;
      const concerns = this.#changed(change);
      if (typeof concerns === 'string') return concerns;
      if (this.#compiler.ruleChanges !== before) return 'rules';
      return concerns ? 'members' : undefined;
    } catch {
      // Half a change may be in: the next intent is made from scratch.
      this.#isWhole = false;
      return 'rules';
    }
  }

  /** Another address was allocated to a pod of this node. Returns whether this node may have something to do. */
  allocated(key: string): boolean {
    const pod = this.#cluster.snapshot().pods.get(key);
    return pod !== undefined && this.#compiler.pod(key, this.#known(key, pod));
  }

  /** Whether the intent may have changed, or what of it. */
  #changed({ kind, key, before, after }: ClusterChange): boolean | Lane {
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
        return 'rules';
      case 'clusternetworkpolicies':
        this.#compiler.clusterPolicy(key, after as ClusterPolicy | undefined);
        return true;
      case 'clusternodes':
        return this.#compiler.labelledNode(key, after as LabelledNode | undefined);
    }
  }

  #known(key: string, pod: Pod | undefined): Pod | undefined {
    if (!this.#early || pod?.nodeName !== this.#nodeName) return pod;
    return withEarlyAddresses(pod, this.#early.current().get(key));
  }

  #podChanged(key: string, before: Pod | undefined, after: Pod | undefined): boolean | Lane {
    const wasNamed = this.#presence.isNamed;
    let concerns = false;
    for (const [changed, pod] of this.#presence.podChanged(key, before, after))
      concerns = this.#compiler.pod(changed, this.#known(changed, pod)) || concerns;
    return wasNamed === this.#presence.isNamed ? concerns : 'rules';
  }

  #nodeChanged(name: string, after: NodeRecord | undefined): void {
    if (name !== this.#nodeName) return;
    for (const [key, pod] of this.#presence.nodeChanged(after)) this.#compiler.pod(key, pod);
    // Its addresses stay what they were while its object is away.
    if (after) this.#compiler.node(name, after);
  }

  /** `members`: namespaces whose rules may have changed are left as they were. */
  async intent(lane: Lane): Promise<NodeIntent> {
    if (!this.#isWhole) this.#startAfresh();
    const compiler = this.#compiler;
    if (this.#isFirst) await this.#run(compiler.work());
    else if (lane === 'members') await this.#run(compiler.work(0));
    else await this.#compile(compiler);
    this.#isFirst = false;
    return compiler.current();
  }

  #startAfresh(): void {
    this.#compiler = this.#compiler.successor();
    this.#begun = [];
    loadSnapshot(this.#compiler, this.#cluster.snapshot());
    for (const key of this.#early?.current().keys() ?? []) this.allocated(key);
    for (const [key, pod] of this.#presence.held) this.#compiler.pod(key, pod);
    if (this.#presence.node) this.#compiler.node(this.#nodeName, this.#presence.node);
    this.#isWhole = true;
    this.#isFirst = true;
  }

  async #compile(compiler: NodeCompiler): Promise<void> {
    await this.#run(compiler.work(SLOW_BYTES));
    let leftMs = BEGIN_MS;
    if (!compiler.hasSlowWork && this.#begun.length === 0) return;
    while (leftMs > 0 && compiler.hasSlowWork) {
      const work = compiler.slowWork();
      const { isDone, tookMs } = await runSlicedFor(work, leftMs, this.#turns);
      leftMs -= tookMs;
      if (!isDone) this.#begun.push(work);
    }
    await this.#run(compiler.work(SLOW_BYTES));
    if (!this.#isSlowUnderWay && (compiler.hasSlowWork || this.#begun.length > 0)) void this.#runSlow(compiler);
  }

  async #runSlow(compiler: NodeCompiler): Promise<void> {
    this.#isSlowUnderWay = true;
    try {
      await this.#run(this.#begun.shift() ?? compiler.slowWork());
    } catch {
      if (compiler === this.#compiler) this.#isWhole = false;
    }
    this.#isSlowUnderWay = false;
    this.#onCompiled();
  }

  #run(work: Sliced<void>): Promise<void> {
    return runSliced(work, this.#turns);
  }

  get #turns(): Turns {
    return {
      now: () => this.#clock.now(),
      next: () => new Promise((resolve) => void this.#clock.after(0, resolve)),
    };
  }
}
