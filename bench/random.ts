/** The same numbers each time, so that two runs measure the same work. */

export type Random = () => number;

/** Uniform uint32 (xorshift32). `seed` is not 0. */
export function randomFrom(seed: number): Random {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

/** 0..count-1 */
export function below(random: Random, count: number): number {
  return Math.floor((random() / 2 ** 32) * count);
}

export function pick<T>(random: Random, from: readonly T[]): T {
  return from[below(random, from.length)]!;
}

/** With a chance of `share`, 0..1. */
export function chance(random: Random, share: number): boolean {
  return random() / 2 ** 32 < share;
}
