/** Long work in slices: probes, watches and signals must not wait for a large cluster. */
import type { Sliced } from './sliced.ts';

/** Work goes on this long before others get a turn. */
const SLICE_MS = 10;

export interface Turns {
  /** Monotonic milliseconds. */
  now(): number;
  /** Resolves when everybody else had a turn. */
  next(): Promise<void>;
}

export const REAL_TURNS: Turns = {
  now: () => performance.now(),
  next: () => new Promise((resolve) => void setImmediate(resolve)),
};

/** Runs `work` to its end. It yields wherever it may be interrupted, a millisecond apart at most. */
export async function runSliced<T>(work: Sliced<T>, turns: Turns = REAL_TURNS, sliceMs = SLICE_MS): Promise<T> {
  let sliceStarted = turns.now();
  for (;;) {
    const step = work.next();
    if (step.done) return step.value;
    if (turns.now() - sliceStarted < sliceMs) continue;
    await turns.next();
    sliceStarted = turns.now();
  }
}

/**
 * Runs `work` for about `mostMs` of its own time at most; others' turns in between do not count. Result: the time it took, and whether it
 * is at its end. If not, it can be run further.
 */
export async function runSlicedFor(
  work: Sliced<void>,
  mostMs: number,
  turns: Turns,
): Promise<{ readonly isDone: boolean; readonly tookMs: number }> {
  let tookMs = 0;
  for (;;) {
    const started = turns.now();
    let isDone = false;
    do isDone = work.next().done === true;
    while (!isDone && turns.now() - started < Math.min(SLICE_MS, mostMs - tookMs));
    tookMs += turns.now() - started;
    if (isDone || tookMs >= mostMs) return { isDone, tookMs };
    await turns.next();
  }
}
