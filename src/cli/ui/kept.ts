/** A value that is made when it is asked for, and kept for a while. */
import type { MonotonicClock } from '../../core/clock.ts';

/** What took long is kept in proportion: at most a fifth of the time goes into making it. */
const LEAST_SHARE = 5;

/** One that fails is made again when it is asked for next. `first`: made a moment ago. */
export function kept<T>(
  make: () => Promise<T>,
  keepMs: number,
  clock: Pick<MonotonicClock, 'now'>,
  first?: T,
): () => Promise<T> {
  let value: Promise<T> | undefined = first === undefined ? undefined : Promise.resolve<T>(first);
  let untilMs = clock.now() + keepMs;
  const remake = async (): Promise<T> => {
    const startedMs = clock.now();
    untilMs = Number.POSITIVE_INFINITY;
    try {
      return await make();
    } catch (error) {
      value = undefined;
      throw error;
    } finally {
      untilMs = clock.now() + Math.max(keepMs, LEAST_SHARE * (clock.now() - startedMs));
    }
  };
  return () => {
    if (value !== undefined && clock.now() < untilMs) return value;
    const made = remake();
    value = made;
    return made;
  };
}
