/** Addresses outside of the cluster -> the blocks that a rule names for them. */
import type { Family } from '../../core/vocabulary.ts';
import type { Cidr } from '../../net/cidr.ts';

import { cidrContains, formatCidr, makeCidr, wholeFamily } from '../../net/cidr.ts';
import { ADDRESS_BITS, type Address, parseAddress } from '../../net/ip.ts';
import { FAMILIES } from '../../core/vocabulary.ts';

export interface Block {
  readonly cidr: string;
  readonly except: readonly string[];
  /** That were seen in it. */
  readonly addresses: readonly string[];
}

/** What one site or one provider's range is likely to have. */
const NETWORK_BITS = { 4: 24, 6: 64 } as const satisfies Record<Family, number>;

export interface BlockLimits {
  /** Of each family. */
  readonly most: number;
  /** Left out of what is meant by everything. */
  readonly podBlocks: readonly Cidr[];
}

/**
 * Up to `most` addresses of a family are named one by one; more of them by their networks (/24, /64); where these are more than `most`,
 * everything is meant, but for the blocks of pods.
 */
export function blocksFor(addresses: readonly string[], { most, podBlocks }: BlockLimits): readonly Block[] {
  const parsed = addresses.map((text) => ({ text, address: parseAddress(text)! }));
  return FAMILIES.flatMap((family) => {
    const own = parsed.filter(({ address }) => address.family === family);
    const single = own.map((each) => blockAround([each], ADDRESS_BITS[family]));
    if (own.length <= most) return single;
    const networks = Map.groupBy(own, ({ address }) => networkOf(address));
    if (networks.size > most) return [everything(family, own, podBlocks)];
    return [...networks.values()].map((inside) => {
      return blockAround(inside, inside.length === 1 ? ADDRESS_BITS[family] : NETWORK_BITS[family]);
    });
  });
}

interface Seen {
  readonly text: string;
  readonly address: Address;
}

function networkOf({ family, words }: Address): string {
  return formatCidr(makeCidr(family, words, NETWORK_BITS[family]));
}

function blockAround(seen: readonly Seen[], prefixLength: number): Block {
  const { family, words } = seen[0]!.address;
  const cidr = formatCidr(makeCidr(family, words, prefixLength));
  return { cidr, except: [], addresses: seen.map(({ text }) => text) };
}

function everything(family: Family, seen: readonly Seen[], podBlocks: readonly Cidr[]): Block {
  const except = podBlocks.filter(
    (block) => block.family === family && !seen.some(({ address }) => cidrContains(block, address)),
  );
  return {
    cidr: formatCidr(wholeFamily(family)),
    except: except.map(formatCidr),
    addresses: seen.map(({ text }) => text),
  };
}
