/** Tells a neighbour that keeps undoing our rules from one that wrote once. */
import type { FightState } from './listener.ts';
import type { Drift } from './dataplane.ts';

const WINDOW_MS = 60_000;
const ROUNDS = 5;

export class Fights {
  readonly #now: () => number;
  /** By what was found: when it was repaired, the last few times. */
  readonly #repairs = new Map<string, number[]>();
  readonly #fights = new Map<string, { lastMs: number; readonly what: string }>();

  constructor(now: () => number) {
    this.#now = now;
  }

  repaired({ kind, object, what }: Drift): FightState {
    const now = this.#now();
    this.#forget(now);
    // Different things are different hands, or one who is trying things out.
    const key = `${kind} ${object} ${what}`;
    const fight = this.#fights.get(key);
    if (fight) {
      fight.lastMs = now;
      return 'goes-on';
    }
    const times = [...(this.#repairs.get(key) ?? []), now].filter((time) => now - time < WINDOW_MS).slice(-ROUNDS);
    this.#repairs.set(key, times);
    if (times.length < ROUNDS) return 'single';
    this.#repairs.delete(key);
    this.#fights.set(key, { lastMs: now, what: `${object}, ${what}` });
    return 'begins';
  }

  /** What is undone again and again, until a minute passed without. */
  get current(): readonly string[] {
    this.#forget(this.#now());
    return [...this.#fights.values()].map(({ what }) => what);
  }

  #forget(now: number): void {
    for (const [key, { lastMs }] of this.#fights) if (now - lastMs >= WINDOW_MS) this.#fights.delete(key);
    for (const [key, times] of this.#repairs) if (now - times.at(-1)! >= WINDOW_MS) this.#repairs.delete(key);
  }
}
