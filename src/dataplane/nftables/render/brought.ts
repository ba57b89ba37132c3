/** What one local pod brings into the table: elements that lead packets to its chains, and these. */
import { type Direction, FAMILIES, type Family } from '../../../core/vocabulary.ts';
import type { LocalEndpoint, NodeIntent } from '../../../compile/intent.ts';
import type { PodInterfaces } from '../../../host/pod-interfaces.ts';
import type { Judging } from '../../judgings.ts';
import type { Layout } from '../table/table.ts';
import type { EndpointChain } from './endpoint-chains.ts';

import { isSameList } from '../../../core/compare.ts';
import { familyOf } from '../../../net/ip.ts';
import { replyChain } from '../../chain-names.ts';
import { JUDGING_ORDER } from '../../judgings.ts';
import { dispatchMap, guardMap, itselfSet, listedSet } from '../table/names.ts';
import { stamps } from '../table/table.ts';

/** What judges a pod, the same object for pods that are judged alike; undefined: nothing does. */
export type ChainFor = (direction: Direction, endpoint: LocalEndpoint, family: Family) => EndpointChain | undefined;

export type JudgingsOf = Readonly<Record<Direction, Judging | undefined>>;

/** An interface of an isolated pod that this table can tell. */
export interface Guard {
  readonly name: string;
  readonly directions: readonly Direction[];
}

export interface Guards {
  readonly of: ReadonlyMap<LocalEndpoint, readonly Guard[]>;
  readonly directions: ReadonlySet<Direction>;
}

export const NO_INTERFACE: readonly Guard[] = [];
export const NO_GUARDS: Guards = { of: new Map(), directions: new Set() };

/** Names that nft takes in quotes. Ports of bridges are not seen in a table of family inet. */
const PLAIN_NAME = /^[\w.:@-]+$/;

export function guardsOf({ endpoints }: NodeIntent, interfaces: PodInterfaces): Guards {
  if (interfaces.pods.length === 0) return NO_GUARDS;
  const endpointOf = new Map(endpoints.map((endpoint) => [endpoint.pod, endpoint]));
  const of = new Map<LocalEndpoint, Guard[]>();
  const all = new Set<Direction>();
  for (const { name, via, pod } of interfaces.pods) {
    const endpoint = endpointOf.get(pod);
    if (!endpoint || via === 'bridge' || !PLAIN_NAME.test(name)) continue;
    // What is routed to a pod is routed to an address that is the pod's.
    const directions = JUDGING_ORDER.filter((direction) => direction === 'egress' || via !== 'route').filter(
      (direction) => endpoint.programs[direction] !== undefined || endpoint.audits[direction] !== undefined,
    );
    if (directions.length === 0) continue;
    of.set(endpoint, [...(of.get(endpoint) ?? []), { name, directions }]);
    for (const direction of directions) all.add(direction);
  }
  return { of, directions: all };
}

interface From {
  readonly endpoint: LocalEndpoint;
  readonly judgings: JudgingsOf;
  readonly guards: readonly Guard[];
}

export interface Brought extends From {
  /** One for each time that something leads to it. */
  readonly chains: readonly EndpointChain[];
  /** By set, then by element. */
  readonly elements: ReadonlyMap<string, ReadonlyMap<string, true | string>>;
}

/** Whether the same endpoint would be brought again from these. */
export function isBrought(before: From, judgings: JudgingsOf, guards: readonly Guard[]): boolean {
  const isSame = (a: Judging | undefined, b: Judging | undefined): boolean =>
    a?.program === b?.program && a?.audit === b?.audit;
  if (!JUDGING_ORDER.every((direction) => isSame(before.judgings[direction], judgings[direction]))) return false;
  if (before.guards === guards) return true;
  return before.guards.length === guards.length && before.guards.every((guard, at) => isSameGuard(guard, guards[at]!));
}

function isSameGuard(a: Guard, b: Guard): boolean {
  return a.name === b.name && isSameList(a.directions, b.directions);
}

export function bring(from: From, layout: Layout, chainFor: ChainFor): Brought {
  const { endpoint, guards } = from;
  const ways = stamps(layout) ? [false, true] : [false];
  const chains: EndpointChain[] = [];
  const elements = new Map<string, Map<string, true | string>>();
  const put = (set: string, element: string, value: true | string): void => {
    const of = elements.get(set);
    if (of) of.set(element, value);
    else elements.set(set, new Map([[element, value]]));
  };
  const lead = (map: typeof dispatchMap, direction: Direction, family: Family, key: string): void => {
    const found = chainFor(direction, endpoint, family);
    if (!found) return;
    chains.push(found);
    const { name } = found.chain;
    for (const replies of ways) put(map(direction, replies, family), key, `goto ${replies ? replyChain(name) : name}`);
  };
  for (const address of endpoint.addresses) {
    const family = familyOf(address);
    put(itselfSet(family), `${address} . ${address}`, true);
    for (const { name } of guards) put(listedSet(family), `"${name}" . ${address}`, true);
    for (const direction of JUDGING_ORDER) lead(dispatchMap, direction, family, address);
  }
  for (const { name, directions } of guards)
    for (const direction of directions) for (const family of FAMILIES) lead(guardMap, direction, family, `"${name}"`);
  return { ...from, chains, elements };
}
