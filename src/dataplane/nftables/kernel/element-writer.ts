/**
 * Writes transactions that change elements alone by a netlink socket, where there is one: nft would list all sets of the host first
 * (docs/decisions/elements-by-netlink.md). All others, and any that is refused, are for nft, which says what is wrong in words.
 */
import type { Command } from '../table/write-table.ts';

import { type NetlinkSocket, openNetlinkSocket } from '../../../host/netlink-socket.ts';
import { type Batch, readAnswers, writeBatch } from '../table/write-netlink.ts';
import { NftFailed } from './kernel.ts';

/** Lengths of nested attributes have 16 bits, and a socket takes what fits into its buffer. */
const MAX_BYTES = 60_000;
const MAX_SEQUENCE = 2 ** 31;

export class ElementWriter {
  readonly #open: typeof openNetlinkSocket;
  /** `null`: there is none. */
  #socket: NetlinkSocket | null | undefined;
  #sequence = 1;

  constructor(open: typeof openNetlinkSocket = openNetlinkSocket) {
    this.#open = open;
  }

  /** One at a time. False: nothing was written. Rejects with `NftFailed` where that is not known. */
  async write(table: string, commands: readonly Command[]): Promise<boolean> {
    if (!commands.every(({ change }) => change)) return false;
    if (this.#socket === undefined) this.#socket = this.#open() ?? null;
    const socket = this.#socket;
    const batch = socket ? writeBatch(table, commands, this.#next(commands.length)) : undefined;
    if (!socket || !batch || batch.bytes.length > MAX_BYTES) return false;
    const answers = await this.#answersTo(batch, socket);
    if (!answers) return false;
    const outcome = readAnswers(batch, answers);
    if (outcome.kind !== 'unanswered') return outcome.kind === 'done';
    this.stop();
    throw new NftFailed('the kernel did not answer a netlink message', 'unavailable');
  }

  /** Another transaction opens another socket. */
  stop(): void {
    this.#socket?.close();
    this.#socket = undefined;
  }

  /** Undefined: it was not sent. */
  async #answersTo({ bytes }: Batch, socket: NetlinkSocket): Promise<readonly Uint8Array[] | undefined> {
    try {
      return await socket.request(bytes);
    } catch {
      this.stop();
      return undefined;
    }
  }

  #next(count: number): number {
    if (this.#sequence > MAX_SEQUENCE) this.#sequence = 1;
    const first = this.#sequence + 1;
    this.#sequence = first + count + 1;
    return first;
  }
}
