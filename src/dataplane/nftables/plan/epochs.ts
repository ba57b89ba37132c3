/** Epochs of judged flows in a table: the set that holds the mark of the one in force, and the chain that stamps flows with it. */
import { FAMILIES, type Family } from '../../../core/vocabulary.ts';
import type { MarkBits } from '../../mark-bits.ts';
import type { Layout, NftSet, Table } from '../table/table.ts';

import { versionedMap } from '../../../core/versioned-map.ts';
import { EVERY_PACKET, epochCount, markOf } from '../../mark-bits.ts';
import { stampingChain } from '../render/entry-chains.ts';
import { evolved } from '../render/peer-sets.ts';
import { epochSet, isStampChain, RELEASED_SET, STAMP_MAP, stampChain } from '../table/names.ts';
import { markText } from '../table/rule-text.ts';

export type Epochs = Readonly<Record<Family, number>>;

/** What of a table the epochs are, beside what is rendered. `released`: see RELEASED_SET. `before`: the same of the table that it follows. */
export function epochTable(
  epochs: Epochs,
  released: ReadonlySet<Family>,
  { marks }: Required<Pick<Layout, 'marks'>>,
  before?: Table,
): Table {
  const set = (name: string, type: string, elements: readonly (readonly [string, true | string])[]): NftSet => {
    const known = before?.sets.get(name);
    const now = evolved(known?.elements, new Map(elements));
    return known?.elements === now
      ? known
      : { name, type, ...(name === STAMP_MAP ? { isMap: true } : {}), elements: now };
  };
  const bits = FAMILIES.map((family) => [family, markOf(epochs[family], marks)] as const);
  const sets = [
    ...bits.map(([family, mark]) =>
      set(epochSet(family), 'mark', mark === EVERY_PACKET ? [] : [[markText(mark), true]]),
    ),
    set(
      STAMP_MAP,
      'nf_proto',
      bits.map(([family, mark]) => [`ipv${family}`, `goto ${stampChain(mark)}`]),
    ),
    set(
      RELEASED_SET,
      'nf_proto',
      [...released].map((family) => [`ipv${family}`, true]),
    ),
  ];
  const chains = FAMILIES.map((family) => stampingChain(epochs[family], marks));
  const named = chains.map((chain) => [chain.name, before?.chains.get(chain.name) ?? chain] as const);
  return { chains: versionedMap(named), sets: versionedMap(sets.map((each) => [each.name, each])) };
}

/** Whether a set or chain of that name is of the epochs. */
export function isOfEpochs(name: string): boolean {
  return EPOCH_SETS.has(name) || isStampChain(name);
}

const EPOCH_SETS: ReadonlySet<string> = new Set([...FAMILIES.map(epochSet), STAMP_MAP, RELEASED_SET]);

/** The epoch that flows of the family are stamped with, or EVERY_PACKET; undefined: not known, or under another mask. */
export function readEpoch({ sets }: Table, family: Family, marks: MarkBits): number | undefined {
  const stamp = sets.get(STAMP_MAP)?.elements.get(`ipv${family}`);
  if (typeof stamp !== 'string') return undefined;
  for (let epoch = EVERY_PACKET; epoch <= epochCount(marks); epoch++)
    if (stamp === `goto ${stampChain(markOf(epoch, marks))}`) return epoch;
  return undefined;
}

export function readReleased({ sets }: Table): ReadonlySet<Family> {
  const elements = sets.get(RELEASED_SET)?.elements;
  return new Set(FAMILIES.filter((family) => elements?.has(`ipv${family}`)));
}
