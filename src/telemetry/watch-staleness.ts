/**
 * How long the agent has been blind: no watch is open for a kind, so changes do not arrive. The rules stand as they are, which is why
 * that makes nothing unready by itself; but it is told.
 */
import type { ClusterWatch, KindStatus } from '../cluster/watch-cluster.ts';
import type { MonotonicClock } from '../core/clock.ts';
import type { ConditionState } from './health.ts';
import type { Logger } from './log.ts';

import { poll } from '../core/poll.ts';

/** Reconnecting takes a moment, and nobody is to be told of that. */
const TELL_AFTER_MS = 30_000;
const TELL_AGAIN_MS = 60_000;
const LOOK_MS = 1_000;

export type StaleKind = Pick<KindStatus, 'kind' | 'staleMs' | 'problem'>;

interface StalenessReport {
  readonly level: 'warn' | 'info';
  readonly message: string;
}

/** Tells when to write a line: after half a minute, once a minute while it lasts, once when it is over. Pure but for its memory. */
export class StalenessReporter {
  #sinceMs: number | undefined;
  #toldAtMs: number | undefined;

  look(kinds: readonly StaleKind[], nowMs: number): StalenessReport | undefined {
    const worst = stalest(kinds);
    if (worst === undefined || worst.staleMs === 0) return this.#over(nowMs);
    this.#sinceMs = Math.min(this.#sinceMs ?? Number.POSITIVE_INFINITY, nowMs - worst.staleMs);
    if (worst.staleMs < TELL_AFTER_MS) return undefined;
    if (this.#toldAtMs !== undefined && nowMs - this.#toldAtMs < TELL_AGAIN_MS) return undefined;
    this.#toldAtMs = nowMs;
    const message = `changes do not arrive, the rules stand as they are: ${describe(kinds)}`;
    return { level: 'warn', message };
  }

  #over(nowMs: number): StalenessReport | undefined {
    const [sinceMs, wasTold] = [this.#sinceMs, this.#toldAtMs !== undefined];
    this.#sinceMs = undefined;
    this.#toldAtMs = undefined;
    if (!wasTold || sinceMs === undefined) return undefined;
    return { level: 'info', message: `changes arrive again, after ${seconds(nowMs - sinceMs)} s without` };
  }
}

/** `maxMs` 0: never unready for this. */
export function watchesReady(kinds: readonly StaleKind[] | undefined, maxMs: number): ConditionState {
  const worst = stalest(kinds ?? []);
  if (!kinds || !worst) return { ok: true, reason: 'not connected to an API server yet' };
  if (worst.staleMs === 0) return { ok: true, reason: 'a watch is open for every kind' };
  const ok = maxMs === 0 || worst.staleMs <= maxMs;
  return { ok, reason: `changes do not arrive, the rules stand as they are: ${describe(kinds)}` };
}

/** Writes the lines; the result ends that. */
export function logStaleness(cluster: Pick<ClusterWatch, 'status'>, log: Logger, clock: MonotonicClock): () => void {
  const teller = new StalenessReporter();
  return poll({
    ask: async () => cluster.status(),
    onAnswer: (kinds) => {
      const report = teller.look(kinds, clock.now());
      if (report) log[report.level](report.message);
      return LOOK_MS;
    },
    clock,
  });
}

/** Of each kind what /readyz?verbose shows. */
export function watchDetails(kinds: readonly KindStatus[], nowMs: number): readonly object[] {
  return kinds.map(({ kind, presence, connected, objects, restarts, staleMs, lastHeardMs, problem }) => ({
    kind,
    presence,
    connected,
    objects,
    restarts,
    staleSeconds: seconds(staleMs),
    ...(lastHeardMs > 0 ? { lastHeardSecondsAgo: Math.max(0, seconds(nowMs - lastHeardMs)) } : {}),
    ...(problem === undefined ? {} : { problem }),
  }));
}

function stalest(kinds: readonly StaleKind[]): StaleKind | undefined {
  return kinds.reduce<StaleKind | undefined>(
    (worst, kind) => (worst === undefined || kind.staleMs > worst.staleMs ? kind : worst),
    undefined,
  );
}

/** Kinds with the same trouble share a text. */
function describe(kinds: readonly StaleKind[]): string {
  const byProblem = new Map<string, StaleKind[]>();
  for (const kind of kinds.filter(({ staleMs }) => staleMs > 0)) {
    const problem = kind.problem ?? 'connecting';
    byProblem.set(problem, [...(byProblem.get(problem) ?? []), kind]);
  }
  return [...byProblem]
    .map(([problem, same]) => {
      const names = same.map(({ kind, staleMs }) => `${kind} for ${seconds(staleMs)} s`).join(', ');
      return `${names} (${problem})`;
    })
    .join('; ');
}

const seconds = (ms: number): number => Math.round(ms / 1000);
