/** Which sets of a node stand for many rules at once. */
import type { CompiledRule, NodeIntent } from '../../src/compile/intent.ts';
import { acceptRules } from '../../src/compile/program.ts';
import { MAX_OWN_SETS } from '../../src/compile/shared-peers.ts';

/** Keys of the sets that stand for more rules of a program than would have one each. */
export function sharedSets({ programs }: NodeIntent): ReadonlySet<string> {
  return new Set(
    programs.flatMap((program) =>
      acceptRules(program).flatMap((clause) => (clause.by.length > MAX_OWN_SETS ? (setKey(clause) ?? []) : [])),
    ),
  );
}

function setKey({ ports, peers }: CompiledRule): string | undefined {
  if (ports.kind === 'address-port') return ports.set[4];
  return peers[4].kind === 'set' ? peers[4].key : undefined;
}

/** Of peers with their ports. */
export const isJoint = (key: string): boolean => key.startsWith('["endpoints",4,"ports"');

/** Of blocks with their ports. */
export const isJointOfBlocks = (key: string): boolean => key.startsWith('["blocks",4,[[');
