/** The running agent: cluster changes in, passes out. Gets its edges as arguments; knows no process, file or socket. */
import type { Problem } from '../policy/model.ts';
import type { NodeIntent } from '../compile/intent.ts';
import type { Layout } from '../render/ruleset.ts';
import type { PodInterfaces } from '../render/render-node.ts';
import type { Kernel } from '../kernel/kernel.ts';
import type { ClusterChange, ClusterWatch } from '../cluster/watch-cluster.ts';
import type { Mode, PassOutcome } from './reconcile.ts';
import type { LoopClock, LoopVerdict } from './reconcile-loop.ts';
import type { Standing } from './drift-watch.ts';

import { ClusterFollower } from './follow-cluster.ts';
import type { FreeEpochs } from './free-epochs.ts';

import { Reconciler } from './reconcile.ts';
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
  readonly clock: LoopClock;
  /** 0..1. */
  readonly random: () => number;
  readonly firstGeneration: number;
  /** Absent: the next number is taken, whoever carries it. */
  readonly freeEpochs?: FreeEpochs;
  /** Absent: pods are told by their listed addresses alone. */
  readonly interfaces?: InterfaceSource;
  readonly observer: AgentObserver;
}

/** Finds where local pods are attached. */
export interface InterfaceSource {
  /** Those known now; told of a local pod it does not know, it begins to look. The same list as long as nothing changed. */
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

export interface AgentStatus {
  readonly mode: Mode;
  readonly inSync: boolean;
  /** A pass succeeded (in dry-run: was planned) at least once. */
  readonly programmed: boolean;
  /** Consecutive passes in which something did not go in. */
  readonly failedPasses: number;
  readonly lastOutcome: PassOutcome | undefined;
  /** Monotonic. */
  readonly lastTurnMs: number;
}

export const MODE_ANNOTATION = 'portcullis.dev/mode';
const MODES: readonly Mode[] = ['enforce', 'audit', 'dry-run', 'off'];

export class Agent {
  readonly #options: AgentOptions;
  readonly #follower: ClusterFollower;
  readonly #reconciler: Reconciler;
  readonly #loop: ReconcileLoop;
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
    const follower = new ClusterFollower(options.cluster, nodeName, clock, () => this.#loop.nudge('compiled'));
    this.#follower = follower;
    this.#reconciler = new Reconciler({
      nodeName,
      kernel,
      now: () => clock.now(),
      firstGeneration,
      ...(options.freeEpochs ? { freeEpochs: options.freeEpochs } : {}),
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
    this.#options.interfaces?.onChange(() => {
      if (cluster.inSync) this.#loop.nudge('pod interfaces');
    });
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
      mode: this.#mode,
      inSync: this.#options.cluster.inSync,
      programmed: this.#programmed,
      failedPasses: this.#loop.failures,
      lastOutcome: this.#lastOutcome,
      lastTurnMs: this.#loop.lastTurnMs,
    };
  }

  #onChange(change: ClusterChange): void {
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
    const started = clock.now();
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
    const ended = clock.now();
    const problems = [...cluster.snapshot().problems, ...outcome.problems, ...modeProblems];
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

function judge(outcome: PassOutcome): LoopVerdict {
  if (outcome.failures.length === 0) return outcome.busySets.length > 0 ? 'later' : 'done';
  if (outcome.partial) return 'partial';
  return outcome.failures.every(({ reason }) => reason === 'lock') ? 'locked' : 'failed';
}
