/**
 * Tells of what others commit to our table, by a netlink socket, or where there is none by `nft monitor`. The socket that committed is known of
 * those of this process; of all else the name alone: a commit of ours is the next one of a program of such a name after we began to write, so the
 * commits are counted. When in doubt it was somebody else, and the table is compared.
 */
import type { MonotonicClock } from '../../../core/clock.ts';
import type { MonitorLoss } from '../../listener.ts';
import { generationQuestion } from '../../commit-messages.ts';

import { type CommitListener, listenToCommits } from '../../../host/commit-listener.ts';
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
/** The kernel answers at once. */
const ANSWER_MS = 1_000;
/** However certain it is, the table is read after that long: nothing rests for ever on what is heard. */
export const MAX_UNREAD_MS = 600_000;

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

interface Socket {
  readonly listener: CommitListener;
  readonly reader: EventReader;
  /** Without one: none will come. */
  onAnswer: (generation?: number) => void;
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
  /** Absent: it is a program that tells. */
  #socket: Socket | undefined;
  #isRead = false;
  /** The last reading, as long as nothing but commits by our sockets was told of since it began. */
  #reading: { readonly atMs: number } | undefined;
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
        const onLine = (line: string): void => {
          const committed = reader.line(line);
          if (committed) hear(committed);
        };
        const argv = ['stdbuf', '-oL', 'nft', 'monitor'] as const;
        const onMessages = (messages: Uint8Array): void => {
          const asker = socket?.listener.port;
          reader.messages(messages, asker, (generation) => socket?.onAnswer(generation)).forEach(hear);
        };
        const listener = listen({ filter: filterOf(table), onMessages, ended });
        const socket: Socket | undefined = listener && { listener, reader, onAnswer: () => {} };
        this.#socket = socket;
        // Of what comes from now on all is told.
        listener?.ask(generationQuestion());
        return listener ?? start({ argv, guarded: true, onLine, ended });
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
        this.#deaf();
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
    this.#deaf();
    this.#supervisor.stop();
  }

  #deaf(): void {
    this.isListening = false;
    this.#reading = undefined;
    this.#socket?.onAnswer();
    this.#socket = undefined;
  }

  /** The kernel, whose writes are known to be ours. */
  watched(kernel: NftKernel): NftKernel {
    return {
      read: async (known) => {
        this.#isRead = true;
        // What is told of from now on may be in what is read, or not.
        const reading = this.isListening && this.#socket ? { atMs: this.#clock.now() } : undefined;
        this.#reading = reading;
        try {
          return await kernel.read(known);
        } catch (error) {
          this.#reading = undefined;
          throw error;
        }
      },
      isAsLeft: () => this.#isAsLeft(),
      write: async (commands) => {
        const own: OwnCommit = { untilMs: undefined };
        if (this.isListening) this.#own.push(own);
        try {
          await kernel.write(commands);
        } catch (error) {
          if (error instanceof NftFailed && error.reason === 'refused')
            this.#own = this.#own.filter((each) => each !== own);
          else this.#reading = undefined;
          throw error;
        } finally {
          own.untilMs = this.#clock.now() + TOLD_WITHIN_MS;
        }
      },
    };
  }

  /** All that was committed so far was told of, and was ours: the kernel counts commits, and is asked for the number. */
  async #isAsLeft(): Promise<boolean> {
    const [socket, reading] = [this.#socket, this.#reading];
    if (!socket || !reading || this.#clock.now() >= reading.atMs + MAX_UNREAD_MS) return false;
    const answer = Promise.withResolvers<number | undefined>();
    socket.onAnswer = answer.resolve;
    const cancel = this.#clock.after(ANSWER_MS, () => answer.resolve(undefined));
    socket.listener.ask(generationQuestion());
    const generation = await answer.promise;
    cancel();
    return generation !== undefined && generation === socket.reader.heard && this.#reading === reading;
  }

  #isOurs({ program, port }: Committed): boolean {
    const now = this.#clock.now();
    this.#own = this.#own.filter(({ untilMs = now }) => untilMs >= now);
    if (port !== undefined && this.#isOwnPort(port)) {
      this.#own.shift();
      return true;
    }
    // By its name alone it may be anybody's.
    this.#reading = undefined;
    const isNamedSo = program === OWN_PROGRAM || (port === undefined && this.#ownThreads.includes(program));
    return isNamedSo && this.#own.shift() !== undefined;
  }
}
