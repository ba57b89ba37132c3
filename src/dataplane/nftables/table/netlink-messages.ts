/**
 * Netlink messages as bytes: headers, attributes one behind the other, attributes that hold others. Numbers of headers are in the machine's
 * order, those in attributes of nftables in the network's.
 *
 * Source: linux/netlink.h, linux/netfilter/nfnetlink.h.
 */
import { aligned, FAMILY_HEADER, MESSAGE_HEADER } from '../../../core/netlink-layout.ts';

const NESTED = 0x8000;
/** Lengths of attributes have 16 bits. */
const MAX_ATTRIBUTE = 0xffff;
const MAX_DEPTH = 16;
/** More than most edits take. */
const FIRST_BYTES = 16_384;

export interface MessageHead {
  readonly type: number;
  readonly flags: number;
  readonly family: number;
  readonly resource?: number;
  readonly sequence: number;
}

export class NetlinkMessages {
  #bytes = Buffer.alloc(FIRST_BYTES);
  #view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset);
  #length = 0;
  #message = 0;
  readonly #opened = new Uint32Array(MAX_DEPTH);
  #depth = 0;
  #isTooLong = false;

  /** Ahead of other messages: what was taken of those before is theirs. */
  clear(): void {
    this.#bytes.fill(0, 0, this.#length);
    this.#length = 0;
    this.#depth = 0;
    this.#isTooLong = false;
  }

  /** Its attributes follow, until the next one begins. */
  message({ type, flags, family, resource = 0, sequence }: MessageHead): void {
    this.#end();
    const at = this.#take(MESSAGE_HEADER + FAMILY_HEADER);
    this.#message = at;
    this.#view.setUint16(at + 4, type, true);
    this.#view.setUint16(at + 6, flags, true);
    this.#view.setUint32(at + 8, sequence, true);
    this.#view.setUint8(at + MESSAGE_HEADER, family);
    this.#view.setUint16(at + MESSAGE_HEADER + 2, resource, false);
  }

  /** To the message that was written last. */
  addFlags(flags: number): void {
    const at = this.#message + 6;
    this.#view.setUint16(at, this.#view.getUint16(at, true) | flags, true);
  }

  /** What follows is in this attribute, until it is closed. */
  open(type: number): void {
    const at = this.#take(4);
    this.#view.setUint16(at + 2, type | NESTED, true);
    this.#opened[this.#depth++] = at;
  }

  close(): void {
    const at = this.#opened[--this.#depth]!;
    const length = this.#length - at;
    if (length > MAX_ATTRIBUTE) this.#isTooLong = true;
    this.#view.setUint16(at, length, true);
  }

  /** Bytes since the attribute was opened that was opened last. */
  get opened(): number {
    return this.#length - this.#opened[this.#depth - 1]!;
  }

  attribute(type: number, value: readonly number[]): void {
    const at = this.#head(type, value.length);
    this.#bytes.set(value, at);
  }

  number(type: number, value: number): void {
    const at = this.#head(type, 4);
    this.#view.setUint32(at, value, false);
  }

  /** Plain ASCII, with its end. */
  text(type: number, value: string): void {
    const at = this.#head(type, value.length + 1);
    this.#bytes.write(value, at, 'latin1');
  }

  /** The same as a value of its own type and length. */
  typedText(type: number, own: number, value: string): void {
    const at = this.#head(type, 2 + value.length + 1);
    this.#bytes[at] = own;
    this.#bytes[at + 1] = value.length + 1;
    this.#bytes.write(value, at + 2, 'latin1');
  }

  /** Attributes that were written before. */
  again(attributes: Uint8Array): void {
    const at = this.#take(attributes.length);
    this.#bytes.set(attributes, at);
  }

  /** Into the attribute that was written last, in place of a value of that length. */
  overwrite(value: readonly number[]): void {
    this.#bytes.set(value, this.#length - aligned(value.length));
  }

  get length(): number {
    return this.#length;
  }

  /** A copy of the attributes that were written since then. */
  since(length: number): Uint8Array {
    return Uint8Array.from(this.#bytes.subarray(length, this.#length));
  }

  /** Until they are cleared. Undefined: an attribute is longer than attributes can be. */
  taken(): Uint8Array | undefined {
    this.#end();
    return this.#isTooLong ? undefined : this.#bytes.subarray(0, this.#length);
  }

  #end(): void {
    if (this.#length > 0) this.#view.setUint32(this.#message, this.#length - this.#message, true);
  }

  #head(type: number, length: number): number {
    const at = this.#take(4 + length);
    this.#view.setUint16(at, 4 + length, true);
    this.#view.setUint16(at + 2, type, true);
    return at + 4;
  }

  /** Where so many bytes begin, all 0. */
  #take(length: number): number {
    const at = this.#length;
    this.#length += aligned(length);
    if (this.#length > this.#bytes.length) {
      const more = Buffer.alloc(Math.max(this.#length, 2 * this.#bytes.length));
      more.set(this.#bytes);
      this.#bytes = more;
      this.#view = new DataView(more.buffer, more.byteOffset);
    }
    return at;
  }
}
