/** Gives the connection the API server's own addresses: those of the flag, then those of the last run, then those of the cluster. */
import type { Connection } from '../cluster/connection.ts';
import type { Logger } from '../telemetry/log.ts';
import type { AgentConfig } from './config.ts';

import { systemClock } from '../core/clock.ts';
import { readEndpointCache, cacheEndpoints } from '../cluster/endpoint-cache.ts';
import { hostPortText } from '../net/host-port.ts';
import { clusterLog } from '../telemetry/cluster-observer.ts';

/** Returns once the file was read; what the cluster says is followed until `signal` aborts. A kubeconfig names its server itself. */
export async function useOwnAddresses(
  connection: Connection,
  config: Pick<AgentConfig, 'apiAccess' | 'apiServers' | 'apiServerEndpointsFile'>,
  logger: Logger,
  signal: AbortSignal,
): Promise<void> {
  const { apiAccess, apiServers, apiServerEndpointsFile: file } = config;
  connection.setAlternates(apiServers);
  if (apiAccess.kind === 'kubeconfig' || file === null) return;
  const log = clusterLog(logger);
  const remembered = await readEndpointCache(file, log);
  if (remembered.length > 0)
    log.info(
      { file, endpoints: remembered.map(hostPortText) },
      "the API server's own addresses are known from the last run",
    );
  connection.setAlternates([...apiServers, ...remembered]);
  void cacheEndpoints(
    {
      transport: connection,
      file,
      clock: systemClock,
      random: Math.random,
      log,
      onTargets: (targets) => connection.setAlternates([...apiServers, ...targets]),
    },
    signal,
  );
}
