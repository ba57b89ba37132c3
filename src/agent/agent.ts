/** The running agent: cluster changes in, syncs out. Gets its edges as arguments; knows no process, file or socket. */
import { MODE_KEY, MODES } from '../core/vocabulary.ts';
import type { NodeRecord, Problem } from '../policy/model.ts';
import type { AddressDirectory } from '../compile/address-directory.ts';
import type { NodeIntent } from '../compile/intent.ts';
import type { PodInterfaces } from '../host/pod-interfaces.ts';
import type { ClusterChange, ClusterWatch, Versions } from '../cluster/watch-cluster.ts';
import type { MonotonicClock } from '../core/clock.ts';
import type { Mode } from '../core/vocabulary.ts';
import type { Dataplane, SyncOutcome } from '../dataplane/dataplane.ts';
import type { LoopRequest, LoopVerdict } from './sync-loop.ts';
import type { Lane } from './pace.ts';

import { NO_INTERFACES } from '../host/pod-interfaces.ts';
import { ClusterFollower } from './follow-cluster.ts';
import type { EarlyAddresses } from './early-addresses.ts';
import { NewPods } from './new-pods.ts';
import { type CommittedChange, type PolicyProgress, Progress } from './progress.ts';

import { SyncLoop } from './sync-loop.ts';
import { messageOf } from '../core/error-text.ts';

export interface AgentOptions {
  readonly nodeName: string;
  readonly cluster: ClusterWatch;
  readonly dataplane: Dataplane;
  /** Resolves when the data plane can be asked; no sync begins before. Absent: from the beginning. */
  readonly opened?: Promise<void>;
  /** Closed: no pod passes a packet before it is programmed (S-75). */
  readonly newPods: 'open' | 'closed';
  /** In force unless the node's annotation or label says otherwise. */
  readonly defaultMode: Mode;
  /** See LoopOptions. */
  readonly minGapMs: number;
  readonly share: number;
  readonly cpuMs: () => number;
  readonly resyncIntervalMs: number;
  readonly clock: MonotonicClock;
  /** 0..1. */
  readonly random: () => number;
  /** Absent: a pod's address is known when its status shows it. */
  readonly earlyAddresses?: EarlyAddresses;
  /** Absent: pods are told by their listed addresses alone. */
  readonly interfaces?: InterfaceSource;
  readonly observer: AgentObserver;
}

/** Finds where local pods are attached. */
interface InterfaceSource {
  /** Looks now; resolves when it has looked, whatever it found. */
  look(): Promise<void>;
  /** Those known now; told of a local pod it does not know, it begins to look. The same object as long as nothing changed. */
  of(localAddresses: ReadonlyMap<string, string>): PodInterfaces;
  /** Calls back when `of` would answer otherwise. */
  onChange(callback: () => void): void;
}

/** What the agent tells the outside: logs and metrics hang on this. Must not throw. */
export interface AgentObserver {
  onMode(mode: Mode, source: ModeSource): void;
  onSync(outcome: SyncOutcome, info: SyncInfo): void;
  /** The set of problems with objects changed. */
  onProblems(problems: readonly Problem[]): void;
  /** Before the first sync, closed to new pods: rules stood already, the gate was written, or why it could not be. */
  onGate(result: 'rules stand' | 'closed' | { readonly failed: string }): void;
  /** What a sync brought into the kernel, and when (monotonic). */
  onCommitted(changes: readonly CommittedChange[], atMs: number): void;
  /** Milliseconds from the moment each pod's address was known to the commit of its rules. */
  onPodsProgrammed(milliseconds: readonly number[]): void;
}

export interface SyncInfo {
  readonly reasons: readonly string[];
  readonly resync: boolean;
  readonly verdict: LoopVerdict;
  readonly seconds: number;
  /** Of those, for the intent. */
  readonly compileSeconds: number;
  /** Absent in mode off, and where it could not be compiled. */
  readonly intent: NodeIntent | undefined;
  /** From the arrival of the earliest change this sync carried to its commit; absent if it carried none or wrote nothing. */
  readonly programmingSeconds: number | undefined;
  readonly first: boolean;
  /** How many things are wrong with objects right now. */
  readonly problems: number;
}

/**
 * `unknown`: neither its object nor a pod bound to it was ever seen, so nothing is written. `gone`: its object is away, and the rules of
 * pods deleted since then stay.
 */
type NodeStatus = { readonly kind: 'present' } | { readonly kind: 'gone' } | { readonly kind: 'unknown' };

export interface AgentStatus {
  readonly nodeName: string;
  readonly mode: Mode;
  readonly modeSource: ModeSource;
  readonly inSync: boolean;
  readonly node: NodeStatus;
  /** A sync succeeded (in dry-run: was planned) at least once. */
  readonly programmed: boolean;
  /** Consecutive syncs in which something did not go in. */
  readonly failedSyncs: number;
  readonly lastOutcome: SyncOutcome | undefined;
  /** The newest revision of what this node has to enforce that was whole in the kernel; absent before the first. */
  readonly inKernel: InKernel | undefined;
  /** Of the last sync; absent before the first and in mode off. */
  readonly lastIntent: NodeIntent | undefined;
  /** By `namespace/name`: how far each policy is. */
  readonly policies: ReadonlyMap<string, PolicyProgress>;
  /** By kind: the newest resource version up to which all is in the kernel. */
  readonly versions: Versions;
  /** Monotonic: when the last change that concerns this node arrived; absent before the first after the list. */
  readonly lastQueuedMs: number | undefined;
  /** Monotonic: the end of the last sync that was carried out. */
  readonly lastSyncedMs: number | undefined;
  /** Monotonic. */
  readonly lastTurnMs: number;
  /** Pods of this node whose address is not known or not programmed yet. */
  readonly waitingPods: number;
  /** With objects, as of the last sync. */
  readonly problems: readonly Problem[];
}

interface InKernel {
  readonly revision: number;
  /** Monotonic: when it was first seen to be whole there. */
  readonly sinceMs: number;
}

export type ModeSource = 'default' | 'annotation' | 'label';

interface WantedMode {
  readonly mode: Mode;
  readonly source: ModeSource;
  /** Values of the node's that name no mode. */
  readonly misspelt: readonly { readonly from: 'annotation' | 'label'; readonly value: string }[];
}

export class Agent {
  readonly #options: AgentOptions;
  readonly #follower: ClusterFollower;
  readonly #loop: SyncLoop;
  readonly #newPods: NewPods;
  /** Resolves when the gate for new pods is closed, if it is to be. */
  #gate: Promise<void> | undefined;
  /** Every kind was listed once, and the data plane can be asked. */
  #maySync = false;
  #mode: Mode;
  #modeSource: ModeSource = 'default';
  #programmed = false;
  #lastOutcome: SyncOutcome | undefined;
  #inKernel: InKernel | undefined;
  #lastIntent: NodeIntent | undefined;
  readonly #progress = new Progress();
  #versions: Versions = {};
  /** All that the last sync took in is in the kernel, and it has ended. */
  #isWhole = false;
  #lastQueuedMs: number | undefined;
  #lastSyncedMs: number | undefined;
  /** What is not in the kernel yet: when the first of it arrived. */
  #waitingSinceMs: Partial<Record<Lane, number>> = {};
  #reportedProblems: readonly Problem[] = [];
  /** What the mode follows from, as of the last sync that wrote, and what is wrong with it. */
  #followed: { readonly node: NodeRecord | undefined; readonly problems: readonly Problem[] } | undefined;

  constructor(options: AgentOptions) {
    const { nodeName, clock } = options;
    this.#options = options;
    this.#mode = options.defaultMode;
    const onCompiled = (): void => this.#loop.request('compiled');
    const follower = new ClusterFollower(options.cluster, nodeName, clock, onCompiled, options.earlyAddresses);
    this.#follower = follower;
    this.#newPods = new NewPods(nodeName);
    this.#loop = new SyncLoop({ ...options, sync: (request) => this.#sync(request) });
    options.dataplane.onWork((reason) => this.#loop.request(reason));
  }

  /** Begins to watch. The kernel is not touched before every kind of object was listed once. */
  start(signal: AbortSignal): void {
    const { cluster } = this.#options;
    cluster.onChange((change) => this.#onChange(change));
    cluster.onSync(() => this.#whenOpened(() => this.#begin()));
    const { interfaces, earlyAddresses } = this.#options;
    interfaces?.onChange(() => {
      if (this.#maySync) this.#loop.request('pod interfaces');
    });
    earlyAddresses?.onChange((pods) => this.#onAllocations(pods));
    this.#gate = this.#closeGate();
    cluster.start(signal);
  }

  #whenOpened(then: () => void): void {
    const { opened } = this.#options;
    if (opened) void opened.then(then);
    else then();
  }

  #begin(): void {
    this.#maySync = true;
    this.#loop.request('all kinds listed', 'compare');
  }

  /** Asks for a sync that compares all we wrote with the kernel. */
  resync(reason: string): void {
    if (this.#maySync) this.#loop.request(reason, 'compare');
  }

  /** Lets a sync under way finish and starts no other. The rules stay as they are (S-79). */
  stop(): Promise<void> {
    return this.#loop.stop();
  }

  /** Whose which address is now, as far as the cluster has told. */
  directory(): AddressDirectory {
    return this.#follower.directory;
  }

  status(): AgentStatus {
    return {
      nodeName: this.#options.nodeName,
      mode: this.#mode,
      modeSource: this.#modeSource,
      inSync: this.#options.cluster.inSync,
      node: this.#nodeStatus(),
      programmed: this.#programmed,
      failedSyncs: this.#loop.failures,
      lastOutcome: this.#lastOutcome,
      inKernel: this.#inKernel,
      lastIntent: this.#lastIntent,
      policies: this.#progress.policies,
      versions: this.#versionsNow(),
      lastQueuedMs: this.#lastQueuedMs,
      lastSyncedMs: this.#lastSyncedMs,
      lastTurnMs: this.#loop.lastTurnMs,
      waitingPods: this.#newPods.waiting,
      problems: this.#reportedProblems,
    };
  }

  /** Where nothing waits, what was heard since the last sync is nothing that concerns this node. */
  #versionsNow(): Versions {
    return this.#isSettled ? this.#options.cluster.versions() : this.#versions;
  }

  get #isSettled(): boolean {
    return this.#isWhole && Object.keys(this.#waitingSinceMs).length === 0;
  }

  /** On a node without rules of ours, new pods are kept out before the API server has said which pods there are (S-75). */
  async #closeGate(): Promise<void> {
    const { newPods, defaultMode, observer, interfaces, dataplane } = this.#options;
    if (newPods === 'open' || defaultMode !== 'enforce') return;
    try {
      await this.#options.opened;
      await interfaces?.look();
      observer.onGate(await dataplane.closeToNewPods(interfaces?.of(new Map()) ?? NO_INTERFACES));
    } catch (error) {
      observer.onGate({ failed: messageOf(error) });
    }
  }

  #onAllocations(pods: readonly string[]): void {
    const { clock } = this.#options;
    let concerns = false;
    for (const key of pods) {
      if (!this.#follower.allocated(key)) continue;
      this.#newPods.early(key, clock.now());
      concerns = true;
    }
    if (!concerns || !this.#maySync) return;
    this.#waitingSinceMs.rules ??= clock.now();
    this.#loop.request('allocations');
  }

  /** Its mode tells whether the kernel may be asked by writing. */
  async #prepare(): Promise<void> {
    await this.#options.opened;
    await this.#gate;
    if (this.#maySync || !this.#options.cluster.snapshot().nodes.has(this.#options.nodeName)) return;
    this.#options.dataplane.prepare(this.#wantedMode().mode);
  }

  #onChange(change: ClusterChange): void {
    if (change.kind === 'nodes' && !this.#maySync) void this.#prepare();
    this.#newPods.change(change);
    const lane = this.#follower.change(change);
    this.#progress.changed(change, lane, this.#maySync);
    if (lane === undefined || !this.#maySync) return;
    this.#lastQueuedMs = change.arrivedAtMs;
    this.#waitingSinceMs[lane] ??= change.arrivedAtMs;
    this.#loop.request(change.kind, lane);
  }

  async #sync(request: LoopRequest): Promise<LoopVerdict> {
    const { cluster, clock, observer } = this.#options;
    await this.#gate;
    const nodeProblems = describeNode(this.#options.nodeName, this.#nodeStatus());
    if (!this.#follower.presence.isNamed) {
      // What is not known is not "no pods here": rules that stand stay.
      this.#reportProblems([...cluster.snapshot().problems, ...nodeProblems]);
      return 'done';
    }
    const started = clock.now();
    const newPods = this.#newPods.known();
    const heard = cluster.versions();
    if (this.#isSettled) this.#versions = heard;
    const waited = this.#takeWaiting(request.lane);
    const mark = this.#progress.begin(request.lane);
    this.#isWhole = false;
    const modeProblems = this.#followMode();
    if (!this.#lastOutcome) this.#options.dataplane.prepare(this.#mode);
    const compiled = await this.#compile(request.lane);
    const compileSeconds = (clock.now() - started) / 1000;
    const outcome = await this.#write(compiled, request.resync);
    const { intent } = compiled;
    const verdict = judge(outcome);
    const isWritten = verdict !== 'failed' && verdict !== 'locked';
    const first = !this.#programmed && isWritten;
    this.#programmed ||= isWritten;
    // A change that did not get in keeps its clock running.
    if (!isWritten) this.#waitingSinceMs = { ...this.#waitingSinceMs, ...waited };
    this.#lastOutcome = outcome;
    this.#lastIntent = intent;
    // The next portion of what is filled, and whatever changed meanwhile.
    if (verdict !== 'failed' && this.#mode !== 'dry-run' && (outcome.change?.setsToFill ?? 0) > 0)
      this.#loop.request('portion');
    const ended = clock.now();
    // What still waits to be compiled is not in that intent.
    const revision = intent?.waiting.length === 0 ? outcome.revision : undefined;
    if (revision !== undefined && revision !== this.#inKernel?.revision) this.#inKernel = { revision, sinceMs: ended };
    if (isWritten) this.#lastSyncedMs = ended;
    if (this.#mode === 'off' || this.#mode === 'dry-run') {
      this.#inKernel = undefined;
      this.#versions = {};
      this.#progress.removed();
    } else if (isWritten) {
      this.#isWhole = revision !== undefined;
      // A sync of members leaves out what waits for one of rules.
      if (this.#isWhole && this.#waitingSinceMs.rules === undefined) this.#versions = heard;
      const written = { nowMs: ended, hasChanged: outcome.stepsApplied > 0, waiting: intent?.waiting ?? [] };
      observer.onCommitted(this.#progress.written(mark, written), ended);
    }
    if (isWritten) this.#reportNewPods(newPods, intent, ended);
    const problems = [...cluster.snapshot().problems, ...(intent?.problems ?? []), ...modeProblems, ...nodeProblems];
    const changedAt = Math.min(...Object.values(waited));
    const programmed = Number.isFinite(changedAt) && outcome.stepsApplied > 0 && isWritten;
    observer.onSync(outcome, {
      reasons: request.reasons,
      resync: request.resync,
      verdict,
      seconds: (ended - started) / 1000,
      compileSeconds,
      intent,
      programmingSeconds: programmed ? (ended - changedAt) / 1000 : undefined,
      first,
      problems: problems.length,
    });
    this.#reportProblems(problems);
    return verdict;
  }

  /** What a sync of the lane brings in, and since when it waits. */
  #takeWaiting(lane: Lane): Partial<Record<Lane, number>> {
    const waiting = this.#waitingSinceMs;
    const { members, ...rest } = waiting;
    this.#waitingSinceMs = lane === 'rules' ? {} : rest;
    if (lane === 'rules') return waiting;
    return members === undefined ? {} : { members };
  }

  async #compile(lane: Lane): Promise<Compiled> {
    if (this.#mode === 'off') return { intent: undefined };
    try {
      return { intent: await this.#follower.intent(lane) };
    } catch (error) {
      return { intent: undefined, failed: messageOf(error) };
    }
  }

  #write({ intent, failed }: Compiled, resync: boolean): SyncOutcome | Promise<SyncOutcome> {
    const { dataplane, interfaces } = this.#options;
    const mode = this.#mode;
    if (failed !== undefined) return notCompiled(mode, failed);
    if (mode === 'off' || !intent) return dataplane.remove({ resync });
    const pods = interfaces?.of(intent.localAddresses) ?? NO_INTERFACES;
    return dataplane.sync(intent, { mode, resync, interfaces: pods });
  }

  /** Of a namespace that takes long to compile the rules are still those before. */
  #reportNewPods(keys: readonly string[], intent: NodeIntent | undefined, nowMs: number): void {
    if (keys.length === 0) return;
    const inRules = new Set(intent?.localAddresses.values());
    const programmed = keys.filter((key) => !intent || inRules.has(key));
    this.#options.observer.onPodsProgrammed(this.#newPods.programmed(programmed, nowMs));
  }

  /** The node's annotation wins over its label, and that over the default; a value that cannot be used is a problem and changes nothing. */
  #followMode(): readonly Problem[] {
    const { nodeName, observer, cluster } = this.#options;
    const node = cluster.snapshot().nodes.get(nodeName);
    if (this.#followed && this.#followed.node === node && this.#lastOutcome) return this.#followed.problems;
    const { mode, source, misspelt } = this.#wantedMode();
    if (mode !== this.#mode || !this.#lastOutcome) {
      this.#mode = mode;
      observer.onMode(mode, source);
    }
    this.#modeSource = source;
    const problems = misspelt.map(({ from, value }) => ({
      object: { kind: 'Node', name: nodeName },
      field: `metadata.${from}s[${MODE_KEY}]`,
      message: `${JSON.stringify(value)} is not one of ${MODES.join(', ')}; the mode in force is ${mode}`,
    }));
    this.#followed = { node, problems };
    return problems;
  }

  #wantedMode(): WantedMode {
    const { cluster, nodeName, defaultMode } = this.#options;
    const node = cluster.snapshot().nodes.get(nodeName);
    const given = [
      { from: 'annotation', value: node?.modeAnnotation },
      { from: 'label', value: node?.modeLabel },
    ] as const;
    const told = given.flatMap(({ from, value }) => {
      return value === undefined ? [] : [{ from, value, mode: MODES.find((mode) => mode === value) }];
    });
    const misspelt = told.filter(({ mode }) => mode === undefined);
    const [first] = told;
    if (node && !first) return { mode: defaultMode, source: 'default', misspelt };
    // A typing mistake, or a Node object that is replaced, must not switch an audited node to enforcing.
    const usable = first?.mode || this.#lastOutcome ? first : told.find(({ mode }) => mode !== undefined);
    return usable?.mode
      ? { mode: usable.mode, source: usable.from, misspelt }
      : { mode: this.#mode, source: this.#modeSource, misspelt };
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

/** What the node has to enforce; absent in mode off, or with the reason why it is not known. */
interface Compiled {
  readonly intent: NodeIntent | undefined;
  readonly failed?: string;
}

/** A sync that did not come as far as the kernel. */
function notCompiled(mode: Mode, why: string): SyncOutcome {
  const failure = { object: undefined, tool: '', reason: 'unavailable', message: why, policies: [] } as const;
  return {
    mode,
    revision: undefined,
    change: undefined,
    stepsApplied: 0,
    drift: [],
    failures: [failure],
    partial: false,
    busySets: [],
    busyChains: [],
    seconds: {},
    lacks: [],
    unread: [],
  };
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

function judge(outcome: SyncOutcome): LoopVerdict {
  const { failures, busySets, busyChains } = outcome;
  if (failures.length === 0) return busySets.length + busyChains.length > 0 ? 'later' : 'done';
  if (outcome.partial) return 'partial';
  return failures.every(({ reason }) => reason === 'lock') ? 'locked' : 'failed';
}
