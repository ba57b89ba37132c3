/** The agent as a program: every part is made, wired to the others, and stopped here. */
import manifest from '../../package.json' with { type: 'json' };
import type { ClusterWatch } from '../cluster/watch-cluster.ts';
import type { Connection } from '../cluster/connection.ts';
import type { CounterWatch } from '../dataplane/iptables/counters/counter-watch.ts';
import type { IptablesDataplane } from '../dataplane/iptables/iptables-dataplane.ts';
import type { TracePlace } from '../dataplane/dataplane.ts';
import type { HostKernel } from '../dataplane/iptables/kernel/host-kernel.ts';
import type { ConditionState } from '../telemetry/health.ts';
import type { Logger } from '../telemetry/log.ts';
import type { AgentMetrics } from '../telemetry/metrics.ts';
import type { StatusSources } from '../telemetry/status-pages.ts';
import type { AgentConfig } from './config.ts';
import type { NodeWatches } from './watch-node.ts';

import { Agent } from '../agent/agent.ts';
import { loadConnection } from '../cluster/connection.ts';
import { createClusterWatch } from '../cluster/watch-cluster.ts';
import { aborted, afterUnlessExit, systemClock } from '../core/clock.ts';
import { stampedEpochs } from '../dataplane/iptables/sync/stamped-epochs.ts';
import { TidyTimer } from '../dataplane/tidy-timer.ts';
import { anyEpoch } from '../dataplane/mark-bits.ts';
import { createIptablesDataplane } from '../dataplane/iptables/iptables-dataplane.ts';
import { WRITE_SETS, writesRules } from '../dataplane/iptables/kernel/linux-kernel.ts';
import { traceReads } from '../dataplane/iptables/kernel/trace-reads.ts';
import { runCommand } from '../host/command.ts';
import { cpuMs } from '../host/cpu-time.ts';
import { prespawn } from '../host/prespawn.ts';
import { openRestoreSession } from '../host/restore-session.ts';
import { openAgentLog } from '../telemetry/agent-log.ts';
import { createAgentMetrics, createRegistry } from '../telemetry/metrics.ts';
import { nodeReady } from '../telemetry/readiness.ts';
import { agentObserver } from '../telemetry/agent-observer.ts';
import { writeEvents } from '../telemetry/event-writer.ts';
import { clusterLog, clusterObserver } from '../telemetry/cluster-observer.ts';
import { serveStatusPages } from '../telemetry/status-pages.ts';
import { logStaleness, watchesReady } from '../telemetry/watch-staleness.ts';
import { describeConfig } from './config.ts';
import { type AgentKernel, createKernel, openKernel } from './open-kernel.ts';
import { useOwnAddresses } from './own-addresses.ts';
import { countRules } from './count-rules.ts';
import { layoutOf } from './layout.ts';
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
  const sets = openRestoreSession(WRITE_SETS);
  const writes = prespawn(writesRules, sets.run);
  const sources: StatusSources = {
    agent: undefined,
    cluster: undefined,
    denials: undefined,
    trace: undefined,
    startProblem: 'starting',
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
    const kernelLog = log.child('kernel');
    const agentKernel = createKernel({ config, run: writes.run, metrics, log: kernelLog });
    const { kernel } = agentKernel;
    const watches = watchNode(config, kernel, metrics, log);
    const counters = countRules(config, kernel, log.child('counters'));
    const dataplane = createDataplane(config, agentKernel, watches, counters);
    const opened = Promise.withResolvers<void>();
    const denials = logDenials({
      config,
      cluster,
      dataplane,
      directory: () => agent.directory(),
      interfaces: () => watches.interfaces.known(),
      metrics,
      log: log.child('denials'),
    });
    sources.denials = () => denials.page();
    const agent = createAgent({
      config,
      cluster,
      dataplane,
      opened: opened.promise,
      kernel,
      watches,
      denials,
      metrics,
      log,
    });
    agent.start(signal);
    const onProblem = (problem: string): void => {
      sources.startProblem = problem;
    };
    const stamping = await openKernel({ kernel, log: kernelLog, onProblem, signal });
    if (!stamping) return 0;
    if (config.mode !== 'dry-run' && config.connmarkMask !== null)
      watches.freeEpochs?.lookAhead(stampedEpochs(stamping, { mask: config.connmarkMask }));
    addCondition(sources, 'iptables-variant', () => ({
      ok: true,
      reason: kernel.doubt ?? `writing to ${kernel.backend}`,
    }));
    sources.conditions.push(...watches.conditions, denials.condition);
    metrics.beforeScrape(async () => metrics.ruleCounters(await dataplane.counters()));
    sources.agent = agent;
    sources.trace = (flows) => dataplane.trace(flows, placeOf(config.nodeName, cluster, agent, watches));
    addCondition(sources, 'node-known', () => nodeReady(config.nodeName, agent.status()));
    sources.startProblem = undefined;
    opened.resolve();
    watches.neighbours.follow({ standing: () => dataplane.standing(), resync: (reason) => agent.resync(reason) });
    if (config.events) tellOnObjects({ connection, config, agent, cluster, metrics, log }, signal);
    await aborted(signal);
    log.info('stopping: the rules stay in the kernel');
    stopTelling();
    watches.stop();
    await agent.stop();
    await counters?.stop();
    await denials.stop();
    connection.close();
    return 0;
  } catch (error) {
    if (signal.aborted) return 0;
    log.error('cannot start', { error });
    return 1;
  } finally {
    writes.stop();
    sets.stop();
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
  readonly dataplane: IptablesDataplane;
  readonly opened: Promise<void>;
  readonly kernel: HostKernel;
  readonly watches: NodeWatches;
  readonly denials: Denials;
  readonly metrics: AgentMetrics;
  readonly log: Logger;
}

function createDataplane(
  config: AgentConfig,
  { kernel, missingFeatures }: AgentKernel,
  watches: NodeWatches,
  counters: CounterWatch | undefined,
): IptablesDataplane {
  const { neighbours, freeEpochs } = watches;
  return createIptablesDataplane({
    kernel: neighbours.kernel,
    layout: layoutOf(config),
    now: () => systemClock.now(),
    after: afterUnlessExit,
    firstEpoch: config.connmarkMask === null ? 1 : anyEpoch(config.connmarkMask, Math.random),
    ...(freeEpochs ? { freeEpochs } : {}),
    ...(counters ? { counters } : {}),
    reads: traceReads(runCommand, () => kernel.backend),
    tidy: new TidyTimer(systemClock, () => counters?.aheadOfDeletion()),
    missingFeatures,
  });
}

function createAgent(parts: AgentParts): Agent {
  const { config, cluster, dataplane, opened, kernel, watches, denials, metrics, log } = parts;
  const { neighbours, interfaces, checkpoint } = watches;
  const observer = agentObserver(metrics, log, () => kernel.backend);
  return new Agent({
    nodeName: config.nodeName,
    cluster,
    dataplane,
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
        neighbours.synced(outcome, info.resync);
        watches.surveyHost();
        // Its processes are started behind the first commit.
        denials.start();
        observer.onSync(outcome, info);
      },
    },
  });
}
