/**
 * JSON of an API object in which long values stay bytes. A tenant decides how long labels, annotations and rules are; as objects they
 * would take ten times their length. Brackets and strings are followed only: what is left as bytes is checked when it is parsed.
 */

import type { RawRecord } from '../policy/raw-values.ts';

/** Values longer than this are not parsed with the object they are in. */
export const LONG_VALUE_BYTES = 8 * 1024;
/** More members than any object of the API has that is opened; what comes after them is left out. */
const MAX_MEMBERS = 1_000;

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** A long value. Good as long as the bytes it was read from: whoever keeps any of it makes a copy. */
export class LongJson {
  readonly bytes: Buffer;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  /** All of it as data; undefined if the bytes are not JSON. */
  parse(): unknown {
    try {
      return JSON.parse(this.bytes.toString('utf8'));
    } catch {
      return undefined;
    }
  }

  /** A member of an object, a long one as LongJson; undefined if there is none, or this is no object. */
  member(name: string): unknown {
    try {
      const { value } = readMembers(this.bytes, 0, (each, from) => {
        return each === name ? readAt(this.bytes, from, 0) : { value: undefined, end: valueEnd(this.bytes, from) };
      });
      return value[name];
    } catch {
      return undefined;
    }
  }

  /** The items of a list, of each the named members only; long ones as LongJson. Undefined if this is no list of objects. */
  items(...names: readonly string[]): readonly RawRecord[] | undefined {
    try {
      const items: RawRecord[] = [];
      readList(this.bytes, (at) => {
        const { value, end } = readMembers(this.bytes, at, (name, from) => {
          return names.includes(name)
            ? readAt(this.bytes, from, 0)
            : { value: undefined, end: valueEnd(this.bytes, from) };
        });
        items.push(value);
        return end;
      });
      return items;
    } catch {
      return undefined;
    }
  }
}

/**
 * The value that `bytes` hold; undefined if they are not JSON. Of long bytes, objects down to `depth` levels are opened; what is long
 * inside of them is a LongJson.
 */
export function readJson(bytes: Buffer, depth: number): unknown {
  try {
    if (bytes.length <= LONG_VALUE_BYTES) return JSON.parse(bytes.toString('utf8'));
    const { value, end } = readAt(bytes, afterSpace(bytes, 0), depth);
    return afterSpace(bytes, end) === bytes.length ? value : undefined;
  } catch {
    return undefined;
  }
}

interface Read<T = unknown> {
  readonly value: T;
  /** The place after it. */
  readonly end: number;
}

function readAt(bytes: Buffer, at: number, depth: number): Read {
  if (depth > 0 && bytes[at] === OPEN_BRACE) return readMembers(bytes, at, (_, from) => readAt(bytes, from, depth - 1));
  const end = valueEnd(bytes, at);
  const part = bytes.subarray(at, end);
  return { value: end - at > LONG_VALUE_BYTES ? new LongJson(part) : JSON.parse(part.toString('utf8')), end };
}

function readMembers(bytes: Buffer, start: number, read: (name: string, from: number) => Read): Read<RawRecord> {
  if (bytes[start] !== OPEN_BRACE) throw unexpected(bytes, start);
  const members: [string, unknown][] = [];
  const end = readElements(bytes, start, CLOSE_BRACE, (at) => {
    const [name, from] = memberAt(bytes, at);
    const { value, end: after } = read(name, from);
    if (value !== undefined && members.length < MAX_MEMBERS) members.push([name, value]);
    return after;
  });
  // Whatever the names are, they mean themselves: this defines, it does not assign.
  return { value: Object.fromEntries(members), end };
}

function readList(bytes: Buffer, read: (at: number) => number): number {
  if (bytes[0] !== OPEN_BRACKET) throw unexpected(bytes, 0);
  return readElements(bytes, 0, CLOSE_BRACKET, read);
}

/** `read` is given where each element begins and answers where it ends. Result: the place after the closing bracket. */
function readElements(bytes: Buffer, start: number, close: number, read: (at: number) => number): number {
  let at = afterSpace(bytes, start + 1);
  if (bytes[at] === close) return at + 1;
  for (;;) {
    at = afterSpace(bytes, read(at));
    if (bytes[at] === close) return at + 1;
    if (bytes[at] !== COMMA) throw unexpected(bytes, at);
    at = afterSpace(bytes, at + 1);
  }
}

/** A member's name, and where its value begins. */
function memberAt(bytes: Buffer, from: number): readonly [name: string, at: number] {
  if (bytes[from] !== QUOTE) throw unexpected(bytes, from);
  const end = stringEnd(bytes, from);
  const colon = afterSpace(bytes, end);
  if (bytes[colon] !== COLON) throw unexpected(bytes, colon);
  return [JSON.parse(bytes.toString('utf8', from, end)) as string, afterSpace(bytes, colon + 1)];
}

/** The place after the value that begins at `from`. */
function valueEnd(bytes: Buffer, from: number): number {
  const first = bytes[from];
  if (first === QUOTE) return stringEnd(bytes, from);
  if (first === OPEN_BRACE || first === OPEN_BRACKET) return nestedEnd(bytes, from);
  let at = from;
  while (at < bytes.length && !endsScalar(bytes[at]!)) at++;
  if (at === from) throw unexpected(bytes, at);
  return at;
}

function nestedEnd(bytes: Buffer, from: number): number {
  let depth = 0;
  for (let at = from; at < bytes.length; at++) {
    const byte = bytes[at]!;
    if (byte === QUOTE) at = stringEnd(bytes, at) - 1;
    else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) depth++;
    else if ((byte === CLOSE_BRACE || byte === CLOSE_BRACKET) && --depth === 0) return at + 1;
  }
  throw unexpected(bytes, bytes.length);
}

function stringEnd(bytes: Buffer, from: number): number {
  for (let at = from + 1; at < bytes.length; at++) {
    const byte = bytes[at]!;
    if (byte === BACKSLASH) at++;
    else if (byte === QUOTE) return at + 1;
  }
  throw unexpected(bytes, bytes.length);
}

function endsScalar(byte: number): boolean {
  return byte === COMMA || byte === CLOSE_BRACE || byte === CLOSE_BRACKET || isSpace(byte);
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

function afterSpace(bytes: Buffer, from: number): number {
  let at = from;
  while (isSpace(bytes[at])) at++;
  return at;
}

function unexpected(bytes: Buffer, at: number): SyntaxError {
  return new SyntaxError(at < bytes.length ? `unexpected byte ${bytes[at]} at ${at}` : 'the JSON ends too early');
}
