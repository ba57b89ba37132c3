/** The agent as a program: every part is made, wired to the others, and stopped here. */
import manifest from '../../package.json' with { type: 'json' };
import type { ClusterWatch } from '../cluster/watch-cluster.ts';
import type { Connection } from '../cluster/connection.ts';
import type { TracePlace } from '../dataplane/dataplane.ts';
import type { ConditionState } from '../telemetry/health.ts';
import type { Logger } from '../telemetry/log.ts';
import type { AgentMetrics } from '../telemetry/metrics.ts';
import type { StatusSources } from '../telemetry/status-pages.ts';
import type { AgentConfig } from './config.ts';
import type { DataplaneParts, NodeDataplane } from './node-dataplane.ts';
import type { NodeWatches } from './watch-node.ts';

import { Agent } from '../agent/agent.ts';
import { loadConnection } from '../cluster/connection.ts';
import { createClusterWatch } from '../cluster/watch-cluster.ts';
import { aborted, afterUnlessExit, systemClock } from '../core/clock.ts';
import { runSliced } from '../core/run-sliced.ts';
import { FAMILIES } from '../core/vocabulary.ts';
import { runCommand } from '../host/command.ts';
import { cpuMs } from '../host/cpu-time.ts';
import { listConntrack } from '../host/live-flows.ts';
import { openAgentLog } from '../telemetry/agent-log.ts';
import { createAgentMetrics, createRegistry } from '../telemetry/metrics.ts';
import { nodeReady } from '../telemetry/readiness.ts';
import { agentObserver } from '../telemetry/agent-observer.ts';
import { type FlowsPage, flowsPage } from '../telemetry/flows-page.ts';
import { writeEvents } from '../telemetry/event-writer.ts';
import { clusterLog, clusterObserver } from '../telemetry/cluster-observer.ts';
import { serveStatusPages } from '../telemetry/status-pages.ts';
import { logStaleness, watchesReady } from '../telemetry/watch-staleness.ts';
import { createChosenNode } from './chosen-dataplane.ts';
import { describeConfig } from './config.ts';
import { openRuleCounts } from './count-rules.ts';
import { createIptablesNode } from './iptables-node.ts';
import { NFT_TABLE } from '../dataplane/nftables/table/names.ts';
import { createNftablesNode } from './nftables-node.ts';
import { leftInIptables, leftInNftables } from './other-dataplanes.ts';
import { useOwnAddresses } from './own-addresses.ts';
import { type Denials, logDenials } from './log-denials.ts';
import { watchNode } from './watch-node.ts';

/**
 * Runs the agent until `signal` aborts; resolves to the exit code. On the way out the rules stay in the kernel (S-79).
 * Resolves to 1 if the agent cannot start at all: no way to reach an API server.
 */
export async function runAgent(config: AgentConfig, { signal }: { signal: AbortSignal }): Promise<number> {
  const metrics = createAgentMetrics(createRegistry(), { processMetrics: true });
  const agentLog = openAgentLog(config.logLevel, metrics);
  const { log } = agentLog;
  metrics.build(manifest.version);
  log.info('starting', { version: manifest.version, node: process.version, ...describeConfig(config) });
  const sources: StatusSources = {
    agent: undefined,
    cluster: undefined,
    denials: undefined,
    trace: undefined,
    flows: undefined,
    startProblem: 'starting',
    dataplane: () => undefined,
    conditions: [],
  };
  const { httpAddress: address, metricsAddress, httpTokenFile: tokenFile } = config;
  const server = serveStatusPages({
    address,
    metricsAddress,
    tokenFile,
    sources,
    nodeName: config.nodeName,
    version: manifest.version,
    metrics,
    log,
    logTail: () => agentLog.tail.text(),
  });
  try {
    const connection = await connect(config, log.child('watch'), signal);
    const cluster = createClusterWatch({
      connection,
      nodeName: config.nodeName,
      observer: clusterObserver(metrics),
      log: clusterLog(log.child('watch')),
    });
    sources.cluster = cluster;
    addCondition(sources, 'watches-open', () => watchesReady(cluster.status(), config.readyMaxStalenessMs));
    const stopTelling = logStaleness(cluster, log.child('watch'), systemClock);
    // The cluster is listed while the host is read.
    const watches = watchNode(config, metrics, log);
    const counts = openRuleCounts(config, log.child('counters'));
    const node = createNode({ config, watches, counts, metrics, log });
    const { dataplane } = node;
    sources.dataplane = () => node.inUse();
    const opened = Promise.withResolvers<void>();
    const denials = logDenials({
      config,
      cluster,
      dataplane,
      directory: () => agent.directory(),
      interfaces: () => watches.interfaces.known().pods,
      metrics,
      log: log.child('denials'),
    });
    sources.denials = () => denials.page();
    const agent = createAgent({
      config,
      cluster,
      node,
      opened: opened.promise,
      watches,
      denials,
      metrics,
      log,
    });
    agent.start(signal);
    const onProblem = (problem: string): void => {
      sources.startProblem = problem;
    };
    if (!(await node.open({ onProblem, signal }))) {
      await node.stop();
      return 0;
    }
    sources.conditions.push(...node.conditions, ...watches.conditions, denials.condition);
    metrics.beforeScrape(async () => metrics.ruleCounters(await dataplane.counters()));
    sources.agent = agent;
    sources.trace = (flows) => dataplane.trace(flows, placeOf(config.nodeName, cluster, agent, watches));
    sources.flows = () => liveFlows(config.nodeName, cluster);
    addCondition(sources, 'node-known', () => nodeReady(config.nodeName, agent.status()));
    sources.startProblem = undefined;
    opened.resolve();
    node.follow((reason) => agent.resync(reason));
    if (config.events) tellOnObjects({ connection, config, agent, cluster, metrics, log }, signal);
    await aborted(signal);
    log.info('stopping: the rules stay in the kernel');
    stopTelling();
    watches.stop();
    await agent.stop();
    await node.stop();
    await denials.stop();
    connection.close();
    return 0;
  } catch (error) {
    if (signal.aborted) return 0;
    log.error('cannot start', { error });
    return 1;
  } finally {
    await server.close();
    agentLog.close();
  }
}

/** As the last sync knew it. */
function placeOf(nodeName: string, cluster: ClusterWatch, agent: Agent, { interfaces }: NodeWatches): TracePlace {
  const localAddresses = agent.status().lastIntent?.localAddresses ?? new Map<string, string>();
  return {
    nodeAddresses: cluster.snapshot().nodes.get(nodeName)?.addresses ?? [],
    localAddresses,
    interfaces: interfaces.of(localAddresses),
  };
}

async function liveFlows(nodeName: string, cluster: ClusterWatch): Promise<FlowsPage> {
  const listings = await Promise.all(FAMILIES.map((family) => listConntrack(runCommand, family)));
  return runSliced(flowsPage(listings, { nodeName, pods: cluster.snapshot().pods.values() }));
}

function addCondition({ conditions }: StatusSources, name: string, state: () => ConditionState): void {
  conditions.push({ name, state });
}

async function connect(config: AgentConfig, log: Logger, signal: AbortSignal): Promise<Connection> {
  const { apiAccess: access } = config;
  const connection = await loadConnection({
    ...(access.kind === 'kubeconfig' ? { kubeconfig: access.path } : { serviceAccountDir: access.dir }),
    env: process.env,
    onWarning: (message) => log.warn(message),
  });
  await useOwnAddresses(connection, config, log, signal);
  return connection;
}

interface EventParts {
  readonly connection: Connection;
  readonly config: AgentConfig;
  readonly agent: Agent;
  readonly cluster: ClusterWatch;
  readonly metrics: AgentMetrics;
  readonly log: Logger;
}

/** Nobody waits for it: it looks at what there is once syncs have begun, and ends with the signal. */
function tellOnObjects({ connection, config, agent, cluster, metrics, log }: EventParts, signal: AbortSignal): void {
  const look = (): ReturnType<Parameters<typeof writeEvents>[0]['look']> => {
    const { programmed, problems } = agent.status();
    if (!programmed) return undefined;
    const snapshot = cluster.snapshot();
    // Those of the last sync hold the watch's, as it knew them then.
    return { cluster: snapshot, problems: [...new Set([...snapshot.problems, ...problems])] };
  };
  const { nodeName } = config;
  const clock = systemClock;
  void writeEvents({ transport: connection, nodeName, look, clock, metrics, log: log.child('events') }, signal);
}

interface AgentParts {
  readonly config: AgentConfig;
  readonly cluster: ClusterWatch;
  readonly node: NodeDataplane;
  readonly opened: Promise<void>;
  readonly watches: NodeWatches;
  readonly denials: Denials;
  readonly metrics: AgentMetrics;
  readonly log: Logger;
}

function createNode(parts: DataplaneParts): NodeDataplane {
  const { config, watches, counts, metrics, log } = parts;
  return createChosenNode({
    asked: config.dataplane,
    hosts: {
      nftables: { create: () => createNftablesNode(parts), left: leftInNftables(NFT_TABLE, counts) },
      iptables: {
        create: () => createIptablesNode(parts),
        left: leftInIptables(config.xtablesLockWaitSeconds, counts),
      },
    },
    counts: counts?.book,
    interfaces: watches.interfaces,
    isClosed: config.newPods === 'closed',
    freeEpochs: watches.freeEpochs,
    metrics,
    log,
    clock: { now: () => systemClock.now(), after: afterUnlessExit },
  });
}

function createAgent(parts: AgentParts): Agent {
  const { config, cluster, node, opened, watches, denials, metrics, log } = parts;
  const { interfaces, checkpoint } = watches;
  const observer = agentObserver(metrics, log, () => node.backend());
  return new Agent({
    nodeName: config.nodeName,
    cluster,
    dataplane: node.dataplane,
    opened,
    newPods: config.newPods,
    defaultMode: config.mode,
    share: config.syncShare,
    cpuMs,
    minGapMs: config.minGapMs,
    resyncIntervalMs: config.resyncIntervalMs,
    clock: systemClock,
    random: Math.random,
    interfaces,
    ...(checkpoint ? { earlyAddresses: checkpoint } : {}),
    observer: {
      ...observer,
      onSync: (outcome, info) => {
        node.synced(outcome, info);
        watches.surveyHost();
        // Its processes are started behind the first commit.
        denials.start();
        observer.onSync(outcome, info);
      },
    },
  });
}
