import assert from 'node:assert/strict';
import fc from 'fast-check';
import { mergePortRanges, type PortRange } from '../../src/net/port-range.ts';

const ALL_PORTS: PortRange = { first: 0, last: 65535 };

const range = (first: number, last: number): PortRange => ({ first, last });

function portRangesContain(ranges: readonly PortRange[], port: number): boolean {
  return ranges.some((range) => range.first <= port && port <= range.last);
}

describe('mergePortRanges', () => {
  const cases: readonly (readonly [name: string, given: readonly PortRange[], merged: readonly PortRange[]])[] = [
    ['nothing', [], []],
    ['one port twice', [range(80, 80), range(80, 80)], [range(80, 80)]],
    ['neighbours', [range(81, 90), range(80, 80)], [range(80, 90)]],
    ['a gap of one port', [range(80, 80), range(82, 82)], [range(80, 80), range(82, 82)]],
    ['one inside another', [range(1, 100), range(50, 60), range(101, 101)], [range(1, 101)]],
    ['an empty range', [range(90, 80)], []],
    [
      'an empty range between others',
      [range(80, 80), range(200, 100), range(443, 443)],
      [range(80, 80), range(443, 443)],
    ],
    ['every port', [range(1, 65535), range(0, 0)], [ALL_PORTS]],
  ];
  for (const [name, given, merged] of cases) {
    it(`merges ${name}`, () => assert.deepEqual(mergePortRanges(given), merged));
  }

  it('keeps the same ports in the fewest ranges, whatever the order', () => {
    const arbitrary = fc.array(fc.tuple(fc.nat(30), fc.nat(30)).map(([first, last]) => range(first, last)));
    fc.assert(
      fc.property(arbitrary, (given) => {
        const merged = mergePortRanges(given);
        for (let port = 0; port <= 31; port++) {
          assert.equal(portRangesContain(merged, port), portRangesContain(given, port), `port ${port}`);
        }
        for (const [i, { first, last }] of merged.entries()) {
          assert.ok(first <= last && (i === 0 || first > merged[i - 1]!.last + 1));
        }
        assert.deepEqual(mergePortRanges(given.toReversed()), merged);
      }),
    );
  });
});
