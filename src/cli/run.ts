/** The daemon: builds the edges, starts the agent, owns health and shutdown. */
import { randomInt } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import manifest from '../../package.json' with { type: 'json' };
import type { Layout } from '../dataplane/iptables/rules/ruleset.ts';
import type { ClusterWatch } from '../cluster/watch-cluster.ts';
import type { AgentMetrics } from '../telemetry/metrics.ts';
import type { ConditionState, ReadyCondition } from '../telemetry/health.ts';
import type { Logger } from '../telemetry/log.ts';
import type { AgentConfig } from './config.ts';

import { generationCount } from '../dataplane/iptables/rules/write-text.ts';
import { WRITE_SETS } from '../dataplane/iptables/kernel/linux-kernel.ts';
import { runCommand } from '../host/command.ts';
import { keepOneWaiting } from '../host/command-in-waiting.ts';
import { loadConnection } from '../cluster/connection.ts';
import { createClusterWatch } from '../cluster/watch-cluster.ts';
import { createAgentMetrics, createRegistry } from '../telemetry/metrics.ts';
import { startStatusServer } from '../telemetry/health.ts';
import { Agent } from '../agent/agent.ts';
import { openAgentLog } from '../telemetry/agent-log.ts';
import { describeConfig } from './config.ts';
import { keepServing, type ServingServer } from '../telemetry/keep-serving.ts';
import { openKernel } from './open-kernel.ts';
import {
  commitReady,
  familiesReady,
  featuresReady,
  informersReady,
  lastPassReady,
  nodeReady,
  planPage,
} from '../telemetry/readiness.ts';
import { clusterLog, observe, watchObserver } from '../telemetry/report-pass.ts';
import { useOwnAddresses } from './own-addresses.ts';
import { aborted, after, systemClock } from '../core/clock.ts';
import { watchBridges } from '../telemetry/bridge-condition.ts';
import { tellStaleness, watchDetails, watchesReady } from '../telemetry/watch-staleness.ts';
import { watchEpochs } from '../telemetry/epoch-log.ts';
import { watchHost } from '../telemetry/host-conditions.ts';
import { NeighbourWatch } from './watch-neighbours.ts';
import { type CheckpointWatch, watchCheckpoint } from '../host/checkpoint-watch.ts';
import { watchInterfaces } from '../host/interface-watch.ts';

/** With the default rate a burst of this many seconds' worth is logged before the limit bites. */
const LOG_BURST_SECONDS = 2;

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
  const setsCommand = keepOneWaiting(WRITE_SETS);
  const state: RunState = { agent: undefined, cluster: undefined, startProblem: 'starting', conditions: new Map() };
  const server = serveStatus(config, metrics, state, log);
  try {
    const connection = await loadConnection({
      ...apiAccess(config),
      env: process.env,
      onWarning: (message) => log.child('watch').warn(message),
    });
    await useOwnAddresses(connection, config, log.child('watch'), signal);
    const cluster = createClusterWatch({
      connection,
      nodeName: config.nodeName,
      observer: watchObserver(metrics),
      log: clusterLog(log.child('watch')),
    });
    state.cluster = cluster;
    state.conditions.set('watches-open', () => watchesReady(cluster.status(), config.readyMaxStalenessMs));
    tellStaleness(cluster, log.child('watch'), signal);
    const onProblem = (problem: string): void => {
      state.startProblem = problem;
    };
    const opened = await openKernel(config, setsCommand.run, metrics, log, onProblem, signal);
    if (!opened) return 0;
    const { kernel, missingFeatures } = opened;
    state.conditions.set('iptables-variant', () => ({
      ok: true,
      reason: kernel.doubt ?? `writing to ${kernel.backend}`,
    }));
    const bridges = watchBridges(log);
    state.conditions.set('bridge-netfilter', bridges.condition);
    const neighbours = new NeighbourWatch(kernel, metrics, log);
    state.conditions.set('jumps-present', neighbours.jumps);
    const epochs =
      config.connmarkMask === null ? undefined : watchEpochs(config.connmarkMask, metrics, log.child('kernel'));
    if (epochs) state.conditions.set('epochs', epochs.condition);
    const host = watchHost({ metrics, log, isIpvsAllowed: config.allowKubeProxyIpvs });
    for (const [name, condition] of host.conditions) state.conditions.set(name, condition);
    const interfaces = watchInterfaces({
      run: runCommand,
      prefixes: config.podInterfacePrefixes,
      trunkPrefix: config.trunkInterfacePrefix,
      isClosed: config.newPods === 'closed',
      log: log.child('kernel'),
      after,
    });
    state.conditions.set('pod-interfaces', interfaces.condition);
    const checkpoint = checkpointOf(config, log.child('kernel'));
    if (checkpoint) state.conditions.set('vpc-cni-checkpoint', checkpoint.condition);
    const agent = new Agent({
      nodeName: config.nodeName,
      cluster,
      kernel: neighbours.kernel,
      layout: layoutOf(config),
      defaultMode: config.mode,
      minGapMs: config.minGapMs,
      resyncIntervalMs: config.resyncIntervalMs,
      clock: systemClock,
      random: Math.random,
      firstGeneration: firstGeneration(config),
      ...(epochs ? { freeEpochs: epochs.freeEpochs } : {}),
      interfaces,
      ...(checkpoint ? { earlyAddresses: checkpoint } : {}),
      missingFeatures,
      observer: neighbours.observing(observe(metrics, log, kernel)),
    });
    state.agent = agent;
    state.conditions.set('node-known', () => nodeReady(config.nodeName, agent.status()));
    state.startProblem = undefined;
    agent.start(signal);
    neighbours.follow(agent);
    await aborted(signal);
    log.info('stopping: the rules stay in the kernel');
    bridges.stop();
    neighbours.stop();
    host.stop();
    interfaces.stop();
    checkpoint?.stop();
    await agent.stop();
    connection.close();
    return 0;
  } catch (error) {
    if (signal.aborted) return 0;
    log.error('cannot start', { error });
    return 1;
  } finally {
    setsCommand.stop();
    await server?.close();
    agentLog.close();
  }
}

/** What the health server looks at; filled in as the parts come up. */
interface RunState {
  agent: Agent | undefined;
  cluster: ClusterWatch | undefined;
  startProblem: string | undefined;
  /** Of parts that answer for themselves, by name. */
  readonly conditions: Map<string, () => ConditionState>;
}

function apiAccess(config: AgentConfig): { kubeconfig: string } | { serviceAccountDir: string } {
  const access = config.apiAccess;
  return access.kind === 'kubeconfig' ? { kubeconfig: access.path } : { serviceAccountDir: access.dir };
}

function checkpointOf({ vpcCniCheckpoint: file }: AgentConfig, log: Logger): CheckpointWatch | undefined {
  return file === null ? undefined : watchCheckpoint(file, log, after);
}

function layoutOf(config: AgentConfig): Omit<Layout, 'mode'> {
  const perSecond = config.dropLogRatePerSecond;
  return {
    trunkInterfacePrefix: config.trunkInterfacePrefix,
    ...(config.newPods === 'closed' ? { newPods: { interfacePrefixes: config.podInterfacePrefixes } } : {}),
    ...(config.connmarkMask === null ? {} : { marks: { mask: config.connmarkMask } }),
    ...(perSecond === 0 ? {} : { log: { group: config.nflogGroup, perSecond, burst: perSecond * LOG_BURST_SECONDS } }),
  };
}

/** Any generation will do on a host that has none; a random one makes stamps left by an uninstalled agent unlikely to count. */
function firstGeneration(config: AgentConfig): number {
  return config.connmarkMask === null ? 1 : 1 + randomInt(generationCount({ mask: config.connmarkMask }));
}

function serveStatus(
  config: AgentConfig,
  metrics: AgentMetrics,
  state: RunState,
  log: Logger,
): ServingServer | undefined {
  const { httpAddress } = config;
  if (httpAddress === null) return undefined;
  metrics.beforeScrape(() => {
    metrics.podsWaiting(state.agent?.status().waitingPods ?? 0);
    for (const kind of state.cluster?.status() ?? []) {
      metrics.objects(kind.kind, kind.objects);
      metrics.watchStaleness(kind.kind, kind.staleMs / 1000);
      if (kind.lastHeardMs > 0) metrics.watchLastHeard(kind.kind, kind.lastHeardMs);
    }
  });
  const providers = {
    ready: () => readiness(state),
    details: () => ({ watches: watchDetails(state.cluster?.status() ?? [], Date.now()) }),
    metrics: () => metrics.scrape(),
    plan: () => planPage(state.agent?.status()),
  };
  const onError = (path: string, error: unknown): void => log.error(`cannot answer ${path}`, { error });
  const { httpTokenFile: tokenFile } = config;
  const token = tokenFile === null ? {} : { readToken: async () => (await readFile(tokenFile, 'utf8')).trim() };
  return keepServing(() => startStatusServer({ ...httpAddress, providers, onError, ...token }), log);
}

function readiness(state: RunState): ReadyCondition[] {
  const status = state.agent?.status();
  return [
    {
      name: 'kernel-tools',
      ok: state.startProblem === undefined,
      reason: state.startProblem ?? 'iptables and ipset answer',
    },
    { name: 'informers-synced', ...informersReady(state.cluster) },
    { name: 'first-commit', ...commitReady(status) },
    { name: 'last-pass', ...lastPassReady(status) },
    { name: 'families', ...familiesReady(status, state.cluster) },
    { name: 'kernel-features', ...featuresReady(status, state.cluster) },
    ...[...state.conditions].map(([name, condition]) => ({ name, ...condition() })),
  ];
}
