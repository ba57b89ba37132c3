/**
 * Whether a change takes a permission away: live flows have to be judged again then. Errs towards yes. Asked of values, so only of a table
 * that we wrote; of one that was read, any difference revokes.
 */
import type { AddressDirectory } from '../../../compile/address-directory.ts';
import type { Family } from '../../../core/vocabulary.ts';
import type { Decision, Judgement } from '../../judgement.ts';
import type { Target } from '../table/rule.ts';
import type { Chain } from '../table/table.ts';
import type { Difference, ElementChange } from './compare.ts';

import { partOf } from '../../chain-names.ts';
import { ALL_HOOKS, firstChain } from '../table/names.ts';
import { addDecision, revokes } from '../../judgement.ts';

export interface Revoked {
  /** By rules: an address is judged by a chain that allows less. */
  readonly byRules: boolean;
  /** By sets: an address left that is a pod's or a node's, or a block; or one joined what rules deny or pass by. */
  readonly bySets: boolean;
  /** Addresses that left sets and are no pod's any more: their flows died with it, unless another pod gets one. */
  readonly released: Readonly<Record<Family, readonly string[]>>;
}

export function revokedBy(
  difference: Difference,
  chainNamed: (name: string) => Chain | undefined,
  directory: AddressDirectory,
  stopping: Pick<ReadonlySet<string>, 'has'>,
): Revoked {
  const released: Record<Family, string[]> = { 4: [], 6: [] };
  // Chains of one name with other rules are those ahead of the endpoint chains: the layout is another one.
  let byRules = difference.changedChains.length > 0 || difference.newChains.some(({ name }) => FIRST.has(name));
  let bySets = false;
  for (const change of difference.changedSets) {
    const { name, type, grants, isMap, isOfNodes } = change.after;
    // A port that gets a tag leads somewhere by another map.
    if (isMap && !type.includes(' : ') && mapRevokes(change, chainNamed)) byRules = true;
    if (grants === undefined) continue;
    if (stopping.has(name) && change.joining.length > 0) bySets = true;
    for (const [element] of change.leaving) {
      const address = element.split(',', 1)[0]!;
      if (isOfNodes || /[/-]/.test(address) || directory.ownerOf(address) !== undefined) bySets = true;
      else released[grants].push(address);
    }
  }
  for (const map of difference.newSets) if (map.isMap && map.type === 'ifname' && map.elements.size > 0) byRules = true;
  return { byRules, bySets, released };
}

/** Packets at such a hook are judged that were not before. */
const FIRST: ReadonlySet<string> = new Set(ALL_HOOKS.map(firstChain));

/** An address or interface is newly isolated, or goes to a chain that allows less. */
function mapRevokes({ leaving, joining }: ElementChange, chainNamed: (name: string) => Chain | undefined): boolean {
  const before = new Map(leaving);
  const chainOf = (verdict: true | string | undefined): Chain | undefined =>
    typeof verdict === 'string' ? chainNamed(verdict.split(' ')[1]!) : undefined;
  return joining.some(([key, verdict]) => {
    const to = chainOf(verdict);
    if (to?.denies === false) return false;
    const from = chainOf(before.get(key));
    return !to || !from?.denies || revokes(judgedBy(from, chainNamed), judgedBy(to, chainNamed));
  });
}

/** Undefined: not all of its rules are known. */
function judgedBy(endpoint: Chain, chainNamed: (name: string) => Chain | undefined): Judgement {
  const decisions: Decision[] = [];
  const read = (chain: Chain | undefined): boolean => {
    if (!chain?.rules) return false;
    let next: string | undefined;
    for (const { matches, target } of chain.rules) {
      if (target.kind === 'goto' && partOf(target.chain) === 'next') next = target.chain;
      const action = actionOf(target);
      if (!action) continue;
      const isUnconditional = matches.length === 0;
      addDecision(decisions, { action, text: JSON.stringify(matches) }, isUnconditional);
      if (isUnconditional) break;
    }
    return next === undefined || read(chainNamed(next));
  };
  return read(endpoint) ? decisions : undefined;
}

/** Undefined: it decides nothing. */
function actionOf(target: Target): Decision['action'] | undefined {
  switch (target.kind) {
    case 'return':
      return 'allow';
    case 'drop':
      return 'deny';
    case 'goto':
      return partOf(target.chain) === 'next' ? 'pass' : 'deny';
    case 'jump':
    case 'verdict-map':
    case 'set-mark':
    case 'set-tag':
    case 'tag-by-interface':
    case 'log':
      return undefined;
  }
}
