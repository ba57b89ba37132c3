/**
 * Sets change line by line, rules in one commit. Where an update needs both, or sets of both directions, a packet in between may
 * meet half of it: a pod that just left a class that denied it everything, and is still in the set it is being taken out of.
 *
 * Then the rules of the first commit look past the sets' members to what they will be: in the place of `in S` they ask for
 * `in S and not in S-leaving` or `in S-joining`. That one commit takes every packet from the old verdict to the new; S is brought up
 * to date under it, which no packet notices; a second commit puts the plain rules in place.
 */
import type { Direction } from '../../../core/vocabulary.ts';
import type { Sliced } from '../../../core/sliced.ts';
import type { IpSet } from '../rules/ruleset.ts';
import type { SetChange } from './diff-sets.ts';
import type { PlanLine } from './plan.ts';

import { versionedMap } from '../../../core/versioned-map.ts';
import { setName } from '../rules/names.ts';
import { type SetDetour, withDetours } from '../rules/write-text.ts';
import { newSetLines } from './diff-sets.ts';
import { type ChainTexts, setUsage, setsOfLines } from './set-usage.ts';

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
export type Addresses = Pick<ReadonlySet<string>, 'has' | 'size'>;

export type MovesByDirection = Readonly<Record<Direction, Moves>>;

const OTHER = { egress: 'ingress', ingress: 'egress' } as const satisfies Record<Direction, Direction>;

/**
 * Whether adding members, then changing the rules, then removing members could show a packet a verdict that is neither the old
 * nor the new one. Errs towards yes.
 */
export function needsSwitchOver(
  changes: readonly SetChange[],
  moves: MovesByDirection,
  before: ChainTexts,
  after: ChainTexts,
): boolean {
  if (changes.length === 0) return false;
  const changed = new Set(changes.map(({ name }) => name));
  const usage = usageOf(changed, before, after);
  if (usage.pairs) return true;
  const sides = { egress: { joins: false, leaves: false }, ingress: { joins: false, leaves: false } };
  for (const { name, joining, leaving } of changes) {
    if (moves.egress.sets.has(name) || moves.ingress.sets.has(name)) return true;
    for (const direction of usage.directions.get(name) ?? []) {
      // The member is the far end of these flows; its own rules are those of the other direction.
      const far = moves[OTHER[direction]];
      if (touches([...joining, ...leaving], far.addresses)) return true;
      sides[direction].joins ||= touches(joining, far.subjects);
      sides[direction].leaves ||= touches(leaving, far.subjects);
    }
  }
  return (sides.egress.joins && sides.ingress.leaves) || (sides.egress.leaves && sides.ingress.joins);
}

function touches(members: readonly string[], addresses: Addresses): boolean {
  if (addresses.size === 0) return false;
  return members.some((member) => member.includes('/') || addresses.has(member.split(',', 1)[0]!));
}

/** In which directions the changed sets are asked about, and whether one rule asks about two of them. */
function usageOf(
  changed: ReadonlySet<string>,
  ...versions: readonly ChainTexts[]
): { directions: Map<string, Set<Direction>>; pairs: boolean } {
  const directions = new Map<string, Set<Direction>>();
  let pairs = false;
  for (const usage of [...new Set(versions)].map(setUsage)) {
    for (const name of changed) {
      for (const direction of usage.directions.get(name) ?? []) {
        directions.set(name, (directions.get(name) ?? new Set()).add(direction));
      }
    }
    pairs ||= usage.together.some((sets) => sets.filter((name) => changed.has(name)).length > 1);
  }
  return { directions, pairs };
}

export interface Detour {
  /** Makes and fills the sets to ask meanwhile. */
  readonly create: readonly PlanLine[];
  /** Chains that refer to a changed set, with rules that look past its members. */
  readonly chains: ChainTexts;
  readonly sets: readonly string[];
}

export function* detourOf(changes: readonly SetChange[], chains: ChainTexts): Sliced<Detour> {
  const create: PlanLine[] = [];
  const sets: string[] = [];
  const detours = new Map<string, SetDetour>();
  const make = (what: string, { name: object, desired }: SetChange, members: IpSet['members']): string | undefined => {
    if (members.size === 0) return undefined;
    const meaning = JSON.stringify([what, object, [...members].sort(byText)]);
    const name = setName(desired.family, meaning);
    for (const line of newSetLines({ ...desired, name, members, meaning }, name, object)) create.push(line);
    sets.push(name);
    return name;
  };
  const matching = (members: readonly string[]) => versionedMap(members.map((member) => [member, true]));
  for (const change of changes) {
    // Entries that contain each other cannot be taken one by one: the most specific decides.
    const instead = change.aside === undefined ? undefined : make('instead', change, change.desired.members);
    detours.set(
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
  const detoured = new Map<string, readonly string[]>();
  for (const [name, lines] of chains) {
    if (!setsOfLines(lines).some((sets) => sets.some((set) => detours.has(set)))) continue;
    detoured.set(
      name,
      lines.flatMap((line) => withDetours(line, detours)),
    );
    yield;
  }
  return { create, chains: detoured, sets };
}

function byText([a]: readonly [string, boolean], [b]: readonly [string, boolean]): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
