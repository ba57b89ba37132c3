import type { Family } from './ip.ts';
/** A prefix of one address family. Host bits are zero. */
export interface Cidr {
  readonly family: Family;
  /** Family 4: one uint32. Family 6: four uint32, most significant first. */
  readonly words: readonly number[];
  /** 0..32 or 0..128. */
  readonly prefixLength: number;
}
