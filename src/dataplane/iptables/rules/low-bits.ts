/** The last 16 bits of addresses, by which pods are told apart first. */
import type { Family } from '../../../core/vocabulary.ts';

/** The last 16 bits of an address in canonical text. */
export function lowBits(address: string): number {
  const dot = address.lastIndexOf('.');
  if (dot >= 0) {
    const before = Math.max(address.lastIndexOf('.', dot - 1), address.lastIndexOf(':', dot - 1));
    return Number(address.slice(before + 1, dot)) * 256 + Number(address.slice(dot + 1));
  }
  const tail = address.slice(address.lastIndexOf(':') + 1);
  return tail === '' ? 0 : Number.parseInt(tail, 16);
}

/** The address whose last 16 bits are `bits`, and all others 0. */
export function lowBitsText(bits: number, family: Family): string {
  if (family === 4) return `0.0.${bits >> 8}.${bits & 255}`;
  return bits === 0 ? '::' : `::${bits.toString(16)}`;
}
