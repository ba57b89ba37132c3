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
  #nowMs: number;
  readonly #timers = new Set<Timer>();

  constructor(nowMs = 1_000_000) {
    this.#nowMs = nowMs;
  }

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

  /** Moves on by `ms` and fires what falls due on the way, in order. */
  advance(ms: number): void {
    const endMs = this.#nowMs + ms;
    while (this.#fireNext(endMs));
    this.#nowMs = endMs;
  }

  /** The same, and lets promises settle before each timer and at the end. */
  async pass(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    do await turn();
    while (this.#fireNext(endMs));
    this.#nowMs = endMs;
    await turn();
  }

  /** Waits (really) until something sleeps, then lets exactly that sleep pass. Result: its length in ms. */
  async passSleep(): Promise<number> {
    await until(() => this.sleeping > 0, 'a back-off');
    const [first] = [...this.#timers].filter((timer) => timer.sleep).sort((a, b) => a.dueMs - b.dueMs);
    this.advance(first!.dueMs - this.#nowMs);
    return first!.ms;
  }

  /** Whether something was due. */
  #fireNext(endMs: number): boolean {
    const [next] = [...this.#timers].filter(({ dueMs }) => dueMs <= endMs).sort((a, b) => a.dueMs - b.dueMs);
    if (next === undefined) return false;
    this.#timers.delete(next);
    this.#nowMs = Math.max(this.#nowMs, next.dueMs);
    next.action();
    return true;
  }

  #add(ms: number, sleep: boolean, action: () => void): () => void {
    const timer: Timer = { dueMs: this.#nowMs + Math.max(0, ms), ms, sleep, action };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }
}

/** Polls each turn of the event loop; fails after 5 s. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const startedMs = performance.now();
  while (!condition()) {
    if (performance.now() - startedMs > 5_000) throw new Error(`waited 5 s for ${what}`);
    await turn();
  }
}

/** One turn of the event loop: long after every promise that can settle now has. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A few turns of the event loop: enough for an exchange over a connection that is open. */
export async function turns(): Promise<void> {
  for (let count = 0; count < 8; count++) await turn();
}

/** Some turns of the event loop and a little real time, for asserting that something does not happen. */
export async function settle(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 20));
  for (let count = 0; count < 10; count++) await turn();
}
