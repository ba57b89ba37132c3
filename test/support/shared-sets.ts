/** Which sets of a node stand for many rules at once. */
import type { Clause, NodeIntent } from '../../src/compile/intent.ts';
import { MAX_OWN_SETS } from '../../src/compile/shared-peers.ts';

/** Keys of the sets that stand for more rules of a class than would have one each. */
export function sharedSets({ classes }: NodeIntent): ReadonlySet<string> {
  return new Set(
    classes.flatMap(({ clauses }) =>
      clauses.flatMap((clause) => (clause.by.length > MAX_OWN_SETS ? (setKey(clause) ?? []) : [])),
    ),
  );
}

function setKey({ ports, peers }: Clause): string | undefined {
  if (ports.kind === 'endpoints') return ports.set[4];
  return peers[4].kind === 'set' ? peers[4].key : undefined;
}

/** Of peers with their ports. */
export const isJoint = (key: string): boolean => key.startsWith('["endpoints",4,"ports"');

/** Of blocks with their ports. */
export const isJointOfBlocks = (key: string): boolean => key.startsWith('["blocks",4,[[');
