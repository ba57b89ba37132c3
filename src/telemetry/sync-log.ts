/** What a sync tells the log and the metrics. */
import type { NodeIntent } from '../compile/intent.ts';
import type { Kernel } from '../dataplane/iptables/kernel/kernel.ts';
import type { ClusterLog } from '../cluster/observe.ts';
import type { createClusterWatch } from '../cluster/watch-cluster.ts';
import type { AgentMetrics } from './metrics.ts';
import type { Logger } from './log.ts';
import type { AgentObserver, SyncInfo } from '../agent/agent.ts';
import type { ChangeCounts, SyncOutcome } from '../dataplane/dataplane.ts';

import { SYNC_PHASES } from '../dataplane/dataplane.ts';
import { createLockLog } from './lock-log.ts';
import { createUnreadLog, isUnread } from './unread-log.ts';
import { createProblemLog } from './problem-log.ts';
import { MODULES_HINT } from './readiness.ts';

/** The log shows where the time went from here on. */
const SLOW_PASS_SECONDS = 0.5;

export function clusterLog(log: Logger): ClusterLog {
  return {
    debug: (fields, message) => log.debug(message, { ...fields }),
    info: (fields, message) => log.info(message, { ...fields }),
    warn: (fields, message) => log.warn(message, { ...fields }),
  };
}

export function watchObserver(
  metrics: AgentMetrics,
): NonNullable<Parameters<typeof createClusterWatch>[0]['observer']> {
  return {
    onEvent: (kind, type) => metrics.watchEvent(kind, type),
    onRestart: (kind, reason) => metrics.watchRestart(kind, reason),
    onListed: (kind, seconds) => metrics.listDuration(kind, seconds),
    onMissedFoundByRelist: (kind, count) => metrics.watchMissedEvents(kind, count),
  };
}

export function observe(metrics: AgentMetrics, log: Logger, kernel: Kernel): AgentObserver {
  const logSync = createSyncLog(log.child('reconcile'), kernel);
  let last: { readonly outcome: SyncOutcome; readonly info: SyncInfo } | undefined;
  // What takes looking at everything is counted when somebody asks, not with each pass.
  metrics.beforeScrape(() => last && measureRuleset(metrics, last.outcome, last.info));
  return {
    onMode: (mode, source) => {
      metrics.mode(mode);
      log.info(`mode ${mode}`, { source });
    },
    onSync: (outcome, info) => {
      measureSync(metrics, outcome, info);
      if (outcome.change) last = { outcome, info };
      logSync(outcome, info);
    },
    onProblems: createProblemLog(log.child('policy'), () => performance.now()),
    onGate: (result) => logGate(log.child('reconcile'), result),
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
  else log.error(`new pods are NOT kept out before the first pass, which tries again: ${result.failed}`);
}

function measureSync(metrics: AgentMetrics, outcome: SyncOutcome, info: SyncInfo): void {
  metrics.pass(info.verdict, Date.now());
  if (info.intent) metrics.phase('compile', info.compileSeconds);
  for (const phase of SYNC_PHASES) {
    const seconds = outcome.seconds[phase];
    if (seconds !== undefined) metrics.phase(phase, seconds);
  }
  if (info.programmingSeconds !== undefined) metrics.programmed(info.programmingSeconds);
  for (const failure of outcome.failures) if (failure.tool) metrics.restoreFailure(failure.tool);
}

function measureRuleset(metrics: AgentMetrics, outcome: SyncOutcome, info: SyncInfo): void {
  const { change } = outcome;
  const { intent } = info;
  if (!change) return;
  metrics.rulesetSize({
    ...change.size(),
    isolatedPods: {
      ingress: intent?.subjects.filter((subject) => subject.classes.ingress !== undefined).length ?? 0,
      egress: intent?.subjects.filter((subject) => subject.classes.egress !== undefined).length ?? 0,
    },
    policies: policyCounts(intent),
    policyProblems: info.problems,
    generation: change.epoch ?? 0,
    waitingNamespaces: intent?.waiting.length ?? 0,
    pendingSteps: info.verdict === 'done' ? 0 : change.steps.length,
  });
}

function policyCounts(intent: NodeIntent | undefined): { active: number; inactive: number } {
  if (!intent) return { active: 0, inactive: 0 };
  const active = new Set(
    intent.classes.flatMap(({ policies }) => policies.map((ref) => `${ref.namespace}/${ref.name}`)),
  ).size;
  return { active, inactive: Math.max(0, intent.policyCount - active) };
}

function createSyncLog(log: Logger, kernel: Kernel): (outcome: SyncOutcome, info: SyncInfo) => void {
  // What goes on unchanged for long is told once: a plan that is only shown, a set that somebody else uses.
  let shown = '';
  let waiting = '';
  let held = '';
  let lacking = '';
  const lockLog = createLockLog(log, () => performance.now());
  const unreadLog = createUnreadLog(log, () => performance.now());
  let compiling = '';
  return (outcome, info) => {
    lacking = logMissing(log, outcome, lacking);
    unreadLog(outcome);
    logTrouble(log, outcome, lockLog);
    logWork(log, outcome, info, kernel);
    const { change } = outcome;
    const text = outcome.mode === 'dry-run' && change && !change.isEmpty ? change.text() : '';
    if (text !== '' && text !== shown) log.info('plan', { plan: text });
    shown = text;
    const sets = change?.onlyWaits ? outcome.busySets.join(' ') : '';
    if (sets !== '' && sets !== waiting) log.warn('cannot be destroyed: in use by rules that are not ours', { sets });
    waiting = sets;
    const namespaces = info.intent?.waiting.join(' ') ?? '';
    if (namespaces !== '' && namespaces !== compiling) {
      log.debug('much to compile: what changed there follows, their pods are judged as before meanwhile', {
        namespaces,
      });
    }
    compiling = namespaces;
    const chains = outcome.busyChains.join(' ');
    if (chains !== '' && chains !== held)
      log.warn(
        'cannot be deleted: rules that are not ours lead there (iptables-save -t mangle shows them); what is enforced is right all the same',
        { chains },
      );
    held = chains;
  };
}

/** Told when it changes; returns what was told. */
function logMissing(log: Logger, { lacks, mode }: SyncOutcome, told: string): string {
  if (mode !== 'enforce' && mode !== 'audit') return told;
  const lines = lacks.map((lack) => lack.text);
  const text = lines.join('\n');
  if (text === told) return told;
  const level = lacks.some(({ neededFor }) => neededFor === 'policies') ? 'error' : 'warn';
  for (const line of lines) log[level](`the kernel lacks ${line}; ${MODULES_HINT}`);
  if (lines.length === 0) log.info('the kernel takes all rules now');
  return text;
}

function logTrouble(log: Logger, outcome: SyncOutcome, lockLog: ReturnType<typeof createLockLog>): void {
  lockLog(outcome.failures);
  for (const failure of outcome.failures) {
    if (failure.reason === 'lock' || isUnread(outcome, failure)) continue;
    const { tool, reason, policies } = failure;
    log.error(`not written, trying again: ${failure.message}`, {
      tool,
      reason,
      ...(policies.length > 0 ? { policies } : {}),
    });
  }
  for (const { address, wanted, got } of outcome.change?.degraded ?? [])
    log.warn('held back', { address, wanted, got });
}

function logWork(log: Logger, outcome: SyncOutcome, info: SyncInfo, kernel: Kernel): void {
  const { change } = outcome;
  const waiting = change?.setsToFill ?? 0;
  const changed = change !== undefined && !change.isEmpty && !change.onlyWaits;
  const fields = {
    mode: outcome.mode,
    reasons: info.reasons,
    ms: Math.round(info.seconds * 1000),
    ...(info.programmingSeconds === undefined ? {} : { sinceChangeMs: Math.round(info.programmingSeconds * 1000) }),
    ...(change ? nonZero(change.counts) : {}),
    ...(waiting > 0 ? { setsToFill: waiting } : {}),
    ...(info.seconds > SLOW_PASS_SECONDS ? { phases: { compile: info.compileSeconds, ...outcome.seconds } } : {}),
  };
  if (info.verdict === 'failed' || info.verdict === 'locked')
    log.debug('not all went in', { ...fields, stepsApplied: outcome.stepsApplied });
  else if (info.first) log.info(`first pass done on ${kernel.backend}`, fields);
  else if (changed) log.info(outcome.mode === 'dry-run' ? 'would change the kernel' : 'changed the kernel', fields);
  else log.debug('nothing to do', fields);
}

function nonZero(counts: ChangeCounts): Record<string, number> {
  return Object.fromEntries(Object.entries(counts).filter(([, count]) => count !== 0));
}
