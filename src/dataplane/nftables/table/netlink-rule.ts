/**
 * A rule -> the expressions that the kernel runs, as nft makes them of the same rule. They load what is matched into a register and compare
 * that; `ip saddr` looks at the family before the first of them, `tcp dport` at the protocol, unless a match ahead of them did.
 *
 *   ip saddr @s counter return     meta nfproto -> 1; 1 == 2; payload network + 12, 4 bytes -> 1; 1 in s; counter; verdict return
 *   tcp dport { 80, 443 } drop     a set without a name, in a message ahead of the rule's; payload transport + 2 -> 1; 1 in it; ...
 *
 * Source: linux/netfilter/nf_tables.h; netlink_linearize.c and payload.c of nftables 1.0.6, in what kernel tests compare (rules by netlink).
 */
import { type Family, PROTOCOL_NUMBER, type Protocol } from '../../../core/vocabulary.ts';
import type { PortRange } from '../../../net/port-range.ts';
import type { TableFamily } from './families.ts';
import type { ConntrackState, End, MapKey, Match, Rule, Target } from './rule.ts';

import { localName } from './families.ts';
import type { NetlinkMessages } from './netlink-messages.ts';
import { textAttribute } from '../../../core/netlink-layout.ts';
import {
  addressOf,
  bigEndian,
  type ByteOrder,
  type Bytes,
  interfaceOf,
  type KeyRange,
  littleEndian,
  maskOf,
  nextKey,
  prefixOf,
} from './netlink-keys.ts';
import { MAX_COMMENT, safeText } from './rule-text.ts';
import { tagNumber, TAGS } from './tags.ts';

// ---------------------------------------------------------------------------------------------------- sets without a name

/** A list that a rule is written with. Its elements are disjoint, in ascending order. */
export interface AnonymousSet {
  /** As keyTypeOf has it. */
  readonly type: string;
  readonly order: ByteOrder;
  /** What libnftables keeps with it of where its keys are found. */
  readonly about: Bytes;
  readonly isInterval: boolean;
  readonly elements: readonly KeyRange[];
}

/** In the order in which the rule asks them. */
export function anonymousSets({ matches }: Rule): readonly AnonymousSet[] {
  return matches.flatMap(setsOf);
}

function setsOf(match: Match): readonly AnonymousSet[] {
  if (match.kind === 'ports' && match.ranges.length > 1) return [portSet(match.protocol, match.end, match.ranges)];
  if (match.kind === 'icmp') return [PROTOCOLS_OF_ICMP];
  if (match.kind === 'neighbour-discovery') return [ICMPV6_TYPES.neighbours];
  return match.kind === 'listener-discovery' ? [LISTENER_SOURCES, ICMPV6_TYPES.listeners] : [];
}

const META = {
  frame: 1,
  priority: 2,
  inputName: 6,
  outputName: 7,
  family: 15,
  protocol: 16,
} as const;
/** libnftables' numbers of protocols and their fields (enum proto_desc_id), and of kinds of expressions. */
const FIELD = {
  port: { TCP: 8, UDP: 6, SCTP: 10 },
  sport: 1,
  dport: 2,
  ip6: 13,
  ip6Source: 8,
  icmpv6: 14,
  icmpv6Type: 1,
} as const;
const [OF_PAYLOAD, OF_META] = [7, 9];

function payloadField(header: number, field: number): Bytes {
  return [
    ...typed(0, littleEndian(OF_PAYLOAD)),
    ...typed(1, [...typed(0, littleEndian(header)), ...typed(1, littleEndian(field))]),
  ];
}

function metaField(key: number): Bytes {
  return [...typed(0, littleEndian(OF_META)), ...typed(1, typed(0, littleEndian(key)))];
}

/** Type, length, value. */
export function typed(type: number, value: Bytes): Bytes {
  return [type, value.length, ...value];
}

function listOf(type: string, about: Bytes, keys: readonly Bytes[], order: ByteOrder = 'network'): AnonymousSet {
  return { type, order, about, isInterval: false, elements: keys.map((key) => ({ first: key, last: key })) };
}

function portSet(protocol: Protocol, end: End, ranges: readonly PortRange[]): AnonymousSet {
  return {
    type: 'inet_service',
    order: 'network',
    about: payloadField(FIELD.port[protocol], end === 'source' ? FIELD.sport : FIELD.dport),
    isInterval: ranges.some(({ first, last }) => first !== last),
    elements: ranges.map(({ first, last }) => ({ first: bigEndian(first, 2), last: bigEndian(last, 2) })),
  };
}

const PROTOCOLS_OF_ICMP = listOf('inet_proto', metaField(META.protocol), [[1], [58]], 'host');
const ABOUT_ICMPV6_TYPE = payloadField(FIELD.icmpv6, FIELD.icmpv6Type);
/** RFC 4861: router solicitation and advertisement, neighbour solicitation and advertisement, redirect. RFC 2710, RFC 3810: MLD. */
const ICMPV6_TYPES = {
  neighbours: listOf('icmpv6_type', ABOUT_ICMPV6_TYPE, [[133], [134], [135], [136], [137]]),
  listeners: listOf('icmpv6_type', ABOUT_ICMPV6_TYPE, [[130], [131], [132], [143]]),
};
const LISTENER_SOURCES: AnonymousSet = {
  type: 'ipv6_addr',
  order: 'network',
  about: payloadField(FIELD.ip6, FIELD.ip6Source),
  isInterval: true,
  elements: ['::', 'fe80::'].map((first, index) => ({
    first: addressOf(first, 6)!,
    last: addressOf(['::', 'febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff'][index]!, 6)!,
  })),
};

export interface IntervalElement {
  readonly key: Bytes;
  /** The first key behind a range. */
  readonly isEnd?: true;
  /** No key is behind it. */
  readonly isOpen?: true;
}

/** `isFirst`: the set has no others; what is ahead of the first range ends then, where it begins. */
export function intervalElements(ranges: readonly KeyRange[], isFirst: boolean): readonly IntervalElement[] {
  const found: IntervalElement[] = [];
  const [lowest] = ranges;
  if (isFirst && lowest && !ranges.some(({ first }) => first.every((byte) => byte === 0)))
    found.push({ key: lowest.first.map(() => 0), isEnd: true });
  for (const { first, last } of ranges) {
    const end = nextKey(last);
    found.push(end ? { key: first } : { key: first, isOpen: true });
    if (end) found.push({ key: end, isEnd: true });
  }
  return found;
}

// ------------------------------------------------------------------------------------------------------------ expressions

const CONNTRACK = { state: 0, direction: 1, status: 2, mark: 3 } as const;
const STATE_BITS: Readonly<Record<ConntrackState, number>> = {
  invalid: 1,
  established: 2,
  related: 4,
  new: 8,
  untracked: 64,
};
/** IPS_CONFIRMED. */
const CONFIRMED = 8;
const REPLY = 1;
const [NETWORK, TRANSPORT] = [1, 2];
const [EQUAL, NOT_EQUAL, AT_MOST, AT_LEAST] = [0, 1, 3, 5];
const VERDICT_REGISTER = 0;
/** Of 16 bytes. The registers of 4 bytes, four to each of those, are numbered from 8 on; the first of the second one also has its number. */
const REGISTER = 1;
const SMALL_REGISTERS = 8;
const VERDICTS = { drop: 0, jump: -3, goto: -4, return: -5 } as const;
const FAMILY_NUMBER = { 4: 2, 6: 10 } as const;
const ETHERTYPE = { 4: [0x08, 0x00], 6: [0x86, 0xdd] } as const;
/** Offsets in the headers of either family. */
const ADDRESS = {
  4: { source: 12, destination: 16, bytes: 4 },
  6: { source: 8, destination: 24, bytes: 16 },
} as const;
const FIB = { saddr: 1, daddr: 2, iif: 8, present: 32, toInterface: 1, toType: 3 } as const;
/** RTN_LOCAL. */
const LOCAL = 2;
const ICMPV6 = 58;
const MAX_U32 = 2 ** 32;
const EXPRESSIONS = 4;

/** `sets`: the numbers of those of anonymousSets. False: something of it is written as text only. */
export function writeRule(out: NetlinkMessages, family: TableFamily, rule: Rule, sets: readonly number[]): boolean {
  out.open(EXPRESSIONS);
  const writer = new RuleWriter(out, family, sets);
  const isWritten = rule.matches.every((match) => writer.match(match));
  if (rule.counts) writer.counter();
  const isWhole = isWritten && writer.target(rule.target);
  out.close();
  if (rule.comment !== undefined) out.typedText(7, 0, safeText(rule.comment, MAX_COMMENT));
  return isWhole;
}

type ExpressionName =
  | 'bitwise'
  | 'byteorder'
  | 'cmp'
  | 'counter'
  | 'ct'
  | 'fib'
  | 'immediate'
  | 'limit'
  | 'log'
  | 'lookup'
  | 'meta'
  | 'payload'
  | 'range';

const NAMES: Readonly<Record<ExpressionName, Uint8Array>> = {
  bitwise: textAttribute(1, 'bitwise'),
  byteorder: textAttribute(1, 'byteorder'),
  cmp: textAttribute(1, 'cmp'),
  counter: textAttribute(1, 'counter'),
  ct: textAttribute(1, 'ct'),
  fib: textAttribute(1, 'fib'),
  immediate: textAttribute(1, 'immediate'),
  limit: textAttribute(1, 'limit'),
  log: textAttribute(1, 'log'),
  lookup: textAttribute(1, 'lookup'),
  meta: textAttribute(1, 'meta'),
  payload: textAttribute(1, 'payload'),
  range: textAttribute(1, 'range'),
};

/** Of expressions of which there are few, by what tells them apart: most of a rule is written by copying. */
const WRITTEN = new Map<string, Uint8Array>();

class RuleWriter {
  readonly #out: NetlinkMessages;
  readonly #table: TableFamily;
  readonly #sets: readonly number[];
  #asked = 0;
  /** What the matches so far say of the packet. */
  #network: Family | undefined;
  #transport: number | undefined;

  constructor(out: NetlinkMessages, table: TableFamily, sets: readonly number[]) {
    this.#out = out;
    this.#table = table;
    this.#sets = sets;
  }

  match(match: Match): boolean {
    switch (match.kind) {
      case 'state': {
        const bits = match.states.reduce((sum, state) => sum | STATE_BITS[state], 0);
        this.#conntrackBits(CONNTRACK.state, bits, match.not ? EQUAL : NOT_EQUAL);
        return true;
      }
      case 'reply':
        this.#conntrack(CONNTRACK.direction);
        this.#compare(EQUAL, [REPLY]);
        return true;
      case 'confirmed':
        this.#conntrackBits(CONNTRACK.status, CONFIRMED, NOT_EQUAL);
        return true;
      case 'family':
        this.#ofFamily(match.family);
        return true;
      case 'stale-mark':
        this.#staleMark(match.mask, match.bits);
        return true;
      case 'flag':
        this.#conntrackBits(CONNTRACK.mark, match.bit, EQUAL, match.isSet ? match.bit : 0);
        return true;
      case 'block':
        return this.#block(match.family, match.end, match.cidr);
      case 'in-set':
        this.#address(match.family, match.end);
        this.#lookup(match.set, { isInverted: match.not === true });
        return true;
      case 'in-port-set':
        this.#inPortSet(match);
        return true;
      case 'pair-in-set':
        this.#address(match.family, 'source');
        this.#address(match.family, 'destination', behind(ADDRESS[match.family].bytes));
        this.#lookup(match.set);
        return true;
      case 'interface-in-set':
        this.#needsNetwork(match.family);
        this.#interface(match.end);
        this.#address(match.family, match.end, behind(INTERFACE_BYTES));
        this.#lookup(match.set);
        return true;
      case 'ports':
        this.#ports(match);
        return true;
      case 'icmp':
        this.#meta(META.protocol);
        this.#lookupNext();
        return true;
      case 'neighbour-discovery':
        this.#neighbourDiscovery();
        return true;
      case 'listener-discovery':
        this.#listenerDiscovery();
        return true;
      case 'dhcp':
        this.#dhcp(match.family, match.message);
        return true;
      case 'interface': {
        const name = interfaceOf(match.name, match.isPrefix);
        if (!name) return false;
        this.#interface(match.end);
        this.#compare(EQUAL, name);
        return true;
      }
      case 'frame':
        this.#meta(META.frame);
        this.#compare(EQUAL, ETHERTYPE[match.family]);
        this.#network = match.family;
        return true;
      case 'tagged':
        return this.#tagged(match);
      case 'on-link':
        this.#fib(FIB.daddr | FIB.iif | FIB.present, FIB.toInterface, 1);
        return true;
      case 'local':
        this.#fib(match.end === 'source' ? FIB.saddr : FIB.daddr, FIB.toType, LOCAL);
        return true;
      case 'limit':
        this.#begin('limit');
        this.#out.attribute(1, bigEndian(match.perSecond, 8));
        this.#out.attribute(2, bigEndian(1, 8));
        this.#out.number(3, match.burst);
        this.#out.number(4, 0);
        this.#out.number(5, 0);
        this.#end();
        return true;
    }
  }

  counter(): void {
    this.#oneOfFew('counter', () => {
      this.#begin('counter');
      this.#end();
    });
  }

  target(target: Target): boolean {
    switch (target.kind) {
      case 'return':
      case 'drop':
        this.#oneOfFew(target.kind, () => this.#verdict(VERDICTS[target.kind]));
        return true;
      case 'jump':
      case 'goto':
        this.#verdict(VERDICTS[target.kind], target.chain);
        return true;
      case 'verdict-map':
        this.#mapKey(target.key);
        this.#lookup(target.map, { result: VERDICT_REGISTER });
        return true;
      case 'set-mark':
        return this.#setMark(target.mask, target.bits);
      case 'set-tag': {
        const tag = target.tag === null ? 0 : tagNumber(target.tag);
        if (tag === undefined) return false;
        this.#begin('immediate');
        this.#out.number(1, REGISTER);
        this.#data(2, littleEndian(tag));
        this.#end();
        this.#setMeta(META.priority);
        return true;
      }
      case 'tag-by-interface':
        this.#interface(target.end);
        this.#lookup(target.map, { result: REGISTER });
        this.#setMeta(META.priority);
        return true;
      case 'log':
        this.#begin('log');
        this.#out.text(2, safeText(target.prefix, MAX_COMMENT));
        this.#out.attribute(1, bigEndian(target.group, 2));
        this.#end();
        return true;
    }
  }

  // -------------------------------------------------------------------------------------------------- matches of some parts

  /** With the bits that are not asked set, as it is written. */
  #staleMark(mask: number, bits: number): void {
    const others = ~mask >>> 0;
    this.#conntrack(CONNTRACK.mark);
    this.#and(littleEndian(mask), littleEndian(others));
    this.#compare(NOT_EQUAL, littleEndian((bits | others) >>> 0));
  }

  #block(family: Family, end: End, cidr: string): boolean {
    const prefix = prefixOf(cidr, family);
    if (!prefix) return false;
    const { address, bits } = prefix;
    if (bits > 0 && bits % 8 === 0) {
      this.#address(family, end, REGISTER, bits / 8);
      this.#compare(EQUAL, address.slice(0, bits / 8));
    } else {
      this.#address(family, end);
      this.#and(maskOf(bits, family));
      this.#compare(EQUAL, address);
    }
    return true;
  }

  #inPortSet({ family, address, port, set }: Extract<Match, { kind: 'in-port-set' }>): void {
    const { bytes } = ADDRESS[family];
    this.#address(family, address);
    this.#meta(META.protocol, behind(bytes));
    this.#payload(TRANSPORT, port === 'source' ? 0 : 2, 2, behind(bytes + 4));
    this.#lookup(set);
  }

  #ports({ protocol, end, ranges }: Extract<Match, { kind: 'ports' }>): void {
    if (ranges.length === 0) {
      this.#meta(META.protocol);
      this.#compare(EQUAL, [PROTOCOL_NUMBER[protocol]]);
      this.#transport = PROTOCOL_NUMBER[protocol];
      return;
    }
    this.#needsTransport(PROTOCOL_NUMBER[protocol]);
    this.#payload(TRANSPORT, end === 'source' ? 0 : 2, 2);
    const [{ first, last }, more] = ranges as [PortRange, PortRange?];
    if (more) this.#lookupNext();
    else if (first === last) this.#compare(EQUAL, bigEndian(first, 2));
    else {
      this.#compare(AT_LEAST, bigEndian(first, 2));
      this.#compare(AT_MOST, bigEndian(last, 2));
    }
  }

  /** What stands beside each other in a header is loaded at once: next header and hop limit. */
  #neighbourDiscovery(): void {
    this.#needsNetwork(6);
    this.#payload(NETWORK, 6, 2);
    this.#compare(EQUAL, [ICMPV6, 255]);
    this.#transport = ICMPV6;
    this.#icmpv6Type();
  }

  #listenerDiscovery(): void {
    this.#needsNetwork(6);
    this.#payload(NETWORK, 7, 1);
    this.#compare(EQUAL, [1]);
    this.#address(6, 'source');
    this.#lookupNext();
    this.#block(6, 'destination', 'ff00::/8');
    this.#icmpv6Type();
  }

  #icmpv6Type(): void {
    this.#needsTransport(ICMPV6);
    this.#payload(TRANSPORT, 0, 1);
    this.#lookupNext();
  }

  #dhcp(family: Family, message: 'request' | 'answer'): void {
    for (const [end, cidr] of DHCP_BLOCKS[family][message]) this.#block(family, end, cidr);
    this.#needsTransport(PROTOCOL_NUMBER.UDP);
    this.#payload(TRANSPORT, 0, 4);
    this.#compare(
      EQUAL,
      DHCP_PORTS[family][message].flatMap((port) => bigEndian(port, 2)),
    );
  }

  #tagged({ not, tag }: Extract<Match, { kind: 'tagged' }>): boolean {
    const [first, last] = (tag ?? TAGS).split('-').map(tagNumber);
    if (first === undefined) return false;
    this.#meta(META.priority);
    if (last === undefined) {
      this.#compare(not ? NOT_EQUAL : EQUAL, littleEndian(first));
      return true;
    }
    this.#begin('byteorder');
    this.#out.number(1, REGISTER);
    this.#out.number(2, REGISTER);
    this.#out.number(3, HOST_TO_NETWORK);
    this.#out.number(4, 4);
    this.#out.number(5, 4);
    this.#end();
    const [from, to] = [bigEndian(first, 4), bigEndian(last, 4)];
    if (not) {
      this.#begin('range');
      this.#out.number(1, REGISTER);
      this.#out.number(2, NOT_EQUAL);
      this.#data(3, from);
      this.#data(4, to);
      this.#end();
    } else {
      this.#compare(AT_LEAST, from);
      this.#compare(AT_MOST, to);
    }
    return true;
  }

  #mapKey(key: MapKey): void {
    switch (key.kind) {
      case 'address':
        this.#address(key.family, key.end);
        break;
      case 'interface':
        this.#interface(key.end);
        break;
      case 'tag':
        this.#meta(META.priority);
    }
  }

  /** The register & kept ^ bits. As nft writes it, what is kept does not include bits that become 1. */
  #setMark(mask: number, bits: number): boolean {
    // nft would leave out what changes nothing.
    if (mask === 0) return false;
    this.#conntrack(CONNTRACK.mark);
    this.#and(littleEndian(~mask >>> 0), littleEndian(bits));
    this.#begin('ct');
    this.#out.number(2, CONNTRACK.mark);
    this.#out.number(4, REGISTER);
    this.#end();
    return true;
  }

  // ------------------------------------------------------------------------------------------------------------ what is loaded

  #needsNetwork(family: Family): void {
    if (this.#network === family) return;
    this.#network = family;
    this.#oneOfFew(`${this.#table} ${family}`, () => {
      const isFrame = this.#table === 'bridge';
      this.#meta(isFrame ? META.frame : META.family);
      this.#compare(EQUAL, isFrame ? ETHERTYPE[family] : [FAMILY_NUMBER[family]]);
    });
  }

  #needsTransport(protocol: number): void {
    if (this.#transport === protocol) return;
    this.#transport = protocol;
    this.#oneOfFew(`transport ${protocol}`, () => {
      this.#meta(META.protocol);
      this.#compare(EQUAL, [protocol]);
    });
  }

  #ofFamily(family: Family): void {
    this.#meta(META.family);
    this.#compare(EQUAL, [FAMILY_NUMBER[family]]);
    this.#network = family;
  }

  #address(family: Family, end: End, register = REGISTER, bytes: number = ADDRESS[family].bytes): void {
    this.#needsNetwork(family);
    this.#payload(NETWORK, ADDRESS[family][end], bytes, register);
  }

  #interface(end: End): void {
    this.#meta(end === 'source' ? META.inputName : META.outputName);
  }

  #payload(header: number, offset: number, bytes: number, register = REGISTER): void {
    this.#oneOfFew(`payload ${header} ${offset} ${bytes} ${register}`, () => {
      this.#begin('payload');
      this.#out.number(1, register);
      this.#out.number(2, header);
      this.#out.number(3, offset);
      this.#out.number(4, bytes);
      this.#end();
    });
  }

  #meta(key: number, register = REGISTER): void {
    this.#oneOfFew(`meta ${key} ${register}`, () => {
      this.#begin('meta');
      this.#out.number(2, key);
      this.#out.number(1, register);
      this.#end();
    });
  }

  #setMeta(key: number): void {
    this.#begin('meta');
    this.#out.number(2, key);
    this.#out.number(3, REGISTER);
    this.#end();
  }

  #conntrack(key: number): void {
    this.#begin('ct');
    this.#out.number(2, key);
    this.#out.number(1, REGISTER);
    this.#end();
  }

  #conntrackBits(key: number, bits: number, operation: number, value = 0): void {
    this.#oneOfFew(`ct ${key} ${bits} ${operation} ${value}`, () => {
      this.#conntrack(key);
      this.#and(littleEndian(bits));
      this.#compare(operation, littleEndian(value));
    });
  }

  #fib(flags: number, result: number, value: number): void {
    this.#begin('fib');
    this.#out.number(3, flags);
    this.#out.number(2, result);
    this.#out.number(1, REGISTER);
    this.#end();
    this.#compare(EQUAL, littleEndian(value));
  }

  // -------------------------------------------------------------------------------------------------------- what is done with it

  /** The register & mask ^ flipped. */
  #and(mask: Bytes, flipped: Bytes = mask.map(() => 0)): void {
    this.#begin('bitwise');
    this.#out.number(1, REGISTER);
    this.#out.number(2, REGISTER);
    this.#out.number(3, mask.length);
    this.#data(4, mask);
    this.#data(5, flipped);
    this.#end();
  }

  #compare(operation: number, value: Bytes): void {
    this.#oneOfFew(`cmp ${operation} ${value.length}`, () => {
      this.#begin('cmp');
      this.#out.number(1, REGISTER);
      this.#out.number(2, operation);
      this.#data(3, value);
      this.#end();
    });
    this.#out.overwrite(value);
  }

  #lookup(set: string, { isInverted, result }: { readonly isInverted?: boolean; readonly result?: number } = {}): void {
    this.#begin('lookup');
    this.#out.number(2, REGISTER);
    if (result !== undefined) this.#out.number(3, result);
    this.#out.text(1, localName(set));
    if (isInverted) this.#out.number(5, 1);
    this.#end();
  }

  /** In the next of the sets without names. */
  #lookupNext(): void {
    const number = this.#sets[this.#asked++]!;
    this.#begin('lookup');
    this.#out.number(2, REGISTER);
    this.#out.text(1, ANONYMOUS);
    this.#out.number(4, number);
    this.#end();
  }

  #verdict(code: number, chain?: string): void {
    this.#begin('immediate');
    this.#out.number(1, VERDICT_REGISTER);
    this.#out.open(2);
    writeVerdict(this.#out, code, chain);
    this.#out.close();
    this.#end();
  }

  #data(type: number, value: Bytes): void {
    this.#out.open(type);
    this.#out.attribute(1, value);
    this.#out.close();
  }

  #oneOfFew(what: string, write: () => void): void {
    const written = WRITTEN.get(what);
    if (written) {
      this.#out.again(written);
      return;
    }
    const { length } = this.#out;
    write();
    WRITTEN.set(what, this.#out.since(length));
  }

  #begin(name: ExpressionName): void {
    this.#out.open(1);
    this.#out.again(NAMES[name]);
    this.#out.open(2);
  }

  #end(): void {
    this.#out.close();
    this.#out.close();
  }
}

const INTERFACE_BYTES = 16;
const HOST_TO_NETWORK = 1;
/** The kernel finds a name of its own. */
export const ANONYMOUS = '__set%d';

const DHCP_BLOCKS: Readonly<
  Record<Family, Readonly<Record<'request' | 'answer', readonly (readonly [End, string])[]>>>
> = {
  4: {
    request: [
      ['source', '0.0.0.0/32'],
      ['destination', '255.255.255.255/32'],
    ],
    answer: [['destination', '255.255.255.255/32']],
  },
  6: {
    request: [
      ['source', 'fe80::/10'],
      ['destination', 'ff02::1:2/128'],
    ],
    answer: [
      ['source', 'fe80::/10'],
      ['destination', 'fe80::/10'],
    ],
  },
};
/** Source, destination. */
const DHCP_PORTS = {
  4: { request: [68, 67], answer: [67, 68] },
  6: { request: [546, 547], answer: [547, 546] },
} as const;

/** Of those that follow others in a concatenation: `bytes` of it are ahead. */
function behind(bytes: number): number {
  return bytes % 16 === 0 ? REGISTER + bytes / 16 : SMALL_REGISTERS + bytes / 4;
}

/** What a verdict of an element or a rule holds. */
export function writeVerdict(out: NetlinkMessages, code: number, chain?: string): void {
  out.open(2);
  out.number(1, (code + MAX_U32) % MAX_U32);
  if (chain !== undefined) out.text(2, chain);
  out.close();
}

/** As elements of maps have them; undefined: there is no such verdict here. */
export function readVerdict(text: string): { readonly code: number; readonly chain?: string } | undefined {
  const [kind = '', chain] = text.split(' ');
  if (chain === undefined) return kind === 'drop' || kind === 'return' ? { code: VERDICTS[kind] } : undefined;
  return kind === 'jump' || kind === 'goto' ? { code: VERDICTS[kind], chain } : undefined;
}
