/** The chains behind the entry, for any choice of who is judged by which endpoint chain. */
import type { Direction, Family } from '../../../core/vocabulary.ts';
import type { EndpointChain, FamilyRules, Layout, PortGuard } from '../rules/ruleset.ts';

import { Chain, sameChain } from '../rules/chain.ts';
import { expressibleChains } from '../rules/features.ts';
import { judgesReplies } from '../rules/layout.ts';
import { closedChain, replyChain } from '../../chain-names.ts';
import { type DispatchTrees, dispatchChains } from './dispatch.ts';
import { emptyGuardChains, guardChains } from './guards.ts';

/** Where packets find their endpoint chain. */
export interface Targets {
  readonly dispatch: FamilyRules['dispatch'];
  readonly guards: readonly PortGuard[];
  /** The guards there would be if nothing were held back: the entry chains jump to what these have. */
  readonly offered: readonly PortGuard[];
  /** The endpoint chains that are to be there. */
  readonly endpoints: readonly EndpointChain[];
}

/** By name, in the order in which they are written. `known`: chains of before, which are used again where they are the same. */
export function assembleChains(
  family: Family,
  layout: Layout,
  targets: Targets,
  known: ReadonlyMap<string, Chain> = new Map(),
  trees?: DispatchTrees,
): ReadonlyMap<string, Chain> {
  const guards = expressibleChains(guardChains(targets.guards, layout), family, layout);
  const chains = [
    ...dispatchChains(targets.dispatch, family, layout, known, trees),
    ...emptyGuardChains(targets.offered, layout),
    ...guards.map((chain) => sameChain(known.get(chain.name), chain)),
    ...targets.endpoints.flatMap(({ chain, reply, parts = [] }) => [chain, ...(reply ? [reply] : []), ...parts]),
  ];
  return new Map(chains.map((chain) => [chain.name, chain]));
}

/**
 * Judges pods whose own chain could not be built. It must go in whatever the kernel refuses, so it asks nothing: every packet gets the
 * verdict of one that no clause allows.
 */
export function closedEndpoint(direction: Direction, layout: Layout): EndpointChain {
  const name = closedChain(direction);
  const rules = [{ matches: [], target: { kind: layout.mode === 'audit' ? 'return' : 'drop' } }] as const;
  const role = { kind: 'closed', direction, replies: false } as const;
  return {
    name,
    direction,
    policies: [],
    sets: [],
    chain: new Chain(name, role, rules),
    ...(judgesReplies(layout) ? { reply: new Chain(replyChain(name), { ...role, replies: true }, rules) } : {}),
  };
}
