/** The conditions behind /readyz that cluster and agent answer, and the page of the last plan. */
import type { Family } from '../core/vocabulary.ts';
import type { ClusterWatch } from '../cluster/watch-cluster.ts';
import type { ConditionState, PlanPage } from './health.ts';
import type { Lack } from '../dataplane/dataplane.ts';
import type { AgentStatus } from '../agent/agent.ts';

import { MODE_KEY } from '../core/vocabulary.ts';
import { familyOf } from '../net/ip.ts';
import { nodeProblem } from '../agent/agent.ts';
import { problemText } from './problem-log.ts';

export function informersReady(cluster: ClusterWatch | undefined): ConditionState {
  if (!cluster) return { ok: false, reason: 'not connected to an API server yet' };
  const doubted = cluster.status().find((kind) => kind.doubtsEmpty);
  if (doubted) return { ok: false, reason: doubted.problem ?? `${doubted.kind}: the list is empty` };
  const waiting = cluster.status().filter(({ presence }) => presence === 'unknown');
  const absent = cluster.status().filter(({ presence }) => presence === 'absent');
  const but =
    absent.length === 0 ? '' : `, of which the API server does not have ${absent.map(({ kind }) => kind).join(', ')}`;
  if (waiting.length === 0) return { ok: true, reason: `all kinds were listed${but}` };
  const why = waiting.map((kind) => `${kind.kind}: ${kind.problem ?? 'listing'}`).join('; ');
  return { ok: false, reason: `not listed yet: ${why}` };
}

export function nodeReady(nodeName: string, status: AgentStatus | undefined): ConditionState {
  if (!status?.inSync) return { ok: true, reason: 'not looked for before the cluster is listed' };
  const problem = nodeProblem(nodeName, status.node);
  return problem === undefined ? { ok: true, reason: `Node ${nodeName} exists` } : { ok: false, reason: problem };
}

export function commitReady(status: AgentStatus | undefined): ConditionState {
  if (status?.programmed) {
    const { mode, inKernel, lastOutcome } = status;
    const revision = inKernel ? `, revision ${inKernel.revision} of what this node has to enforce` : '';
    if (mode === 'enforce' || mode === 'audit') return { ok: true, reason: `mode ${mode}: programmed${revision}` };
    const size = lastOutcome?.size?.();
    const held = size ? `${size.rules} rules and ${size.sets} sets` : 'it is not known how much';
    const plan = mode === 'dry-run' ? '; what enforcing would write is at /plan' : '';
    return { ok: true, reason: `mode ${mode}: nothing is enforced; of ours the kernel holds ${held}${plan}` };
  }
  return { ok: false, reason: 'the rules were not written yet' };
}

/** Of problems in one line. */
const MAX_NAMED = 3;

/** Where the mode comes from, and what is misspelt where a mode can be said. Ready all the same: the safe value is in force. */
export function modesReady(status: AgentStatus | undefined): ConditionState {
  if (!status?.lastOutcome) return { ok: true, reason: 'the mode is not settled yet' };
  const misspelt = status.problems.filter(({ field }) => field.endsWith(`[${MODE_KEY}]`));
  const named = misspelt.slice(0, MAX_NAMED).map(problemText);
  const more = misspelt.length - named.length;
  const source = status.modeSource === 'default' ? '--mode' : `the node's ${status.modeSource}`;
  const reasons = [`mode ${status.mode}, by ${source}`, ...named, ...(more > 0 ? [`and ${more} more misspelt`] : [])];
  return { ok: true, reason: reasons.join('; ') };
}

export function lastSyncReady(status: AgentStatus | undefined): ConditionState {
  const outcome = status?.lastOutcome;
  if (!status || !outcome) return { ok: false, reason: 'no sync yet' };
  const [failure] = outcome.failures;
  if (!failure) return { ok: true, reason: 'the kernel took everything' };
  return { ok: false, reason: `${status.failedSyncs} syncs in a row failed: ${failure.message}` };
}

/** Not ready while it is not known what a family's rules are, nor where pods have addresses that cannot be filtered. */
export function familiesReady(status: AgentStatus | undefined, cluster: ClusterWatch | undefined): ConditionState {
  const unread = status?.lastOutcome?.unread ?? [];
  if (unread.length === 0) return { ok: true, reason: 'all families that this host has are filtered' };
  const judged = unread.map(({ family, isKnown, why }) => {
    if (!isKnown) return { ok: false, reason: `IPv${family}: not known whether its rules are in force: ${why}` };
    const pods = status && cluster ? podsWith(family, status.nodeName, cluster) : 0;
    const what = `IPv${family} cannot be filtered on this host: ${why}`;
    if (pods === 0) return { ok: true, reason: `${what}; no pod here has such an address` };
    return { ok: false, reason: `${what}; ${pods} pods here have such an address and are open there` };
  });
  return { ok: judged.every(({ ok }) => ok), reason: judged.map(({ reason }) => reason).join('; ') };
}

function podsWith(family: Family, nodeName: string, cluster: ClusterWatch): number {
  const pods = [...cluster.snapshot().pods.values()];
  return pods.filter(
    (pod) => pod.nodeName === nodeName && !pod.hostNetwork && pod.addresses.some((text) => familyOf(text) === family),
  ).length;
}

/** Where modules come from: some are in packages of their own, and an agent without SYS_MODULE cannot load any. */
const MODULES_HINT =
  'load it on the node (modprobe, /etc/modules-load.d); it comes with the kernel, or with package linux-modules-extra ' +
  '(Ubuntu), kernel-modules-extra (Fedora, RHEL) or linux-lts and its like (Alpine)';

export function remedyOf({ remedy = MODULES_HINT }: Lack): string {
  return remedy;
}

/** Ready without what is only convenient. */
export function featuresReady(status: AgentStatus | undefined, cluster: ClusterWatch | undefined): ConditionState {
  const lacks = status?.lastOutcome?.lacks ?? [];
  if (lacks.length === 0) return { ok: true, reason: 'the kernel takes all rules' };
  const hasIpv6Pods = status && cluster && podsWith(6, status.nodeName, cluster) > 0;
  const isNeeded = ({ neededFor }: Lack): boolean =>
    neededFor === 'policies' || (neededFor === 'IPv6 pods' && hasIpv6Pods === true);
  const texts = lacks.map(({ text }) => text);
  const hints = new Set(lacks.map(remedyOf));
  return { ok: !lacks.some(isNeeded), reason: `the kernel lacks ${texts.join('; ')}. ${[...hints].join('; ')}` };
}

export function planPage(status: AgentStatus | undefined): PlanPage | undefined {
  const outcome = status?.lastOutcome;
  if (!outcome?.change) return undefined;
  const { change, mode } = outcome;
  const applied = mode !== 'dry-run';
  const title = applied ? 'last plan, applied' : 'dry-run: would be applied';
  return {
    text: `# mode ${mode}, ${title}\n${change.text()}`,
    value: {
      mode,
      applied,
      summary: change.counts,
      degraded: change.degraded,
      steps: change.steps,
      failures: outcome.failures,
    },
  };
}
