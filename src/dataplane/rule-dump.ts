/**
 * Counters of the rules of chains, by netlink dumps of a table of nf_tables: of each rule its handle, and what it has counted. iptables-nft
 * keeps its rules in such tables as well. Tools that print rules take several times as long, and their text has to be read.
 *
 *   NFT_MSG_GETRULE { table, chain } -> NFT_MSG_NEWRULE { table, chain, handle, expressions { name, data } } ... NLMSG_DONE
 *
 * Each chain is asked for by itself: a chain that nobody writes is then told whole. Through a table the kernel goes by the number of rules
 * that were told already, which commits shift, and it does not always say so (docs/decisions/policy-counters.md).
 *
 * Source: linux/netfilter/nf_tables.h, nfnetlink.h.
 */
import type { Sliced } from '../core/sliced.ts';
import type { DumpSocket } from '../host/netlink-dump.ts';

import {
  aligned,
  ATTRIBUTE_HEADER,
  attributeLength,
  attributeType,
  FAMILY_HEADER,
  MESSAGE_HEADER,
  textAttribute,
} from '../core/netlink-layout.ts';

/** The rules of one chain, in order. */
export interface DumpedChain {
  /** Of each rule: it is no other rule's, as long as the table is there. */
  readonly handles: readonly number[];
  /** -1: the rule counts nothing. */
  readonly packets: readonly number[];
  readonly bytes: readonly number[];
}

/** By name: those of the chains that are there and have rules. */
export type DumpedRules = ReadonlyMap<string, DumpedChain>;

export interface DumpRequest {
  readonly family: DumpFamily;
  readonly table: string;
  readonly chains: Iterable<string>;
}

/** Source: enum nf_inet protocols (NFPROTO_...). */
const FAMILY_NUMBER = { inet: 1, ip: 2, bridge: 7, ip6: 10 } as const;
export type DumpFamily = keyof typeof FAMILY_NUMBER;

/** Of a chain, as a commit makes it necessary to begin anew. */
const MAX_ATTEMPTS = 4;

const [NETFILTER_SUBSYSTEM, NEW_RULE, GET_RULE] = [10 << 8, 6, 7];
const [ERROR, DONE] = [2, 3];
const [REQUEST, INTERRUPTED, DUMP] = [0x1, 0x10, 0x300];
const [RULE_TABLE, RULE_CHAIN, RULE_HANDLE, RULE_EXPRESSIONS] = [1, 2, 3, 4];
const [EXPRESSION_NAME, EXPRESSION_DATA] = [1, 2];
const [COUNTER_BYTES, COUNTER_PACKETS] = [1, 2];
const COUNTER = [...new TextEncoder().encode('counter\0')];
const MAX_SEQUENCE = 2 ** 31;
const HALF = 2 ** 32;

export class RuleDumps {
  readonly #open: () => DumpSocket | undefined;
  /** `null`: there is none. */
  #socket: DumpSocket | null | undefined;
  #sequence = 0;

  constructor(open: () => DumpSocket | undefined) {
    this.#open = open;
  }

  /** Undefined: it cannot be told, or not now. One at a time. */
  *read(request: DumpRequest): Sliced<DumpedRules | undefined> {
    const found = new Map<string, DumpedChain>();
    try {
      for (const chain of request.chains) {
        const rules = yield* this.#consistent(request, chain);
        if (!rules) return undefined;
        if (rules.handles.length > 0) found.set(chain, rules);
      }
      return found;
    } catch {
      this.stop();
      return undefined;
    }
  }

  /** Another reading opens another socket. */
  stop(): void {
    this.#socket?.close();
    this.#socket = undefined;
  }

  *#consistent({ family, table }: DumpRequest, chain: string): Sliced<DumpedChain | undefined> {
    if (this.#socket === undefined) this.#socket = this.#open() ?? null;
    const socket = this.#socket;
    if (!socket) return undefined;
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      this.#sequence = (this.#sequence % MAX_SEQUENCE) + 1;
      const reader = new DumpReader(this.#sequence);
      socket.send(ruleRequest(family, table, chain, this.#sequence));
      for (let end = reader.read(socket.next()); ; end = reader.read(socket.next())) {
        if (end === 'whole') return reader.rules;
        if (end === 'interrupted') break;
        yield;
        // A descriptor that was closed may be somebody else's by now.
        if (this.#socket !== socket) throw new Error('the socket was closed');
      }
    }
    return undefined;
  }
}

export function ruleRequest(
  family: DumpFamily,
  table: string,
  chain: string | undefined,
  sequence: number,
): Uint8Array {
  const names = [textAttribute(RULE_TABLE, table), ...(chain === undefined ? [] : [textAttribute(RULE_CHAIN, chain)])];
  const length = MESSAGE_HEADER + FAMILY_HEADER + names.reduce((sum, each) => sum + each.length, 0);
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, length, true);
  view.setUint16(4, NETFILTER_SUBSYSTEM | GET_RULE, true);
  view.setUint16(6, REQUEST | DUMP, true);
  view.setUint32(8, sequence, true);
  bytes[MESSAGE_HEADER] = FAMILY_NUMBER[family];
  let at = MESSAGE_HEADER + FAMILY_HEADER;
  for (const name of names) {
    bytes.set(name, at);
    at += name.length;
  }
  return bytes;
}

/** Datagram after datagram of the dump of one chain. Throws on what is no answer to it. */
class DumpReader {
  readonly rules = { handles: [] as number[], packets: [] as number[], bytes: [] as number[] } satisfies DumpedChain;
  readonly #sequence: number;
  #isInterrupted = false;

  constructor(sequence: number) {
    this.#sequence = sequence;
  }

  read(datagram: Uint8Array): 'more' | 'whole' | 'interrupted' {
    const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
    for (let at = 0; at + MESSAGE_HEADER <= view.byteLength; ) {
      const length = view.getUint32(at, true);
      if (length < MESSAGE_HEADER || at + length > view.byteLength) throw new Error('half a netlink message');
      if (view.getUint32(at + 8, true) !== this.#sequence) throw new Error('an answer to another netlink message');
      if ((view.getUint16(at + 6, true) & INTERRUPTED) !== 0) this.#isInterrupted = true;
      const type = view.getUint16(at + 4, true);
      if (type === ERROR || type === DONE) {
        const errno = length >= MESSAGE_HEADER + 4 ? -view.getInt32(at + MESSAGE_HEADER, true) : 0;
        if (errno !== 0 || type === ERROR) throw new Error(`the kernel tells no rules: error ${errno}`);
        return this.#isInterrupted ? 'interrupted' : 'whole';
      }
      if (type === (NETFILTER_SUBSYSTEM | NEW_RULE)) this.#rule(view, at + MESSAGE_HEADER + FAMILY_HEADER, at + length);
      at += aligned(length);
    }
    return 'more';
  }

  #rule(view: DataView, from: number, end: number): void {
    let handle: number | undefined;
    let counter = 0;
    for (let at = from; at + ATTRIBUTE_HEADER <= end; ) {
      const length = attributeLength(view, at, end);
      const type = attributeType(view, at);
      if (type === RULE_HANDLE) handle = numberAt(view, at + ATTRIBUTE_HEADER);
      else if (type === RULE_EXPRESSIONS) counter = counterIn(view, at + ATTRIBUTE_HEADER, at + length);
      at += aligned(length);
    }
    if (handle === undefined) throw new Error('a rule without a handle');
    this.rules.handles.push(handle);
    let [packets, bytes] = [-1, -1];
    for (let at = counter; counter > 0 && at + ATTRIBUTE_HEADER <= end; ) {
      const type = attributeType(view, at);
      if (type === COUNTER_PACKETS) packets = numberAt(view, at + ATTRIBUTE_HEADER);
      else if (type === COUNTER_BYTES) bytes = numberAt(view, at + ATTRIBUTE_HEADER);
      if (packets >= 0 && bytes >= 0) break;
      at += aligned(attributeLength(view, at, end));
    }
    this.rules.packets.push(packets);
    this.rules.bytes.push(bytes);
  }
}

/** Where the attributes of the rule's counter begin; 0: it has none. */
function counterIn(view: DataView, from: number, end: number): number {
  for (let at = from; at + ATTRIBUTE_HEADER <= end; ) {
    const length = attributeLength(view, at, end);
    let isCounter = false;
    for (let inner = at + ATTRIBUTE_HEADER; inner + ATTRIBUTE_HEADER <= at + length; ) {
      const size = attributeLength(view, inner, at + length);
      const type = attributeType(view, inner);
      if (type === EXPRESSION_NAME) isCounter = isCounterName(view, inner + ATTRIBUTE_HEADER, size - ATTRIBUTE_HEADER);
      else if (type === EXPRESSION_DATA && isCounter) return inner + ATTRIBUTE_HEADER;
      inner += aligned(size);
    }
    at += aligned(length);
  }
  return 0;
}

function isCounterName(view: DataView, at: number, length: number): boolean {
  if (length !== COUNTER.length) return false;
  for (let index = 0; index < length; index++) if (view.getUint8(at + index) !== COUNTER[index]) return false;
  return true;
}

/** 64 bits; above 2^53 it is off by a few. */
function numberAt(view: DataView, at: number): number {
  return view.getUint32(at) * HALF + view.getUint32(at + 4);
}
