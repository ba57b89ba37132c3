/**
 * What stays in force where the kernel refuses a chain or a set: an address goes on with the chain that judges it now, if that is of the mode in
 * force; else its pod is closed. Sets that such a chain asks about get no more elements, and lose addresses that changed hands (S-70, S-73).
 */
import type { AddressDirectory } from '../../../compile/address-directory.ts';
import type { Direction, Family } from '../../../core/vocabulary.ts';
import type { Rule } from '../table/rule.ts';
import type { Chain, Layout, NftSet, Table } from '../table/table.ts';
import type { EndpointChain } from './endpoint-chains.ts';

import { closedChain, partOf, replyChain } from '../../chain-names.ts';
import { countedBy } from '../table/legend.ts';
import { ADDRESS_TYPE, blocksBeside, dispatchMap } from '../table/names.ts';
import { readRuleText } from '../table/parse-rule.ts';
import { stamps } from '../table/table.ts';

/** What the kernel holds. */
export interface Standing extends Pick<Table, 'chains' | 'sets'> {
  /** Of the intent that it was made of; undefined: not known. */
  readonly revision: number | undefined;
}

export interface Place {
  readonly direction: Direction;
  readonly family: Family;
  readonly address: string;
}

/** Undefined: none that may stay. */
export function standingEndpoint(
  { chains, sets }: Standing,
  { direction, family, address }: Place,
  layout: Layout,
): EndpointChain | undefined {
  const [, name = ''] = String(sets.get(dispatchMap(direction, false, family))?.elements.get(address)).split(' ');
  if (name === closedChain(direction)) return undefined;
  const endpoint = endpointIn(chains, name, layout);
  if (!endpoint || drops(endpoint) !== (layout.mode === 'enforce')) return undefined;
  return endpoint;
}

/** Undefined: something of it is not there, or no rule of ours. */
function endpointIn(chains: Standing['chains'], name: string, layout: Layout): EndpointChain | undefined {
  const found = new Map<string, Chain>();
  const names = [name, ...(stamps(layout) ? [replyChain(name)] : [])];
  for (const each of names) {
    if (found.has(each)) continue;
    const chain = chains.get(each);
    const known = chain && readChain(chain);
    if (!known) return undefined;
    found.set(each, known);
    for (const { target } of known.rules!)
      if (target.kind === 'goto' || target.kind === 'jump') names.push(target.chain);
  }
  const chain = found.get(name)!;
  const reply = stamps(layout) ? found.get(replyChain(name)) : undefined;
  const parts = [...found.values()].filter((each) => each !== chain && each !== reply);
  return { chain, ...(reply ? { reply } : {}), parts };
}

/** One that was not written by us as its rules and comments tell; undefined: a rule is none of ours. */
function readChain(chain: Chain): Chain | undefined {
  if (chain.rules) return chain;
  const read = chain.lines.map(readRuleText);
  if (!read.every((rule) => rule !== undefined)) return undefined;
  const counted = countedBy(chain.name, chain.lines);
  const rules = read.map((rule, index): Rule => {
    const counts = counted[index];
    // A policy asked for what leads elsewhere.
    return { ...rule, ...(counts ? { counts } : {}), ...(rule.target.kind === 'goto' ? { by: [] } : {}) };
  });
  const last = counted.findLast((each) => each?.of.kind === 'policies')?.of;
  const policies = last?.kind === 'policies' ? last.policies : [];
  return { ...chain, rules, policies, denies: rules.some(isDrop) };
}

/** In audit mode no endpoint chain does; else each one that isolates does. */
function drops({ chain, parts = [] }: EndpointChain): boolean {
  return [chain, ...parts].some(({ rules = [] }) => rules.some(isDrop));
}

function isDrop({ target }: Rule): boolean {
  return target.kind === 'drop' || (target.kind === 'goto' && partOf(target.chain) === 'denied');
}

/** The set as it stays: no policy keeps it up to date any more, or the kernel does not take what would. */
export function heldSet({ sets, revision }: Standing, name: string, directory: AddressDirectory): NftSet | undefined {
  const set = sets.get(name);
  if (!set) return undefined;
  const isOfPods = !set.isInterval && !sets.has(blocksBeside(name));
  const gone = [...set.elements.keys()].filter((element) => {
    const [address = ''] = element.split(',', 1);
    if (/[/-]/.test(address)) return false;
    return (isOfPods && directory.ownerOf(address) === undefined) || directory.changedHands(address, revision);
  });
  const elements = set.elements.with(gone.map((element) => [element, undefined]));
  const grants = set.grants ?? (set.type.startsWith(ADDRESS_TYPE[4]) ? 4 : 6);
  return elements === set.elements && set.grants === grants ? set : { ...set, grants, elements };
}
