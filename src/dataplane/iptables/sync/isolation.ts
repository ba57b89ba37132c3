/** What the kernel refuses is found, attributed to its chain or set, and left out with what depends on it; everything else goes in. */
import { FAMILIES, type Family } from '../../../core/vocabulary.ts';
import type { Kernel } from '../kernel/kernel.ts';
import type { ObservedState, Plan, PlanLine, Step } from '../plan/plan.ts';
import type { EndpointChain, Ruleset } from '../rules/ruleset.ts';

import { StepFailed } from '../kernel/kernel.ts';
import { endpointOf, isGuard } from '../rules/ruleset.ts';
import { RefusedNamespaces } from './refused-namespaces.ts';

/** Of the policies behind one refused object. */
const MAX_POLICIES_NAMED = 20;

/** What was to be done when the kernel refused something. */
interface Attempt {
  /** What the plan was made from. */
  readonly observed: ObservedState;
  readonly plan: Plan;
}

interface IsolationOptions {
  readonly kernel: Kernel;
  readonly ruleset: Ruleset | undefined;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** The object is left out from here on. */
  readonly onRejected: (failed: StepFailed, object: string) => void;
  /** Nothing of ours leads to the chain any more, and it cannot be deleted. */
  readonly onBusyChain: (chain: string) => void;
}

export class Isolation {
  readonly #options: IsolationOptions;
  readonly #refused: RefusedNamespaces | undefined;
  readonly #rejected: Set<string>;
  #attempt: Attempt | undefined;

  /** `rejected`: what is left out already. */
  constructor(options: IsolationOptions, rejected: Iterable<string>) {
    const { ruleset, now } = options;
    this.#options = options;
    this.#refused = ruleset && new RefusedNamespaces(ruleset, now);
    this.#rejected = new Set(rejected);
  }

  /** Names of the chains and sets that are left out. */
  get rejected(): ReadonlySet<string> {
    return this.#rejected;
  }

  /** Leaves out what the kernel could not take at all. */
  leaveOut(object: string): void {
    this.#rejected.add(object);
  }

  /** Leaves out what the kernel refused. False if that is no single chain or set: then nothing can be left out. */
  async isolate(failed: StepFailed, attempt: Attempt): Promise<boolean> {
    this.#attempt = attempt;
    if (failed.reason !== 'refused') return false;
    const attributed = failed.object !== undefined && this.#attribute(failed.object, failed);
    // Legacy reports a refusal by the kernel at COMMIT, and where one chain is refused others may be.
    const others = 'family' in failed.step && (await this.#tryAlone(failed.step));
    return attributed || others || this.#attributeToGuards(failed);
  }

  /**
   * Tries the endpoint chains of a refused step alone, all of a namespace together first. They go in under the names they have anyway; what
   * they hold is right.
   */
  async #tryAlone(failed: Step & { readonly family: Family }): Promise<boolean> {
    let found = false;
    for (const [namespace, chains] of this.#refused?.linesOf(failed.family, failed.lines) ?? []) {
      const all = [...chains].filter(([name]) => !this.#rejected.has(name));
      const together = all.flatMap(([, lines]) => lines);
      if (together.length === 0 || !(await this.#refusal(failed.family, together))) continue;
      for (const [name, lines] of all) {
        if (this.#rejected.has(name) || this.#refused?.isLeftOut(namespace)) continue;
        const refusal = await this.#refusal(failed.family, lines);
        if (refusal) found = this.#attribute(name, refusal) || found;
      }
    }
    return found;
  }

  /** Legacy does not say what it was: what the other rules can do without goes first. */
  #attributeToGuards(failed: StepFailed): boolean {
    const guard = failed.step.lines.find(({ text, object }) => this.#isGuard(object) && text.startsWith('-A'));
    return guard !== undefined && this.#attribute(guard.object, failed);
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

  #attribute(refused: string, failed: StepFailed): boolean {
    const object = this.#endpoint(refused)?.name ?? refused;
    if (this.#rejected.has(object) || !this.#canDoWithout(object)) return false;
    this.#rejected.add(object);
    if (this.#isLeftOver(object)) this.#options.onBusyChain(object);
    else this.#options.onRejected(failed, object);
    for (const namespace of this.#refused?.refuse(object) ?? []) {
      for (const also of this.#refused?.newObjects(namespace, this.#attempt?.observed) ?? []) this.#rejected.add(also);
    }
    return true;
  }

  /** A set, an endpoint chain, one that finds pods by their interfaces, or a chain that only waits to be deleted. */
  #canDoWithout(object: string): boolean {
    const isEndpoint = this.#endpoint(object) !== undefined;
    return this.#options.ruleset?.sets.has(object) || isEndpoint || this.#isGuard(object) || this.#isLeftOver(object);
  }

  #isLeftOver(object: string): boolean {
    if (this.#options.ruleset?.sets.has(object) || this.#endpoint(object)) return false;
    return FAMILIES.some((family) => {
      const [before, after] = [this.#attempt?.observed, this.#attempt?.plan.after].map(
        (state) => state?.families[family]?.chains,
      );
      return this.#options.ruleset !== undefined && before?.has(object) === true && !after?.has(object);
    });
  }

  #endpoint(chain: string): EndpointChain | undefined {
    const [found] = FAMILIES.flatMap(
      (family) => (this.#options.ruleset && endpointOf(this.#options.ruleset.families[family], chain)) ?? [],
    );
    return found;
  }

  #isGuard(chain: string): boolean {
    return FAMILIES.some((family) => this.#options.ruleset && isGuard(this.#options.ruleset.families[family], chain));
  }

  /** The policies, `namespace/name`, that a refused chain or set keeps out of the kernel. */
  policiesBehind(object: string): readonly string[] {
    const names = new Set<string>();
    const endpoint = this.#endpoint(object)?.name;
    for (const family of FAMILIES) {
      for (const chain of this.#options.ruleset?.families[family].endpointChains.values() ?? []) {
        if (chain.name !== endpoint && !chain.sets.includes(object)) continue;
        for (const policy of [...chain.policies, ...(chain.audit?.policies ?? [])])
          names.add(`${policy.namespace}/${policy.name}`);
      }
    }
    const sorted = [...names].sort();
    const more = sorted.length - MAX_POLICIES_NAMED;
    return more > 0 ? [...sorted.slice(0, MAX_POLICIES_NAMED), `and ${more} more`] : sorted;
  }
}
