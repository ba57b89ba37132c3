/**
 * Hears of each commit to nf_tables in the network namespace of this process, by a netlink socket that joined the kernel's group for them
 * (docs/decisions/noticing-drift.md). The event loop is woken when something is to be read; nothing is asked in between.
 */
import { loadNative, type Native, type PollHandle } from './native.ts';
import type { ProgramEnd } from './line-program.ts';
import { bindSocket, numberOption, portOf, SOL_SOCKET } from './netlink-socket.ts';
import type { Supervised } from './supervised-program.ts';

export interface CommitListenerOptions {
  /** Which datagrams the kernel hands over, as a program of classic BPF. Where it cannot have that it hands over all. */
  readonly filter?: Uint8Array;
  /** What the kernel keeps that is not read yet. */
  readonly bufferBytes?: number;
  /** Netlink messages, one behind the other. They are there during the call alone. */
  readonly onMessages: (messages: Uint8Array) => void;
  /** Once, and later than it was opened. Whether messages were lost is not known. */
  readonly ended: (how: ProgramEnd) => void;
}

export interface CommitListener extends Supervised {
  /** As the kernel names it in answers to what was asked by it. */
  readonly port: number;
  /** Its answer is among the messages. Nothing happens where it cannot be sent. */
  ask(question: Uint8Array): void;
}

/** As the programs that follow nf_tables say it: the kernel had no room for a message. */
const OVERRUN = 'No buffer space available';

const SOCK_NONBLOCK = 0o4000;
const [SO_ATTACH_FILTER, SO_RCVBUFFORCE] = [26, 33];
/** `struct sock_fprog`: how many instructions of 8 bytes, and where. */
const PROGRAM_BYTES = 16;
/** Bit NFNLGRP_NFTABLES - 1. */
const GROUP_OF_NF_TABLES = 1 << 6;
const [EINTR, EAGAIN, ENOBUFS] = [4, 11, 105];
/**
 * For what is committed while the event loop is busy. The kernel doubles the number, and counts 8 KiB for a datagram, in which there are 5 to 8 rules:
 * some 20,000 fit that nobody reads meanwhile. It is memory only as long as they are not read.
 */
const BUFFER_BYTES = 16 * 1024 * 1024;
/** The kernel puts together what fits into a page, or two. */
const MESSAGES_BYTES = 64 * 1024;
/** 10 µs each at most: others have their turn then. */
const READS_IN_A_TURN = 100;

/** Undefined: there is no library for that here, or no such socket for us. */
export function listenToCommits(options: CommitListenerOptions): CommitListener | undefined {
  try {
    const native = loadNative();
    return native && listen(native, options);
  } catch {
    return undefined;
  }
}

function listen(c: Native, options: CommitListenerOptions): CommitListener | undefined {
  const { onMessages, ended } = options;
  const fd = open(c, options);
  if (fd === undefined) return undefined;
  const closeFile = c.func('int close(int)');
  const receive = c.func('long recv(int, _Out_ void *, size_t, int)');
  const messages = new Uint8Array(MESSAGES_BYTES);
  let poll: PollHandle | undefined;
  let isReading = false;
  const end = (complaint: string): void => {
    if (!poll) return;
    poll.close();
    poll = undefined;
    closeFile(fd);
    queueMicrotask(() => ended({ isMissing: false, code: null, complaint }));
  };
  const read = (status: number): void => {
    isReading = false;
    for (let reads = 0; poll && reads < READS_IN_A_TURN; reads++) {
      const length = Number(receive(fd, messages, MESSAGES_BYTES, 0));
      if (length <= 0) {
        const errno = c.errno();
        if (errno === ENOBUFS) end(OVERRUN);
        else if (errno !== EAGAIN && errno !== EINTR) end(`it cannot be read: error ${errno}`);
        break;
      }
      onMessages(messages.subarray(0, length));
    }
    // After an error it is not waited for any more.
    if (status < 0) end(`it cannot be waited for: error ${-status}`);
  };
  try {
    poll = c.poll(fd, (status) => {
      // In a turn of its own: behind this call no promise would settle.
      if (!isReading) setImmediate(read, status);
      isReading = true;
    });
  } catch (error) {
    closeFile(fd);
    throw error;
  }
  poll.unref();
  const send = c.func('long send(int, const void *, size_t, int)');
  return {
    hasBegun: true,
    port: portOf(fd, c),
    ask: (question) => {
      if (poll) send(fd, question, question.length, 0);
    },
    kill: () => end(''),
  };
}

function open(c: Native, { filter, bufferBytes = BUFFER_BYTES }: CommitListenerOptions): number | undefined {
  return bindSocket(c, {
    flags: SOCK_NONBLOCK,
    groups: GROUP_OF_NF_TABLES,
    prepare: (set) => {
      // Where that is not allowed, the buffer is as large as those of others.
      set(SOL_SOCKET, SO_RCVBUFFORCE, numberOption(bufferBytes));
      if (filter) set(SOL_SOCKET, SO_ATTACH_FILTER, programOf(filter, c));
    },
  });
}

/** A `struct sock_fprog`. */
function programOf(filter: Uint8Array, c: Native): Uint8Array {
  const program = new DataView(new ArrayBuffer(PROGRAM_BYTES));
  program.setUint16(0, filter.length / 8, true);
  program.setBigUint64(8, c.address(filter), true);
  return new Uint8Array(program.buffer);
}
