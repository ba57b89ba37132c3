import type { Sliced } from '../core/sliced.ts';

import { REAL_TURNS, runSliced } from '../core/run-sliced.ts';

/** Others get a turn after this long: counts can wait. */
const SLICE_MS = 2;

export function inTurns<T>(work: Sliced<T>): Promise<T> {
  return runSliced(work, REAL_TURNS, SLICE_MS);
}
