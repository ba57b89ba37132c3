/**
 * The programs of one namespace's local pods. Policies select pods of their own namespace only, so what one namespace's owner writes is
 * compiled by itself, again only when it changes, and measured against the limits of one namespace (limits.ts).
 */
import { createHash } from 'node:crypto';
import type { PolicyMode } from '../core/vocabulary.ts';
import type { Pod, Policy, Problem } from '../policy/model.ts';
import type { ProgramCompiler, CompiledProgram, NeededProgram } from './program-compiler.ts';
import type { OverLimit, Program, LocalEndpoint } from './intent.ts';
import { MAX_AUDITED_ALONE, type NamespaceLimits, auditLimits } from './limits.ts';
import type { PeerSets, SetCost } from './peer-sets.ts';
import type { Sliced } from '../core/sliced.ts';
import type { VersionedMap } from '../core/versioned-map.ts';

import { networkPolicyStage } from './program.ts';
import { refOf } from './program-compiler.ts';
import { CoSelection } from './co-selection.ts';
import { isSameValue } from '../core/same-value.ts';
import { compareText, isSameList } from '../core/compare.ts';
import { type NeededAudit, NO_SELECTION, type Selected, type Selection, select } from './selected.ts';

/** A local pod with the addresses it owns. */
interface Local {
  /** `namespace/name`. */
  readonly key: string;
  readonly pod: Pod;
  readonly addresses: ReadonlySet<string>;
}

export interface NamespaceProgram {
  readonly value: Program;
  /** Absent: closed. */
  readonly compiled: CompiledProgram | undefined;
}

export interface NamespacePrograms {
  readonly selection: Selection;
  /** Sorted by pod. */
  readonly endpoints: readonly LocalEndpoint[];
  /** By key, sorted by it. */
  readonly programs: ReadonlyMap<string, NamespaceProgram>;
  /** The same of audited policies; without what is over a limit. */
  readonly audits: ReadonlyMap<string, NamespaceProgram>;
  /** Those that are in a program or audit. */
  readonly policies: ReadonlySet<Policy>;
  readonly problems: readonly Problem[];
  /** Sets that its programs ask for, up to the limit of a namespace, whether they got them or not. */
  readonly wantedSets: number;
}

export const NO_PROGRAMS: NamespacePrograms = {
  selection: NO_SELECTION,
  endpoints: [],
  programs: new Map(),
  audits: new Map(),
  policies: new Set(),
  problems: [],
  wantedSets: 0,
};

/** Names in a Problem. */
const MAX_NAMES_IN_PROBLEM = 10;
/** Keys of sets up to this length are counted by themselves; by a hash of them beyond. */
const MAX_COUNTED_KEY = 256;
/** Between two places to stop at. */
const PODS_PER_STEP = 100;
const KEYS_PER_STEP = 100;

/**
 * `mode`: of the policies that ask for none. `setShare`: the most sets it may have now, as all namespaces have to fit on the node. `before`: what
 * they were, for what did not change to be the same objects. `held`: gets the keys of the sets it makes.
 */
export function* namespacePrograms(
  compiler: ProgramCompiler,
  peers: PeerSets,
  limits: NamespaceLimits,
  setShare: number,
  policies: VersionedMap<string, Policy>,
  mode: PolicyMode | undefined,
  locals: readonly Local[],
  before: NamespacePrograms,
  held: Set<string>,
): Sliced<NamespacePrograms> {
  const selection = yield* select(policies, mode, labelsOf(locals), before.selection);
  const { needed, neededAudits, neededAlone } = yield* neededBy(selection.byLabels.values());
  const room = new Room(limits, setShare, peers, held);
  const { programs, closed } = yield* compileAll(compiler, limits, room, needed, before.programs);
  const most = auditLimits(limits);
  const auditRoom = new Room(most, most.sets, peers, held);
  const together = yield* compileAll(compiler, most, auditRoom, neededAudits, before.audits);
  // What is left is for each alone: what they would deny together is counted wherever there is room for that.
  const alone = yield* compileAll(compiler, most, auditRoom, neededAlone, before.audits);
  // What is audited needs not be closed.
  for (const { programs: made, closed: over } of [together, alone]) for (const key of over.keys()) made.delete(key);
  const audits = new Map([...together.programs, ...alone.programs].sort(([a], [b]) => compareText(a, b)));
  for (const each of neededAudits.values()) addAlone(each, audits, before.audits.get(each.key)?.value);
  const problems = [
    ...[...closed].map(([key, why]) => problemOf(needed.get(key)!, why, limits, setShare)),
    ...[...together.closed].map(([key, why]) => auditProblemOf(neededAudits.get(key)!, why, most)),
    ...[...neededAudits.values()].filter((each) => isCountedTogetherOnly(each, audits)).map(notAloneProblemOf),
  ];
  const selecting = new Set<Policy>();
  for (const each of [...needed.values(), ...neededAudits.values()])
    for (const policy of each.policies) selecting.add(policy);
  return {
    selection,
    endpoints: yield* endpointsOf(locals, selection, together.closed, before.endpoints),
    programs,
    audits,
    policies: selecting,
    problems,
    wantedSets: room.wantedSets,
  };
}

function* labelsOf(locals: readonly Local[]): Iterable<Pod['labels']> {
  for (const { pod } of locals) yield pod.labels;
}

/** By key, sorted by it. */
function* compileAll(
  compiler: ProgramCompiler,
  limits: NamespaceLimits,
  room: Room,
  needed: ReadonlyMap<string, NeededProgram>,
  before: ReadonlyMap<string, NamespaceProgram>,
): Sliced<{ readonly programs: Map<string, NamespaceProgram>; readonly closed: ReadonlyMap<string, OverLimit> }> {
  const coSelectedIn = yield* coSelections(needed, before);
  const closed = new Map<string, OverLimit>();
  const compiled = new Map<string, CompiledProgram>();
  // One by one, since what a program is made of takes many times what is left of it.
  for (const [bytes, each] of smallestFirst([...needed.values()], (one) => compiler.bytesOf(one))) {
    if (!room.takeWork(bytes)) {
      closed.set(each.key, 'work');
      continue;
    }
    const coSelected = coSelectedIn(each);
    const known = before.get(each.key)?.compiled;
    const isKnown = known && isSameList(known.policies, each.policies) && isSameList(known.coSelected, coSelected);
    const now = isKnown ? known : yield* compiler.compile(each, coSelected, limits.programRules);
    const over = yield* room.admit(now);
    if (over) closed.set(each.key, over);
    else compiled.set(each.key, now);
    yield;
  }
  const programs = new Map<string, NamespaceProgram>();
  for (const key of [...needed.keys()].sort()) {
    programs.set(key, programOf(needed.get(key)!, compiled.get(key), closed.get(key), before.get(key)));
    yield;
  }
  return { programs, closed };
}

/** For each program, which of its policies are co-selected. Keys name the policies of a program: the same keys, the same answers. */
function* coSelections(
  needed: ReadonlyMap<string, NeededProgram>,
  before: ReadonlyMap<string, NamespaceProgram>,
): Sliced<(program: NeededProgram) => readonly number[]> {
  const knownIn = (key: string): readonly number[] | undefined => before.get(key)?.compiled?.coSelected;
  const areKnown = needed.size === before.size && [...needed.keys()].every((key) => knownIn(key) !== undefined);
  if (areKnown) return ({ key }) => knownIn(key)!;
  const coSelection = { ingress: new CoSelection(), egress: new CoSelection() };
  for (const { direction, policies } of needed.values()) {
    coSelection[direction].add(policies);
    yield;
  }
  return ({ direction, policies }) => coSelection[direction].groupsOf(policies);
}

/** Programs by key. */
interface Needed {
  readonly needed: ReadonlyMap<string, NeededProgram>;
  /** Of audited policies, all of a pod together. */
  readonly neededAudits: ReadonlyMap<string, NeededAudit>;
  /** Of one of several, if it is not the only one of another pod. */
  readonly neededAlone: ReadonlyMap<string, NeededProgram>;
}

function* neededBy(selected: Iterable<Selected>): Sliced<Needed> {
  const needed = new Map<string, NeededProgram>();
  const neededAudits = new Map<string, NeededAudit>();
  for (const { programs, audits } of selected) {
    for (const each of programs) needed.set(each.key, each);
    for (const each of audits) neededAudits.set(each.key, each);
    yield;
  }
  const alone = [...neededAudits.values()].flatMap((each) => each.alone);
  const neededAlone = new Map(alone.filter(({ key }) => !neededAudits.has(key)).map((each) => [each.key, each]));
  return { needed, neededAudits, neededAlone };
}

/** All of them, or none: of those that are counted, the counts are whole. */
function addAlone(
  { key, alone }: NeededAudit,
  audits: Map<string, NamespaceProgram>,
  before: Program | undefined,
): void {
  const together = audits.get(key);
  const programs = alone.flatMap((one) => audits.get(one.key)?.value ?? []);
  if (!together || programs.length === 0 || programs.length < alone.length) return;
  const value = { ...together.value, alone: programs };
  audits.set(key, { ...together, value: isSameValue(before, value) ? before! : value });
}

/** Of the pods that any policy selects. */
function* endpointsOf(
  locals: readonly Local[],
  { byLabels }: Selection,
  closedAudits: ReadonlyMap<string, OverLimit>,
  before: readonly LocalEndpoint[],
): Sliced<readonly LocalEndpoint[]> {
  const known = new Map(before.map((endpoint) => [endpoint.pod, endpoint]));
  const endpoints: LocalEndpoint[] = [];
  let count = 0;
  for (const local of locals) {
    const { policies, keys } = byLabels.get(local.pod.labels)!;
    if (++count % PODS_PER_STEP === 0) yield;
    if (policies.length === 0) continue;
    const endpoint = endpointOf(local, keys, known.get(local.key));
    endpoints.push(closedAudits.size === 0 ? endpoint : withoutAudits(endpoint, closedAudits));
  }
  return endpoints;
}

function endpointOf(
  { key, addresses }: Local,
  keys: Selected['keys'],
  before: LocalEndpoint | undefined,
): LocalEndpoint {
  if (before && isStill(before, addresses, keys)) return before;
  const endpoint = { pod: key, addresses: [...addresses].sort(), ...keys };
  return before && isSameValue(before, endpoint) ? before : endpoint;
}

function isStill(endpoint: LocalEndpoint, addresses: ReadonlySet<string>, keys: Selected['keys']): boolean {
  if (endpoint.programs !== keys.programs || endpoint.audits !== keys.audits) return false;
  return endpoint.addresses.length === addresses.size && endpoint.addresses.every((each) => addresses.has(each));
}

function withoutAudits(endpoint: LocalEndpoint, closed: ReadonlyMap<string, OverLimit>): LocalEndpoint {
  if (closed.size === 0) return endpoint;
  const audits = Object.entries(endpoint.audits).filter(([, key]) => !closed.has(key));
  return { ...endpoint, audits: Object.fromEntries(audits) };
}

function smallestFirst<T extends { readonly key: string }>(
  all: readonly T[],
  sizeOf: (one: T) => number,
): readonly (readonly [size: number, one: T])[] {
  return all
    .map((one) => [sizeOf(one), one] as const)
    .sort(([size, one], [other, another]) => size - other || compareText(one.key, another.key));
}

/** What is left of the limits. Sets that several programs share count once. */
class Room {
  readonly #limits: NamespaceLimits;
  readonly #setShare: number;
  readonly #peers: PeerSets;
  /** Keys of the sets of what was admitted, and of what was tried. */
  readonly #held: Set<string>;
  readonly #used = new Set<string>();
  /** Of whatever was compiled: what does not fit counts, so that it is the same whatever others leave. */
  readonly #wanted = new Set<string>();
  #rules: number;
  #work: number;
  #cost: SetCost;

  constructor(limits: NamespaceLimits, setShare: number, peers: PeerSets, held: Set<string>) {
    this.#limits = limits;
    this.#setShare = setShare;
    this.#peers = peers;
    this.#held = held;
    this.#rules = limits.rules;
    this.#work = limits.work;
    this.#cost = limits;
  }

  takeWork(bytes: number): boolean {
    this.#work -= bytes;
    return this.#work >= 0;
  }

  get wantedSets(): number {
    return this.#wanted.size;
  }

  /** Makes the sets of the program if it fits; else the limit it is over. */
  *admit(one: CompiledProgram): Sliced<OverLimit | undefined> {
    if (one.ruleCount > this.#limits.programRules) return 'rules';
    yield* this.#want(one.allKeys);
    if (one.ruleCount > this.#rules) return 'rules';
    const fresh = one.allKeys.filter((set) => !this.#used.has(set));
    const sets = this.#used.size + fresh.length;
    if (sets > this.#limits.sets) return 'sets';
    if (sets > this.#setShare) return 'node-sets';
    for (const set of fresh) this.#held.add(set);
    const cost = yield* this.#peers.provide(fresh, one.plan, this.#cost);
    if (!cost) return 'entries';
    one.plan.clear();
    for (const set of fresh) this.#used.add(set);
    this.#rules -= one.ruleCount;
    const { entries, comparisons } = this.#cost;
    this.#cost = { entries: entries - cost.entries, comparisons: comparisons - cost.comparisons };
    return undefined;
  }

  *#want(keys: readonly string[]): Sliced<void> {
    let count = 0;
    for (const key of keys) {
      if (this.#wanted.size >= this.#limits.sets) return;
      this.#wanted.add(key.length <= MAX_COUNTED_KEY ? key : createHash('sha256').update(key).digest('base64'));
      if (++count % KEYS_PER_STEP === 0) yield;
    }
  }
}

function programOf(
  needed: NeededProgram,
  compiled: CompiledProgram | undefined,
  closed: OverLimit | undefined,
  before: NamespaceProgram | undefined,
): NamespaceProgram {
  const { key, direction, policies } = needed;
  const value =
    compiled && !closed
      ? compiled.value
      : {
          key,
          direction,
          policies: policies.map(refOf),
          stages: [networkPolicyStage([])],
          ...(closed ? { closed } : {}),
        };
  if (before && isSameValue(before.value, value))
    return { value: before.value, compiled: closed ? undefined : compiled };
  return { value, compiled: closed ? undefined : compiled };
}

function problemOf(
  { direction, policies }: NeededProgram,
  why: OverLimit,
  limits: NamespaceLimits,
  setShare: number,
): Problem {
  return {
    object: namesOf(policies),
    field: `spec.${direction}`,
    message: `${overLimitText(why, limits, setShare)}: the pods they select together are isolated and nothing is allowed to them. Write fewer or simpler rules`,
  };
}

function auditProblemOf({ direction, policies }: NeededProgram, why: OverLimit, limits: NamespaceLimits): Problem {
  return {
    object: namesOf(policies),
    field: `spec.${direction}`,
    message: `audited together, ${overLimitText(why, limits, limits.sets)}: nothing is counted for the pods they select together. Audit fewer at once`,
  };
}

function isCountedTogetherOnly({ key, policies }: NeededAudit, audits: ReadonlyMap<string, NamespaceProgram>): boolean {
  const together = audits.get(key);
  return together !== undefined && policies.length > 1 && !together.value.alone;
}

function notAloneProblemOf({ direction, policies }: NeededAudit): Problem {
  const why =
    policies.length > MAX_AUDITED_ALONE
      ? `more than ${MAX_AUDITED_ALONE} audited policies select the same pods`
      : "the namespace's audited policies have more rules, or ask for more sets, than are counted of each by itself";
  return {
    object: namesOf(policies),
    field: `spec.${direction}`,
    message: `${why}: what they would deny together is counted, and not what each would alone. Audit fewer at once`,
  };
}

function namesOf(policies: readonly Policy[]): Problem['object'] {
  const names = policies.slice(0, MAX_NAMES_IN_PROBLEM).map(({ name }) => name);
  const more = policies.length > names.length ? ` and ${policies.length - names.length} more` : '';
  return { kind: 'NetworkPolicy', namespace: policies[0]!.namespace, name: `${names.join(', ')}${more}` };
}

function overLimitText(why: OverLimit, limits: NamespaceLimits, setShare: number): string {
  switch (why) {
    case 'rules':
      return `needs more than ${limits.programRules} rules for one packet to walk through, or more than are left of ${limits.rules} for the namespace`;
    case 'sets':
      return `with the namespace's other policies for pods of this node, needs more than ${limits.sets} IP sets`;
    case 'node-sets':
      return `with the namespace's other policies for pods of this node, needs more than ${setShare} IP sets, which is what each namespace gets while all together ask for more than ${limits.nodeSets}`;
    case 'entries':
      return `with the namespace's other policies for pods of this node, needs more than ${limits.entries} entries in IP sets, or selects too many pods in too many ways`;
    case 'work':
      return `with the namespace's other policies for pods of this node, has more than ${limits.work} bytes of rules to compile, counted for every combination of policies they are part of`;
  }
}
