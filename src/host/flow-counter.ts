/**
 * How many flows carry a mark, asked of conntrack by netlink: a process for each question costs more than the walk through the table. The kernel
 * walks when the question is sent, on another thread, as far as the first datagram has room for flows.
 *
 * Source: linux/netfilter/nfnetlink_conntrack.h, nfnetlink.h.
 */
import { readFileSync } from 'node:fs';
import type { Family } from '../core/vocabulary.ts';
import { aligned, ATTRIBUTE_HEADER, attributeValue, FAMILY_HEADER, MESSAGE_HEADER } from '../core/netlink-layout.ts';
import { ANSWER_BYTES, MSG_DONTWAIT, openRawSocket, type RawSocket, sendWhole } from './netlink-socket.ts';

/** Bits of the connection mark, and what they are. */
export interface CarriedMark {
  readonly value: number;
  readonly mask: number;
}

export interface FlowCount {
  /** Beyond a hundred or so some of them. */
  readonly flows: number;
  /** The table may have been resized meanwhile: a walk misses entries then. */
  readonly mayMiss: boolean;
}

export interface FlowCounter {
  /** Undefined: it cannot be told here, or not now. Never rejects. */
  count(family: Family, carried: CarriedMark): Promise<FlowCount | undefined>;
}

/** Buckets of the table, of which all network namespaces have one. */
const TABLE_SIZE = '/proc/sys/net/netfilter/nf_conntrack_buckets';

const [CONNTRACK_SUBSYSTEM, NEW_FLOW, GET_FLOW] = [1 << 8, 0, 1];
const [NLMSG_ERROR, NLMSG_DONE] = [2, 3];
const [NLM_F_REQUEST, NLM_F_DUMP] = [0x1, 0x300];
const [CTA_MARK, CTA_MARK_MASK] = [8, 21];
const ADDRESS_FAMILY = { 4: 2, 6: 10 } as const satisfies Record<Family, number>;
const MAX_SEQUENCE = 2 ** 31;

export function openFlowCounter(
  open: () => RawSocket | undefined = openRawSocket,
  tableSize: () => string | undefined = readTableSize,
): FlowCounter {
  return new NetlinkFlowCounter(open, tableSize);
}

function readTableSize(): string | undefined {
  try {
    return readFileSync(TABLE_SIZE, 'utf8');
  } catch {
    return undefined;
  }
}

class NetlinkFlowCounter implements FlowCounter {
  readonly #open: () => RawSocket | undefined;
  readonly #tableSize: () => string | undefined;
  /** `null`: there is none. */
  #socket: RawSocket | null | undefined;
  #sequence = 0;
  /** One question at a time. */
  #last: Promise<unknown> = Promise.resolve();
  readonly #answer = new Uint8Array(ANSWER_BYTES);

  constructor(open: () => RawSocket | undefined, tableSize: () => string | undefined) {
    this.#open = open;
    this.#tableSize = tableSize;
  }

  count(family: Family, carried: CarriedMark): Promise<FlowCount | undefined> {
    const next = this.#last.then(() => this.#ask(family, carried));
    this.#last = next;
    return next;
  }

  async #ask(family: Family, carried: CarriedMark): Promise<FlowCount | undefined> {
    if (this.#socket === undefined) this.#socket = this.#open() ?? null;
    const socket = this.#socket;
    if (!socket) return undefined;
    this.#sequence = (this.#sequence % MAX_SEQUENCE) + 1;
    const sizeBefore = this.#tableSize();
    let counted: Counted | undefined;
    try {
      await sendWhole(socket, question(family, carried, this.#sequence));
      const length = Number(socket.receive(socket.fd, this.#answer, ANSWER_BYTES, MSG_DONTWAIT));
      counted = length > 0 ? readFlows(this.#answer.subarray(0, length), this.#sequence, carried) : undefined;
    } catch {
      counted = undefined;
    }
    // The rest of a long list is not read: it ends with its socket.
    if (!counted?.isWhole) this.#close(socket);
    return counted && { flows: counted.flows, mayMiss: sizeBefore === undefined || sizeBefore !== this.#tableSize() };
  }

  #close(socket: RawSocket): void {
    socket.close();
    this.#socket = undefined;
  }
}

/** All flows of the family that carry the mark. */
function question(family: Family, { value, mask }: CarriedMark, sequence: number): Uint8Array {
  const attributes = [
    [CTA_MARK, value],
    [CTA_MARK_MASK, mask],
  ] as const;
  const attributeBytes = ATTRIBUTE_HEADER + 4;
  const bytes = new Uint8Array(MESSAGE_HEADER + FAMILY_HEADER + attributes.length * attributeBytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  view.setUint16(4, CONNTRACK_SUBSYSTEM | GET_FLOW, true);
  view.setUint16(6, NLM_F_REQUEST | NLM_F_DUMP, true);
  view.setUint32(8, sequence, true);
  view.setUint8(MESSAGE_HEADER, ADDRESS_FAMILY[family]);
  for (const [index, [type, bits]] of attributes.entries()) {
    const at = MESSAGE_HEADER + FAMILY_HEADER + index * attributeBytes;
    view.setUint16(at, attributeBytes, true);
    view.setUint16(at + 2, type, true);
    view.setUint32(at + ATTRIBUTE_HEADER, bits);
  }
  return bytes;
}

interface Counted {
  readonly flows: number;
  /** The kernel has no more to tell. */
  readonly isWhole: boolean;
}

/** Throws where these are no answers to the question, or it was refused. */
function readFlows(bytes: Uint8Array, sequence: number, carried: CarriedMark): Counted {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let flows = 0;
  for (let at = 0; at + MESSAGE_HEADER <= bytes.length; ) {
    const length = view.getUint32(at, true);
    const type = view.getUint16(at + 4, true);
    if (length < MESSAGE_HEADER || at + length > bytes.length || view.getUint32(at + 8, true) !== sequence)
      throw new Error('the kernel answers something else');
    if (type === NLMSG_ERROR) throw new Error('the kernel does not list flows');
    if (type === NLMSG_DONE) return { flows, isWhole: true };
    if (type !== (CONNTRACK_SUBSYSTEM | NEW_FLOW)) throw new Error('the kernel answers something else');
    // An old kernel may tell of all flows.
    if ((markIn(view, at + MESSAGE_HEADER + FAMILY_HEADER, at + length) & carried.mask) >>> 0 === carried.value)
      flows++;
    at += aligned(length);
  }
  if (flows === 0) throw new Error('the flows that carry the mark, if any, are told later');
  return { flows, isWhole: false };
}

/** 0: none. */
function markIn(view: DataView, from: number, end: number): number {
  const mark = attributeValue(view, from, end, CTA_MARK);
  return mark ? view.getUint32(mark.from) : 0;
}
