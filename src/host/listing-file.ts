/**
 * A file in memory, without a name, for what a program prints: one that flushes every word would wake whoever reads the other end of a pipe
 * each time. It is filled with zeros beforehand. So the file system has room for all that is written into it, and where the text ends is
 * seen; what a program writes beyond that may be lost where the file system is full, and the program may not tell.
 */
import { closeSync, fstatSync, openSync, readSync, statfsSync, unlinkSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { StringDecoder } from 'node:string_decoder';

export interface ListingFile {
  /** For the program. */
  readonly descriptor: number;
  /** What was printed; undefined: it has no end within the room that there was. Others have turns in between. */
  read(): Promise<string | undefined>;
  /** In bytes: as far as the program wrote, or the room where it wrote less. */
  length(): number;
  close(): void;
}

/** What is written over in such a file needs no more room. Source: linux/magic.h. */
const TMPFS_MAGIC = 0x01021994;
const PIECE_BYTES = 256 * 1024;
const ZEROS = new Uint8Array(64 * 1024);

/** For less than `room` bytes. Undefined: there is no file system in memory, or it has no room. */
export function openListingFile(
  room: number,
  folders: readonly string[] = [SHARED_MEMORY, tmpdir()],
): ListingFile | undefined {
  for (const folder of folders) {
    const descriptor = openFilled(folder, room);
    if (descriptor !== undefined)
      return {
        descriptor,
        read: () => readText(descriptor, room),
        length: () => fstatSync(descriptor).size,
        close: () => closeSync(descriptor),
      };
  }
  return undefined;
}

const SHARED_MEMORY = '/dev/shm';
let opened = 0;

function openFilled(folder: string, room: number): number | undefined {
  let descriptor: number | undefined;
  try {
    if (statfsSync(folder).type !== TMPFS_MAGIC) return undefined;
    const name = join(folder, `portcullis-listing-${process.pid}-${++opened}`);
    descriptor = openSync(name, 'wx+', 0o600);
    unlinkSync(name);
    for (let at = 0; at < room; ) at += writeSync(descriptor, ZEROS, 0, Math.min(ZEROS.length, room - at), at);
    return descriptor;
  } catch {
    if (descriptor !== undefined) closeSync(descriptor);
    return undefined;
  }
}

async function readText(descriptor: number, room: number): Promise<string | undefined> {
  const piece = Buffer.allocUnsafe(Math.min(PIECE_BYTES, room));
  const decoder = new StringDecoder('utf8');
  const pieces: string[] = [];
  for (let at = 0; at < room; ) {
    const length = readSync(descriptor, piece, 0, Math.min(piece.length, room - at), at);
    if (length === 0) return undefined;
    const end = piece.subarray(0, length).indexOf(0);
    pieces.push(decoder.write(piece.subarray(0, end < 0 ? length : end)));
    if (end >= 0) return pieces.join('') + decoder.end();
    at += length;
    await new Promise((resolve) => void setImmediate(resolve));
  }
  return undefined;
}
