/** Bits of the connection mark: a flow carries the epoch in which it was judged, and whether it was denied. */

/** How the bits are used: `mask` is contiguous; its lowest bit is the denied flag, the rest the epoch. */
export interface MarkBits {
  readonly mask: number;
}

/**
 * In the place of an epoch: no flow is taken for judged, each packet of a live flow is. The bits of the mark become 0 with the first
 * packet that is let through.
 */
export const EVERY_PACKET = 0;

/** How many epochs the bits hold; 0 means "never judged" and is not stamped, but for EVERY_PACKET. */
export function epochCount(marks: MarkBits): number {
  return ((marks.mask >>> 0) / deniedBit(marks) - 1) / 2;
}

export function deniedBit(marks: MarkBits): number {
  return (marks.mask & -marks.mask) >>> 0;
}

/** What the bits of `marks.mask` are in the mark of a flow that was judged, and not denied, in an epoch. */
export function markOf(epoch: number, marks: MarkBits): number {
  return (epoch * deniedBit(marks) * 2) >>> 0;
}

/** The opposite of `markOf`; no whole number where the bits are no epoch's. */
export function epochOf(mark: number, marks: MarkBits): number {
  return mark / (deniedBit(marks) * 2);
}

/** The epoch after it, when all go round. */
export function nextEpoch(current: number, marks: MarkBits): number {
  return (current % epochCount(marks)) + 1;
}

/**
 * Any epoch that the mark's bits can hold, to begin with on a host that has none: stamps left by an uninstalled agent are then unlikely to
 * count. `random`: 0..1, without 1.
 */
export function anyEpoch(mask: number, random: () => number): number {
  return 1 + Math.floor(random() * epochCount({ mask }));
}
