/**
 * Whether a change takes a permission away: live flows have to be judged again then. Errs towards yes. Asked of values, so only of a table
 * that we wrote; of one that was read, any difference revokes.
 */
import type { AddressDirectory } from '../../../compile/address-directory.ts';
import { FAMILIES, type Family } from '../../../core/vocabulary.ts';
import type { Chain } from '../table/table.ts';
import type { Difference, ElementChange } from './compare.ts';

/** Per family. */
export interface Revoked {
  /** By rules: an address is judged by a chain that allows less. */
  readonly byRules: ReadonlySet<Family>;
  /** By sets: an address left that is a pod's, or a block. */
  readonly bySets: ReadonlySet<Family>;
  /** Addresses that left sets and are no pod's any more: their flows died with it, unless another pod gets one. */
  readonly released: Readonly<Record<Family, readonly string[]>>;
}

export function revokedBy(
  difference: Difference,
  chainNamed: (name: string) => Chain | undefined,
  directory: AddressDirectory,
): Revoked {
  const byRules = new Set<Family>();
  const bySets = new Set<Family>();
  const released: Record<Family, string[]> = { 4: [], 6: [] };
  // Chains of one name with other rules are those ahead of the endpoint chains: the layout is another one.
  if (difference.changedChains.length > 0 || difference.newChains.some(({ hook }) => hook !== ''))
    for (const family of FAMILIES) byRules.add(family);
  for (const change of difference.changedSets) {
    const { grants, isMap } = change.after;
    if (isMap) {
      for (const family of familiesOf(change)) if (mapRevokes(change, chainNamed)) byRules.add(family);
    }
    if (grants === undefined) continue;
    for (const [element] of change.leaving) {
      const address = element.split(',', 1)[0]!;
      if (/[/-]/.test(address) || directory.ownerOf(address) !== undefined) bySets.add(grants);
      else released[grants].push(address);
    }
  }
  for (const map of difference.newSets)
    if (map.isMap && map.type === 'ifname' && map.elements.size > 0) for (const family of FAMILIES) byRules.add(family);
  return { byRules, bySets, released };
}

function familiesOf({ after: { type } }: ElementChange): readonly Family[] {
  if (type === 'ipv4_addr') return [4];
  return type === 'ipv6_addr' ? [6] : FAMILIES;
}

/** An address or interface is newly isolated, or goes to a chain that allows less. */
function mapRevokes({ leaving, joining }: ElementChange, chainNamed: (name: string) => Chain | undefined): boolean {
  const before = new Map(leaving);
  const chainOf = (verdict: true | string | undefined): Chain | undefined =>
    typeof verdict === 'string' ? chainNamed(verdict.split(' ')[1]!) : undefined;
  return joining.some(([key, verdict]) => {
    const to = chainOf(verdict);
    if (to?.denies === false) return false;
    return !to || !allowsAll(to, chainOf(before.get(key)));
  });
}

/** Whether `to` allows whatever `from` allows, of which nothing is denied if there is none. */
function allowsAll(to: Chain, from: Chain | undefined): boolean {
  if (!from?.rules || !from.denies) return false;
  const later = new Set(allowing(to));
  return allowing(from).every((rule) => later.has(rule));
}

function allowing({ rules = [] }: Chain): readonly string[] {
  return rules.filter(({ target }) => target.kind === 'return').map(({ matches }) => JSON.stringify(matches));
}
