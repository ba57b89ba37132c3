/**
 * One pass: intent -> ruleset -> plan -> outcome. Starts from what the cluster says now, every time; the only memory is
 * what our own writes left in the kernel, and that is dropped whenever there is doubt about it.
 */
import { FAMILIES, type Family, type Mode } from '../../../core/vocabulary.ts';
import type { ClusterSnapshot, Problem } from '../../../policy/model.ts';
import type { NodeIntent } from '../../../compile/intent.ts';
import type { MissingFeatures } from '../rules/features.ts';
import type { EndpointChain, IpSet, Layout, Ruleset } from '../rules/ruleset.ts';
import type { PodInterfaces } from '../../../host/pod-interfaces.ts';
import type { ObservedSet, ObservedState, Plan, PlanLine, Step, Unread } from '../plan/plan.ts';
import type { Drift } from '../drift/find-drift.ts';
import type { Kernel } from '../kernel/kernel.ts';
import type { EpochSource } from './free-epochs.ts';

import { NodeCompiler, compileNode } from '../../../compile/compile-node.ts';
import { layoutWithout, setsWithout } from '../rules/features.ts';
import { familyOfSet } from '../rules/names.ts';
import { endpointOf, isGuard } from '../rules/ruleset.ts';
import { NodeRenderer } from '../render/render-node.ts';
import { ENTRIES_PER_SYNC } from '../plan/portion.ts';
import { diffInSteps } from '../plan/diff.ts';
import { RefusedNamespaces } from './refused-namespaces.ts';
import { readGeneration } from '../plan/generation.ts';
import { findDrift, findRuleDrift } from '../drift/find-drift.ts';
import { recognise } from '../plan/recognise.ts';
import { teardown } from '../plan/teardown.ts';
import { StepFailed } from '../kernel/kernel.ts';
import { runSliced } from '../../../core/run-sliced.ts';

export type Phase = 'compile' | 'render' | 'observe' | 'plan' | 'apply';

/** Why something of a pass did not go in. */
export interface PassFailure {
  /** Chain or set to blame; absent if the whole step failed. */
  readonly object: string | undefined;
  readonly tool: string;
  readonly reason: 'refused' | 'lock' | 'unavailable';
  readonly message: string;
  /** The policies whose rules this keeps out of the kernel. */
  readonly policies: readonly string[];
}

export interface PassOutcome {
  readonly mode: Mode;
  /** What was (or in dry-run would be) done, last attempt; absent if the kernel could not be read. */
  readonly plan: Plan | undefined;
  readonly ruleset: Ruleset | undefined;
  readonly intent: NodeIntent | undefined;
  /** Steps carried out, over all attempts. */
  readonly stepsApplied: number;
  /** Found by this pass's read-back; empty when it did not read. */
  readonly drift: readonly Drift[];
  readonly failures: readonly PassFailure[];
  /** There were failures, but everything that does not depend on what was refused went in. */
  readonly partial: boolean;
  /** Sets that wait for the kernel to let go of them. */
  readonly busySets: readonly string[];
  /** Chains nothing of ours leads to any more, which cannot go while a rule of others leads there. */
  readonly busyChains: readonly string[];
  readonly seconds: Readonly<Partial<Record<Phase, number>>>;
  readonly problems: readonly Problem[];
  /** What rules had to do without. */
  readonly missing: MissingFeatures;
  /** Families whose rules could not be read when the kernel was read last. */
  readonly unread: readonly Unread[];
}

export interface ReconcilerOptions {
  readonly nodeName: string;
  readonly kernel: Kernel;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** The generation to begin with on a host that has none. */
  readonly firstGeneration: number;
  /** Knows generations (epochs) that no live flow carries; if absent the next number is taken. */
  readonly freeEpochs?: EpochSource;
  /** Where the pods of an intent are attached, as far as that is known; nowhere if absent. */
  readonly interfaces?: (intent: NodeIntent) => PodInterfaces;
  /** What the kernel lacks of the rules' vocabulary; nothing if absent. Asks by writing, so not where nothing may be written. */
  readonly missingFeatures?: (question: 'known' | 'missing' | 'all') => Promise<MissingFeatures>;
  /** What the node must enforce now; compiled from the snapshot alone if absent. */
  readonly compile?: (snapshot: ClusterSnapshot) => NodeIntent | Promise<NodeIntent>;
}

const READ_AGAIN_MS = 2_000;
/** A pass gives up isolating refused objects after this many; each costs a read-back. */
const MAX_ATTEMPTS = 200;
/** Of those behind one refused object. */
const MAX_POLICIES_NAMED = 20;

export class Reconciler {
  readonly #options: ReconcilerOptions;
  readonly #renderer = new NodeRenderer();
  /** The kernel as our last writes left it; undefined: read it first. */
  #known: ObservedState | undefined;
  /** Outlives the rules: flows keep their stamps while nothing is enforced, and must not be taken for judged later. */
  #generations: Plan['generations'] = {};
  #departed: Plan['departed'] = {};
  #unread: readonly Unread[] = [];
  #busyChains: readonly string[] = [];
  #lastReadMs = 0;
  /** The kernel refused something of the last pass: it may lack what it had. */
  #wasRefused = false;

  constructor(options: ReconcilerOptions) {
    this.#options = options;
  }

  /** Makes the next pass read the kernel, as at start. */
  forget(): void {
    this.#known = undefined;
  }

  /** The kernel as our last writes left it; undefined: unknown. */
  get written(): ObservedState | undefined {
    return this.#known;
  }

  /**
   * Lets no pod pass before the first pass: as that would be with a cluster without pods. Only where no rule of ours stands; where one does,
   * all stay as they are. Rejects for what the kernel or a tool does.
   */
  async closeGate(layout: Omit<Layout, 'mode'>): Promise<'rules stand' | 'closed'> {
    const { families } = await this.#options.kernel.observe();
    if (Object.values(families).some(({ chains }) => chains.size > 0)) return 'rules stand';
    const empty = new NodeCompiler(this.#options.nodeName).intent();
    const options = { ...this.#options, compile: () => empty };
    const none = { written: undefined, unread: [], busyChains: [] };
    const memory: Memory = { ...none, generations: this.#generations, departed: this.#departed };
    const run = new Pass(options, this.#renderer, memory, 'enforce');
    await run.prepare(NO_OBJECTS, layout, 'known');
    await run.execute(true);
    const [failure] = run.outcome().failures;
    this.#generations = run.generations;
    if (failure) throw new Error(failure.message);
    return 'closed';
  }

  /** Something could not be read, and not just now: however many events there are, it is asked again. */
  #isToReadAgain(): boolean {
    return this.#unread.some(({ isKnown }) => !isKnown) && this.#options.now() - this.#lastReadMs > READ_AGAIN_MS;
  }

  /** `mustRead`: compare the kernel with what we wrote before planning. Never rejects for what the kernel or a tool does. */
  async pass(
    snapshot: ClusterSnapshot,
    mode: Mode,
    layout: Omit<Layout, 'mode'>,
    mustRead: boolean,
  ): Promise<PassOutcome> {
    const readBack = mustRead || this.#isToReadAgain();
    const memory = {
      written: this.#known,
      generations: this.#generations,
      departed: this.#departed,
      unread: this.#unread,
      // Until the kernel is read again, they are not tried again.
      busyChains: readBack ? [] : this.#busyChains,
    };
    const run = new Pass(this.#options, this.#renderer, memory, mode);
    try {
      await run.prepare(snapshot, layout, readBack ? (this.#wasRefused ? 'all' : 'missing') : 'known');
      await run.execute(readBack);
    } catch (error) {
      run.fail(error);
    }
    this.#known = run.known;
    this.#generations = run.generations;
    this.#departed = run.departed;
    this.#unread = run.unread;
    if (readBack) this.#lastReadMs = this.#options.now();
    this.#busyChains = run.busyChains;
    const outcome = run.outcome();
    this.#wasRefused = outcome.failures.some(({ reason }) => reason === 'refused');
    return outcome;
  }
}

const NO_OBJECTS: ClusterSnapshot = {
  pods: new Map(),
  namespaces: new Map(),
  policies: new Map(),
  nodes: new Map(),
  problems: [],
};

/** What one pass leaves to the next. */
interface Memory {
  /** The kernel as our last writes left it; undefined: unknown. */
  readonly written: ObservedState | undefined;
  readonly generations: Plan['generations'];
  readonly departed: Plan['departed'];
  readonly unread: readonly Unread[];
  readonly busyChains: readonly string[];
}

/** The state of one pass while it runs. */
class Pass {
  readonly #options: ReconcilerOptions;
  readonly #renderer: NodeRenderer;
  readonly #mode: Mode;
  readonly #seconds: Partial<Record<Phase, number>> = {};
  readonly #failures: PassFailure[] = [];
  readonly #broken = new Set<string>();
  #refused: RefusedNamespaces | undefined;
  #intent: NodeIntent | undefined;
  #ruleset: Ruleset | undefined;
  #plan: Plan | undefined;
  #drift: readonly Drift[] = [];
  #busySets: readonly string[] = [];
  #stepsApplied = 0;
  #missing: MissingFeatures = {};
  readonly #written: ObservedState | undefined;
  /** What the last plan was made from. */
  #observed: ObservedState | undefined;
  generations: Plan['generations'];
  departed: Plan['departed'];
  known: ObservedState | undefined;
  unread: readonly Unread[];
  busyChains: readonly string[];

  constructor(options: ReconcilerOptions, renderer: NodeRenderer, memory: Memory, mode: Mode) {
    this.#options = options;
    this.#renderer = renderer;
    this.#mode = mode;
    this.#written = memory.written;
    this.generations = memory.generations;
    this.departed = memory.departed;
    this.unread = memory.unread;
    this.busyChains = memory.busyChains;
    for (const name of memory.busyChains) this.#broken.add(name);
  }

  async prepare(
    snapshot: ClusterSnapshot,
    layout: Omit<Layout, 'mode'>,
    question: 'known' | 'missing' | 'all',
  ): Promise<void> {
    if (this.#mode === 'off') return;
    const { nodeName, now, compile = () => compileNode(snapshot, nodeName), missingFeatures } = this.#options;
    if (missingFeatures && this.#mode !== 'dry-run') this.#missing = await missingFeatures(question);
    const started = now();
    const intent = await compile(snapshot);
    this.#addSeconds('compile', started);
    this.#intent = intent;
    const enforcing = this.#mode === 'audit' ? 'audit' : 'enforce';
    const wholeLayout = layoutWithout({ ...layout, mode: enforcing }, this.#missing);
    const rendering = now();
    this.#ruleset = await runSliced(
      this.#renderer.renderInSteps(intent, wholeLayout, this.#options.interfaces?.(intent)),
    );
    this.#refused = new RefusedNamespaces(this.#ruleset, now);
    this.#addSeconds('render', rendering);
    for (const set of setsWithout(this.#ruleset.sets.values(), this.#missing)) this.#leaveOut(set);
  }

  /** The kernel would refuse it, one by one. */
  #leaveOut({ name, type }: IpSet): void {
    this.#broken.add(name);
    this.fail(new Error(`set ${name}: the kernel has no sets of type ${type}; what needs it is closed`), name);
  }

  async execute(readBack: boolean): Promise<void> {
    const remembered = readBack ? undefined : this.#written;
    if (remembered) {
      // An event must not make anybody forget that something is to be read again.
      for (const each of this.unread)
        if (!each.isKnown) this.#failToRead(each, remembered.families[each.family] !== undefined);
    }
    const observed = remembered ?? (await this.#read());
    if (this.#written && !remembered && this.#isOfSameVariant(observed))
      this.#drift = findDrift(this.#written, observed);
    await this.#lookForEpochs(observed, readBack);
    let plan = await this.#makePlan(observed, remembered !== undefined);
    if (this.#mode === 'dry-run') {
      this.known = observed;
      return;
    }
    let mayBeOutdated = remembered !== undefined;
    for (let attempt = 1; ; attempt++) {
      this.generations = { ...this.generations, ...plan.generations };
      const failed = await this.#applyAll(plan.steps);
      if (!failed) {
        this.known = this.#afterSuccess(plan);
        this.departed = plan.departed;
        // Ahead of time: the next pass shall find them.
        this.#nextEpochs(plan.after);
        return;
      }
      if (mayBeOutdated && failed.reason === 'refused') {
        mayBeOutdated = false;
        plan = await this.#planFromKernel(failed);
        continue;
      }
      if (!(await this.#isolate(failed)) || attempt >= MAX_ATTEMPTS) {
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
  #nextEpochs(observed: ObservedState): Plan['generations'] {
    const { freeEpochs } = this.#options;
    const marks = this.#ruleset?.layout.marks;
    const next = this.#stampedFamilies(observed).map((family): [Family, number] => {
      freeEpochs!.inForce(family, readGeneration(observed.families[family]!, marks!) ?? this.generations[family]);
      return [family, freeEpochs!.next(family)];
    });
    return Object.fromEntries(next);
  }

  async #lookForEpochs(observed: ObservedState, readBack: boolean): Promise<void> {
    const started = this.#options.now();
    const { freeEpochs } = this.#options;
    const families = this.#stampedFamilies(observed);
    this.#nextEpochs(observed);
    if (families.length > 0) await freeEpochs?.firstLook(families);
    if (readBack) for (const family of families) freeEpochs?.recheck(family);
    this.#addSeconds('observe', started);
  }

  async #read(): Promise<ObservedState> {
    const started = this.#options.now();
    const found = await this.#options.kernel.observe();
    const recognised = await runSliced(recognise(found, this.#written, this.#ruleset?.sets ?? new Map()));
    this.#addSeconds('observe', started);
    this.#knowOther(recognised);
    return this.#withUnread(recognised);
  }

  /** What was written went to the iptables variant that was read. */
  #isOfSameVariant(observed: ObservedState): boolean {
    return this.#written?.variant === observed.variant;
  }

  /** Flows carry the stamps of our rules in the other variant: a generation of theirs must not be taken for one of these rules. */
  #knowOther({ other }: ObservedState): void {
    const { marks } = this.#ruleset?.layout ?? {};
    if (!other || !marks) return;
    for (const family of FAMILIES) {
      const before = other.families[family];
      const generation = before && readGeneration(before, marks);
      if (generation !== undefined) this.generations = { [family]: generation, ...this.generations };
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
      broken: this.#broken,
      firstGeneration: this.#options.firstGeneration,
      lastGenerations: this.generations,
      spareGenerations: this.#nextEpochs(observed),
      departed: this.departed,
      remembered,
      ...(this.#mode === 'dry-run' ? {} : { portion: ENTRIES_PER_SYNC }),
    };
    const started = this.#options.now();
    this.#plan = this.#ruleset ? await runSliced(diffInSteps(this.#ruleset, observed, options)) : teardown(observed);
    this.#addSeconds('plan', started);
    return this.#plan;
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
    if (this.#busySets.length === 0) return plan.after;
    const { families, sets: after } = plan.after;
    const sets = new Map(after);
    for (const name of this.#busySets) sets.set(name, this.#observed?.sets.get(name) ?? unknownSet(name));
    return { families, sets };
  }

  /** Marks what the kernel refused as broken. False if no single chain or set is to blame: then nothing can be left out. */
  async #isolate(failed: StepFailed): Promise<boolean> {
    if (failed.reason !== 'refused') return false;
    const blamed = failed.object !== undefined && this.#blame(failed.object, failed);
    // Legacy reports a refusal by the kernel at COMMIT, and where one chain is refused others may be.
    const others = 'family' in failed.step && (await this.#tryAlone(failed.step));
    return blamed || others || this.#blameGuards(failed);
  }

  /**
   * Tries the class chains of a refused step alone, all of a namespace together first. They go in under the names they have anyway; what
   * they hold is right.
   */
  async #tryAlone(failed: Step & { readonly family: Family }): Promise<boolean> {
    let found = false;
    for (const [namespace, classes] of this.#refused?.linesOf(failed.family, failed.lines) ?? []) {
      const all = [...classes].filter(([name]) => !this.#broken.has(name));
      const together = all.flatMap(([, lines]) => lines);
      if (together.length === 0 || !(await this.#refusal(failed.family, together))) continue;
      for (const [name, lines] of all) {
        if (this.#broken.has(name) || this.#refused?.isLeftOut(namespace)) continue;
        const refusal = await this.#refusal(failed.family, lines);
        if (refusal) found = this.#blame(name, refusal) || found;
      }
    }
    return found;
  }

  /** Legacy does not say what it was: what the other rules can do without goes first. */
  #blameGuards(failed: StepFailed): boolean {
    const guard = failed.step.lines.find(({ text, object }) => this.#isGuard(object) && text.startsWith('-A'));
    return guard !== undefined && this.#blame(guard.object, failed);
  }

  async #refusal(family: Family, lines: readonly PlanLine[]): Promise<StepFailed | undefined> {
    const [table, commit] = ['*mangle', 'COMMIT'].map((text) => ({ text, object: lines[0]!.object }));
    try {
      await this.#options.kernel.apply({ kind: 'rules', family, lines: [table!, ...lines, commit!] });
      return undefined;
    } catch (error) {
      if (error instanceof StepFailed) return error;
      throw error;
    }
  }

  #blame(refused: string, failed: StepFailed): boolean {
    const object = this.#endpoint(refused)?.name ?? refused;
    if (this.#broken.has(object) || !this.#canDoWithout(object)) return false;
    this.#broken.add(object);
    if (this.#isLeftOver(object)) this.busyChains = [...this.busyChains, object];
    else this.fail(failed, object);
    for (const namespace of this.#refused?.refuse(object) ?? []) {
      for (const also of this.#refused?.newObjects(namespace, this.#observed) ?? []) this.#broken.add(also);
    }
    return true;
  }

  /** A set, a class chain, one that finds pods by their interfaces, or a chain that only waits to be deleted. */
  #canDoWithout(object: string): boolean {
    const isEndpoint = this.#endpoint(object) !== undefined;
    return this.#ruleset?.sets.has(object) || isEndpoint || this.#isGuard(object) || this.#isLeftOver(object);
  }

  #isLeftOver(object: string): boolean {
    if (this.#ruleset?.sets.has(object) || this.#endpoint(object)) return false;
    return FAMILIES.some((family) => {
      const [before, after] = [this.#observed, this.#plan?.after].map((state) => state?.families[family]?.chains);
      return this.#ruleset !== undefined && before?.has(object) === true && !after?.has(object);
    });
  }

  #endpoint(chain: string): EndpointChain | undefined {
    const [found] = FAMILIES.flatMap(
      (family) => (this.#ruleset && endpointOf(this.#ruleset.families[family], chain)) ?? [],
    );
    return found;
  }

  #isGuard(chain: string): boolean {
    return FAMILIES.some((family) => this.#ruleset && isGuard(this.#ruleset.families[family], chain));
  }

  fail(error: unknown, object?: string): void {
    const blamed = object ?? (error instanceof StepFailed ? error.object : undefined);
    this.#failures.push({
      object: blamed,
      tool: error instanceof StepFailed ? error.tool : '',
      reason: error instanceof StepFailed ? error.reason : 'unavailable',
      message: error instanceof Error ? error.message : String(error),
      policies: blamed === undefined ? [] : this.#policiesBehind(blamed),
    });
    this.known = undefined;
  }

  #policiesBehind(object: string): readonly string[] {
    const names = new Set<string>();
    for (const family of FAMILIES) {
      for (const chain of this.#ruleset?.families[family].classes.values() ?? []) {
        if (chain.name !== this.#endpoint(object)?.name && !chain.sets.includes(object)) continue;
        for (const policy of chain.policies) names.add(`${policy.namespace}/${policy.name}`);
      }
    }
    const sorted = [...names].sort();
    const more = sorted.length - MAX_POLICIES_NAMED;
    return more > 0 ? [...sorted.slice(0, MAX_POLICIES_NAMED), `and ${more} more`] : sorted;
  }

  outcome(): PassOutcome {
    return {
      mode: this.#mode,
      plan: this.#plan,
      ruleset: this.#ruleset,
      intent: this.#intent,
      stepsApplied: this.#stepsApplied,
      drift: this.#drift,
      failures: this.#failures,
      partial: this.#failures.length > 0 && this.known !== undefined,
      busySets: this.#busySets,
      busyChains: this.busyChains,
      seconds: this.#seconds,
      problems: this.#intent?.problems ?? [],
      missing: this.#missing,
      unread: this.unread,
    };
  }

  #addSeconds(phase: Phase, startedMs: number): void {
    this.#seconds[phase] = (this.#seconds[phase] ?? 0) + (this.#options.now() - startedMs) / 1000;
  }
}

/** A set of ours of which only the name is known; it is there to be destroyed. */
function unknownSet(name: string): ObservedSet {
  return { name, family: familyOfSet(name), type: '', maxElements: 0, members: new Map() };
}
