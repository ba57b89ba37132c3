/** A lab that stays up: waits for changes that others make, and shows what they mean for packets. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Lab } from '../lab.ts';
import type { Matrix } from '../matrix.ts';
import type { Measurement } from '../measure.ts';
import type { Screen } from './screen.ts';
import type { TextOptions } from './text.ts';

import { concernsPackets, describeChange } from '../changes.ts';
import { NotSettled } from '../lab.ts';
import { compareMatrices } from '../matrix.ts';
import { changeLines, counted } from './text.ts';

/** What one showing of the matrix found. */
export interface Shown {
  readonly matrix: Matrix;
  readonly measurement: Measurement;
  readonly ok: boolean;
}

export interface FollowOptions {
  readonly screen: Screen;
  readonly signal: AbortSignal;
  readonly text: () => TextOptions;
  /** As the cluster is now. */
  readonly predict: () => Matrix;
  /** Measures and prints. */
  readonly show: () => Promise<Shown>;
  /** Measures only. */
  readonly quietly: (matrix: Matrix) => Promise<Measurement>;
  readonly timeoutMs: number;
}

/** One command of a user may be several changes. */
const QUIET_MS = 100;
const SETTLE_TIMEOUT_MS = 15_000;

/** Until `signal`; gives what was shown last. Never rejects when interrupted. */
export async function followChanges(lab: Lab, first: Shown, options: FollowOptions): Promise<Shown> {
  const { screen, signal } = options;
  const log = new ChangeLog(lab, signal);
  let last = first;
  try {
    while (await log.next()) {
      try {
        last = await followOnce(lab, last, log, options);
      } catch (error) {
        if (signal.aborted) break;
        if (!(error instanceof NotSettled)) throw error;
        for (const what of error.what) screen.complain(what);
      }
    }
    return last;
  } finally {
    log.close();
  }
}

async function followOnce(lab: Lab, last: Shown, log: ChangeLog, options: FollowOptions): Promise<Shown> {
  const { screen, predict } = options;
  const ms = await timeFirst(lab, last, log, options);
  do {
    await sleep(QUIET_MS);
    const seen = log.count;
    await lab.settle(SETTLE_TIMEOUT_MS, (what) => screen.waiting(`for ${what.join(', ')}`));
    if (seen === log.count) break;
  } while (!options.signal.aborted);
  const { texts } = log.take();
  const matrix = predict();
  const change = compareMatrices(last.matrix, matrix);
  const cells = change.nowDenied.length + change.nowAllowed.length;
  const time = new Date().toTimeString().slice(0, 8);
  screen.say('');
  for (const text of texts) screen.say(screen.paint('bold', `${time}  ${text}`));
  for (const line of changeLines(matrix, change, options.text())) screen.say(line);
  if (change.appeared.length > 0) screen.say(`      new          ${change.appeared.join(', ')}`);
  if (change.gone.length > 0) screen.say(`      gone         ${change.gone.join(', ')}`);
  if (ms !== undefined && cells > 0)
    screen.say(`      enforced ${screen.paint('bold', `${Math.round(ms)} ms`)} after the change`);
  if (cells + change.appeared.length + change.gone.length > 0) return options.show();
  return showUnchanged(matrix, last, options);
}

/** Nothing should have changed; the matrix is shown when something did. */
async function showUnchanged(matrix: Matrix, last: Shown, { screen, show, quietly }: FollowOptions): Promise<Shown> {
  const measurement = await quietly(matrix);
  const ok = measurement.cells.every(({ verdict }) => verdict === 'agrees');
  if (!ok || !last.ok) return show();
  screen.say(`      changes nothing for packets: ${counted(matrix.cells.length, 'cell is', 'cells are')} as before`);
  return { matrix, measurement, ok };
}

/** How long the first change took, if nothing else changed meanwhile. */
async function timeFirst(lab: Lab, last: Shown, log: ChangeLog, options: FollowOptions): Promise<number | undefined> {
  const matrix = options.predict();
  const { nowDenied, nowAllowed } = compareMatrices(last.matrix, matrix);
  const changed = [...nowDenied, ...nowAllowed];
  if (changed.length === 0 || lab.options.mode !== 'enforce') return undefined;
  const startedAt = log.firstAt;
  const signal = AbortSignal.any([options.signal, log.another()]);
  return lab.timeToEnforced({ matrix, changed, startedAt, timeoutMs: options.timeoutMs, signal });
}

class ChangeLog {
  readonly #signal: AbortSignal;
  readonly #unsubscribe: () => void;
  #texts: string[] = [];
  #firstAt: number | undefined;
  #count = 0;
  #wake: (() => void) | undefined;
  #another: AbortController | undefined;

  constructor(lab: Lab, signal: AbortSignal) {
    this.#signal = signal;
    signal.addEventListener('abort', () => this.#wake?.(), { once: true });
    this.#unsubscribe = lab.store.storage.subscribe((resource, event) => {
      const text = describeChange(resource, event);
      if (text !== undefined && this.#texts.at(-1) !== text) this.#texts.push(text);
      if (!concernsPackets(resource)) return;
      this.#count += 1;
      this.#firstAt ??= Date.now();
      this.#another?.abort();
      this.#wake?.();
    });
  }

  /** Changes that concern packets, so far. */
  get count(): number {
    return this.#count;
  }

  /** Wall clock of the oldest change not yet taken. */
  get firstAt(): number {
    return this.#firstAt ?? Date.now();
  }

  /** Aborts at the next change. */
  another(): AbortSignal {
    this.#another = new AbortController();
    return this.#another.signal;
  }

  /** Resolves to true when there is a change, to false when it is over. */
  async next(): Promise<boolean> {
    if (this.#firstAt === undefined && !this.#signal.aborted) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
    return !this.#signal.aborted;
  }

  take(): { readonly texts: readonly string[] } {
    const texts = this.#texts;
    this.#texts = [];
    this.#firstAt = undefined;
    return { texts };
  }

  close(): void {
    this.#unsubscribe();
  }
}
