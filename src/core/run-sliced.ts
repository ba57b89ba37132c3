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
  for (;;) {
    const { step } = runSlice(work, sliceMs, turns);
    if (step.done) return step.value;
    await turns.next();
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
    const slice = runSlice(work, Math.min(SLICE_MS, mostMs - tookMs), turns);
    tookMs += slice.tookMs;
    const isDone = slice.step.done === true;
    if (isDone || tookMs >= mostMs) return { isDone, tookMs };
    await turns.next();
  }
}

/** One step at least. */
function runSlice<T>(work: Sliced<T>, ms: number, turns: Turns): { step: IteratorResult<void, T>; tookMs: number } {
  const started = turns.now();
  for (;;) {
    const step = work.next();
    const tookMs = turns.now() - started;
    if (step.done || tookMs >= ms) return { step, tookMs };
  }
}
