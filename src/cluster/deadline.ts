import type { Clock } from '../core/clock.ts';

/** Asks something with a signal that aborts with the given one, when the time is over, and afterwards: nobody reads on then. */
export async function inTime<T>(
  { clock, signal, limitMs }: { readonly clock: Clock; readonly signal: AbortSignal; readonly limitMs: number },
  ask: (signal: AbortSignal, deadline: Deadline) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const stop = (): void => controller.abort();
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop, { once: true });
  const deadline = new Deadline(clock, controller);
  deadline.set(limitMs);
  try {
    return await ask(controller.signal, deadline);
  } finally {
    deadline.clear();
    signal.removeEventListener('abort', stop);
    stop();
  }
}

/** Ends an attempt that hears nothing for too long. */
export class Deadline {
  expired = false;
  readonly #clock: Clock;
  readonly #controller: AbortController;
  #limitMs = 0;
  #sinceMs = 0;
  #cancel: (() => void) | undefined;

  constructor(clock: Clock, controller: AbortController) {
    this.#clock = clock;
    this.#controller = controller;
  }

  get limitMs(): number {
    return this.#limitMs;
  }

  set(limitMs: number): void {
    this.clear();
    this.#limitMs = limitMs;
    this.touch();
    this.#arm(limitMs);
  }

  /** Cheap enough for each chunk: the timer looks at it only when it fires. */
  touch(): void {
    this.#sinceMs = this.#clock.now();
  }

  clear(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #arm(ms: number): void {
    this.#cancel = this.#clock.after(ms, () => {
      const leftMs = this.#sinceMs + this.#limitMs - this.#clock.now();
      if (leftMs > 0) return this.#arm(leftMs);
      this.expired = true;
      this.#controller.abort();
    });
  }
}
