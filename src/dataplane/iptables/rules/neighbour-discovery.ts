/**
 * IPv6 neighbour discovery and multicast listener discovery as they are on a link, and never a packet that was routed (S-58).
 *
 *   neighbour discovery   types 133-137, hop limit 255, right behind the IPv6 header
 *   listener discovery    types 130-132 and 143, hop limit 1, from a link-local or the unspecified address to a multicast address;
 *                         right behind the IPv6 header or behind one hop-by-hop header of 8 bytes (router alert)
 *
 * The hop limit alone tells neighbour discovery: a router decrements it before FORWARD, so a routed packet has 254 there at most.
 * It does not tell listener discovery: sent with 2, a packet has 1 in FORWARD. The addresses do: no router passes on what comes
 * from a link-local address.
 */

/** xt_bpf BPF_MAJ instruction codes of the classic machine. */
const LOAD_WORD = 0x20;
const LOAD_BYTE = 0x30;
const AND = 0x54;
const IF_EQUAL = 0x15;
const IF_GREATER = 0x25;
const IF_AT_LEAST = 0x35;
const ANSWER = 0x06;

/** Offsets in the IPv6 header, which is 40 bytes long. */
const NEXT_HEADER = 6;
const HOP_LIMIT = 7;
const SOURCE = 8;
const DESTINATION = 24;
const PAYLOAD = 40;

const ICMPV6 = 58;
const HOP_BY_HOP = 0;

/** One instruction; a test names the line to go to, or goes on with the next one. */
interface Line {
  readonly label?: string;
  readonly code: number;
  readonly value: number;
  readonly yes?: string;
  readonly no?: string;
}

const LINES: readonly Line[] = [
  { code: LOAD_BYTE, value: HOP_LIMIT },
  { code: IF_EQUAL, value: 255, yes: 'neighbours' },
  { code: IF_EQUAL, value: 1, no: 'other' },
  { code: LOAD_BYTE, value: DESTINATION },
  { code: IF_EQUAL, value: 0xff, no: 'other' },
  { code: LOAD_WORD, value: SOURCE },
  { code: IF_EQUAL, value: 0, yes: 'listeners' },
  { code: AND, value: 0xffc00000 },
  { code: IF_EQUAL, value: 0xfe800000, no: 'other' },
  { label: 'listeners', code: LOAD_BYTE, value: NEXT_HEADER },
  { code: IF_EQUAL, value: ICMPV6, yes: 'bare' },
  { code: IF_EQUAL, value: HOP_BY_HOP, no: 'other' },
  { code: LOAD_BYTE, value: PAYLOAD },
  { code: IF_EQUAL, value: ICMPV6, no: 'other' },
  { code: LOAD_BYTE, value: PAYLOAD + 1 },
  { code: IF_EQUAL, value: 0, no: 'other' },
  { code: LOAD_BYTE, value: PAYLOAD + 8 },
  { code: IF_EQUAL, value: 143, yes: 'found', no: 'report' },
  { label: 'bare', code: LOAD_BYTE, value: PAYLOAD },
  { code: IF_EQUAL, value: 143, yes: 'found' },
  { label: 'report', code: IF_AT_LEAST, value: 130, no: 'other' },
  { code: IF_GREATER, value: 132, yes: 'other', no: 'found' },
  { label: 'neighbours', code: LOAD_BYTE, value: NEXT_HEADER },
  { code: IF_EQUAL, value: ICMPV6, no: 'other' },
  { code: LOAD_BYTE, value: PAYLOAD },
  { code: IF_AT_LEAST, value: 133, no: 'other' },
  { code: IF_GREATER, value: 137, yes: 'other' },
  { label: 'found', code: ANSWER, value: 65535 },
  { label: 'other', code: ANSWER, value: 0 },
];

/** The program as `-m bpf --bytecode` takes it and `iptables-save` prints it; loads count from the IPv6 header. */
export function neighbourDiscoveryProgram(): string {
  const places = new Map(LINES.flatMap(({ label }, index) => (label === undefined ? [] : [[label, index] as const])));
  const distance = (from: number, label: string | undefined): number =>
    label === undefined ? 0 : places.get(label)! - from - 1;
  const instructions = LINES.map(
    ({ code, value, yes, no }, index) => `${code} ${distance(index, yes)} ${distance(index, no)} ${value}`,
  );
  return [String(LINES.length), ...instructions].join(',');
}
