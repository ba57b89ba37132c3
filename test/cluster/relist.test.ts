import assert from 'node:assert/strict';
import { isRelistDue, isOlderVersion, lostDelayMs, questionDelayMs, type WatchEnd } from '../../src/cluster/relist.ts';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const FRESH: WatchEnd = { sinceListMs: 0, objects: 10, end: 'asked', outageMs: 0, shortWatches: 0 };

describe('fault: when to look', () => {
  const rows: readonly (readonly [due: boolean, watch: Partial<WatchEnd>, why: string])[] = [
    [false, {}, 'just listed'],
    [false, { sinceListMs: 5 * MINUTE - 1 }, 'a healthy watch resumes'],
    [true, { sinceListMs: 5 * MINUTE }, 'a healthy watch, now and then'],
    [false, { sinceListMs: 40 * MINUTE, objects: 10_000 }, 'four objects a second'],
    [true, { sinceListMs: 42 * MINUTE, objects: 10_000 }, 'four objects a second'],
    [false, { sinceListMs: 59 * MINUTE, objects: 1_000_000 }, 'at most an hour'],
    [true, { sinceListMs: 60 * MINUTE, objects: 1_000_000 }, 'at most an hour'],
    [false, { end: 'early', sinceListMs: SECOND - 1, objects: 1 }, 'listed a moment ago'],
    [true, { end: 'early', sinceListMs: SECOND, objects: 1 }, 'the server may have been restored'],
    [false, { end: 'early', sinceListMs: 4 * MINUTE, objects: 1_000 }, 'a balancer cuts each watch: four a second'],
    [true, { end: 'early', sinceListMs: 5 * MINUTE, objects: 1_000 }, 'a balancer cuts each watch: four a second'],
    [false, { end: 'early', outageMs: MINUTE - 1, sinceListMs: 9 * MINUTE, objects: 10_000 }, 'a short outage'],
    [true, { end: 'early', outageMs: MINUTE, sinceListMs: 9 * MINUTE, objects: 10_000 }, 'a long outage'],
    [false, { end: 'early', shortWatches: 1 }, 'one watch ended at once'],
    [true, { end: 'early', shortWatches: 2, objects: 10_000 }, 'each watch ends at once'],
  ];
  for (const [due, watch, why] of rows)
    it(`${due ? 'lists' : 'resumes'}: ${why} ${JSON.stringify(watch)}`, () => {
      assert.equal(isRelistDue({ ...FRESH, ...watch }), due);
    });

  it('asks a silent watch less and less often, spread over half the time', () => {
    assert.deepEqual(
      [0, 1, 2, 3, 100].map((asked) => questionDelayMs(asked, 0.5)),
      [60, 120, 240, 240, 240].map((seconds) => seconds * SECOND),
    );
    assert.deepEqual([questionDelayMs(0, 0), questionDelayMs(0, 1)], [45_000, 75_000]);
  });

  it('lists a second after an unreadable line, and a minute after the next where each list brings one', () => {
    assert.deepEqual(
      [0, 1, 2, 5, 6, 1_000].map((before) => lostDelayMs(before, 0)),
      [1, 2, 4, 32, 60, 60].map((seconds) => seconds * SECOND),
    );
    assert.equal(lostDelayMs(0, 1), 1_250);
  });

  it('compares versions as numbers of any size, and nothing else', () => {
    assert.equal(isOlderVersion('9', '10'), true);
    assert.equal(isOlderVersion('10', '10'), false);
    assert.equal(isOlderVersion('9007199254740992', '9007199254740993'), true);
    for (const [a, b] of [
      ['', '1'],
      ['1', 'abc'],
      ['-5', '1'],
      ['1.5', '2'],
    ] as const)
      assert.equal(isOlderVersion(a, b), false);
  });
});
