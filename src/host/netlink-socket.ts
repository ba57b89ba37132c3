/**
 * A netlink socket of netfilter that stays. Node.js has none, so C functions are called by way of a library that need not be there
 * (docs/decisions/written-by-netlink.md).
 */
import { readFileSync } from 'node:fs';
import { loadNative, type Native, type NativeCall } from './native.ts';

/**
 * Who waits for the kernel: `this thread`, in which nothing else happens meanwhile, or `another`, which takes longer by the way to it and back.
 * The kernel may have to wait for somebody else's transaction.
 */
export type Caller = 'this thread' | 'another';

export interface NetlinkSocket {
  /** One datagram, and all that the kernel answers to it. Rejects where it could not be sent. One at a time. */
  request(datagram: Uint8Array, by: Caller): Promise<readonly Uint8Array[]>;
  close(): void;
}

const [AF_NETLINK, SOCK_RAW, SOCK_CLOEXEC, NETLINK_NETFILTER] = [16, 3, 0o2000000, 12];
export const SOL_SOCKET = 1;
const SO_SNDBUFFORCE = 32;
const [SOL_NETLINK, NETLINK_NO_ENOBUFS, NETLINK_CAP_ACK] = [270, 5, 10];
/** The kernel doubles it; a message has to fit. */
const SEND_BUFFER_BYTES = 1024 * 1024;
export const MSG_DONTWAIT = 0x40;
const ADDRESS_BYTES = 12;
const PORT_OFFSET = 4;
const GROUPS_OFFSET = 8;
export const ANSWER_BYTES = 32 * 1024;
/** Answers to one datagram. */
const MAX_ANSWERS = 100;

/** Of the sockets that are open: what the kernel names as the sender. No other socket of the network namespace has them meanwhile. */
const ownPorts = new Set<number>();

export function isOwnPort(port: number): boolean {
  return port !== 0 && ownPorts.has(port);
}

/** A socket of netfilter as C knows it. */
export interface RawSocket {
  readonly fd: number;
  readonly port: number;
  readonly send: NativeCall;
  readonly receive: NativeCall;
  readonly close: () => void;
}

/** Undefined: there is no such library here, or no such socket for us. */
export function openNetlinkSocket(): NetlinkSocket | undefined {
  const socket = openRawSocket();
  return socket && requestsOver(socket);
}

/** Undefined: as above. */
export function openRawSocket(): RawSocket | undefined {
  try {
    const native = loadNative();
    return native && open(native);
  } catch {
    return undefined;
  }
}

function open(c: Native): RawSocket | undefined {
  const fd = bindSocket(c, {
    prepare: (set) => {
      // An error does not repeat the message.
      set(SOL_NETLINK, NETLINK_CAP_ACK, numberOption(1));
      // Of more answers than there is room for, the first ones are kept, and say enough.
      set(SOL_NETLINK, NETLINK_NO_ENOBUFS, numberOption(1));
      set(SOL_SOCKET, SO_SNDBUFFORCE, numberOption(SEND_BUFFER_BYTES));
    },
  });
  if (fd === undefined) return undefined;
  const close = c.func('int close(int)');
  const send = c.func('long send(int, const void *, size_t, int)');
  const receive = c.func('long recv(int, _Out_ void *, size_t, int)');
  return { fd, port: portOf(fd, c), send, receive, close: () => void close(fd) };
}

interface BindOptions {
  /** Of the type of the socket. */
  readonly flags?: number;
  /** A bit for each group that it joins. */
  readonly groups?: number;
  /** Sets options before it is bound. One that is not allowed is left as it is. */
  readonly prepare: (set: (level: number, option: number, value: Uint8Array) => void) => void;
}

/** The file descriptor. Undefined: there is no such socket for us. */
export function bindSocket(c: Native, { flags = 0, groups = 0, prepare }: BindOptions): number | undefined {
  const type = SOCK_RAW | SOCK_CLOEXEC | flags;
  const fd = Number(c.func('int socket(int, int, int)')(AF_NETLINK, type, NETLINK_NETFILTER));
  if (fd < 0) return undefined;
  const setOption = c.func('int setsockopt(int, int, int, const void *, unsigned int)');
  prepare((level, option, value) => void setOption(fd, level, option, value, value.length));
  const address = new Uint8Array(ADDRESS_BYTES);
  const view = new DataView(address.buffer);
  view.setUint16(0, AF_NETLINK, true);
  view.setUint32(GROUPS_OFFSET, groups, true);
  if (Number(c.func('int bind(int, const void *, unsigned int)')(fd, address, ADDRESS_BYTES)) === 0) return fd;
  c.func('int close(int)')(fd);
  return undefined;
}

export function numberOption(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}

/** Rejects where not all of it was taken. */
export function sendWhole(
  { fd, send }: Pick<RawSocket, 'fd' | 'send'>,
  datagram: Uint8Array,
  by: Caller = 'another',
): Promise<void> {
  return new Promise((resolve, reject) => {
    const sent = (error: Error | null, bytes: number | bigint): void => {
      if (!error && Number(bytes) === datagram.length) resolve();
      else reject(error ?? new Error('the kernel takes no netlink message'));
    };
    if (by === 'another') send.async(fd, datagram, datagram.length, 0, sent);
    else sent(null, send(fd, datagram, datagram.length, 0));
  });
}

/** Names of the threads that send, as the kernel tells them: at most 15 bytes. */
export function sendingThreads(): readonly string[] {
  try {
    return ['libuv-worker', readFileSync('/proc/self/comm', 'utf8').trimEnd()];
  } catch {
    return ['libuv-worker'];
  }
}

function requestsOver({ fd, port, send, receive, close }: RawSocket): NetlinkSocket {
  ownPorts.add(port);
  const answer = new Uint8Array(ANSWER_BYTES);
  const answers = (): readonly Uint8Array[] => {
    const found: Uint8Array[] = [];
    while (found.length < MAX_ANSWERS) {
      const length = Number(receive(fd, answer, ANSWER_BYTES, MSG_DONTWAIT));
      if (length <= 0) break;
      found.push(answer.slice(0, length));
    }
    return found;
  };
  return {
    request: async (datagram, by) => {
      answers();
      await sendWhole({ fd, send }, datagram, by);
      // The kernel has carried it out, and answered, when the call comes back.
      return answers();
    },
    close: () => {
      ownPorts.delete(port);
      close();
    },
  };
}

/** The kernel chose it when the socket was bound. */
export function portOf(fd: number, c: Native): number {
  const address = new Uint8Array(ADDRESS_BYTES);
  const length = new Uint8Array([ADDRESS_BYTES, 0, 0, 0]);
  c.func('int getsockname(int, _Out_ void *, _Inout_ void *)')(fd, address, length);
  return new DataView(address.buffer).getUint32(PORT_OFFSET, true);
}
