/** Cutting a response body into objects as it arrives, so that no body is ever held whole. */

const NEWLINE = 0x0a;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;

/** An object is at most about 1.5 MiB in etcd (3 MiB with a raised limit); JSON and managed fields come on top. */
export const MAX_OBJECT_BYTES = 16 * 1024 * 1024;

export class TooLong extends Error {
  constructor(what: string) {
    super(`${what} longer than ${MAX_OBJECT_BYTES} bytes`);
    this.name = 'TooLong';
  }
}

/** Kept for the beginnings of lines; for longer ones room is made, and kept while they come. */
const KEPT_BYTES = 64 * 1024;
/** Lines in a row that needed no more, after which there is no more. */
const SHRINK_AFTER_LINES = 200;

/**
 * Bytes in, lines out (without the newline, empty lines left out). A line is good until the next is asked for: those that are in
 * several chunks are put together in one place, so that no chunk is held and nothing is left to be collected.
 */
export class LineSplitter {
  /** The beginning of a line. */
  #held = Buffer.allocUnsafeSlow(KEPT_BYTES);
  #heldBytes = 0;
  #shortLines = 0;

  *push(chunk: Buffer): Generator<Buffer> {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      const line = this.#join(chunk.subarray(start, end));
      start = end + 1;
      if (line.length > 0) yield line;
    }
    this.#hold(chunk.subarray(start));
  }

  /** What came after the last newline; undefined if nothing did. */
  rest(): Buffer | undefined {
    const rest = this.#join(Buffer.alloc(0));
    return rest.length > 0 ? rest : undefined;
  }

  #join(tail: Buffer): Buffer {
    this.#shortLines = this.#heldBytes + tail.length > KEPT_BYTES ? 0 : this.#shortLines + 1;
    if (this.#heldBytes === 0) {
      if (this.#held.length > KEPT_BYTES && this.#shortLines > SHRINK_AFTER_LINES)
        this.#held = Buffer.allocUnsafeSlow(KEPT_BYTES);
      return tail;
    }
    this.#hold(tail);
    const line = this.#held.subarray(0, this.#heldBytes);
    this.#heldBytes = 0;
    return line;
  }

  #hold(part: Buffer): void {
    const bytes = this.#heldBytes + part.length;
    if (bytes > MAX_OBJECT_BYTES) throw new TooLong('line');
    if (bytes > this.#held.length) {
      const held = Buffer.allocUnsafeSlow(Math.max(bytes, 2 * this.#held.length));
      this.#held.copy(held, 0, 0, this.#heldBytes);
      this.#held = held;
    }
    part.copy(this.#held, this.#heldBytes);
    this.#heldBytes = bytes;
  }
}

/**
 * Bytes of a Kubernetes list (`{"kind":"PodList","metadata":{...},"items":[{...},{...}]}`) in, the bytes of each item out.
 * `envelope()` is the same JSON with an empty `items`. It follows nesting and strings only: what it cuts is still
 * checked by JSON.parse. Keys may come in any order and with any white space.
 */
export class ItemSplitter {
  /** Open brackets around the current byte. */
  #depth = 0;
  #inString = false;
  #escaped = false;
  /** Inside the array that is the value of the top-level key `items`. */
  #inItems = false;
  /** Bytes of the string at depth 1 that was read last: a key if a colon follows. */
  #key = '';
  #afterItemsKey = false;
  #held: Buffer[] = [];
  #heldBytes = 0;
  readonly #envelope: Buffer[] = [];
  #envelopeBytes = 0;

  *push(chunk: Buffer): Generator<Buffer> {
    let start = 0;
    for (let at = 0; at < chunk.length; at++) {
      if (this.#inString) {
        at = this.#skipString(chunk, at);
        continue;
      }
      const byte = chunk[at]!;
      switch (byte) {
        case QUOTE:
          this.#inString = true;
          if (this.#depth === 1) this.#key = '';
          break;
        case COLON:
          if (this.#depth === 1) this.#afterItemsKey = this.#key === 'items';
          break;
        case 0x7b: // {
        case 0x5b: // [
          if (this.#inItems && this.#depth === 2) {
            this.#keepEnvelope(chunk.subarray(start, at));
            start = at;
          }
          this.#depth++;
          if (this.#depth === 2 && byte === 0x5b && this.#afterItemsKey) this.#inItems = true;
          break;
        case 0x7d: // }
        case 0x5d: // ]
          this.#depth--;
          if (this.#inItems && this.#depth === 2) {
            yield this.#take(chunk.subarray(start, at + 1));
            start = at + 1;
          } else if (this.#depth === 1) {
            this.#inItems = false;
            this.#afterItemsKey = false;
          }
          break;
        case 0x2c: // , between items belongs to neither an item nor the envelope
          if (this.#inItems && this.#depth === 2) {
            this.#keepEnvelope(chunk.subarray(start, at));
            start = at + 1;
          } else if (this.#depth === 1) this.#afterItemsKey = false;
          break;
      }
    }
    this.#keep(chunk.subarray(start));
  }

  envelope(): Buffer {
    return Buffer.concat(this.#envelope);
  }

  /** The whole list has been seen: every bracket is closed. */
  get complete(): boolean {
    return this.#depth === 0 && !this.#inString && this.#envelopeBytes > 0;
  }

  /** Position of the last byte of the string within `chunk`, or of the chunk. */
  #skipString(chunk: Buffer, from: number): number {
    for (let at = from; at < chunk.length; at++) {
      const byte = chunk[at]!;
      if (this.#escaped) this.#escaped = false;
      else if (byte === BACKSLASH) this.#escaped = true;
      else if (byte === QUOTE) {
        this.#inString = false;
        return at;
      }
      if (this.#depth === 1 && this.#key.length < 8) this.#key += String.fromCharCode(byte);
    }
    return chunk.length;
  }

  #keep(part: Buffer): void {
    if (part.length === 0) return;
    if (!this.#inItems || this.#depth <= 2) {
      this.#keepEnvelope(part);
      return;
    }
    this.#held.push(part);
    this.#heldBytes += part.length;
    if (this.#heldBytes > MAX_OBJECT_BYTES) throw new TooLong('list item');
  }

  #keepEnvelope(part: Buffer): void {
    if (part.length === 0) return;
    this.#envelope.push(part);
    this.#envelopeBytes += part.length;
    if (this.#envelopeBytes > MAX_OBJECT_BYTES) throw new TooLong('list without its items');
  }

  #take(tail: Buffer): Buffer {
    if (this.#held.length === 0) return tail;
    const item = Buffer.concat([...this.#held, tail]);
    this.#held = [];
    this.#heldBytes = 0;
    return item;
  }
}
