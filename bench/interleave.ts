/** Sides of a comparison measured in turn, so that whatever else the machine does falls on all of them. */
import { type Summary, summarise } from './statistics.ts';

export interface Side {
  readonly name: string;
  /** How many things one run does; the time is divided by it. Default 1. */
  readonly per?: number;
  readonly run: () => unknown;
}

/** Seconds per thing, side by side, in the order given. Rounds to warm up go ahead and are not counted. */
export function interleave(rounds: number, sides: readonly Side[], warmUps = 1): readonly Summary[] {
  const samples = sides.map((): number[] => []);
  for (let round = -warmUps; round < rounds; round++) {
    for (const [index, { run, per = 1 }] of sides.entries()) {
      const began = performance.now();
      run();
      const seconds = (performance.now() - began) / 1000 / per;
      if (round >= 0) samples[index]!.push(seconds);
    }
  }
  return samples.map(summarise);
}
