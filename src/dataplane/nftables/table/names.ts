/** Names in our table. Those of the chains that judge pods are in chain-names.ts. */
import type { Direction, Family } from '../../../core/vocabulary.ts';

import { nameIn } from './families.ts';
import { shortHash } from '../../chain-names.ts';

/** Our table, of family inet. */
export const NFT_TABLE = 'portcullis';

export const HOOKS = ['forward', 'input'] as const;
export const PREROUTING = 'prerouting';
export const ALL_HOOKS = [...HOOKS, PREROUTING] as const;
export type Hook = (typeof ALL_HOOKS)[number];

/** Names of interfaces that nft takes in quotes. */
export const PLAIN_NAME = /^[\w.:@-]+$/;

export const ADDRESS_TYPE = { 4: 'ipv4_addr', 6: 'ipv6_addr' } as const;

/** Where the first packets of flows go. */
export function firstChain(hook: Hook): string {
  return `${hook}-first`;
}

/** Where packets of live flows go that the rules in force have not judged. */
export function recheckChain(hook: Hook): string {
  return `${hook}-recheck`;
}

export const REPLIES_CHAIN = 'replies';
export const NEW_PODS_CHAINS = { source: 'new-pods-source', destination: 'new-pods-destination' } as const;

/** Finds a pod by its address. */
export function dispatchChain(direction: Direction, replies: boolean): string {
  return replies ? `${direction}-replies` : direction;
}

/** Finds a pod by its interface. */
export function guardChain(direction: Direction, replies: boolean): string {
  return `${dispatchChain(direction, replies)}-ports`;
}

/** Finds a pod by the port of a bridge. */
export function bridgedChain(direction: Direction, replies: boolean): string {
  return `${dispatchChain(direction, replies)}-bridged`;
}

export function bridgedMap(direction: Direction, replies: boolean, family: Family): string {
  return `${bridgedChain(direction, replies)}${family}`;
}

/** Of ports of bridges to their tags, by the end of the packet that is there. */
export const TAGGING_MAPS = { source: nameIn('bridge', 'entered'), destination: nameIn('bridge', 'leaving') } as const;

/** Of addresses, or of interfaces, to the chains that judge their pods. */
export function dispatchMap(direction: Direction, replies: boolean, family: Family): string {
  return `${dispatchChain(direction, replies)}${family}`;
}

export function guardMap(direction: Direction, replies: boolean, family: Family): string {
  return `${guardChain(direction, replies)}${family}`;
}

/** (Interface, address) of pods whose interfaces are guarded. */
export function listedSet(family: Family): string {
  return `listed${family}`;
}

/** (Address, the same address) of local pods: a pod's way to itself. */
export function itselfSet(family: Family): string {
  return `itself${family}`;
}

/** Addresses of pods whose rules are in force. */
export function programmedSet(family: Family): string {
  return `programmed${family}`;
}

/** Stamps flows with the epoch in force. */
export const STAMP_CHAIN = 'stamp';

/** Families in which addresses left sets since the last epoch without a new one. */
export const RELEASED_SET = 'released';

/** `part`: what of the meaning it holds. */
export function peerSet(
  part: 'pods' | 'blocks' | 'pod-ports' | 'block-ports',
  family: Family,
  meaning: string,
): string {
  return `${part}${family}-${shortHash(meaning)}`;
}

/** The set of the ranges that a set means beside these addresses, if it means any. */
export function blocksBeside(pods: string): string {
  return pods.replace(/^pod(-port)?s(?=[46]-)/, (_, ports: string | undefined) => `block${ports ?? ''}s`);
}
