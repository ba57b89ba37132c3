/** The one address plan of the tests that have no network of their own, and the placeholders that keep tables free of it. */
import { formatCidr, parseCidr } from '../../src/net/cidr.ts';
import type { Family } from '../../src/core/vocabulary.ts';
import { ADDRESS_BITS } from '../../src/net/ip.ts';

export const FAMILIES = [4, 6] as const satisfies readonly Family[];

/** Canonical text; a family may be missing. */
export type Addresses = Readonly<Partial<Record<Family, string>>>;

/** The `index`-th node: 172.18.0.2, fd00:18::2 and on. */
export function nodeAddresses(index: number): Addresses {
  return { 4: `172.18.0.${index + 2}`, 6: `fd00:18::${(index + 2).toString(16)}` };
}

/** The `index`-th pod of the cluster, on the `node`-th node: 10.244.<node + 1>.<index + 2>, fd00:10:244:<node + 1>::<index + 2>. */
export function podAddresses(node: number, index: number): Addresses {
  const host = (index + 2).toString(16);
  return { 4: `10.244.${node + 1}.${index + 2}`, 6: `fd00:10:244:${(node + 1).toString(16)}::${host}` };
}

/** The `index`-th host outside of the cluster: 203.0.113.10, 2001:db8::a and on. */
export function outsideAddresses(index: number): Addresses {
  return { 4: `203.0.113.${index + 10}`, 6: `2001:db8::${(index + 10).toString(16)}` };
}

/** Where a depth keeps what its endpoints are called: `x/a` a pod, anything without a slash a node or an outside host. */
export type AddressOf = (endpoint: string, family: Family) => string | undefined;

const PLACEHOLDER = /\{(ip|host|cidr|all)([46]?)(?::([^{}]+?))?\}/g;

/** Whether any string in `value` holds a placeholder that leaves the family open. */
export function hasOpenFamily(value: unknown): boolean {
  return [...JSON.stringify(value).matchAll(PLACEHOLDER)].some(([, , family]) => family === '');
}

/**
 * `value` (JSON) with its placeholders replaced by addresses of `family`, or of the family that a placeholder names (`{ip6:x/b}`):
 * `{ip:x/b}` the address; `{host:x/b}` the address as a CIDR; `{cidr:x/b/24|64}` its IPv4 /24 or IPv6 /64, host bits cleared;
 * `{all}` every address of the family. Throws on an endpoint without an address: a table would silently mean something else.
 */
export function resolvePlaceholders<T>(value: T, addressOf: AddressOf, family: Family): T {
  const text = JSON.stringify(value).replaceAll(PLACEHOLDER, (whole, word: string, own: string, argument = '') => {
    const chosen: Family = own === '' ? family : own === '4' ? 4 : 6;
    if (word === 'all') return chosen === 4 ? '0.0.0.0/0' : '::/0';
    const match = /^(.+?)(?:\/(\d+)(?:\|(\d+))?)?$/.exec(argument);
    const [endpoint, bits] =
      word === 'cidr' && match ? [match[1]!, (chosen === 6 && match[3]) || match[2]] : [argument, ''];
    const address = addressOf(endpoint, chosen);
    if (address === undefined) throw new Error(`${whole}: ${endpoint} has no IPv${chosen} address`);
    if (word === 'ip') return address;
    if (word === 'host') return `${address}/${ADDRESS_BITS[chosen]}`;
    const cidr = parseCidr(`${address}/${bits}`);
    if (cidr === undefined) throw new Error(`${whole}: not a prefix`);
    return formatCidr(cidr);
  });
  return JSON.parse(text) as T;
}
