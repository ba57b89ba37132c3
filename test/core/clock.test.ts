import assert from 'node:assert/strict';
import { after as startTimer } from '../../src/core/clock.ts';

describe('after', () => {
  it('of nothing is the next turn of the event loop, not the millisecond that a timer takes', async () => {
    const order: string[] = [];
    await new Promise<void>((resolve) => {
      // Where a timer fires, turns that are asked for come before any other timer.
      startTimer(1, () => {
        startTimer(1, () => order.push('timer'));
        startTimer(0, () => order.push('turn'));
        void Promise.resolve().then(() => order.push('promise'));
        order.push('now');
        startTimer(20, resolve);
      });
    });
    assert.deepEqual(order, ['now', 'promise', 'turn', 'timer']);
  });

  for (const ms of [-1, 0, 1]) {
    it(`of ${ms} ms can be cancelled`, async () => {
      let fired = false;
      const cancel = startTimer(ms, () => (fired = true));
      cancel();
      await new Promise<void>((resolve) => void startTimer(5, resolve));
      assert.equal(fired, false);
    });
  }
});
