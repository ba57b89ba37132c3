/**
 * Tells of what others commit to our table, by `nft monitor`. Who committed is told by name alone: a commit of ours is the next one of a
 * program of such a name after we began to write, so the commits are counted. When in doubt it was somebody else, and the table is compared.
 */
import type { MonotonicClock } from '../../../core/clock.ts';
import type { MonitorLoss } from '../../listener.ts';

import type { startLineProgram } from '../../../host/line-program.ts';
import { Supervisor } from '../../../host/supervised-program.ts';
import { EventReader } from '../table/read-events.ts';
import type { NftKernel } from './kernel.ts';

/** Those that write for us: nft, and the thread of ours from which a netlink message is sent. */
const OWN_PROGRAMS: ReadonlySet<string> = new Set(['nft', 'libuv-worker']);
/** It says nothing when it begins to listen. */
const STARTUP_MS = 300;
/** A commit of ours is told of within. */
const TOLD_WITHIN_MS = 2_000;

export interface TableMonitorOptions {
  readonly table: string;
  readonly onForeign: (program: string) => void;
  readonly onLoss: (loss: MonitorLoss, complaint: string) => void;
  /** From now on; what was written before may have been missed. */
  readonly onListening: () => void;
  readonly clock: MonotonicClock;
  readonly start?: typeof startLineProgram;
}

export class TableMonitor {
  readonly #supervisor: Supervisor;
  readonly #clock: MonotonicClock;
  #reader: EventReader;
  /** When commits of ours began that were not told of yet. */
  #own: number[] = [];
  isListening = false;

  constructor(options: TableMonitorOptions) {
    const { table, onForeign, onLoss, onListening, clock, start } = options;
    this.#clock = clock;
    this.#reader = new EventReader(table);
    this.#supervisor = new Supervisor({
      prepare: () => {
        this.#reader = new EventReader(table);
        this.#own = [];
        return ['stdbuf', '-oL', 'nft', 'monitor'];
      },
      startupMs: STARTUP_MS,
      onLine: (line) => {
        const committed = this.#reader.line(line);
        if (committed && !this.#isOurs(committed.program)) onForeign(committed.program);
      },
      onBegun: () => {
        this.isListening = true;
        onListening();
      },
      onEnd: ({ hasBegun, complaint }) => {
        this.isListening = false;
        const isOverrun = complaint.includes('No buffer space');
        onLoss(isOverrun ? 'overrun' : hasBegun ? 'ended' : 'stillborn', complaint);
      },
      clock,
      ...(start ? { start } : {}),
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
      read: () => kernel.read(),
      write: (commands) => {
        if (this.isListening) this.#own.push(this.#clock.now());
        return kernel.write(commands);
      },
    };
  }

  #isOurs(program: string): boolean {
    const oldest = this.#clock.now() - TOLD_WITHIN_MS;
    this.#own = this.#own.filter((began) => began >= oldest);
    return OWN_PROGRAMS.has(program) && this.#own.shift() !== undefined;
  }
}
