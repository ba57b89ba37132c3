/** What of a cluster is left out by commands that judge flows by NetworkPolicies alone. */
import type { Inventory } from '../../cluster/inventory.ts';
import type { CommandContext } from '../command.ts';

/** Says so on standard error, in one line. Returns the field that says it in a document; none where nothing is left out. */
export function tellNotJudged(
  states: readonly Pick<Inventory, 'snapshot'>[],
  { err }: Pick<CommandContext, 'err'>,
): { readonly notJudged?: { readonly clusterNetworkPolicies: number } } {
  const names = new Set(states.flatMap(({ snapshot }) => [...(snapshot.clusterPolicies?.keys() ?? [])]));
  if (names.size === 0) return {};
  const { size } = names;
  err(`! not judged here: ${size} ${size === 1 ? 'ClusterNetworkPolicy' : 'ClusterNetworkPolicies'}; use explain\n`);
  return { notJudged: { clusterNetworkPolicies: size } };
}
