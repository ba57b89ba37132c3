/** What the running agent tells the log and the metrics. */
import type { AgentObserver } from '../agent/agent.ts';
import type { Logger } from './log.ts';
import type { AgentMetrics } from './metrics.ts';

import { createProblemLog } from './problem-log.ts';
import { createSyncLog } from './sync-log.ts';
import { createSyncMetrics } from './sync-metrics.ts';

/** `backend`: the one written to now. */
export function agentObserver(metrics: AgentMetrics, log: Logger, backend: () => string): AgentObserver {
  const logSync = createSyncLog(log.child('sync'), backend);
  const measureSync = createSyncMetrics(metrics);
  return {
    onMode: (mode, source) => {
      metrics.mode(mode);
      log.info(`mode ${mode}`, { source });
    },
    onSync: (outcome, info) => {
      measureSync(outcome, info);
      logSync(outcome, info);
    },
    onProblems: createProblemLog(log.child('policy'), () => performance.now()),
    onCommitted: (changes, atMs) => {
      const wallMs = Date.now();
      for (const { kind, arrivedAtMs, writtenAtMs } of changes)
        metrics.committed(
          kind,
          (atMs - arrivedAtMs) / 1000,
          writtenAtMs === undefined ? undefined : (wallMs - writtenAtMs) / 1000,
        );
    },
    onGate: (result) => logGate(log.child('sync'), result),
    onPodsProgrammed: (milliseconds) => {
      for (const each of milliseconds) metrics.podProgrammed(each / 1000);
    },
  };
}

function logGate(log: Logger, result: Parameters<AgentObserver['onGate']>[0]): void {
  if (result === 'rules stand') log.info('closed to new pods: rules of an agent before this one stand, and stay');
  else if (result === 'closed')
    log.warn(
      'closed to new pods: no rules of ours were here, so NO pod of this node is reached or reaches anything until the API server has ' +
        'said which pods there are; the node, its host network and other interfaces are not touched',
    );
  else log.error(`new pods are NOT kept out before the first sync, which tries again: ${result.failed}`);
}
