/** Sorting in pieces gives what sorting at once gives. */
import assert from 'node:assert/strict';
import { runSync } from '../../src/core/sliced.ts';
import { sortedInSteps } from '../../src/core/sort-in-steps.ts';

/** Keys in no order, some of them equal; each with its place. */
function shuffled(length: number): readonly (readonly [key: number, place: number])[] {
  return Array.from({ length }, (_, n) => [(n * 7_919) % 5_003, n] as const);
}

const byKey = ([a]: readonly [number, number], [b]: readonly [number, number]): number => a - b;

describe('sorted in steps', () => {
  it('is in order, with equal ones as they came, whatever the length', () => {
    for (const length of [0, 1, 1_023, 1_024, 1_025, 2_048, 5_000, 20_001]) {
      const list = shuffled(length);
      assert.deepEqual(runSync(sortedInSteps(list, byKey)), list.toSorted(byKey), `${length}`);
    }
  });

  it('compares no more between two steps than one piece takes', () => {
    let [compared, most] = [0, 0];
    const counted = (...pair: Parameters<typeof byKey>): number => {
      compared++;
      return byKey(...pair);
    };
    const work = sortedInSteps(shuffled(50_000), counted);
    while (!work.next().done) {
      most = Math.max(most, compared);
      compared = 0;
    }
    assert.ok(most > 0 && most <= 1_024 * 12, `${most} comparisons`);
  });
});
