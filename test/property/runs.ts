/** How often a property is tried: little by default, more on request. A failure prints the seed and path that repeat it. */

export interface Runs {
  readonly numRuns: number;
  readonly seed: number;
}

/** What CI tries: the same each time, so that a red run means the change it runs on. People and `npm run torture` try others. */
const CI_SEED = 20_261_122;

/** A new seed each time, or the one of CI or of `PROPERTY_SEED`. */
export function chooseSeed(): number {
  const { CI, PROPERTY_SEED } = process.env;
  if (PROPERTY_SEED !== undefined) return Number(PROPERTY_SEED);
  return CI ? CI_SEED : Math.floor(Math.random() * 2 ** 31);
}

/** `PROPERTY_RUNS=50` tries fifty times as much; `PROPERTY_SEED` repeats a run. */
export function runs(usual: number): Runs {
  const numRuns = Math.ceil(usual * Number(process.env.PROPERTY_RUNS ?? 1));
  return { numRuns, seed: chooseSeed() };
}
