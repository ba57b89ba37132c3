/**
 * The door of this stage: NodeIntent -> Table. The layout is drawn here. `4` and `6`: one of each family.
 *
 *   forward, priority mangle                                             input likewise (egress only)
 *     1 neither established nor related        jump forward-first        the first packets of flows
 *     2 mark is not that of the epoch          jump forward-recheck      live flows that these rules have not judged
 *   forward-first
 *     1 neighbour discovery (IPv6)             return                    S-58
 *     2 jump new-pods-source, -destination                               pods that are not programmed yet; only with --new-pods=closed
 *     3 jump egress-ports, ingress-ports                                 by interface: what is at no listed address; where pods' are known
 *                                                                        likewise by ports of bridges, seen elsewhere: bridged-ports.ts
 *     4 jump egress                            by source      -> map egress4   -> PCL-E-<hash>
 *     5 jump ingress                           by destination -> map ingress4  -> PCL-I-<hash>
 *     6 jump stamp                             the epoch in force, and no denied flag
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
 * objects and turns elements over to them. What nothing leads to any more is deleted later. The chains at the hooks, and `stamp`, hold the epoch
 * as a number, are not rendered with the others, and are written anew with each epoch (plan/epochs.ts).
 */
import { FAMILIES, type Family } from '../../../core/vocabulary.ts';
import type { LocalEndpoint, NodeIntent } from '../../../compile/intent.ts';
import type { Sliced } from '../../../core/sliced.ts';
import type { PodInterfaces } from '../../../host/pod-interfaces.ts';
import type { Degraded } from '../../dataplane.ts';
import type { Judging, JudgingOf } from '../../judgings.ts';
import type { Layout, NftSet, Table } from '../table/table.ts';
import type { EndpointChain } from './endpoint-chains.ts';

import { hasTiers } from '../../../compile/program.ts';
import { runSync } from '../../../core/sliced.ts';
import { versionedMap } from '../../../core/versioned-map.ts';
import { NO_INTERFACES } from '../../../host/pod-interfaces.ts';
import { familyOf } from '../../../net/ip.ts';
import { changedJudgings, isJudgedBy, JUDGING_ORDER, judgingIn, judgingKey } from '../../judgings.ts';
import { ADDRESS_TYPE, programmedSet } from '../table/names.ts';
import { bridgedChains, bridgedPorts, programmedAtPorts } from './bridged-ports.ts';
import {
  type Brought,
  bring,
  type ChainFor,
  guardsOf,
  isBrought,
  NO_GUARDS,
  NO_INTERFACE,
  type Guards,
} from './brought.ts';
import { chainsOf, closedEndpoint, plainChains, type SetNames } from './endpoint-chains.ts';
import { entryChains, isClosed } from './entry-chains.ts';
import { ownSets } from './own-sets.ts';
import { PeerSets } from './peer-sets.ts';
import { setsIn, TableContents } from './table-contents.ts';
import { heldSet, type Standing, standingEndpoint } from './standing.ts';
import { tieredChains } from './tiered-chains.ts';

interface Rendered {
  readonly intent: NodeIntent;
  readonly layout: Layout;
  readonly interfaces: PodInterfaces;
  readonly rejected: Rejected;
  readonly standing: Standing | undefined;
}

/** By names of chains and sets that the kernel refuses. The same object as long as they are the same. */
export type Rejected = Pick<ReadonlySet<string>, 'size' | 'has'>;

/** What the kernel does not take, and what it holds; absent: nothing is known to stand. */
export interface Refused {
  readonly rejected: Rejected;
  readonly standing?: Standing | undefined;
}
const NONE_REFUSED: Refused = { rejected: new Set() };

/** By family and `judgingKey`. */
type KnownChains = Map<string, Judging & EndpointChain>;

/** Renders again and again; what the intent did not change is the same object as last time, or a version of it. */
export class NodeRenderer {
  #last: Rendered | undefined;
  #guards: Guards = NO_GUARDS;
  readonly #contents = new TableContents();
  readonly #known: KnownChains = new Map();
  readonly #brought = new Map<LocalEndpoint, Brought>();
  readonly #peers = new PeerSets();

  /** The sets that rules of the last table deny or pass by: who joins one was judged without these rules before. */
  get stopping(): Pick<ReadonlySet<string>, 'has'> {
    return this.#contents.stopping;
  }

  render(intent: NodeIntent, layout: Layout, interfaces: PodInterfaces = NO_INTERFACES): Table {
    return runSync(this.renderInSteps(intent, layout, interfaces));
  }

  /** Addresses that the last table judges by other chains than their policies ask for. */
  get degraded(): readonly Degraded[] {
    return [...this.#brought.values()].flatMap(({ degraded }) => degraded);
  }

  /** Pods for which the kernel refuses something stay with the rules that stand, or are closed. To be run to its end. */
  *renderInSteps(
    intent: NodeIntent,
    layout: Layout,
    interfaces: PodInterfaces = NO_INTERFACES,
    { rejected, standing }: Refused = NONE_REFUSED,
  ): Sliced<Table> {
    const now: Rendered = { intent, layout, interfaces, rejected, standing };
    const { changed, gone } = yield* this.#peers.render(intent);
    if (!this.#last || !isSameButSets(this.#last, now)) yield* this.#renderRules(now);
    this.#contents.peersChanged(changed, gone);
    const wasRefused = this.#last !== undefined && this.#last.rejected.size > 0;
    if (rejected.size > 0 || wasRefused) this.#contents.putPeers(this.#peerSetIn(now));
    this.#last = now;
    return this.#contents.table();
  }

  /** Only of the pods that are judged otherwise than before, where nothing else is another. */
  *#renderRules(now: Rendered): Sliced<void> {
    const { intent, layout, interfaces, rejected } = now;
    const last = this.#last;
    const isSameLayout = last !== undefined && isLike(last.layout, layout);
    const guardsBefore = this.#guards;
    if (!isSameLayout) this.#known.clear();
    if (last?.intent.endpoints !== intent.endpoints || last.interfaces !== interfaces)
      this.#guards = guardsOf(intent, interfaces);
    const guarded = JUDGING_ORDER.filter((direction) => this.#guards.directions.has(direction));
    const isSameWay = isSameLayout && last.interfaces === interfaces && last.rejected === rejected;
    const judgingOf = judgingIn(intent);
    const chainFor = this.#chainFor(now, judgingOf);
    const [joining, leaving]: [Brought[], Brought[]] = [[], []];
    const changed = isSameWay && guardsBefore === this.#guards ? changedJudgings(last.intent, intent) : undefined;
    for (const endpoint of intent.endpoints) {
      const before = this.#brought.get(endpoint);
      if (before && changed && !isJudgedBy(endpoint, changed)) continue;
      const judgings = { egress: judgingOf(endpoint, 'egress'), ingress: judgingOf(endpoint, 'ingress') };
      const guards = this.#guards.of.get(endpoint) ?? NO_INTERFACE;
      if (before && isSameWay && isBrought(before, judgings, guards)) continue;
      const after = bring({ endpoint, judgings, guards }, layout, chainFor);
      if (before) leaving.push(before);
      joining.push(after);
      this.#brought.set(endpoint, after);
      yield;
    }
    if (this.#brought.size > intent.endpoints.length) {
      const there = new Set(intent.endpoints);
      for (const [endpoint, before] of this.#brought) {
        if (there.has(endpoint)) continue;
        leaving.push(before);
        this.#brought.delete(endpoint);
      }
    }
    const bridged = bridgedPorts(this.#guards.isAnyPort, layout, interfaces);
    const isBridged = bridged !== undefined;
    if (!isSameLayout || guardsBefore !== this.#guards || last.interfaces !== interfaces)
      this.#contents.setEntry(
        [
          ...entryChains(layout, { guarded, isBridged, interfaces }),
          ...(bridged ? bridgedChains(bridged, layout) : []),
        ],
        ownSets(layout, this.#guards, guarded, isBridged),
      );
    const peerSet = this.#peerSetIn(now);
    // Not every chain is named by what it holds: in another mode it holds something else.
    if (!isSameLayout) this.#contents.apply(leaving.splice(0), [], peerSet);
    this.#contents.apply(leaving, joining, peerSet);
    if (isClosed(layout)) {
      const programmed = programmedSets(intent);
      this.#contents.setProgrammed([...programmed, ...(bridged ? programmedAtPorts(programmed, bridged) : [])]);
    }
    this.#forgetUnused();
  }

  #peerSetIn({ intent, rejected, standing }: Rendered): (name: string) => NftSet | undefined {
    return (name) => {
      const set = this.#peers.named(name);
      if (!standing || (set && !rejected.has(name))) return set;
      return heldSet(standing, name, intent.directory) ?? set;
    };
  }

  #chainFor({ layout, rejected, standing }: Rendered, judgingOf: JudgingOf): ChainFor {
    const names: SetNames = (set) => this.#peers.names(set);
    const made = (judging: Judging, family: Family): EndpointChain => {
      const key = `${family} ${judgingKey(judging.program?.key, judging.audit?.key)}`;
      let found = this.#known.get(key);
      if (found?.program !== judging.program || found?.audit !== judging.audit || !found) {
        found = { ...judging, ...chainsFor(judging, family, layout, names) };
        this.#known.set(key, found);
      }
      return found;
    };
    return ({ direction, endpoint, family, address }) => {
      const judging = judgingOf(endpoint, direction);
      if (!judging) return undefined;
      const found = made(judging, family);
      if (!isRejected(found, rejected)) return { judged: found };
      const { program, audit } = judging;
      // What is audited keeps nothing that is enforced from going in, and closes nobody.
      if (audit && !program) return undefined;
      const plain = audit ? made({ program, audit: undefined }, family) : found;
      if (!isRejected(plain, rejected)) return { judged: plain };
      // What is at no listed address has no claim to the rules before.
      const before =
        standing && address !== undefined
          ? standingEndpoint(standing, { direction, family, address }, layout)
          : undefined;
      const isUsable = before && !chainsOf(before).some(({ name }) => rejected.has(name));
      return { judged: isUsable ? before : closedEndpoint(direction, layout), instead: plain };
    };
  }

  #forgetUnused(): void {
    if (this.#known.size <= 2 * this.#contents.judgingCount + MAX_UNUSED) return;
    for (const [key, { chain }] of this.#known) if (!this.#contents.isUsed(chain.name)) this.#known.delete(key);
  }
}

/** Chains that nothing leads to and that may soon be asked for again. */
const MAX_UNUSED = 64;

function isRejected(endpoint: EndpointChain, rejected: Rejected): boolean {
  if (rejected.size === 0) return false;
  const chains = chainsOf(endpoint);
  const names = [...chains.map(({ name }) => name), ...setsIn(chains)];
  return names.some((name) => rejected.has(name));
}

function isLike(a: Layout, b: Layout): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}

function chainsFor(judging: Judging, family: Family, layout: Layout, names: SetNames): EndpointChain {
  const { program, audit } = judging;
  if (program && hasTiers(program)) return tieredChains({ program, audit, family, layout, names });
  return plainChains(judging, family, layout, names);
}

function isSameButSets(a: Rendered, b: Rendered): boolean {
  return (
    a.intent.endpoints === b.intent.endpoints &&
    a.intent.programs === b.intent.programs &&
    a.intent.audits === b.intent.audits &&
    (!isClosed(b.layout) || a.intent.localAddresses === b.intent.localAddresses) &&
    a.interfaces === b.interfaces &&
    a.rejected === b.rejected &&
    isLike(a.layout, b.layout)
  );
}

/** Addresses of pods whose rules are in force. */
function programmedSets({ localAddresses }: NodeIntent): readonly NftSet[] {
  return FAMILIES.map((family) => {
    const addresses = [...localAddresses.keys()].filter((each) => familyOf(each) === family);
    const elements = versionedMap<string, true>(addresses.map((address) => [address, true]));
    return { name: programmedSet(family), type: ADDRESS_TYPE[family], elements };
  });
}
