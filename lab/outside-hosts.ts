/** Hosts outside of the lab's cluster: `world`, and one in each `ipBlock` and each `except` that `world` is not in. Pure. */
import type { Family } from '../src/core/vocabulary.ts';
import type { OutsideSpec } from './network/types.ts';

import {
  type Cidr,
  cidrContains,
  cidrCovers,
  formatNetMember,
  halvesOf,
  makeCidr,
  parseCidr,
} from '../src/net/cidr.ts';
import { ADDRESS_BITS, parseAddress } from '../src/net/ip.ts';
import { CLUSTER_CIDRS, hostCidr, outsideAddress, RESERVED_CIDRS } from './network/address-plan.ts';

/** Beside `world`. */
const MAX_HOSTS = 4;
/** Added to a block's first address where there is room: .0 looks like a mistake. */
const OFFSET = 10;

/** Where no host outside of the cluster can be: the cluster itself, and what no router forwards. */
const RESERVED: readonly Cidr[] = [
  ...RESERVED_CIDRS,
  ...Object.values(CLUSTER_CIDRS).map(({ pods }) => parseCidr(pods)!),
];

interface Place {
  readonly kind: 'in-block' | 'in-except';
  readonly cidr: Cidr;
  /** Within it, but not meant. */
  readonly without: readonly Cidr[];
}

/**
 * `policies`: NetworkPolicies as the API server has stored them. `world` comes first, with addresses of its own; a host
 * `in-block-1` or `in-except-1` has one address per family, where both families have such a place, and none of `podAddresses`.
 */
export function outsideHostsFor(
  policies: readonly unknown[],
  families: readonly Family[],
  podAddresses: readonly string[] = [],
): readonly OutsideSpec[] {
  const notOutside = [...RESERVED, ...podAddresses.map((address) => parseCidr(hostCidr(address))!)];
  const taken = families.map((family) => parseAddress(outsideAddress(0, family)!)!);
  const found = { 'in-block': [[], []], 'in-except': [[], []] } as Record<Place['kind'], [string[], string[]]>;
  for (const { kind, cidr, without } of policies.flatMap(placesOf)) {
    if (!families.includes(cidr.family)) continue;
    const isThere = taken.some(
      (address) => cidrContains(cidr, address) && !without.some((no) => cidrContains(no, address)),
    );
    const text = isThere ? undefined : addressIn(cidr, [...notOutside, ...without]);
    if (text === undefined) continue;
    taken.push(parseAddress(text)!);
    found[kind][cidr.family === 4 ? 0 : 1].push(text);
  }
  const hosts = (['in-block', 'in-except'] as const).flatMap((kind) => {
    const [four, six] = found[kind];
    return Array.from({ length: Math.max(four.length, six.length) }, (_, index) => ({
      name: `${kind}-${index + 1}`,
      addresses: [four[index], six[index]].filter((address) => address !== undefined),
    }));
  });
  return [{ name: 'world' }, ...hosts.slice(0, MAX_HOSTS)];
}

interface LooseRule {
  readonly from?: readonly LoosePeer[] | null;
  readonly to?: readonly LoosePeer[] | null;
}

interface LoosePeer {
  readonly ipBlock?: { readonly cidr: string; readonly except?: readonly string[] | null } | null;
}

interface LoosePolicy {
  readonly spec?: { readonly ingress?: readonly LooseRule[] | null; readonly egress?: readonly LooseRule[] | null };
}

function placesOf(policy: unknown): Place[] {
  const { ingress, egress } = (policy as LoosePolicy).spec ?? {};
  const rules = [...(ingress ?? []), ...(egress ?? [])];
  return rules
    .flatMap((rule) => [...(rule.from ?? []), ...(rule.to ?? [])])
    .flatMap(({ ipBlock }) => {
      const cidr = ipBlock && parseCidr(ipBlock.cidr);
      if (!cidr) return [];
      const except = (ipBlock.except ?? []).flatMap((text) => parseCidr(text) ?? []);
      const inside = except.map((one): Place => ({ kind: 'in-except', cidr: one, without: [] }));
      return [{ kind: 'in-block' as const, cidr, without: except }, ...inside];
    });
}

/** An address of `cidr` in none of `without`; undefined if there is none. */
function addressIn(cidr: Cidr, without: readonly Cidr[]): string | undefined {
  if (without.some((no) => cidrCovers(no, cidr))) return undefined;
  const inside = without.filter((no) => cidrCovers(cidr, no));
  if (inside.length === 0) {
    const bits = ADDRESS_BITS[cidr.family];
    const hosts = bits - cidr.prefixLength;
    const offset = hosts >= 5 ? OFFSET : hosts >= 2 ? 1 : 0;
    const words = cidr.words.map((word, index) => (index === cidr.words.length - 1 ? word + offset : word));
    return formatNetMember(makeCidr(cidr.family, words, bits));
  }
  for (const half of halvesOf(cidr) ?? []) {
    const found = addressIn(half, inside);
    if (found !== undefined) return found;
  }
  return undefined;
}
