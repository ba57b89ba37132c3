import type { Clock } from '../../src/core/clock.ts';

interface Timer {
  readonly dueMs: number;
  readonly ms: number;
  readonly sleep: boolean;
  readonly action: () => void;
}

/** Time that passes only when a test says so. Sleeps (back-off) and timers (deadlines) can be told apart. */
export class VirtualClock implements Clock {
  /** Length of each sleep begun, in ms. */
  readonly slept: number[] = [];
  #nowMs = 1_000_000;
  readonly #timers = new Set<Timer>();

  wallTime(): number {
    return this.#nowMs;
  }

  now(): number {
    return this.#nowMs;
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    this.slept.push(ms);
    return new Promise((resolve) => {
      if (signal.aborted) return resolve();
      const cancel = this.#add(ms, true, resolve);
      signal.addEventListener(
        'abort',
        () => {
          cancel();
          resolve();
        },
        { once: true },
      );
    });
  }

  after(ms: number, action: () => void): () => void {
    return this.#add(ms, false, action);
  }

  get sleeping(): number {
    return [...this.#timers].filter((timer) => timer.sleep).length;
  }

  get timers(): number {
    return this.#timers.size - this.sleeping;
  }

  advance(ms: number): void {
    const end = this.#nowMs + ms;
    for (;;) {
      const [next] = [...this.#timers].filter((timer) => timer.dueMs <= end).sort((a, b) => a.dueMs - b.dueMs);
      if (!next) break;
      this.#nowMs = next.dueMs;
      this.#timers.delete(next);
      next.action();
    }
    this.#nowMs = end;
  }

  /** Waits (really) until something sleeps, then lets exactly that sleep pass. Result: its length in ms. */
  async passSleep(): Promise<number> {
    await until(() => this.sleeping > 0, 'a back-off');
    const [first] = [...this.#timers].filter((timer) => timer.sleep).sort((a, b) => a.dueMs - b.dueMs);
    this.advance(first!.dueMs - this.#nowMs);
    return first!.ms;
  }

  #add(ms: number, sleep: boolean, action: () => void): () => void {
    const timer: Timer = { dueMs: this.#nowMs + ms, ms, sleep, action };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }
}

/** Polls each turn of the event loop; fails after 5 s. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const startedMs = performance.now();
  while (!condition()) {
    if (performance.now() - startedMs > 5_000) throw new Error(`waited 5 s for ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** A few turns of the event loop: enough for an exchange over a connection that is open. */
export async function turns(): Promise<void> {
  for (let turn = 0; turn < 8; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** Some turns of the event loop and a little real time, for asserting that something does not happen. */
export async function settle(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 20));
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
}
