/**
 * One pass: snapshot -> intent -> ruleset -> plan -> outcome. Starts from the current snapshot every time; the only
 * memory is what our own writes left in the kernel, and that is dropped whenever there is doubt about it.
 */
import type { ClusterSnapshot, Problem } from '../policy/model.ts';
import type { NodeIntent } from '../compile/intent.ts';
import type { Layout, Ruleset } from '../render/ruleset.ts';
import type { ObservedState, Plan, Step } from '../plan/plan.ts';
import type { Drift } from '../plan/drift.ts';
import type { Kernel } from '../kernel/kernel.ts';

import { compileNode } from '../compile/compile-node.ts';
import { renderNode } from '../render/render-node.ts';
import { diff } from '../plan/diff.ts';
import { findDrift } from '../plan/drift.ts';
import { isEmptyPlan } from '../plan/plan.ts';
import { teardown } from '../plan/teardown.ts';
import { StepFailed } from '../kernel/kernel.ts';

export type Mode = 'enforce' | 'audit' | 'dry-run' | 'off';

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
  readonly seconds: Readonly<Partial<Record<Phase, number>>>;
  readonly problems: readonly Problem[];
}

export interface ReconcilerOptions {
  readonly nodeName: string;
  readonly kernel: Kernel;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** The generation to begin with on a host that has none. */
  readonly firstGeneration: number;
}

/** A pass gives up isolating refused objects after this many; each costs a read-back. */
const MAX_ATTEMPTS = 16;

export class Reconciler {
  readonly #options: ReconcilerOptions;
  /** The kernel as our last writes left it; undefined: read it first. */
  #known: ObservedState | undefined;

  constructor(options: ReconcilerOptions) {
    this.#options = options;
  }

  /** Makes the next pass read the kernel, as at start. */
  forget(): void {
    this.#known = undefined;
  }

  /** `readBack`: compare the kernel with what we wrote before planning. Never rejects for what the kernel or a tool does. */
  async pass(
    snapshot: ClusterSnapshot,
    mode: Mode,
    layout: Omit<Layout, 'mode'>,
    readBack: boolean,
  ): Promise<PassOutcome> {
    const run = new Pass(this.#options, this.#known, mode);
    try {
      run.prepare(snapshot, layout);
      await run.execute(readBack);
    } catch (error) {
      run.fail(error);
    }
    this.#known = run.known;
    return run.outcome();
  }
}

/** The state of one pass while it runs. */
class Pass {
  readonly #options: ReconcilerOptions;
  readonly #mode: Mode;
  readonly #seconds: Partial<Record<Phase, number>> = {};
  readonly #failures: PassFailure[] = [];
  readonly #broken = new Set<string>();
  #intent: NodeIntent | undefined;
  #ruleset: Ruleset | undefined;
  #plan: Plan | undefined;
  #drift: readonly Drift[] = [];
  #busySets: readonly string[] = [];
  #stepsApplied = 0;
  #resumed: ObservedState | undefined;
  known: ObservedState | undefined;

  constructor(options: ReconcilerOptions, known: ObservedState | undefined, mode: Mode) {
    this.#options = options;
    this.#mode = mode;
    this.#resumed = known;
  }

  prepare(snapshot: ClusterSnapshot, layout: Omit<Layout, 'mode'>): void {
    if (this.#mode === 'off') return;
    this.#intent = this.#timed('compile', () => compileNode(snapshot, this.#options.nodeName));
    const enforcing = this.#mode === 'audit' ? 'audit' : 'enforce';
    this.#ruleset = this.#timed('render', () => renderNode(this.#intent!, { ...layout, mode: enforcing }));
  }

  async execute(readBack: boolean): Promise<void> {
    const observed = await this.#observed(readBack);
    this.#plan = this.#makePlan(observed);
    if (this.#mode === 'dry-run') {
      this.known = observed;
      return;
    }
    for (let attempt = 1; ; attempt++) {
      const failed = await this.#applyAll(this.#plan);
      if (!failed) {
        this.known = this.#afterSuccess(this.#plan, observed);
        return;
      }
      this.fail(failed);
      const isolated = await this.#isolate(failed);
      if (!isolated || attempt >= MAX_ATTEMPTS) return;
      this.#plan = this.#makePlan(await this.#read());
    }
  }

  async #observed(readBack: boolean): Promise<ObservedState> {
    const written = this.#resumed;
    if (written && !readBack) return written;
    const found = await this.#read();
    if (written) this.#drift = findDrift(written, found);
    return found;
  }

  async #read(): Promise<ObservedState> {
    const started = this.#options.now();
    const found = await this.#options.kernel.observe();
    this.#addSeconds('observe', started);
    return found;
  }

  #makePlan(observed: ObservedState): Plan {
    return this.#timed('plan', () =>
      this.#ruleset
        ? diff(this.#ruleset, observed, { broken: this.#broken, firstGeneration: this.#options.firstGeneration })
        : teardown(observed),
    );
  }

  /** The first failure, or undefined if every step went in. */
  async #applyAll(plan: Plan): Promise<StepFailed | undefined> {
    const started = this.#options.now();
    try {
      for (const step of plan.steps) {
        const busy = await this.#options.kernel.apply(step);
        this.#stepsApplied++;
        if (step.kind === 'destroy-sets') this.#busySets = busy;
      }
      return undefined;
    } catch (error) {
      if (error instanceof StepFailed) return error;
      throw error;
    } finally {
      if (!isEmptyPlan(plan)) this.#addSeconds('apply', started);
    }
  }

  /** What the kernel holds now. Sets it would not let go of are still there, and will be planned for again. */
  #afterSuccess(plan: Plan, observed: ObservedState): ObservedState {
    if (this.#busySets.length === 0) return plan.after;
    const sets = new Map(plan.after.sets);
    for (const name of this.#busySets) {
      const set = observed.sets.get(name);
      if (set) sets.set(name, set);
    }
    return { ...plan.after, sets };
  }

  /** Marks what the kernel refused as broken. False if no single chain or set is to blame: then nothing can be left out. */
  async #isolate(failed: StepFailed): Promise<boolean> {
    if (failed.reason !== 'refused') return false;
    if (failed.object !== undefined) return this.#blame(failed.object);
    if (failed.step.kind !== 'rules') return false;
    // Legacy reports a refusal by the kernel at COMMIT: try each new class chain alone to find the one.
    const family = failed.step.family;
    const suspects = [...(this.#ruleset?.families[family].classes.keys() ?? [])];
    let found = false;
    for (const name of suspects) {
      const lines = failed.step.lines.filter(({ text, object }) => object === name && !text.startsWith('-X'));
      if (lines.length === 0) continue;
      const alone: Step = {
        kind: 'rules',
        family,
        lines: [{ text: '*mangle', object: name }, ...lines, { text: 'COMMIT', object: name }],
      };
      try {
        await this.#options.kernel.apply(alone);
      } catch (error) {
        if (!(error instanceof StepFailed)) throw error;
        this.fail(error, name);
        found = this.#blame(name) || found;
      }
    }
    return found;
  }

  #blame(object: string): boolean {
    const ruleset = this.#ruleset;
    const known = ruleset?.sets.has(object) || [4, 6].some((f) => ruleset?.families[f as 4 | 6].classes.has(object));
    if (!known || this.#broken.has(object)) return false;
    this.#broken.add(object);
    return true;
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
    for (const family of [4, 6] as const) {
      for (const chain of this.#ruleset?.families[family].classes.values() ?? []) {
        if (chain.name !== object && !chain.sets.includes(object)) continue;
        for (const policy of chain.policies) names.add(`${policy.namespace}/${policy.name}`);
      }
    }
    return [...names].sort();
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
      seconds: this.#seconds,
      problems: this.#intent?.problems ?? [],
    };
  }

  #timed<T>(phase: Phase, work: () => T): T {
    const started = this.#options.now();
    try {
      return work();
    } finally {
      this.#addSeconds(phase, started);
    }
  }

  #addSeconds(phase: Phase, startedMs: number): void {
    this.#seconds[phase] = (this.#seconds[phase] ?? 0) + (this.#options.now() - startedMs) / 1000;
  }
}
