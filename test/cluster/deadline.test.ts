/** A question ends with its caller, when its time is over, and with its answer; nothing of it stays behind. */
import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { inTime } from '../../src/cluster/deadline.ts';
import { aborted } from '../../src/core/clock.ts';
import { VirtualClock } from '../support/virtual-clock.ts';

describe('a question in time', () => {
  const setUp = () => {
    const clock = new VirtualClock();
    const caller = new AbortController();
    let given: AbortSignal | undefined;
    const ask = (answer: (signal: AbortSignal) => Promise<string>): Promise<readonly [string, boolean]> => {
      return inTime({ clock, signal: caller.signal, limitMs: 1000 }, async (signal, deadline) => {
        given = signal;
        return [await answer(signal), deadline.expired];
      });
    };
    const untilEnded = async (signal: AbortSignal): Promise<string> => {
      await aborted(signal);
      return 'ended';
    };
    const leftovers = () => [clock.timers, getEventListeners(caller.signal, 'abort').length];
    return { clock, caller, ask, untilEnded, leftovers, isEnded: () => given?.aborted };
  };

  it('is ended when the time is over, and not before', async () => {
    const { clock, ask, untilEnded, leftovers, isEnded } = setUp();
    const answer = ask(untilEnded);
    clock.advance(999);
    assert.equal(isEnded(), false);
    clock.advance(1);
    assert.deepEqual(await answer, ['ended', true]);
    assert.deepEqual(leftovers(), [0, 0]);
  });

  it('is ended with its caller, and at once if that has ended', async () => {
    const { caller, ask, untilEnded } = setUp();
    const answer = ask(untilEnded);
    caller.abort();
    assert.deepEqual(await answer, ['ended', false]);
    assert.deepEqual(await ask(untilEnded), ['ended', false]);
  });

  it('reads nothing after its answer, or after it failed', async () => {
    const { ask, leftovers, isEnded } = setUp();
    assert.deepEqual(await ask(async () => 'yes'), ['yes', false]);
    assert.equal(isEnded(), true);
    await assert.rejects(
      ask(async () => {
        throw new Error('refused');
      }),
      /refused/,
    );
    assert.equal(isEnded(), true);
    assert.deepEqual(leftovers(), [0, 0]);
  });
});
