/**
 * The programs of one namespace's local pods. Policies select pods of their own namespace only, so what one namespace's owner writes is
 * compiled by itself, and measured against the limits of one namespace (limits.ts). What a change costs is what it concerns: the pods that a
 * policy selects, the policies that select a pod.
 */
import type { PolicyMode } from '../core/vocabulary.ts';
import type { Labels, Policy, Problem } from '../policy/model.ts';
import type { LocalEndpoint, OverLimit } from './intent.ts';
import type { NeededProgram, ProgramCompiler } from './program-compiler.ts';
import type { PeerSets } from './peer-sets.ts';
import type { Sliced } from '../core/sliced.ts';
import type { Change } from '../core/versioned-map.ts';

import { compareText } from '../core/compare.ts';
import { PendingChanges } from '../core/pending-changes.ts';
import { isSameValue } from '../core/same-value.ts';
import { runSync } from '../core/sliced.ts';
import { MAX_AUDITED_ALONE, type NamespaceLimits, auditLimits } from './limits.ts';
import { type NamespaceProgram, type PoolDraft, ProgramPool } from './program-pool.ts';
import {
  type Followed,
  type GroupChange,
  LabelGroups,
  type Local,
  type Selected,
  stepsOfSelected,
} from './selected.ts';

/** What became of a namespace. */
export interface NamespaceChanges {
  readonly programs: readonly Change<string, NamespaceProgram>[];
  /** Of audited policies; without what is over a limit. */
  readonly audits: readonly Change<string, NamespaceProgram>[];
  /** By pod: those that policies select. */
  readonly endpoints: readonly Change<string, LocalEndpoint>[];
  /** Pods of this node that came, went, or have other addresses or another record; undefined: any of them may have. */
  readonly locals: readonly Change<string, Local>[] | undefined;
}

/** What all namespaces are compiled with. */
interface Common {
  readonly compiler: ProgramCompiler;
  readonly peers: PeerSets;
  readonly limits: NamespaceLimits;
}

/** Of one compilation. */
interface Request {
  /** By name. */
  readonly policies: ReadonlyMap<string, Policy>;
  /** By `namespace/name`. */
  readonly locals: ReadonlyMap<string, Local>;
  /** Of the policies that ask for none. */
  readonly mode: PolicyMode | undefined;
}

interface Room {
  /** The most sets it may have now, as all namespaces have to fit on the node. */
  readonly setShare: number;
  /** Gets the keys of the sets it makes. */
  readonly held: Set<string>;
}

/** What a compilation is to do. */
export interface Prepared {
  readonly request: Request;
  /** What it is put into, which may be what was before. */
  readonly state: State;
  readonly before: State | undefined;
  readonly followed: Followed;
  readonly groups: readonly GroupChange[];
  readonly draft: Draft;
}

/** Names in a Problem. */
const MAX_NAMES_IN_PROBLEM = 10;
/** Between two places to stop at. */
const PODS_PER_STEP = 100;
/** With more changes at once everything is looked at anew, in slices. */
const MAX_CHANGES = 200;

/** What is known of a namespace that is compiled. */
class State {
  readonly groups = new LabelGroups();
  readonly enforced: ProgramPool;
  readonly audited: ProgramPool;
  /** By pod. */
  readonly endpoints = new Map<string, LocalEndpoint>();
  problems: readonly Problem[] = [];
  mode: PolicyMode | undefined;
  setShare = 0;
  /** Endpoints lack audits that are over a limit. */
  hasClosedAudits = false;

  constructor(peers: PeerSets) {
    this.enforced = new ProgramPool(peers, false);
    this.audited = new ProgramPool(peers, true);
  }

  drop(): void {
    this.enforced.drop();
    this.audited.drop();
  }
}

/** One namespace with pods of this node. */
export class NamespacePrograms {
  readonly #common: Common;
  #state: State | undefined;
  readonly #policies = new PendingChanges<Policy>();
  readonly #locals = new PendingChanges<Local>();
  /** What changed since the state cannot be told. */
  #isAfresh = true;
  #stamp = 0;

  constructor(common: Common) {
    this.#common = common;
  }

  /** It is compiled from nothing the next time, with this mode of policies that ask for none. */
  isAfresh(mode: PolicyMode | undefined): boolean {
    const changes = this.#policies.size + this.#locals.size;
    return this.#isAfresh || !this.#state || this.#state.mode !== mode || changes > MAX_CHANGES;
  }

  get problems(): readonly Problem[] {
    return this.#state?.problems ?? [];
  }

  /** Sets that its programs ask for, up to the limit of a namespace, whether they got them or not. */
  get wantedSets(): number {
    return this.#state?.enforced.wantedSets ?? 0;
  }

  /** The most sets it might have when it was compiled. */
  get setShare(): number {
    return this.#state?.setShare ?? 0;
  }

  endpoint(pod: string): LocalEndpoint | undefined {
    return this.#state?.endpoints.get(pod);
  }

  program(key: string): NamespaceProgram | undefined {
    return this.#state?.enforced.programOf(key);
  }

  endpoints(): Iterable<LocalEndpoint> {
    return this.#state?.endpoints.values() ?? [];
  }

  /** Another number after each change, of what it is compiled from and of what it is. */
  get stamp(): number {
    return this.#stamp;
  }

  /** `before`: what it replaces. */
  policyChanged(name: string, before: Policy | undefined): void {
    this.#stamp++;
    this.#policies.note(name, before);
  }

  localChanged(key: string, before: Local | undefined): void {
    this.#stamp++;
    this.#locals.note(key, before);
  }

  /** What a compilation would have to do; nothing is another yet. */
  *prepare(request: Request): Sliced<Prepared> {
    const { policies, locals, mode } = request;
    const before = this.#state;
    const isAfresh = this.isAfresh(mode);
    if (isAfresh) this.#forgetChanges();
    const state = isAfresh ? new State(this.#common.peers) : before!;
    const followed: Followed = isAfresh
      ? { policies, mode, policyChanges: allOf(policies), localChanges: allOf(locals) }
      : { policies, mode, policyChanges: this.#policies.list(policies), localChanges: this.#locals.list(locals) };
    const groups = yield* state.groups.changes(followed, before?.groups);
    const draft = new Draft(this.#common, state, before);
    yield* draft.follow(groups);
    return { request, state, before, followed, groups, draft };
  }

  /** Result: puts it in the place of what was. Not to be called once something else was put there. */
  *compile(prepared: Prepared, room: Room): Sliced<() => NamespaceChanges> {
    const { request, state, before, followed, groups, draft } = prepared;
    const isAfresh = state !== before;
    yield* draft.compile(room);
    const endpoints = yield* draft.endpoints(followed, groups);
    if (isAfresh) {
      yield* state.groups.commit(followed, groups);
      yield* draft.commitAhead();
    }
    return () => {
      if (!isAfresh) runSync(state.groups.commit(followed, groups));
      this.#policies.taken(followed.policyChanges, request.policies);
      this.#locals.taken(followed.localChanges, request.locals);
      this.#isAfresh = false;
      this.#state = state;
      this.#stamp++;
      state.mode = request.mode;
      state.setShare = room.setShare;
      return { ...draft.commit(endpoints), locals: isAfresh ? undefined : followed.localChanges };
    };
  }

  /** The next time it is compiled from nothing. */
  doubt(): void {
    this.#stamp++;
    this.#isAfresh = true;
  }

  /** Pods of this node, as compiled. */
  locals(): Iterable<Local> {
    return this.#state?.groups.allPods() ?? [];
  }

  /** From now on what changes is noted as since now; until all is compiled anew nothing else will do. */
  #forgetChanges(): void {
    this.#isAfresh = true;
    this.#policies.clear();
    this.#locals.clear();
  }

  /** It has no policies, or no pods of this node, any more. */
  clear(): NamespaceChanges {
    const state = this.#state;
    this.#state = undefined;
    this.#stamp++;
    this.#forgetChanges();
    state?.drop();
    return {
      programs: goneOf(programsOf(state?.enforced)),
      audits: goneOf(programsOf(state?.audited)),
      endpoints: goneOf(state?.endpoints ?? []),
      locals: undefined,
    };
  }
}

function allOf<V>(map: ReadonlyMap<string, V>): readonly Change<string, V>[] {
  return [...map].map(([key, after]) => ({ key, before: undefined, after }));
}

function goneOf<V>(entries: Iterable<readonly [string, V]>): readonly Change<string, V>[] {
  return [...entries].map(([key, before]) => ({ key, before, after: undefined }));
}

function* programsOf(pool: ProgramPool | undefined): Iterable<readonly [string, NamespaceProgram]> {
  for (const [key, { program }] of pool?.entries ?? []) if (program) yield [key, program];
}

/** What a state is to be. `before`: what was there, which the state may be. */
class Draft {
  readonly #common: Common;
  readonly #state: State;
  readonly #before: State | undefined;
  readonly #enforced: PoolDraft;
  readonly #audited: PoolDraft;
  #isAuditTouched = false;
  #problems: readonly Problem[];
  #closedAudits: ReadonlySet<string> = new Set();

  constructor(common: Common, state: State, before: State | undefined) {
    this.#common = common;
    this.#state = state;
    this.#before = before;
    this.#enforced = state.enforced.draft(common.compiler, before?.enforced);
    this.#audited = state.audited.draft(common.compiler, before?.audited);
    this.#problems = state.problems;
  }

  /** Takes in which programs pods need. What one kind of pods no longer needs another may need from now on. */
  *follow(groups: readonly GroupChange[]): Sliced<void> {
    const isStep = stepsOfSelected();
    for (const { after } of groups) {
      for (const each of after?.programs ?? []) this.#enforced.need(each);
      for (const each of after?.audits ?? []) {
        this.#audited.need(each);
        for (const one of each.alone) this.#audited.need(one, 'aloneUses');
      }
      if (isStep(after?.policies ?? [])) yield;
    }
    for (const { before } of groups) {
      for (const each of before?.programs ?? []) this.#enforced.release(each);
      for (const each of before?.audits ?? []) {
        this.#audited.release(each);
        for (const one of each.alone) this.#audited.release(one, 'aloneUses');
      }
      if (isStep(before?.policies ?? [])) yield;
    }
    const audits = (selected: Selected | undefined): number => selected?.audits.length ?? 0;
    this.#isAuditTouched = groups.some(({ before, after }) => audits(before) + audits(after) > 0);
  }

  bytes(): number {
    return this.#enforced.bytes() + this.#audited.bytes();
  }

  *compile({ setShare, held }: Room): Sliced<void> {
    const { limits } = this.#common;
    const most = auditLimits(limits);
    yield* this.#enforced.compile({ ...this.#common, setShare, held });
    yield* this.#audited.compile({ ...this.#common, limits: most, setShare: most.sets, held });
    const closed = [...this.#enforced.closed()];
    const closedAudits = [...this.#audited.closed()];
    this.#closedAudits = new Set(closedAudits.map(([{ key }]) => key));
    if (closed.length + closedAudits.length + this.#problems.length === 0 && !this.#isAuditTouched) return;
    const notAlone = [...this.#audited.programs()].filter(([{ policies }, program]) => {
      return program !== undefined && policies.length > 1 && !program.value.alone;
    });
    this.#problems = [
      ...closed.map(([needed, why]) => problemOf(needed, why, limits, setShare)),
      ...closedAudits.map(([needed, why]) => auditProblemOf(needed, why, most)),
      ...notAlone.toSorted(([a], [b]) => compareText(a.key, b.key)).map(([needed]) => notAloneProblemOf(needed)),
    ];
  }

  /** Of the pods that any policy selects: those that are others. */
  *endpoints(
    { localChanges }: Followed,
    groups: readonly GroupChange[],
  ): Sliced<readonly Change<string, LocalEndpoint>[]> {
    const selected = new Map<Labels, Selected | undefined>(groups.map(({ labels, after }) => [labels, after]));
    const isAny = this.#state !== this.#before || this.#state.hasClosedAudits || this.#closedAudits.size > 0;
    const concerned = new Map<string, Local | undefined>();
    for (const key of isAny ? (this.#before?.endpoints.keys() ?? []) : []) concerned.set(key, undefined);
    for (const local of isAny ? this.#state.groups.allPods() : this.#podsOf(groups)) concerned.set(local.key, local);
    for (const { key, after } of localChanges) concerned.set(key, after);
    const changes: Change<string, LocalEndpoint>[] = [];
    let count = 0;
    for (const [key, local] of concerned) {
      if (++count % PODS_PER_STEP === 0) yield;
      const before = this.#before?.endpoints.get(key);
      const by = local && (selected.get(local.pod.labels) ?? this.#state.groups.get(local.pod.labels));
      const after = local && by && by.policies.length > 0 ? this.#endpointOf(local, by.keys, before) : undefined;
      if (before !== after) changes.push({ key, before, after });
    }
    return changes;
  }

  /** Of kinds that are in other programs than before. */
  *#podsOf(groups: readonly GroupChange[]): Iterable<Local> {
    for (const { labels, before, after } of groups) {
      if (before?.keys === after?.keys && (before?.policies.length === 0) === (after?.policies.length === 0)) continue;
      yield* this.#state.groups.pods(labels);
    }
  }

  #endpointOf(local: Local, keys: Selected['keys'], before: LocalEndpoint | undefined): LocalEndpoint {
    const audits = this.#closedAudits.size === 0 ? keys.audits : withoutClosed(keys.audits, this.#closedAudits);
    if (before && isStill(before, local.addresses, keys.programs, audits)) return before;
    const endpoint = { pod: local.key, addresses: [...local.addresses].sort(), programs: keys.programs, audits };
    return before && isSameValue(before, endpoint) ? before : endpoint;
  }

  *commitAhead(): Sliced<void> {
    yield* this.#enforced.commitAhead();
    yield* this.#audited.commitAhead();
  }

  commit(endpoints: readonly Change<string, LocalEndpoint>[]): Omit<NamespaceChanges, 'locals'> {
    const [state, before] = [this.#state, this.#before];
    state.problems = this.#problems;
    state.hasClosedAudits = this.#closedAudits.size > 0;
    const programs = this.#enforced.commit();
    const audits = this.#audited.commit();
    if (state !== before) for (const [key, endpoint] of before?.endpoints ?? []) state.endpoints.set(key, endpoint);
    for (const { key, after } of endpoints) {
      if (after) state.endpoints.set(key, after);
      else state.endpoints.delete(key);
    }
    if (!before || state === before) return { programs, audits, endpoints };
    before.drop();
    return {
      programs: differences(before.enforced, state.enforced),
      audits: differences(before.audited, state.audited),
      endpoints,
    };
  }
}

function differences(before: ProgramPool, after: ProgramPool): readonly Change<string, NamespaceProgram>[] {
  const keys = new Set([...before.entries.keys(), ...after.entries.keys()]);
  return [...keys].flatMap((key) => {
    const change = { key, before: before.programOf(key), after: after.programOf(key) };
    return change.before === change.after ? [] : [change];
  });
}

function isStill(
  endpoint: LocalEndpoint,
  addresses: ReadonlySet<string>,
  programs: LocalEndpoint['programs'],
  audits: LocalEndpoint['audits'],
): boolean {
  if (endpoint.programs !== programs || endpoint.audits !== audits) return false;
  return endpoint.addresses.length === addresses.size && endpoint.addresses.every((each) => addresses.has(each));
}

function withoutClosed(audits: LocalEndpoint['audits'], closed: ReadonlySet<string>): LocalEndpoint['audits'] {
  return Object.fromEntries(Object.entries(audits).filter(([, key]) => !closed.has(key)));
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

function notAloneProblemOf({ direction, policies }: NeededProgram): Problem {
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
