/**
 * One sync: intent -> ruleset -> plan -> kernel. Starts from what the node has to enforce now, every time; the only memory is
 * what our own writes left in the kernel, and that is dropped whenever there is doubt about it.
 */
import { FAMILIES, type Family, type Mode } from '../../../core/vocabulary.ts';
import type { NodeIntent } from '../../../compile/intent.ts';
import type { PodInterfaces } from '../../../host/pod-interfaces.ts';
import type { Drift, SyncFailure, SyncOutcome, SyncPhase, Unread } from '../../dataplane.ts';
import type { Kernel } from '../kernel/kernel.ts';
import type { ObservedFamily, ObservedState, Plan, Step } from '../plan/plan.ts';
import type { NodeRenderer } from '../render/render-node.ts';
import type { MissingFeatures } from '../rules/kernel-features.ts';
import type { IpSet } from '../rules/rule.ts';
import type { Layout, Ruleset } from '../rules/ruleset.ts';
import type { RuleCounting } from './counted-kernel.ts';
import type { EpochSource } from '../../free-epochs.ts';
import type { TidyTimer } from '../../tidy-timer.ts';

import { runSliced } from '../../../core/run-sliced.ts';
import { findDrift, findRuleDrift } from '../drift/find-drift.ts';
import type { FeatureQuestion } from '../kernel/probe-features.ts';
import { StepFailed } from '../kernel/kernel.ts';
import { asItJudges, deadRules } from '../plan/add-only.ts';
import { deletionsLast } from '../plan/deletions-last.ts';
import { recognise, withSetsLeft } from '../plan/delta.ts';
import { diffInSteps } from '../plan/diff.ts';
import { readEpoch } from '../plan/epoch.ts';
import { ENTRIES_PER_SYNC } from '../plan/portion.ts';
import { teardown } from '../plan/teardown.ts';
import { layoutWithout, setsWithout } from '../rules/features.ts';
import { familyOfSet } from '../rules/names.ts';
import { Isolation } from './isolation.ts';
import { messageOf } from '../../../core/error-text.ts';

/** What a sync leaves to be told; the door tells others what they may know of it. */
export interface SyncResult extends Omit<SyncOutcome, 'change' | 'lacks' | 'revision' | 'size'> {
  /** What was (or in dry-run would be) done, last attempt; absent if the kernel could not be read. */
  readonly plan: Plan | undefined;
  readonly missing: MissingFeatures;
  /** What the kernel holds; absent: not known. */
  readonly held: ObservedState | undefined;
}

export interface SyncOptions {
  readonly kernel: Kernel;
  readonly layout: Omit<Layout, 'mode'>;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** The epoch to begin with on a host that has none. */
  readonly firstEpoch: number;
  /** Knows epochs that no live flow carries; if absent the next number is taken. */
  readonly freeEpochs?: EpochSource;
  /** Absent: nothing is counted. Else `kernel` is to be a `countedKernel`. */
  readonly counters?: Pick<RuleCounting, 'rendered'>;
  /** Says when what commits that only add leave behind has to go; absent: every commit deletes what it replaces. */
  readonly tidy?: Pick<TidyTimer, 'isDue' | 'synced'>;
  /** Calls back once after `ms`; the returned function cancels. Absent: no epoch waits for the one before. */
  readonly after?: (ms: number, callback: () => void) => () => void;
  /** How many entries of sets go in with one sync; absent: as many as a kernel takes without others having to wait. */
  readonly portion?: number;
  /** What the kernel lacks of the rules' vocabulary; nothing if absent. Asks by writing, so not where nothing may be written. */
  readonly missingFeatures?: (question: FeatureQuestion) => Promise<MissingFeatures>;
}

/** What one sync leaves to the next. */
export interface SyncMemory {
  /** The kernel as our last writes left it; undefined: unknown. */
  readonly written: ObservedState | undefined;
  /** Outlives the rules: flows keep their stamps while nothing is enforced, and must not be taken for judged later. */
  readonly epochs: Plan['epochs'];
  readonly released: Plan['released'];
  readonly unread: readonly Unread[];
  readonly busyChains: readonly string[];
  /** Families whose live flows are not judged again yet, though something was taken from them: it failed, or the epoch waits. */
  readonly unrevoked: readonly Family[];
}

/** A sync gives up isolating refused objects after this many; each costs a read-back. */
const MAX_ATTEMPTS = 200;

/** The state of one sync while it runs. */
export class OneSync {
  readonly #options: SyncOptions;
  readonly #renderer: NodeRenderer;
  readonly #mode: Mode;
  readonly #seconds: Partial<Record<SyncPhase, number>> = {};
  readonly #failures: SyncFailure[] = [];
  #isolation: Isolation;
  #ruleset: Ruleset | undefined;
  #plan: Plan | undefined;
  #drift: readonly Drift[] = [];
  #busySets: readonly string[] = [];
  #stepsApplied = 0;
  #missing: MissingFeatures = {};
  #epochMayWait = false;
  readonly #written: ObservedState | undefined;
  /** What the last plan was made from. */
  #observed: ObservedState | undefined;
  /** Begun while the rules are rendered. */
  #reading: Promise<ObservedState> | undefined;
  /** The kernel as the writes left it; undefined: unknown. */
  known: ObservedState | undefined;
  epochs: Plan['epochs'];
  released: Plan['released'];
  unread: readonly Unread[];
  busyChains: readonly string[];
  unrevoked: readonly Family[];

  constructor(options: SyncOptions, renderer: NodeRenderer, memory: SyncMemory, mode: Mode) {
    this.#options = options;
    this.#renderer = renderer;
    this.#mode = mode;
    this.#written = memory.written;
    this.epochs = memory.epochs;
    this.released = memory.released;
    this.unread = memory.unread;
    this.busyChains = memory.busyChains;
    this.unrevoked = memory.unrevoked;
    this.#isolation = this.#isolationOf(undefined);
  }

  #isolationOf(ruleset: Ruleset | undefined): Isolation {
    const { kernel, now } = this.#options;
    const onRejected = (failed: StepFailed, object: string): void => this.fail(failed, object);
    const onBusyChain = (chain: string): void => {
      this.busyChains = [...this.busyChains, chain];
    };
    return new Isolation({ kernel, ruleset, now, onRejected, onBusyChain }, this.busyChains);
  }

  /** `resync`: as `execute` is told. */
  async prepare(
    intent: NodeIntent,
    interfaces: PodInterfaces,
    { question, resync }: { readonly question: FeatureQuestion; readonly resync: boolean },
  ): Promise<void> {
    const { now, layout, missingFeatures, kernel } = this.#options;
    if (missingFeatures && this.#mode !== 'dry-run') this.#missing = await missingFeatures(question);
    // Not beside the question, which makes sets and a chain for a moment.
    if (resync || !this.#written) this.#reading = kernel.readBack();
    // Whoever waits for it is told.
    this.#reading?.catch(() => {});
    const enforcing = this.#mode === 'audit' ? 'audit' : 'enforce';
    const wholeLayout = layoutWithout({ ...layout, mode: enforcing }, this.#missing);
    const started = now();
    this.#ruleset = await runSliced(this.#renderer.renderInSteps(intent, wholeLayout, interfaces));
    if (this.#mode !== 'dry-run') {
      this.#isolation = this.#isolationOf(this.#ruleset);
      this.#options.counters?.rendered(this.#ruleset);
    }
    this.#addSeconds('render', started);
    for (const set of setsWithout(this.#ruleset.sets.values(), this.#missing)) this.#leaveOut(set);
  }

  /** The kernel would refuse it, one by one. */
  #leaveOut({ name, type }: IpSet): void {
    this.#isolation.leaveOut(name);
    this.fail(new Error(`set ${name}: the kernel has no sets of type ${type}; what needs it is closed`), name);
  }

  /** `epochMayWait`: see DiffOptions. */
  async execute(resync: boolean, epochMayWait = false): Promise<void> {
    this.#epochMayWait = epochMayWait;
    const remembered = resync ? undefined : this.#written;
    if (remembered) {
      // An event must not make anybody forget that something is to be read again.
      for (const each of this.unread)
        if (!each.isKnown) this.#failToRead(each, remembered.families[each.family] !== undefined);
    }
    const observed = remembered ?? (await this.#read());
    if (this.#written && !remembered && this.#isOfSameVariant(observed))
      this.#drift = findDrift(this.#written, observed);
    await this.#lookForEpochs(observed, resync);
    let plan = await this.#makePlan(observed, remembered !== undefined);
    let mayBeOutdated = remembered !== undefined;
    for (let attempt = 1; ; attempt++) {
      this.epochs = { ...this.epochs, ...plan.epochs };
      this.unrevoked = [...new Set([...this.unrevoked, ...plan.revokesLate, ...plan.revokesNext])];
      const failed = await this.#applyAll(plan.steps);
      if (!failed) {
        this.known = this.#afterSuccess(plan);
        this.released = plan.released;
        this.unrevoked = plan.revokesNext;
        // Ahead of time: the next sync shall find them.
        this.#nextEpochs(plan.after);
        if (this.#mode === 'dry-run') await this.#planOnly(this.known);
        return;
      }
      if (mayBeOutdated && failed.reason === 'refused') {
        mayBeOutdated = false;
        plan = await this.#planFromKernel(failed);
        continue;
      }
      if (!(await this.#isolation.isolate(failed, { observed: this.#observed!, plan })) || attempt >= MAX_ATTEMPTS) {
        this.fail(failed);
        await this.#applyOtherFamily(plan, failed);
        return;
      }
      plan = await this.#makePlan(await this.#read(), false);
    }
  }

  /** The families whose rules stamp flows, if free epochs are to be known for them. */
  #stampedFamilies(observed: ObservedState): readonly Family[] {
    const { mode, marks } = this.#ruleset?.layout ?? {};
    if (!this.#options.freeEpochs || !marks || mode !== 'enforce' || this.#mode === 'dry-run') return [];
    return FAMILIES.filter((family) => observed.families[family]);
  }

  /** Tells which epochs are in force; returns those to go to. */
  #nextEpochs(observed: ObservedState): Plan['epochs'] {
    const { freeEpochs } = this.#options;
    const marks = this.#ruleset?.layout.marks;
    const next = this.#stampedFamilies(observed).map((family): [Family, number] => {
      freeEpochs!.inForce(family, readEpoch(observed.families[family]!, marks!) ?? this.epochs[family]);
      return [family, freeEpochs!.next(family)];
    });
    return Object.fromEntries(next);
  }

  async #lookForEpochs(observed: ObservedState, resync: boolean): Promise<void> {
    const started = this.#options.now();
    const { freeEpochs } = this.#options;
    const families = this.#stampedFamilies(observed);
    this.#nextEpochs(observed);
    if (families.length > 0) await freeEpochs?.firstLook(families);
    if (resync) for (const family of families) freeEpochs?.recheck(family);
    this.#addSeconds('observe', started);
  }

  async #read(): Promise<ObservedState> {
    const started = this.#options.now();
    const reading = this.#reading ?? this.#options.kernel.readBack();
    this.#reading = undefined;
    const found = await reading;
    const judging = asTheyJudge(found);
    const recognised = await runSliced(recognise(judging, this.#written, this.#ruleset?.sets ?? new Map()));
    this.#addSeconds('observe', started);
    this.#knowOther(recognised);
    return this.#withUnread(recognised);
  }

  /** What was written went to the iptables variant that was read. */
  #isOfSameVariant(observed: ObservedState): boolean {
    return this.#written?.variant === observed.variant;
  }

  /** Flows carry the stamps of our rules in the other variant: an epoch of theirs must not be taken for one of these rules. */
  #knowOther({ other }: ObservedState): void {
    const { marks } = this.#ruleset?.layout ?? {};
    if (!other || !marks) return;
    for (const family of FAMILIES) {
      const before = other.families[family];
      const epoch = before && readEpoch(before, marks);
      if (epoch !== undefined) this.epochs = { [family]: epoch, ...this.epochs };
    }
  }

  /**
   * What could not be read is what our last writes left, as far as anybody knows: changes go on from there, and a commit that does
   * not fit what the kernel holds is refused as a whole. Without such a memory nothing is written.
   */
  #withUnread(found: ObservedState): ObservedState {
    this.unread = found.unread ?? [];
    const families = { ...found.families };
    for (const unread of this.unread) {
      if (unread.isKnown) continue;
      const { family } = unread;
      const memory = this.#isOfSameVariant(found) ? this.#written?.families[family] : undefined;
      if (memory) families[family] = memory;
      this.#failToRead(unread, memory !== undefined);
    }
    return { ...found, families };
  }

  #failToRead({ family, tool, why }: Unread, isRemembered: boolean): void {
    const going = isRemembered ? 'changes are written on top of what was written last' : 'nothing is written there';
    const message = `IPv${family} rules cannot be read, so whether they are still in force is not known; ${going}: ${why}`;
    if (this.#failures.some((failure) => failure.message === message)) return;
    this.#failures.push({ object: undefined, tool, reason: 'unavailable', message, policies: [] });
  }

  async #makePlan(observed: ObservedState, remembered: boolean): Promise<Plan> {
    this.#observed = observed;
    const options = {
      rejected: this.#isolation.rejected,
      firstEpoch: this.#options.firstEpoch,
      lastEpochs: this.epochs,
      spareEpochs: this.#nextEpochs(observed),
      released: this.released,
      unrevoked: this.unrevoked,
      remembered,
      addsOnly: remembered && this.#options.tidy !== undefined && !this.#options.tidy.isDue && this.#isAddingCheap(),
      epochMayWait: remembered && this.#epochMayWait,
      portion: this.#options.portion ?? ENTRIES_PER_SYNC,
    };
    const started = this.#options.now();
    const isWanted = this.#ruleset && this.#mode !== 'dry-run';
    const plan = isWanted ? await runSliced(diffInSteps(this.#ruleset!, observed, options)) : teardown(observed);
    this.#plan = this.#options.counters ? { ...plan, steps: deletionsLast(plan.steps) } : plan;
    this.#addSeconds('plan', started);
    return this.#plan;
  }

  /** Nothing of ours is in the kernel: what enforcing would write there. */
  async #planOnly(observed: ObservedState): Promise<void> {
    const started = this.#options.now();
    const options = { firstEpoch: this.#options.firstEpoch, lastEpochs: this.epochs, remembered: true };
    this.#plan = await runSliced(diffInSteps(this.#ruleset!, observed, options));
    this.#addSeconds('plan', started);
  }

  /** With iptables-legacy each commit writes the whole table. */
  #isAddingCheap(): boolean {
    return this.#options.kernel.backend === 'iptables-nft';
  }

  /** For a plan that was made from memory: it may have been refused because somebody took out what it was to replace. */
  async #planFromKernel({ step }: StepFailed): Promise<Plan> {
    const found = await this.#read();
    // Of sets a part may have gone in; a refused commit of rules left them as they were found.
    if (this.#written && 'family' in step) this.#drift = findRuleDrift(this.#written, found, step.family);
    return this.#makePlan(found, false);
  }

  /** The first failure, or undefined if every step went in. */
  async #applyAll(steps: readonly Step[]): Promise<StepFailed | undefined> {
    const started = this.#options.now();
    try {
      for (const step of steps) {
        if (step.kind === 'leftovers') {
          await this.#removeLeftovers(step);
          continue;
        }
        const busy = await this.#options.kernel.apply(step);
        this.#stepsApplied++;
        if (step.kind === 'destroy-sets') this.#busySets = busy;
      }
      return undefined;
    } catch (error) {
      if (error instanceof StepFailed) return error;
      throw error;
    } finally {
      if (steps.length > 0) this.#addSeconds('apply', started);
    }
  }

  /** What stays there denies what it denied, but must not hold up the rules that are kept up to date. */
  async #removeLeftovers(step: Step): Promise<void> {
    try {
      await this.#options.kernel.apply(step);
      this.#stepsApplied++;
    } catch (error) {
      if (!(error instanceof StepFailed)) throw error;
      this.fail(error);
    }
  }

  /** Rules of one family that cannot go in at all must not keep the other from being brought up to date. */
  async #applyOtherFamily(plan: Plan, failed: StepFailed): Promise<void> {
    if (failed.reason !== 'refused' || !('family' in failed.step)) return;
    const { family } = failed.step;
    const isOther = (set: string): boolean => familyOfSet(set) !== family;
    const rest = plan.steps.slice(plan.steps.indexOf(failed.step) + 1).flatMap((step): Step[] => {
      if ('family' in step) return step.family === family ? [] : [step];
      const lines = step.lines.filter(({ object }) => isOther(object));
      return lines.length > 0 ? [{ kind: step.kind, lines }] : [];
    });
    const also = await this.#applyAll(rest);
    if (also) this.fail(also);
  }

  /** What the kernel holds now. Sets it would not let go of are still there, and will be planned for again. */
  #afterSuccess(plan: Plan): ObservedState {
    return withSetsLeft(plan.after, this.#observed, this.#busySets);
  }

  fail(error: unknown, object?: string): void {
    const rejected = object ?? (error instanceof StepFailed ? error.object : undefined);
    this.#failures.push({
      object: rejected,
      tool: error instanceof StepFailed ? error.tool : '',
      reason: error instanceof StepFailed ? error.reason : 'unavailable',
      message: messageOf(error),
      policies: rejected === undefined ? [] : this.#isolation.policiesBehind(rejected),
    });
    this.known = undefined;
  }

  /** Rules in the kernel that judge nothing, as far as that is known. */
  get deadRules(): number {
    return Object.values(this.known?.families ?? {}).reduce((sum, family) => sum + deadRules(family), 0);
  }

  memory(): SyncMemory {
    const { known: written, epochs, released, unread, busyChains, unrevoked } = this;
    return { written, epochs, released, unread, busyChains, unrevoked };
  }

  result(): SyncResult {
    return {
      mode: this.#mode,
      plan: this.#plan,
      stepsApplied: this.#stepsApplied,
      drift: this.#drift,
      failures: this.#failures,
      partial: this.#failures.length > 0 && this.known !== undefined,
      busySets: this.#busySets,
      busyChains: this.busyChains,
      seconds: this.#seconds,
      missing: this.#missing,
      held: this.known,
      unread: this.unread,
    };
  }

  #addSeconds(phase: SyncPhase, startedMs: number): void {
    this.#seconds[phase] = (this.#seconds[phase] ?? 0) + (this.#options.now() - startedMs) / 1000;
  }
}

function asTheyJudge(found: ObservedState): ObservedState {
  const families: Partial<Record<Family, ObservedFamily>> = { ...found.families };
  for (const family of FAMILIES) if (families[family]) families[family] = asItJudges(families[family], family);
  return { ...found, families };
}
