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
