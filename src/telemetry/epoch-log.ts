/** What the search for free epochs of the connection mark tells: log, metrics, a condition. */
import type { Family } from '../core/vocabulary.ts';
import type { EpochListener, EpochState } from '../dataplane/listener.ts';
import type { Condition } from './condition.ts';
import type { AgentMetrics } from './metrics.ts';
import type { Logger } from './log.ts';

interface EpochLog extends EpochListener {
  /** Always ok: without a free epoch live flows cost more, and are judged all the same. */
  readonly condition: Condition;
}

export function createEpochLog(mask: number, metrics: Pick<AgentMetrics, 'freeEpochs'>, log: Logger): EpochLog {
  const states = new Map<Family, EpochState>();
  const reports = { 4: reporter(4, log), 6: reporter(6, log) };
  return {
    onEpochs: (family, state) => {
      states.set(family, state);
      metrics.freeEpochs(family, state.free);
      reports[family](state);
    },
    onForeignMark: (family, epoch) =>
      log.error(
        `IPv${family} flows carry epoch ${epoch} in their connection mark, which this agent has not used since no flow carried it: ` +
          `another program writes to the bits 0x${mask.toString(16)}, and flows it marks may go on although they are denied; ` +
          'move that program, or choose bits that nobody else uses with --connmark-mask',
      ),
    condition: {
      name: 'epochs',
      state: () => ({
        ok: true,
        reason:
          [...states].map(([family, state]) => describe(family, state)).join('; ') || 'no rules that stamp flows yet',
      }),
    },
  };
}

function describe(family: Family, { current, total, free, problem }: EpochState): string {
  const why = problem === undefined ? '' : ` (${problem})`;
  if (current === 'none') return `IPv${family}: every packet of live flows is judged, no epoch is free${why}`;
  return `IPv${family}: epoch ${current ?? 'none yet'} of ${total}, ${free} known to be free${why}`;
}

/** Who can make changes can make epochs run out again and again. */
const QUIET_MS = 60_000;

/** Tells what begins and what ends. */
function reporter(family: Family, log: Logger): (state: EpochState) => void {
  let told: string | undefined;
  let isTold = false;
  let lastMs = Number.NEGATIVE_INFINITY;
  return ({ current, problem }) => {
    if (problem !== undefined && problem !== told && !isTold)
      log.warn(
        `IPv${family}: no epoch of the connection mark is known to be free: ${problem}; ` +
          'from the next change that takes something away every packet of live flows is judged, until one is',
      );
    told = problem ?? told;
    if (current === 'none' && !isTold && performance.now() - lastMs > QUIET_MS) {
      isTold = true;
      lastMs = performance.now();
      const why = problem === undefined ? '' : ` (${problem})`;
      log.warn(`IPv${family}: every packet of live flows is judged, which costs time, until an epoch is free${why}`);
    }
    if (current !== 'none' && isTold) {
      isTold = false;
      log.info(`IPv${family}: live flows are judged once again, under epoch ${current}`);
    }
  };
}
