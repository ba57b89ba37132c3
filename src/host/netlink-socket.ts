/**
 * A netlink socket of netfilter that stays. Node.js has none, so C functions are called by way of a library that need not be there
 * (docs/decisions/written-by-netlink.md). Calls run on another thread: the kernel may wait for somebody else's transaction.
 */
import { loadNative, type Native, type NativeCall } from './native.ts';

export interface NetlinkSocket {
  /** One datagram, and all that the kernel answers to it. Rejects where it could not be sent. One at a time. */
  request(datagram: Uint8Array): Promise<readonly Uint8Array[]>;
  close(): void;
}

const [AF_NETLINK, SOCK_RAW, SOCK_CLOEXEC, NETLINK_NETFILTER] = [16, 3, 0o2000000, 12];
const [SOL_SOCKET, SO_SNDBUFFORCE] = [1, 32];
const [SOL_NETLINK, NETLINK_NO_ENOBUFS, NETLINK_CAP_ACK] = [270, 5, 10];
/** The kernel doubles it; a message has to fit. */
const SEND_BUFFER_BYTES = 1024 * 1024;
export const MSG_DONTWAIT = 0x40;
const ADDRESS_BYTES = 12;
const PORT_OFFSET = 4;
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
  const close = c.func('int close(int)');
  const send = c.func('long send(int, const void *, size_t, int)');
  const receive = c.func('long recv(int, _Out_ void *, size_t, int)');
  const fd = Number(c.func('int socket(int, int, int)')(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
  if (fd < 0) return undefined;
  const address = new Uint8Array(ADDRESS_BYTES);
  new DataView(address.buffer).setUint16(0, AF_NETLINK, true);
  const setOption = c.func('int setsockopt(int, int, int, const void *, unsigned int)');
  const set = (level: number, option: number, value: number): unknown =>
    setOption(fd, level, option, new Uint8Array(new Int32Array([value]).buffer), 4);
  // An error does not repeat the message.
  set(SOL_NETLINK, NETLINK_CAP_ACK, 1);
  // Of more answers than there is room for, the first ones are kept, and say enough.
  set(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1);
  set(SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER_BYTES);
  if (Number(c.func('int bind(int, const void *, unsigned int)')(fd, address, ADDRESS_BYTES)) !== 0) {
    close(fd);
    return undefined;
  }
  return { fd, port: portOf(fd, c), send, receive, close: () => void close(fd) };
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
    request: async (datagram) => {
      answers();
      await new Promise<void>((resolve, reject) => {
        send.async(fd, datagram, datagram.length, 0, (error: Error | null, sent: number | bigint) => {
          if (!error && Number(sent) === datagram.length) resolve();
          else reject(error ?? new Error('the kernel takes no netlink message'));
        });
      });
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
