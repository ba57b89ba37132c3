/**
 * Tells of what others commit to our table, by a netlink socket, or where there is none by `nft monitor`. The socket that committed is known of
 * those of this process; of all else the name alone: a commit of ours is the next one of a program of such a name after we began to write, so the
 * commits are counted. When in doubt it was somebody else, and the table is compared.
 */
import type { MonotonicClock } from '../../../core/clock.ts';
import type { MonitorLoss } from '../../listener.ts';

import { listenToCommits } from '../../../host/commit-listener.ts';
import { startLineProgram } from '../../../host/line-program.ts';
import { isOwnPort, sendingThreads } from '../../../host/netlink-socket.ts';
import { Supervisor } from '../../../host/supervised-program.ts';
import { type Committed, EventReader, filterOf } from '../table/read-events.ts';
import { NftFailed, type NftKernel } from './kernel.ts';

/** Writes for us. */
const OWN_PROGRAM = 'nft';
/** The program says nothing when it begins to listen. */
const STARTUP_MS = 300;
/** A commit of ours is told of within, from its end on. */
const TOLD_WITHIN_MS = 2_000;

export interface TableMonitorOptions {
  readonly table: string;
  readonly onForeign: (program: string) => void;
  readonly onLoss: (loss: MonitorLoss, complaint: string) => void;
  /** From now on; what was written before may have been missed. Not called where the table was not read before. */
  readonly onListening: () => void;
  readonly clock: MonotonicClock;
  readonly isOwnPort?: typeof isOwnPort;
  readonly listen?: typeof listenToCommits;
  readonly start?: typeof startLineProgram;
}

/** A commit of ours that was not told of yet. */
interface OwnCommit {
  /** Undefined: it is being written. */
  untilMs: number | undefined;
}

export class TableMonitor {
  readonly #supervisor: Supervisor<Committed>;
  readonly #clock: MonotonicClock;
  readonly #isOwnPort: typeof isOwnPort;
  /** Where it is not told by which socket. */
  readonly #ownThreads = sendingThreads();
  #own: OwnCommit[] = [];
  #isRead = false;
  isListening = false;

  constructor(options: TableMonitorOptions) {
    const { table, onForeign, onLoss, onListening, clock } = options;
    const { listen = listenToCommits, start = startLineProgram } = options;
    this.#clock = clock;
    this.#isOwnPort = options.isOwnPort ?? isOwnPort;
    this.#supervisor = new Supervisor({
      start: (hear, ended) => {
        const reader = new EventReader(table);
        this.#own = [];
        const onMessages = (messages: Uint8Array): void => reader.messages(messages).forEach(hear);
        const onLine = (line: string): void => {
          const committed = reader.line(line);
          if (committed) hear(committed);
        };
        const argv = ['stdbuf', '-oL', 'nft', 'monitor'] as const;
        return listen({ filter: filterOf(table), onMessages, ended }) ?? start({ argv, guarded: true, onLine, ended });
      },
      startupMs: STARTUP_MS,
      onHeard: (committed) => {
        if (!this.#isOurs(committed)) onForeign(committed.program);
      },
      onBegun: () => {
        this.isListening = true;
        if (this.#isRead) onListening();
      },
      onEnd: ({ hasBegun, complaint }) => {
        this.isListening = false;
        const isOverrun = complaint.includes('No buffer space');
        onLoss(isOverrun ? 'overrun' : hasBegun ? 'ended' : 'stillborn', complaint);
      },
      clock,
    });
  }

  start(): void {
    this.#supervisor.start();
  }

  stop(): void {
    this.isListening = false;
    this.#supervisor.stop();
  }

  /** The kernel, whose writes are known to be ours. */
  watched(kernel: NftKernel): NftKernel {
    return {
      read: (known) => {
        this.#isRead = true;
        return kernel.read(known);
      },
      write: async (commands) => {
        const own: OwnCommit = { untilMs: undefined };
        if (this.isListening) this.#own.push(own);
        try {
          await kernel.write(commands);
        } catch (error) {
          if (error instanceof NftFailed && error.reason === 'refused')
            this.#own = this.#own.filter((each) => each !== own);
          throw error;
        } finally {
          own.untilMs = this.#clock.now() + TOLD_WITHIN_MS;
        }
      },
    };
  }

  #isOurs({ program, port }: Committed): boolean {
    const now = this.#clock.now();
    this.#own = this.#own.filter(({ untilMs = now }) => untilMs >= now);
    if (port !== undefined && this.#isOwnPort(port)) {
      this.#own.shift();
      return true;
    }
    const isNamedSo = program === OWN_PROGRAM || (port === undefined && this.#ownThreads.includes(program));
    return isNamedSo && this.#own.shift() !== undefined;
  }
}
