/** The desired rules of one family against the observed ones: chains, jumps and epoch. */
import type { Direction, Family } from '../../../core/vocabulary.ts';
import type { Sliced } from '../../../core/sliced.ts';
import type { Rule } from '../rules/rule.ts';
import type { Dispatch, FamilyRules, Hook, Ruleset } from '../rules/ruleset.ts';
import type { TextContext } from '../rules/write-text.ts';
import type { HookLines } from './hooks.ts';
import type { Degraded } from '../../dataplane.ts';
import type { ObservedFamily, PlanLine } from './plan.ts';
import type { Moves, MovesByDirection } from './interim-rules.ts';
import type { EffectiveTargets, Unusable } from './effective-targets.ts';

import { assembleChains } from '../render/assemble.ts';
import type { Chain, ChainText } from '../rules/chain.ts';
import { JUDGING_ORDER } from '../../judgings.ts';
import { stamps } from '../rules/layout.ts';
import { FORWARD_CHAIN, chainsOfEndpoint, guardChain } from '../rules/names.ts';
import { EVERY_PACKET } from '../../mark-bits.ts';
import { type ChainReading, type Dispatched, dispatchedBy, readingOf } from './chain-reading.ts';
import { effectiveTargets } from './effective-targets.ts';
import { nextEpoch } from '../../mark-bits.ts';
import { readEpoch } from './epoch.ts';
import { hooksAfter, misplacedHooks } from './hooks.ts';
import { rulesRevoke } from './revokes.ts';

interface RulesOptions extends Unusable {
  /** The rules may not be those that the kernel holds, written by us and disturbed by nobody. */
  readonly isPending: boolean;
  /** The last epoch we know of, should the kernel hold none. */
  readonly lastEpoch: number | undefined;
  /** The epoch to begin with on a host that never had one. */
  readonly firstEpoch: number;
  /** The epoch to go to, or to begin with: one that no flow carries, or EVERY_PACKET. The next number if absent. */
  readonly spareEpoch: number | undefined;
}

export interface RulesDiff {
  readonly family: Family;
  readonly before: ChainReading;
  /** All our chains as they will be. */
  readonly after: ChainReading;
  readonly context: TextContext;
  readonly hooks: ObservedFamily['hooks'];
  /** Our rules in the built-in chains as they will be; absent if nothing changes. */
  readonly hookLines?: HookLines;
  /** Hooks where they were not what we had left there. */
  readonly misplaced: readonly Hook[];
  /** Chains that have to go. */
  readonly stale: readonly string[];
  readonly moves: MovesByDirection;
  readonly degraded: readonly Degraded[];
  /** Addresses that wait for their sets to be filled. */
  readonly waiting: number;
  readonly marked: boolean;
  /** The epoch in force afterwards; absent without marks. */
  readonly epoch: number | undefined;
  readonly isAdvanced: boolean;
  /** Where the new epoch is all that changes of the entry: the entry at the epoch in force. */
  readonly entryBefore?: ReadonlyMap<string, ChainText>;
}

/** `revokes`: what happens to sets makes live flows be judged again, whatever the rules say. */
export function* diffRules(
  desired: Ruleset,
  before: ObservedFamily,
  rules: FamilyRules,
  revokes: boolean,
  options: RulesOptions,
): Sliced<RulesDiff> {
  const { layout } = desired;
  const context: TextContext = {
    family: rules.family,
    epoch: 0,
    ...(layout.marks ? { marks: layout.marks } : {}),
  };
  const isWhole = options.rejected.size === 0 && options.waiting.size === 0;
  const body =
    isWhole && !options.isPending
      ? sameBody(rules, before)
      : yield* newBody(desired, before, rules, context, isWhole ? undefined : options);
  const still = body.chains === undefined && !revokes ? unchanged(desired, before, body, context) : undefined;
  if (still && !isEpochFoundFor(still.epoch, options)) return still;
  const { entry, ...epoch } = yield* findEntry(desired, before, rules, options, function* () {
    return revokes || (body.revokes !== undefined && (yield* body.revokes()));
  });
  yield;
  const { before: actual, chains, dispatched, stale, moves, degraded, waiting } = body;
  const after = chains && dispatched ? actual.with(chains, entry.chains, dispatched) : actual.withEntry(entry.chains);
  return {
    family: rules.family,
    before: actual,
    after,
    context,
    hooks: hooksAfter(entry.hooks, before),
    hookLines: entry.hooks,
    stale,
    moves,
    degraded,
    waiting,
    marked: epoch.epoch !== undefined,
    ...epoch,
  };
}

/** The chains behind the entry. */
interface Body {
  readonly before: ChainReading;
  /** As they will be; undefined if nothing changes. */
  readonly chains: ReadonlyMap<string, ChainText> | undefined;
  readonly dispatched: Dispatched | undefined;
  readonly stale: readonly string[];
  readonly moves: MovesByDirection;
  readonly degraded: readonly Degraded[];
  readonly waiting: number;
  /** Absent: nothing changes. */
  readonly revokes: (() => Sliced<boolean>) | undefined;
}

function sameBody(rules: FamilyRules, before: ObservedFamily): Body {
  const actual = readingOf(rules.family, before);
  const still = (direction: Direction): Moves => ({
    addresses: NOTHING,
    sets: NOTHING,
    subjects: rules.dispatch[direction],
  });
  return {
    before: actual,
    chains: undefined,
    dispatched: undefined,
    stale: [],
    moves: { egress: still('egress'), ingress: still('ingress') },
    degraded: [],
    waiting: 0,
    revokes: undefined,
  };
}

const NOTHING: ReadonlySet<string> = new Set();

/** `unusable`: what of chains and sets cannot be used; undefined: all can. */
function* newBody(
  { layout }: Ruleset,
  observed: ObservedFamily,
  rules: FamilyRules,
  context: TextContext,
  unusable: Unusable | undefined,
): Sliced<Body> {
  const before = observed.chains.reading ?? (yield* readAsWritten(observed, rules, context));
  const targets: EffectiveTargets | undefined = unusable && effectiveTargets(layout, rules, before, unusable);
  const desired = targets ? assembleChains(rules.family, layout, targets, rules.chains) : rules.chains;
  const chains = yield* textsOf(desired, context, before);
  const { dispatch, degraded = [], waiting = 0 } = targets ?? { dispatch: rules.dispatch };
  if (targets)
    for (const name of chainsHeldTo(dispatch, before)) if (!chains.has(name)) chains.set(name, before.text(name)!);
  yield;
  const entry = new Set(rules.entry.map(({ name }) => name));
  const stale: string[] = [];
  const refused: string[] = [];
  before.forEachText((name) => {
    if (chains.has(name) || entry.has(name)) return;
    // The kernel would not let go of it: a rule that is not ours refers to it.
    if (unusable?.rejected.has(name)) refused.push(name);
    else stale.push(name);
  });
  const moves = {
    egress: yield* movesOf(dispatch.egress, 'egress', chains, before),
    ingress: yield* movesOf(dispatch.ingress, 'ingress', chains, before),
  };
  const revokes = (): Sliced<boolean> => rulesRevoke(dispatch, desired, chains, before);
  for (const name of refused) chains.set(name, before.text(name)!);
  const dispatched = dispatchedBy(dispatch, desired);
  return { before, chains, dispatched, stale, moves, degraded, waiting, revokes };
}

/** What was read, where it is as we write it with the very texts of that. */
function* readAsWritten(observed: ObservedFamily, rules: FamilyRules, context: TextContext): Sliced<ChainReading> {
  const written = yield* textsOf(rules.chains, context, undefined);
  return readingOf(rules.family, observed, written);
}

function* textsOf(
  chains: ReadonlyMap<string, Chain>,
  context: TextContext,
  before: ChainReading | undefined,
): Sliced<Map<string, ChainText>> {
  const texts = new Map<string, ChainText>();
  for (const [name, chain] of chains) {
    const text = chain.text(context);
    texts.set(name, text);
    if (text !== before?.text(name)) yield;
  }
  return texts;
}

/** Chains that addresses are sent to, and were before: those that wait for a chain that was refused stay there. */
function chainsHeldTo(dispatch: FamilyRules['dispatch'], before: ChainReading): string[] {
  return [...new Set([...dispatch.egress.values(), ...dispatch.ingress.values()])].flatMap((endpoint) =>
    chainsOfEndpoint(endpoint, before),
  );
}

function unchanged(desired: Ruleset, observed: ObservedFamily, body: Body, context: TextContext): RulesDiff {
  const { layout } = desired;
  const epoch = stamps(layout) ? readEpoch(observed, layout.marks!) : undefined;
  return {
    ...body,
    family: context.family,
    after: body.before,
    context,
    hooks: observed.hooks,
    misplaced: [],
    marked: epoch !== undefined,
    epoch,
    isAdvanced: false,
  };
}

/** Every packet of live flows is judged now, and need not be any longer. */
function isEpochFoundFor(epoch: number | undefined, { spareEpoch }: RulesOptions): boolean {
  return epoch === EVERY_PACKET && spareEpoch !== EVERY_PACKET;
}

/** Where packets come in. */
interface Entry {
  readonly hooks: HookLines;
  readonly chains: ReadonlyMap<string, ChainText>;
}

/** The entry with the epoch to stamp: the one in force, or the next if live flows have to be judged again. */
function* findEntry(
  { layout }: Ruleset,
  before: ObservedFamily,
  rules: FamilyRules,
  options: RulesOptions,
  revokes: () => Sliced<boolean>,
): Sliced<Pick<RulesDiff, 'epoch' | 'isAdvanced' | 'misplaced' | 'entryBefore'> & { readonly entry: Entry }> {
  const marks = stamps(layout) ? layout.marks : undefined;
  const entryAt = (epoch: number): Entry =>
    entryText(rules, { family: rules.family, epoch, ...(marks ? { marks } : {}) });
  const begin = (epoch: number | undefined) => {
    const entry = entryAt(epoch ?? 0);
    return { epoch, isAdvanced: false, entry, misplaced: misplacedHooks(entry.hooks, before) };
  };
  if (!marks) return begin(undefined);
  const last = readEpoch(before, marks) ?? options.lastEpoch;
  // Nothing was ever stamped here: the first epoch is as good as the next.
  if (last === undefined && before.chains.size === 0) return begin(options.spareEpoch ?? options.firstEpoch);
  const now = begin(last ?? options.firstEpoch);
  const actual = readingOf(rules.family, before, now.entry.chains);
  const isEdited = [...now.entry.chains].some(([name, text]) => isEntryEdited(text, actual.text(name)));
  const isFound = isEpochFoundFor(now.epoch, options);
  if (!isEdited && now.misplaced.length === 0 && !isFound && !(yield* revokes())) return now;
  const next = options.spareEpoch ?? nextEpoch(now.epoch!, marks);
  // The epoch in force is no next one. Where every packet is judged there is nothing to advance.
  const epoch = next === now.epoch ? EVERY_PACKET : next;
  const isAdvanced = epoch !== now.epoch;
  const isEpochAlone = isAdvanced && !isEdited && now.misplaced.length === 0;
  return {
    epoch,
    isAdvanced,
    entry: entryAt(epoch),
    misplaced: now.misplaced,
    ...(isEpochAlone ? { entryBefore: now.entry.chains } : {}),
  };
}

/** A jump that is not needed any more, as no interface is guarded, lets nothing through that these rules would not. */
function isEntryEdited(text: ChainText, actual: ChainText | undefined): boolean {
  if (actual === undefined) return true;
  if (text.equals(actual.lines)) return false;
  const needed = actual.rules.filter((parsed) => {
    const isGuardJump = parsed.kind === 'own' && parsed.rule.matches.length === 0 && isGuard(parsed.rule.target);
    return !isGuardJump || text.lines.includes(parsed.line);
  });
  return !text.equals(needed.map(({ line }) => line));
}

const GUARDS = JUDGING_ORDER.flatMap((each) => [guardChain(each), guardChain(each, true)]);

function isGuard(target: Rule['target']): boolean {
  return target.kind === 'jump' && GUARDS.includes(target.chain);
}

function entryText({ hooks, entry }: FamilyRules, context: TextContext): Entry {
  return {
    hooks: { FORWARD: hooks.FORWARD.text(context).lines, INPUT: hooks.INPUT.text(context).lines },
    chains: new Map(entry.map((chain) => [chain.name, chain.text(context)])),
  };
}

/** Which addresses are judged by other rules than before. */
function* movesOf(
  dispatch: Dispatch,
  direction: Direction,
  chains: ReadonlyMap<string, ChainText>,
  before: ChainReading,
): Sliced<Moves> {
  const current = before.targets(direction);
  const subjects = hasOthers(current, dispatch) ? new Map([...current, ...dispatch]) : dispatch;
  const addresses = new Set<string>();
  const sets = new Set<string>();
  /** Whether moves from one chain to another change anything, by both: many addresses make the same. */
  const known = new Map<string | undefined, Map<string | undefined, boolean>>();
  yield;
  for (const address of subjects.keys()) {
    const [now, target] = [current.get(address), dispatch.get(address)];
    let moves = known.get(now)?.get(target);
    if (moves === undefined) {
      const from = now === undefined ? undefined : before.text(now);
      const to = target === undefined ? undefined : chains.get(target);
      moves = !(now === target && from && to?.equals(from.lines));
      known.set(now, (known.get(now) ?? new Map()).set(target, moves));
      // Who was, or will be, not isolated passes there before or after, whatever the sets hold.
      if (moves && from && to) for (const set of [...from.sets, ...to.sets].flat()) sets.add(set);
      if (moves) yield;
    }
    if (moves) addresses.add(address);
  }
  return { addresses, sets, subjects };
}

function hasOthers(current: Dispatch, dispatch: Dispatch): boolean {
  if (current === dispatch) return false;
  for (const address of current.keys()) if (!dispatch.has(address)) return true;
  return false;
}

// ---------------------------------------------------------------------------------------------------------------- lines

/** What one commit changes. */
interface Restore {
  /** Chains in the place of those of that name, if any. */
  readonly chains: ReadonlyMap<string, Pick<ChainText, 'lines'>>;
  readonly stale?: readonly string[];
  /** Lines that put our rules into the built-in chains. */
  readonly hooks?: readonly PlanLine[];
}

/**
 * One `iptables-restore --noflush` input: declare (which empties), fill, put our rules into the built-in chains, then delete what
 * nothing uses. Empty if there is nothing to do.
 */
export function restoreLines({ chains, stale = [], hooks = [] }: Restore): readonly PlanLine[] {
  if (chains.size === 0 && stale.length === 0 && hooks.length === 0) return [];
  return [
    { text: '*mangle', object: FORWARD_CHAIN },
    ...[...chains.keys(), ...stale].map((name) => ({ text: `:${name} - [0:0]`, object: name })),
    ...[...chains].flatMap(([name, { lines }]) => lines.map((line) => ({ text: `-A ${name} ${line}`, object: name }))),
    ...hooks,
    ...stale.map((name) => ({ text: `-X ${name}`, object: name })),
    { text: 'COMMIT', object: FORWARD_CHAIN },
  ];
}
