/** Conditions of /readyz about the node itself: what is looked at now and then, and a line of the log when the answer changes. */
import type { MonotonicClock } from '../core/clock.ts';
import type { ConditionState } from './health.ts';
import type { Logger, LogLevel } from './log.ts';

import { poll } from '../core/poll.ts';
import { logChanges } from './log-changes.ts';

export interface Condition {
  /** As in /readyz. */
  readonly name: string;
  readonly state: () => ConditionState;
}

export interface ConditionWatch {
  readonly conditions: readonly Condition[];
  stop(): void;
}

/** What a look means for one condition. */
export interface Finding extends ConditionState {
  readonly level: LogLevel;
}

interface WatchedCondition<T> {
  readonly name: string;
  readonly judge: (found: T) => Finding;
  /** The reason that needs no line of the log at the start. */
  readonly usual: string;
}

interface ConditionWatchOptions<T> {
  /** Must not reject. */
  readonly look: () => Promise<T>;
  readonly conditions: readonly WatchedCondition<T>[];
  /** From a look to the next. */
  readonly intervalMs: (found: T) => number;
  readonly log: Logger;
  readonly clock: Pick<MonotonicClock, 'after'>;
}

/** Looks now and then; nothing holds before the first look. */
export function watchConditions<T>({
  look,
  conditions,
  intervalMs,
  log,
  clock,
}: ConditionWatchOptions<T>): ConditionWatch {
  const states = new Map<string, ConditionState>();
  const tellers = conditions.map(({ usual }) => logChanges(log, usual));
  const stop = poll({
    ask: look,
    clock,
    onAnswer: (found) => {
      for (const [index, { name, judge }] of conditions.entries()) {
        const { ok, reason, level } = judge(found);
        states.set(name, { ok, reason });
        tellers[index]!(level, reason);
      }
      return intervalMs(found);
    },
  });
  return {
    conditions: conditions.map(({ name }) => ({
      name,
      state: () => states.get(name) ?? { ok: false, reason: 'not looked at yet' },
    })),
    stop,
  };
}
