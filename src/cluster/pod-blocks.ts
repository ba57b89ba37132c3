/** Which blocks of addresses pods have theirs from. */
import type { Inventory } from './inventory.ts';

import { type Cidr, parseCidr } from '../net/cidr.ts';
import { isRecord } from '../policy/raw-values.ts';

/** Of the nodes' pods, where Node objects tell. */
export function podBlocksOf({ objects }: Inventory): readonly Cidr[] {
  return objects.flatMap(({ object }) => {
    if (!isRecord(object) || object.kind !== 'Node' || !isRecord(object.spec)) return [];
    const { podCIDRs, podCIDR } = object.spec;
    const all = Array.isArray(podCIDRs) ? podCIDRs : [podCIDR];
    return all.flatMap((each) => (typeof each === 'string' ? (parseCidr(each) ?? []) : []));
  });
}
