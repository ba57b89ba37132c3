/** CIDRs as the API server reads them: host bits and leading zeros are accepted. For validation only, not for speed. Pure. */
import { isIP } from 'node:net';

export interface ParsedCidr {
  readonly family: 4 | 6;
  /** The network address, host bits cleared. */
  readonly network: bigint;
  readonly bits: number;
  /** Accepted for old objects' sake, but worth a warning. */
  readonly oddity?: 'leading-zeros' | 'ipv4-mapped' | 'host-bits';
}

/** Undefined if the text is no CIDR. An IPv4-mapped IPv6 CIDR counts as IPv6, as in the API server's comparison of families. */
export function parseCidr(text: string): ParsedCidr | undefined {
  const match = /^([0-9A-Fa-f:.]+)\/(\d{1,3})$/.exec(text);
  const address = match?.[1] ?? '';
  const decimal = withoutLeadingZeros(address);
  const family = isIP(decimal);
  const bits = Number(match?.[2]);
  const width = family === 4 ? 32 : 128;
  if (!match || (family !== 4 && family !== 6) || bits > width || /^0\d/.test(match[2] ?? '')) return undefined;
  const value = family === 4 ? ipv4Value(decimal) : ipv6Value(decimal);
  const network = clearHostBits(value, width - bits);
  const oddity = oddityOf(address !== decimal, family === 6 && value >> 32n === 0xffffn, network !== value);
  return { family, network, bits, ...(oddity ? { oddity } : {}) };
}

/** True if `inner` lies in `outer` and is smaller. */
export function isStrictSubset(inner: ParsedCidr, outer: ParsedCidr): boolean {
  if (inner.family !== outer.family || inner.bits <= outer.bits) return false;
  const width = inner.family === 4 ? 32 : 128;
  return clearHostBits(inner.network, width - outer.bits) === outer.network;
}

function oddityOf(zeros: boolean, mapped: boolean, hostBits: boolean): ParsedCidr['oddity'] {
  return zeros ? 'leading-zeros' : mapped ? 'ipv4-mapped' : hostBits ? 'host-bits' : undefined;
}

function withoutLeadingZeros(address: string): string {
  if (!/^\d+(\.\d+){3}$/.test(address)) return address;
  return address
    .split('.')
    .map((part) => part.replace(/^0+(?=\d)/, ''))
    .join('.');
}

const clearHostBits = (value: bigint, hostBits: number): bigint => (value >> BigInt(hostBits)) << BigInt(hostBits);

export function ipv4Value(address: string): bigint {
  return address.split('.').reduce((value, part) => (value << 8n) | BigInt(part), 0n);
}

/** Takes text that `isIP` accepts as IPv6, without a zone. */
export function ipv6Value(address: string): bigint {
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(address);
  const low = dotted ? ipv4Value(dotted[2] ?? '') : 0n;
  const text = dotted ? `${dotted[1]}${(low >> 16n).toString(16)}:${(low & 0xffffn).toString(16)}` : address;
  const [head = '', tail] = text.split('::');
  const groups = (part: string): string[] => (part === '' ? [] : part.split(':'));
  const first = groups(head);
  const last = tail === undefined ? [] : groups(tail);
  const middle = Array.from({ length: 8 - first.length - last.length }, () => '0');
  return [...first, ...middle, ...last].reduce((value, group) => (value << 16n) | BigInt(`0x${group}`), 0n);
}
