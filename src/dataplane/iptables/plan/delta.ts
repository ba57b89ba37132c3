/**
 * Desired, actual and pending, in one value.
 *
 *   desired   the ruleset
 *   actual    the kernel: as our writes left it (`applied`), or as it was read (`recognise`)
 *   pending   what of the desired may not be actual: where it is known which rules and sets were `reached`, what changed since then; and
 *             what is actual and not desired
 */
import { FAMILIES, type Family } from '../../../core/vocabulary.ts';
import type { Sliced } from '../../../core/sliced.ts';
import type { IpSet } from '../rules/rule.ts';
import type { FamilyRules, Ruleset } from '../rules/ruleset.ts';
import type { ObservedFamily, ObservedSet, ObservedState } from './plan.ts';

import { versionedMap } from '../../../core/versioned-map.ts';
import { sameLines } from '../rules/chain.ts';
import { familyOfSet } from '../rules/names.ts';
import { HOOKS } from '../rules/ruleset.ts';

const MEMBERS_PER_STEP = 2_000;

export interface Delta {
  readonly desired: Ruleset;
  readonly actual: ObservedState;
  readonly pending: Pending;
}

interface Pending {
  /** To be compared; `all`, and what is there besides them, where it is not known what changed. */
  readonly sets: readonly IpSet[] | 'all';
  /** Names of all other sets there may be that are not desired, where not all are to be compared. */
  readonly left: readonly string[];
  /** Families whose rules are to be compared. */
  readonly rules: readonly Family[];
}

/** `isWhole`: nothing desired is left out. */
export function deltaOf(desired: Ruleset, actual: ObservedState, isWhole: boolean): Delta {
  const reached = isWhole ? actual.reached : undefined;
  const rules = FAMILIES.filter((family) => reached?.families[family] !== desired.families[family]);
  const changes = desired.sets.changesSince(reached?.sets?.version);
  if (changes === 'all') return { desired, actual, pending: { sets: changes, left: [], rules } };
  const sets = changes.flatMap(({ after }) => after ?? []);
  const gone = changes.flatMap(({ key, after }) => (after ? [] : [key]));
  const left = new Set([...(reached?.left ?? []), ...gone]);
  return { desired, actual, pending: { sets, left: [...left].filter((name) => actual.sets.has(name)), rules } };
}

/** What a plan leaves. */
interface Left {
  readonly families: ObservedState['families'];
  /** By name; all there are if all are pending, else those that are others than before. Undefined: gone. */
  readonly sets: ReadonlyMap<string, ObservedSet | undefined>;
  /** All of the desired, and nothing else. */
  readonly isWhole: boolean;
}

/** The actual state once a plan is carried out. */
export function applied({ desired, actual, pending }: Delta, { families, sets, isWhole }: Left): ObservedState {
  const present = (): (readonly [string, ObservedSet])[] =>
    [...sets].flatMap(([name, set]) => (set ? [[name, set]] : []));
  const after = pending.sets === 'all' ? versionedMap(present()) : withSets(actual.sets, sets);
  const left = pending.sets === 'all' ? [] : pending.left.filter((name) => after.has(name));
  return {
    families,
    sets: after,
    ...(isWhole ? { reached: { families: desired.families, sets: desired.sets, left } } : {}),
    ...(actual.variant ? { variant: actual.variant } : {}),
  };
}

/** With sets that are there besides those of `after`, as they were before: the next plan has to find them. */
export function withSetsLeft(
  after: ObservedState,
  before: ObservedState | undefined,
  left: readonly string[],
): ObservedState {
  if (left.length === 0) return after;
  // A past version is only asked for what is gone: it would be copied for that.
  const known = (name: string): ObservedSet => after.sets.get(name) ?? before?.sets.get(name) ?? unknownSet(name);
  const sets = left.map((name) => [name, known(name)] as const);
  const { reached } = after;
  const all = [...new Set([...(reached?.left ?? []), ...left])];
  return { ...after, sets: withSets(after.sets, sets), ...(reached ? { reached: { ...reached, left: all } } : {}) };
}

/** A set of ours of which only the name is known; it is there to be destroyed. */
function unknownSet(name: string): ObservedSet {
  return { name, family: familyOfSet(name), type: '', maxElements: 0, members: new Map() };
}

function withSets(
  before: ObservedState['sets'],
  sets: Iterable<readonly [string, ObservedSet | undefined]>,
): ObservedState['sets'] {
  return before.with?.(sets) ?? versionedMap(before).with(sets);
}

/** What is known of sets, by name: the ones we wrote, or the ones that are desired. */
type KnownSets = ReadonlyMap<string, Pick<ObservedSet, 'family' | 'type' | 'members'>>;

/**
 * The actual state as read, with whatever is as we know it replaced by the value we know. Later stages then see by identity that there
 * is nothing to compare, and the text that was read can be forgotten. `written`: the state our own writes left, if any.
 * `desired`: the sets to come.
 */
export function* recognise(
  found: ObservedState,
  written: ObservedState | undefined,
  desired: KnownSets,
): Sliced<ObservedState> {
  const families: Partial<Record<Family, ObservedFamily>> = {};
  const reached: Partial<Record<Family, FamilyRules>> = {};
  for (const family of FAMILIES) {
    const now = found.families[family];
    if (!now) continue;
    const ours = written?.families[family];
    families[family] = ours ? yield* recogniseFamily(now, ours) : now;
    const rules = written?.reached?.families[family];
    if (rules && families[family] === ours) reached[family] = rules;
  }
  const sets = new Map<string, ObservedSet>();
  for (const [name, set] of found.sets) {
    const ours = written?.sets.get(name);
    sets.set(name, yield* recogniseSet(set, ours, desired.get(name)));
    yield;
  }
  return { ...found, families, sets, reached: { families: reached } };
}

/** Where nothing was touched, the very state that was written. */
function* recogniseFamily(found: ObservedFamily, written: ObservedFamily): Sliced<ObservedFamily> {
  const chains = new Map<string, readonly string[]>();
  let isWhole = !written.dead && found.chains.size === written.chains.size;
  for (const [name, lines] of found.chains) {
    const ours = written.chains.get(name);
    const isSame = ours !== undefined && sameLines(ours, lines);
    chains.set(name, isSame ? ours : lines);
    isWhole &&= isSame;
    yield;
  }
  if (!isWhole) return { ...found, chains };
  const sameHooks = !found.elsewhere && HOOKS.every((hook) => sameLines(written.hooks[hook], found.hooks[hook]));
  return sameHooks ? written : { ...found, chains: written.chains };
}

function* recogniseSet(
  found: ObservedSet,
  ...known: readonly (Pick<ObservedSet, 'family' | 'type' | 'members'> | undefined)[]
): Sliced<ObservedSet> {
  for (const candidate of known) {
    if (candidate?.family !== found.family || candidate.type !== found.type) continue;
    if (yield* sameMembers(found.members, candidate.members)) return { ...found, members: candidate.members };
  }
  return found;
}

function* sameMembers(found: ObservedSet['members'], known: ObservedSet['members']): Sliced<boolean> {
  if (found.size !== known.size) return false;
  let count = 0;
  for (const [member, match] of found) {
    if (known.get(member) !== match) return false;
    if (++count % MEMBERS_PER_STEP === 0) yield;
  }
  return true;
}
