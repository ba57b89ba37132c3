/** A program that is started again whenever it ends: soon where it had worked, less and less often where it cannot even begin. */
import type { MonotonicClock } from '../core/clock.ts';
import type { CommandRequest } from './command.ts';

import { messageOf } from '../core/error-text.ts';
import { type LineProgram, type ProgramEnd, startLineProgram } from './line-program.ts';

const RESTART_FIRST_MS = 200;
/** Between two that worked. */
const RESTART_MAX_MS = 1_000;
/** Between two that never began: somebody may install what is missing, or end what is in the way. */
const STILLBORN_MAX_MS = 30_000;
/** One that lived so long starts the back-off anew. */
const LONG_LIFE_MS = 2_000;

export interface SupervisedEnd extends ProgramEnd {
  /** It did what it is for, for however short a time. */
  readonly hasBegun: boolean;
}

export interface SupervisorOptions {
  /** Before each start. What it throws is told as an end. */
  readonly prepare: () => CommandRequest['argv'];
  /** What cannot work ends before it has lived so long. */
  readonly startupMs: number;
  /** Whether one that ended sooner did work, by what it said. */
  readonly hasBegun?: (complaint: string) => boolean;
  readonly onLine: (line: string) => void;
  /** It has lived for `startupMs`. */
  readonly onBegun: () => void;
  /** The next one follows, unless this calls `stop`. */
  readonly onEnd: (end: SupervisedEnd) => void;
  readonly clock: MonotonicClock;
  readonly start?: typeof startLineProgram;
}

/** At most one runs at a time. Nothing is told of one that was stopped. */
export class Supervisor {
  readonly #options: SupervisorOptions;
  #program: LineProgram | undefined;
  #isStopped = true;
  #restartMs = RESTART_FIRST_MS;
  /** Of the next start, or of the end of the start-up. */
  #cancel = (): void => {};

  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  get isRunning(): boolean {
    return this.#program !== undefined;
  }

  start(): void {
    if (!this.#isStopped) return;
    this.#isStopped = false;
    this.#run();
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel();
    this.#program?.kill();
    this.#program = undefined;
  }

  /** Ends the one that runs; another one follows. */
  replace(): void {
    this.#program?.kill();
  }

  #run(): void {
    const { prepare, startupMs, onLine, onBegun, clock, start = startLineProgram } = this.#options;
    const startedMs = clock.now();
    let argv: CommandRequest['argv'];
    try {
      argv = prepare();
    } catch (error) {
      this.#ended({ isMissing: false, code: null, complaint: messageOf(error) }, 0);
      return;
    }
    const program: LineProgram = start({
      argv,
      guarded: true,
      onLine: (line) => program === this.#program && onLine(line),
      ended: (end) => program === this.#program && this.#ended(end, clock.now() - startedMs),
    });
    this.#program = program;
    this.#cancel = clock.after(startupMs, onBegun);
  }

  #ended(end: ProgramEnd, livedMs: number): void {
    const { startupMs, hasBegun: didBegin = () => false, onEnd, clock } = this.#options;
    this.#cancel();
    this.#program = undefined;
    const hasBegun = livedMs >= startupMs || didBegin(end.complaint);
    if (livedMs > LONG_LIFE_MS) this.#restartMs = RESTART_FIRST_MS;
    const limitMs = hasBegun ? RESTART_MAX_MS : STILLBORN_MAX_MS;
    const waitMs = Math.min(limitMs, this.#restartMs);
    this.#restartMs = Math.min(limitMs, waitMs * 2);
    this.#cancel = clock.after(waitMs, () => this.#run());
    onEnd({ ...end, hasBegun });
  }
}
