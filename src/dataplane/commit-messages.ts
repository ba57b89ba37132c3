/**
 * What the kernel tells of commits to nf_tables, as netlink messages: a message for each object that a transaction changed, in one datagram
 * or several, then one that says who committed it.
 *
 *   length, type, flags, sequence, port (16 bytes) | family, version, 0 (4 bytes) | attributes: length, type, value, each a multiple of 4 bytes
 *
 * Source: linux/netlink.h, netfilter/nfnetlink.h, netfilter/nf_tables.h.
 */
import { aligned, attributeValue, FAMILY_HEADER, MESSAGE_HEADER } from '../core/netlink-layout.ts';

export type CommitMessage =
  /** `chain`: of chains and rules; empty for all else. */
  | {
      readonly kind: 'changed';
      readonly family: number;
      readonly type: number;
      readonly table: string;
      readonly chain: string;
      /** It was not there before. Linux tells that from 5.15 on. */
      readonly isNew: boolean;
    }
  /**
   * `port`: of the socket it was committed by; as long as that is open no other in the network namespace has the same. `generation`: a number that
   * each commit of the namespace adds one to. Also the answer to `generationQuestion`, with the port of who asked.
   */
  | { readonly kind: 'committed'; readonly program: string; readonly port: number; readonly generation: number }
  /** Not as it is described here. */
  | { readonly kind: 'unreadable' };

/** NFPROTO_*, in nf_tables. */
export const FAMILY_NUMBERS = { inet: 1, ip: 2, bridge: 7, ip6: 10 } as const;

/** NFT_MSG_*. */
export const MESSAGE_TYPES = {
  newTable: 0,
  deleteTable: 2,
  newChain: 3,
  deleteChain: 5,
  newRule: 6,
  deleteRule: 8,
} as const;
/** Says who committed what was told before. */
export const NEW_GENERATION = 15;

const SUBSYSTEM = 10;
const GET_GENERATION = 16;
const REQUEST = 1;
const END = (SUBSYSTEM << 8) | NEW_GENERATION;
/** NFTA_*_TABLE, or NFTA_TABLE_NAME. */
const TABLE = 1;
const RULE_CHAIN = 2;
const CHAIN_NAME = 3;
const GENERATION = 1;
const PROCESS_NAME = 3;
/** NLM_F_CREATE, NLM_F_EXCL: either, as the program asked for it. */
const NEW_FLAGS = 0x600;

/**
 * Calls `onMessage` for each in turn. `isEnough`, asked before each: what is known of the transaction suffices, so changes are passed over up to
 * its end, unread.
 */
export function readCommitMessages(
  bytes: Uint8Array,
  onMessage: (message: CommitMessage) => void,
  isEnough: () => boolean = () => false,
): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.length - at >= MESSAGE_HEADER ? view.getUint32(at, true) : 0;
    if (length < MESSAGE_HEADER + FAMILY_HEADER || length > bytes.length - at) {
      onMessage({ kind: 'unreadable' });
      return;
    }
    if (view.getUint16(at + 4, true) === END || !isEnough()) onMessage(readable(view, at, at + length));
    at += aligned(length);
  }
}

function readable(view: DataView, at: number, end: number): CommitMessage {
  try {
    return readMessage(view, at, end);
  } catch {
    return { kind: 'unreadable' };
  }
}

/** Throws where an attribute is cut off. */
function readMessage(view: DataView, at: number, end: number): CommitMessage {
  const subsystemAndType = view.getUint16(at + 4, true);
  if (subsystemAndType >> 8 !== SUBSYSTEM) return { kind: 'unreadable' };
  const type = subsystemAndType & 0xff;
  const textOf = (attribute: number): string => textIn(view, at + MESSAGE_HEADER + FAMILY_HEADER, end, attribute);
  if (type === NEW_GENERATION)
    return {
      kind: 'committed',
      program: textOf(PROCESS_NAME),
      port: view.getUint32(at + 12, true),
      generation: numberIn(view, at + MESSAGE_HEADER + FAMILY_HEADER, end, GENERATION),
    };
  return {
    kind: 'changed',
    family: view.getUint8(at + MESSAGE_HEADER),
    type,
    table: textOf(TABLE),
    chain: chainOf(type, textOf),
    isNew: (view.getUint16(at + 6, true) & NEW_FLAGS) !== 0,
  };
}

function chainOf(type: number, textOf: (attribute: number) => string): string {
  switch (type) {
    case MESSAGE_TYPES.newChain:
    case MESSAGE_TYPES.deleteChain:
      return textOf(CHAIN_NAME);
    case MESSAGE_TYPES.newRule:
    case MESSAGE_TYPES.deleteRule:
      return textOf(RULE_CHAIN);
    default:
      return '';
  }
}

/** Asks which generation there is. */
export function generationQuestion(): Uint8Array {
  const bytes = new Uint8Array(MESSAGE_HEADER + FAMILY_HEADER);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  view.setUint16(4, (SUBSYSTEM << 8) | GET_GENERATION, true);
  view.setUint16(6, REQUEST, true);
  return bytes;
}

/** Of one attribute, up to its NUL; empty: there is none. */
function textIn(view: DataView, from: number, end: number, attribute: number): string {
  const found = attributeValue(view, from, end, attribute);
  return found ? text(view, found.from, found.end) : '';
}

/** Of one attribute, in the order of bytes of the network; 0: there is none. */
function numberIn(view: DataView, from: number, end: number, attribute: number): number {
  const found = attributeValue(view, from, end, attribute);
  return found && found.end - found.from === 4 ? view.getUint32(found.from) : 0;
}

function text(view: DataView, from: number, end: number): string {
  let found = '';
  for (let at = from; at < end; at++) {
    const code = view.getUint8(at);
    if (code === 0) break;
    found += String.fromCharCode(code);
  }
  return found;
}
