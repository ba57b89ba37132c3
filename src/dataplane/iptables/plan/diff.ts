/** The door of this stage: (Ruleset, ObservedState) -> Plan, steps in safe order. */
import { FAMILIES, type Family } from '../../../core/vocabulary.ts';
import { type ReleasedAddresses, withReleased } from '../../../compile/address-directory.ts';
import type { Sliced } from '../../../core/sliced.ts';
import type { ChainText } from '../rules/chain.ts';
import type { IpSet } from '../rules/rule.ts';
import type { Ruleset } from '../rules/ruleset.ts';
import type { RulesDiff } from './diff-rules.ts';
import type { SetChange, SetsDiff } from './diff-sets.ts';
import type { Names } from './set-usage.ts';
import type { ChangeCounts } from '../../dataplane.ts';
import type { DeadRules, Released, ObservedFamily, ObservedSet, ObservedState, Plan, PlanLine, Step } from './plan.ts';

import { runSync } from '../../../core/sliced.ts';
import { familyOfSet, releasedSet } from '../rules/names.ts';
import { EVERY_PACKET } from '../../mark-bits.ts';
import { destroySetText } from '../rules/write-text.ts';
import { AddOnly, type RulesChange, asInKernel, withoutDead } from './add-only.ts';
import { diffRules, restoreLines } from './diff-rules.ts';
import { type Delta, applied, deltaOf, withSetsLeft } from './delta.ts';
import { hooksAfter, placeHooks } from './hooks.ts';
import { diffSets } from './diff-sets.ts';
import { type ReleasedSign, isReleasedSign, releasedSign } from './released.ts';
import { removeLeftovers } from './teardown.ts';
import { readingOf } from './chain-reading.ts';
import { interimRules, needsInterimRules } from './interim-rules.ts';

interface DiffOptions {
  /** Chains and sets the kernel refused: what depends on them is held back, everything else goes in. */
  readonly rejected?: ReadonlySet<string>;
  /** The epoch to start from when the kernel holds none, 1..epochCount. */
  readonly firstEpoch?: number;
  /** The last epoch per family that we know of, for when it is not to be read any more. */
  readonly lastEpochs?: Readonly<Partial<Record<Family, number>>>;
  /** Per family, an epoch that no live flow carries, or EVERY_PACKET, to be the next; the next number if absent. */
  readonly spareEpochs?: Readonly<Partial<Record<Family, number>>>;
  /** `released` of the plan before; see there. */
  readonly released?: Released;
  /** `observed` is what our own writes left, not what was read: nobody else had a hand in it. */
  readonly remembered?: boolean;
  /** Rules go in above those they replace, and nothing is deleted, where that can be (add-only.ts). */
  readonly addsOnly?: boolean;
  /** Families whose live flows have to be judged again, for what an earlier plan did. */
  readonly unrevoked?: readonly Family[];
  /** An epoch began a moment ago: one that has to begin only because members left may wait for the next plan. */
  readonly epochMayWait?: boolean;
  /** Entries at most to fill in sets that no rule refers to; the rest waits. No limit if absent. */
  readonly portion?: number;
}

export function diff(desired: Ruleset, observed: ObservedState, options: DiffOptions = {}): Plan {
  return runSync(diffInSteps(desired, observed, options));
}

export function* diffInSteps(desired: Ruleset, observed: ObservedState, options: DiffOptions): Sliced<Plan> {
  const rejected = options.rejected ?? new Set();
  const { remembered = false, portion = Number.POSITIVE_INFINITY } = options;
  const delta = deltaOf(desired, observed, rejected.size === 0);
  const sets = yield* diffSets(delta, { rejected, remembered, portion, revision: options.released?.revision });
  const families: FamilyPlan[] = [];
  for (const family of FAMILIES) {
    const before = observed.families[family];
    const other = observed.other?.families[family];
    const isSigned = observed.sets.has(releasedSet(family));
    if (before) families.push(yield* planFamily(delta, before, other, family, isSigned, sets, options, rejected));
  }
  yield;
  const inUse = families.map(({ rules }) => rules.after.asking);
  const kept: Names = { has: (name) => inUse.some((names) => names.has(name)) };
  const { sets: pending, left: besides } = delta.pending;
  const stale = [...(pending === 'all' ? observed.sets.values() : besides.map((name) => observed.sets.get(name)!))]
    .filter(({ name, family }) => !desired.sets.has(name) && !kept.has(name) && !isUnknown(observed, family))
    .map(({ name }) => name)
    .filter((name) => !isReleasedSign(name));
  const asides = new Set(sets.changes.map(({ aside }) => aside));
  const unused = stale.filter((name) => !asides.has(name));
  const signs = families.map(({ sign }) => sign);
  const gone = [
    ...unused,
    ...families.flatMap(({ interimSets }) => interimSets),
    ...signs.flatMap(({ destroy }) => destroy),
  ];
  // The kernel does not let go of sets that dead rules ask about.
  const holding = new Set(families.flatMap(({ rules, dead }) => (dead ? [rules.family] : [])));
  const isHeld = (name: string): boolean => !isReleasedSign(name) && holding.has(familyOfSet(name));
  const destroyed = [...new Set(gone)].filter((name) => !isHeld(name)).sort();
  const left = gone.filter(isHeld);
  const fill = [...sets.gate.leave, ...sets.fill, ...families.flatMap((family) => family.fill)];
  const drain = [
    ...families.flatMap(({ late }) => late),
    ...families.flatMap(({ changes }) => changes.flatMap(({ removals }) => removals)),
    ...sets.gate.join,
  ];
  // Ahead of all that may take a member out.
  const signLines = signs.flatMap(({ create }) => create);
  const steps: Step[] = [
    ...setStep('add-members', fill.length > 0 ? [...signLines, ...fill] : []),
    ...families.flatMap(({ rules, lines }) => ruleStep('rules', rules.family, lines)),
    // From here on nothing but the new rules judges; until here they and the old ones do, and both know the sets as they were.
    ...removeLeftovers(observed),
    ...setStep('remove-members', fill.length > 0 ? drain : [...signLines, ...drain]),
    ...families.flatMap(({ rules, settle }) => ruleStep('final-rules', rules.family, settle)),
    ...setStep(
      'destroy-sets',
      destroyed.map((name) => ({ text: destroySetText(name), object: name })),
    ),
  ];
  yield;
  return {
    steps,
    summary: summarise(families, observed, sets, destroyed.length),
    after: withSetsLeft(stateAfter(delta, families, sets, destroyed, kept, rejected), observed, left),
    epochs: Object.fromEntries(
      families.flatMap(({ rules }) => (rules.epoch === undefined ? [] : [[rules.family, rules.epoch]])),
    ),
    released: {
      revision: desired.revision,
      ...Object.fromEntries(families.map(({ rules, released }) => [rules.family, released])),
    },
    revokesLate: families.flatMap(({ rules, isLate }) => (isLate ? [rules.family] : [])),
    revokesNext: families.flatMap(({ rules, isWaiting }) => (isWaiting ? [rules.family] : [])),
    degraded: families.flatMap(({ rules }) => rules.degraded),
    waiting: [...sets.waiting.keys()].sort(),
  };
}

/** Rules that could not be read may refer to any set. */
function isUnknown({ families, unread = [] }: ObservedState, family: Family): boolean {
  return !families[family] && unread.some((each) => each.family === family && !each.isKnown);
}

function setStep(kind: 'add-members' | 'remove-members' | 'destroy-sets', lines: readonly PlanLine[]): Step[] {
  return lines.length > 0 ? [{ kind, lines }] : [];
}

function ruleStep(kind: 'rules' | 'final-rules', family: Family, lines: readonly PlanLine[]): Step[] {
  return lines.length > 0 ? [{ kind, family, lines }] : [];
}

/** One family's share of each step. */
interface FamilyPlan {
  readonly rules: RulesDiff;
  readonly changes: readonly SetChange[];
  readonly fill: readonly PlanLine[];
  readonly lines: readonly PlanLine[];
  readonly chainsWritten: number;
  readonly chainsDeleted: number;
  /** What judges nothing any more and is left in the kernel. */
  readonly dead: DeadRules | undefined;
  /** Lines that grant something, but wait for the rules. */
  readonly late: readonly PlanLine[];
  readonly settle: readonly PlanLine[];
  /** The new epoch begins with `settle`, after members left. */
  readonly isLate: boolean;
  /** The new epoch begins with a later plan. */
  readonly isWaiting: boolean;
  readonly interimSets: readonly string[];
  readonly released: ReleasedAddresses | undefined;
  readonly sign: ReleasedSign;
}

/** More than this are not worth remembering: a new epoch costs each live flow two microseconds. */
const MAX_DEPARTED = 10_000;

function* planFamily(
  { desired, pending }: Delta,
  before: ObservedFamily,
  other: ObservedFamily | undefined,
  family: Family,
  isSigned: boolean,
  sets: SetsDiff,
  options: DiffOptions,
  rejected: ReadonlySet<string>,
): Sliced<FamilyPlan> {
  const changes = sets.changes.filter((change) => change.family === family);
  const gone = options.released?.[family];
  const isReassigned = desired.directory.reassignedSince(gone, options.released?.revision ?? 0);
  // Another process released addresses, and which of them got another pod meanwhile nobody knows.
  const isOfAnother = isSigned && gone === undefined;
  const isTooMany = gone !== undefined && gone.count > MAX_DEPARTED;
  const isUnrevoked = options.unrevoked?.includes(family) ?? false;
  const isMixedUp = isTooMany || isOfAnother || isReassigned;
  const revokes = changes.some((change) => change.revokes) || isMixedUp || isUnrevoked;
  const isPending = pending.rules.includes(family);
  const ofOther: Names = other ? readingOf(family, other).asking : NO_SETS;
  const isSeenByOther = changes.some(({ name }) => ofOther.has(name));
  const isHalfSeen = ({ moves, before: now, after }: RulesDiff): boolean =>
    isSeenByOther || needsInterimRules(changes, moves, now, after);
  const begin = (isRevoking: boolean): Sliced<RulesDiff> =>
    diffRules(desired, before, desired.families[family], isRevoking, {
      isPending,
      rejected,
      waiting: sets.waiting,
      lastEpoch: options.lastEpochs?.[family],
      firstEpoch: options.firstEpoch ?? 1,
      spareEpoch: options.spareEpochs?.[family],
    });
  const mayWait = revokes && !isMixedUp && !isPending && (options.epochMayWait ?? false);
  let rules = yield* begin(revokes && !mayWait);
  const isWaiting = mayWait && isStamping(rules) && rules.after === rules.before && !isHalfSeen(rules);
  if (mayWait && !isWaiting) rules = yield* begin(true);
  yield;
  const isRemembered = isStamping(rules) && !rules.isAdvanced;
  const released = isRemembered ? withReleased(gone, changes.flatMap(leavingAddresses)) : undefined;
  const grants = changes.flatMap((change) => change.grants);
  yield;
  const isHalf = !isWaiting && isHalfSeen(rules);
  // What is stamped with an epoch was judged as it will be while the epoch lasts: members leave ahead of it, or the rules look past them.
  // A process that dies before a late epoch begins leaves the sign to the next.
  const hasLeaving = changes.some(({ leaving }) => leaving.length > 0);
  const isLate = !isHalf && rules.entryBefore !== undefined && (hasLeaving || (isUnrevoked && !isMixedUp));
  const isInterim = isHalf || (rules.marked && revokes && !isLate && !isWaiting);
  const sign = releasedSign(family, released !== undefined, isSigned, isLate);
  const interim = isInterim ? yield* interimRules(changes, rules.after, rules.context) : undefined;
  yield;
  const begun = isLate ? rules.after.withEntry(rules.entryBefore!) : rules.after;
  const chains = begun.changedSince(rules.before, interim?.chains);
  const hooks = rules.hookLines ? { hooks: rules.hookLines } : {};
  const first: RulesChange = { chains, stale: rules.stale, ...(isLate ? {} : hooks) };
  const second: RulesChange = isLate
    ? { chains: rules.after.changedSince(begun), stale: [], ...hooks }
    : { chains: interim?.plain ?? NO_CHAINS, stale: [] };
  const chainOf = (name: string): ChainText | undefined => interim?.chains.get(name) ?? begun.text(name);
  // For an epoch that begins after all else is in nobody waits: one commit, and nothing to tidy.
  const isEpochLast = isLate && chains.size === 0 && before.dead === undefined;
  const mayAdd = options.addsOnly && !isEpochLast;
  const isStill = [first, second].every(isNothing) && (mayAdd || before.dead === undefined);
  const commits = isStill
    ? { lines: [], settle: [], chainsDeleted: 0, dead: before.dead }
    : (mayAdd && addedOnly(rules, before, [first, second])) || replaced(before, first, second, chainOf);
  return {
    rules,
    changes,
    fill: interim ? interim.create : grants,
    ...commits,
    chainsWritten: chains.size + (isLate ? second.chains.size : 0),
    late: interim ? grants : [],
    isLate,
    isWaiting,
    interimSets: interim ? interim.sets : [],
    released,
    sign,
  };
}

type Commits = Pick<FamilyPlan, 'lines' | 'settle' | 'chainsDeleted' | 'dead'>;

function isNothing({ chains, stale, hooks }: RulesChange): boolean {
  return chains.size === 0 && stale.length === 0 && hooks === undefined;
}

/** Undefined: the rules cannot be changed so. */
function addedOnly(
  { context, epoch }: RulesDiff,
  before: ObservedFamily,
  changes: readonly [RulesChange, RulesChange],
): Commits | undefined {
  const adding = new AddOnly(before, { ...context, epoch: epoch ?? context.epoch });
  const [lines, settle] = changes.map((change) => adding.commit(change));
  return lines && settle && { lines, settle, chainsDeleted: 0, dead: adding.dead() };
}

/** Chains are written anew, and nothing dead is left. */
function replaced(
  before: ObservedFamily,
  first: RulesChange,
  second: RulesChange,
  chainOf: (name: string) => ChainText | undefined,
): Commits {
  const whole = withoutDead(first, before, chainOf);
  const actual = asInKernel(before);
  const restored = ({ hooks, ...change }: RulesChange, from = actual): readonly PlanLine[] =>
    restoreLines({ ...change, hooks: hooks ? placeHooks(hooks, from) : [] });
  const between = whole.hooks ? { chains: actual.chains, hooks: hooksAfter(whole.hooks, actual) } : actual;
  const [lines, settle] = [restored(whole), restored(second, between)];
  const chainsDeleted = whole.stale.length;
  // Nobody waits for what changes no verdict.
  const isTidying = before.dead !== undefined && restored(first).length === 0 && settle.length === 0;
  return isTidying
    ? { lines: settle, settle: lines, chainsDeleted, dead: undefined }
    : { lines, settle, chainsDeleted, dead: undefined };
}

/** Flows that pass are judged no more while the epoch lasts. */
function isStamping({ marked, epoch }: RulesDiff): boolean {
  return marked && epoch !== EVERY_PACKET;
}

const NO_SETS: ReadonlySet<string> = new Set();
const NO_CHAINS: ReadonlyMap<string, ChainText> = new Map();

function leavingAddresses({ leaving }: SetChange): string[] {
  return leaving.map((member) => member.split(',', 1)[0]!);
}

function summarise(
  families: readonly FamilyPlan[],
  observed: ObservedState,
  sets: SetsDiff,
  setsDestroyed: number,
): ChangeCounts {
  const total = (pick: (family: FamilyPlan) => number): number =>
    families.reduce((sum, family) => sum + pick(family), 0);
  return {
    chainsWritten: total(({ chainsWritten }) => chainsWritten),
    chainsDeleted: total(({ chainsDeleted }) => chainsDeleted),
    jumpsRepaired: total(({ rules }) => rules.misplaced.length),
    setsCreated: [...sets.capacities.keys()].filter((name) => !observed.sets.has(name)).length,
    setsDestroyed,
    membersAdded: sets.added,
    membersDeleted: sets.deleted,
    epochsAdvanced: total(({ rules }) => (rules.isAdvanced ? 1 : 0)),
  };
}

function setsAfter(
  { desired, actual, pending }: Delta,
  { capacities, waiting, held }: SetsDiff,
  kept: Names,
  rejected: ReadonlySet<string>,
): ReadonlyMap<string, ObservedSet> {
  const afterwards = ({ name, family, type, members }: IpSet): ObservedSet | undefined => {
    if (rejected.has(name) || !actual.families[family]) return undefined;
    const before = actual.sets.get(name);
    if (waiting.has(name) && !waiting.get(name)) return before;
    const maxElements = capacities.get(name) ?? before!.maxElements;
    const begun = waiting.get(name);
    if (begun) return { name, family, type, maxElements, members: begun };
    const isSame = before?.members === members && before.maxElements === maxElements && before.type === type;
    return isSame ? before : { name, family, type, maxElements, members };
  };
  const sets = new Map<string, ObservedSet>();
  for (const set of pending.sets === 'all' ? desired.sets.values() : pending.sets) {
    const after = afterwards(set);
    if (after) sets.set(set.name, after);
  }
  for (const [name, set] of pending.sets === 'all' ? actual.sets : []) {
    // A set that could not be brought up to date stays as it is, used or not, but for addresses that changed hands.
    if (sets.has(name) || !(kept.has(name) || desired.sets.has(name) || isReleasedSign(name))) continue;
    const members = held.get(name)?.members;
    sets.set(name, members ? { ...set, members } : set);
  }
  return sets;
}

function stateAfter(
  delta: Delta,
  plans: readonly FamilyPlan[],
  setsDiff: SetsDiff,
  destroyed: readonly string[],
  kept: Names,
  rejected: ReadonlySet<string>,
): ObservedState {
  const families: Partial<Record<Family, ObservedFamily>> = {};
  for (const { rules, dead } of plans) {
    const { family, after: chains, hooks } = rules;
    families[family] = { chains, hooks, ...(dead ? { dead } : {}) };
  }
  const signs = plans.flatMap(({ sign }) => [...sign.after]);
  const gone = destroyed.map((name) => [name, undefined] as const);
  const sets = new Map([...setsAfter(delta, setsDiff, kept, rejected), ...gone, ...signs]);
  return applied(delta, { families, sets, isWhole: rejected.size === 0 && setsDiff.waiting.size === 0 });
}
