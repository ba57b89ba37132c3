/** Whether a set has an address, or an address with a protocol and a port. */
import type { Address } from '../../../net/ip.ts';
import type { NftSet } from '../table/table.ts';

import { cidrContains, parseCidr } from '../../../net/cidr.ts';
import { parseAddress } from '../../../net/ip.ts';

/** `rest`: behind the address, as in `10.0.0.1,6:80`; empty: nothing is. */
export function isElement(set: NftSet, text: string, rest = ''): boolean {
  if (!set.isInterval) return set.elements.has(`${text}${rest}`);
  const address = parsed(text);
  return rangesOf(set).some((range) => range.rest === rest && range.holds(address));
}

/** `cidr`: or a single address. */
export function holdsAddress(cidr: string, text: string): boolean {
  return rangeOf(cidr)(parsed(text));
}

interface Range {
  readonly rest: string;
  readonly holds: (address: Address) => boolean;
}

const known = new WeakMap<NftSet['elements'], readonly Range[]>();

function rangesOf({ elements }: NftSet): readonly Range[] {
  const before = known.get(elements);
  if (before) return before;
  const found = [...elements.keys()].map((element): Range => {
    const comma = element.indexOf(',');
    const range = comma < 0 ? element : element.slice(0, comma);
    return { rest: comma < 0 ? '' : element.slice(comma), holds: rangeOf(range) };
  });
  known.set(elements, found);
  return found;
}

/** `10.0.0.0/8`, `10.0.0.1-10.0.0.9` or `10.0.0.1`. */
function rangeOf(text: string): Range['holds'] {
  const cidr = text.includes('/') ? parseCidr(text) : undefined;
  if (cidr) return (address) => address.family === cidr.family && cidrContains(cidr, address);
  const [first, last] = text.split('-').map(parsed);
  const end = last ?? first!;
  return (address) => address.family === first!.family && !isBelow(address, first!) && !isBelow(end, address);
}

function isBelow({ words: a }: Address, { words: b }: Address): boolean {
  const at = a.findIndex((word, index) => word !== b[index]);
  return at >= 0 && a[at]! < b[at]!;
}

function parsed(text: string): Address {
  const address = parseAddress(text);
  if (!address) throw new Error(`${JSON.stringify(text)} is not an address`);
  return address;
}
