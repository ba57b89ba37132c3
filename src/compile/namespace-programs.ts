/**
 * The programs of one namespace's local pods. Policies select pods of their own namespace only, so what one namespace's owner writes is
 * compiled by itself, again only when it changes, and measured against the limits of one namespace (limits.ts).
 */
import { createHash } from 'node:crypto';
import type { Direction, PolicyMode } from '../core/vocabulary.ts';
import type { Pod, Policy, Problem } from '../policy/model.ts';
import type { ProgramCompiler, CompiledProgram, NeededProgram } from './program-compiler.ts';
import type { OverLimit, Program, LocalEndpoint } from './intent.ts';
import { type NamespaceLimits, auditLimits } from './limits.ts';
import type { PeerSets, SetCost } from './peer-sets.ts';
import type { Sliced } from '../core/sliced.ts';

import { DIRECTIONS } from '../core/vocabulary.ts';
import { UNKNOWN_LABELS, objectKey } from '../policy/model.ts';
import { matches, mayMatch } from '../policy/selector.ts';
import { networkPolicyStage } from './program.ts';
import { refOf } from './program-compiler.ts';
import { CoSelection } from './co-selection.ts';
import { isSameValue } from '../core/same-value.ts';
import { compareText, isSameList } from '../core/compare.ts';

/** A local pod with the addresses it owns. */
interface Local {
  readonly pod: Pod;
  readonly addresses: ReadonlySet<string>;
}

export interface NamespaceProgram {
  readonly value: Program;
  /** Absent: closed. */
  readonly compiled: CompiledProgram | undefined;
}

export interface NamespacePrograms {
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
  endpoints: [],
  programs: new Map(),
  audits: new Map(),
  policies: new Set(),
  problems: [],
  wantedSets: 0,
};

/** Names in the key of a program up to this many policies; a hash of them beyond. */
const MAX_NAMES_IN_KEY = 64;
/** Names in a Problem. */
const MAX_NAMES_IN_PROBLEM = 10;
/** Keys of sets up to this length are counted by themselves; by a hash of them beyond. */
const MAX_COUNTED_KEY = 256;

/**
 * `mode`: of the policies that ask for none. `setShare`: the most sets it may have now, as all namespaces have to fit on the node. `before`: what
 * they were, for what did not change to be the same objects. `held`: gets the keys of the sets it makes.
 */
export function* namespacePrograms(
  compiler: ProgramCompiler,
  peers: PeerSets,
  limits: NamespaceLimits,
  setShare: number,
  policies: Iterable<Policy>,
  mode: PolicyMode | undefined,
  locals: readonly Local[],
  before: NamespacePrograms,
  held: Set<string>,
): Sliced<NamespacePrograms> {
  const [enforced, audited] = [[], []] as [Policy[], Policy[]];
  for (const policy of [...policies].sort(byName))
    ((policy.mode ?? mode) === 'audit' ? audited : enforced).push(policy);
  const found = yield* classify(enforced, audited, locals, before.endpoints);
  const room = new Room(limits, setShare, peers, held);
  const { programs, closed } = yield* compileAll(compiler, limits, room, found.needed, before.programs);
  const most = auditLimits(limits);
  const audits = yield* compileAll(
    compiler,
    most,
    new Room(most, most.sets, peers, held),
    found.neededAudits,
    before.audits,
  );
  // What is audited needs not be closed.
  for (const key of audits.closed.keys()) audits.programs.delete(key);
  const problems = [
    ...[...closed].map(([key, why]) => problemOf(found.needed.get(key)!, why, limits, setShare)),
    ...[...audits.closed].map(([key, why]) => auditProblemOf(found.neededAudits.get(key)!, why, most)),
  ];
  const selecting = new Set<Policy>();
  for (const each of [...found.needed.values(), ...found.neededAudits.values()])
    for (const policy of each.policies) selecting.add(policy);
  const endpoints = found.endpoints.map((endpoint) => withoutAudits(endpoint, audits.closed));
  return {
    endpoints,
    programs,
    audits: audits.programs,
    policies: selecting,
    problems,
    wantedSets: room.wantedSets,
  };
}

/** By key, sorted by it. */
function* compileAll(
  compiler: ProgramCompiler,
  limits: NamespaceLimits,
  room: Room,
  needed: ReadonlyMap<string, NeededProgram>,
  before: ReadonlyMap<string, NamespaceProgram>,
): Sliced<{ readonly programs: Map<string, NamespaceProgram>; readonly closed: ReadonlyMap<string, OverLimit> }> {
  const coSelection = { ingress: new CoSelection(), egress: new CoSelection() };
  for (const each of needed.values()) {
    coSelection[each.direction].add(each.policies);
    yield;
  }
  const closed = new Map<string, OverLimit>();
  const compiled = new Map<string, CompiledProgram>();
  // One by one, since what a program is made of takes many times what is left of it.
  for (const each of smallestFirst([...needed.values()], (one) => compiler.bytesOf(one))) {
    if (!room.takeWork(compiler.bytesOf(each))) {
      closed.set(each.key, 'work');
      continue;
    }
    const coSelected = coSelection[each.direction].groupsOf(each.policies);
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

function withoutAudits(endpoint: LocalEndpoint, closed: ReadonlyMap<string, OverLimit>): LocalEndpoint {
  if (closed.size === 0) return endpoint;
  const audits = Object.entries(endpoint.audits).filter(([, key]) => !closed.has(key));
  return { ...endpoint, audits: Object.fromEntries(audits) };
}

/** The pods' program per direction (S-03), and that of audited policies. Pods with the same labels have the same programs. */
function* classify(
  enforced: readonly Policy[],
  audited: readonly Policy[],
  locals: readonly Local[],
  before: readonly LocalEndpoint[],
): Sliced<{
  readonly endpoints: readonly LocalEndpoint[];
  readonly needed: ReadonlyMap<string, NeededProgram>;
  readonly neededAudits: ReadonlyMap<string, NeededProgram>;
}> {
  const known = new Map(before.map((endpoint) => [endpoint.pod, endpoint]));
  const byLabels = new Map<Pod['labels'], Found>();
  const needed = new Map<string, NeededProgram>();
  const neededAudits = new Map<string, NeededProgram>();
  const endpoints: LocalEndpoint[] = [];
  for (const { pod, addresses } of locals) {
    const found = byLabels.get(pod.labels) ?? {
      programs: programsOf(enforced, pod.labels),
      audits: programsOf(audited, pod.labels).map((each) => ({ ...each, key: auditKey(each.key) })),
    };
    byLabels.set(pod.labels, found);
    yield;
    const { programs, audits } = found;
    if (programs.length + audits.length === 0) continue;
    for (const each of programs) needed.set(each.key, each);
    for (const each of audits) neededAudits.set(each.key, each);
    const endpoint: LocalEndpoint = {
      pod: objectKey(pod),
      addresses: [...addresses].sort(),
      programs: keysOf(programs),
      audits: keysOf(audits),
    };
    const same = known.get(endpoint.pod);
    endpoints.push(same && isSameValue(same, endpoint) ? same : endpoint);
  }
  return { endpoints, needed, neededAudits };
}

interface Found {
  readonly programs: readonly NeededProgram[];
  readonly audits: readonly NeededProgram[];
}

function keysOf(found: readonly NeededProgram[]): LocalEndpoint['programs'] {
  return Object.fromEntries(found.map(({ direction, key }) => [direction, key]));
}

/** Of those policies that may select pods with these labels. Where that is not sure, they isolate and allow nothing. */
function programsOf(all: readonly Policy[], labels: Pod['labels']): readonly NeededProgram[] {
  const selecting = all.filter(({ podSelector }) => mayMatch(podSelector, labels));
  return DIRECTIONS.flatMap((direction) => {
    const isolating = selecting.filter((policy) => policy.isolates[direction]);
    const policies = isolating.map((policy) => (matches(policy.podSelector, labels) ? policy : withoutRules(policy)));
    return policies.length === 0 ? [] : [{ key: programKey(direction, policies, labels), direction, policies }];
  });
}

/** No key of a program. */
function auditKey(key: string): string {
  return `audit ${key}`;
}

function withoutRules({ namespace, name, uid, podSelector, isolates, mode }: Policy): Policy {
  return { namespace, name, uid, podSelector, isolates, ...(mode ? { mode } : {}), ingress: [], egress: [] };
}

function programKey(direction: Direction, policies: readonly Policy[], labels: Pod['labels']): string {
  const all = policies.map((policy) => [policy.namespace, policy.name]);
  const names = labels === UNKNOWN_LABELS ? [...all, ['labels unknown']] : all;
  if (names.length <= MAX_NAMES_IN_KEY) return JSON.stringify([direction, ...names]);
  const hash = createHash('sha256').update(JSON.stringify(names)).digest('hex');
  return JSON.stringify([direction, policies[0]!.namespace, names.length, hash]);
}

function smallestFirst<T extends { readonly key: string }>(
  all: readonly T[],
  sizeOf: (one: T) => number,
): readonly T[] {
  const sizes = new Map(all.map((one) => [one, sizeOf(one)]));
  return all.toSorted((a, b) => sizes.get(a)! - sizes.get(b)! || compareText(a.key, b.key));
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
    const keys = [...new Set(allSetKeys(one))];
    yield* this.#want(keys);
    if (one.ruleCount > this.#rules) return 'rules';
    const fresh = keys.filter((set) => !this.#used.has(set));
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
    for (const key of keys) {
      if (this.#wanted.size >= this.#limits.sets) return;
      this.#wanted.add(key.length <= MAX_COUNTED_KEY ? key : createHash('sha256').update(key).digest('base64'));
      yield;
    }
  }
}

function allSetKeys({ setKeys, endpointPorts }: CompiledProgram): readonly string[] {
  return [...setKeys, ...endpointPorts.flatMap(({ keys }) => [keys[4], keys[6]])];
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

function byName(a: Policy, b: Policy): number {
  return compareText(a.name, b.name);
}
