/** When dead rules are taken out. */
import assert from 'node:assert/strict';
import { LONGEST_MS, MAX_DEAD_RULES, REST_MS, TidyTimer } from '../../src/dataplane/tidy-timer.ts';
import { VirtualClock } from '../support/virtual-clock.ts';

function bench(ahead?: () => Promise<void>) {
  const clock = new VirtualClock();
  const timer = new TidyTimer(clock, ahead);
  let asked = 0;
  timer.onDue(() => asked++);
  return { clock, timer, asked: () => asked };
}

describe('the timer of dead rules', () => {
  it('is due once rules rest, whatever other syncs there are meanwhile', async () => {
    const { clock, timer, asked } = bench();
    timer.synced(0);
    await clock.pass(LONGEST_MS);
    assert.deepEqual([asked(), timer.isDue, clock.timers], [0, false, 0]);
    timer.synced(10);
    await clock.pass(REST_MS - 1);
    timer.synced(10);
    assert.deepEqual([asked(), timer.isDue], [0, false]);
    await clock.pass(1);
    assert.deepEqual([asked(), timer.isDue], [1, true]);
    timer.synced(0);
    assert.equal(timer.isDue, false);
    await clock.pass(LONGEST_MS);
    assert.equal(asked(), 1);
  });

  it('is due a second later where rules were taken out a moment ago, and soon again after a rest', async () => {
    const { clock, timer, asked } = bench();
    timer.synced(10);
    await clock.pass(REST_MS);
    timer.synced(0);
    await clock.pass(LONGEST_MS);
    timer.synced(10);
    await clock.pass(LONGEST_MS - 1);
    assert.equal(asked(), 1);
    await clock.pass(1);
    assert.deepEqual([asked(), timer.isDue], [2, true]);
    timer.synced(0);
    await clock.pass(LONGEST_MS + 1);
    timer.synced(10);
    await clock.pass(REST_MS);
    assert.equal(asked(), 3);
  });

  it('is due after a second, though rules never rest', async () => {
    const { clock, timer, asked } = bench();
    for (let at = 0, dead = 1; at < LONGEST_MS; at += REST_MS / 3, dead++) {
      assert.deepEqual([asked(), timer.isDue], [0, false], `${at} ms`);
      timer.synced(dead);
      await clock.pass(REST_MS / 3);
    }
    assert.deepEqual([asked(), timer.isDue], [1, true]);
  });

  it('is due when what is to be done ahead is done, and not yet if rules changed meanwhile', async () => {
    let done: () => void = () => {};
    const { clock, timer, asked } = bench(() => new Promise((resolve) => (done = resolve)));
    timer.synced(10);
    await clock.pass(REST_MS);
    assert.equal(timer.isDue, false);
    timer.synced(20);
    done();
    await clock.pass(0);
    assert.deepEqual([asked(), timer.isDue], [0, false]);
    await clock.pass(REST_MS);
    done();
    await clock.pass(0);
    assert.deepEqual([asked(), timer.isDue], [1, true]);
    timer.synced(0);
    await clock.pass(LONGEST_MS + 1);
    timer.synced(30);
    await clock.pass(REST_MS);
    timer.synced(0);
    done();
    await clock.pass(0);
    assert.deepEqual([asked(), timer.isDue], [1, false]);
  });

  it('is due a second after the first though rules changed meanwhile', async () => {
    let done: () => void = () => {};
    const { clock, timer, asked } = bench(() => new Promise((resolve) => (done = resolve)));
    timer.synced(10);
    await clock.pass(REST_MS);
    await clock.pass(LONGEST_MS - REST_MS);
    timer.synced(20);
    done();
    await clock.pass(0);
    assert.deepEqual([asked(), timer.isDue], [1, true]);
  });

  it('is due at once past so many rules', () => {
    const { timer } = bench();
    timer.synced(MAX_DEAD_RULES);
    assert.equal(timer.isDue, false);
    timer.synced(MAX_DEAD_RULES + 1);
    assert.equal(timer.isDue, true);
  });

  it('fault: a sync that failed leaves nothing to wait for: the next one reads the kernel', async () => {
    const { clock, timer, asked } = bench();
    timer.synced(10);
    timer.synced(0);
    await clock.pass(LONGEST_MS);
    assert.deepEqual([asked(), timer.isDue, clock.timers], [0, false, 0]);
  });
});
