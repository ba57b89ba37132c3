/**
 * A program, or whatever else tells things for long, that is started again whenever it ends: soon where it had worked, less and less often
 * where it cannot even begin.
 */
import type { MonotonicClock } from '../core/clock.ts';
import type { ProgramEnd } from './line-program.ts';

import { messageOf } from '../core/error-text.ts';

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

/** What was started. */
export interface Supervised {
  /** Its end is still told. */
  kill(): void;
  /** It does what it is for already. Absent: it does once it has lived for `startupMs`. */
  readonly hasBegun?: true;
}

export interface SupervisorOptions<Heard> {
  /** `hear` and `ended` are called later. What it throws is told as an end. */
  readonly start: (hear: (what: Heard) => void, ended: (how: ProgramEnd) => void) => Supervised;
  /** What cannot work ends before it has lived so long. */
  readonly startupMs: number;
  /** Whether one that ended sooner did work, by what it said. */
  readonly hasBegun?: (complaint: string) => boolean;
  readonly onHeard: (what: Heard) => void;
  readonly onBegun: () => void;
  /** The next one follows, unless this calls `stop`. */
  readonly onEnd: (end: SupervisedEnd) => void;
  readonly clock: MonotonicClock;
}

/** At most one runs at a time. Nothing is told of one that was stopped. */
export class Supervisor<Heard = string> {
  readonly #options: SupervisorOptions<Heard>;
  #program: Supervised | undefined;
  #isStopped = true;
  #restartMs = RESTART_FIRST_MS;
  /** Of the next start, or of the end of the start-up. */
  #cancel = (): void => {};

  constructor(options: SupervisorOptions<Heard>) {
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
    const { start, startupMs, onHeard, onBegun, clock } = this.#options;
    const startedMs = clock.now();
    let program: Supervised;
    try {
      program = start(
        (what) => program === this.#program && onHeard(what),
        (end) => program === this.#program && this.#ended(end, clock.now() - startedMs),
      );
    } catch (error) {
      this.#ended({ isMissing: false, code: null, complaint: messageOf(error) }, 0);
      return;
    }
    this.#program = program;
    if (program.hasBegun) onBegun();
    else this.#cancel = clock.after(startupMs, onBegun);
  }

  #ended(end: ProgramEnd, livedMs: number): void {
    const { startupMs, hasBegun: didBegin = () => false, onEnd, clock } = this.#options;
    this.#cancel();
    const hasBegun = this.#program?.hasBegun ?? (livedMs >= startupMs || didBegin(end.complaint));
    this.#program = undefined;
    if (livedMs > LONG_LIFE_MS) this.#restartMs = RESTART_FIRST_MS;
    const limitMs = hasBegun ? RESTART_MAX_MS : STILLBORN_MAX_MS;
    const waitMs = Math.min(limitMs, this.#restartMs);
    this.#restartMs = Math.min(limitMs, waitMs * 2);
    this.#cancel = clock.after(waitMs, () => this.#run());
    onEnd({ ...end, hasBegun });
  }
}
