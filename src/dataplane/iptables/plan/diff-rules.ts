/** The desired rules of one family against the observed ones: chains, jumps and generation. */
import type { Direction, Family } from '../../../core/vocabulary.ts';
import type { Sliced } from '../../../core/sliced.ts';
import type { Chain, ClassChain, Dispatch, FamilyRules, Hook, Layout, PortGuard, Ruleset } from '../rules/ruleset.ts';
import type { TextContext } from '../rules/write-text.ts';
import type { HookLines } from './hooks.ts';
import type { ObservedFamily, Plan, PlanLine } from './plan.ts';
import type { Moves, MovesByDirection } from './switch-over.ts';

import { dispatchChains } from '../render/dispatch.ts';
import { lowBits } from '../rules/low-bits.ts';
import { expressibleChains } from '../rules/features.ts';
import { emptyGuardChains, guardChains } from '../render/guards.ts';
import {
  FORWARD_CHAIN,
  dispatchChain,
  isDispatchChain,
  isGuardChain,
  replyDispatchChain,
  replyOfClass,
} from '../rules/names.ts';
import { chainsOfClass, closedClass } from '../render/render-node.ts';
import { EVERY_PACKET, referredSets, ruleText } from '../rules/write-text.ts';
import { nextGeneration, readGeneration } from './generation.ts';
import { hooksAfter, misplacedHooks, placeHooks } from './hooks.ts';
import { sameLines } from './same-lines.ts';

const DIRECTIONS = ['egress', 'ingress'] as const satisfies readonly Direction[];

export interface RulesOptions {
  /** Chains and sets the kernel refused. */
  readonly broken: ReadonlySet<string>;
  /** Sets that are not full yet. */
  readonly waiting: Pick<ReadonlySet<string>, 'has' | 'size'>;
  /** The last generation we know of, should the kernel hold none. */
  readonly lastGeneration: number | undefined;
  /** The generation to begin with on a host that never had one. */
  readonly firstGeneration: number;
  /** The generation to go to, or to begin with: one that no flow carries, or EVERY_PACKET. The next number if absent. */
  readonly spareGeneration: number | undefined;
}

export interface RulesDiff {
  readonly family: Family;
  /** All our chains as they will be. */
  readonly chains: ReadonlyMap<string, readonly string[]>;
  readonly hooks: ObservedFamily['hooks'];
  /** Our rules in the built-in chains as they will be; absent if nothing changes. */
  readonly hookLines?: HookLines;
  /** Hooks where they were not what we had left there. */
  readonly misplaced: readonly Hook[];
  /** Chains that have to go. */
  readonly stale: readonly string[];
  readonly moves: MovesByDirection;
  readonly heldBack: Plan['heldBack'];
  /** Addresses that wait for their sets to be filled. */
  readonly waiting: number;
  readonly marked: boolean;
  /** The generation in force afterwards; absent without marks. */
  readonly generation: number | undefined;
  readonly isBumped: boolean;
}

/** `cuts`: what happens to sets makes live flows be judged again, whatever the rules say. */
export function* diffRules(
  desired: Ruleset,
  before: ObservedFamily,
  rules: FamilyRules,
  cuts: boolean,
  options: RulesOptions,
): Sliced<RulesDiff> {
  const isWhole = options.broken.size === 0 && options.waiting.size === 0;
  const still = before.source === rules && isWhole && !cuts ? unchanged(desired, before, rules) : undefined;
  if (still && !isEpochFoundFor(still.generation, options)) return still;
  const { layout } = desired;
  const { family } = rules;
  const { dispatch, heldBack, waiting, closed } = effectiveDispatch(layout, rules, before, options);
  const plain: TextContext = { family, generation: 0, ...(layout.marks ? { marks: layout.marks } : {}) };
  const { guards, closed: closedGuards } = usableGuards(layout, rules, options.broken);
  const classes = classesInUse(layout, rules, dispatch, guards, new Set([...closed, ...closedGuards]));
  const own = [
    ...dispatchChains(dispatch, family, layout),
    // Where they cannot be used, they are there all the same, as the entry chains jump to them.
    ...emptyGuardChains(rules.guards, layout),
    ...expressibleChains(guardChains(guards, layout), family, layout),
    ...classes.flatMap(chainsOfClass),
  ];
  const chains = new Map<string, readonly string[]>();
  for (const chain of own) {
    chains.set(chain.name, chainLines(chain, plain));
    yield;
  }
  for (const name of chainsHeldTo(dispatch, before)) if (!chains.has(name)) chains.set(name, before.chains.get(name)!);
  // Read now, a part at a time; what follows finds them read.
  for (const direction of DIRECTIONS) {
    currentTargets(before, direction);
    yield;
  }
  const { generation, isBumped, entry, misplaced } = yield* findEntry(desired, before, rules, options, function* () {
    if (cuts || dispatchDrifted(before, chains) || guardsTighten(before, chains)) return true;
    return yield* tightens(dispatch, chains, before);
  });
  for (const [name, lines] of entry.chains) chains.set(name, lines);
  yield;
  const stale: string[] = [];
  for (const [name, lines] of before.chains) {
    if (chains.has(name)) continue;
    // The kernel would not let go of it: a rule that is not ours refers to it.
    if (options.broken.has(name)) chains.set(name, lines);
    else stale.push(name);
  }
  const moves = {
    egress: yield* movesOf(dispatch.egress, currentTargets(before, 'egress'), chains, before),
    ingress: yield* movesOf(dispatch.ingress, currentTargets(before, 'ingress'), chains, before),
  };
  yield;
  return {
    family,
    chains,
    hooks: hooksAfter(entry.hooks, before),
    hookLines: entry.hooks,
    misplaced,
    stale,
    moves,
    heldBack,
    waiting,
    marked: generation !== undefined,
    generation,
    isBumped,
  };
}

/** The kernel holds these very rules, written by us and disturbed by nobody. */
function unchanged(desired: Ruleset, before: ObservedFamily, rules: FamilyRules): RulesDiff {
  const { mode, marks } = desired.layout;
  const generation = mode === 'enforce' && marks ? readGeneration(before, marks) : undefined;
  const still = (direction: Direction): Moves => ({
    addresses: NOTHING,
    sets: NOTHING,
    subjects: rules.dispatch[direction],
  });
  return {
    family: rules.family,
    chains: before.chains,
    hooks: before.hooks,
    misplaced: [],
    stale: [],
    moves: { egress: still('egress'), ingress: still('ingress') },
    heldBack: [],
    waiting: 0,
    marked: generation !== undefined,
    generation,
    isBumped: false,
  };
}

const NOTHING: ReadonlySet<string> = new Set();

/** Every packet of live flows is judged now, and need not be any longer. */
function isEpochFoundFor(generation: number | undefined, { spareGeneration }: RulesOptions): boolean {
  return generation === EVERY_PACKET && spareGeneration !== EVERY_PACKET;
}

/** Where packets come in, as text. */
interface Entry {
  readonly hooks: HookLines;
  readonly chains: ReadonlyMap<string, readonly string[]>;
}

/** The entry with the generation to stamp: the one in force, or the next if live flows have to be judged again. */
function* findEntry(
  desired: Ruleset,
  before: ObservedFamily,
  rules: FamilyRules,
  options: RulesOptions,
  tightened: () => Sliced<boolean>,
): Sliced<{ generation: number | undefined; isBumped: boolean; entry: Entry; misplaced: readonly Hook[] }> {
  const { layout } = desired;
  const marks = layout.mode === 'enforce' ? layout.marks : undefined;
  const entryAt = (generation: number): Entry =>
    entryText(rules, { family: rules.family, generation, ...(marks ? { marks } : {}) });
  const begin = (generation: number | undefined) => {
    const entry = entryAt(generation ?? 0);
    return { generation, isBumped: false, entry, misplaced: misplacedHooks(entry.hooks, before) };
  };
  if (!marks) return begin(undefined);
  const last = readGeneration(before, marks) ?? options.lastGeneration;
  // Nothing was ever stamped here: the first generation is as good as the next.
  if (last === undefined && before.chains.size === 0) return begin(options.spareGeneration ?? options.firstGeneration);
  const now = begin(last ?? options.firstGeneration);
  const isEdited = [...now.entry.chains].some(([name, lines]) => isEntryEdited(lines, before.chains.get(name)));
  const isFound = isEpochFoundFor(now.generation, options);
  if (!isEdited && now.misplaced.length === 0 && !isFound && !(yield* tightened())) return now;
  const next = options.spareGeneration ?? nextGeneration(now.generation!, marks);
  // The epoch in force is no next one. Where every packet is judged there is nothing to advance.
  const generation = next === now.generation ? EVERY_PACKET : next;
  return { generation, isBumped: generation !== now.generation, entry: entryAt(generation), misplaced: now.misplaced };
}

/** A jump that is not needed any more, as no interface is guarded, lets nothing through that these rules would not. */
function isEntryEdited(lines: readonly string[], before: readonly string[] | undefined): boolean {
  const needless = (line: string): boolean => GUARD_JUMP.test(line) && !lines.includes(line);
  return !sameLines(lines, before?.some(needless) ? before.filter((line) => !needless(line)) : before);
}

const GUARD_JUMP = /^-j PCL-P[EI]R?$/;

function entryText({ hooks, entry }: FamilyRules, context: TextContext): Entry {
  const text = (hook: Hook): string[] => hooks[hook].map((rule) => ruleText(rule, context));
  return {
    hooks: { FORWARD: text('FORWARD'), INPUT: text('INPUT') },
    chains: new Map(entry.map((chain) => [chain.name, chainLines(chain, context)])),
  };
}

/** The text of rules, as written last; the renderer gives the same list as long as nothing in it changed. */
const written = new WeakMap<Chain['rules'], { readonly context: TextContext; readonly lines: readonly string[] }>();

function chainLines({ rules }: Chain, context: TextContext): readonly string[] {
  const known = written.get(rules);
  if (known && sameContext(known.context, context)) return known.lines;
  const lines = rules.map((rule) => ruleText(rule, context));
  written.set(rules, { context, lines });
  return lines;
}

function sameContext(a: TextContext, b: TextContext): boolean {
  return a === b || (a.family === b.family && a.generation === b.generation && a.marks?.mask === b.marks?.mask);
}

// ------------------------------------------------------------------------------------------------------------ dispatch

/** The dispatch with broken chains replaced: by the chain the address has now, else by one that denies everything. */
function effectiveDispatch(
  layout: Layout,
  rules: FamilyRules,
  before: ObservedFamily,
  { broken, waiting }: Pick<RulesOptions, 'broken' | 'waiting'>,
): EffectiveDispatch {
  if (broken.size === 0 && waiting.size === 0) {
    return { dispatch: rules.dispatch, heldBack: [], waiting: 0, closed: new Set() };
  }
  const dispatch = { egress: new Map<string, string>(), ingress: new Map<string, string>() };
  const heldBack: { address: string; wanted: string; got: string }[] = [];
  const closed = new Set<Direction>();
  let count = 0;
  // All of a namespace or nothing: half of a change could let through what neither the old nor the new policies do.
  const unready = new Set(
    [...rules.classes.values()].filter(({ sets }) => sets.some((set) => waiting.has(set))).flatMap(namespacesOf),
  );
  for (const direction of DIRECTIONS) {
    const current = currentTargets(before, direction);
    for (const [address, wanted] of rules.dispatch[direction]) {
      const chain = rules.classes.get(wanted)!;
      const isRefused = broken.has(wanted) || chain.sets.some((set) => broken.has(set));
      if (!isRefused && !namespacesOf(chain).some((namespace) => unready.has(namespace))) {
        dispatch[direction].set(address, wanted);
        continue;
      }
      const now = current.get(address);
      const usable = now !== undefined && before.chains.has(now) && !broken.has(now);
      const got = usable ? now : closedClass(direction, layout).name;
      if (!usable) closed.add(direction);
      dispatch[direction].set(address, got);
      if (isRefused) heldBack.push({ address, wanted, got });
      else count++;
    }
  }
  return { dispatch, heldBack, waiting: count, closed };
}

/** A class is of one namespace. */
function namespacesOf({ policies: [first] }: ClassChain): string[] {
  return first ? [first.namespace] : [];
}

interface EffectiveDispatch {
  readonly dispatch: FamilyRules['dispatch'];
  readonly heldBack: Plan['heldBack'];
  readonly waiting: number;
  readonly closed: ReadonlySet<Direction>;
}

/** Interfaces whose class chain is broken are closed: what is at no listed address has no claim to the rules before. */
function usableGuards(
  layout: Layout,
  { guards, classes }: FamilyRules,
  broken: ReadonlySet<string>,
): { guards: readonly PortGuard[]; closed: readonly Direction[] } {
  if (broken.size === 0 || guards.length === 0) return { guards, closed: [] };
  // The kernel cannot match by interface: all else goes in without it.
  if ([...broken].some(isGuardChain)) return { guards: guards.map((guard) => ({ ...guard, targets: {} })), closed: [] };
  const closed = new Set<Direction>();
  const usable = guards.map((guard): PortGuard => {
    const targets: Partial<Record<Direction, string>> = {};
    for (const direction of DIRECTIONS) {
      const wanted = guard.targets[direction];
      if (wanted === undefined) continue;
      const isBroken = broken.has(wanted) || classes.get(wanted)!.sets.some((set) => broken.has(set));
      if (isBroken) closed.add(direction);
      targets[direction] = isBroken ? closedClass(direction, layout).name : wanted;
    }
    return { ...guard, targets };
  });
  return { guards: usable, closed: [...closed] };
}

function classesInUse(
  layout: Layout,
  rules: FamilyRules,
  dispatch: FamilyRules['dispatch'],
  guards: readonly PortGuard[],
  closed: ReadonlySet<Direction>,
): ClassChain[] {
  const guarded = guards.flatMap(({ targets }) => Object.values(targets));
  const targeted = new Set([...targetsOf(dispatch), ...guarded]);
  return [
    ...[...rules.classes.values()].filter((chain) => targeted.has(chain.name)),
    ...[...closed].map((direction) => closedClass(direction, layout)),
  ];
}

function targetsOf(dispatch: FamilyRules['dispatch']): Set<string> {
  return new Set([...dispatch.egress.values(), ...dispatch.ingress.values()]);
}

/** Chains that addresses are sent to, and were before: those that wait for a chain that was refused stay there. */
function chainsHeldTo(dispatch: FamilyRules['dispatch'], before: ObservedFamily): string[] {
  return [...targetsOf(dispatch)]
    .flatMap((name) => [name, replyOfClass(name)])
    .filter((name) => before.chains.has(name));
}

/** Address -> the class chain it is sent to now, read from our own live chains. The first rule decides, as for a packet. */
function currentTargets({ chains }: ObservedFamily, direction: Direction, replies = false): Targets {
  const top = replies ? replyDispatchChain(direction) : dispatchChain(direction);
  const known = targetsRead.get(chains) ?? new Map<string, Targets>();
  targetsRead.set(chains, known);
  const targets = known.get(top) ?? readTargets(chains, top);
  known.set(top, targets);
  return targets;
}

type Targets = ReadonlyMap<string, string>;

/** By the chain where the search begins; read once for chains that stay as they are. */
const targetsRead = new WeakMap<ObservedFamily['chains'], Map<string, Targets>>();

function readTargets(chains: ObservedFamily['chains'], top: string): Targets {
  const targets = new Map<string, string>();
  const follow = (chain: string, conditions: readonly Condition[]): void => {
    for (const line of chains.get(chain) ?? []) {
      const found = /^-[sd] ([^ /]+)\/(\S+) -g (\S+)$/.exec(line);
      if (!found) continue;
      const [, address = '', mask = '', target = ''] = found;
      if (target.startsWith(`${chain}-`))
        follow(target, [...conditions, { bits: lowBits(address), mask: lowBits(mask) }]);
      else if (!targets.has(address) && conditions.every((condition) => holds(condition, address)))
        targets.set(address, target);
    }
  };
  follow(top, []);
  return targets;
}

/** What the last 16 bits of an address are under a mask. */
interface Condition {
  readonly bits: number;
  readonly mask: number;
}

function holds({ bits, mask }: Condition, address: string): boolean {
  return (lowBits(address) & mask) === bits;
}

// ----------------------------------------------------------------------------------------------------------- tightening

/** Whether somebody put rules into the chains that lead to the class chains: packets may have gone past those. */
function dispatchDrifted(before: ObservedFamily, chains: ReadonlyMap<string, readonly string[]>): boolean {
  for (const [name, lines] of before.chains) {
    if (!isDispatchChain(name)) continue;
    const own = new Set(chains.get(name));
    if (lines.some((line) => !/^-[sd] \S+ -g PCL-\S+$/.test(line) && !own.has(line))) return true;
  }
  return false;
}

/** Whether an interface is guarded that was not, or by stricter rules: flows at addresses that are not listed went past those. */
function guardsTighten(before: ObservedFamily, chains: ReadonlyMap<string, readonly string[]>): boolean {
  for (const [name, lines] of chains) {
    if (!isGuardChain(name)) continue;
    const targets = new Map((before.chains.get(name) ?? []).map(guardOf));
    for (const [match, target] of lines.map(guardOf)) {
      if (target === undefined) continue;
      const now = targets.get(match);
      if (now === undefined) return true;
      if (now !== target && !onlyLoosens(before.chains.get(now), chains.get(target))) return true;
    }
  }
  return false;
}

/** What an interface's rule matches, and the chain that it leads to; only what ends in RETURN has none. */
function guardOf(line: string): readonly [match: string, target: string | undefined] {
  const at = line.lastIndexOf(' -g ');
  return at < 0 ? [line, undefined] : [line.slice(0, at), line.slice(at + 4)];
}

/** Whether some packet that passes now would be judged anew: an address newly isolated, or a chain that lost a RETURN. */
function* tightens(
  dispatch: FamilyRules['dispatch'],
  chains: ReadonlyMap<string, readonly string[]>,
  before: ObservedFamily,
): Sliced<boolean> {
  const loosens = new Map<string, boolean>();
  for (const direction of DIRECTIONS) {
    const targets = currentTargets(before, direction);
    const replies = chains.has(replyDispatchChain(direction)) ? currentTargets(before, direction, true) : undefined;
    yield;
    for (const [address, target] of dispatch[direction]) {
      const now = targets.get(address);
      if (now === undefined || (replies && replies.get(address) !== replyOfClass(now))) return true;
      const pair = `${now} ${target}`;
      let loose = loosens.get(pair);
      if (loose === undefined) {
        loose =
          onlyLoosens(before.chains.get(now), chains.get(target)) && repliesOnlyLoosen(now, target, chains, before);
        loosens.set(pair, loose);
        yield;
      }
      if (!loose) return true;
    }
  }
  return false;
}

/** The same of the answers, where they are judged. */
function repliesOnlyLoosen(
  now: string,
  target: string,
  chains: ReadonlyMap<string, readonly string[]>,
  before: ObservedFamily,
): boolean {
  const to = chains.get(replyOfClass(target));
  return to === undefined || onlyLoosens(before.chains.get(replyOfClass(now)), to);
}

/** True if every packet the chain `from` lets through, `to` lets through as well, as far as its text can show. */
function onlyLoosens(from: readonly string[] | undefined, to: readonly string[] | undefined): boolean {
  if (!from || !to) return false;
  const allowed = new Set(to.filter((line) => line.endsWith('-j RETURN')));
  return (
    from.every((line) => !line.endsWith('-j RETURN') || allowed.has(line)) && from.some((line) => line === '-j DROP')
  );
}

/** Which addresses are judged by other rules than before. */
function* movesOf(
  dispatch: Dispatch,
  current: Targets,
  chains: ReadonlyMap<string, readonly string[]>,
  before: ObservedFamily,
): Sliced<Moves> {
  const subjects = new Set([...current.keys(), ...dispatch.keys()]);
  const addresses = new Set<string>();
  const sets = new Set<string>();
  /** Moves from one chain to another that were looked at: many addresses make the same. */
  const known = new Map<string, boolean>();
  yield;
  for (const address of subjects) {
    const [now, target] = [current.get(address), dispatch.get(address)];
    const pair = `${now} ${target}`;
    let moves = known.get(pair);
    if (moves === undefined) {
      const from = now === undefined ? undefined : before.chains.get(now);
      const to = target === undefined ? undefined : chains.get(target);
      moves = !(now === target && from && to && sameLines(from, to));
      known.set(pair, moves);
      // Who was, or will be, not isolated passes there before or after, whatever the sets hold.
      if (moves && from && to) for (const lines of [from, to]) addReferred(sets, lines);
      yield;
    }
    if (moves) addresses.add(address);
  }
  return { addresses, sets, subjects };
}

function addReferred(sets: Set<string>, lines: readonly string[]): void {
  for (const line of lines) for (const set of referredSets(line)) sets.add(set);
}

// ---------------------------------------------------------------------------------------------------------------- lines

/**
 * One `iptables-restore --noflush` input that turns `before` into `chains`: declare (which empties), fill, put our rules into the
 * built-in chains, then delete what nothing uses. Empty if there is nothing to do.
 */
export function restoreLines(
  chains: ReadonlyMap<string, readonly string[]>,
  before: ObservedFamily,
  stale: readonly string[] = [],
  hookLines?: HookLines,
): PlanLine[] {
  const hooks = hookLines ? placeHooks(hookLines, before) : [];
  if (chains === before.chains && stale.length === 0 && hooks.length === 0) return [];
  const changed = [...chains.keys()].filter((name) => !sameLines(chains.get(name)!, before.chains.get(name)));
  if (changed.length === 0 && stale.length === 0 && hooks.length === 0) return [];
  return [
    { text: '*mangle', object: FORWARD_CHAIN },
    ...[...changed, ...stale].map((name) => ({ text: `:${name} - [0:0]`, object: name })),
    ...changed.flatMap((name) => chains.get(name)!.map((line) => ({ text: `-A ${name} ${line}`, object: name }))),
    ...hooks,
    ...stale.map((name) => ({ text: `-X ${name}`, object: name })),
    { text: 'COMMIT', object: FORWARD_CHAIN },
  ];
}
