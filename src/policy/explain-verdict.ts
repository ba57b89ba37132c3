/** A Verdict in plain words. */
import { DIRECTIONS, type Direction } from '../core/vocabulary.ts';
import type { DirectionVerdict, PolicyRef, RuleRef, Verdict } from './model.ts';

import { auditOutcome } from './evaluate.ts';

/**
 * Three lines without a newline at the end: the answer, then egress, then ingress with their reasons. Three more where policies that are only
 * audited would change one of them.
 */
export function explainVerdict(verdict: Verdict): string {
  const { ifEnforced } = verdict;
  const isChanged = ifEnforced && DIRECTIONS.some((direction) => auditOutcome(verdict, direction));
  return [...linesOf(verdict), ...(isChanged ? indented(linesOf(ifEnforced)) : [])].join('\n');
}

function linesOf({ allowed, egress, ingress }: Omit<Verdict, 'ifEnforced'>): readonly string[] {
  return [
    allowed ? 'allowed' : 'denied',
    `  egress:  ${explainDirection('egress', egress)}`,
    `  ingress: ${explainDirection('ingress', ingress)}`,
  ];
}

function indented([first, ...others]: readonly string[]): readonly string[] {
  return [`if audited policies were enforced: ${first}`, ...others];
}

const END = { egress: 'source', ingress: 'destination' } as const;

export function explainDirection(direction: Direction, verdict: DirectionVerdict): string {
  const text = explainDecision(direction, verdict);
  return verdict.passedBy?.length ? `${text}; passed on by ${verdict.passedBy.map(ruleText).join(', ')}` : text;
}

function explainDecision(direction: Direction, verdict: DirectionVerdict): string {
  const end = END[direction];
  switch (verdict.kind) {
    case 'exempt':
      return explainExemption(end, verdict.reason);
    case 'not-isolated':
      return `open: no policy isolates the ${end} for ${direction}`;
    case 'allowed':
      return `allowed by ${verdict.by.map(ruleText).join(', ')}`;
    case 'denied':
      return `denied: the ${end} is isolated by ${verdict.isolatedBy.map(policyText).join(', ')}, and no rule there allows this`;
    case 'tier-rule':
      return `${verdict.action === 'Accept' ? 'accepted' : 'denied'} by ${ruleText(verdict.by)}`;
  }
}

function explainExemption(end: string, reason: (DirectionVerdict & { kind: 'exempt' })['reason']): string {
  switch (reason) {
    case 'not-a-subject':
      return `open: the ${end} is not a pod that policies apply to (outside, a node, host network, or finished)`;
    case 'self':
      return 'open: a pod always reaches its own address';
    case 'own-node':
      return 'open: a node always reaches its own pods';
  }
}

/** Of a cluster-wide policy with its tier. */
export function policyText({ namespace, name, tier }: PolicyRef): string {
  return tier ? `ClusterNetworkPolicy ${name} (${tier})` : `${namespace}/${name}`;
}

export function ruleText({ policy, direction, index, name }: RuleRef): string {
  return `${policyText(policy)} spec.${direction}[${index}]${name === undefined ? '' : ` ${JSON.stringify(name)}`}`;
}
