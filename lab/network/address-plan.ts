/**
 * Every address of the lab, by index. Pure.
 *
 *   nodes      10.0.0.11 up                fd00:10::11 up              node i is ...11+i
 *   pods       10.244.<i>.0/24             fd00:10:244:<i>::/64        of node i; .1 is the bridge's where there is one
 *   Services   10.96.0.0/16                fd00:10:96::/112            given out by whoever writes the Services
 *   outside    203.0.113.0/24              2001:db8::/64               hosts that are not of the cluster
 *   gateways   169.254.1.1                 fe80::1                     next hop of nodes, outside hosts and routed pods
 */
import { type Cidr, cidrContains, parseCidr } from '../../src/net/cidr.ts';
import type { Family } from '../../src/core/vocabulary.ts';
import { familyOf, parseAddress } from '../../src/net/ip.ts';

/** One pod CIDR per node, numbered by the third byte. */
export const MAX_NODES = 200;
/** .0 is the network, .1 the bridge, .255 the broadcast address. */
export const FIRST_POD = 2;
export const LAST_POD = 254;
const FIRST_NODE = 11;
const FIRST_OUTSIDE = 10;
const LAST_OUTSIDE = 254;

/** Next hop that every interface of the lab can use, because nothing but the other end of its link ever sees it. */
export const GATEWAY = { 4: '169.254.1.1', 6: 'fe80::1' } as const satisfies Record<Family, string>;

/** The nodes' and the pods' addresses: what needs no source translation, as the VPC's own CIDRs with AWS VPC CNI. */
export const CLUSTER_CIDRS = {
  4: { nodes: '10.0.0.0/24', pods: '10.244.0.0/16', services: '10.96.0.0/16' },
  6: { nodes: 'fd00:10::/64', pods: 'fd00:10:244::/48', services: 'fd00:10:96::/112' },
} as const satisfies Record<Family, { nodes: string; pods: string; services: string }>;

export const OUTSIDE_CIDR = { 4: '203.0.113.0/24', 6: '2001:db8::/64' } as const satisfies Record<Family, string>;

/** Of the cluster's own things, and what no router forwards: nobody else's addresses. */
export const RESERVED_CIDRS: readonly Cidr[] = [
  ...Object.values(CLUSTER_CIDRS).flatMap(({ nodes, services }) => [nodes, services]),
  ...['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/3', '::/8', 'fe80::/10', 'ff00::/8'],
].map((text) => parseCidr(text)!);

/** Where no pod may be, whatever it asks for. */
export const NO_POD_CIDRS: readonly Cidr[] = [
  ...RESERVED_CIDRS,
  ...Object.values(OUTSIDE_CIDR).map((text) => parseCidr(text)!),
];

/** Address of node `index`, counted from 0. Throws from MAX_NODES on. */
export function nodeAddress(index: number, family: Family): string {
  checkNode(index);
  return family === 4 ? `10.0.0.${FIRST_NODE + index}` : `fd00:10::${hex(FIRST_NODE + index)}`;
}

export function podCidr(node: number, family: Family): string {
  checkNode(node);
  return family === 4 ? `10.244.${node}.0/24` : `${podPrefix6(node)}::/64`;
}

/** The bridge's own address in the pod CIDR, the pods' default gateway with wiring `bridge`. */
export function bridgeAddress(node: number, family: Family): string {
  return podAddress(node, family, 1);
}

/** Address `number` of the node's pod CIDR, 1..LAST_POD; the two families' last parts agree. */
export function podAddress(node: number, family: Family, number: number): string {
  checkNode(node);
  if (number < 1 || number > LAST_POD) throw new RangeError(`pod address number: ${number} is not in 1..${LAST_POD}`);
  return family === 4 ? `10.244.${node}.${number}` : `${podPrefix6(node)}::${hex(number)}`;
}

/** Whether `address` lies in one of the node's pod CIDRs. */
export function isPodAddressOf(node: number, address: string): boolean {
  return cidrContains(parseCidr(podCidr(node, familyOf(address)))!, parseAddress(address)!);
}

/** Default address of outside host `index`, counted from 0; undefined when the range is used up. */
export function outsideAddress(index: number, family: Family): string | undefined {
  const number = FIRST_OUTSIDE + index;
  if (number > LAST_OUTSIDE) return undefined;
  return family === 4 ? `203.0.113.${number}` : `2001:db8::${hex(number)}`;
}

/** Address bits of one host route, for `ip route` and `ip addr`. */
export const HOST_PREFIX_LENGTH = { 4: 32, 6: 128 } as const satisfies Record<Family, number>;

/** The address alone, as a prefix. */
export function hostCidr(address: string): string {
  return `${address}/${HOST_PREFIX_LENGTH[familyOf(address)]}`;
}

/** Of the pods' network on a bridge. */
export const BRIDGE_PREFIX_LENGTH = { 4: 24, 6: 64 } as const satisfies Record<Family, number>;

/**
 * The next free pod number after `last` (none yet: undefined), going round, so that an address is used again only when a caller
 * asks for it or all others had their turn. Undefined when all are taken.
 */
export function nextPodNumber(last: number | undefined, isFree: (number: number) => boolean): number | undefined {
  const size = LAST_POD - FIRST_POD + 1;
  const start = last === undefined ? 0 : last - FIRST_POD + 1;
  for (let step = 0; step < size; step++) {
    const number = FIRST_POD + ((start + step) % size);
    if (isFree(number)) return number;
  }
  return undefined;
}

function podPrefix6(node: number): string {
  return node === 0 ? 'fd00:10:244' : `fd00:10:244:${hex(node)}`;
}

function checkNode(index: number): void {
  if (index < 0 || index >= MAX_NODES) throw new RangeError(`node ${index}: the lab has room for ${MAX_NODES} nodes`);
}

function hex(number: number): string {
  return number.toString(16);
}
