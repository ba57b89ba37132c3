/**
 * What the kernel holds, by netlink: a request is answered by datagrams until all is told. A socket of its own, so that nothing that writes
 * waits for a reading. The kernel makes each datagram when it is asked for, under no lock that a writer takes, so calls need no thread.
 */
import { ANSWER_BYTES, MSG_DONTWAIT, openRawSocket } from './netlink-socket.ts';

export interface DumpSocket {
  /** Throws if the kernel does not take it. One at a time, each read to its end. */
  send(request: Uint8Array): void;
  /** The next datagram, in the same bytes each time. Throws if there is none. */
  next(): Uint8Array;
  close(): void;
}

/** Undefined: there are no such sockets here. */
export function openDumpSocket(): DumpSocket | undefined {
  const socket = openRawSocket();
  if (!socket) return undefined;
  const { fd, send, receive, close } = socket;
  const bytes = new Uint8Array(ANSWER_BYTES);
  return {
    send: (request) => {
      if (Number(send(fd, request, request.length, 0)) !== request.length)
        throw new Error('the kernel takes no netlink message');
    },
    next: () => {
      const length = Number(receive(fd, bytes, ANSWER_BYTES, MSG_DONTWAIT));
      if (length <= 0) throw new Error('the kernel does not answer a netlink message');
      return bytes.subarray(0, length);
    },
    close,
  };
}
