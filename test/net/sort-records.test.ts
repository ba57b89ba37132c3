import assert from 'node:assert/strict';
import fc from 'fast-check';
import { sortRecords } from '../../src/net/sort-records.ts';

/** Words that are equal often, or differ in one bit somewhere. */
const word = fc.oneof(
  fc.constantFrom(0, 1, 0x7fffffff, 0x80000000, 0xffffffff),
  fc.nat(31).map((bit) => 2 ** bit),
  fc.nat(255).map((low) => 0xcb007100 + low),
  fc.integer({ min: 0, max: 0xffffffff }),
);

/** Records of one width, some of them of a few words only, so that they are equal up to the last. */
const records = fc.integer({ min: 1, max: 5 }).chain((width) => {
  const record = fc.array(word, { minLength: width, maxLength: width });
  const alike = fc.tuple(record, word).map(([common, last]) => [...common.slice(0, -1).map(() => 7), last]);
  return fc.record({
    width: fc.constant(width),
    list: fc.array(fc.oneof(record, alike), { maxLength: 300, size: 'max' }),
  });
});

function compare(a: readonly number[], b: readonly number[]): number {
  const k = a.findIndex((each, i) => each !== b[i]);
  return k < 0 ? 0 : a[k]! - b[k]!;
}

function check(list: readonly (readonly number[])[], width: number): void {
  const words = Uint32Array.from(list.flat());
  sortRecords(words, width);
  assert.deepEqual([...words], list.toSorted(compare).flat());
}

describe('sortRecords', () => {
  it('puts records in the order of their words', () =>
    fc.assert(
      fc.property(records, ({ width, list }) => check(list, width)),
      { numRuns: 300 },
    ));

  it('sorts more than a bucket for each digit holds, in any order', () => {
    const ascending = Array.from({ length: 5_000 }, (_, i) => [0x20010db8 + (i & 3), i % 7 ? 0 : i, i >>> 3, i & 1]);
    check(ascending, 4);
    check(ascending.toReversed(), 4);
    check(
      ascending.map((_, i) => [Math.imul(i, 0x9e3779b1) >>> 0, i & 1]),
      2,
    );
    check(
      ascending.map(() => [0xffffffff, 0, 5]),
      3,
    );
  });
});
