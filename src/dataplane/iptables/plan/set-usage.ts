/** Which sets rules refer to, whosever they are. */
import type { ObservedFamily } from './plan.ts';

import { mentionedSets } from '../rules/parse-rule.ts';

/** A set, or a map by name. */
export type Names = Pick<ReadonlySet<string>, 'has'>;

/** Names of all the sets the chains refer to. */
export function setsOfChains(chains: ObservedFamily['chains']): ReadonlySet<string> {
  return new Set([...chains.values()].flatMap((lines) => lines.flatMap(mentionedSets)));
}
