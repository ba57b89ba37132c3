/**
 * Commands -> the batch of netlink messages that nft would make of them, and what the kernel answers. A transaction of which something is not
 * known here is written as text.
 *
 *   batch begin; a message or more for each command, as NFT_MSG_NEWSETELEM { table, set, elements { key, verdict } }; batch end
 *
 * Rules are in netlink-rule.ts, keys of elements in netlink-keys.ts. Source: linux/netfilter/nf_tables.h, nfnetlink.h; userdata of libnftables.
 */
import { type TableFamily, familyOfName, localName } from './families.ts';
import {
  keyOf,
  keyRangeOf,
  type KeyRange,
  keyTypeOf,
  type Bytes,
  type ByteOrder,
  littleEndian,
} from './netlink-keys.ts';
import { aligned, MESSAGE_HEADER, textAttribute } from '../../../core/netlink-layout.ts';
import { NetlinkMessages } from './netlink-messages.ts';
import {
  ANONYMOUS,
  type AnonymousSet,
  anonymousSets,
  type IntervalElement,
  intervalElements,
  readVerdict,
  typed,
  writeRule,
  writeVerdict,
} from './netlink-rule.ts';
import type { Rule } from './rule.ts';
import type { Change, Command, ElementChange, SetKind } from './write-table.ts';

export interface Batch {
  readonly bytes: Uint8Array;
  /** The sequence number of the first message; the others follow. The last one asks for an answer. */
  readonly first: number;
  /** Of each message: the index of its command. */
  readonly of: readonly number[];
}

/** Answers to a batch: `failed` is the index of the first command that the kernel refused. */
export type BatchOutcome =
  | { readonly kind: 'done' }
  | { readonly kind: 'refused'; readonly failed: number; readonly errno: number }
  | { readonly kind: 'unanswered' };

const SUBSYSTEM = 10;
const [BATCH_BEGIN, BATCH_END] = [0x10, 0x11];
const [NEW_TABLE, DELETE_TABLE, NEW_CHAIN, DELETE_CHAIN, NEW_RULE, DELETE_RULE] = [0, 2, 3, 5, 6, 8];
const [NEW_SET, DELETE_SET, NEW_ELEMENTS, DELETE_ELEMENTS] = [9, 11, 12, 14];
const REQUEST = 0x1;
const ACK = 0x4;
const CREATE = 0x400;
const APPEND = 0x800;
/** NFPROTO_INET, NFPROTO_BRIDGE. */
const FAMILY_NUMBER: Readonly<Record<TableFamily, number>> = { inet: 1, bridge: 7 };
const ERROR = 2;
const MAX_U32 = 2 ** 32;

/** Undefined: something of it is written as text only. `out`: where its bytes are, until the next one is written there. */
export function writeBatch(
  table: string,
  commands: readonly Command[],
  first: number,
  out = new NetlinkMessages(),
): Batch | undefined {
  out.clear();
  return new BatchWriter(table, first, out).write(commands);
}

class BatchWriter {
  readonly #out: NetlinkMessages;
  readonly #tableName: Uint8Array;
  readonly #first: number;
  readonly #of: number[] = [];
  #command = 0;
  /** Of sets, by which messages of the same batch may name them. */
  #numbers = 0;
  /** Elements of the list that is open. */
  #listed = 0;
  /** Interval sets that were made in this batch, and are empty still. */
  readonly #empty = new Set<string>();

  constructor(table: string, first: number, out: NetlinkMessages) {
    this.#tableName = textAttribute(1, table);
    this.#first = first;
    this.#out = out;
  }

  write(commands: readonly Command[]): Batch | undefined {
    const out = this.#out;
    out.message({ type: BATCH_BEGIN, flags: REQUEST, family: 0, resource: SUBSYSTEM, sequence: this.#first - 1 });
    for (const [index, { change }] of commands.entries()) {
      this.#command = index;
      if (!change || !this.#change(change)) return undefined;
    }
    out.addFlags(ACK);
    const sequence = this.#first + this.#of.length;
    out.message({ type: BATCH_END, flags: REQUEST, family: 0, resource: SUBSYSTEM, sequence });
    const bytes = out.taken();
    return bytes && { bytes, first: this.#first, of: this.#of };
  }

  /** False: it is not known how. */
  #change(change: Change): boolean {
    const out = this.#out;
    switch (change.kind) {
      case 'table':
        this.#message(change.verb === 'add' ? NEW_TABLE : DELETE_TABLE, 0, change.family);
        if (change.verb === 'add') out.number(2, 0);
        return true;
      case 'chain':
        this.#message(NEW_CHAIN, CREATE, familyOfName(change.chain));
        out.text(3, localName(change.chain));
        return change.hook === '' || this.#hook(change.hook, familyOfName(change.chain));
      case 'rule':
        return this.#rule(change.chain, change.rule);
      case 'flush-chain':
        this.#message(DELETE_RULE, 0, familyOfName(change.chain));
        out.text(2, localName(change.chain));
        return true;
      case 'delete-chain':
        this.#message(DELETE_CHAIN, 0, familyOfName(change.chain));
        out.text(3, localName(change.chain));
        return true;
      case 'set':
        return this.#set(change.set);
      case 'delete-set':
        this.#message(DELETE_SET, 0, familyOfName(change.set.name));
        out.text(2, localName(change.set.name));
        return true;
      case 'elements':
        return change.set.isInterval ? this.#ranges(change) : this.#elements(change);
    }
  }

  #message(type: number, flags: number, family: TableFamily): void {
    this.#out.message({
      type: (SUBSYSTEM << 8) | type,
      flags: REQUEST | flags,
      family: FAMILY_NUMBER[family],
      sequence: this.#first + this.#of.length,
    });
    this.#of.push(this.#command);
    this.#out.again(this.#tableName);
  }

  #hook(text: string, family: TableFamily): boolean {
    const [, name = '', priority = ''] = /^type filter hook (\w+) priority ([^;]+); policy accept;$/.exec(text) ?? [];
    const [number, at] = [HOOK_NUMBER[name], readPriority(priority, family)];
    if (number === undefined || at === undefined) return false;
    this.#out.text(7, 'filter');
    this.#out.number(5, ACCEPT);
    this.#out.open(4);
    this.#out.number(1, number);
    this.#out.number(2, (at + MAX_U32) % MAX_U32);
    this.#out.close();
    return true;
  }

  #rule(chain: string, rule: Rule): boolean {
    const family = familyOfName(chain);
    const numbers = anonymousSets(rule).map((set) => this.#anonymousSet(set, family));
    this.#message(NEW_RULE, CREATE | APPEND, family);
    this.#out.text(2, localName(chain));
    return writeRule(this.#out, family, rule, numbers);
  }

  // ------------------------------------------------------------------------------------------------------------------ sets

  #set({ name, type, isInterval, isMap }: SetKind): boolean {
    const [from = '', to] = type.split(' : ');
    const [key, data] = [keyTypeOf(from), to === undefined ? undefined : keyTypeOf(to)];
    if (!key || (to !== undefined && !data)) return false;
    const out = this.#out;
    const isConcatenated = key.fields.length > 1;
    this.#message(NEW_SET, CREATE, familyOfName(name));
    out.text(2, localName(name));
    out.number(3, (isInterval ? INTERVAL : 0) | (isMap ? MAP : 0) | (isInterval && isConcatenated ? CONCATENATED : 0));
    out.number(4, key.number);
    out.number(5, key.bytes);
    if (isMap) {
      out.number(6, data?.number ?? VERDICT_TYPE);
      out.number(7, data?.bytes ?? 0);
    }
    out.number(10, ++this.#numbers);
    if (isInterval && isConcatenated) this.#fields(key.fields);
    out.attribute(13, [
      ...typed(0, littleEndian(ORDER_NUMBER[key.order])),
      ...(isMap ? [...typed(1, littleEndian(ORDER_NUMBER[data?.order ?? 'none'])), ...typed(6, littleEndian(0))] : []),
      ...(isConcatenated ? typed(3, ABOUT_CONCATENATION) : []),
    ]);
    if (isInterval) this.#empty.add(name);
    return true;
  }

  #fields(fields: readonly { readonly bytes: number }[]): void {
    const out = this.#out;
    out.open(9);
    out.open(2);
    for (const { bytes } of fields) {
      out.open(1);
      out.number(1, bytes);
      out.close();
    }
    out.close();
    out.close();
  }

  /** Its number. */
  #anonymousSet({ type, order, about, isInterval, elements }: AnonymousSet, family: TableFamily): number {
    const out = this.#out;
    const number = ++this.#numbers;
    const key = keyTypeOf(type)!;
    const written: readonly IntervalElement[] = isInterval
      ? intervalElements(elements, true)
      : elements.map(({ first }) => ({ key: first }));
    this.#message(NEW_SET, CREATE, family);
    out.text(2, ANONYMOUS);
    out.number(3, WITHOUT_NAME | CONSTANT | (isInterval ? INTERVAL : 0));
    out.number(4, key.number);
    out.number(5, key.bytes);
    out.number(10, number);
    out.open(9);
    // Both ends of each range, also of one that nothing ends.
    out.number(1, isInterval ? 2 * elements.length + (written[0]!.isEnd ? 1 : 0) : written.length);
    out.close();
    out.attribute(13, [
      ...typed(0, littleEndian(ORDER_NUMBER[order])),
      ...(isInterval ? typed(2, littleEndian(1)) : []),
      ...typed(3, about),
    ]);
    this.#message(NEW_ELEMENTS, CREATE, family);
    out.text(2, ANONYMOUS);
    out.number(4, number);
    this.#openList();
    for (const each of written) this.#element(each);
    out.close();
    return number;
  }

  #elements(change: ElementChange): boolean {
    const { set, elements } = change;
    const [type = '', data] = set.type.split(' : ');
    this.#elementMessage(change);
    for (const [element, verdict] of elements) {
      const key = keyOf(type, element);
      if (!key) return false;
      this.#goOn(change);
      if (verdict === true) this.#element({ key });
      else {
        const to = data === undefined ? readVerdict(verdict) : keyOf(data, verdict);
        if (!to) return false;
        this.#element({ key, to });
      }
    }
    this.#out.close();
    return true;
  }

  #ranges(change: ElementChange): boolean {
    const { set, elements, verb } = change;
    const isConcatenated = set.type.includes(' . ');
    // What is behind a key in the machine's order is another one.
    if (!isConcatenated && keyTypeOf(set.type)?.order !== 'network') return false;
    const ranges: KeyRange[] = [];
    for (const [element] of elements) {
      const range = keyRangeOf(set.type, element);
      if (!range) return false;
      ranges.push(range);
    }
    this.#elementMessage(change);
    if (isConcatenated) {
      for (const { first, last } of ranges) {
        this.#goOn(change);
        this.#element({ key: first, end: last });
      }
    } else {
      for (const each of intervalElements(ranges, verb === 'add' && this.#empty.delete(set.name))) {
        this.#goOn(change);
        this.#element(each);
      }
    }
    this.#out.close();
    return true;
  }

  #elementMessage({ verb, set: { name } }: ElementChange): void {
    this.#message(verb === 'add' ? NEW_ELEMENTS : DELETE_ELEMENTS, verb === 'add' ? CREATE : 0, familyOfName(name));
    this.#out.text(2, localName(name));
    this.#openList();
  }

  #openList(): void {
    this.#out.open(3);
    this.#listed = 0;
  }

  /** In another message, before this one is too long. */
  #goOn(change: ElementChange): void {
    if (this.#out.opened < MAX_LIST) return;
    this.#out.close();
    this.#elementMessage(change);
  }

  #element({ key, end, to, isEnd, isOpen }: WrittenElement): void {
    const out = this.#out;
    out.open(++this.#listed);
    if (isEnd) out.number(3, 1);
    out.open(1);
    out.attribute(1, key);
    out.close();
    if (end) {
      out.open(10);
      out.attribute(1, end);
      out.close();
    }
    if (to) {
      out.open(2);
      if ('code' in to) writeVerdict(out, to.code, to.chain);
      else out.attribute(1, to);
      out.close();
    }
    if (isOpen) out.attribute(6, OPEN_RANGE);
    out.close();
  }
}

interface WrittenElement {
  readonly key: Bytes;
  /** Of a range of several fields. */
  readonly end?: Bytes;
  readonly to?: Bytes | { readonly code: number; readonly chain?: string };
  readonly isEnd?: true;
  readonly isOpen?: true;
}

const HOOK_NUMBER: Readonly<Record<string, number>> = {
  prerouting: 0,
  input: 1,
  forward: 2,
  output: 3,
  postrouting: 4,
};
/** Those of family bridge are other numbers, and none of ours. */
const NAMED_PRIORITY: Readonly<Record<TableFamily, Readonly<Record<string, number>>>> = {
  inet: { mangle: -150, dstnat: -100 },
  bridge: {},
};
const ACCEPT = 1;
/** NFT_SET_ANONYMOUS and the like. */
const [WITHOUT_NAME, CONSTANT, INTERVAL, MAP, CONCATENATED] = [1, 2, 4, 8, 0x80];
const VERDICT_TYPE = 0xffffff00;
const ORDER_NUMBER: Readonly<Record<ByteOrder, number>> = { none: 0, host: 1, network: 2 };
/** Of a concatenation libnftables says no more than that it is one. */
const ABOUT_CONCATENATION = [...typed(0, littleEndian(13)), ...typed(1, [])];
const OPEN_RANGE = typed(1, littleEndian(1));
/** Lengths of attributes have 16 bits; one more element is far shorter than what is left. */
const MAX_LIST = 60_000;

/** `mangle`, `dstnat + 10`, `-1`; undefined: another name. */
function readPriority(text: string, family: TableFamily): number | undefined {
  if (/^-?\d+$/.test(text)) return Number(text);
  const [, name = '', more = '0'] = /^(\w+)(?: \+ (\d+))?$/.exec(text) ?? [];
  const base = NAMED_PRIORITY[family][name];
  return base === undefined ? undefined : base + Number(more);
}

// --------------------------------------------------------------------------------------------------------------- answers

/** `answers`: datagrams of the kernel, of one message or more each. */
export function readAnswers({ first, of }: Pick<Batch, 'first' | 'of'>, answers: readonly Uint8Array[]): BatchOutcome {
  const count = of.length;
  let isDone = false;
  let refused: { failed: number; errno: number } | undefined;
  for (const { sequence, errno } of answers.flatMap(errorsIn)) {
    const index = (sequence - first + MAX_U32) % MAX_U32;
    // The batch as a whole is refused in the name of its first message.
    if (index >= count && !(index === MAX_U32 - 1 && errno !== 0)) continue;
    if (errno === 0) isDone ||= index === count - 1;
    else refused ??= { failed: of[index] ?? 0, errno };
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
