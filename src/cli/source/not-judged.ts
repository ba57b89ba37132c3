/** What of a cluster is left out by commands that judge flows by NetworkPolicies alone. */
import type { Inventory } from '../../cluster/inventory.ts';
import type { CommandContext } from '../command.ts';

type State = Pick<Inventory, 'snapshot'>;

/** Says so on standard error, in one line. Returns the field that says it in a document; none where nothing is left out. */
export function tellNotJudged(
  states: readonly State[],
  { err }: Pick<CommandContext, 'err'>,
): { readonly notJudged?: { readonly clusterNetworkPolicies: number } } {
  const size = countOf(states);
  if (size === 0) return {};
  err(`! ${textOf(size)}\n`);
  return { notJudged: { clusterNetworkPolicies: size } };
}

/** The summary of a page, with what it leaves out. */
export function withNotJudged(summary: string, states: readonly State[]): string {
  const size = countOf(states);
  return size === 0 ? summary : `${summary}; ${textOf(size)}`;
}

function countOf(states: readonly State[]): number {
  return new Set(states.flatMap(({ snapshot }) => [...(snapshot.clusterPolicies?.keys() ?? [])])).size;
}

function textOf(size: number): string {
  return `not judged here: ${size} ${size === 1 ? 'ClusterNetworkPolicy' : 'ClusterNetworkPolicies'}; use explain`;
}
