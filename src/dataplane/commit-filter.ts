/**
 * A program for the kernel (classic BPF, `struct sock_filter`) that keeps datagrams about others' tables from us: those in which no message
 * names our table, and none ends a transaction. What it cannot tell for certain it lets through.
 *
 *   for each message of the datagram, as many as are looked at:
 *     ends a transaction                                          -> let through
 *     is of one of the families, and its first attribute our name -> let through
 *   end of the datagram                                           -> dropped
 *
 * Such programs have no loops and no jumps backwards, so what is done with a message is written as often as messages are looked at.
 * Source: linux/filter.h; the messages: commit-messages.ts.
 */
import { NEW_GENERATION } from './commit-messages.ts';

/** A datagram holds 10 to 30 about rules. With older kernels a socket may have no more than 20 KB for its program. */
const MESSAGES = 24;

/** Loads into A; of the datagram from X + `k` on, in the order of bytes of the network. */
const [LOAD_WORD, LOAD_HALF, LOAD_BYTE, LOAD_LENGTH] = [0x40, 0x48, 0x50, 0x80];
/** Memory `k` = A, = X; X = memory `k`, = A. */
const [STORE_A, STORE_X, LOAD_X, A_TO_X] = [0x02, 0x03, 0x61, 0x07];
/** A = A ... `k`, or X. */
const [ADD, AND, SHIFT_LEFT, ADD_X, SUBTRACT_X] = [0x04, 0x54, 0x64, 0x0c, 0x1c];
/** A compared with `k`. */
const [IF_EQUAL, IF_AT_LEAST] = [0x15, 0x35];
/** So many bytes of the datagram are handed over. */
const RETURN = 0x06;
const [ALL, NONE] = [0xffff_ffff, 0];
const NEGATIVE = 0x8000_0000;

/** In a message: the upper half of its length, its type and family; length, type and value of its first attribute. */
const [LENGTH_HIGH, TYPE, FAMILY, ATTRIBUTE_LENGTH, ATTRIBUTE_TYPE, NAME] = [2, 4, 16, 20, 22, 24];
/** Number 1, as it is loaded. */
const TABLE = 0x0100;

/** In the order in which they stand. */
const PARTS = ['head', 'name', 'through', 'drop', 'next'] as const;
type Part = (typeof PARTS)[number];
type Parts = Readonly<Record<Part, readonly Instruction[]>>;

interface Instruction {
  readonly code: number;
  readonly k: number;
  /** Where it goes on if its test is true, or not. Absent: with the instruction behind it. */
  readonly yes?: Part;
  readonly no?: Part;
}

const INSTRUCTION_BYTES = 8;

export function commitFilter(table: string, families: readonly number[]): Uint8Array {
  const once = assemble(aboutMessage(nameWords(table), families, 4 + table.length + 1));
  const bytes = new Uint8Array(MESSAGES * once.length + INSTRUCTION_BYTES);
  for (let message = 0; message < MESSAGES; message++) bytes.set(once, message * once.length);
  write(bytes, MESSAGES * once.length, { code: RETURN, k: ALL });
  return bytes;
}

/** X is where the message begins, at first 0. */
function aboutMessage(name: readonly number[], families: readonly number[], attributeLength: number): Parts {
  return {
    head: [
      { code: LOAD_LENGTH, k: 0 },
      { code: SUBTRACT_X, k: 0 },
      { code: IF_EQUAL, k: 0, yes: 'drop' },
      { code: IF_AT_LEAST, k: NEGATIVE, yes: 'drop' },
      { code: IF_AT_LEAST, k: NAME + name.length * 4, no: 'through' },
      { code: LOAD_HALF, k: LENGTH_HIGH },
      { code: IF_EQUAL, k: 0, no: 'through' },
      { code: LOAD_BYTE, k: TYPE },
      { code: IF_EQUAL, k: NEW_GENERATION, yes: 'through' },
      { code: LOAD_BYTE, k: FAMILY },
      ...families.slice(0, -1).map((k) => ({ code: IF_EQUAL, k, yes: 'name' }) as const),
      ...families.slice(-1).map((k) => ({ code: IF_EQUAL, k, no: 'next' }) as const),
    ],
    name: [
      { code: LOAD_HALF, k: ATTRIBUTE_TYPE },
      { code: IF_EQUAL, k: TABLE, no: 'through' },
      { code: LOAD_HALF, k: ATTRIBUTE_LENGTH },
      { code: IF_EQUAL, k: swapped(attributeLength), no: 'next' },
      ...name.flatMap((k, index): readonly Instruction[] => [
        { code: LOAD_WORD, k: NAME + index * 4 },
        { code: IF_EQUAL, k, no: 'next' },
      ]),
    ],
    through: [{ code: RETURN, k: ALL }],
    drop: [{ code: RETURN, k: NONE }],
    // X += the length of the message, whose lower byte comes first, up to a multiple of 4.
    next: [
      { code: LOAD_BYTE, k: 1 },
      { code: SHIFT_LEFT, k: 8 },
      { code: STORE_A, k: 0 },
      { code: LOAD_BYTE, k: 0 },
      { code: STORE_X, k: 1 },
      { code: LOAD_X, k: 0 },
      { code: ADD_X, k: 0 },
      { code: ADD, k: 3 },
      { code: AND, k: 0xffff_fffc },
      { code: LOAD_X, k: 1 },
      { code: ADD_X, k: 0 },
      { code: A_TO_X, k: 0 },
    ],
  };
}

function assemble(parts: Parts): Uint8Array {
  const starts = new Map<Part | undefined, number>();
  let count = 0;
  for (const part of PARTS) {
    starts.set(part, count);
    count += parts[part].length;
  }
  const bytes = new Uint8Array(count * INSTRUCTION_BYTES);
  for (const [index, instruction] of PARTS.flatMap((part) => parts[part]).entries()) {
    const behind = index + 1;
    const jump = (to: Part | undefined): number => (starts.get(to) ?? behind) - behind;
    write(bytes, index * INSTRUCTION_BYTES, instruction, jump(instruction.yes), jump(instruction.no));
  }
  return bytes;
}

function write(bytes: Uint8Array, at: number, { code, k }: Instruction, yes = 0, no = 0): void {
  const view = new DataView(bytes.buffer, at);
  view.setUint16(0, code, true);
  view.setUint8(2, yes);
  view.setUint8(3, no);
  view.setUint32(4, k, true);
}

/** With the NUL behind it, and as many more as fill the last word. */
function nameWords(name: string): readonly number[] {
  const bytes = new Uint8Array((name.length + 1 + 3) & ~3);
  for (let index = 0; index < name.length; index++) bytes[index] = name.charCodeAt(index);
  const view = new DataView(bytes.buffer);
  return Array.from({ length: bytes.length / 4 }, (_, index) => view.getUint32(index * 4));
}

/** As it is loaded what the kernel wrote in the machine's own order of bytes, the lower one first. */
function swapped(half: number): number {
  return ((half & 0xff) << 8) | (half >> 8);
}
