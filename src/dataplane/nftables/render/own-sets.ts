/** The sets and maps that every table of a layout has, filled by endpoints. */
import { type Direction, FAMILIES } from '../../../core/vocabulary.ts';
import type { Layout, NftSet } from '../table/table.ts';
import type { Guards } from './brought.ts';

import { JUDGING_ORDER } from '../../judgings.ts';
import { dispatchMap, guardMap, itselfSet, listedSet } from '../table/names.ts';
import { stamps } from '../table/table.ts';

export const ADDRESS_TYPE = { 4: 'ipv4_addr', 6: 'ipv6_addr' } as const;

/** `guarded`: the directions in which interfaces of pods are guarded. */
export function ownSets(
  layout: Layout,
  { of }: Guards,
  guarded: readonly Direction[],
): readonly Omit<NftSet, 'elements'>[] {
  const ways = stamps(layout) ? [false, true] : [false];
  return FAMILIES.flatMap((family) => {
    const type = ADDRESS_TYPE[family];
    const map = { isMap: true, type };
    return [
      { name: itselfSet(family), type: `${type} . ${type}` },
      ...(of.size > 0 ? [{ name: listedSet(family), type: `ifname . ${type}` }] : []),
      ...JUDGING_ORDER.flatMap((direction) =>
        ways.flatMap((replies) => [
          { ...map, name: dispatchMap(direction, replies, family) },
          ...(guarded.includes(direction)
            ? [{ ...map, type: 'ifname', name: guardMap(direction, replies, family) }]
            : []),
        ]),
      ),
    ];
  });
}
