/**
 * Writes transactions by a netlink socket, where there is one: nft would list all sets of the host first, and parse what is known
 * (docs/decisions/written-by-netlink.md). What has no message here, and what is refused, is for nft, which says what is wrong in words.
 */
import type { Change, Command } from '../table/write-table.ts';

import { type Caller, type NetlinkSocket, openNetlinkSocket } from '../../../host/netlink-socket.ts';
import { NetlinkMessages } from '../table/netlink-messages.ts';
import { type Batch, readAnswers, writeBatch } from '../table/write-netlink.ts';
import { NftFailed } from './kernel.ts';

/** What the socket's send buffer takes as one message. */
const MAX_BYTES = 1_000_000;
const MAX_SEQUENCE = 2 ** 31;
/** The kernel carries out one transaction after the other, whoever they are from; the longest take seconds. */
const PATIENCE_MS = 15_000;
/** The kernel carries out so much within some 2 ms. */
const MAX_BRIEF_BYTES = 64 * 1024;
/** With one of these the kernel waits until no packet is in what goes: 12 to 14 ms. */
const WAITED_FOR: ReadonlySet<Change['kind']> = new Set(['table', 'flush-chain', 'delete-chain', 'delete-set']);
/** What should have been brief took so long: somebody else writes much, and may again for so long. */
const LONG_MS = 10;
const WARY_MS = 60_000;

export interface NetlinkWriterOptions {
  readonly open?: typeof openNetlinkSocket;
  readonly patienceMs?: number;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
}

export class NetlinkWriter {
  readonly #open: typeof openNetlinkSocket;
  readonly #patienceMs: number;
  readonly #now: () => number;
  /** Until then no call waits in this thread. */
  #waryUntilMs = Number.NEGATIVE_INFINITY;
  /** `null`: there is none. */
  #socket: NetlinkSocket | null | undefined;
  #sequence = 1;
  /** Written anew once the kernel has come to what was sent. */
  readonly #messages = new NetlinkMessages();
  #isLate = false;
  #isGivenUp = false;

  constructor(options: NetlinkWriterOptions = {}) {
    const { open = openNetlinkSocket, patienceMs = PATIENCE_MS, now = () => performance.now() } = options;
    this.#open = open;
    this.#patienceMs = patienceMs;
    this.#now = now;
  }

  /** One at a time. False: nothing was written. Rejects with `NftFailed` where that is not known. */
  async write(table: string, commands: readonly Command[]): Promise<boolean> {
    this.settled();
    if (this.#isGivenUp || !commands.every(({ change }) => change)) return false;
    if (this.#socket === undefined) this.#socket = this.#open() ?? null;
    const socket = this.#socket;
    const batch = socket ? writeBatch(table, commands, this.#sequence + 1, this.#messages) : undefined;
    if (!socket || !batch || batch.bytes.length > MAX_BYTES) return false;
    this.#sequence += batch.of.length + 2;
    if (this.#sequence > MAX_SEQUENCE) this.#sequence = 1;
    const answers = await this.#answersTo(batch, socket, this.#callerOf(batch, commands));
    if (!answers) return false;
    const outcome = readAnswers(batch, answers);
    if (outcome.kind !== 'unanswered') return outcome.kind === 'done';
    this.stop();
    throw new NftFailed('the kernel did not answer a netlink message', 'unavailable');
  }

  /**
   * Throws `NftFailed` while the kernel has a transaction that it may carry out yet: what is read now may not stay so, and what is planned
   * from that must not be written.
   */
  settled(): void {
    if (this.#isLate)
      throw new NftFailed('the kernel has not come to an earlier transaction of ours yet', 'unavailable');
  }

  /** All is for nft from now on. */
  giveUp(): void {
    this.#isGivenUp = true;
    this.stop();
  }

  /** Another transaction opens another socket. */
  stop(): void {
    this.#socket?.close();
    this.#socket = undefined;
  }

  /** What is brief is not worth the way to another thread and back: half of the time from a written plan to an answer. */
  #callerOf({ bytes }: Batch, commands: readonly Command[]): Caller {
    const isBrief = bytes.length <= MAX_BRIEF_BYTES && this.#now() >= this.#waryUntilMs;
    return isBrief && !commands.some(({ change }) => change && WAITED_FOR.has(change.kind)) ? 'this thread' : 'another';
  }

  /** Undefined: it was not sent. */
  async #answersTo({ bytes }: Batch, socket: NetlinkSocket, by: Caller): Promise<readonly Uint8Array[] | undefined> {
    const startedMs = this.#now();
    const answered = socket.request(bytes, by);
    if (by === 'this thread' && this.#now() - startedMs > LONG_MS) this.#waryUntilMs = this.#now() + WARY_MS;
    try {
      const answers = await (by === 'this thread' ? answered : this.#inTime(answered));
      if (answers !== 'late') return answers;
    } catch {
      this.stop();
      return undefined;
    }
    this.#isLate = true;
    this.#socket = undefined;
    // Nobody can take it back: the call ends when the kernel has come to it.
    const ended = (): void => {
      this.#isLate = false;
      socket.close();
    };
    answered.then(ended, ended);
    throw new NftFailed(
      `the kernel did not come to a transaction within ${this.#patienceMs / 1_000} s; it waits for somebody else's`,
      'unavailable',
    );
  }

  async #inTime<T>(answered: Promise<T>): Promise<T | 'late'> {
    const limit = Promise.withResolvers<'late'>();
    const timer = setTimeout(() => limit.resolve('late'), this.#patienceMs);
    try {
      return await Promise.race([answered, limit.promise]);
    } finally {
      clearTimeout(timer);
    }
  }
}
