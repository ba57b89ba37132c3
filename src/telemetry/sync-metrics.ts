/** Outcomes of syncs -> metrics. */
import type { SyncInfo } from '../agent/agent.ts';
import type { NodeIntent } from '../compile/intent.ts';
import type { Direction } from '../core/vocabulary.ts';
import type { DataplaneSize, SyncOutcome } from '../dataplane/dataplane.ts';
import type { AgentMetrics } from './metrics.ts';

import { SYNC_PHASES } from '../dataplane/dataplane.ts';
import { auditedPolicies, policiesOf } from './audited-policies.ts';

/** To be called with each sync. What takes looking at everything is counted when somebody asks. */
export function createSyncMetrics(metrics: AgentMetrics): (outcome: SyncOutcome, info: SyncInfo) => void {
  let last: { readonly outcome: SyncOutcome; readonly info: SyncInfo } | undefined;
  // Where a write failed it is not known what the kernel holds: about what it held before.
  let size: SyncOutcome['size'];
  metrics.beforeScrape(() => last && measureRuleset(metrics, last.outcome, last.info, size?.() ?? NOTHING));
  return (outcome, info) => {
    measureSync(metrics, outcome, info);
    size = outcome.size ?? size;
    if (outcome.change) last = { outcome, info };
  };
}

const NOTHING: DataplaneSize = { rules: 0, chains: 0, sets: 0, setEntries: 0 };

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

function measureRuleset(
  metrics: AgentMetrics,
  { change, mode }: SyncOutcome,
  { intent, problems, verdict }: SyncInfo,
  size: DataplaneSize,
): void {
  if (!change) return;
  // The plan of dry-run is of rules that are not there.
  const isPlanned = mode === 'dry-run';
  const isolated = (direction: Direction): number =>
    isPlanned ? 0 : (intent?.endpoints.filter(({ programs }) => programs[direction] !== undefined).length ?? 0);
  metrics.rulesetSize({
    ...size,
    isolatedPods: { ingress: isolated('ingress'), egress: isolated('egress') },
    policies: policyCounts(intent),
    auditedPolicies: auditedCounts(intent),
    policyProblems: problems,
    epoch: (isPlanned ? undefined : change.epoch) ?? 0,
    waitingNamespaces: intent?.waiting.length ?? 0,
    pendingSteps: verdict === 'done' ? 0 : change.steps.length,
  });
}

function policyCounts(intent: NodeIntent | undefined): { active: number; inactive: number } {
  if (!intent) return { active: 0, inactive: 0 };
  const active = policiesOf([...intent.programs, ...intent.audits]).size;
  return { active, inactive: Math.max(0, intent.policyCount - active) };
}

/** By namespace. */
function auditedCounts(intent: NodeIntent | undefined): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const key of auditedPolicies(intent)) {
    const namespace = key.slice(0, key.indexOf('/'));
    counts.set(namespace, (counts.get(namespace) ?? 0) + 1);
  }
  return counts;
}
