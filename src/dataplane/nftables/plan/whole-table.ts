/** A table that was read, in the two parts in which it is rendered. */
import { versionedMap } from '../../../core/versioned-map.ts';
import type { Table } from '../table/table.ts';
import type { WholeTable } from './compare.ts';

import { isOfEpochs } from './epochs.ts';

export const EMPTY_TABLE: Table = { chains: versionedMap(), sets: versionedMap() };
export const EMPTY: WholeTable = { rendered: EMPTY_TABLE, epochs: EMPTY_TABLE };

export function splitTable({ chains, sets }: Table): WholeTable {
  const part = (ofEpochs: boolean): Table => {
    const isIn = ([name]: readonly [string, unknown]): boolean => isOfEpochs(name) === ofEpochs;
    return { chains: versionedMap([...chains].filter(isIn)), sets: versionedMap([...sets].filter(isIn)) };
  };
  return { rendered: part(false), epochs: part(true) };
}
