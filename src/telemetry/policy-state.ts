/** Whether each policy is in force on this node, and if not, why. Pure. */
import type { AgentStatus } from '../agent/agent.ts';
import type { PolicyProgress } from '../agent/progress.ts';

import { auditedPolicies } from './audited-policies.ts';

/**
 * `no-pods`: it selects no pod of this node, so there is nothing to enforce. `partly`: parts of it cannot be used, the rest is in force.
 * `audited`: by the mode of the node, or its own or its
 * namespace's annotation. `held-back`: the kernel or a limit keeps its rules out. `waiting`: its newest generation is not in the kernel yet. `not-enforced`: the
 * mode of the node has no rules.
 */
export const POLICY_STATES = [
  'in-force',
  'no-pods',
  'audited',
  'partly',
  'held-back',
  'waiting',
  'not-enforced',
] as const;
export type PolicyState = (typeof POLICY_STATES)[number];

export interface JudgedPolicy {
  readonly state: PolicyState;
  /** Absent where there is nothing to explain. */
  readonly why?: string;
}

/** Judges one policy, `namespace/name`; what it needs of all of them is looked up once. */
export function policyJudge(status: AgentStatus): (key: string, progress: PolicyProgress) => JudgedPolicy {
  const { mode, lastIntent, lastOutcome } = status;
  const programs = new Map<string, string | undefined>();
  for (const { policies, closed } of lastIntent?.programs ?? [])
    for (const { namespace, name } of policies) {
      const key = `${namespace}/${name}`;
      programs.set(key, closed ?? programs.get(key));
    }
  const audited = auditedPolicies(lastIntent);
  const refused = new Map<string, string>();
  for (const { policies, message } of lastOutcome?.failures ?? [])
    for (const key of policies) if (!refused.has(key)) refused.set(key, message);
  const problems = new Map<string, string>();
  for (const { object, field, message } of status.problems)
    if (object.kind.endsWith('NetworkPolicy'))
      problems.set(`${object.namespace ?? ''}/${object.name}`, `${field} ${message}`);
  return (key, { committedAtMs }) => {
    if (mode === 'off' || mode === 'dry-run') return { state: 'not-enforced', why: `mode ${mode}` };
    const failure = refused.get(key);
    if (failure !== undefined) return { state: 'held-back', why: failure };
    if (committedAtMs === undefined) return { state: 'waiting', why: whyWaiting(status, key) };
    const closed = programs.get(key);
    if (closed !== undefined)
      return {
        state: 'held-back',
        why: `its namespace asks for more ${closed} than a node can give: its pods are closed`,
      };
    const problem = problems.get(key);
    if (problem !== undefined) return { state: 'partly', why: problem };
    if (audited.has(key)) return { state: 'audited' };
    if (!programs.has(key)) return { state: 'no-pods' };
    return { state: mode === 'audit' ? 'audited' : 'in-force' };
  };
}

function whyWaiting({ inSync, lastIntent, lastOutcome }: AgentStatus, key: string): string {
  if (!inSync) return 'the cluster is not listed yet';
  const [failure] = lastOutcome?.failures ?? [];
  if (failure) return `the last sync failed: ${failure.message}`;
  const namespace = key.slice(0, key.indexOf('/'));
  return lastIntent?.waiting.includes(namespace) ? 'its namespace is being compiled' : 'a sync is due';
}
