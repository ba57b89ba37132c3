/** Outcomes of syncs -> metrics. */
import type { SyncInfo } from '../agent/agent.ts';
import type { NodeIntent } from '../compile/intent.ts';
import type { SyncOutcome } from '../dataplane/dataplane.ts';
import type { AgentMetrics } from './metrics.ts';

import { SYNC_PHASES } from '../dataplane/dataplane.ts';

/** To be called with each sync. What takes looking at everything is counted when somebody asks. */
export function createSyncMetrics(metrics: AgentMetrics): (outcome: SyncOutcome, info: SyncInfo) => void {
  let last: { readonly outcome: SyncOutcome; readonly info: SyncInfo } | undefined;
  metrics.beforeScrape(() => last && measureRuleset(metrics, last.outcome, last.info));
  return (outcome, info) => {
    measureSync(metrics, outcome, info);
    if (outcome.change) last = { outcome, info };
  };
}

function measureSync(metrics: AgentMetrics, outcome: SyncOutcome, info: SyncInfo): void {
  metrics.sync(info.verdict, Date.now());
  if (outcome.revision !== undefined) metrics.revision(outcome.revision);
  if (info.intent) metrics.phase('compile', info.compileSeconds);
  for (const phase of SYNC_PHASES) {
    const seconds = outcome.seconds[phase];
    if (seconds !== undefined) metrics.phase(phase, seconds);
  }
  if (info.programmingSeconds !== undefined) metrics.programmed(info.programmingSeconds);
  for (const failure of outcome.failures) if (failure.tool) metrics.restoreFailure(failure.tool);
}

function measureRuleset(metrics: AgentMetrics, { change }: SyncOutcome, { intent, problems, verdict }: SyncInfo): void {
  if (!change) return;
  metrics.rulesetSize({
    ...change.size(),
    isolatedPods: {
      ingress: intent?.endpoints.filter((endpoint) => endpoint.programs.ingress !== undefined).length ?? 0,
      egress: intent?.endpoints.filter((endpoint) => endpoint.programs.egress !== undefined).length ?? 0,
    },
    policies: policyCounts(intent),
    policyProblems: problems,
    epoch: change.epoch ?? 0,
    waitingNamespaces: intent?.waiting.length ?? 0,
    pendingSteps: verdict === 'done' ? 0 : change.steps.length,
  });
}

function policyCounts(intent: NodeIntent | undefined): { active: number; inactive: number } {
  if (!intent) return { active: 0, inactive: 0 };
  const active = new Set(
    intent.programs.flatMap(({ policies }) => policies.map((ref) => `${ref.namespace}/${ref.name}`)),
  ).size;
  return { active, inactive: Math.max(0, intent.policyCount - active) };
}
