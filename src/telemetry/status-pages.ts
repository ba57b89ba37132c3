/** What the agent's HTTP pages show, of parts that come up one after the other. */
import { readFile } from 'node:fs/promises';
import type { AgentStatus } from '../agent/agent.ts';
import type { ObjectKind } from '../core/vocabulary.ts';
import type { ClusterWatch } from '../cluster/watch-cluster.ts';
import type { TracedFlow, TracedVerdict } from '../dataplane/dataplane.ts';
import type { Condition } from './condition.ts';
import type { ListenAddress, PagePath, ReadyCondition } from './health.ts';
import type { Logger } from './log.ts';
import type { AgentMetrics } from './metrics.ts';

import type { FlowsPage } from './flows-page.ts';
import { startStatusServer } from './health.ts';
import { POLICY_STATES, policyJudge, type PolicyState } from './policy-state.ts';
import { type PolicyFilter, type StatusFacts, statusPage } from './status-page.ts';
import { TraceGate, type TracePage, tracePage } from './trace-page.ts';
import { systemClock } from '../core/clock.ts';
import { keepServing, type ServingServer } from './keep-serving.ts';
import {
  commitReady,
  familiesReady,
  featuresReady,
  informersReady,
  lastSyncReady,
  modesReady,
  planPage,
} from './readiness.ts';
import { watchDetails } from './watch-staleness.ts';

/** Filled in as the parts come up. */
export interface StatusSources {
  agent: { status(): AgentStatus } | undefined;
  cluster: ClusterWatch | undefined;
  /** The page of denied flows; undefined: nothing reads them yet. */
  denials: (() => unknown) | undefined;
  /** Traces flows through the rules of this node; undefined: nothing can be read yet. */
  trace: ((flows: readonly TracedFlow[]) => Promise<readonly TracedVerdict[]>) | undefined;
  /** Connections that are alive on this node; undefined: nothing can be read yet. */
  flows: (() => Promise<FlowsPage>) | undefined;
  /** Undefined: none is open yet. */
  dataplane: () => StatusFacts['dataplane'];
  /** Why the agent cannot begin; undefined once it has begun. */
  startProblem: string | undefined;
  /** Of parts that answer for themselves. */
  readonly conditions: Condition[];
}

interface StatusPagesOptions {
  /** Null: no pages. */
  readonly address: ListenAddress | null;
  /** Of a second server, for those who come from other hosts; null: none. */
  readonly metricsAddress: ListenAddress | null;
  /** Null: no token is asked for. */
  readonly tokenFile: string | null;
  readonly sources: StatusSources;
  readonly nodeName: string;
  /** Of the agent. */
  readonly version: string;
  readonly metrics: AgentMetrics;
  readonly log: Logger;
  /** The end of what was logged. */
  readonly logTail: () => string;
}

/** What is served on the metrics address. */
const METRICS_PAGES: readonly PagePath[] = ['/healthz', '/metrics', '/status', '/trace'];
/** And what besides to those who have the token: it tells of single flows and addresses. */
const WITH_TOKEN: readonly PagePath[] = ['/plan', '/denials', '/flows'];

export function serveStatusPages(options: StatusPagesOptions): ServingServer {
  const { address, metricsAddress, tokenFile, sources, metrics, log } = options;
  metrics.beforeScrape(() => measureSources(metrics, sources));
  const gate = new TraceGate(() => systemClock.now());
  const flowsGate = new TraceGate(() => systemClock.now());
  const providers = {
    ready: () => readiness(sources),
    details: () => ({ watches: watchDetails(sources.cluster?.status() ?? [], Date.now()) }),
    metrics: () => metrics.scrape(),
    status: (filter: PolicyFilter) => statusPage(statusFacts(options), filter),
    trace: (flows: readonly TracedFlow[]) => gate.run(() => traced(options, flows)),
    flows: () => flowsGate.run(() => liveFlows(sources)),
    plan: () => planPage(sources.agent?.status()),
    log: options.logTail,
    denials: () => sources.denials?.() ?? { reader: 'starting', denials: [] },
  };
  const onError = (path: string, error: unknown): void => log.error(`cannot answer ${path}`, { error });
  const token = tokenFile === null ? {} : { readToken: async () => (await readFile(tokenFile, 'utf8')).trim() };
  const common = { providers, onError, ...token };
  const servers: ServingServer[] = [];
  if (address !== null) servers.push(keepServing(() => startStatusServer({ ...address, ...common }), log));
  if (metricsAddress !== null) {
    const only = tokenFile === null ? METRICS_PAGES : [...METRICS_PAGES, ...WITH_TOKEN];
    const own = { ...metricsAddress, ...common, flag: 'metrics-address', only };
    servers.push(keepServing(() => startStatusServer(own), log));
  }
  return { close: async () => void (await Promise.all(servers.map((server) => server.close()))) };
}

async function traced({ sources, nodeName }: StatusPagesOptions, flows: readonly TracedFlow[]): Promise<TracePage> {
  const before = sources.agent?.status();
  if (!sources.trace) throw new Error(sources.startProblem ?? 'the agent has not begun');
  return tracePage(flows, { nodeName, agent: before, verdicts: await sources.trace(flows) });
}

function liveFlows({ flows, startProblem }: StatusSources): Promise<FlowsPage> {
  if (!flows) throw new Error(startProblem ?? 'the agent has not begun');
  return flows();
}

function statusFacts({ sources, nodeName, version }: StatusPagesOptions): StatusFacts {
  return {
    agentVersion: version,
    nodeName,
    agent: sources.agent?.status(),
    dataplane: sources.dataplane(),
    kinds: sources.cluster?.status() ?? [],
    conditions: readiness(sources),
    wallMs: systemClock.wallTime(),
    nowMs: systemClock.now(),
  };
}

function measureSources(metrics: AgentMetrics, sources: StatusSources): void {
  const { agent, cluster } = sources;
  metrics.readyConditions(readiness(sources));
  const status = agent?.status();
  metrics.podsWaiting(status?.waitingPods ?? 0);
  if (status) measureProgress(metrics, status);
  for (const kind of cluster?.status() ?? []) {
    metrics.objects(kind.kind, kind.objects);
    metrics.watchStaleness(kind.kind, kind.staleMs / 1000);
    if (kind.lastHeardMs > 0) metrics.watchLastHeard(kind.kind, kind.lastHeardMs);
  }
}

function measureProgress(metrics: AgentMetrics, status: AgentStatus): void {
  const wall = (ms: number): number => systemClock.wallTime() - (systemClock.now() - ms);
  if (status.lastQueuedMs !== undefined) metrics.lastQueued(wall(status.lastQueuedMs));
  for (const [kind, version] of Object.entries(status.versions))
    if (/^\d+$/.test(version)) metrics.resourceVersion(kind as ObjectKind, Number(version));
  const judge = policyJudge(status);
  const counts = Object.fromEntries(POLICY_STATES.map((state) => [state, 0])) as Record<PolicyState, number>;
  for (const [key, progress] of status.policies) counts[judge(key, progress).state]++;
  metrics.policyStates(counts);
}

function readiness({ agent, cluster, startProblem, conditions }: StatusSources): ReadyCondition[] {
  const status = agent?.status();
  return [
    {
      name: 'kernel-tools',
      ok: startProblem === undefined,
      reason: startProblem ?? 'the tools of the data plane answer',
    },
    { name: 'informers-synced', ...informersReady(cluster) },
    { name: 'first-commit', ...commitReady(status) },
    { name: 'modes', ...modesReady(status) },
    { name: 'last-sync', ...lastSyncReady(status) },
    { name: 'families', ...familiesReady(status, cluster) },
    { name: 'kernel-features', ...featuresReady(status, cluster) },
    ...conditions.map(({ name, state }) => ({ name, ...state() })),
  ];
}
