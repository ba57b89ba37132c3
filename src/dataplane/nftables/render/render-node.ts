/**
 * The door of this stage: NodeIntent -> Table. The layout is drawn here. `4` and `6`: one of each family.
 *
 *   forward, priority mangle                                             input likewise (egress only)
 *     1 neither established nor related        jump forward-first        the first packets of flows
 *     2 mark is not that of epoch4, epoch6     jump forward-recheck      live flows that these rules have not judged
 *   forward-first
 *     1 neighbour discovery (IPv6)             return                    S-58
 *     2 jump new-pods-source, -destination                               pods that are not programmed yet; only with --new-pods=closed
 *     3 jump egress-ports, ingress-ports                                 by interface: what is at no listed address; where pods' are known
 *     4 jump egress                            by source      -> map egress4   -> PCL-E-<hash>
 *     5 jump ingress                           by destination -> map ingress4  -> PCL-I-<hash>
 *     6 map stamp -> stamp-<mark>              the epoch in force, and no denied flag
 *   forward-recheck
 *     1 ICMP error of a flow                   return, or drop if the flow is denied (S-07)
 *     2 reply                                  goto replies              in input: return (S-60)
 *     3 goto forward-first
 *   PCL-E-<hash>  invalid drop; a return per rule, port before peers; a pod's way to itself return (S-62); flag, log, drop
 *                 with tiers of cluster-wide policies: tiered-chains.ts
 *   replies -> egress-replies -> PCL-ER-<hash>, ...                      the same with source and destination exchanged
 *
 * Every packet of a live flow meets the rules of `forward` and nothing else of ours. A pod is found by one look into a map, however many there
 * are. What changes with the cluster are elements of sets and maps, and chains named by a hash of what they hold: a change of any kind adds
 * objects and turns elements over to them, and so does another epoch (plan/epochs.ts). What nothing leads to any more is deleted later.
 */
import { type Direction, FAMILIES, type Family } from '../../../core/vocabulary.ts';
import type { LocalEndpoint, NodeIntent } from '../../../compile/intent.ts';
import type { Sliced } from '../../../core/sliced.ts';
import type { PodInterfaces } from '../../../host/pod-interfaces.ts';
import type { Judging } from '../../judgings.ts';
import type { Rule } from '../table/rule.ts';
import type { Chain, Elements, Layout, NftSet, Table } from '../table/table.ts';
import type { EndpointChain } from './endpoint-chains.ts';

import { hasTiers } from '../../../compile/program.ts';
import { runSync } from '../../../core/sliced.ts';
import { JournaledMap, versionedMap } from '../../../core/versioned-map.ts';
import { NO_INTERFACES } from '../../../host/pod-interfaces.ts';
import { familyOf } from '../../../net/ip.ts';
import { replyChain } from '../../chain-names.ts';
import { JUDGING_ORDER, judgingKey, judgingsOf } from '../../judgings.ts';
import { dispatchMap, guardMap, itselfSet, listedSet, programmedSet } from '../table/names.ts';
import { isSameChain, isSameKind, stamps } from '../table/table.ts';
import { chainsOf, closedEndpoint, plainChains, type SetNames } from './endpoint-chains.ts';
import { entryChains, isClosed } from './entry-chains.ts';
import { evolved, PeerSets } from './peer-sets.ts';
import { tieredChains } from './tiered-chains.ts';

const ADDRESS_TYPE = { 4: 'ipv4_addr', 6: 'ipv6_addr' } as const;

interface Rendered {
  readonly intent: NodeIntent;
  readonly layout: Layout;
  readonly interfaces: PodInterfaces;
  readonly rejected: Rejected;
}

/** By names of chains and sets that the kernel refuses. The same object as long as they are the same. */
export type Rejected = Pick<ReadonlySet<string>, 'size' | 'has'>;
const NONE_REJECTED: Rejected = new Set();

/** By family and `judgingKey`. */
type KnownChains = ReadonlyMap<string, Judging & EndpointChain>;

/** What becomes of the pods of one family in one direction. */
interface Dispatch {
  readonly addresses: ReadonlyMap<string, string>;
  /** By interface. */
  readonly guards: ReadonlyMap<string, string>;
}

/** Renders again and again; what the intent did not change is the same object as last time, or a version of it. */
export class NodeRenderer {
  #last: Rendered | undefined;
  #chains = new JournaledMap<string, Chain>();
  #sets = new JournaledMap<string, NftSet>();
  #known: KnownChains = new Map();
  #stopping: ReadonlySet<string> = new Set();
  readonly #peers = new PeerSets();

  /** Names of the sets that rules of the last table deny or pass by: who joins one was judged without these rules before. */
  get stopping(): ReadonlySet<string> {
    return this.#stopping;
  }

  render(intent: NodeIntent, layout: Layout, interfaces: PodInterfaces = NO_INTERFACES): Table {
    return runSync(this.renderInSteps(intent, layout, interfaces));
  }

  /** `rejected`: chains and sets that the kernel refuses; the pods they are for are closed. To be run to its end. */
  *renderInSteps(
    intent: NodeIntent,
    layout: Layout,
    interfaces: PodInterfaces = NO_INTERFACES,
    rejected: Rejected = NONE_REJECTED,
  ): Sliced<Table> {
    const now: Rendered = { intent, layout, interfaces, rejected };
    const changed = yield* this.#peers.render(intent);
    if (changed === 'others' || !this.#last || !isSameButSets(this.#last, now)) yield* this.#renderRules(now);
    else for (const set of changed) if (this.#sets.get(set.name)) this.#sets.set(set.name, set);
    this.#last = now;
    return { chains: this.#chains.snapshot(), sets: this.#sets.snapshot() };
  }

  *#renderRules(now: Rendered): Sliced<void> {
    const { intent, layout, interfaces } = now;
    const isSameLayout = this.#last !== undefined && JSON.stringify(this.#last.layout) === JSON.stringify(layout);
    const endpoints = yield* this.#endpointChains(intent, layout, isSameLayout ? this.#known : new Map());
    this.#known = endpoints;
    const closed = new Map(JUDGING_ORDER.map((direction) => [direction, closedEndpoint(direction, layout)]));
    const chainFor: ChainFor = (direction, endpoint, family) => {
      const key = judgingKey(endpoint.programs[direction], endpoint.audits[direction]);
      const found = endpoints.get(`${family} ${key}`);
      return found && this.#isRejected(found, now.rejected) ? closed.get(direction) : found;
    };
    const guards = guardsOf(intent, interfaces);
    const guarded = JUDGING_ORDER.filter((direction) => guards.some((guard) => guard.directions.includes(direction)));
    const used = new Map<string, EndpointChain>();
    const sets = new Map<string, NftSet>(staticSets(intent, layout, guards).map((set) => [set.name, set]));
    for (const family of FAMILIES) {
      for (const direction of JUDGING_ORDER) {
        const found = dispatchOf(direction, family, intent, guards, chainFor, used);
        for (const set of dispatchSets(direction, family, found, layout, guarded)) sets.set(set.name, set);
        yield;
      }
    }
    const chains = new Map<string, Chain>(entryChains(layout, guarded).map((chain) => [chain.name, chain]));
    const judging = [...used.values()].flatMap(chainsOf);
    for (const each of judging) chains.set(each.name, each);
    const mentioned = setsIn(judging);
    this.#stopping = setsIn(judging, ({ by, target }) => by !== undefined && target.kind === 'goto');
    for (const set of this.#peers.all()) if (mentioned.has(set.name)) sets.set(set.name, set);
    become(this.#chains, chains, (before, chain) => (isSameChain(before, chain) ? before : chain));
    become(this.#sets, sets, sameSet);
  }

  *#endpointChains(intent: NodeIntent, layout: Layout, known: KnownChains): Sliced<KnownChains> {
    const found = new Map<string, Judging & EndpointChain>();
    for (const [key, judging] of yield* judgingsOf(intent)) {
      for (const family of FAMILIES) {
        const before = known.get(`${family} ${key}`);
        const isSame = before?.program === judging.program && before?.audit === judging.audit;
        const names: SetNames = (set) => this.#peers.names(set);
        const now = before && isSame ? before : { ...judging, ...chainsFor(judging, family, layout, names) };
        found.set(`${family} ${key}`, now);
      }
      yield;
    }
    return found;
  }

  #isRejected(endpoint: EndpointChain, rejected: Rejected): boolean {
    if (rejected.size === 0) return false;
    const chains = chainsOf(endpoint);
    const names = [...chains.map(({ name }) => name), ...setsIn(chains)];
    return names.some((name) => rejected.has(name));
  }
}

function chainsFor(judging: Judging, family: Family, layout: Layout, names: SetNames): EndpointChain {
  const { program, audit } = judging;
  if (program && hasTiers(program)) return tieredChains({ program, audit, family, layout, names });
  return plainChains(judging, family, layout, names);
}

type ChainFor = (direction: Direction, endpoint: LocalEndpoint, family: Family) => EndpointChain | undefined;

function isSameButSets(a: Rendered, b: Rendered): boolean {
  return (
    a.intent.endpoints === b.intent.endpoints &&
    a.intent.programs === b.intent.programs &&
    a.intent.audits === b.intent.audits &&
    (!isClosed(b.layout) || a.intent.localAddresses === b.intent.localAddresses) &&
    a.interfaces === b.interfaces &&
    a.rejected === b.rejected &&
    (a.layout === b.layout || JSON.stringify(a.layout) === JSON.stringify(b.layout))
  );
}

/** Names of the sets that rules ask about. */
function setsIn(chains: readonly Chain[], isAsked: (rule: Rule) => boolean = () => true): ReadonlySet<string> {
  const matches = chains.flatMap(({ rules = [] }) => rules.filter(isAsked).flatMap((rule) => rule.matches));
  return new Set(matches.flatMap((match) => ('set' in match ? [match.set] : [])));
}

function become<V>(map: JournaledMap<string, V>, now: ReadonlyMap<string, V>, keep: (before: V, now: V) => V): void {
  for (const name of [...map.snapshot().keys()]) if (!now.has(name)) map.set(name, undefined);
  for (const [name, value] of now) {
    const before = map.get(name);
    map.set(name, before === undefined ? value : keep(before, value));
  }
}

/** As a version of what it was; sets of peers are that already. */
function sameSet(before: NftSet, now: NftSet): NftSet {
  if (before === now || now.grants !== undefined || !isSameKind(before, now)) return now;
  const elements = evolved(before.elements, now.elements);
  return elements === before.elements ? before : { ...now, elements };
}

// ------------------------------------------------------------------------------------------------------------ dispatch

/** An interface of an isolated pod that this table can tell. */
interface Guard {
  readonly name: string;
  readonly endpoint: LocalEndpoint;
  readonly directions: readonly Direction[];
}

/** Names that nft takes in quotes. Ports of bridges are not seen in a table of family inet. */
const PLAIN_NAME = /^[\w.:@-]+$/;

function guardsOf({ endpoints }: NodeIntent, interfaces: PodInterfaces): readonly Guard[] {
  if (interfaces.pods.length === 0) return [];
  const endpointOf = new Map(endpoints.map((endpoint) => [endpoint.pod, endpoint]));
  return interfaces.pods.flatMap(({ name, via, pod }) => {
    const endpoint = endpointOf.get(pod);
    if (!endpoint || via === 'bridge' || !PLAIN_NAME.test(name)) return [];
    // What is routed to a pod is routed to an address that is the pod's.
    const directions = JUDGING_ORDER.filter((direction) => direction === 'egress' || via !== 'route').filter(
      (direction) => endpoint.programs[direction] !== undefined || endpoint.audits[direction] !== undefined,
    );
    return directions.length === 0 ? [] : [{ name, endpoint, directions }];
  });
}

function dispatchOf(
  direction: Direction,
  family: Family,
  { endpoints }: NodeIntent,
  guards: readonly Guard[],
  chainFor: ChainFor,
  used: Map<string, EndpointChain>,
): Dispatch {
  const use = (endpoint: LocalEndpoint): string | undefined => {
    const found = chainFor(direction, endpoint, family);
    if (found) used.set(found.chain.name, found);
    return found?.chain.name;
  };
  const addresses = new Map<string, string>();
  for (const endpoint of endpoints) {
    for (const address of endpoint.addresses) {
      const chain = familyOf(address) === family ? use(endpoint) : undefined;
      if (chain !== undefined) addresses.set(address, chain);
    }
  }
  const ports = new Map<string, string>();
  for (const { name, endpoint, directions } of guards) {
    const chain = directions.includes(direction) ? use(endpoint) : undefined;
    if (chain !== undefined) ports.set(`"${name}"`, chain);
  }
  return { addresses, guards: ports };
}

function dispatchSets(
  direction: Direction,
  family: Family,
  { addresses, guards }: Dispatch,
  layout: Layout,
  guarded: readonly Direction[],
): readonly NftSet[] {
  return [false, ...(stamps(layout) ? [true] : [])].flatMap((replies) => {
    const leads = (chain: string): string => `goto ${replies ? replyChain(chain) : chain}`;
    const elementsOf = (from: ReadonlyMap<string, string>): Elements =>
      versionedMap([...from].map(([key, chain]) => [key, leads(chain)]));
    const map = { isMap: true, type: ADDRESS_TYPE[family] };
    return [
      { ...map, name: dispatchMap(direction, replies, family), elements: elementsOf(addresses) },
      ...(guarded.includes(direction)
        ? [{ ...map, type: 'ifname', name: guardMap(direction, replies, family), elements: elementsOf(guards) }]
        : []),
    ];
  });
}

/** Those that every table of the layout has. */
function staticSets({ endpoints, localAddresses }: NodeIntent, layout: Layout, guards: readonly Guard[]): NftSet[] {
  return [
    ...FAMILIES.flatMap((family): NftSet[] => {
      const type = ADDRESS_TYPE[family];
      const ofFamily = (addresses: Iterable<string>): string[] =>
        [...addresses].filter((each) => familyOf(each) === family);
      const set = (name: string, of: string, elements: readonly string[]): NftSet => {
        return { name, type: of, elements: versionedMap(elements.map((element) => [element, true])) };
      };
      const own = ofFamily(endpoints.flatMap(({ addresses }) => addresses));
      const listed = guards.flatMap(({ name, endpoint }) =>
        ofFamily(endpoint.addresses).map((each) => `"${name}" . ${each}`),
      );
      return [
        set(
          itselfSet(family),
          `${type} . ${type}`,
          own.map((address) => `${address} . ${address}`),
        ),
        ...(guards.length > 0 ? [set(listedSet(family), `ifname . ${type}`, listed)] : []),
        ...(isClosed(layout) ? [set(programmedSet(family), type, ofFamily(localAddresses.keys()))] : []),
      ];
    }),
  ];
}
