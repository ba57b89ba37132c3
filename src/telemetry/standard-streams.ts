/** Standard output and standard error that never make the process wait, whoever reads them or does not. */
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Sink } from './log-output.ts';

/** What a socket keeps for later counts as written; with more it is full. */
const MAX_SOCKET_BYTES = 64 * 1024;

/**
 * Makes writes to the descriptor fail instead of wait, without a change for others that have the same pipe: it is opened anew, under
 * the same number. False if that cannot be done: a socket, or a missing right.
 */
export function neverBlock(descriptor: 1 | 2): boolean {
  const path = `/proc/self/fd/${descriptor}`;
  const flags = constants.O_WRONLY | constants.O_NONBLOCK | constants.O_APPEND | constants.O_NOCTTY;
  try {
    const probe = openSync(path, flags);
    // The lowest free number is taken: the one that is closed, if nothing else is opened in between.
    closeSync(descriptor);
    const again = openSync(`/proc/self/fd/${probe}`, flags);
    closeSync(probe);
    return again === descriptor;
  } catch {
    return false;
  }
}

/** Standard output for `LogOutput`. */
export function standardOutput(): Sink {
  return neverBlock(1) ? descriptorSink(1) : socketSink(new Socket({ fd: 1, readable: false, writable: true }));
}

function descriptorSink(descriptor: number): Sink {
  return {
    write: (bytes) => {
      try {
        return writeSync(descriptor, bytes);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return 0;
        throw error;
      }
    },
  };
}

/** Node itself waits for nobody on a socket, but keeps what is written without a limit. */
function socketSink(socket: Socket): Sink {
  let failed: Error | undefined;
  socket.on('error', (error) => (failed = error));
  socket.unref();
  return {
    write: (bytes) => {
      if (failed || socket.destroyed) throw failed ?? new Error('closed');
      if (socket.writableLength > MAX_SOCKET_BYTES) return 0;
      socket.write(bytes);
      return bytes.length;
    },
  };
}

/** For a last word: tried once, lost if there is no room. */
export function writeOnce(descriptor: number, text: string): void {
  try {
    writeSync(descriptor, text);
  } catch {
    // Nobody reads it.
  }
}
