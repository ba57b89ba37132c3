/** The kernel as read back, and the change that brings it to what it should be; both are values that can be printed and compared. */
import type { ChangeCounts, Degraded, Unread } from '../../dataplane.ts';
import type { Backend, Family } from '../../../core/vocabulary.ts';
import type { MaybeVersioned } from '../../../core/versioned-map.ts';
import type { ReleasedAddresses } from '../../../compile/address-directory.ts';
import type { FamilyRules, Hook, Ruleset } from '../rules/ruleset.ts';
import type { ReadableChains } from './chain-reading.ts';

/** What judges nothing any more, and chains that judge in the place of others. */
export interface DeadRules {
  /** Chains that lead to their overlay from their head -> all their rules. */
  readonly grown: ReadonlyMap<string, readonly string[]>;
  /** Overlays, and chains that nothing leads to but dead rules. */
  readonly chains: ReadonlyMap<string, readonly string[]>;
  /** All rules of built-in chains with a jump of ours too many. */
  readonly hooks: Readonly<Partial<Record<Hook, readonly string[]>>>;
}

/** Our chains in table mangle of one family, and the rules of the built-in chains we hook. */
export interface ObservedFamily extends ReadableChains {
  /** All rules of the hook's built-in chain, ours and others', in order, without `-A CHAIN`. */
  readonly hooks: Readonly<Record<Hook, readonly string[]>>;
  /** What the kernel holds besides, as commits that only add left it (add-only.ts); absent: nothing. */
  readonly dead?: DeadRules;
  /** Our rules in other built-in chains of the table, which only another layout puts there; absent: none. */
  readonly elsewhere?: readonly { readonly chain: string; readonly line: string }[];
}

export interface ObservedSet {
  readonly name: string;
  readonly family: Family;
  /** Any: somebody else may have made a set under our name. */
  readonly type: string;
  readonly maxElements: number;
  /** Entry text with protocol numbers -> false for `nomatch`. */
  readonly members: MaybeVersioned<string, boolean>;
}

type Variant = Extract<Backend, 'iptables-nft' | 'iptables-legacy'>;

/** Our rules in the iptables variant that is not written to: they judge every packet as well, and nobody keeps them up to date. */
export interface OtherVariant {
  readonly variant: Variant;
  /** Those with something of ours. */
  readonly families: Readonly<Partial<Record<Family, ObservedFamily>>>;
}

/** Rules of ours in another table than mangle: of another layout, as this one has none there. */
export interface OtherTable {
  readonly variant: Variant;
  readonly family: Family;
  readonly table: string;
  readonly rules: ObservedFamily;
}

/** What was desired when the actual state was all of it: what is the same now need not be compared (delta.ts). */
export interface Reached {
  /** Undisturbed ones. */
  readonly families: Readonly<Partial<Record<Family, FamilyRules>>>;
  /** Absent once the kernel was read. */
  readonly sets?: Ruleset['sets'];
  /** Names of sets that are there besides these, and have to go. */
  readonly left?: readonly string[];
}

export interface ObservedState {
  /** A family is absent when the host cannot filter it (no IPv6, say). */
  readonly families: Readonly<Partial<Record<Family, ObservedFamily>>>;
  /** Ours only. */
  readonly sets: MaybeVersioned<string, ObservedSet>;
  /** Absent: not known. */
  readonly reached?: Reached;
  /** Where the rules are; absent where there is only one. */
  readonly variant?: Variant;
  readonly other?: OtherVariant;
  readonly otherTables?: readonly OtherTable[];
  readonly unread?: readonly Unread[];
}

/** One line of restore input, and the chain or set it belongs to. */
export interface PlanLine {
  readonly text: string;
  readonly object: string;
}

/**
 * One command's worth of change, in this order: `add-members` makes sets and lets members join; `rules`, one per family, changes the
 * verdicts in one commit; `leftovers` takes our rules out of the iptables variant, and of tables, that this layout does not write to;
 * `remove-members` lets members leave; `final-rules` begins a new epoch where members left, or puts plain rules in the place of those
 * that looked past the sets' members (interim-rules.ts); `destroy-sets` tidies up. Between any two lines no packet of a new connection meets a verdict
 * that is neither the old nor the new one (S-09). `destroy-sets` may fail while the kernel still lets go of a set; it is planned again.
 */
export type Step =
  | { readonly kind: 'add-members' | 'remove-members' | 'destroy-sets'; readonly lines: readonly PlanLine[] }
  | { readonly kind: 'rules' | 'final-rules'; readonly family: Family; readonly lines: readonly PlanLine[] }
  | {
      readonly kind: 'leftovers';
      readonly variant: Variant;
      readonly family: Family;
      readonly lines: readonly PlanLine[];
    };

/** Per family; absent: none. */
export interface Released extends Readonly<Partial<Record<Family, ReleasedAddresses>>> {
  /** None of them was a pod's with the intent of this revision. */
  readonly revision?: number;
}

export interface Plan {
  readonly steps: readonly Step[];
  readonly summary: ChangeCounts;
  /** The state after every step succeeded. */
  readonly after: ObservedState;
  /** Per family, the epoch in force afterwards; absent without marks. */
  readonly epochs: Readonly<Partial<Record<Family, number>>>;
  /**
   * Addresses of pods that are gone, which left sets without a new epoch: their flows died with them. Should another pod get
   * one of them before the epoch changes, live flows have to be judged again.
   */
  readonly released: Released;
  /** Families whose live flows are judged again from `final-rules` on: until that is in, the next plan has to see to it. */
  readonly revokesLate: readonly Family[];
  /** Families whose live flows are not judged again by this plan, as the next epoch waits: a later plan has to see to it. */
  readonly revokesNext: readonly Family[];
  /** Addresses that stay on an older chain, or are closed, because their own chain or one of its sets is rejected. */
  readonly degraded: readonly Degraded[];
  /** Names of sets that the next plans fill further. Addresses whose chains ask about them stay on an older chain meanwhile, or are closed. */
  readonly waiting: readonly string[];
}

export function isEmptyPlan(plan: Plan): boolean {
  return plan.steps.length === 0;
}

/** The plan as a person reads it: the very lines the kernel tools get, step by step. */
export function planText(plan: Plan): string {
  if (isEmptyPlan(plan)) return 'nothing to do\n';
  return plan.steps
    .map((step) => {
      const family = 'family' in step ? ` IPv${step.family}` : '';
      const variant = 'variant' in step ? ` ${step.variant}` : '';
      return `# ${step.kind}${family}${variant}\n${step.lines.map((line) => line.text).join('\n')}\n`;
    })
    .join('');
}
