/** When dead rules are taken out. */
import assert from 'node:assert/strict';
import { LONGEST_MS, MAX_DEAD_RULES, REST_MS, TidyTimer } from '../../../../src/dataplane/iptables/sync/tidy-timer.ts';
import { VirtualClock } from '../../../support/virtual-clock.ts';

function bench() {
  const clock = new VirtualClock();
  const timer = new TidyTimer(clock);
  let asked = 0;
  timer.onDue(() => asked++);
  return { clock, timer, asked: () => asked };
}

describe('the timer of dead rules', () => {
  it('is due once rules rest, whatever other syncs there are meanwhile', () => {
    const { clock, timer, asked } = bench();
    timer.synced(0);
    clock.advance(LONGEST_MS);
    assert.deepEqual([asked(), timer.isDue, clock.timers], [0, false, 0]);
    timer.synced(10);
    clock.advance(REST_MS - 1);
    timer.synced(10);
    assert.deepEqual([asked(), timer.isDue], [0, false]);
    clock.advance(1);
    assert.deepEqual([asked(), timer.isDue], [1, true]);
    timer.synced(0);
    assert.equal(timer.isDue, false);
    clock.advance(LONGEST_MS);
    assert.equal(asked(), 1);
  });

  it('is due after a second, though rules never rest', () => {
    const { clock, timer, asked } = bench();
    for (let at = 0, dead = 1; at < LONGEST_MS; at += REST_MS / 3, dead++) {
      assert.deepEqual([asked(), timer.isDue], [0, false], `${at} ms`);
      timer.synced(dead);
      clock.advance(REST_MS / 3);
    }
    assert.deepEqual([asked(), timer.isDue], [1, true]);
  });

  it('is due at once past so many rules', () => {
    const { timer } = bench();
    timer.synced(MAX_DEAD_RULES);
    assert.equal(timer.isDue, false);
    timer.synced(MAX_DEAD_RULES + 1);
    assert.equal(timer.isDue, true);
  });

  it('fault: a sync that failed leaves nothing to wait for: the next one reads the kernel', () => {
    const { clock, timer, asked } = bench();
    timer.synced(10);
    timer.synced(0);
    clock.advance(LONGEST_MS);
    assert.deepEqual([asked(), timer.isDue, clock.timers], [0, false, 0]);
  });
});
