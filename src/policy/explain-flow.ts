/** Whether a flow passes, and why: each direction's verdict, and of a denial every policy's reason and the smallest change that would allow it. */
import type { Direction } from '../core/vocabulary.ts';
import type { Explanation } from './explain-denial.ts';
import type { Remedy } from './remedy.ts';

import type { Connection } from './connection.ts';
import { letsPass, type PolicyWorld } from './evaluate.ts';
import { explainDenial } from './explain-denial.ts';
import { remedyFor } from './remedy.ts';

export interface DirectionExplanation extends Explanation {
  readonly direction: Direction;
  /** Of a denial, where an addition to one policy is enough. */
  readonly remedy?: Remedy;
}

export interface FlowExplanation {
  readonly connection: Connection;
  readonly allowed: boolean;
  /** Egress, then ingress, as packets meet them. */
  readonly directions: readonly DirectionExplanation[];
}

export function explainFlow(world: PolicyWorld, connection: Connection): FlowExplanation {
  const directions = (['egress', 'ingress'] as const).map((direction): DirectionExplanation => {
    const explanation = explainDenial(world, direction, connection);
    const remedy = remedyFor(world, direction, connection, explanation.policies);
    return { direction, ...explanation, ...(remedy ? { remedy } : {}) };
  });
  return { connection, allowed: directions.every(({ verdict }) => letsPass(verdict)), directions };
}
