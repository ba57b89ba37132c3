/** A table that was read, in the two parts in which it is rendered. */
import { versionedMap } from '../../../core/versioned-map.ts';
import type { Known, Table } from '../table/table.ts';
import type { Leftovers, WholeTable } from './compare.ts';

import { isOfEpochs } from './epochs.ts';

export const EMPTY_TABLE: Table = { chains: versionedMap(), sets: versionedMap() };
export const EMPTY: WholeTable = { rendered: EMPTY_TABLE, epochs: EMPTY_TABLE };

export function splitTable({ chains, sets }: Table): WholeTable {
  const part = (of: keyof WholeTable): Table => {
    const isIn = ([name]: readonly [string, unknown]): boolean => isOfEpochs(name) === (of === 'epochs');
    return { chains: versionedMap([...chains].filter(isIn)), sets: versionedMap([...sets].filter(isIn)) };
  };
  return { rendered: part('rendered'), epochs: part('epochs') };
}

/** What we wrote, with rules as values: to be recognised where it is read again. */
export function knownOf({ rendered, epochs, left }: WholeTable & { readonly left: Leftovers }): Known {
  return {
    chain: (name) => rendered.chains.get(name) ?? epochs.chains.get(name) ?? left.chains.get(name),
    set: (name) => rendered.sets.get(name) ?? epochs.sets.get(name) ?? left.sets.get(name),
  };
}
