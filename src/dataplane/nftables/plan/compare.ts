/** A table as it should be against what there is. Costs what differs, where one is a later version of the other. */
import type { Sliced } from '../../../core/sliced.ts';
import { sortedInSteps } from '../../../core/sort-in-steps.ts';
import type { VersionedMap } from '../../../core/versioned-map.ts';
import { type Chain, type Elements, isSameChain, isSameKind, type NftSet, type Table } from '../table/table.ts';

/** Objects that nothing of the table leads to any more, until they are deleted. */
export interface Leftovers {
  readonly chains: ReadonlyMap<string, Chain>;
  readonly sets: ReadonlyMap<string, NftSet>;
}

export const NO_LEFTOVERS: Leftovers = { chains: new Map(), sets: new Map() };

/** In two parts that change apart from each other: what is rendered, and the epochs. */
export interface WholeTable {
  readonly rendered: Table;
  readonly epochs: Table;
}

export interface ElementChange {
  readonly before: NftSet;
  readonly after: NftSet;
  /** A verdict that changes leaves and joins. */
  readonly leaving: readonly (readonly [string, true | string])[];
  readonly joining: readonly (readonly [string, true | string])[];
}

export interface Difference {
  readonly newSets: NftSet[];
  readonly newChains: Chain[];
  readonly changedSets: ElementChange[];
  /** Of the same name, with other rules. */
  readonly changedChains: { readonly before: Chain; readonly after: Chain }[];
  readonly goneSets: NftSet[];
  readonly goneChains: Chain[];
  /** Names that stand for another kind of set, or for a chain at another hook: nothing can make one of the other. */
  readonly clashes: string[];
}

export function* compareTables(desired: WholeTable, actual: WholeTable, left: Leftovers): Sliced<Difference> {
  const found = yield* comparePart(desired.rendered, actual.rendered, left);
  return yield* comparePart(desired.epochs, actual.epochs, left, found);
}

/** `found`: what differs in the other part, to be added to. */
export function* comparePart(
  desired: Table,
  actual: Table,
  left: Leftovers,
  found: Difference = noDifference(),
): Sliced<Difference> {
  for (const [name, now, before] of changesOf(desired.chains, actual.chains, left.chains)) {
    compareChain(name, now, before, found);
    yield;
  }
  for (const [name, now, before] of changesOf(desired.sets, actual.sets, left.sets)) {
    yield* compareSet(name, now, before, found);
    yield;
  }
  return found;
}

function noDifference(): Difference {
  return {
    newSets: [],
    newChains: [],
    changedSets: [],
    changedChains: [],
    goneSets: [],
    goneChains: [],
    clashes: [],
  };
}

function* changesOf<V>(
  desired: VersionedMap<string, V>,
  actual: VersionedMap<string, V>,
  left: ReadonlyMap<string, V>,
): Iterable<readonly [string, V | undefined, V | undefined]> {
  const changes = desired === actual ? [] : desired.changesSince(actual.version);
  if (changes !== 'all') {
    // What was is asked of the change: a past version of a map is a copy.
    for (const { key, before, after } of changes) yield [key, after, before ?? left.get(key)];
    return;
  }
  for (const [key, now] of desired) yield [key, now, actual.get(key) ?? left.get(key)];
  for (const [key, before] of actual) if (!desired.has(key)) yield [key, undefined, before];
}

function compareChain(name: string, now: Chain | undefined, before: Chain | undefined, found: Difference): void {
  if (!now) {
    if (before) found.goneChains.push(before);
  } else if (!before) found.newChains.push(now);
  else if (before.hook !== now.hook) found.clashes.push(name);
  else if (!isSameChain(before, now)) found.changedChains.push({ before, after: now });
}

function* compareSet(
  name: string,
  now: NftSet | undefined,
  before: NftSet | undefined,
  found: Difference,
): Sliced<void> {
  if (!now) {
    if (before) found.goneSets.push(before);
  } else if (!before) found.newSets.push(now);
  else if (!isSameKind(before, now)) found.clashes.push(name);
  else {
    const { leaving, joining } = yield* compareElements(now.elements, before.elements);
    if (leaving.length + joining.length > 0) found.changedSets.push({ before, after: now, leaving, joining });
  }
}

const ELEMENTS_PER_STEP = 1_000;

/** Sorted, so that the same change gives the same bytes. */
function* compareElements(now: Elements, before: Elements): Sliced<Pick<ElementChange, 'leaving' | 'joining'>> {
  const leaving: [string, true | string][] = [];
  const joining: [string, true | string][] = [];
  const compare = (key: string, was: true | string | undefined, is: true | string | undefined): void => {
    if (was === is) return;
    if (was !== undefined) leaving.push([key, was]);
    if (is !== undefined) joining.push([key, is]);
  };
  const changes = now === before ? [] : now.changesSince(before.version);
  if (changes !== 'all') for (const change of changes) compare(change.key, change.before, change.after);
  else {
    let count = 0;
    for (const [key, is] of now) {
      compare(key, before.get(key), is);
      if (++count % ELEMENTS_PER_STEP === 0) yield;
    }
    for (const [key, was] of before) {
      if (!now.has(key)) compare(key, was, undefined);
      if (++count % ELEMENTS_PER_STEP === 0) yield;
    }
  }
  return { leaving: yield* sortedInSteps(leaving, byKey), joining: yield* sortedInSteps(joining, byKey) };
}

/** No two elements have the same key. */
export function byKey([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : 1;
}
