/** The sets and maps that every table of a layout has, filled by endpoints. */
import { type Direction, FAMILIES } from '../../../core/vocabulary.ts';
import type { Layout, NftSet } from '../table/table.ts';
import type { Guards } from './brought.ts';

import { JUDGING_ORDER } from '../../judgings.ts';
import { ADDRESS_TYPE, bridgedMap, dispatchMap, guardMap, itselfSet, listedSet } from '../table/names.ts';
import { stamps } from '../table/table.ts';
import { taggingSets } from './bridged-ports.ts';

/** `guarded`: the directions in which interfaces of pods are guarded. `isBridged`: ports of bridges are looked at. */
export function ownSets(
  layout: Layout,
  { isAny }: Guards,
  guarded: readonly Direction[],
  isBridged: boolean,
): readonly Omit<NftSet, 'elements'>[] {
  const ways = stamps(layout) ? [false, true] : [false];
  const tagging = isBridged ? taggingSets() : [];
  const own = FAMILIES.flatMap((family) => {
    const type = ADDRESS_TYPE[family];
    const map = { isMap: true, type };
    return [
      { name: itselfSet(family), type: `${type} . ${type}` },
      ...(isAny ? [{ name: listedSet(family), type: `ifname . ${type}` }] : []),
      ...JUDGING_ORDER.flatMap((direction) =>
        ways.flatMap((replies) => [
          { ...map, name: dispatchMap(direction, replies, family) },
          ...(guarded.includes(direction)
            ? [{ ...map, type: 'ifname', name: guardMap(direction, replies, family) }]
            : []),
          ...(isBridged ? [{ ...map, type: 'classid', name: bridgedMap(direction, replies, family) }] : []),
        ]),
      ),
    ];
  });
  return [...tagging, ...own];
}
