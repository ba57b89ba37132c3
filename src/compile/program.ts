/** Programs by their stages. */
import type { CompiledRule, Program, Stage } from './intent.ts';

/** The stage of NetworkPolicy: what its policies' rules accept together, and nothing else (S-04). */
export function networkPolicyStage(rules: readonly CompiledRule[]): Stage {
  return { tier: 'NetworkPolicy', order: 'union', rules, otherwise: 'Deny' };
}

/** What the program accepts. */
export function acceptRules({ stages }: Pick<Program, 'stages'>): readonly CompiledRule[] {
  return stages.flatMap(acceptedBy);
}

function acceptedBy(stage: Stage): readonly CompiledRule[] {
  switch (stage.order) {
    case 'union':
      return stage.rules;
  }
}
