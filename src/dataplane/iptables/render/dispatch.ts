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

import { Chain } from '../rules/chain.ts';
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
 * Empty buckets get neither a chain nor a rule.
 */
export function dispatchChains(dispatch: FamilyRules['dispatch'], family: Family, layout: Layout): readonly Chain[] {
  return JUDGING_ORDER.flatMap((direction) => {
    const original = directionChains(direction, dispatch[direction], false, family, layout);
    return judgesReplies(layout)
      ? [...original, ...directionChains(direction, dispatch[direction], true, family, layout)]
      : original;
  });
}

function directionChains(
  direction: Direction,
  dispatch: Dispatch,
  replies: boolean,
  family: Family,
  layout: Layout,
): Chain[] {
  const side = (direction === 'egress') !== replies ? 'source' : 'destination';
  const pods = [...dispatch.keys()].sort().map((address): Pod => {
    const target = dispatch.get(address)!;
    const match: Match = { kind: side, address };
    return {
      low: lowBits(address),
      rule: { matches: [match], target: { kind: 'goto', chain: replies ? replyChain(target) : target } },
    };
  });
  const name = replies ? replyDispatchChain(direction) : dispatchChain(direction);
  const role = { kind: 'dispatch', direction, replies } as const;
  const [top, ...parts] = divided(name, pods, 0, FIRST_BITS, { role, kind: `${side}-bucket` });
  const exemption = direction === 'ingress' ? expressible(trunkExemption(layout, replies), family, layout) : [];
  return [new Chain(name, role, [...exemption, ...top!.rules]), ...parts];
}

interface Pod {
  readonly low: number;
  /** Sends its packets to its endpoint chain. */
  readonly rule: Rule;
}

interface Side {
  readonly role: ChainRole;
  readonly kind: 'source-bucket' | 'destination-bucket';
}

/** The chain `name`, which sends pods to parts by `count` bits from bit `shift` on, and the chains of the parts. */
function divided(name: string, pods: readonly Pod[], shift: number, count: number, of: Side): Chain[] {
  const { role, kind } = of;
  const mask = ((1 << count) - 1) << shift;
  const parts = partsOf(pods, mask);
  const rules = parts.map(([bits]): Rule => {
    return { matches: [{ kind, bits, mask }], target: { kind: 'goto', chain: bucketChain(name, bits >> shift) } };
  });
  const chains = parts.flatMap(([bits, inside]) => {
    const part = bucketChain(name, bits >> shift);
    const next = inside.length > MAX_BUCKET ? nextShift(inside, shift + count) : undefined;
    return next === undefined
      ? [
          new Chain(
            part,
            role,
            inside.map(({ rule }) => rule),
          ),
        ]
      : divided(part, inside, next, NEXT_BITS, of);
  });
  return [new Chain(name, role, rules), ...chains];
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
