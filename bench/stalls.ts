/** How long the event loop stood still. */
import { monitorEventLoopDelay } from 'node:perf_hooks';

const RESOLUTION_MS = 1;

export interface StallWatch {
  /** The longest stall since the start or the last call, in ms. */
  longestMs(): number;
  stop(): void;
}

export function watchStalls(): StallWatch {
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  histogram.enable();
  return {
    longestMs: () => {
      // A sample is the time between two turns of a timer of this period.
      const longest = Math.max(0, histogram.max / 1e6 - RESOLUTION_MS);
      histogram.reset();
      return longest;
    },
    stop: () => void histogram.disable(),
  };
}

/** Lets timers and sockets have their turn. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
