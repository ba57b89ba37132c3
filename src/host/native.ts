/** C functions of this system, called by way of a library that need not be there (docs/decisions/written-by-netlink.md). */
import { createRequire } from 'node:module';
import { ffiFile } from './ffi-file.ts';

export type NativeCall = ((...args: readonly unknown[]) => number | bigint) & {
  async(...args: readonly unknown[]): void;
};

/** Asks the event loop of Node.js to look at a file descriptor. Ends when nobody holds it any more. */
export interface PollHandle {
  close(): void;
  /** It does not keep this process alive. */
  unref(): void;
}

export interface Native {
  func(declaration: string): NativeCall;
  /** Of the last call. */
  errno(): number;
  /** Where the bytes are, as long as somebody holds them. */
  address(bytes: Uint8Array): bigint;
  /** `status`: below 0 after an error of the descriptor, and nothing more is told. `callback` runs outside of any turn: no promise settles behind it. */
  poll(fd: number, callback: (status: number) => void): PollHandle;
}

interface Ffi {
  load(file: null): Pick<Native, 'func'>;
  errno(): number;
  address(bytes: Uint8Array): bigint;
  readonly node: { poll(fd: number, events: { readable: true }, callback: (status: number) => void): PollHandle };
}

/** Undefined: there is no such library for this system. */
export function loadNative(): Native | undefined {
  try {
    const file = ffiFile();
    if (file === undefined) return undefined;
    const ffi = createRequire(file)(file) as Ffi;
    const library = ffi.load(null);
    return {
      func: (declaration) => library.func(declaration),
      errno: () => ffi.errno(),
      address: (bytes) => ffi.address(bytes),
      poll: (fd, callback) => ffi.node.poll(fd, { readable: true }, callback),
    };
  } catch {
    return undefined;
  }
}
