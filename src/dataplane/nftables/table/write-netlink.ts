/**
 * Commands -> the batch of netlink messages that nft would make of them, and what the kernel answers. Only of what changes with pods and
 * epochs: elements of hash sets and maps, chains that stamp flows. Other rules, sets and ranges are written as text.
 *
 *   batch begin; a message per command, as NFT_MSG_NEWSETELEM { table, set, elements { key, verdict } }; batch end
 *
 * Source: linux/netfilter/nf_tables.h, nfnetlink.h; libnftables' order of bytes of each type of data.
 */
import { parseAddress } from '../../../net/ip.ts';
import { type TableFamily, familyOfName, localName } from './families.ts';
import type { Change, Command, ElementChange } from './write-table.ts';

import { elementText } from './write-table.ts';

export interface Batch {
  readonly bytes: Uint8Array;
  /** The sequence number of the first command; the others follow. The last one asks for an answer. */
  readonly first: number;
  readonly count: number;
}

/** Answers to a batch: `failed` is the index of the first command that the kernel refused. */
export type BatchOutcome =
  | { readonly kind: 'done' }
  | { readonly kind: 'refused'; readonly failed: number; readonly errno: number }
  | { readonly kind: 'unanswered' };

const NETFILTER_SUBSYSTEM = 10;
const [BATCH_BEGIN, BATCH_END] = [0x10, 0x11];
const [NEW_ELEMENTS, DELETE_ELEMENTS] = [(NETFILTER_SUBSYSTEM << 8) | 12, (NETFILTER_SUBSYSTEM << 8) | 14];
const [NEW_CHAIN, NEW_RULE] = [(NETFILTER_SUBSYSTEM << 8) | 3, (NETFILTER_SUBSYSTEM << 8) | 6];
const REQUEST = 0x1;
const ACK = 0x4;
const CREATE = 0x400;
const APPEND = 0x800;
const NESTED = 0x8000;
/** NFPROTO_INET, NFPROTO_BRIDGE. */
const FAMILY_NUMBER: Readonly<Record<TableFamily, number>> = { inet: 1, bridge: 7 };
const ERROR = 2;
const [MESSAGE_HEADER, FAMILY_HEADER] = [16, 4];
const GOTO = -4;
const [CT_MARK, REGISTER] = [3, 1];
const MAX_U32 = 2 ** 32;
const INTERFACE_BYTES = 16;

/** Undefined: something of it is written as text only. */
export function writeBatch(table: string, commands: readonly Command[], first: number): Batch | undefined {
  const out = new Messages();
  out.message(BATCH_BEGIN, REQUEST, 0, NETFILTER_SUBSYSTEM, first - 1, () => {});
  for (const [index, { change }] of commands.entries()) {
    const body = change && bodyOf(change, table, out);
    if (!body) return undefined;
    const flags = REQUEST | body.flags | (index === commands.length - 1 ? ACK : 0);
    const family = familyOfName(change.kind === 'elements' ? change.set : change.chain);
    out.message(body.type, flags, FAMILY_NUMBER[family], 0, first + index, body.write);
  }
  out.message(BATCH_END, REQUEST, 0, NETFILTER_SUBSYSTEM, first + commands.length, () => {});
  return { bytes: out.taken(), first, count: commands.length };
}

interface Body {
  readonly type: number;
  readonly flags: number;
  readonly write: () => void;
}

function bodyOf(change: Change, table: string, out: Messages): Body | undefined {
  switch (change.kind) {
    case 'elements':
      return elementsBody(change, table, out);
    case 'chain':
      return {
        type: NEW_CHAIN,
        flags: CREATE,
        write: () => {
          out.text(1, table);
          out.text(3, localName(change.chain));
        },
      };
    case 'stamp':
      return {
        type: NEW_RULE,
        flags: CREATE | APPEND,
        write: () => {
          out.text(1, table);
          out.text(2, change.chain);
          out.nest(4, () => stampExpressions(out, change));
        },
      };
  }
}

function elementsBody({ verb, type, set, elements }: ElementChange, table: string, out: Messages): Body | undefined {
  const parts = elements.map(([element, verdict]) => [keyOf(type, element), verdict] as const);
  if (parts.some(([key, verdict]) => !key || !isWritten(verdict))) return undefined;
  const isNew = verb === 'add';
  return {
    type: isNew ? NEW_ELEMENTS : DELETE_ELEMENTS,
    flags: isNew ? CREATE : 0,
    write: () => {
      out.text(1, table);
      out.text(2, localName(set));
      out.nest(3, () => {
        for (const [key, verdict] of parts) out.nest(1, () => element(out, key!, verdict));
      });
    },
  };
}

function element(out: Messages, key: readonly number[], verdict: true | string): void {
  out.nest(1, () => out.attribute(1, key));
  if (verdict === true) return;
  out.nest(2, () =>
    out.nest(2, () => {
      out.attribute(1, bigEndian(GOTO + MAX_U32, 4));
      out.text(2, verdict.slice(GOTO_WORD.length));
    }),
  );
}

/** ct mark -> register 1; the register & kept ^ bits; register 1 -> ct mark. As nft writes it, what is kept includes bits that become 1. */
function stampExpressions(out: Messages, { mask, bits }: { readonly mask: number; readonly bits: number }): void {
  const number = (type: number, value: number): void => out.attribute(type, bigEndian(value, 4));
  const data = (type: number, value: number): void => out.nest(type, () => out.attribute(1, littleEndian(value)));
  const expression = (name: string, body: () => void): void =>
    out.nest(1, () => {
      out.text(1, name);
      out.nest(2, body);
    });
  expression('ct', () => {
    number(2, CT_MARK);
    number(1, REGISTER);
  });
  expression('bitwise', () => {
    number(1, REGISTER);
    number(2, REGISTER);
    number(3, 4);
    data(4, ~mask >>> 0);
    data(5, bits);
  });
  expression('ct', () => {
    number(2, CT_MARK);
    number(4, REGISTER);
  });
}

const GOTO_WORD = 'goto ';

function isWritten(verdict: true | string): boolean {
  return verdict === true || verdict.startsWith(GOTO_WORD);
}

/** `answers`: datagrams of the kernel, of one message or more each. */
export function readAnswers(
  { first, count }: Pick<Batch, 'first' | 'count'>,
  answers: readonly Uint8Array[],
): BatchOutcome {
  let isDone = false;
  let refused: { failed: number; errno: number } | undefined;
  for (const { sequence, errno } of answers.flatMap(errorsIn)) {
    const index = (sequence - first + MAX_U32) % MAX_U32;
    // The batch as a whole is refused in the name of its first message.
    if (index >= count && !(index === MAX_U32 - 1 && errno !== 0)) continue;
    if (errno === 0) isDone ||= index === count - 1;
    else refused ??= { failed: index >= count ? 0 : index, errno };
  }
  if (refused) return { kind: 'refused', ...refused };
  return isDone ? { kind: 'done' } : { kind: 'unanswered' };
}

function errorsIn(datagram: Uint8Array): { readonly sequence: number; readonly errno: number }[] {
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
  const found: { sequence: number; errno: number }[] = [];
  for (let at = 0; at + MESSAGE_HEADER <= view.byteLength; ) {
    const length = view.getUint32(at, true);
    if (length < MESSAGE_HEADER || at + length > view.byteLength) break;
    const isError = view.getUint16(at + 4, true) === ERROR && length >= MESSAGE_HEADER + 4;
    if (isError)
      found.push({ sequence: view.getUint32(at + 8, true), errno: -view.getInt32(at + MESSAGE_HEADER, true) });
    at += aligned(length);
  }
  return found;
}

// ------------------------------------------------------------------------------------------------------------------ keys

/** Bytes of an element; fields of several are each filled up to four bytes. Undefined: it is not known how. */
function keyOf(type: string, text: string): readonly number[] | undefined {
  const types = type.split(' . ');
  const fields = elementText(text).split(' . ');
  if (types.length !== fields.length) return undefined;
  const bytes = fields.map((field, index) => fieldOf(types[index]!, field));
  if (types.length === 1) return bytes[0];
  const all: number[] = [];
  for (const each of bytes) {
    if (!each) return undefined;
    for (const byte of each) all.push(byte);
    while (all.length % 4 !== 0) all.push(0);
  }
  return all;
}

function fieldOf(type: string, text: string): readonly number[] | undefined {
  switch (type) {
    case 'ipv4_addr':
      return addressOf(text, 4);
    case 'ipv6_addr':
      return addressOf(text, 6);
    case 'inet_proto':
      return numberOf(text, 1);
    case 'inet_service':
      return numberOf(text, 2);
    case 'mark':
      return numberOf(text, 4)?.toReversed();
    case 'nf_proto':
      return FAMILY_BYTES[text];
    case 'ifname':
      return interfaceOf(text);
    default:
      return undefined;
  }
}

/** NFPROTO_IPV4, NFPROTO_IPV6. */
const FAMILY_BYTES: Readonly<Record<string, readonly number[]>> = { ipv4: [2], ipv6: [10] };

/** A mapped address is taken for the one that it names, which is not what such a set would hold. */
function addressOf(text: string, family: 4 | 6): readonly number[] | undefined {
  const address = parseAddress(text);
  if (address?.family !== family) return undefined;
  return address.words.flatMap((word) => bigEndian(word, 4));
}

function numberOf(text: string, length: number): readonly number[] | undefined {
  const value = /^(?:\d+|0x[0-9a-f]+)$/.test(text) ? Number(text) : Number.NaN;
  return value < 256 ** length ? bigEndian(value, length) : undefined;
}

function interfaceOf(text: string): readonly number[] | undefined {
  const [, name] = /^"([!-~]+)"$/.exec(text) ?? [];
  if (name === undefined || name.length >= INTERFACE_BYTES || name.includes('*')) return undefined;
  return Array.from({ length: INTERFACE_BYTES }, (_, index) => (index < name.length ? name.charCodeAt(index) : 0));
}

/** As machines keep numbers on which the agent runs. */
function littleEndian(value: number): number[] {
  return bigEndian(value, 4).toReversed();
}

function bigEndian(value: number, length: number): number[] {
  return Array.from({ length }, (_, index) => Math.floor(value / 256 ** (length - 1 - index)) % 256);
}

function aligned(length: number): number {
  return (length + 3) & ~3;
}

// -------------------------------------------------------------------------------------------------------------- messages

/** Writes messages and attributes one behind the other; what holds others gets its length when they are written. */
class Messages {
  #bytes = new Uint8Array(4_096);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  message(type: number, flags: number, family: number, resource: number, sequence: number, body: () => void): void {
    const at = this.#take(MESSAGE_HEADER + FAMILY_HEADER);
    this.#view.setUint16(at + 4, type, true);
    this.#view.setUint16(at + 6, flags, true);
    this.#view.setUint32(at + 8, sequence, true);
    this.#view.setUint8(at + MESSAGE_HEADER, family);
    this.#view.setUint16(at + MESSAGE_HEADER + 2, resource, false);
    body();
    this.#view.setUint32(at, this.#length - at, true);
  }

  nest(type: number, body: () => void): void {
    const at = this.#take(4);
    body();
    this.#head(at, type | NESTED, this.#length - at);
  }

  attribute(type: number, value: readonly number[]): void {
    const at = this.#take(4 + value.length);
    this.#head(at, type, 4 + value.length);
    this.#bytes.set(value, at + 4);
  }

  /** Plain ASCII, with its end. */
  text(type: number, value: string): void {
    const at = this.#take(4 + value.length + 1);
    this.#head(at, type, 4 + value.length + 1);
    for (let index = 0; index < value.length; index++) this.#bytes[at + 4 + index] = value.charCodeAt(index);
  }

  taken(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  #head(at: number, type: number, length: number): void {
    this.#view.setUint16(at, length, true);
    this.#view.setUint16(at + 2, type, true);
  }

  /** Where so many bytes begin, all 0. */
  #take(length: number): number {
    const at = this.#length;
    this.#length += aligned(length);
    if (this.#length > this.#bytes.length) {
      const more = new Uint8Array(Math.max(this.#length, 2 * this.#bytes.length));
      more.set(this.#bytes);
      this.#bytes = more;
      this.#view = new DataView(more.buffer);
    }
    return at;
  }
}
