/** The daemon: builds the edges, starts the agent, owns health and shutdown. */
import { randomInt } from 'node:crypto';
import manifest from '../../package.json' with { type: 'json' };
import type { Problem } from '../policy/model.ts';
import type { Layout } from '../render/ruleset.ts';
import type { Backend, Kernel } from '../kernel/kernel.ts';
import type { BridgeFilter } from '../kernel/bridge-filter.ts';
import type { ClusterLog } from '../cluster/observe.ts';
import type { ClusterWatch } from '../cluster/watch-cluster.ts';
import type { AgentMetrics } from '../status/metrics.ts';
import type { PlanPage, ReadyCondition, StatusServer } from '../status/health.ts';
import type { Logger } from '../status/log.ts';
import type { AgentObserver, AgentStatus, PassInfo } from '../agent/agent.ts';
import type { PassOutcome } from '../agent/reconcile.ts';
import type { AgentConfig } from './config.ts';

import { generationCount } from '../render/write-text.ts';
import { isEmptyPlan, planText } from '../plan/plan.ts';
import { readBridgeFilter } from '../kernel/bridge-filter.ts';
import { detectBackend, detectFamilies } from '../kernel/backend.ts';
import { createLinuxKernel, WRITE_SETS } from '../kernel/linux-kernel.ts';
import { createFlowMarks } from '../kernel/flow-marks.ts';
import { CommandFailed, type RunCommand, runCommand } from '../kernel/command.ts';
import { keepOneWaiting } from '../kernel/command-in-waiting.ts';
import { loadConnection } from '../cluster/connection.ts';
import { createClusterWatch } from '../cluster/watch-cluster.ts';
import { createAgentMetrics, createRegistry } from '../status/metrics.ts';
import { startStatusServer } from '../status/health.ts';
import { createLogger } from '../status/log.ts';
import { Agent } from '../agent/agent.ts';
import { SpareGenerations } from '../agent/spare-generations.ts';
import { describeConfig } from './config.ts';

/** Bridges come and go with pods; some file reads each. */
const BRIDGE_CHECK_INTERVAL_MS = 10_000;
/** While pods bypass us, whoever repairs that wants to see it. */
const BRIDGE_RECHECK_INTERVAL_MS = 1_000;
/** A node without iptables yet (an init container installs it, say) is asked again, not crash-looped. */
const KERNEL_RETRY_MS = 2_000;
/** The log shows where the time went from here on. */
const SLOW_PASS_SECONDS = 0.5;
/** With the default rate a burst of this many seconds' worth is logged before the limit bites. */
const LOG_BURST_SECONDS = 2;

/**
 * Runs the agent until `signal` aborts; resolves to the exit code. On the way out the rules stay in the kernel (S-79).
 * Resolves to 1 if the agent cannot start at all: no usable address to serve on, no way to reach an API server.
 */
export async function runAgent(config: AgentConfig, { signal }: { signal: AbortSignal }): Promise<number> {
  const log = createLogger({ level: config.logLevel });
  const metrics = createAgentMetrics(createRegistry(), { processMetrics: true });
  metrics.build(manifest.version);
  log.info('starting', { version: manifest.version, node: process.version, ...describeConfig(config) });
  const setsCommand = keepOneWaiting(WRITE_SETS);
  const state: RunState = { agent: undefined, cluster: undefined, bridges: undefined, startProblem: 'starting' };
  const server = await startServer(config, metrics, state, log);
  try {
    const connection = await loadConnection({
      ...apiAccess(config),
      env: process.env,
      onWarning: (message) => log.child('watch').warn(message),
    });
    const cluster = createClusterWatch({
      connection,
      nodeName: config.nodeName,
      observer: watchObserver(metrics),
      log: clusterLog(log.child('watch')),
    });
    state.cluster = cluster;
    const kernel = await openKernel(config, setsCommand.run, metrics, log, state, signal);
    if (!kernel) return 0;
    const stopBridgeChecks = watchBridges(state, log);
    const agent = new Agent({
      nodeName: config.nodeName,
      cluster,
      kernel,
      layout: layoutOf(config),
      defaultMode: config.mode,
      minGapMs: config.minGapMs,
      resyncIntervalMs: config.resyncIntervalMs,
      clock: { now: () => performance.now(), after },
      random: Math.random,
      firstGeneration: firstGeneration(config),
      ...spareGenerations(config, log.child('kernel')),
      observer: observe(metrics, log, kernel),
    });
    state.agent = agent;
    state.startProblem = undefined;
    agent.start(signal);
    await aborted(signal);
    log.info('stopping: the rules stay in the kernel');
    stopBridgeChecks();
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
  }
}

/** What the health server looks at; filled in as the parts come up. */
interface RunState {
  agent: Agent | undefined;
  cluster: ClusterWatch | undefined;
  bridges: BridgeFilter | undefined;
  startProblem: string | undefined;
}

function apiAccess(config: AgentConfig): { kubeconfig: string } | { serviceAccountDir: string } {
  const access = config.apiAccess;
  return access.kind === 'kubeconfig' ? { kubeconfig: access.path } : { serviceAccountDir: access.dir };
}

function layoutOf(config: AgentConfig): Omit<Layout, 'mode'> {
  const perSecond = config.dropLogRatePerSecond;
  return {
    trunkInterfacePrefix: config.trunkInterfacePrefix,
    ...(config.connmarkMask === null ? {} : { marks: { mask: config.connmarkMask } }),
    ...(perSecond === 0 ? {} : { log: { group: config.nflogGroup, perSecond, burst: perSecond * LOG_BURST_SECONDS } }),
  };
}

/** Any generation will do on a host that has none; a random one makes stamps left by an uninstalled agent unlikely to count. */
function firstGeneration(config: AgentConfig): number {
  return config.connmarkMask === null ? 1 : 1 + randomInt(generationCount({ mask: config.connmarkMask }));
}

function spareGenerations(config: AgentConfig, log: Logger): { spareGenerations?: SpareGenerations } {
  if (config.connmarkMask === null) return {};
  const marks = { mask: config.connmarkMask };
  const onDoubt = (why: string): void =>
    log.warn(
      `${why}; a flow that is silent during ${generationCount(marks)} changes that take something away ` +
        'may go on although it is denied',
    );
  return { spareGenerations: new SpareGenerations({ marks, flows: createFlowMarks(runCommand), onDoubt, after }) };
}

function after(ms: number, callback: () => void): () => void {
  const timer = setTimeout(callback, ms);
  return () => clearTimeout(timer);
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

// -------------------------------------------------------------------------------------------------------------- kernel

/** Opens the kernel, waiting for the tools to appear; undefined if told to stop meanwhile. */
async function openKernel(
  config: AgentConfig,
  run: RunCommand,
  metrics: AgentMetrics,
  log: Logger,
  state: RunState,
  signal: AbortSignal,
): Promise<Kernel | undefined> {
  const kernelLog = log.child('kernel');
  while (!signal.aborted) {
    try {
      return await tryKernel(config, run, metrics, kernelLog);
    } catch (error) {
      if (!(error instanceof CommandFailed)) throw error;
      const problem = `the netfilter tools do not work: ${error.message}`;
      if (problem !== state.startProblem)
        kernelLog.error(`${problem}; no rule is changed until they do, trying again every ${KERNEL_RETRY_MS / 1000} s`);
      state.startProblem = problem;
      await sleep(KERNEL_RETRY_MS, signal);
    }
  }
  return undefined;
}

async function tryKernel(config: AgentConfig, run: RunCommand, metrics: AgentMetrics, log: Logger): Promise<Kernel> {
  const detected: { backend: Backend; why: string } =
    config.backend === 'auto' ? await detectBackend(runCommand) : { backend: config.backend, why: 'set by --backend' };
  const families = await detectFamilies(runCommand, detected.backend);
  await runCommand({ argv: ['ipset', '--version'], timeoutMs: 10_000 });
  metrics.backend(detected.backend);
  log.info(`writing to ${detected.backend}: ${detected.why}`, { families });
  if (!families.includes(6)) log.warn('IPv6 is not filtered: ip6tables cannot list table mangle on this host');
  return createLinuxKernel({
    backend: detected.backend,
    families,
    run,
    lockWaitSeconds: config.xtablesLockWaitSeconds,
    onCommand: ({ tool, write, durationMs, waitedForLock }) => {
      if (write) metrics.kernelWrite(tool);
      if (waitedForLock) metrics.xtablesLockWait(durationMs / 1000);
      log.debug('command', { tool, write, durationMs: Math.round(durationMs) });
    },
  });
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const wake = (): void => {
      cancel();
      signal.removeEventListener('abort', wake);
      resolve();
    };
    const cancel = after(ms, wake);
    signal.addEventListener('abort', wake, { once: true });
  });
}

function watchBridges(state: RunState, log: Logger): () => void {
  let reported = '';
  let cancel = (): void => {};
  let stopped = false;
  const check = async (): Promise<void> => {
    const found = await readBridgeFilter();
    if (stopped) return;
    state.bridges = found;
    const isMissing = found.missing.length > 0;
    cancel = after(isMissing ? BRIDGE_RECHECK_INTERVAL_MS : BRIDGE_CHECK_INTERVAL_MS, () => void check());
    const text = bridgeReason(found);
    if (text === reported) return;
    reported = text;
    if (isMissing) log.error(text);
    else if (found.bridges.length > 0) log.info(text);
  };
  void check();
  return () => {
    stopped = true;
    cancel();
  };
}

// -------------------------------------------------------------------------------------------------------------- health

async function startServer(
  config: AgentConfig,
  metrics: AgentMetrics,
  state: RunState,
  log: Logger,
): Promise<StatusServer | undefined> {
  if (config.httpAddress === null) return undefined;
  metrics.beforeScrape(() => {
    for (const kind of state.cluster?.status() ?? []) {
      metrics.objects(kind.kind, kind.objects);
      if (kind.lastHeardMs > 0) metrics.watchLastHeard(kind.kind, kind.lastHeardMs);
    }
  });
  return startStatusServer({
    ...config.httpAddress,
    providers: { ready: () => readiness(state), metrics: () => metrics.scrape(), plan: () => planPage(state) },
    onError: (path, error) => log.error(`cannot answer ${path}`, { error }),
  });
}

function readiness(state: RunState): ReadyCondition[] {
  const status = state.agent?.status();
  const bridges = state.bridges;
  return [
    {
      name: 'kernel-tools',
      ok: state.startProblem === undefined,
      reason: state.startProblem ?? 'iptables and ipset answer',
    },
    { name: 'informers-synced', ...informersReady(state.cluster) },
    { name: 'first-commit', ...commitReady(status) },
    { name: 'last-pass', ...lastPassReady(status) },
    {
      name: 'bridge-netfilter',
      ok: bridges === undefined || bridges.missing.length === 0,
      reason: bridges === undefined ? 'not looked at yet' : bridgeReason(bridges),
    },
  ];
}

function informersReady(cluster: ClusterWatch | undefined): { ok: boolean; reason: string } {
  if (!cluster) return { ok: false, reason: 'not connected to an API server yet' };
  const waiting = cluster.status().filter((kind) => !kind.listed);
  if (waiting.length === 0) return { ok: true, reason: 'all kinds were listed' };
  const why = waiting.map((kind) => `${kind.kind}: ${kind.problem ?? 'listing'}`).join('; ');
  return { ok: false, reason: `not listed yet: ${why}` };
}

function commitReady(status: AgentStatus | undefined): { ok: boolean; reason: string } {
  if (status?.programmed) return { ok: true, reason: `mode ${status.mode}: programmed` };
  return { ok: false, reason: 'the rules were not written yet' };
}

function lastPassReady(status: AgentStatus | undefined): { ok: boolean; reason: string } {
  const outcome = status?.lastOutcome;
  if (!status || !outcome) return { ok: false, reason: 'no pass yet' };
  const [failure] = outcome.failures;
  if (!failure) return { ok: true, reason: 'everything went in' };
  return { ok: false, reason: `${status.failedPasses} passes in a row failed: ${failure.message}` };
}

function bridgeReason({ bridges, missing }: BridgeFilter): string {
  if (bridges.length === 0) return 'no bridge with pods';
  if (missing.length === 0) return `traffic on ${bridges.join(', ')} is seen`;
  return (
    `pods on ${bridges.join(', ')} reach each other unseen, so policies between them are NOT enforced: ` +
    `set ${missing.map((name) => `${name}=1`).join(' and ')} (module br_netfilter)`
  );
}

function planPage(state: RunState): PlanPage | undefined {
  const outcome = state.agent?.status().lastOutcome;
  if (!outcome?.plan) return undefined;
  const { plan, mode } = outcome;
  const applied = mode !== 'dry-run';
  const title = applied ? 'last plan, applied' : 'dry-run: would be applied';
  return {
    text: `# mode ${mode}, ${title}\n${planText(plan)}`,
    value: {
      mode,
      applied,
      summary: plan.summary,
      heldBack: plan.heldBack,
      steps: plan.steps,
      failures: outcome.failures,
    },
  };
}

// ------------------------------------------------------------------------------------------------------ what to tell whom

function clusterLog(log: Logger): ClusterLog {
  return {
    debug: (fields, message) => log.debug(message, { ...fields }),
    info: (fields, message) => log.info(message, { ...fields }),
    warn: (fields, message) => log.warn(message, { ...fields }),
  };
}

function watchObserver(metrics: AgentMetrics): NonNullable<Parameters<typeof createClusterWatch>[0]['observer']> {
  return {
    onEvent: (kind, type) => metrics.watchEvent(kind, type),
    onRestart: (kind, reason) => metrics.watchRestart(kind, reason),
    onListed: (kind, seconds) => metrics.listDuration(kind, seconds),
    onMissedFoundByRelist: (kind, count) => metrics.watchMissedEvents(kind, count),
  };
}

function observe(metrics: AgentMetrics, log: Logger, kernel: Kernel): AgentObserver {
  const logPass = createPassLog(log.child('reconcile'), kernel);
  let last: { readonly outcome: PassOutcome; readonly info: PassInfo } | undefined;
  // What takes looking at everything is counted when somebody asks, not with each pass.
  metrics.beforeScrape(() => last && measureRuleset(metrics, last.outcome, last.info));
  return {
    onMode: (mode, source) => {
      metrics.mode(mode);
      log.info(`mode ${mode}`, { source });
    },
    onPass: (outcome, info) => {
      measurePass(metrics, outcome, info);
      if (outcome.plan) last = { outcome, info };
      logPass(outcome, info);
    },
    onProblems: (problems) => logProblems(log.child('policy'), problems),
  };
}

function measurePass(metrics: AgentMetrics, outcome: PassOutcome, info: PassInfo): void {
  metrics.pass(info.verdict, Date.now());
  for (const [phase, seconds] of Object.entries(outcome.seconds))
    metrics.phase(phase as keyof typeof outcome.seconds, seconds);
  if (info.programmingSeconds !== undefined) metrics.programmed(info.programmingSeconds);
  for (const failure of outcome.failures) if (failure.tool) metrics.restoreFailure(failure.tool);
  if (outcome.mode !== 'dry-run') for (const drift of outcome.drift) metrics.driftRepaired(drift.kind);
}

function measureRuleset(metrics: AgentMetrics, outcome: PassOutcome, info: PassInfo): void {
  const { plan, intent } = outcome;
  if (!plan) return;
  const families = Object.values(plan.after.families);
  const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);
  metrics.rulesetSize({
    rules: sum(families.flatMap((family) => [...family.chains.values()].map((lines) => lines.length))),
    chains: sum(families.map((family) => family.chains.size)),
    sets: plan.after.sets.size,
    setEntries: sum([...plan.after.sets.values()].map((set) => set.members.size)),
    isolatedPods: {
      ingress: intent?.subjects.filter((subject) => subject.classes.ingress !== undefined).length ?? 0,
      egress: intent?.subjects.filter((subject) => subject.classes.egress !== undefined).length ?? 0,
    },
    policies: policyCounts(outcome),
    policyProblems: info.problems,
    generation: plan.generations[4] ?? 0,
    pendingSteps: info.verdict === 'done' ? 0 : plan.steps.length,
  });
}

function policyCounts({ intent }: PassOutcome): { active: number; inactive: number } {
  if (!intent) return { active: 0, inactive: 0 };
  const active = new Set(
    intent.classes.flatMap(({ policies }) => policies.map((ref) => `${ref.namespace}/${ref.name}`)),
  ).size;
  return { active, inactive: Math.max(0, intent.policyCount - active) };
}

function createPassLog(log: Logger, kernel: Kernel): (outcome: PassOutcome, info: PassInfo) => void {
  // What goes on unchanged for long is told once: a plan that is only shown, a set that somebody else uses.
  let shown = '';
  let waiting = '';
  return (outcome, info) => {
    logTrouble(log, outcome);
    logWork(log, outcome, info, kernel);
    const { plan } = outcome;
    const text = outcome.mode === 'dry-run' && plan && !isEmptyPlan(plan) ? planText(plan) : '';
    if (text !== '' && text !== shown) log.info('plan', { plan: text });
    shown = text;
    const sets = onlyWaits(outcome) ? outcome.busySets.join(' ') : '';
    if (sets !== '' && sets !== waiting) log.warn('cannot be destroyed: in use by rules that are not ours', { sets });
    waiting = sets;
  };
}

/** All that was left to do was to destroy sets which the kernel still does not let go of. */
function onlyWaits({ plan, busySets }: PassOutcome): boolean {
  if (!plan || isEmptyPlan(plan)) return false;
  return plan.steps.every(({ kind, lines }) => {
    return kind === 'destroy-sets' && lines.every(({ object }) => busySets.includes(object));
  });
}

function logTrouble(log: Logger, outcome: PassOutcome): void {
  const done = outcome.mode === 'dry-run' ? 'left as it is' : 'repaired';
  for (const drift of outcome.drift) log.warn(`${done}: ${drift.what}`, { kind: drift.kind, object: drift.object });
  for (const failure of outcome.failures) {
    const { tool, reason, policies } = failure;
    log.error(`not written, trying again: ${failure.message}`, {
      tool,
      reason,
      ...(policies.length > 0 ? { policies } : {}),
    });
  }
  for (const { address, wanted, got } of outcome.plan?.heldBack ?? []) log.warn('held back', { address, wanted, got });
}

function logWork(log: Logger, outcome: PassOutcome, info: PassInfo, kernel: Kernel): void {
  const { plan } = outcome;
  const changed = plan !== undefined && !isEmptyPlan(plan) && !onlyWaits(outcome);
  const fields = {
    mode: outcome.mode,
    reasons: info.reasons,
    ms: Math.round(info.seconds * 1000),
    ...(info.programmingSeconds === undefined ? {} : { sinceChangeMs: Math.round(info.programmingSeconds * 1000) }),
    ...(plan ? nonZero(plan.summary) : {}),
    ...(info.seconds > SLOW_PASS_SECONDS ? { phases: outcome.seconds } : {}),
  };
  if (info.first) log.info(`first pass done on ${kernel.backend}`, fields);
  else if (changed) log.info(outcome.mode === 'dry-run' ? 'would change the kernel' : 'changed the kernel', fields);
  else log.debug('nothing to do', fields);
}

function nonZero(summary: NonNullable<PassOutcome['plan']>['summary']): Record<string, number> {
  return Object.fromEntries(Object.entries(summary).filter(([, count]) => count !== 0));
}

function logProblems(log: Logger, problems: readonly Problem[]): void {
  if (problems.length === 0) log.info('no object has problems any more');
  for (const { object, field, message } of problems) {
    const name = object.namespace === undefined ? object.name : `${object.namespace}/${object.name}`;
    log.warn(`${object.kind} ${name}: ${field}: ${message}`);
  }
}
