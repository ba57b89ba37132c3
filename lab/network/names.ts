/** Names of namespaces, interfaces and hardware addresses in the lab. Pure. */
import { createHash } from 'node:crypto';
import type { Wiring } from './types.ts';

/** File names in /run/netns end at 255 bytes; a Kubernetes name may have 253 and a namespace 63 more. */
const MAX_NETNS_NAME = 200;

/** Underscores are in no Kubernetes name, so no two of these can be equal. */
export function nodeNetns(prefix: string, node: string): string {
  return bounded(`${prefix}node_${node}`);
}

export function podNetns(prefix: string, namespace: string, name: string): string {
  return bounded(`${prefix}pod_${namespace}_${name}`);
}

export function outsideNetns(prefix: string, host: string): string {
  return bounded(`${prefix}outside_${host}`);
}

export function fabricNetns(prefix: string): string {
  return `${prefix}fabric`;
}

/** How the names of routed pods' interfaces begin, as with AWS VPC CNI. */
export const ROUTED_POD_INTERFACES = 'eni';

/**
 * A pod's interface as its node sees it. Routed: `eni` and 11 hexadecimal digits of sha1("namespace.name"), the rule of AWS VPC
 * CNI (and, with another prefix, of Calico); 14 of IFNAMSIZ's 15 bytes. Bridge: `veth` and the same digits.
 */
export function hostInterface(wiring: Wiring, namespace: string, name: string): string {
  const digits = sha1(`${namespace}.${name}`).slice(0, 11);
  return wiring === 'routed' ? `${ROUTED_POD_INTERFACES}${digits}` : `veth${digits}`;
}

/** A locally administered unicast address, fixed by `seed`. */
export function hardwareAddress(seed: string): string {
  const digits = sha1(seed);
  return ['02', ...[0, 2, 4, 6, 8].map((at) => digits.slice(at, at + 2))].join(':');
}

function bounded(name: string): string {
  return name.length <= MAX_NETNS_NAME ? name : `${name.slice(0, MAX_NETNS_NAME - 17)}_${sha1(name).slice(0, 16)}`;
}

function sha1(text: string): string {
  return createHash('sha1').update(text).digest('hex');
}
