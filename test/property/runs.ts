/** How often a property is tried: little by default, more on request. A failure prints the seed and path that repeat it. */

export interface Runs {
  readonly numRuns: number;
  readonly seed?: number;
}

/** `PROPERTY_RUNS=50` tries fifty times as much; `PROPERTY_SEED` repeats a run. */
export function runs(usual: number): Runs {
  const { PROPERTY_RUNS, PROPERTY_SEED } = process.env;
  const numRuns = Math.ceil(usual * Number(PROPERTY_RUNS ?? 1));
  return PROPERTY_SEED === undefined ? { numRuns } : { numRuns, seed: Number(PROPERTY_SEED) };
}
