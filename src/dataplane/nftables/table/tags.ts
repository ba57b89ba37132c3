/**
 * Tags that chains at a bridge's hooks leave on a packet for the chains of family inet that it comes to next. They are put into the
 * packet's priority (`skb->priority`), as class ids that no qdisc has: the kernel sets it to 0 in every packet that leaves a veth and in
 * every one that is routed, so none comes from a pod and none goes to one.
 */
import { hash } from 'node:crypto';

import type { End } from './rule.ts';

/** All of them, as nft writes a range of class ids. */
export const TAGS = '8000:0-bfff:ffff';

/** Of a packet at an address that is not programmed, by the end that it is of (S-75). */
export const NEW_POD_TAGS: Readonly<Record<End, string>> = {
  source: tagText('source', 0),
  destination: tagText('destination', 0),
};

/** One for each name, which stay the same as long as two of them do not fall together. `end`: of the packet at the port. */
export function tagsOf(end: End, names: Iterable<string>): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  const taken = new Set([NEW_POD_TAGS[end]]);
  for (const name of [...names].sort()) {
    let number = hash('sha256', name, 'buffer').readUInt32BE() & MAX_NUMBER;
    while (taken.has(tagText(end, number))) number = (number + 1) & MAX_NUMBER;
    taken.add(tagText(end, number));
    found.set(name, tagText(end, number));
  }
  return found;
}

const MAX_NUMBER = 0x1fffffff;

/** 0x80000000 to 0x9fffffff, or 0xa0000000 to 0xbfffffff. */
function tagText(end: End, number: number): string {
  const value = ((end === 'source' ? 0x80000000 : 0xa0000000) | number) >>> 0;
  return `${(value >>> 16).toString(16)}:${(value & 0xffff).toString(16)}`;
}

/** The class id that `tag` writes; undefined: it is none. */
export function tagNumber(tag: string): number | undefined {
  const [, high, low] = /^([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(tag) ?? [];
  if (high === undefined || low === undefined) return undefined;
  return Number.parseInt(high, 16) * 0x10000 + Number.parseInt(low, 16);
}
