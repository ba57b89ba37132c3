import type { Clock } from '../../src/core/clock.ts';

/** The time of whoever uses it runs `speed` times as fast as ours. */
export function fastClock(speed: number): Clock {
  return {
    wallTime: () => Date.now(),
    now: () => performance.now() * speed,
    after: (ms, action) => {
      const timer = setTimeout(action, ms / speed);
      return () => clearTimeout(timer);
    },
    sleep: (ms, signal) =>
      new Promise((resolve) => {
        const timer = setTimeout(resolve, ms / speed);
        signal.addEventListener('abort', () => {
          clearTimeout(timer);
          resolve();
        });
      }),
  };
}
