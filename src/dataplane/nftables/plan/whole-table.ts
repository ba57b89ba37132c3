/** A table that was read, in the two parts in which it is rendered. */
import { versionedMap } from '../../../core/versioned-map.ts';
import { type Chain, isSameChain, type Table } from '../table/table.ts';
import type { WholeTable } from './compare.ts';

import { isOfEpochs } from './epochs.ts';

export const EMPTY_TABLE: Table = { chains: versionedMap(), sets: versionedMap() };
export const EMPTY: WholeTable = { rendered: EMPTY_TABLE, epochs: EMPTY_TABLE };

/** `written`: what it should be. Chains that are as they were written are the same objects, with their rules as values. */
export function splitTable({ chains, sets }: Table, written: WholeTable = EMPTY): WholeTable {
  const part = (of: keyof WholeTable): Table => {
    const isIn = ([name]: readonly [string, unknown]): boolean => isOfEpochs(name) === (of === 'epochs');
    const known = [...chains].filter(isIn).map(([name, chain]): [string, Chain] => {
      const before = written[of].chains.get(name);
      return [name, before && isSameChain(before, chain) ? before : chain];
    });
    return { chains: versionedMap(known), sets: versionedMap([...sets].filter(isIn)) };
  };
  return { rendered: part('rendered'), epochs: part('epochs') };
}
