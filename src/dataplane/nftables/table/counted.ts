/** What the counter of a rule counts. */
import type { CountedFor, RuleCounter } from '../../dataplane.ts';

/** `also`: each packet is one of those as well. */
export interface Counted extends Omit<RuleCounter, 'packets' | 'bytes'> {
  readonly also?: { readonly action: RuleCounter['action']; readonly of: CountedFor };
}
