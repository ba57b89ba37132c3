/**
 * Cluster-wide policies on this node: which pods they concern, and the programs that their tiers make together with those of NetworkPolicy.
 * Stages are compiled once for all pods that are subjects of the same policies, whatever their namespaces.
 */
import type { Direction } from '../../core/vocabulary.ts';
import type {
  ClusterPolicy,
  LabelledNode,
  Labels,
  Namespace,
  Pod,
  PolicyRef,
  Problem,
  Selector,
  Tier,
} from '../../policy/model.ts';
import type { Sliced } from '../../core/sliced.ts';
import type { AddressSet, Program, Stage } from '../intent.ts';
import type { PeerSets } from '../peer-sets.ts';
import type { SharingLimits } from '../shared-peers.ts';
import type { CompiledTier } from './compile-tier.ts';
import type { Applied, AppliedTiers } from './tier-order.ts';

import { DIRECTIONS } from '../../core/vocabulary.ts';
import { isSameValue } from '../../core/same-value.ts';
import { runSync } from '../../core/sliced.ts';
import { TIERS } from '../../policy/model.ts';
import { networkPolicyStage, tierStage } from '../program.ts';
import { compileTier } from './compile-tier.ts';
import { equalPriorities } from './equal-priorities.ts';
import { failedClosed, overLimit, tooManyRules } from './tier-limit.ts';
import { NodeSets } from './node-sets.ts';
import { appliedTo, inOrder, isSameApplied } from './tier-order.ts';

type Concerns = Readonly<Partial<Record<Direction, AppliedTiers>>>;

interface TierStage {
  readonly applied: readonly Applied[];
  readonly compiled: CompiledTier;
  readonly stage: Stage;
}

const UNLIMITED = { entries: Number.POSITIVE_INFINITY, comparisons: Number.POSITIVE_INFINITY };
const NOTHING: Concerns = {};

export class ClusterTiers {
  readonly #nodeName: string;
  readonly #sharing: SharingLimits | undefined;
  readonly #peers: PeerSets;
  readonly #policies = new Map<string, ClusterPolicy>();
  readonly #namespaces = new Map<string, Labels>();
  readonly #nodeSets = new NodeSets();
  #ordered: Readonly<Record<Tier, readonly ClusterPolicy[]>> | undefined;
  /** By namespace, then by labels; made anew after each change of policies or of the namespace. */
  readonly #concerns = new Map<string, WeakMap<Labels, Concerns>>();
  readonly #mostRules: number;
  #problems: readonly Problem[] = [];
  #stages = new Map<string, TierStage>();
  #programs = new Map<string, Program>();
  /** Keys of sets that were made since the last composition. */
  #made: string[] = [];

  /** `mostRules`: of tiers in all programs together. */
  constructor(nodeName: string, peers: PeerSets, sharing: SharingLimits | undefined, mostRules: number) {
    this.#mostRules = mostRules;
    this.#nodeName = nodeName;
    this.#peers = peers;
    this.#sharing = sharing;
  }

  get isEmpty(): boolean {
    return this.#policies.size === 0;
  }

  policy(name: string, policy: ClusterPolicy | undefined): void {
    if (policy) this.#policies.set(name, policy);
    else this.#policies.delete(name);
    this.#ordered = undefined;
    this.#concerns.clear();
  }

  /** Whether it may have other subjects now. */
  namespace(name: string, namespace: Namespace | undefined): boolean {
    if (this.#namespaces.get(name) === namespace?.labels) return false;
    if (namespace) this.#namespaces.set(name, namespace.labels);
    else this.#namespaces.delete(name);
    this.#concerns.delete(name);
    return !this.isEmpty;
  }

  /** Whether a set changed. */
  node(name: string, node: LabelledNode | undefined): boolean {
    return this.#nodeSets.node(name, node);
  }

  problems(): readonly Problem[] {
    return this.#problems;
  }

  /** Of the pods that may be behind an address (S-73); undefined where they are not subjects of the same rules. */
  concerning(pods: readonly Pod[], direction: Direction): AppliedTiers | undefined | 'unlike' {
    const [first, ...others] = pods.map((pod) => this.#concernsOf(pod)[direction]);
    return others.every((other) => isSame(first, other)) ? first : 'unlike';
  }

  #concernsOf({ namespace, labels }: Pod): Concerns {
    if (this.isEmpty) return NOTHING;
    const known = this.#concerns.get(namespace) ?? new WeakMap<Labels, Concerns>();
    this.#concerns.set(namespace, known);
    const found = known.get(labels) ?? this.#findConcerns(namespace, labels);
    known.set(labels, found);
    return found;
  }

  #findConcerns(namespace: string, labels: Labels): Concerns {
    this.#ordered ??= {
      Admin: inOrder(this.#policies.values(), 'Admin'),
      Baseline: inOrder(this.#policies.values(), 'Baseline'),
    };
    const { Admin, Baseline } = this.#ordered;
    const entries = DIRECTIONS.flatMap((direction) => {
      const of = (policies: readonly ClusterPolicy[]) =>
        appliedTo(policies, direction, this.#namespaces.get(namespace), labels);
      const tiers: AppliedTiers = { Admin: of(Admin), Baseline: of(Baseline) };
      return tiers.Admin.length + tiers.Baseline.length === 0 ? [] : [[direction, tiers] as const];
    });
    return Object.fromEntries(entries);
  }

  /** Compiles what the pods need, in slices; what is still missing when their programs are asked for is compiled there. */
  *prepare(pods: Iterable<Pod>, hasDoubts: boolean): Sliced<void> {
    if (this.isEmpty) return;
    for (const pod of pods) {
      for (const direction of DIRECTIONS) {
        const tiers = this.#concernsOf(pod)[direction];
        for (const tier of TIERS) if (tiers) yield* this.#stageOf(tier, direction, tiers[tier], hasDoubts);
      }
      yield;
    }
  }

  *#stageOf(
    tier: Tier,
    direction: Direction,
    applied: readonly Applied[],
    hasDoubts: boolean,
  ): Sliced<TierStage | undefined> {
    if (applied.length === 0) return undefined;
    const key = JSON.stringify([tier, direction, hasDoubts, namesOf(applied)]);
    const known = this.#stages.get(key);
    if (known && isSameApplied(known.applied, applied)) return known;
    const { nodeName, limits } = { nodeName: this.#nodeName, limits: this.#sharing };
    const compiled = yield* compileTier(applied, { nodeName, direction, limits, hasDoubts });
    yield* this.#peers.provide([...compiled.plan.keys()], compiled.plan, UNLIMITED);
    this.#made.push(...compiled.plan.keys());
    const made = { applied, compiled, stage: tierStage(tier, compiled.rules) };
    this.#stages.set(key, made);
    return made;
  }

  /** Programs for one intent. Those that it does not ask for, and what only they speak of, are forgotten. */
  compose(hasDoubts: boolean): Composition {
    const stages = new Map<string, TierStage>();
    const programs = new Map<string, Program>();
    const asked = new Set<AppliedTiers>();
    const stageOf = (tier: Tier, direction: Direction, applied: readonly Applied[]): TierStage | undefined => {
      const found = runSync(this.#stageOf(tier, direction, applied, hasDoubts));
      if (found) stages.set(JSON.stringify([tier, direction, hasDoubts, namesOf(applied)]), found);
      return found;
    };
    return {
      program: (direction, tiers, own) => {
        asked.add(tiers);
        const admin = stageOf('Admin', direction, tiers.Admin)?.stage;
        // N-65: where NetworkPolicy isolates, its answer is final.
        const baseline = own ? undefined : stageOf('Baseline', direction, tiers.Baseline)?.stage;
        const key = programKey(direction, tiers, own?.key);
        const value: Program = {
          key,
          direction,
          policies: [...refsOf(tiers.Admin), ...(own?.policies ?? refsOf(tiers.Baseline))],
          stages: [...(admin ? [admin] : []), ...(own?.stages ?? []), ...(baseline ? [baseline] : [])],
          ...(own?.closed ? { closed: own.closed } : {}),
        };
        const before = this.#programs.get(key);
        const same = before && isSameValue(before, value) ? before : value;
        programs.set(key, same);
        return same;
      },
      done: () => {
        const over = overLimit(programs.values(), this.#mostRules);
        for (const program of over) {
          const value = failedClosed(program);
          const before = this.#programs.get(program.key);
          programs.set(program.key, before && isSameValue(before, value) ? before : value);
        }
        this.#stages = stages;
        this.#programs = programs;
        this.#problems = [...equalPriorities(asked), ...tooManyRules(over, this.#mostRules)];
        const nodes = new Map<string, readonly Selector[]>();
        for (const { compiled } of stages.values())
          for (const [set, selectors] of compiled.nodes) nodes.set(set, selectors);
        for (const { compiled } of stages.values())
          runSync(this.#peers.provide([...compiled.plan.keys()], compiled.plan, UNLIMITED));
        const setKeys = [...stages.values()].flatMap(({ compiled }) => [...compiled.plan.keys()]);
        return {
          programs: [...programs.values()],
          setKeys,
          nodeSets: this.#nodeSets.keep(nodes),
          made: this.#made.splice(0),
        };
      },
    };
  }
}

export interface Composition {
  /** `own`: of the NetworkPolicies that isolate the pod. */
  program(direction: Direction, tiers: AppliedTiers, own: Program | undefined): Program;
  /** After the last program: all of them, and what they speak of. */
  done(): {
    readonly programs: readonly Program[];
    readonly setKeys: readonly string[];
    /** Keys of sets that were made for it, perhaps in vain. */
    readonly made: readonly string[];
    readonly nodeSets: ReadonlyMap<string, AddressSet>;
  };
}

/** For an address of which several pods may be that are not subjects of the same rules: nothing is allowed to it. */
export function unlikeProgram(direction: Direction, pods: readonly Pod[], own: Program | undefined): Program {
  const names = pods.map(({ namespace, name }) => `${namespace}/${name}`);
  const policies = own?.policies ?? pods.map(({ namespace, name }) => ({ namespace, name }));
  return {
    key: JSON.stringify([direction, 'unlike subjects', ...names]),
    direction,
    policies,
    stages: [networkPolicyStage([])],
  };
}

function isSame(a: AppliedTiers | undefined, b: AppliedTiers | undefined): boolean {
  if (!a || !b) return a === b;
  return TIERS.every((tier) => isSameApplied(a[tier], b[tier]));
}

function namesOf(applied: readonly Applied[]): readonly string[] {
  return applied.map(({ policy: { name }, inDoubt }) => (inDoubt ? `?${name}` : name));
}

function refsOf(applied: readonly Applied[]): readonly PolicyRef[] {
  return applied.map(({ policy: { name, tier } }) => ({ namespace: '', name, tier }));
}

/** No key of a program of NetworkPolicies alone. */
function programKey(direction: Direction, { Admin, Baseline }: AppliedTiers, own: string | undefined): string {
  return JSON.stringify([direction, 'tiers', namesOf(Admin), own ?? namesOf(Baseline)]);
}
