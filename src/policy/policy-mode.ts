/** Whether a policy is enforced, or only audited: it isolates nobody, and what it would do is counted. */
import { type PolicyMode, MODE_KEY, POLICY_MODES } from '../core/vocabulary.ts';
import type { Namespace, PolicyHead } from './model.ts';
import type { FieldProblem } from './selector.ts';

import { isRecord, quote } from './raw-values.ts';

/** The policy's own annotation wins over that of its namespace. */
export function isAudited({ mode }: Pick<PolicyHead, 'mode'>, namespace: Namespace | undefined): boolean {
  return (mode ?? namespace?.mode) === 'audit';
}

interface ReadMode {
  /** Absent: nothing is asked for. */
  readonly mode?: PolicyMode;
  readonly problem?: FieldProblem;
}

/** `whose`: policies it is the mode of, as in "the policy is". What is misspelt enforces. */
export function readPolicyMode(annotations: unknown, whose: string): ReadMode {
  const value = isRecord(annotations) && Object.hasOwn(annotations, MODE_KEY) ? annotations[MODE_KEY] : undefined;
  if (value === undefined || value === null) return {};
  const mode = POLICY_MODES.find((each) => each === value);
  if (mode) return { mode };
  const message = `is ${quote(value)}, not one of ${POLICY_MODES.join(', ')}: ${whose} enforced`;
  return { mode: 'enforce', problem: { field: `metadata.annotations[${MODE_KEY}]`, message } };
}
