/** Which sets rules refer to, read from their text. */
import type { Direction } from '../../../core/vocabulary.ts';

import { directionOfClass } from '../rules/names.ts';
import { referredSets } from '../rules/write-text.ts';

/** Chain name -> its rules' text. */
export type ChainTexts = ReadonlyMap<string, readonly string[]>;

/** What the rules say of sets; found once for chains that stay as they are over many updates. */
export interface SetUsage {
  readonly directions: ReadonlyMap<string, ReadonlySet<Direction>>;
  /** Sets that one rule asks about together. */
  readonly together: readonly (readonly string[])[];
}

const usages = new WeakMap<ChainTexts, SetUsage>();

export function setUsage(chains: ChainTexts): SetUsage {
  const known = usages.get(chains);
  if (known) return known;
  const directions = new Map<string, Set<Direction>>();
  const together: (readonly string[])[] = [];
  for (const [chain, lines] of chains) {
    const direction = directionOfClass(chain);
    if (!direction) continue;
    for (const sets of setsOfLines(lines)) {
      if (sets.length > 1) together.push(sets);
      for (const name of sets) directions.set(name, (directions.get(name) ?? new Set()).add(direction));
    }
  }
  const usage = { directions, together };
  usages.set(chains, usage);
  return usage;
}

const setsByLine = new WeakMap<readonly string[], readonly (readonly string[])[]>();

/** The sets each line refers to, for the lines that refer to any; found once for lines that stay as they are. */
export function setsOfLines(lines: readonly string[]): readonly (readonly string[])[] {
  const known = setsByLine.get(lines);
  if (known) return known;
  const found = lines.map(referredSets).filter((sets) => sets.length > 0);
  setsByLine.set(lines, found);
  return found;
}

/** A set, or a map by name. */
export type Names = Pick<ReadonlySet<string>, 'has'>;

/** Names of all the sets the chains refer to. */
export function setsOfChains(chains: ChainTexts): ReadonlyMap<string, unknown> {
  return setUsage(chains).directions;
}
