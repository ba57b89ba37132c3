/** The conditions behind /readyz that cluster and agent answer, and the page of the last plan. */
import type { ClusterWatch } from '../cluster/watch-cluster.ts';
import type { ConditionState, PlanPage } from '../status/health.ts';
import type { AgentStatus } from '../agent/agent.ts';

import { planText } from '../plan/plan.ts';

export function informersReady(cluster: ClusterWatch | undefined): ConditionState {
  if (!cluster) return { ok: false, reason: 'not connected to an API server yet' };
  const waiting = cluster.status().filter((kind) => !kind.listed);
  if (waiting.length === 0) return { ok: true, reason: 'all kinds were listed' };
  const why = waiting.map((kind) => `${kind.kind}: ${kind.problem ?? 'listing'}`).join('; ');
  return { ok: false, reason: `not listed yet: ${why}` };
}

export function commitReady(status: AgentStatus | undefined): ConditionState {
  if (status?.programmed) return { ok: true, reason: `mode ${status.mode}: programmed` };
  return { ok: false, reason: 'the rules were not written yet' };
}

export function lastPassReady(status: AgentStatus | undefined): ConditionState {
  const outcome = status?.lastOutcome;
  if (!status || !outcome) return { ok: false, reason: 'no pass yet' };
  const [failure] = outcome.failures;
  if (!failure) return { ok: true, reason: 'everything went in' };
  return { ok: false, reason: `${status.failedPasses} passes in a row failed: ${failure.message}` };
}

export function planPage(status: AgentStatus | undefined): PlanPage | undefined {
  const outcome = status?.lastOutcome;
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
