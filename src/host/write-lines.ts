/**
 * Input for a tool that carries out each line as it reads it (`ipset restore`). When this process is killed, the tool reads what was
 * written so far, then the end of its input, and carries out the last line however much of it there is: `6:8080` cut to `6:80` opens
 * another port, `destroy` without a name destroys every set of the host. So every write ends with a line, and is so small that the
 * kernel takes it whole or not at all.
 */
import type { Writable } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';

/**
 * Node connects a child by a stream socket, which takes half its send buffer less 64 bytes as one; the smallest send buffer there is
 * (SOCK_MIN_SNDBUF) has 4,608 bytes. Of a pipe, PIPE_BUF (4,096) would hold.
 */
export const MAX_WRITE_BYTES = 2_048;

/** Others get a turn after this long; a reader as fast as this process would never make it wait. */
const SLICE_MS = 10;
const NEWLINE = 0x0a;

/** Writes `parts`, each of which ends with a line, and closes `input`. Ends early, without an error, when nobody reads any more. */
export async function writeLines(input: Writable, parts: readonly string[]): Promise<void> {
  if (await writePieces(input, parts)) input.end();
}

/** As `writeLines`, and leaves `input` open. False: nobody reads any more. */
export async function writePieces(input: Writable, parts: readonly string[]): Promise<boolean> {
  let sliceStarted = performance.now();
  for (const part of parts) {
    for (const lines of wholeLines(Buffer.from(part))) {
      // One at a time: Node hands writes that wait for each other to the kernel as one, which may take a part of it.
      if (!(await isWritten(input, lines))) return false;
      if (performance.now() - sliceStarted < SLICE_MS) continue;
      await nextTurn();
      sliceStarted = performance.now();
    }
  }
  return true;
}

/** Pieces of at most MAX_WRITE_BYTES that end with a line; a longer line, which no command of ipset is, stays in one piece. */
function* wholeLines(text: Buffer): Iterable<Buffer> {
  for (let start = 0; start < text.length; ) {
    const end = endOfLines(text, start);
    yield text.subarray(start, end);
    start = end;
  }
}

function endOfLines(text: Buffer, start: number): number {
  const limit = start + MAX_WRITE_BYTES;
  if (text.length <= limit) return text.length;
  const last = text.lastIndexOf(NEWLINE, limit - 1);
  if (last >= start) return last + 1;
  const next = text.indexOf(NEWLINE, limit);
  return next < 0 ? text.length : next + 1;
}

function isWritten(input: Writable, lines: Buffer): Promise<boolean> {
  return new Promise((resolve) => void input.write(lines, (error) => resolve(!error)));
}
