/** The running agent: cluster changes in, passes out. Gets its edges as arguments; knows no process, file or socket. */
import { MODES } from '../core/vocabulary.ts';
import type { Problem } from '../policy/model.ts';
import type { NodeIntent } from '../compile/intent.ts';
import type { Layout } from '../dataplane/iptables/rules/ruleset.ts';
import type { PodInterfaces } from '../host/pod-interfaces.ts';
import type { Kernel } from '../dataplane/iptables/kernel/kernel.ts';
import type { ClusterChange, ClusterWatch } from '../cluster/watch-cluster.ts';
import type { MonotonicClock } from '../core/clock.ts';
import type { Mode } from '../core/vocabulary.ts';
import type { PassOutcome, ReconcilerOptions } from '../dataplane/iptables/sync/reconcile.ts';
import type { LoopVerdict } from './reconcile-loop.ts';
import type { Standing } from '../dataplane/iptables/drift/drift-watch.ts';

import { ClusterFollower } from './follow-cluster.ts';
import type { EarlyAddresses } from './early-addresses.ts';
import type { FreeEpochs } from '../dataplane/iptables/sync/free-epochs.ts';
import { NewPods } from './new-pods.ts';

import { Reconciler } from '../dataplane/iptables/sync/reconcile.ts';
import { ReconcileLoop } from './reconcile-loop.ts';

export interface AgentOptions {
  readonly nodeName: string;
  readonly cluster: ClusterWatch;
  readonly kernel: Kernel;
  readonly layout: Omit<Layout, 'mode'>;
  /** In force unless the node's annotation says otherwise. */
  readonly defaultMode: Mode;
  readonly minGapMs: number;
  readonly resyncIntervalMs: number;
  readonly clock: MonotonicClock;
  /** 0..1. */
  readonly random: () => number;
  readonly firstGeneration: number;
  /** Absent: the next number is taken, whoever carries it. */
  readonly freeEpochs?: FreeEpochs;
  /** Absent: a pod's address is known when its status shows it. */
  readonly earlyAddresses?: EarlyAddresses;
  /** Absent: pods are told by their listed addresses alone. */
  readonly interfaces?: InterfaceSource;
  /** See ReconcilerOptions. */
  readonly missingFeatures?: NonNullable<ReconcilerOptions['missingFeatures']>;
  readonly observer: AgentObserver;
}

/** Finds where local pods are attached. */
export interface InterfaceSource {
  /** Looks now; resolves when it has looked, whatever it found. */
  look(): Promise<void>;
  /** Those known now; told of a local pod it does not know, it begins to look. The same object as long as nothing changed. */
  of(localAddresses: ReadonlyMap<string, string>): PodInterfaces;
  /** Calls back when `of` would answer otherwise. */
  onChange(callback: () => void): void;
}

/** What the agent tells the outside: logs and metrics hang on this. Must not throw. */
export interface AgentObserver {
  onMode(mode: Mode, source: 'default' | 'annotation'): void;
  onPass(outcome: PassOutcome, info: PassInfo): void;
  /** The set of problems with objects changed. */
  onProblems(problems: readonly Problem[]): void;
  /** Before the first pass, closed to new pods: rules stood already, the gate was written, or why it could not be. */
  onGate(result: 'rules stand' | 'closed' | { readonly failed: string }): void;
  /** Milliseconds from the moment each pod's address was known to the commit of its rules. */
  onPodsProgrammed(milliseconds: readonly number[]): void;
}

export interface PassInfo {
  readonly reasons: readonly string[];
  readonly readBack: boolean;
  readonly verdict: LoopVerdict;
  readonly seconds: number;
  /** From the arrival of the earliest change this pass carried to its commit; absent if it carried none or wrote nothing. */
  readonly programmingSeconds: number | undefined;
  readonly first: boolean;
  /** How many things are wrong with objects right now. */
  readonly problems: number;
}

/**
 * `unknown`: neither its object nor a pod bound to it was ever seen, so nothing is written. `gone`: its object is away, and the rules of
 * pods deleted since then stay.
 */
export type NodeStatus = { readonly kind: 'present' } | { readonly kind: 'gone' } | { readonly kind: 'unknown' };

export interface AgentStatus {
  readonly nodeName: string;
  readonly mode: Mode;
  readonly inSync: boolean;
  readonly node: NodeStatus;
  /** A pass succeeded (in dry-run: was planned) at least once. */
  readonly programmed: boolean;
  /** Consecutive passes in which something did not go in. */
  readonly failedPasses: number;
  readonly lastOutcome: PassOutcome | undefined;
  /** Monotonic. */
  readonly lastTurnMs: number;
  /** Pods of this node whose address is not known or not programmed yet. */
  readonly waitingPods: number;
}

export const MODE_ANNOTATION = 'portcullis.dev/mode';

export class Agent {
  readonly #options: AgentOptions;
  readonly #follower: ClusterFollower;
  readonly #reconciler: Reconciler;
  readonly #loop: ReconcileLoop;
  readonly #newPods: NewPods;
  /** Resolves when the gate for new pods is closed, if it is to be. */
  #gate: Promise<void> | undefined;
  #mode: Mode;
  #programmed = false;
  #lastOutcome: PassOutcome | undefined;
  #earliestChangeMs: number | undefined;
  #reportedProblems: readonly Problem[] = [];
  #isPassing = false;
  #passes = 0;

  constructor(options: AgentOptions) {
    const { nodeName, kernel, clock, firstGeneration, random, minGapMs, resyncIntervalMs } = options;
    this.#options = options;
    this.#mode = options.defaultMode;
    const onCompiled = (): void => this.#loop.nudge('compiled');
    const follower = new ClusterFollower(options.cluster, nodeName, clock, onCompiled, options.earlyAddresses);
    this.#follower = follower;
    this.#newPods = new NewPods(nodeName);
    this.#reconciler = new Reconciler({
      nodeName,
      kernel,
      now: () => clock.now(),
      firstGeneration,
      ...(options.freeEpochs ? { freeEpochs: options.freeEpochs } : {}),
      ...(options.missingFeatures ? { missingFeatures: options.missingFeatures } : {}),
      compile: () => follower.intent(),
      ...(options.interfaces ? { interfaces: interfacesOf(options.interfaces) } : {}),
    });
    this.#loop = new ReconcileLoop({
      pass: (request) => this.#pass(request),
      clock,
      random,
      minGapMs,
      resyncIntervalMs,
    });
    options.freeEpochs?.onFound(() => this.#loop.nudge('free epoch'));
  }

  /** Begins to watch. The kernel is not touched before every kind of object was listed once. */
  start(signal: AbortSignal): void {
    const { cluster } = this.#options;
    cluster.onChange((change) => this.#onChange(change));
    cluster.onSync(() => this.#loop.nudge('in sync', true));
    const { interfaces, earlyAddresses } = this.#options;
    interfaces?.onChange(() => {
      if (cluster.inSync) this.#loop.nudge('pod interfaces');
    });
    earlyAddresses?.onChange((pods) => this.#onAllocations(pods));
    this.#gate = this.#closeGate();
    cluster.start(signal);
  }

  /** Asks for a pass that compares all we wrote with the kernel. */
  resync(reason: string): void {
    if (this.#options.cluster.inSync) this.#loop.nudge(reason, true);
  }

  /** What the kernel should hold now; undefined while a pass runs, while nothing is enforced, and while that is not known. */
  standing(): Standing | undefined {
    const written = this.#reconciler.written;
    const isEnforced = this.#mode === 'enforce' || this.#mode === 'audit';
    return this.#isPassing || !isEnforced || !written ? undefined : { written, passes: this.#passes };
  }

  /** Lets a pass under way finish and starts no other. The rules stay as they are (S-79). */
  stop(): Promise<void> {
    return this.#loop.stop();
  }

  status(): AgentStatus {
    return {
      nodeName: this.#options.nodeName,
      mode: this.#mode,
      inSync: this.#options.cluster.inSync,
      node: this.#nodeStatus(),
      programmed: this.#programmed,
      failedPasses: this.#loop.failures,
      lastOutcome: this.#lastOutcome,
      lastTurnMs: this.#loop.lastTurnMs,
      waitingPods: this.#newPods.waiting,
    };
  }

  /** On a node without rules of ours, new pods are kept out before the API server has said which pods there are (S-75). */
  async #closeGate(): Promise<void> {
    const { layout, defaultMode, observer, interfaces } = this.#options;
    if (!layout.newPods || defaultMode !== 'enforce') return;
    try {
      await interfaces?.look();
      observer.onGate(await this.#reconciler.closeGate(layout));
    } catch (error) {
      observer.onGate({ failed: error instanceof Error ? error.message : String(error) });
    }
  }

  #onAllocations(pods: readonly string[]): void {
    const { cluster, clock } = this.#options;
    let concerns = false;
    for (const key of pods) {
      if (!this.#follower.allocated(key)) continue;
      this.#newPods.early(key, clock.now());
      concerns = true;
    }
    if (!concerns || !cluster.inSync) return;
    this.#earliestChangeMs ??= clock.now();
    this.#loop.nudge('allocations');
  }

  #onChange(change: ClusterChange): void {
    this.#newPods.change(change);
    const concerns = this.#follower.change(change);
    if (!concerns || !this.#options.cluster.inSync) return;
    this.#earliestChangeMs ??= change.arrivedAtMs;
    this.#loop.nudge(change.kind);
  }

  async #pass(request: { readBack: boolean; reasons: readonly string[] }): Promise<LoopVerdict> {
    this.#isPassing = true;
    try {
      return await this.#sync(request);
    } finally {
      this.#isPassing = false;
      this.#passes++;
    }
  }

  async #sync(request: { readBack: boolean; reasons: readonly string[] }): Promise<LoopVerdict> {
    const { cluster, layout, clock } = this.#options;
    await this.#gate;
    const nodeProblems = describeNode(this.#options.nodeName, this.#nodeStatus());
    if (!this.#follower.presence.isNamed) {
      // What is not known is not "no pods here": rules that stand stay.
      this.#reportProblems([...cluster.snapshot().problems, ...nodeProblems]);
      return 'done';
    }
    const started = clock.now();
    const newPods = this.#newPods.known();
    const changedAt = this.#earliestChangeMs;
    this.#earliestChangeMs = undefined;
    const modeProblems = this.#followMode();
    const outcome = await this.#reconciler.pass(cluster.snapshot(), this.#mode, layout, request.readBack);
    const verdict = judge(outcome);
    const isWritten = verdict !== 'failed' && verdict !== 'locked';
    const first = !this.#programmed && isWritten;
    this.#programmed ||= isWritten;
    // A change that did not get in keeps its clock running.
    if (!isWritten) this.#earliestChangeMs = changedAt ?? this.#earliestChangeMs;
    this.#lastOutcome = outcome;
    // The next portion of what is filled, and whatever changed meanwhile.
    if (verdict !== 'failed' && this.#mode !== 'dry-run' && (outcome.plan?.waiting.length ?? 0) > 0)
      this.#loop.nudge('portion');
    const ended = clock.now();
    if (isWritten) this.#reportNewPods(newPods, outcome, ended);
    const problems = [...cluster.snapshot().problems, ...outcome.problems, ...modeProblems, ...nodeProblems];
    const programmed = changedAt !== undefined && outcome.stepsApplied > 0 && isWritten;
    this.#options.observer.onPass(outcome, {
      reasons: request.reasons,
      readBack: request.readBack,
      verdict,
      seconds: (ended - started) / 1000,
      programmingSeconds: programmed ? (ended - changedAt) / 1000 : undefined,
      first,
      problems: problems.length,
    });
    this.#reportProblems(problems);
    return verdict;
  }

  /** Of a namespace that takes long to compile the rules are still those before. */
  #reportNewPods(keys: readonly string[], { intent }: PassOutcome, nowMs: number): void {
    if (keys.length === 0) return;
    const inRules = new Set(intent?.localAddresses.values());
    const programmed = keys.filter((key) => !intent || inRules.has(key));
    this.#options.observer.onPodsProgrammed(this.#newPods.programmed(programmed, nowMs));
  }

  /** The node's annotation wins over the default; a value it cannot use is a problem and changes nothing. */
  #followMode(): Problem[] {
    const { cluster, nodeName, defaultMode, observer } = this.#options;
    const node = cluster.snapshot().nodes.get(nodeName);
    const wanted = node?.modeAnnotation;
    const annotated = MODES.find((mode) => mode === wanted);
    // A typing mistake, or a Node object that is replaced, must not switch an audited node to enforcing.
    const mode = annotated ?? (node && wanted === undefined ? defaultMode : this.#mode);
    if (mode !== this.#mode || !this.#lastOutcome) {
      this.#mode = mode;
      observer.onMode(mode, annotated ? 'annotation' : 'default');
    }
    if (wanted === undefined || annotated) return [];
    return [
      {
        object: { kind: 'Node', name: nodeName },
        field: `metadata.annotations[${MODE_ANNOTATION}]`,
        message: `${JSON.stringify(wanted)} is not one of ${MODES.join(', ')}; the mode stays ${mode}`,
      },
    ];
  }

  #nodeStatus(): NodeStatus {
    const { isNamed, isPresent } = this.#follower.presence;
    if (!isNamed) return { kind: 'unknown' };
    return { kind: isPresent ? 'present' : 'gone' };
  }

  #reportProblems(problems: readonly Problem[]): void {
    const before = this.#reportedProblems;
    this.#reportedProblems = problems;
    // Nearly always the very same objects.
    if (problems.length === before.length && problems.every((problem, index) => isSame(problem, before[index]))) return;
    this.#options.observer.onProblems(problems);
  }
}

function isSame(problem: Problem, other: Problem | undefined): boolean {
  return problem === other || JSON.stringify(problem) === JSON.stringify(other);
}

function interfacesOf(source: InterfaceSource): (intent: NodeIntent) => PodInterfaces {
  return ({ localAddresses }) => source.of(localAddresses);
}

/** In an operator's words; nothing while the cluster has the node. */
function describeNode(nodeName: string, status: NodeStatus): Problem[] {
  const reason = nodeProblem(nodeName, status);
  return reason === undefined
    ? []
    : [{ object: { kind: 'Node', name: nodeName }, field: 'metadata.name', message: reason }];
}

export function nodeProblem(nodeName: string, status: NodeStatus): string | undefined {
  switch (status.kind) {
    case 'present':
      return undefined;
    case 'unknown':
      return (
        `the cluster has no Node ${nodeName} and no pod bound to it: nothing is written and rules that stand stay as they are; ` +
        'check --node-name (NODE_NAME) and that this is the right cluster'
      );
    case 'gone':
      return (
        `the Node object ${nodeName} is not there: the rules of its pods stay, also of pods deleted since, and policies are followed; ` +
        'if the node was renamed, correct --node-name (NODE_NAME)'
      );
  }
}

function judge(outcome: PassOutcome): LoopVerdict {
  const { failures, busySets, busyChains } = outcome;
  if (failures.length === 0) return busySets.length + busyChains.length > 0 ? 'later' : 'done';
  if (outcome.partial) return 'partial';
  return failures.every(({ reason }) => reason === 'lock') ? 'locked' : 'failed';
}
