/** Time as values that a test can replace. */

export interface MonotonicClock {
  /** Milliseconds since an arbitrary start; never goes back. */
  now(): number;
  /** Calls `action` once after `ms`; the result cancels it. */
  after(ms: number, action: () => void): () => void;
}

export interface Clock extends MonotonicClock {
  /** Wall clock, milliseconds since the epoch. */
  wallTime(): number;
  /** Resolves after `ms`, or at once when `signal` aborts. Never rejects. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

export function after(ms: number, action: () => void): () => void {
  if (ms <= 0) {
    // A timer waits for a millisecond at least.
    const turn = setImmediate(action);
    return () => clearImmediate(turn);
  }
  const timer = setTimeout(action, ms);
  return () => clearTimeout(timer);
}

/** As `after`, and the process may end before. */
export function afterUnlessExit(ms: number, action: () => void): () => void {
  const timer = setTimeout(action, ms).unref();
  return () => clearTimeout(timer);
}

export function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

export function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const wake = (): void => {
      cancel();
      signal.removeEventListener('abort', wake);
      resolve();
    };
    const cancel = after(ms, wake);
    signal.addEventListener('abort', wake, { once: true });
  });
}

export const systemClock: Clock = { now: () => performance.now(), wallTime: () => Date.now(), after, sleep };
