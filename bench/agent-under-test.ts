/** The real agent on the real kernel, with a feed in the place of an API server, watched at each commit. */
import { createIptablesDataplane } from '../src/dataplane/iptables/iptables-dataplane.ts';
import { Agent, type SyncInfo } from '../src/agent/agent.ts';
import type { SyncOutcome } from '../src/dataplane/dataplane.ts';
import { createClusterWatch } from '../src/cluster/watch-cluster.ts';
import { cpuMs } from '../src/host/cpu-time.ts';
import { openCommitSessions } from '../src/host/commit-session.ts';
import { openRestoreSession } from '../src/host/restore-session.ts';
import { systemClock } from '../src/core/clock.ts';
import type { Backend } from '../src/core/vocabulary.ts';
import type { Kernel } from '../src/dataplane/iptables/kernel/kernel.ts';
import { destroysSets, WRITE_SETS, writesRules } from '../src/dataplane/iptables/kernel/linux-kernel.ts';
import { createOneVariantKernel } from '../test/support/one-variant-kernel.ts';
import type { Step } from '../src/dataplane/iptables/plan/plan.ts';
import { type ClusterModel, LOCAL_NODE, type RawObject, podObject } from './cluster-model.ts';
import { Feed } from './feed.ts';
import { LAYOUT } from './node-pass.ts';

/** The product's default. */
export const SYNC_SHARE = 0.2;
/** Beyond any measurement: comparing with the kernel is measured by itself. */
const NO_RESYNC_MS = 3_600_000;

/** One step that went in. */
export interface Commit {
  readonly step: Step;
  readonly endedMs: number;
}

export interface Pass {
  readonly outcome: SyncOutcome;
  readonly info: SyncInfo;
  readonly commits: readonly Commit[];
  readonly endedMs: number;
}

export class AgentUnderTest {
  readonly feed: Feed;
  readonly #agent: Agent;
  readonly #stop = new AbortController();
  readonly #sets = openRestoreSession(WRITE_SETS);
  readonly #writes = openCommitSessions({ stays: writesRules, needsDeleted: destroysSets, run: this.#sets.run });
  #commits: Commit[] = [];
  #onPass: ((pass: Pass) => void) | undefined;
  /** Called for each step as it has gone in. */
  onCommit: (commit: Commit) => void = () => {};

  constructor(model: ClusterModel, backend: Backend) {
    this.feed = new Feed({
      pods: podObjects(model),
      namespaces: model.namespaces,
      clusternetworkpolicies: [],
      clusternodes: [],
      networkpolicies: model.policies,
      nodes: [model.node],
    });
    this.#agent = new Agent({
      nodeName: LOCAL_NODE,
      cluster: createClusterWatch({ connection: this.feed, nodeName: LOCAL_NODE }),
      dataplane: createIptablesDataplane({
        kernel: this.#watched(
          createOneVariantKernel({ backend, families: [4, 6], run: this.#writes.run, lockWaitSeconds: 5 }),
        ),
        layout: LAYOUT,
        now: () => performance.now(),
        firstEpoch: 1,
      }),
      newPods: 'open',
      defaultMode: 'enforce',
      minGapMs: 0,
      share: SYNC_SHARE,
      cpuMs,
      resyncIntervalMs: NO_RESYNC_MS,
      clock: systemClock,
      random: Math.random,
      observer: {
        onMode: () => {},
        onProblems: () => {},
        onGate: () => {},
        onCommitted: () => {},
        onPodsProgrammed: () => {},
        onSync: (outcome, info) => this.#synced(outcome, info),
      },
    });
  }

  /** Resolves after the first pass. */
  async start(): Promise<Pass> {
    const first = this.nextPass();
    this.#agent.start(this.#stop.signal);
    return first;
  }

  /** The next pass that writes something. */
  nextPass(): Promise<Pass> {
    return new Promise((resolve) => (this.#onPass = resolve));
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#agent.stop();
    this.#writes.stop();
    this.#sets.stop();
  }

  #watched(kernel: Kernel): Kernel {
    return {
      backend: kernel.backend,
      families: kernel.families,
      readBack: () => kernel.readBack(),
      apply: async (step) => {
        const busy = await kernel.apply(step);
        const commit = { step, endedMs: performance.now() };
        this.#commits.push(commit);
        this.onCommit(commit);
        return busy;
      },
    };
  }

  #synced(outcome: SyncOutcome, info: SyncInfo): void {
    if (outcome.failures.length > 0) throw new Error(`pass failed: ${outcome.failures[0]!.message}`);
    if (this.#commits.length === 0) return;
    const pass = { outcome, info, commits: this.#commits, endedMs: performance.now() };
    this.#commits = [];
    const onPass = this.#onPass;
    this.#onPass = undefined;
    onPass?.(pass);
  }
}

/** One by one: an agent does not hold them either. */
function* podObjects(model: ClusterModel): Iterable<RawObject> {
  for (const pod of model.pods) yield podObject(pod, { fullSize: true });
}
