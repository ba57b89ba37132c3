/** What the cluster watch tells the log and the metrics. */
import type { ClusterLog } from '../cluster/observe.ts';
import type { createClusterWatch } from '../cluster/watch-cluster.ts';
import type { Logger } from './log.ts';
import type { AgentMetrics } from './metrics.ts';

export function clusterLog(log: Logger): ClusterLog {
  return {
    debug: (fields, message) => log.debug(message, { ...fields }),
    info: (fields, message) => log.info(message, { ...fields }),
    warn: (fields, message) => log.warn(message, { ...fields }),
  };
}

export function clusterObserver(
  metrics: AgentMetrics,
): NonNullable<Parameters<typeof createClusterWatch>[0]['observer']> {
  return {
    onEvent: (kind, type) => metrics.watchEvent(kind, type),
    onRestart: (kind, reason) => metrics.watchRestart(kind, reason),
    onListed: (kind, seconds) => metrics.listDuration(kind, seconds),
    onMissedFoundByRelist: (kind, count) => metrics.watchMissedEvents(kind, count),
  };
}
