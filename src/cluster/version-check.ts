/**
 * Beside one open watch: asks whether its version still exists on the server. At once when the watch resumed an older one or said
 * something that does not fit, and again and again while nothing is heard, less and less often.
 */
import type { VersionAnswer } from './ask-version.ts';
import type { Clock } from '../core/clock.ts';
import { questionDelayMs } from './relist.ts';

/** A replica may lag behind for a moment, and one packet may be lost: an answer that ends a watch is asked for twice. */
const AGAIN_MS = 1_000;

interface VersionCheckOptions {
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  readonly ask: () => Promise<VersionAnswer>;
  /** Called at most once, and then nothing else is. */
  readonly onWentBack: (text: string) => void;
  readonly onNoAnswer: (text: string) => void;
  /** The server said that our state is no older than its own. */
  readonly onHolds: () => void;
}

export class VersionCheck {
  readonly #options: VersionCheckOptions;
  /** Answers of one kind in a row. */
  #suspicion: { readonly kind: VersionAnswer['kind']; readonly times: number } = { kind: 'holds', times: 0 };
  #asked = 0;
  #asking = false;
  #stopped = false;
  #heardMs = 0;
  #askedAtMs = 0;
  #cancel: (() => void) | undefined;

  constructor(options: VersionCheckOptions) {
    this.#options = options;
  }

  /** `atOnce`: the watch resumes at a version that was told by an earlier one. */
  start(atOnce: boolean): void {
    this.heard();
    if (atOnce) void this.askNow();
    else this.#armSilence();
  }

  /** Cheap enough for each chunk: the timer looks at it only when it fires. */
  heard(): void {
    this.#heardMs = this.#options.clock.now();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
    this.#cancel = undefined;
  }

  async askNow(): Promise<void> {
    if (this.#asking || this.#stopped) return;
    this.#cancel?.();
    this.#asking = true;
    this.#askedAtMs = this.#options.clock.now();
    const answer = await this.#options.ask();
    this.#asking = false;
    if (!this.#stopped) this.#take(answer);
  }

  #take(answer: VersionAnswer): void {
    const times = this.#suspicion.kind === answer.kind ? this.#suspicion.times + 1 : 1;
    this.#suspicion = { kind: answer.kind, times };
    if (answer.kind === 'holds') this.#options.onHolds();
    if (this.#isHarmless(answer)) this.#armSilence();
    else if (times < 2) this.#arm(AGAIN_MS, () => void this.askNow());
    else this.#end(answer);
  }

  #isHarmless({ kind }: VersionAnswer): boolean {
    // While the watch itself speaks, a question without answer means a busy server.
    return kind === 'holds' || kind === 'refused' || (kind === 'no-answer' && this.#heardMs > this.#askedAtMs);
  }

  #end(answer: VersionAnswer): void {
    this.stop();
    if (answer.kind === 'went-back') this.#options.onWentBack(answer.text);
    if (answer.kind === 'no-answer') this.#options.onNoAnswer(answer.text);
  }

  #armSilence(): void {
    const { clock, random } = this.#options;
    const delayMs = questionDelayMs(this.#asked, random());
    const sinceMs = clock.now();
    this.#arm(delayMs, () => {
      const isSilent = this.#heardMs <= sinceMs;
      this.#asked = isSilent ? this.#asked + 1 : 0;
      if (isSilent) void this.askNow();
      else this.#armSilence();
    });
  }

  #arm(ms: number, action: () => void): void {
    this.#cancel?.();
    this.#cancel = this.#options.clock.after(ms, action);
  }
}
