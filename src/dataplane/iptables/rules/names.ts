/** Chain and set names: our prefix, then a hash of the full key, within the kernel's limits. */
import type { Direction, Family } from '../../../core/vocabulary.ts';

import { CHAIN_PARTS, NEW_PODS_DENIED, partChain, PREFIX, replyChain, shortHash } from '../../chain-names.ts';

/** iptables XT_EXTENSION_MAXNAMELEN (29) less the NUL. */
export const MAX_CHAIN_NAME = 28;

export const FORWARD_CHAIN = `${PREFIX}-FWD`;
export const INPUT_CHAIN = `${PREFIX}-INP`;
/** Where packets of live flows go that the rules in force have not judged. */
export const FORWARD_RECHECK_CHAIN = `${FORWARD_CHAIN}-RECHECK`;
export const INPUT_RECHECK_CHAIN = `${INPUT_CHAIN}-RECHECK`;
/** Where replies of live flows are judged. */
export const REPLY_CHAIN = `${PREFIX}-RPL`;

const OVERLAY = `${PREFIX}-O-`;

/** The chain that sends each isolated pod's packets to its bucket. */
export function dispatchChain(direction: Direction): string {
  return `${PREFIX}-${direction === 'egress' ? 'EG' : 'IN'}`;
}

/** A part of the dispatch chain, or part of a part: which of its pods the chain `parent` sends there. */
export function bucketChain(parent: string, part: number): string {
  return `${parent}-${part.toString(16)}`;
}

/** The chain that judges what comes by, or goes to, the interface of an isolated pod at an address that is not the pod's. */
export function guardChain(direction: Direction, replies = false): string {
  return `${PREFIX}-P${direction === 'egress' ? 'E' : 'I'}${replies ? 'R' : ''}`;
}

/** Where first packets from and to pods that are not programmed yet end (new-pods.ts). */
export const NEW_POD_CHAINS = {
  source: `${PREFIX}-NEW-S`,
  destination: `${PREFIX}-NEW-D`,
  denied: NEW_PODS_DENIED,
} as const;

/** The set of addresses of pods whose rules are in the kernel. */
export function programmedSet(family: Family): string {
  return `${PREFIX}${family}-programmed`;
}

/** Addresses of no pod in particular: unspecified (a DHCP client), link-local, multicast, limited broadcast. */
export const MULTICAST_AND_LINK_LOCAL: Readonly<Record<Family, readonly string[]>> = {
  4: ['0.0.0.0', '169.254.0.0/16', '224.0.0.0/4', '255.255.255.255'],
  6: ['::', 'fe80::/10', 'ff00::/8'],
};

/** As `dispatchChain`, for replies: egress of a local pod by destination, ingress by source. */
export function replyDispatchChain(direction: Direction): string {
  return `${dispatchChain(direction)}R`;
}

/** Names of the chains that an endpoint chain consists of, among those there are. */
export function chainsOfEndpoint(endpoint: string, chains: { has(name: string): boolean }): readonly string[] {
  const found = [endpoint, replyChain(endpoint)].filter((name) => chains.has(name));
  for (const part of CHAIN_PARTS)
    for (let number = 0; ; number++) {
      const name = partChain(endpoint, part, number);
      const both = [name, replyChain(name)].filter((each) => chains.has(each));
      if (both.length === 0) break;
      found.push(...both);
    }
  return found;
}

/** The chain that judges in the place of another one, from the head of which it is reached, until that is written anew. */
export function overlayChain(lines: readonly string[]): string {
  return `${OVERLAY}${shortHash(lines.join('\n'))}`;
}

export function isOverlay(chain: string): boolean {
  return chain.startsWith(OVERLAY);
}

export function setName(family: Family, meaning: string): string {
  return `${PREFIX}${family}-${shortHash(meaning)}`;
}

/** An empty set that is there while addresses were released since the last epoch. */
export function releasedSet(family: Family): string {
  return `${PREFIX}${family}-released`;
}

/** Of a set name of ours. */
export function familyOfSet(name: string): Family {
  return name.startsWith(`${PREFIX}6-`) ? 6 : 4;
}

export function isOurSet(name: string): boolean {
  return name.startsWith(`${PREFIX}4-`) || name.startsWith(`${PREFIX}6-`);
}
