/** What one local pod brings into the table: elements that lead packets to its chains, and these. */
import { type Direction, FAMILIES, type Family } from '../../../core/vocabulary.ts';
import type { LocalEndpoint, NodeIntent } from '../../../compile/intent.ts';
import type { PodInterfaces } from '../../../host/pod-interfaces.ts';
import type { Degraded } from '../../dataplane.ts';
import type { Judging } from '../../judgings.ts';
import type { End } from '../table/rule.ts';
import type { Layout } from '../table/table.ts';
import type { EndpointChain } from './endpoint-chains.ts';

import { isSameList } from '../../../core/compare.ts';
import { familyOf } from '../../../net/ip.ts';
import { replyChain } from '../../chain-names.ts';
import { JUDGING_ORDER } from '../../judgings.ts';
import { nameIn } from '../table/families.ts';
import { bridgedMap, dispatchMap, guardMap, itselfSet, listedSet, PLAIN_NAME, TAGGING_MAPS } from '../table/names.ts';
import { stamps } from '../table/table.ts';
import { tagsOf } from '../table/tags.ts';
import { ownEnd } from './entry-chains.ts';

const ENDS = ['source', 'destination'] as const;

/** What judges a pod, the same object for pods that are judged alike; undefined: nothing does. */
export type ChainFor = (of: {
  readonly direction: Direction;
  readonly endpoint: LocalEndpoint;
  readonly family: Family;
  /** Absent: it is found in another way. */
  readonly address?: string;
}) => Found | undefined;

/** `instead`: of what its policies ask for, as the kernel refuses that. */
export interface Found {
  readonly judged: EndpointChain;
  readonly instead?: EndpointChain;
}

export type JudgingsOf = Readonly<Record<Direction, Judging | undefined>>;

/** An interface of an isolated pod that this table can tell. */
export interface Guard {
  readonly name: string;
  readonly directions: readonly Direction[];
  /** Of a port of a bridge (bridged-ports.ts), by the end of the packet that is there. */
  readonly tags?: Readonly<Record<End, string>>;
}

export interface Guards {
  readonly of: ReadonlyMap<LocalEndpoint, readonly Guard[]>;
  /** In which interfaces that are no ports of bridges are guarded. */
  readonly directions: ReadonlySet<Direction>;
  /** There is such an interface. */
  readonly isAny: boolean;
  /** There is a port of a bridge. */
  readonly isAnyPort: boolean;
}

export const NO_INTERFACE: readonly Guard[] = [];
export const NO_GUARDS: Guards = { of: new Map(), directions: new Set(), isAny: false, isAnyPort: false };

export function guardsOf({ endpoints }: NodeIntent, interfaces: PodInterfaces): Guards {
  if (interfaces.pods.length === 0) return NO_GUARDS;
  const endpointOf = new Map(endpoints.map((endpoint) => [endpoint.pod, endpoint]));
  const of = new Map<LocalEndpoint, Guard[]>();
  const all = new Set<Direction>();
  const tagsOfPort = portTags(interfaces);
  let [isAny, isAnyPort] = [false, false];
  for (const { name, via, pod } of interfaces.pods) {
    const endpoint = endpointOf.get(pod);
    if (!endpoint || !PLAIN_NAME.test(name)) continue;
    // What is routed to a pod is routed to an address that is the pod's.
    const directions = JUDGING_ORDER.filter((direction) => direction === 'egress' || via !== 'route').filter(
      (direction) => endpoint.programs[direction] !== undefined || endpoint.audits[direction] !== undefined,
    );
    if (directions.length === 0) continue;
    const tags = via === 'bridge' ? tagsOfPort(name) : undefined;
    of.set(endpoint, [...(of.get(endpoint) ?? []), { name, directions, ...(tags ? { tags } : {}) }]);
    if (tags) isAnyPort = true;
    else {
      isAny = true;
      for (const direction of directions) all.add(direction);
    }
  }
  return { of, directions: all, isAny, isAnyPort };
}

function portTags({ pods }: PodInterfaces): (name: string) => Readonly<Record<End, string>> {
  const names = pods.filter(({ via }) => via === 'bridge').map(({ name }) => name);
  const [source, destination] = [tagsOf('source', names), tagsOf('destination', names)];
  return (name) => ({ source: source.get(name)!, destination: destination.get(name)! });
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
  readonly degraded: readonly Degraded[];
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
  return (
    a.name === b.name &&
    isSameList(a.directions, b.directions) &&
    a.tags?.source === b.tags?.source &&
    a.tags?.destination === b.tags?.destination
  );
}

export function bring(from: From, layout: Layout, chainFor: ChainFor): Brought {
  const { endpoint, guards } = from;
  const ways = stamps(layout) ? [false, true] : [false];
  const chains: EndpointChain[] = [];
  const degraded: Degraded[] = [];
  const elements = new Map<string, Map<string, true | string>>();
  const put = (set: string, element: string, value: true | string): void => {
    const of = elements.get(set);
    if (of) of.set(element, value);
    else elements.set(set, new Map([[element, value]]));
  };
  const lead = (
    map: typeof dispatchMap,
    direction: Direction,
    family: Family,
    key: string | ((replies: boolean) => string),
    address?: string,
  ): void => {
    const found = chainFor({ direction, endpoint, family, ...(address === undefined ? {} : { address }) });
    if (!found) return;
    chains.push(found.judged);
    const { name } = found.judged.chain;
    if (found.instead && address !== undefined)
      degraded.push({ address, desired: found.instead.chain.name, actual: name });
    for (const replies of ways) {
      const element = typeof key === 'string' ? key : key(replies);
      put(map(direction, replies, family), element, `goto ${replies ? replyChain(name) : name}`);
    }
  };
  for (const address of endpoint.addresses) {
    const family = familyOf(address);
    put(itselfSet(family), `${address} . ${address}`, true);
    for (const { name, tags } of guards) {
      const listed = tags ? nameIn('bridge', listedSet(family)) : listedSet(family);
      put(listed, `"${name}" . ${address}`, true);
    }
    for (const direction of JUDGING_ORDER) lead(dispatchMap, direction, family, address, address);
  }
  for (const { name, directions, tags } of guards) {
    for (const end of tags ? ENDS : []) put(TAGGING_MAPS[end], `"${name}"`, tags![end]);
    for (const direction of directions)
      for (const family of FAMILIES) {
        if (!tags) lead(guardMap, direction, family, `"${name}"`);
        else lead(bridgedMap, direction, family, (replies) => tags[ownEnd(direction, replies)]);
      }
  }
  return { ...from, chains, elements, degraded };
}
