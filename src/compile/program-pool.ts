/**
 * The programs that the pods of one namespace need, enforced or audited, within its limits. As long as all of them fit, what changes is
 * compiled and counted alone; where they do not, all are gone through, the smallest first, so that what fits depends on policies and pods alone.
 */
import { hash } from 'node:crypto';
import type { Sliced } from '../core/sliced.ts';
import type { Change } from '../core/versioned-map.ts';
import type { OverLimit, Program } from './intent.ts';
import type { NamespaceLimits } from './limits.ts';
import type { PeerSets, SetAccount, SetCost } from './peer-sets.ts';
import type { CompiledProgram, NeededProgram, ProgramCompiler } from './program-compiler.ts';

import { compareText, isSameList } from '../core/compare.ts';
import { DraftMap } from '../core/draft-map.ts';
import { isSameValue } from '../core/same-value.ts';
import { runSync } from '../core/sliced.ts';
import { CoSelection, type CoSelectionDraft } from './co-selection.ts';
import { networkPolicyStage } from './program.ts';
import { refOf } from './program-compiler.ts';

export interface NamespaceProgram {
  readonly value: Program;
  /** Absent: closed. */
  readonly compiled: CompiledProgram | undefined;
  readonly needed: NeededProgram;
}

/** `alone`: of an audited program of several policies, the programs of each. */
type Needed = NeededProgram & { readonly alone?: readonly NeededProgram[] };

/** A program that pods need. */
interface Entry {
  readonly needed: Needed;
  readonly bytes: number;
  /** How many kinds of pods need it. */
  readonly uses: number;
  /** How many programs of several audited policies have it for one of theirs. */
  readonly aloneUses: number;
  /** Absent: audited, and over a limit. */
  readonly program: NamespaceProgram | undefined;
}

/** Who needs a program: pods, or one that is counted policy by policy. */
type Role = 'uses' | 'aloneUses';

/** What one compilation is given. */
export interface Compilation {
  readonly compiler: ProgramCompiler;
  readonly peers: PeerSets;
  readonly limits: NamespaceLimits;
  /** The most sets it may have now, as all namespaces have to fit on the node. */
  readonly setShare: number;
  /** Gets the keys of the sets it makes. */
  readonly held: Set<string>;
}

/** Keys of sets up to this length are counted by themselves; by a hash of them beyond. */
const MAX_COUNTED_KEY = 256;
/** Between two places to stop at. */
const KEYS_PER_STEP = 100;

export class ProgramPool {
  readonly entries = new Map<string, Entry>();
  readonly coSelection = new CoSelection();
  /** How many programs speak of each set. */
  readonly sets = new Map<string, number>();
  readonly account: SetAccount;
  /** Sums over all programs. */
  rules = 0;
  work = 0;
  /** Sets that its programs ask for, up to the limit, whether they got them or not. */
  wantedSets = 0;
  /** What is over a limit, and which. */
  closed: ReadonlyMap<string, OverLimit> = new Map();
  readonly isAudited: boolean;

  constructor(peers: PeerSets, isAudited: boolean) {
    this.account = peers.account();
    this.isAudited = isAudited;
  }

  /** Nobody asks it any more. */
  drop(): void {
    for (const key of this.sets.keys()) this.account.remove(key);
  }

  /** `before`: another pool, what of whose is the same stays the same object. */
  draft(compiler: ProgramCompiler, before?: ProgramPool): PoolDraft {
    return new PoolDraft(this, compiler, before);
  }

  programOf(key: string): NamespaceProgram | undefined {
    return this.entries.get(key)?.program;
  }
}

/** What a pool is to be; nothing of the pool changes before `commit`. */
export class PoolDraft {
  readonly #pool: ProgramPool;
  readonly #before: ProgramPool;
  readonly #compiler: ProgramCompiler;
  readonly #entries: DraftMap<string, Entry>;
  readonly #coSelection: CoSelectionDraft;
  #sets: DraftMap<string, number>;
  /** Keys of programs that came, went, or have other policies. */
  readonly #changed = new Set<string>();
  /** What is compiled in the draft. */
  readonly #compiled = new Map<string, CompiledProgram>();
  /** Keys of programs that may be others. */
  readonly #touched = new Set<string>();
  #rules: number;
  #work: number;
  #wantedSets: number;
  #closed: ReadonlyMap<string, OverLimit> = new Map();
  #isAhead = false;

  constructor(pool: ProgramPool, compiler: ProgramCompiler, before: ProgramPool | undefined) {
    this.#pool = pool;
    this.#before = before ?? pool;
    this.#compiler = compiler;
    this.#entries = new DraftMap(pool.entries);
    this.#coSelection = pool.coSelection.draft();
    this.#sets = new DraftMap(pool.sets);
    this.#rules = pool.rules;
    this.#work = pool.work;
    this.#wantedSets = pool.wantedSets;
  }

  need(needed: Needed, role: Role = 'uses'): void {
    this.#count(needed, role, 1);
  }

  release(needed: Needed, role: Role = 'uses'): void {
    this.#count(needed, role, -1);
  }

  #count(needed: Needed, role: Role, count: 1 | -1): void {
    const { key, names } = needed;
    const known = this.#entries.get(key);
    const isOther = count > 0 && !(known && isSameList(known.needed.policies, needed.policies));
    const [last, bytes] = isOther ? [needed, this.#compiler.bytesOf(needed)] : [known!.needed, known!.bytes];
    const uses = (known?.uses ?? 0) + (role === 'uses' ? count : 0);
    const aloneUses = (known?.aloneUses ?? 0) + (role === 'aloneUses' ? count : 0);
    if (isOther || uses + aloneUses === 0) this.#changed.add(key);
    if (role === 'uses' && uses === 1 && count === 1) this.#coSelection.add(key, names);
    if (role === 'uses' && uses === 0) this.#coSelection.remove(key, names);
    this.#entries.set(key, { needed: last, bytes, uses, aloneUses, program: known?.program });
  }

  /** What is over a limit of what pods need; after `compile`. */
  *closed(): Iterable<readonly [Needed, OverLimit]> {
    for (const [key, why] of this.#closed) {
      const { needed, uses } = this.#entries.get(key)!;
      if (uses > 0) yield [needed, why];
    }
  }

  /** What pods need; after `compile`. */
  *programs(): Iterable<readonly [Needed, NamespaceProgram | undefined]> {
    for (const { needed, uses, program } of this.#entries.values()) if (uses > 0) yield [needed, program];
  }

  /** In bytes of rules, what is to be compiled. Where limits are met it may be any of it. */
  bytes(): number {
    const entries = this.#pool.closed.size > 0 ? [...this.#entries.values()].filter(isNeeded) : this.#concerned();
    return entries.reduce((sum, entry) => sum + (this.#known(entry) ? 0 : entry.bytes), 0);
  }

  /** What may have to be compiled. */
  #concerned(): readonly Entry[] {
    const keys = new Set([...this.#changed, ...this.#coSelection.regrouped()]);
    return [...keys].flatMap((key) => this.#entries.get(key) ?? []).filter(isNeeded);
  }

  /** As it is needed now. */
  #known({ needed, program }: Entry): CompiledProgram | undefined {
    const coSelected = this.#coSelection.groupsOf(needed.names);
    const all = [this.#compiled.get(needed.key), program?.compiled, this.#before.programOf(needed.key)?.compiled];
    return all.find(
      (known) => known && isSameList(known.policies, needed.policies) && isSameList(known.coSelected, coSelected),
    );
  }

  *#compileOne(entry: Entry, { compiler, limits }: Compilation): Sliced<CompiledProgram> {
    const { needed } = entry;
    const known = this.#known(entry);
    if (known) return known;
    const compiled = yield* compiler.compile(needed, this.#coSelection.groupsOf(needed.names), limits.programRules);
    this.#compiled.set(needed.key, compiled);
    return compiled;
  }

  /** Compiles what is needed, as far as it fits, and makes the sets of it. */
  *compile(given: Compilation): Sliced<void> {
    const fits = this.#pool.closed.size === 0 && (yield* this.#compileChanged(given));
    if (!fits) yield* this.#compileAll(given);
  }

  /** False if not everything fits; what has changed so far is of no use then, but for what is compiled. */
  *#compileChanged(given: Compilation): Sliced<boolean> {
    const { limits, peers, held } = given;
    const fresh = this.#concerned().filter((entry) => !this.#isAsBefore(entry));
    const gone = [...this.#changed].filter((key) => !isNeeded(this.#entries.get(key)));
    const left: string[] = [];
    for (const key of [...gone, ...fresh.map(({ needed }) => needed.key)]) {
      this.#leave(key, left);
      yield;
    }
    for (const key of gone) this.#put(key, undefined, undefined);
    this.#work += fresh.reduce((sum, { bytes }) => sum + bytes, 0);
    if (this.#work > limits.work) return false;
    const without = peers.costOf(left);
    const added = { entries: 0, comparisons: 0 };
    const room = (): SetCost => {
      const now = this.#pool.account.cost();
      return {
        entries: limits.entries - (now.entries - without.entries + added.entries),
        comparisons: limits.comparisons - (now.comparisons - without.comparisons + added.comparisons),
      };
    };
    for (const entry of smallestFirst(fresh)) {
      const compiled = yield* this.#compileOne(entry, given);
      this.#rules += compiled.ruleCount;
      if (compiled.ruleCount > limits.programRules || this.#rules > limits.rules) return false;
      const keys = compiled.allKeys.filter((key) => this.#sets.get(key) === undefined);
      if (this.#sets.size + keys.length > mostSets(given)) return false;
      for (const key of compiled.allKeys) this.#sets.set(key, (this.#sets.get(key) ?? 0) + 1);
      for (const key of keys) held.add(key);
      const cost = yield* peers.provide(keys, compiled.plan, room());
      if (!cost) return false;
      compiled.plan.clear();
      added.entries += cost.entries;
      added.comparisons += cost.comparisons;
      this.#put(entry.needed.key, compiled, undefined);
      yield;
    }
    const { entries, comparisons } = room();
    if (this.#sets.size > mostSets(given) || entries < 0 || comparisons < 0) return false;
    this.#wantedSets = this.#sets.size;
    this.#addAlone(fresh);
    return true;
  }

  #isAsBefore(entry: Entry): boolean {
    const known = this.#pool.programOf(entry.needed.key)?.compiled;
    return known !== undefined && known === this.#known(entry);
  }

  /** Takes the program of before out of the sums; `left` gets the keys of sets that no other has. */
  #leave(key: string, left: string[]): void {
    const entry = this.#pool.entries.get(key);
    if (!entry) return;
    this.#work -= entry.bytes;
    const { compiled } = entry.program!;
    this.#rules -= compiled!.ruleCount;
    for (const set of compiled!.allKeys) {
      const uses = this.#sets.get(set)! - 1;
      this.#sets.set(set, uses > 0 ? uses : undefined);
      if (uses === 0) left.push(set);
    }
  }

  /** All that is needed, the smallest first, as far as the limits go; of what is counted alone what fits besides. */
  *#compileAll(given: Compilation): Sliced<void> {
    for (const key of this.#changed) if (!isNeeded(this.#entries.get(key))) this.#put(key, undefined, undefined);
    const all = smallestFirst([...this.#entries.values()]);
    const inOrder = [...all.filter(({ uses }) => uses > 0), ...all.filter(({ uses }) => uses === 0)];
    const room = new Room(given);
    const closed = new Map<string, OverLimit>();
    this.#sets = new DraftMap(this.#pool.sets);
    for (const key of this.#pool.sets.keys()) this.#sets.set(key, undefined);
    [this.#rules, this.#work] = [0, 0];
    // One by one, since what a program is made of takes many times what is left of it.
    for (const entry of inOrder) {
      const compiled = room.takeWork(entry.bytes) ? yield* this.#compileOne(entry, given) : undefined;
      const over = compiled ? yield* room.admit(compiled) : 'work';
      if (over) closed.set(entry.needed.key, over);
      else this.#admitted(entry, compiled!);
      this.#put(entry.needed.key, over ? undefined : compiled, over);
      yield;
    }
    this.#wantedSets = room.wantedSets;
    this.#closed = closed;
    this.#addAlone(inOrder);
  }

  #admitted({ bytes }: Entry, compiled: CompiledProgram): void {
    this.#work += bytes;
    this.#rules += compiled.ruleCount;
    for (const set of compiled.allKeys) this.#sets.set(set, (this.#sets.get(set) ?? 0) + 1);
  }

  /** What is audited needs not be closed: over a limit there is no program. */
  #put(key: string, compiled: CompiledProgram | undefined, closed: OverLimit | undefined): void {
    this.#touched.add(key);
    const entry = this.#entries.get(key)!;
    if (!isNeeded(entry)) this.#entries.set(key, undefined);
    else if (compiled) this.#setProgram(entry, compiled.value, compiled);
    else if (closed && !this.#pool.isAudited) this.#setProgram(entry, closedProgram(entry.needed, closed), undefined);
    else this.#entries.set(key, { ...entry, program: undefined });
  }

  #setProgram(entry: Entry, value: Program, compiled: CompiledProgram | undefined): void {
    const { needed } = entry;
    const known = this.#valueBefore(needed.key);
    const program = { value: known && isSameValue(known, value) ? known : value, compiled, needed };
    this.#entries.set(needed.key, { ...entry, program });
  }

  #valueBefore(key: string): Program | undefined {
    return (this.#pool.programOf(key) ?? this.#before.programOf(key))?.value;
  }

  /** To those of several audited policies what each is alone. All of them, or none: of those that are counted, the counts are whole. */
  #addAlone(entries: readonly Entry[]): void {
    for (const { needed } of entries) {
      const entry = this.#entries.get(needed.key);
      const { alone = [] } = needed;
      const programs = alone.flatMap(({ key }) => this.#entries.get(key)?.program?.value ?? []);
      if (!entry?.program?.compiled || programs.length === 0 || programs.length < alone.length) continue;
      const { compiled } = entry.program;
      this.#setProgram(entry, { ...compiled.value, alone: programs }, compiled);
    }
  }

  /** What of `commit` takes long, ahead of it: only of a pool that nobody else knows, and to be run to its end. */
  *commitAhead(): Sliced<void> {
    yield* this.#coSelection.commit();
    this.#isAhead = true;
  }

  /** Which programs are others now. */
  commit(): readonly Change<string, NamespaceProgram>[] {
    const pool = this.#pool;
    const changes: Change<string, NamespaceProgram>[] = [];
    for (const key of this.#touched) {
      const [before, after] = [pool.programOf(key), this.#entries.get(key)?.program];
      if (before !== after) changes.push({ key, before, after });
    }
    for (const [key, uses] of this.#sets.changes()) {
      if (uses === undefined) pool.account.remove(key);
      else if (!pool.sets.has(key)) pool.account.add(key);
    }
    this.#entries.commit();
    if (!this.#isAhead) runSync(this.#coSelection.commit());
    this.#sets.commit();
    pool.rules = this.#rules;
    pool.work = this.#work;
    pool.wantedSets = this.#wantedSets;
    pool.closed = this.#closed;
    return changes;
  }
}

function isNeeded(entry: Entry | undefined): entry is Entry {
  return entry !== undefined && entry.uses + entry.aloneUses > 0;
}

function mostSets({ limits, setShare }: Compilation): number {
  return Math.min(limits.sets, setShare);
}

function smallestFirst(entries: readonly Entry[]): readonly Entry[] {
  return entries.toSorted((a, b) => a.bytes - b.bytes || compareText(a.needed.key, b.needed.key));
}

function closedProgram({ key, direction, policies }: NeededProgram, closed: OverLimit): Program {
  return { key, direction, policies: policies.map(refOf), stages: [networkPolicyStage([])], closed };
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

  constructor({ limits, setShare, peers, held }: Compilation) {
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
      this.#wanted.add(key.length <= MAX_COUNTED_KEY ? key : hash('sha256', key, 'base64'));
      if (++count % KEYS_PER_STEP === 0) yield;
    }
  }
}
