/** Which policies an intent has, by their keys. */
import type { NodeIntent, Program } from '../compile/intent.ts';

import { objectKey } from '../policy/model.ts';

/** `namespace/name` of those that select a pod of this node and are only audited. */
export function auditedPolicies(intent: NodeIntent | undefined): ReadonlySet<string> {
  return policiesOf(intent?.audits ?? []);
}

export function policiesOf(programs: readonly Program[]): ReadonlySet<string> {
  return new Set(programs.flatMap(({ policies }) => policies.map(objectKey)));
}
