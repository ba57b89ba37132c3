/** The desired sets against the observed ones: what has to be made, and what has to change in sets that rules may look at now. */
import { FAMILIES, type Family } from '../../../core/vocabulary.ts';
import type { Sliced } from '../../../core/sliced.ts';
import { type IpSet, isSetType } from '../rules/rule.ts';
import type { Ruleset } from '../rules/ruleset.ts';
import type { Delta } from './delta.ts';
import type { ObservedSet, ObservedState, PlanLine } from './plan.ts';

import { compareText } from '../../../core/compare.ts';
import { versionedMap } from '../../../core/versioned-map.ts';
import { type ToFill, portionsOf } from './portion.ts';
import type { Names } from './set-usage.ts';
import { readingOf } from './chain-reading.ts';
import {
  addMemberText,
  createSetText,
  deleteMemberText,
  destroySetText,
  maxElements,
  swapSetText,
} from '../rules/write-text.ts';

/** The members of one existing set that have to change. */
export interface SetChange {
  readonly name: string;
  readonly family: Family;
  readonly desired: IpSet;
  /** Entries that start and cease to match. */
  readonly joining: readonly string[];
  readonly leaving: readonly string[];
  /** Lines that let more match, then lines that let less match. */
  readonly grants: readonly PlanLine[];
  readonly removals: readonly PlanLine[];
  /** Something leaves that live flows may come from or go to, or joins what is denied: they have to be judged again. */
  readonly revokes: boolean;
  /** The set it is filled in, which the lines themselves destroy. */
  readonly aside?: string;
}

export interface SetsDiff {
  /** Makes and fills sets that no rule refers to yet. */
  readonly fill: readonly PlanLine[];
  readonly changes: readonly SetChange[];
  /** Of sets that open a gate: who may not pass any more, and who may then. */
  readonly gate: { readonly leave: readonly PlanLine[]; readonly join: readonly PlanLine[] };
  /** Capacity of the sets that are made, or made anew. */
  readonly capacities: ReadonlyMap<string, number>;
  readonly added: number;
  readonly deleted: number;
  /** Sets that will not be full after this plan -> what they will hold; undefined: as before. No rule may refer to them. */
  readonly waiting: ReadonlyMap<string, ObservedSet['members'] | undefined>;
  /** Sets of chains that stay in force until others can take their place, as they will be. */
  readonly held: ReadonlyMap<string, IpSet>;
}

/** A removed member that is not a live pod's is a pod that is gone, and its flows with it, if we remember putting it there. */
interface SetsMemory {
  readonly rejected: ReadonlySet<string>;
  readonly remembered: boolean;
  /** Entries to fill in sets that no rule refers to. */
  readonly portion: number;
  /** Of the intent that was planned for last; undefined: it is not known. */
  readonly revision: number | undefined;
}

/** A set that no rule refers to: made now, or left by a process that was killed while filling it, or begun by an earlier plan. */
interface Unseen {
  readonly set: IpSet;
  /** Absent: it has to be made. */
  readonly before: ObservedSet | undefined;
  readonly missing: readonly string[];
  readonly extra: readonly string[];
  /** Takes what is there out of the way. */
  readonly clear: readonly PlanLine[];
}

export function* diffSets({ desired, actual: observed, pending }: Delta, memory: SetsMemory): Sliced<SetsDiff> {
  const referred = referredSets(observed);
  const denying = denyingSets(observed);
  const unseen: Unseen[] = [];
  const changes: SetChange[] = [];
  const capacities = new Map<string, number>();
  const gate = { leave: [] as PlanLine[], join: [] as PlanLine[] };
  let added = 0;
  let deleted = 0;
  // However they came about: the same cluster gives the same bytes.
  const sets = [...(pending.sets === 'all' ? desired.sets.values() : pending.sets)];
  for (const set of sets.sort((a, b) => compareText(a.name, b.name))) {
    const { name } = set;
    const before = observed.sets.get(name);
    if (before?.members !== set.members) yield;
    if (memory.rejected.has(name) || !observed.families[set.family]) continue;
    const isOther = before === undefined || before.type !== set.type || before.family !== set.family;
    if (isOther || (!referred.has(name) && !set.opens)) {
      if (before?.members === set.members) continue;
      unseen.push(unseenOf(set, before));
      continue;
    }
    if (set.opens) {
      const { joining, leaving } = compareMembers(set, before);
      gate.join.push(...joining.map((member) => ({ text: addMemberText(name, member, true), object: name })));
      gate.leave.push(...leaving.map((member) => ({ text: deleteMemberText(name, member), object: name })));
      added += joining.length;
      deleted += leaving.length;
      continue;
    }
    const change = changeOf(set, before, observed, memory, desired.directory);
    if (!change) continue;
    changes.push(denying(name) && change.joining.length > 0 ? { ...change, revokes: true } : change);
    if (change.aside !== undefined) capacities.set(name, maxElements(set.members.size));
    added += change.joining.length;
    deleted += change.leaving.length;
  }
  const fill: PlanLine[] = [];
  const waiting = new Map<string, ObservedSet['members'] | undefined>();
  const portions = portionsOf(unseen.filter(({ set }) => !set.opens).map(toFill), memory.portion);
  for (const each of unseen) {
    const { name, members } = each.set;
    // Rules outside of the endpoint chains ask about a set that opens.
    const portion = each.set.opens ? each.missing.length : (portions.get(name) ?? 0);
    if (portion < each.missing.length) waiting.set(name, portion === 0 ? undefined : membersAfter(each, portion));
    if (portion === 0 && each.missing.length > 0) continue;
    if (!each.before) capacities.set(name, maxElements(members.size));
    added += portion;
    deleted += each.extra.length;
    // One by one: a call takes no more than about 120,000 arguments.
    for (const line of unseenLines(each, portion)) fill.push(line);
    yield;
  }
  const held =
    waiting.size === 0 && memory.rejected.size === 0 ? [] : yield* heldSets(desired, observed, referred, memory);
  for (const change of held) {
    changes.push(change);
    deleted += change.leaving.length;
  }
  const heldTo = new Map(held.map((change) => [change.name, change.desired]));
  return { fill, changes, gate, capacities, added, deleted, waiting, held: heldTo };
}

/**
 * Endpoint chains whose successors have to wait, or are refused, ask about sets that no policy keeps up to date any more. What these let
 * through was meant for the pods of then: addresses that are not theirs any longer leave (S-70, S-73).
 */
function* heldSets(
  desired: Ruleset,
  observed: ObservedState,
  referred: Names,
  memory: SetsMemory,
): Sliced<SetChange[]> {
  const changes: SetChange[] = [];
  for (const [name, before] of observed.sets) {
    if (!referred.has(name) || (desired.sets.has(name) && !memory.rejected.has(name))) continue;
    if (!isSetType(before.type)) continue;
    const { family, type } = before;
    const staying = [...before.members].filter(
      ([member, match]) => !match || !isForfeit(member, type, desired, memory),
    );
    yield;
    if (staying.length === before.members.size) continue;
    const set: IpSet = { name, family, type, members: versionedMap(staying), meaning: name };
    const change = changeOf(set, before, observed, memory, desired.directory);
    if (change) changes.push(change);
  }
  return changes;
}

/** Of a block it is the policy that says who is in it, whoever has its addresses. */
function isForfeit(member: string, type: IpSet['type'], { directory }: Ruleset, { revision }: SetsMemory): boolean {
  const [address = ''] = member.split(',', 1);
  if (address.includes('/')) return false;
  const isOfPods = type === 'hash:ip' || type === 'hash:ip,port';
  return (isOfPods && directory.ownerOf(address) === undefined) || directory.changedHands(address, revision);
}

/** Rules in the iptables variant that is not written to judge packets as well. */
function referredSets({ families, other }: ObservedState): Names {
  const judging = [families, other?.families ?? {}];
  const all = FAMILIES.flatMap((family) =>
    judging.flatMap(({ [family]: rules }) => (rules ? [readingOf(family, rules).asking] : [])),
  );
  return { has: (name) => all.some((names) => names.has(name)) };
}

/** Who joins a set that rules deny or pass by was judged without them before. */
function denyingSets({ families }: ObservedState): (set: string) => boolean {
  const readings = FAMILIES.flatMap((family) => (families[family] ? [readingOf(family, families[family])] : []));
  return (set) => readings.some((reading) => reading.isOfDenials(set));
}

function unseenOf(set: IpSet, found: ObservedSet | undefined): Unseen {
  const { name, members } = set;
  const isUsable = found?.type === set.type && found.family === set.family && found.maxElements >= members.size;
  const before = isUsable ? found : undefined;
  const missing = [...members.keys()].filter((member) => before?.members.get(member) !== members.get(member)).sort();
  const extra = [...(before?.members.keys() ?? [])].filter((member) => !members.has(member)).sort();
  // Somebody else's set of another type under our name, or one that is too small: it can go, as no rule refers to it.
  const clear = found && !before ? [{ text: destroySetText(name), object: name }] : [];
  return { set, before, missing, extra, clear };
}

function toFill({ set: { name }, before, missing }: Unseen): ToFill {
  return { name, missing: missing.length, isBegun: before !== undefined };
}

function membersAfter({ set: { members }, before, missing, extra }: Unseen, portion: number): ObservedSet['members'] {
  const after = new Map(before?.members);
  for (const member of extra) after.delete(member);
  for (const member of missing.slice(0, portion)) after.set(member, members.get(member)!);
  return after;
}

/** In any order, as nobody looks; sorted, so that the same cluster gives the same bytes. */
function* unseenLines({ set, before, missing, extra, clear }: Unseen, portion: number): Iterable<PlanLine> {
  const { name, members } = set;
  const line = (text: string): PlanLine => ({ text, object: name });
  yield* clear;
  if (!before) yield line(createSetText(set));
  for (const member of missing.slice(0, portion)) yield line(addMemberText(name, member, members.get(member)!));
  for (const member of extra) yield line(deleteMemberText(name, member));
}

/** Sorted, so that the same cluster gives the same bytes. `as`: under another name than its own. */
export function newSetLines(set: IpSet, as: string = set.name, object: string = set.name): PlanLine[] {
  const members = [...set.members.keys()].sort();
  return [
    { text: createSetText(set, as), object },
    ...members.map((member) => ({ text: addMemberText(as, member, set.members.get(member)!), object })),
  ];
}

function changeOf(
  set: IpSet,
  before: ObservedSet,
  observed: ObservedState,
  memory: SetsMemory,
  directory: Ruleset['directory'],
): SetChange | undefined {
  if (before.members === set.members) return undefined;
  const { joining, leaving } = compareMembers(set, before);
  if (joining.length === 0 && leaving.length === 0) return undefined;
  const { name, family } = set;
  const lines = needsSwap(set, before)
    ? { grants: swapLines(set, observed), removals: [], aside: asideOf(name) }
    : {
        grants: joining.map((member) => ({ text: addMemberText(name, member, true), object: name })),
        removals: leaving.map((member) => ({ text: deleteMemberText(name, member), object: name })),
      };
  const revokes = leaving.some((member) => {
    const [address = '', rest] = member.split(/[,/]/, 2);
    const isPrefix = rest !== undefined && member.includes('/');
    return !memory.remembered || isPrefix || set.isOfNodes || directory.ownerOf(address) !== undefined;
  });
  return { name, family, desired: set, joining, leaving, ...lines, revokes };
}

/** Sorted by text. A `nomatch` entry that is missing lets its addresses join, one too many makes them leave. */
function compareMembers(set: IpSet, before: ObservedSet): { joining: string[]; leaving: string[] } {
  const joining: string[] = [];
  const leaving: string[] = [];
  const changes = set.members.changesSince(before.members.version);
  if (changes !== 'all') {
    for (const { key: member, before: was, after: is } of changes)
      ((is ?? was === false) ? joining : leaving).push(member);
    return { joining: joining.sort(), leaving: leaving.sort() };
  }
  for (const [member, match] of set.members) {
    if (before.members.get(member) !== match) (match ? joining : leaving).push(member);
  }
  for (const [member, match] of before.members) {
    if (!set.members.has(member)) (match ? leaving : joining).push(member);
  }
  return { joining: joining.sort(), leaving: leaving.sort() };
}

/**
 * A set's capacity is fixed when it is made. And where exceptions change, no order of single lines is free of a moment in which
 * an exception is missing. Both are done in a set beside it; the swap is one step for every packet.
 */
function needsSwap(set: IpSet, before: ObservedSet): boolean {
  if (before.maxElements < set.members.size) return true;
  // Only sets with blocks hold exceptions.
  if (set.type !== 'hash:net' && set.type !== 'hash:net,port') return false;
  for (const [member, match] of set.members) if (!match && before.members.get(member) !== false) return true;
  for (const [member, match] of before.members) if (!match && set.members.get(member) !== false) return true;
  return false;
}

function asideOf(name: string): string {
  return `${name}+`;
}

function swapLines(set: IpSet, observed: ObservedState): PlanLine[] {
  const { name } = set;
  const aside = asideOf(name);
  const line = (text: string): PlanLine => ({ text, object: name });
  return [
    // Left behind by a process that was killed here: `create -exist` would take it as it is, stale entries included.
    ...(observed.sets.has(aside) ? [line(destroySetText(aside))] : []),
    ...newSetLines(set, aside, name),
    line(swapSetText(name, aside)),
    line(destroySetText(aside)),
  ];
}
