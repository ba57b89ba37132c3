/**
 * The epoch of judged flows in a table: the chains at the hooks, whose rules hold the mark that judged flows carry, and the chain that stamps
 * flows with it. Another epoch is these chains written anew; one commit turns all of them over.
 */
import { FAMILIES, type Family } from '../../../core/vocabulary.ts';
import type { MarkBits } from '../../mark-bits.ts';
import type { Chain, Layout, NftSet, Table } from '../table/table.ts';

import { versionedMap } from '../../../core/versioned-map.ts';
import { epochOf } from '../../mark-bits.ts';
import { hookChain, ONCE_JUDGED, stampingChain } from '../render/entry-chains.ts';
import { evolved } from '../render/peer-sets.ts';
import { ALL_HOOKS, firstChain, RELEASED_SET, STAMP_CHAIN } from '../table/names.ts';
import { readRuleText } from '../table/parse-rule.ts';
import { ruleText } from '../table/rule-text.ts';
import { isSameChain, stamps } from '../table/table.ts';

/** What of the epochs a table holds. `released`: see RELEASED_SET. */
export interface InForce {
  readonly epoch: number;
  readonly released: ReadonlySet<Family>;
}

/**
 * What of a table changes with the epoch, beside what is rendered. `inForce` is absent where flows are not stamped. `before`: the same of the
 * table that it follows.
 */
export function epochTable(
  { chains: rendered }: Pick<Table, 'chains'>,
  layout: Layout,
  inForce: InForce | undefined,
  before?: Table,
): Table {
  const hooks = ALL_HOOKS.filter((hook) => rendered.has(firstChain(hook)));
  const chains = hooks.map((hook) => hookChain(hook, layout, inForce?.epoch));
  const sets: NftSet[] = [];
  if (inForce && stamps(layout)) {
    chains.push(stampingChain(inForce.epoch, layout.marks));
    sets.push(releasedSet(inForce.released, before?.sets.get(RELEASED_SET)));
  }
  const named = chains.map((chain): [string, Chain] => [chain.name, known(chain, before)]);
  return { chains: versionedMap(named), sets: versionedMap(sets.map((each) => [each.name, each])) };
}

/** The table of the epoch, the very one that stands as long as nothing of it is another: most syncs begin no epoch. */
export class EpochTables {
  #last:
    | {
        readonly hooks: string;
        readonly layout: Layout;
        readonly inForce: InForce | undefined;
        readonly table: Table;
      }
    | undefined;

  /** As `epochTable`. */
  of(rendered: Pick<Table, 'chains'>, layout: Layout, inForce: InForce | undefined, before: Table): Table {
    const last = this.#last;
    const hooks = ALL_HOOKS.filter((hook) => rendered.chains.has(firstChain(hook))).join(' ');
    const isSame = last?.table === before && last.hooks === hooks && last.layout === layout;
    if (isSame && isSameInForce(inForce, last.inForce)) return before;
    const table = epochTable(rendered, layout, inForce, before);
    this.#last = { hooks, layout, inForce, table };
    return table;
  }
}

function isSameInForce(one: InForce | undefined, other: InForce | undefined): boolean {
  if (one?.epoch !== other?.epoch) return false;
  return FAMILIES.every((family) => one?.released.has(family) === other?.released.has(family));
}

/** With its rules, unlike one that was read. */
function known(chain: Chain, before: Table | undefined): Chain {
  const found = before?.chains.get(chain.name);
  return found?.rules && isSameChain(found, chain) ? found : chain;
}

function releasedSet(released: ReadonlySet<Family>, before: NftSet | undefined): NftSet {
  const elements = evolved(before?.elements, new Map([...released].map((family) => [`ipv${family}`, true as const])));
  return before?.elements === elements ? before : { name: RELEASED_SET, type: 'nf_proto', elements };
}

/** Whether a set or chain of that name changes with the epoch. */
export function isOfEpochs(name: string): boolean {
  return OF_EPOCHS.has(name);
}

const OF_EPOCHS: ReadonlySet<string> = new Set([...ALL_HOOKS, STAMP_CHAIN, RELEASED_SET]);

/** The epoch that flows are stamped with, or EVERY_PACKET; undefined: not known, or under another mask. */
export function readEpoch({ chains }: Pick<Table, 'chains'>, marks: MarkBits): number | undefined {
  const found = chains.get(STAMP_CHAIN);
  const stamp = readRuleText(found?.lines[0] ?? '')?.target;
  if (!found || stamp?.kind !== 'set-mark') return undefined;
  const epoch = epochOf(stamp.bits, marks);
  return Number.isInteger(epoch) && isSameChain(stampingChain(epoch, marks), found) ? epoch : undefined;
}

export function readReleased({ sets }: Table): ReadonlySet<Family> {
  const elements = sets.get(RELEASED_SET)?.elements;
  return new Set(FAMILIES.filter((family) => elements?.has(`ipv${family}`)));
}

/** Whether both are the same chain, but for the epoch in force. */
export function isSameButEpoch(a: Chain, b: Chain): boolean {
  const plain = (chain: Chain): Chain => ({ ...chain, lines: chain.lines.map(withoutEpoch) });
  return isSameChain(plain(a), plain(b));
}

function withoutEpoch(line: string): string {
  const rule = readRuleText(line);
  if (!rule) return line;
  const matches = rule.matches.map((match) => (match.kind === 'stale-mark' ? ONCE_JUDGED : match));
  return ruleText({ ...rule, matches });
}
