/** Which rules of the policies that are there let an observed flow pass, and how often. */
import type { ClusterSnapshot, RuleRef } from '../model.ts';
import type { ObservedFlow } from './observed.ts';

import { DIRECTIONS } from '../../core/vocabulary.ts';
import { type AddressOwners, connectionOf } from '../connection.ts';
import { judgeDirection } from '../evaluate.ts';
import { objectKey } from '../model.ts';
import { PolicyWorlds } from './worlds.ts';

export interface RuleUse {
  readonly rule: RuleRef;
  /** Distinct flows that it lets pass, by itself or with others; 0: it was not needed. */
  readonly flows: number;
}

/** Of every rule in the namespaces that `isFor` names, by policy. */
export function ruleUses(
  snapshot: ClusterSnapshot,
  owners: AddressOwners,
  seen: readonly ObservedFlow[],
  isFor: (namespace: string) => boolean,
): readonly RuleUse[] {
  const worlds = new PolicyWorlds(snapshot, snapshot.policies);
  const counts = new Map<string, number>();
  for (const { flow } of seen) {
    const connection = connectionOf(owners, flow);
    for (const direction of DIRECTIONS) {
      const subject = direction === 'egress' ? connection.sourcePod : connection.destinationPod;
      const verdict = subject && judgeDirection(worlds.of(subject.namespace), direction, connection);
      if (verdict?.kind !== 'allowed') continue;
      for (const rule of verdict.by) counts.set(keyOf(rule), (counts.get(keyOf(rule)) ?? 0) + 1);
    }
  }
  return [...snapshot.policies.values()]
    .filter(({ namespace }) => isFor(namespace))
    .sort((a, b) => (objectKey(a) < objectKey(b) ? -1 : 1))
    .flatMap(({ namespace, name, ingress, egress }) =>
      DIRECTIONS.flatMap((direction) =>
        (direction === 'ingress' ? ingress : egress).map((_, index): RuleUse => {
          const rule = { policy: { namespace, name }, direction, index };
          return { rule, flows: counts.get(keyOf(rule)) ?? 0 };
        }),
      ),
    );
}

function keyOf({ policy, direction, index }: RuleRef): string {
  return `${objectKey(policy)} ${direction} ${index}`;
}
