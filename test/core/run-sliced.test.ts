import assert from 'node:assert/strict';
import { runSliced, runSlicedFor } from '../../src/core/run-sliced.ts';

/** Each step takes `ms` of a clock that only this work moves. */
function setUp(ms: number) {
  let now = 0;
  let turns = 0;
  const work = function* (steps: number): Generator<void, string> {
    for (let step = 0; step < steps; step++) {
      now += ms;
      yield;
    }
    return 'done';
  };
  return {
    work,
    turns: {
      now: () => now,
      next: () => {
        turns++;
        return Promise.resolve();
      },
    },
    given: () => turns,
  };
}

describe('taking turns', () => {
  it('lets others have a turn every 10 ms of work, and hands on what the work returns', async () => {
    const { work, turns, given } = setUp(3);
    assert.equal(await runSliced(work(100), turns), 'done');
    // Four steps of 3 ms are the first to make 10.
    assert.equal(given(), 25);
  });

  it('does short work in one go', async () => {
    const { work, turns, given } = setUp(3);
    assert.equal(await runSliced(work(3), turns), 'done');
    assert.equal(given(), 0);
  });

  it('others really get their turn: a timer fires while work goes on', async () => {
    let fired = 0;
    const timer = setInterval(() => fired++, 1);
    const until = performance.now() + 60;
    await runSliced(
      (function* () {
        while (performance.now() < until) yield;
      })(),
    );
    clearInterval(timer);
    assert.ok(fired > 0);
  });

  it('fails as the work fails', async () => {
    const work = (function* (): Generator<void, void> {
      yield;
      throw new Error('broken');
    })();
    await assert.rejects(runSliced(work), /broken/);
  });
});

describe('work for a time', () => {
  const setUp = (ms: number) => {
    let now = 0;
    let turns = 0;
    const work = function* (steps: number): Generator<void, void> {
      for (let step = 0; step < steps; step++) {
        now += ms;
        yield;
      }
    };
    // Others take longer than the work may.
    const next = async (): Promise<void> => {
      turns++;
      now += 1_000;
    };
    return { work, turns: { now: () => now, next }, given: () => turns };
  };

  for (const [steps, mostMs, isDone, tookMs, given] of [
    [3, 25, true, 9, 0],
    [5, 25, true, 15, 1],
    [100, 25, false, 27, 2],
    [100, 1, false, 3, 0],
    [0, 25, true, 0, 0],
  ] as const) {
    it(`${steps} steps of 3 ms in ${mostMs} ms: ${isDone ? 'done' : 'not done'} after ${tookMs}`, async () => {
      const { work, turns, given: turnsGiven } = setUp(3);
      const begun = work(steps);
      assert.deepEqual(await runSlicedFor(begun, mostMs, turns), { isDone, tookMs });
      assert.equal(turnsGiven(), given);
      assert.equal(begun.next().done === true, isDone, 'what is not done can be run further');
    });
  }
});
