/**
 * Sets change line by line, rules in one commit. Where an update needs both, or sets of both directions, a packet in between may
 * meet half of it: a pod that just left a policy group that denied it everything, and is still in the set it is being taken out of.
 *
 * Then the rules of the first commit look past the sets' members to what they will be: in the place of `in S` they ask for
 * `in S and not in S-leaving` or `in S-joining`. That one commit takes every packet from the old verdict to the new; S is brought up
 * to date under it, which no packet notices; a second commit puts the plain rules in place.
 */
import type { Direction } from '../../../core/vocabulary.ts';
import type { Sliced } from '../../../core/sliced.ts';
import type { ParsedRule } from '../rules/parse-rule.ts';
import type { IpSet, Match } from '../rules/rule.ts';
import type { TextContext } from '../rules/write-text.ts';
import type { ChainReading } from './chain-reading.ts';
import type { SetChange } from './diff-sets.ts';
import type { PlanLine } from './plan.ts';

import { Groups } from '../../../core/groups.ts';
import { compareText } from '../../../core/compare.ts';
import { versionedMap } from '../../../core/versioned-map.ts';
import { ChainText, ownRule } from '../rules/chain.ts';
import { setName } from '../rules/names.ts';
import { newSetLines } from './diff-sets.ts';

/** What of the rules changes verdicts, by direction. */
export interface Moves {
  /** Addresses judged by other rules than before. */
  readonly addresses: ReadonlySet<string>;
  /** Sets that those rules, old or new, refer to. */
  readonly sets: ReadonlySet<string>;
  /** Addresses judged at all, before or after. */
  readonly subjects: Addresses;
}

/** A set, or a map by address. */
type Addresses = Pick<ReadonlySet<string>, 'has' | 'size'>;

export type MovesByDirection = Readonly<Record<Direction, Moves>>;

const OTHER = { egress: 'ingress', ingress: 'egress' } as const satisfies Record<Direction, Direction>;

/**
 * Whether adding members, then changing the rules, then removing members could show a packet a verdict that is neither the old
 * nor the new one. Errs towards yes.
 */
export function needsInterimRules(
  changes: readonly SetChange[],
  moves: MovesByDirection,
  before: ChainReading,
  after: ChainReading,
): boolean {
  if (changes.length === 0) return false;
  const readings = [...new Set([before, after])];
  const names = new Set(changes.map(({ name }) => name));
  if (readings.some((reading) => changes.some(({ name }) => reading.isAskedWith(name, names)))) return true;
  if (readings.some((reading) => areInOrder(changes, reading))) return true;
  const sides = { egress: { joins: false, leaves: false }, ingress: { joins: false, leaves: false } };
  for (const { name, joining, leaving } of changes) {
    if (moves.egress.sets.has(name) || moves.ingress.sets.has(name)) return true;
    for (const direction of new Set(readings.flatMap((reading) => reading.directionsOf(name)))) {
      // The member is the far end of these flows; its own rules are those of the other direction.
      const far = moves[OTHER[direction]];
      if (touches([...joining, ...leaving], far.addresses)) return true;
      // Who joins a set of a rule that denies may be allowed less, who leaves it more.
      const mayDeny = readings.some((reading) => reading.isOfDenials(name));
      sides[direction].joins ||= touches(mayDeny ? [...joining, ...leaving] : joining, far.subjects);
      sides[direction].leaves ||= touches(mayDeny ? [...joining, ...leaving] : leaving, far.subjects);
    }
  }
  return (sides.egress.joins && sides.ingress.leaves) || (sides.egress.leaves && sides.ingress.joins);
}

function touches(members: readonly string[], addresses: Addresses): boolean {
  if (addresses.size === 0) return false;
  return members.some((member) => member.includes('/') || addresses.has(member.split(',', 1)[0]!));
}

/**
 * One member joins or leaves two of the sets of an endpoint chain whose first matching rule decides: with one of them changed, a rule
 * between them may decide that does so neither before nor after.
 */
function areInOrder(changes: readonly SetChange[], reading: ChainReading): boolean {
  const changed = new Groups<string, string>();
  for (const { name, joining, leaving } of changes) {
    const members = [...joining, ...leaving].map((member) => (member.includes('/') ? '*' : member.split(',', 1)[0]!));
    for (const endpoint of reading.orderedBy(name)) {
      const known = changed.get(endpoint);
      if (known && (known.has('*') || members.includes('*') || members.some((member) => known.has(member))))
        return true;
      for (const member of new Set(members)) changed.add(endpoint, member);
    }
  }
  return false;
}

interface InterimRules {
  /** Makes and fills the sets to ask meanwhile. */
  readonly create: readonly PlanLine[];
  /** Chains that refer to a changed set, with rules that look past its members. */
  readonly chains: ReadonlyMap<string, ChainText>;
  /** The same chains as they are to be in the end. */
  readonly plain: ReadonlyMap<string, ChainText>;
  readonly sets: readonly string[];
}

/** Sets to ask for what a set will hold: one that holds it all, or what is about to join and to leave. */
type Instead =
  | { readonly instead: string }
  | { readonly joining: string | undefined; readonly leaving: string | undefined };

export function* interimRules(
  changes: readonly SetChange[],
  chains: ChainReading,
  context: TextContext,
): Sliced<InterimRules> {
  const create: PlanLine[] = [];
  const sets: string[] = [];
  const askInstead = new Map<string, Instead>();
  const make = (what: string, { name: object, desired }: SetChange, members: IpSet['members']): string | undefined => {
    if (members.size === 0) return undefined;
    const meaning = JSON.stringify([what, object, [...members].sort(([a], [b]) => compareText(a, b))]);
    const name = setName(desired.family, meaning);
    for (const line of newSetLines({ ...desired, name, members, meaning }, name, object)) create.push(line);
    sets.push(name);
    return name;
  };
  const matching = (members: readonly string[]) => versionedMap(members.map((member) => [member, true]));
  for (const change of changes) {
    // Entries that contain each other cannot be taken one by one: the most specific decides.
    const instead = change.aside === undefined ? undefined : make('instead', change, change.desired.members);
    askInstead.set(
      change.name,
      instead === undefined
        ? {
            joining: make('joining', change, matching(change.joining)),
            leaving: make('leaving', change, matching(change.leaving)),
          }
        : { instead },
    );
    yield;
  }
  const interim = new Map<string, ChainText>();
  const plain = new Map<string, ChainText>();
  for (const name of chainsAsking(changes, chains)) {
    const text = chains.text(name)!;
    const rules = text.rules.flatMap((rule) => lookingPast(rule, askInstead, context));
    yield;
    // Only rules of others ask about the set.
    if (rules.every((rule, index) => rule === text.rules[index])) continue;
    plain.set(name, text);
    interim.set(name, ChainText.of(rules, context.family));
  }
  return { create, chains: interim, plain, sets };
}

/** In the order of the chains. */
function chainsAsking(changes: readonly SetChange[], chains: ChainReading): Iterable<string> {
  const asking = changes.map(({ name }) => chains.asking.get(name) ?? NOBODY);
  if (asking.length === 1) return asking[0]!;
  return [...chains.keys()].filter((name) => asking.some((names) => names.has(name)));
}

const NOBODY: ReadonlySet<string> = new Set();

/** A rule as rules that judge as if its sets had changed already: one per combination. What others wrote stays as it is. */
export function lookingPast(
  parsed: ParsedRule,
  askInstead: ReadonlyMap<string, Instead>,
  context: TextContext,
): readonly ParsedRule[] {
  if (parsed.kind === 'foreign') return [parsed];
  const { rule } = parsed;
  if (!rule.matches.some((match) => match.kind === 'set' && askInstead.has(match.set))) return [parsed];
  let alternatives: Match[][] = [[]];
  for (const match of rule.matches) {
    const ways = match.kind === 'set' ? waysTo(match, askInstead.get(match.set)) : [[match]];
    alternatives = alternatives.flatMap((matches) => ways.map((way) => [...matches, ...way]));
  }
  return alternatives.map((matches) => ownRule({ ...rule, matches }, context));
}

function waysTo(match: Extract<Match, { kind: 'set' }>, instead: Instead | undefined): Match[][] {
  if (!instead) return [[match]];
  if ('instead' in instead) return [[{ ...match, set: instead.instead }]];
  const { joining, leaving } = instead;
  const staying: Match[] =
    leaving === undefined ? [match] : [{ kind: 'not-in-set', set: leaving, dimensions: match.dimensions }, match];
  return joining === undefined ? [staying] : [staying, [{ ...match, set: joining }]];
}
