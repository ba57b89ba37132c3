/**
 * The chains that find a pod's endpoint chain by its address: by the last four bits of the address first, then, while more than
 * `MAX_BUCKET` pods remain, by the three bits before them, and so on.
 *
 *   PCL-EG      -s 0.0.0.k/0.0.0.15    -g PCL-EG-k       PCL-IN likewise with -d, after the trunk exemption
 *   PCL-EG-k    -s 0.0.0.16j/0.0.0.112 -g PCL-EG-k-j     where the last four bits are k for more than MAX_BUCKET pods
 *   PCL-EG-k-j  -s <pod>               -g PCL-E-<hash>
 *
 * With 1,000 pods the last pod of the last bucket is found after 31 rules; in one list it would be after 1,000.
 */
import type { Direction, Family } from '../../../core/vocabulary.ts';
import type { ChainRole } from '../rules/chain.ts';
import type { Match, Rule } from '../rules/rule.ts';
import type { Dispatch, FamilyRules, Layout } from '../rules/ruleset.ts';

import { compareText } from '../../../core/compare.ts';
import { Chain, sameChain } from '../rules/chain.ts';
import { expressible } from '../rules/features.ts';
import { JUDGING_ORDER } from '../../judgings.ts';
import { judgesReplies } from '../rules/layout.ts';
import { lowBits } from '../rules/low-bits.ts';
import { bucketChain, dispatchChain, replyDispatchChain } from '../rules/names.ts';
import { replyChain } from '../../chain-names.ts';

/** Fewer pods are searched one by one sooner than they are divided once more. */
export const MAX_BUCKET = 32;
const FIRST_BITS = 4;
const NEXT_BITS = 3;
/** Addresses are told apart by their last 16 bits; those that share them all are in one bucket. */
const LOW_BITS = 16;

/**
 * The chains that lead from the entry chains to the endpoint chains, for any dispatch (the planner may hold pods back).
 * Empty buckets get neither a chain nor a rule. `known`: chains of before, which are used again where they are the same.
 */
export function dispatchChains(
  dispatch: FamilyRules['dispatch'],
  family: Family,
  layout: Layout,
  known: KnownChains = NO_CHAINS,
  trees = new DispatchTrees(),
): readonly Chain[] {
  return JUDGING_ORDER.flatMap((direction) => {
    const { buckets } = trees.of(family, direction, dispatch[direction]);
    const chains = (replies: boolean): Chain[] => {
      const exemption = direction === 'ingress' ? expressible(trunkExemption(layout, replies), family, layout) : [];
      const name = replies ? replyDispatchChain(direction) : dispatchChain(direction);
      return [...chainsOf(name, buckets, sideOf(direction, replies, known, dispatch[direction]), exemption)];
    };
    return judgesReplies(layout) ? [...chains(false), ...chains(true)] : chains(false);
  });
}

type KnownChains = ReadonlyMap<string, Chain>;
const NO_CHAINS: KnownChains = new Map();

interface Pod {
  readonly address: string;
  readonly low: number;
}

/** Pods by some of their bits, ascending; where these are many, by further bits. */
interface Buckets {
  readonly mask: number;
  readonly shift: number;
  readonly parts: readonly (readonly [bits: number, inside: Buckets | readonly Pod[]])[];
}

interface Tree {
  readonly addresses: ReadonlySet<string>;
  readonly buckets: Buckets;
}

/** How pods are divided, as long as their addresses are the same: whatever judges them is no matter there. */
export class DispatchTrees {
  readonly #trees = new Map<string, Tree>();

  of(family: Family, direction: Direction, dispatch: Dispatch): Tree {
    const key = `${family} ${direction}`;
    const known = this.#trees.get(key);
    if (known && isOfAddresses(known.addresses, dispatch)) return known;
    const addresses = [...dispatch.keys()].sort(compareText);
    const pods = addresses.map((address): Pod => ({ address, low: lowBits(address) }));
    const made = { addresses: new Set(addresses), buckets: divided(pods, 0, FIRST_BITS) };
    this.#trees.set(key, made);
    return made;
  }
}

function isOfAddresses(addresses: ReadonlySet<string>, dispatch: Dispatch): boolean {
  if (addresses.size !== dispatch.size) return false;
  for (const address of dispatch.keys()) if (!addresses.has(address)) return false;
  return true;
}

/** By `count` bits from bit `shift` on. */
function divided(pods: readonly Pod[], shift: number, count: number): Buckets {
  const mask = ((1 << count) - 1) << shift;
  const parts = partsOf(pods, mask).map(([bits, inside]): Buckets['parts'][number] => {
    const next = inside.length > MAX_BUCKET ? nextShift(inside, shift + count) : undefined;
    return [bits, next === undefined ? inside : divided(inside, next, NEXT_BITS)];
  });
  return { mask, shift, parts };
}

interface Side {
  readonly role: ChainRole;
  readonly pod: 'source' | 'destination';
  readonly bucket: 'source-bucket' | 'destination-bucket';
  /** The chain that judges what comes from this side, by the pod's address. */
  readonly judging: (address: string) => string;
  readonly known: KnownChains;
}

function sideOf(direction: Direction, replies: boolean, known: KnownChains, dispatch: Dispatch): Side {
  const pod = (direction === 'egress') !== replies ? 'source' : 'destination';
  const role = { kind: 'dispatch', direction, replies } as const;
  const nameOf = replies ? replyNames() : (target: string) => target;
  return { role, pod, bucket: `${pod}-bucket`, judging: (address) => nameOf(dispatch.get(address)!), known };
}

/** Many pods share an endpoint chain. */
function replyNames(): (target: string) => string {
  const names = new Map<string, string>();
  return (target) => {
    const name = names.get(target) ?? replyChain(target);
    names.set(target, name);
    return name;
  };
}

/** The chain `name`, which sends pods to parts, and the chains of the parts. */
function* chainsOf(
  name: string,
  { mask, shift, parts }: Buckets,
  side: Side,
  first: readonly Rule[] = [],
): Iterable<Chain> {
  const rules = parts.map(([bits]): Rule => {
    const match: Match = { kind: side.bucket, bits, mask };
    return { matches: [match], target: { kind: 'goto', chain: bucketChain(name, bits >> shift) } };
  });
  yield sameChain(side.known.get(name), new Chain(name, side.role, [...first, ...rules]));
  for (const [bits, inside] of parts) {
    const part = bucketChain(name, bits >> shift);
    if ('parts' in inside) yield* chainsOf(part, inside, side);
    else yield podChain(part, inside, side);
  }
}

/** Sends each pod's packets to its endpoint chain. */
function podChain(name: string, pods: readonly Pod[], { role, pod, judging, known }: Side): Chain {
  const before = known.get(name);
  const leads = (rule: Rule | undefined, { address }: Pod): boolean => {
    const [match] = rule?.matches ?? [];
    const isPod = match?.kind === pod && match.address === address;
    return isPod && rule?.target.kind === 'goto' && rule.target.chain === judging(address);
  };
  if (before?.rules.length === pods.length && pods.every((each, at) => leads(before.rules[at], each))) return before;
  const rules = pods.map(({ address }): Rule => {
    return { matches: [{ kind: pod, address }], target: { kind: 'goto', chain: judging(address) } };
  });
  return new Chain(name, role, rules);
}

/** Where the next bits begin that tell these pods apart; undefined if none do. */
function nextShift(pods: readonly Pod[], from: number): number | undefined {
  for (let shift = from; shift < LOW_BITS; shift += NEXT_BITS) {
    if (partsOf(pods, ((1 << NEXT_BITS) - 1) << shift).length > 1) return shift;
  }
  return undefined;
}

/** By their bits under the mask, ascending. */
function partsOf(pods: readonly Pod[], mask: number): [number, Pod[]][] {
  return [...Map.groupBy(pods, ({ low }) => low & mask)].sort(([a], [b]) => a - b);
}

/** With security groups for pods the node's own traffic comes back through FORWARD; a pod cannot forge the interface (S-60). */
function trunkExemption({ trunkInterfacePrefix: prefix }: Layout, replies: boolean): Rule[] {
  if (prefix === '') return [];
  const matches: readonly Match[] = replies
    ? [{ kind: 'out-interface-prefix', prefix }, { kind: 'destination-is-local' }]
    : [{ kind: 'in-interface-prefix', prefix }, { kind: 'source-is-local' }];
  return [{ matches, target: { kind: 'return' } }];
}
