/** Which denied packets get a line of the log: one line per flow as soon as may be, then one a minute, and never too many of all. */
import type { MonotonicClock } from '../core/clock.ts';

/** Of one flow, from a line to the next. */
const WINDOW_MS = 60_000;
const SWEEP_MS = 1_000;
/**
 * Lines over all flows: a pod that scans others makes a new flow with each packet. A kilobyte each, so 36 MB an hour at most; what a pipeline
 * takes and a person can still search.
 */
const LINES_PER_SECOND = 10;
const LINES_AT_ONCE = 100;
/** Flows remembered, some 500 bytes each. */
const MAX_FLOWS = 4_096;

/** `rate`: too many lines; `flows`: more flows than are remembered; `lost`: they came faster than they are read. */
export const LEFT_OUT_REASONS = ['rate', 'flows', 'lost'] as const;
export type LeftOutReason = (typeof LEFT_OUT_REASONS)[number];

export interface FlowReport<T> {
  /** The latest packet. */
  readonly latest: T;
  /** Since the line before, this one included. */
  readonly packets: number;
  /** Since the line before; 0 in the first one of a flow. */
  readonly seconds: number;
}

interface DeniedFlowsOptions<T> {
  readonly onReport: (report: FlowReport<T>) => void;
  /** Packets that no line tells of. */
  readonly onLeftOut: (reason: LeftOutReason, packets: number) => void;
  readonly clock: MonotonicClock;
}

interface Entry<T> {
  latest: T;
  /** That no line has told of. */
  packets: number;
  sinceMs: number;
  wasTold: boolean;
}

export class DeniedFlows<T> {
  readonly #options: DeniedFlowsOptions<T>;
  /** The one whose window ends first is the first. */
  readonly #flows = new Map<string, Entry<T>>();
  #tokens = LINES_AT_ONCE;
  #refilledMs: number;
  #cancel: (() => void) | undefined;

  constructor(options: DeniedFlowsOptions<T>) {
    this.#options = options;
    this.#refilledMs = options.clock.now();
  }

  packet(key: string, latest: T): void {
    const known = this.#flows.get(key);
    if (known) {
      known.latest = latest;
      known.packets++;
      return;
    }
    if (this.#flows.size >= MAX_FLOWS) {
      this.#options.onLeftOut('flows', 1);
      return;
    }
    const entry = { latest, packets: 1, sinceMs: this.#options.clock.now(), wasTold: false };
    this.#flows.set(key, entry);
    this.#tell(entry, entry.sinceMs);
    this.#cancel ??= this.#options.clock.after(SWEEP_MS, () => this.#sweep());
  }

  /** What is not told yet is told, as far as lines are left. */
  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    const now = this.#options.clock.now();
    for (const entry of this.#flows.values()) this.#end(entry, now);
    this.#flows.clear();
  }

  #sweep(): void {
    const { clock } = this.#options;
    const now = clock.now();
    for (const [key, entry] of this.#flows) {
      if (now - entry.sinceMs < WINDOW_MS) break;
      const wasBusy = entry.packets > 0;
      this.#end(entry, now);
      this.#flows.delete(key);
      // It may go on: its next line is due in a minute.
      if (wasBusy && entry.wasTold) this.#flows.set(key, entry);
    }
    this.#tellWaiting(now);
    this.#cancel = this.#flows.size === 0 ? undefined : clock.after(SWEEP_MS, () => this.#sweep());
  }

  /** Flows for which no line was left when they began; the oldest first. */
  #tellWaiting(now: number): void {
    for (const [key, entry] of this.#flows) {
      if (entry.wasTold) continue;
      if (!this.#tell(entry, now)) return;
      this.#flows.delete(key);
      this.#flows.set(key, entry);
    }
  }

  #end(entry: Entry<T>, now: number): void {
    if (entry.packets === 0 || this.#tell(entry, now)) return;
    this.#options.onLeftOut('rate', entry.packets);
    entry.packets = 0;
    entry.sinceMs = now;
  }

  /** False: no line is left for it. */
  #tell(entry: Entry<T>, now: number): boolean {
    this.#tokens = Math.min(LINES_AT_ONCE, this.#tokens + ((now - this.#refilledMs) / 1000) * LINES_PER_SECOND);
    this.#refilledMs = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    const { latest, packets, sinceMs } = entry;
    entry.packets = 0;
    entry.sinceMs = now;
    entry.wasTold = true;
    this.#options.onReport({ latest, packets, seconds: Math.round((now - sinceMs) / 1000) });
    return true;
  }
}
