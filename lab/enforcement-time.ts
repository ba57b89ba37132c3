/** How long a change takes from the API server to the packets, seen by probes sent every few milliseconds. */
import type {
  EndpointKey,
  LabRepeat,
  MatrixProbe,
  ProbeOutcome,
  ProbeResult,
  RepeatRequest,
  RepeatStatus,
} from './network/types.ts';
import type { Matrix, MatrixCell } from './matrix.ts';

import { agrees } from './matrix.ts';

/** What it needs of the network. */
export interface TimedNetwork {
  repeatProbe(from: EndpointKey, request: RepeatRequest): Promise<LabRepeat>;
  probeMatrix(probes: readonly MatrixProbe[]): Promise<readonly ProbeResult[]>;
}

export interface TimedChange {
  readonly matrix: Matrix;
  /** The cells whose prediction changes. */
  readonly changed: readonly MatrixCell[];
  /** Makes the change, at once; absent if somebody else has made it. */
  readonly apply?: () => void;
  /** When that was; the time is then an upper limit, as nothing was probed before. */
  readonly startedAt?: number;
  readonly timeoutMs: number;
  /** Wall clock, ms since the epoch: the one the prober stamps its answers with. */
  readonly now: () => number;
  readonly sleep: (ms: number) => Promise<void>;
  readonly signal?: AbortSignal;
}

/** Cells probed in a row; more would keep the agents from their work. */
const MAX_TIMED = 16;
/** Between two probes of one cell; longer when many cells are timed. */
const MIN_INTERVAL_MS = 2;
/** Inside of one machine an answer takes microseconds. A starved machine makes this wrong, and with it only the time shown. */
const SILENCE_MS = 80;
const POLL_MS = 10;

/**
 * Milliseconds from `apply` until all changed cells follow; undefined if they do not within `timeoutMs`, 0 if nothing changes.
 * Exact to the interval of the probes: a cell newly denied counts from when its first lost packet was sent, a cell newly allowed
 * from when its first answered one was.
 */
export async function timeEnforcement(network: TimedNetwork, change: TimedChange): Promise<number | undefined> {
  const { matrix, changed, apply = () => {}, now } = change;
  if (changed.length === 0) {
    apply();
    return 0;
  }
  const timed = chooseTimed(matrix, changed);
  const intervalMs = Math.max(MIN_INTERVAL_MS, timed.length);
  const repeats = await Promise.all(
    timed.map(({ probe: { from, ...probe } }) =>
      network.repeatProbe(from, { ...probe, timeoutMs: SILENCE_MS, attempts: 1, intervalMs }),
    ),
  );
  const started = change.startedAt ?? now();
  try {
    apply();
    const latest = await untilAllFollow(network, change, timed, repeats, started);
    if (latest === undefined) return undefined;
    return Math.max(0, latest - started);
  } finally {
    await Promise.all(repeats.map((repeat) => repeat.stop().catch(() => {})));
  }
}

/** Wall-clock time at which the last cell began to follow. */
async function untilAllFollow(
  network: TimedNetwork,
  { changed, timeoutMs, now, sleep, signal }: TimedChange,
  timed: readonly MatrixCell[],
  repeats: readonly LabRepeat[],
  started: number,
): Promise<number | undefined> {
  const quick = changed.map(({ probe }) => ({ ...probe, timeoutMs: SILENCE_MS, attempts: 1 }));
  let since = started;
  const deadline = now() + timeoutMs;
  while (now() < deadline && !signal?.aborted) {
    const states = await Promise.all(repeats.map((repeat) => repeat.status()));
    const times = states.map((status, index) => followedAt(status, timed[index]!.predicted, started));
    if (times.some((time) => time === undefined)) {
      await sleep(POLL_MS);
      continue;
    }
    const asked = now();
    const results = await network.probeMatrix(quick);
    if (changed.every((cell, index) => agrees(cell, results[index]!))) return Math.max(since, ...(times as number[]));
    // The timed ones did not stand for all the others.
    since = asked;
  }
  return undefined;
}

/**
 * When the cell turned to `allowed` for good, so far; undefined while it has not. Changes are stamped with the time their probe was
 * sent and listed in order of their answers, and silence takes longer than an answer.
 */
export function followedAt(status: RepeatStatus, allowed: boolean, started: number): number | undefined {
  const wanted = (outcome: ProbeOutcome): boolean => (allowed ? isAnswer(outcome) : outcome === 'blocked');
  const sorted = status.changes.toSorted((a, b) => a.atMs - b.atMs);
  const lastWrong = sorted.findLastIndex(({ outcome }) => !wanted(outcome));
  const found = sorted.slice(lastWrong + 1)[0];
  return found === undefined ? undefined : Math.max(found.atMs, started);
}

function isAnswer(outcome: ProbeOutcome): boolean {
  return outcome === 'reached' || outcome === 'refused';
}

/**
 * One cell of each group that is enforced in one commit of one agent: by nodes of both ends, family, and what it turns to. At most
 * `MAX_TIMED`, evenly chosen.
 */
export function chooseTimed(matrix: Matrix, changed: readonly MatrixCell[]): readonly MatrixCell[] {
  const groups = Map.groupBy(changed, ({ from, to, family, predicted }) => {
    const [source, destination] = [matrix.endpoints[from]!, matrix.endpoints[to]!];
    return JSON.stringify([source.node, source.hostOf, destination.node, destination.hostOf, family, predicted]);
  });
  const firsts = [...groups.values()].map(([first]) => first!);
  if (firsts.length <= MAX_TIMED) return firsts;
  return Array.from({ length: MAX_TIMED }, (_, index) => firsts[Math.floor((index * firsts.length) / MAX_TIMED)]!);
}
