/**
 * The sets a node's rules speak of, kept up to date by deltas. Pods with the same namespace and the same labels form one
 * label identity; selectors are evaluated once per identity, so a pod event is a lookup plus the addresses that changed.
 */
import type { Family, Protocol } from '../core/vocabulary.ts';
import type { PortRange } from '../net/port-range.ts';
import type { PrefixEntry } from '../net/prefix-table.ts';
import type { Labels, Namespace, Peer, Pod } from '../policy/model.ts';
import type { OwnerChange } from './address-directory.ts';
import type { AddressSet, AddressPortSet, NodeIntent, PeerClause } from './intent.ts';
import type { NamedPortRef } from './ports.ts';
import type { Sliced } from '../core/sliced.ts';

import { BlockIndex } from './block-index.ts';
import { LabelIndex } from './label-index.ts';
import { SelectionIndex, narrowest } from './selection-index.ts';
import { AddressSpace } from '../net/address-space.ts';
import { formatCidr, formatNetMember } from '../net/cidr.ts';
import { familyOf, parseAddress } from '../net/ip.ts';
import { FAMILIES, PROTOCOL_NUMBER } from '../core/vocabulary.ts';
import { EVERYTHING, type Requirement, type Selector, UNKNOWN_LABELS } from '../policy/model.ts';
import { claimantsOf, isContested } from '../policy/address-owners.ts';
import { bothHold, certainty, matches, selectorKey } from '../policy/selector.ts';

import { Groups } from '../core/groups.ts';
import { JournaledMap } from '../core/versioned-map.ts';
import { SmallMap } from '../core/small-map.ts';

/** Which pods a peer entry selects: in the one namespace named, or in every namespace that matches. */
interface PodSelection {
  readonly namespaces: { readonly name: string } | Selector;
  readonly pods: Selector;
}

/** The union of one rule's peers: any address, or what the pod selections and, per family, the blocks hold. */
export type PeerUnion =
  | { readonly kind: 'any' }
  | {
      readonly kind: 'union';
      /** Distinct, sorted by key. */
      readonly selections: readonly PodSelection[];
      readonly blocks: Readonly<Record<Family, AddressSpace>>;
      readonly selectionKeys: readonly string[];
      /** Only the pods of which it is not known whether they are selected. No blocks. */
      readonly inDoubt?: true;
    };

/** Sets that rules speak of, by key, to be made when it is known that they are wanted. `size`: entries that blocks and ports make. */
export type SetPlan = Map<string, { readonly size: number; readonly make: () => LiveSet }>;

/** What sets take of a node. */
export interface SetCost {
  readonly entries: number;
  /** Selections times groups of pods that are alike: each may have to be compared with each. */
  readonly comparisons: number;
}

/** What some sets take together, kept up to date as pods come and go. */
export interface SetAccount {
  /** Of sets that are made; each once. */
  add(key: string): void;
  remove(key: string): void;
  cost(): SetCost;
}

const NO_BLOCKS = { 4: AddressSpace.empty(4), 6: AddressSpace.empty(6) } as const;

export function selectPeers(policyNamespace: string, peers: readonly Peer[] | 'any'): PeerUnion {
  if (peers === 'any') return { kind: 'any' };
  const selections = new Map<string, PodSelection>();
  for (const peer of peers) {
    if (peer.kind !== 'pods') continue;
    const namespaces = peer.namespaces === 'own' ? { name: policyNamespace } : peer.namespaces;
    const selection: PodSelection = { namespaces, pods: peer.pods };
    selections.set(selectionKey(selection), selection);
  }
  const cidrBlocks = peers.filter((peer) => peer.kind === 'ip-block');
  const blocks =
    cidrBlocks.length === 0
      ? NO_BLOCKS
      : { 4: AddressSpace.fromBlocks(4, cidrBlocks), 6: AddressSpace.fromBlocks(6, cidrBlocks) };
  const selectionKeys = [...selections.keys()].sort();
  return { kind: 'union', selections: selectionKeys.map((each) => selections.get(each)!), blocks, selectionKeys };
}

/** Pods of which it is not known whether the union holds them: those with unknown labels, or of unknown namespaces. */
export function inDoubt(union: PeerUnion): PeerUnion {
  if (union.kind === 'any')
    return { kind: 'union', selections: [], blocks: NO_BLOCKS, selectionKeys: [], inDoubt: true };
  return { ...union, blocks: NO_BLOCKS, inDoubt: true };
}

/** The peers of one family's part of the union. */
export function peerClause(union: PeerUnion, family: Family, plan: SetPlan): PeerClause {
  if (union.kind === 'any' || union.blocks[family].isFull()) return { kind: 'any' };
  const space = union.blocks[family];
  if (union.selections.length === 0 && space.isEmpty()) return { kind: 'none' };
  const table = space.toPrefixTable();
  const [first, second] = table;
  if (union.selections.length === 0 && second === undefined) return { kind: 'block', cidr: formatCidr(first!.cidr) };
  const kind = union.inDoubt ? 'in doubt' : 'addresses';
  const key = JSON.stringify([kind, family, union.selectionKeys, tableText(table)]);
  plan.set(key, { size: table.length, make: () => addressSet(key, union, family, space) });
  return { kind: 'set', key };
}

/** Every peer pod's own number for each name; selectors, blocks and "any" all mean pods here (S-43, S-44). */
export function peerEndpoints(
  union: PeerUnion,
  names: readonly NamedPortRef[],
  plan: SetPlan,
): Readonly<Record<Family, string>> {
  const keys = addressPortKeys(['peers', union.kind === 'any' ? 'any' : unionKey(union), names]);
  const known = portNames(names);
  for (const family of FAMILIES) {
    plan.set(keys[family], { size: 0, make: () => addressPortSet(keys[family], union, family, known) });
  }
  return keys;
}

/** What the pods that several claimants of an address are taken for have not in common: ports that only some of them name so (S-73). */
export function doubtfulPeerEndpoints(
  union: PeerUnion,
  names: readonly NamedPortRef[],
  plan: SetPlan,
): Readonly<Record<Family, string>> {
  const keys = addressPortKeys(['peers in doubt', union.kind === 'any' ? 'any' : unionKey(union), names]);
  const known = portNames(names);
  for (const family of FAMILIES) {
    const make = (): LiveSet => {
      const members = new JournaledMap<string, boolean>();
      const sure = { ...podPart(members, family, (address, pod) => uncommonEntries(address, pod, known)), union };
      const doubt = {
        ...podPart(members, family, (address, pod) => claimedEntries(address, pod, known)),
        union: inDoubt(union),
      };
      return endpointsOf(keys[family], family, members, [sure, doubt]);
    };
    plan.set(keys[family], { size: 0, make });
  }
  return keys;
}

/** The ports of this node's pods by name, for rules about whatever comes to them. `isDoubtful`: of several claimants what only some name so. */
export function localEndpoints(
  nodeName: string,
  names: readonly NamedPortRef[],
  isDoubtful: boolean,
  plan: SetPlan,
): Readonly<Record<Family, string>> {
  const keys = addressPortKeys(['local', nodeName, isDoubtful, names]);
  const known = portNames(names);
  const entriesOf = isDoubtful ? uncommonEntries : addressPortEntries;
  for (const family of FAMILIES) {
    const make = (): LiveSet => {
      const members = new JournaledMap<string, boolean>();
      const part = podPart(members, family, (address, pod) => {
        return claimantsOf(pod).some((each) => each.nodeName === nodeName) ? entriesOf(address, pod, known) : [];
      });
      return endpointsOf(keys[family], family, members, [{ ...part, union: { kind: 'any' } }]);
    };
    plan.set(keys[family], { size: 0, make });
  }
  return keys;
}

function podPart(members: Part['members'], family: Family, entriesOf: Part['entriesOf']): Omit<Part, 'union'> {
  return {
    members,
    entriesOf: (address, pod) => (familyOf(address) === family ? entriesOf(address, pod) : NO_ENTRIES),
    baseOf: () => undefined,
  };
}

function claimedEntries(address: string, pod: Pod, names: PortNames): readonly string[] {
  return [...new Set(claimantsOf(pod).flatMap((claimant) => addressPortEntries(address, claimant, names)))];
}

function uncommonEntries(address: string, pod: Pod, names: PortNames): readonly string[] {
  if (!isContested(pod)) return NO_ENTRIES;
  const common = new Set(addressPortEntries(address, pod, names));
  return claimedEntries(address, pod, names).filter((entry) => !common.has(entry));
}

type PortUnion = readonly [port: string, union: PeerUnion];

/** Every peer pod's address with the ports open to it, each port (protocol number and port, as `6:8080`) to its own peers. */
export function portEndpoints(unions: readonly PortUnion[], plan: SetPlan): Readonly<Record<Family, string>> {
  const byPort = unions.toSorted(([a], [b]) => (a < b ? -1 : 1));
  const keys = addressPortKeys(['ports', byPort.map(([port, union]) => [port, selectionKeysOf(union)])]);
  for (const family of FAMILIES) {
    plan.set(keys[family], { size: 0, make: () => addressPortSetByPort(keys[family], byPort, family) });
  }
  return keys;
}

/** The same of the blocks of each union, without its pods. `families`: those that have any. */
export function* blockEndpoints(
  unions: readonly PortUnion[],
  plan: SetPlan,
): Sliced<{ readonly set: Readonly<Record<Family, string>>; readonly families: readonly Family[] }> {
  const byPort = unions.toSorted(([a], [b]) => (a < b ? -1 : 1));
  const tables = { 4: yield* blockTables(byPort, 4), 6: yield* blockTables(byPort, 6) };
  const set = { 4: blockKey(tables[4], 4), 6: blockKey(tables[6], 6) };
  const families = FAMILIES.filter((family) => tables[family].length > 0);
  for (const family of families) {
    const size = tables[family].reduce((sum, [, table]) => sum + table.length, 0);
    plan.set(set[family], { size, make: () => addressPortSetOfBlocks(set[family], tables[family], family) });
  }
  return { set, families };
}

/** Any address with any of the ports. */
export function portsAnywhere(
  protocol: Protocol,
  ranges: readonly PortRange[],
  plan: SetPlan,
): Readonly<Record<Family, string>> {
  const keys = addressPortKeys(['anywhere', protocol, ranges.map(({ first, last }) => [first, last])]);
  const ports = ranges.flatMap(({ first, last }) => Array.from({ length: last - first + 1 }, (_, at) => first + at));
  for (const family of FAMILIES) {
    const table = AddressSpace.full(family).toPrefixTable();
    const make = (): LiveSet => {
      const tables = ports.map((port): PortTable => [`${PROTOCOL_NUMBER[protocol]}:${port}`, table]);
      return addressPortSetOfBlocks(keys[family], tables, family);
    };
    plan.set(keys[family], { size: table.length * ports.length, make });
  }
  return keys;
}

type PortTable = readonly [port: string, table: readonly PrefixEntry[]];

function* blockTables(byPort: readonly PortUnion[], family: Family): Sliced<readonly PortTable[]> {
  const tables: PortTable[] = [];
  for (const [at, [port, union]] of byPort.entries()) {
    const table = union.kind === 'union' ? union.blocks[family].toPrefixTable() : [];
    if (table.length > 0) tables.push([port, table]);
    if (at % PORTS_PER_STEP === 0) yield;
  }
  return tables;
}

function blockKey(tables: readonly PortTable[], family: Family): string {
  return JSON.stringify(['blocks', family, tables.map(([port, table]) => [port, tableText(table)])]);
}

function unionKey({ selectionKeys, blocks }: Extract<PeerUnion, { kind: 'union' }>): string {
  return JSON.stringify([selectionKeys, ...FAMILIES.map((family) => tableText(blocks[family].toPrefixTable()))]);
}

/** All pods with one namespace and one set of labels. */
interface Identity {
  readonly namespace: string;
  readonly labels: Labels;
  /** Owned addresses and their pods. */
  readonly owned: SmallMap<string, Pod>;
  /** The parts of sets that hold this identity's addresses. */
  parts: Part[];
}

/** Never added to: see `addParts`. */
const NO_PARTS: Part[] = [];
const IDENTITIES_PER_STEP = 2000;
/** In a namespace with no more of them, each is looked at. */
const FEW_IDENTITIES = 8;
const PORTS_PER_STEP = 500;
const SETS_PER_STEP = 100;

/** What a set holds of the addresses of some peers. */
interface Part {
  readonly union: PeerUnion;
  /** Of the set. */
  readonly members: JournaledMap<string, boolean>;
  /** The entries an included address stands for. */
  entriesOf(address: string, pod: Pod): readonly string[];
  /** What the entry is without any pod: part of the blocks' table, or nothing. */
  baseOf(entry: string): boolean | undefined;
  /** Present: addresses outside of the selections belong as well, if these blocks hold them. */
  readonly blocks?: AddressSpace;
}

const NO_ACCOUNTS: readonly Sums[] = [];

/** Sums of an account. */
interface Sums {
  entries: number;
  /** Selections by the one namespace they name; the others under no name. */
  readonly selections: Map<string | undefined, number>;
}

interface LiveSet {
  readonly key: string;
  readonly members: JournaledMap<string, boolean>;
  /** No entry is of two parts, so that each can be kept up to date without the others. */
  readonly parts: readonly Part[];
  /** As a value; the same object until the membership changes. */
  value: AddressSet | AddressPortSet;
  readonly refresh: (set: LiveSet) => AddressSet | AddressPortSet;
  /** That it counts for. */
  accounts: readonly Sums[];
}

export class PeerSets {
  readonly #namespaces = new Map<string, Namespace>();
  /** By namespace, then by the labels object: equal labels are one object where the reader shares them, and correct where not. */
  readonly #identities = new Map<string, SmallMap<Labels, Identity>>();
  readonly #sets = new Map<string, LiveSet>();
  readonly #setOf = new Map<JournaledMap<string, boolean>, LiveSet>();
  /** Those that addresses outside of the selections belong to. */
  readonly #byBlock = new BlockIndex<Part>();
  /** By the one namespace all their selections name; the others under no name. */
  readonly #bySelection = new SelectionIndex<Part>();
  /** Of namespaces in which pods were asked for by a label. */
  readonly #byLabel = new Map<string, LabelIndex<Identity>>();
  #identityCount = 0;
  /** Those with addresses of which labels, or the namespace, are not known. */
  readonly #doubtful = new Set<Identity>();
  /** For each set that is being made: identities whose parts were found since. */
  readonly #adding = new Set<Set<Identity>>();
  /** Sets that are made elsewhere. */
  readonly #others = new Map<string, AddressSet | AddressPortSet>();
  readonly #addressSets = new JournaledMap<string, AddressSet>();
  readonly #addressPortSets = new JournaledMap<string, AddressPortSet>();
  /** What is not up to date in these: sets that came, or whose members changed, and values of sets that went. */
  readonly #changed = new Set<JournaledMap<string, boolean>>();
  readonly #gone = new Set<AddressSet | AddressPortSet>();
  /** Made elsewhere, and not in these yet. */
  readonly #came = new Map<string, AddressSet | AddressPortSet>();

  // ------------------------------------------------------------------------------------------------------------ events

  /** Returns whether any set changed. */
  ownerChanged({ address, from, to }: OwnerChange): boolean {
    const old = from && this.#identities.get(from.namespace)?.get(from.labels);
    const identity = to && this.#identityOf(to);
    if (old && old !== identity) this.#forget(old, address);
    identity?.owned.set(address, to!);
    let changed = false;
    const holding = new Set(identity?.parts);
    for (const part of this.#byBlock.ownersOf(address)) holding.add(part);
    const touched = new Set([...(old?.parts ?? []), ...holding]);
    for (const part of touched) changed = this.#update(part, address, from, to, holding.has(part)) || changed;
    return changed;
  }

  #update(...[part, ...what]: Parameters<typeof update>): boolean {
    const { members } = part;
    const before = members.size;
    if (!update(part, ...what)) return false;
    this.#changed.add(members);
    const more = members.size - before;
    if (more !== 0) for (const sums of this.#setOf.get(members)?.accounts ?? []) sums.entries += more;
    return true;
  }

  #forget(identity: Identity, address: string): void {
    identity.owned.delete(address);
    if (identity.owned.size > 0) return;
    const inNamespace = this.#identities.get(identity.namespace)!;
    if (inNamespace.delete(identity.labels)) this.#identityCount--;
    this.#doubtful.delete(identity);
    this.#byLabel.get(identity.namespace)?.remove(identity);
    if (inNamespace.size > 0) return;
    this.#identities.delete(identity.namespace);
    this.#byLabel.delete(identity.namespace);
  }

  #identityOf(pod: Pod): Identity {
    let inNamespace = this.#identities.get(pod.namespace);
    if (!inNamespace) {
      inNamespace = new SmallMap();
      this.#identities.set(pod.namespace, inNamespace);
    }
    let identity = inNamespace.get(pod.labels);
    if (!identity) {
      identity = { namespace: pod.namespace, labels: pod.labels, owned: new SmallMap(), parts: NO_PARTS };
      this.#noteDoubt(identity);
      identity.parts = this.#partsOf(identity);
      inNamespace.set(pod.labels, identity);
      this.#byLabel.get(pod.namespace)?.add(identity);
      this.#identityCount++;
      for (const complete of this.#adding) complete.add(identity);
    }
    return identity;
  }

  #noteDoubt(identity: Identity): void {
    const isKnown = this.#namespaceLabels(identity.namespace) !== undefined && identity.labels !== UNKNOWN_LABELS;
    if (isKnown) this.#doubtful.delete(identity);
    else this.#doubtful.add(identity);
  }

  #namespaceLabels(name: string): Labels | undefined {
    const labels = this.#namespaces.get(name)?.labels;
    return labels === UNKNOWN_LABELS ? undefined : labels;
  }

  /** Of some pod it is not known which selectors match it. */
  get hasDoubts(): boolean {
    return this.#doubtful.size > 0;
  }

  /** Returns whether any set changed. */
  namespaceChanged(name: string, namespace: Namespace | undefined): boolean {
    if (namespace) this.#namespaces.set(name, namespace);
    else this.#namespaces.delete(name);
    let changed = false;
    for (const identity of this.#identities.get(name)?.values() ?? []) {
      const before = new Set(identity.parts);
      this.#noteDoubt(identity);
      identity.parts = this.#partsOf(identity);
      for (const complete of this.#adding) complete.add(identity);
      const after = new Set(identity.parts);
      for (const part of [...before, ...after].filter((each) => before.has(each) !== after.has(each))) {
        for (const [address, pod] of identity.owned)
          changed = this.#update(part, address, pod, pod, after.has(part) || isInBlocks(part, address)) || changed;
      }
    }
    return changed;
  }

  // -------------------------------------------------------------------------------------------------------------- sets

  /**
   * Makes the sets that are not there yet, by the plan, and returns what they all cost. If that is more than `most`, undefined: it has
   * stopped there, and some sets may have been made in vain (see `drop`).
   */
  *provide(keys: readonly string[], plan: SetPlan, most: SetCost): Sliced<SetCost | undefined> {
    let entries = 0;
    let comparisons = 0;
    let count = 0;
    for (const key of keys) {
      const planned = plan.get(key);
      if (!this.#sets.has(key) && planned) {
        if (entries + planned.size > most.entries) return undefined;
        const set = planned.make();
        if (comparisons + this.#comparisons(set) > most.comparisons) return undefined;
        if (!(yield* this.#add(set, most.entries - entries))) return undefined;
        yield;
      }
      const set = this.#sets.get(key);
      entries += set?.members.size ?? 0;
      comparisons += set ? this.#comparisons(set) : 0;
      if (entries > most.entries || comparisons > most.comparisons) return undefined;
      if (++count % SETS_PER_STEP === 0) yield;
    }
    return { entries, comparisons };
  }

  #comparisons({ parts }: LiveSet): number {
    let count = 0;
    for (const { union } of parts) {
      if (union.kind === 'any') count += this.#identityCount;
      else for (const selection of union.selections) count += this.#identitiesIn(namedBy(selection));
    }
    return count;
  }

  #identitiesIn(namespace: string | undefined): number {
    return namespace === undefined ? this.#identityCount : (this.#identities.get(namespace)?.size ?? 0);
  }

  /** What these sets take; those that are not made take nothing. */
  costOf(keys: Iterable<string>): SetCost {
    let [entries, comparisons] = [0, 0];
    for (const key of keys) {
      const set = this.#sets.get(key);
      entries += set?.members.size ?? 0;
      comparisons += set ? this.#comparisons(set) : 0;
    }
    return { entries, comparisons };
  }

  account(): SetAccount {
    const sums: Sums = { entries: 0, selections: new Map() };
    const count = (set: LiveSet, sign: 1 | -1): void => {
      sums.entries += sign * set.members.size;
      for (const { union } of set.parts)
        for (const name of union.kind === 'any' ? [undefined] : union.selections.map(namedBy)) {
          const left = (sums.selections.get(name) ?? 0) + sign;
          if (left === 0) sums.selections.delete(name);
          else sums.selections.set(name, left);
        }
    };
    return {
      add: (key) => {
        const set = this.#sets.get(key);
        if (!set || set.accounts.includes(sums)) return;
        set.accounts = [...set.accounts, sums];
        count(set, 1);
      },
      remove: (key) => {
        const set = this.#sets.get(key);
        if (!set?.accounts.includes(sums)) return;
        set.accounts = set.accounts.filter((each) => each !== sums);
        count(set, -1);
      },
      cost: () => {
        let comparisons = 0;
        for (const [name, selections] of sums.selections) comparisons += selections * this.#identitiesIn(name);
        return { entries: sums.entries, comparisons };
      },
    };
  }

  /** Pods may come, go and change meanwhile. False if it gets more entries than `most`; then it is not there. */
  *#add(set: LiveSet, most: number): Sliced<boolean> {
    for (const part of set.parts) this.#index(part);
    // Whose parts are found while this goes on has those of this set already.
    const complete = new Set<Identity>();
    this.#adding.add(complete);
    let count = 0;
    let fits = true;
    try {
      for (const part of set.parts) {
        for (const identity of this.#candidates(part.union)) {
          if (++count % IDENTITIES_PER_STEP === 0) yield;
          if (complete.has(identity) || identity.owned.size === 0) continue;
          const selected = this.#selects(part.union, identity);
          if (selected) addPart(identity, part);
          if (!selected && !part.blocks) continue;
          for (const [address, pod] of identity.owned)
            update(part, address, undefined, pod, selected || isInBlocks(part, address));
        }
        fits = set.members.size <= most;
        if (!fits) break;
      }
    } finally {
      this.#adding.delete(complete);
    }
    // Another program may have made it meanwhile.
    if (!fits || this.#sets.has(set.key)) this.#forgetParts(set.parts);
    else {
      set.members.dropHistory();
      this.#sets.set(set.key, set);
      this.#setOf.set(set.members, set);
      this.#changed.add(set.members);
    }
    return fits;
  }

  /** A superset of the identities with addresses in the union: all of them where it has blocks. */
  #candidates(union: PeerUnion): Iterable<Identity> {
    const hasBlocks = union.kind === 'union' && !(union.blocks[4].isEmpty() && union.blocks[6].isEmpty());
    return hasBlocks ? this.#selectable({ kind: 'any' }) : this.#selectable(union);
  }

  /** A superset of the identities that the union selects, by their namespaces and one of their labels; each once. */
  *#selectable(union: PeerUnion): Iterable<Identity> {
    if (union.kind === 'any') {
      for (const inNamespace of this.#identities.values()) yield* inNamespace.values();
      return;
    }
    if (union.inDoubt) return yield* this.#doubtful;
    const whole = new Set<string>();
    const labelled = new Set<Identity>();
    for (const { namespaces, pods } of union.selections) {
      if (pods.kind === 'nothing') continue;
      const asked = narrowest(pods.requirements);
      for (const name of this.#namespacesOf(namespaces)) {
        if (asked && this.#identitiesIn(name) > FEW_IDENTITIES) this.#addLabelled(name, asked, labelled);
        else whole.add(name);
      }
    }
    for (const name of whole) yield* this.#identities.get(name)?.values() ?? [];
    for (const identity of labelled) if (!whole.has(identity.namespace)) yield identity;
  }

  *#namespacesOf(wanted: PodSelection['namespaces']): Iterable<string> {
    if ('name' in wanted) yield wanted.name;
    else for (const name of this.#identities.keys()) if (this.#selectsNamespace(wanted, name)) yield name;
  }

  #addLabelled(namespace: string, { key, values }: Requirement, found: Set<Identity>): void {
    let index = this.#byLabel.get(namespace);
    if (!index) {
      index = new LabelIndex(() => this.#identities.get(namespace)?.values() ?? []);
      this.#byLabel.set(namespace, index);
    }
    for (const value of values) for (const identity of index.with(key, value)) found.add(identity);
  }

  /** Sets that nothing needs any more. */
  drop(keys: Iterable<string>): void {
    for (const key of keys) {
      const set = this.#sets.get(key);
      if (!set) continue;
      this.#sets.delete(key);
      this.#setOf.delete(set.members);
      this.#gone.add(set.value);
      this.#forgetParts(set.parts);
    }
  }

  #forgetParts(parts: readonly Part[]): void {
    for (const part of parts) {
      this.#unindex(part);
      for (const identity of this.#selectable(part.union))
        if (identity.parts.includes(part)) identity.parts = identity.parts.filter((each) => each !== part);
    }
  }

  /** A set that is made elsewhere and belongs to `values` as it is; undefined: it does no more. */
  include(key: string, set: AddressSet | AddressPortSet | undefined): void {
    const before = this.#others.get(key);
    if (set) {
      this.#others.set(key, set);
      this.#came.set(key, set);
    } else if (before) {
      this.#others.delete(key);
      this.#came.delete(key);
      this.#gone.add(before);
    }
  }

  /** All sets as values, versions of one history; those whose membership did not change are the same objects as last time. */
  values(): Pick<NodeIntent, 'addressSets' | 'addressPortSets'> {
    for (const set of this.#gone) this.#put(set, false);
    for (const members of this.#changed) {
      const set = this.#setOf.get(members);
      if (!set) continue;
      if (set.value.members !== set.members.snapshot()) set.value = set.refresh(set);
      this.#put(set.value, true);
    }
    for (const set of this.#came.values()) this.#put(set, true);
    this.#gone.clear();
    this.#came.clear();
    this.#changed.clear();
    return { addressSets: this.#addressSets.snapshot(), addressPortSets: this.#addressPortSets.snapshot() };
  }

  #put(set: AddressSet | AddressPortSet, isThere: boolean): void {
    if ('kind' in set) this.#addressSets.set(set.key, isThere ? set : undefined);
    else this.#addressPortSets.set(set.key, isThere ? set : undefined);
  }

  // --------------------------------------------------------------------------------------------------------- selection

  #index(part: Part): void {
    if (part.blocks) this.#byBlock.add(part.blocks, part);
    this.#bySelection.add(namespaceOf(part.union), selectorsOf(part.union), part);
  }

  #unindex(part: Part): void {
    if (part.blocks) this.#byBlock.remove(part.blocks, part);
    this.#bySelection.remove(namespaceOf(part.union), selectorsOf(part.union), part);
  }

  /** Most identities are in no set of this node: they share one empty list. */
  #partsOf(identity: Identity): Part[] {
    let parts: Part[] | undefined;
    for (const part of this.#bySelection.candidates(identity.namespace, identity.labels)) {
      if (!this.#selects(part.union, identity)) continue;
      if (parts) parts.push(part);
      else parts = [part];
    }
    return parts ?? NO_PARTS;
  }

  #selects(union: PeerUnion, identity: Identity): boolean {
    if (union.kind === 'any') return true;
    if (union.inDoubt) return this.#doubtful.has(identity) && this.#maySelect(union.selections, identity);
    return union.selections.some(
      ({ namespaces, pods }) =>
        ('name' in namespaces
          ? namespaces.name === identity.namespace
          : this.#selectsNamespace(namespaces, identity.namespace)) && matches(pods, identity.labels),
    );
  }

  /** And is not known to. */
  #maySelect(selections: readonly PodSelection[], { namespace, labels }: Identity): boolean {
    const inNamespace = this.#namespaceLabels(namespace);
    const certainties = selections.map(({ namespaces, pods }) => {
      const named =
        'name' in namespaces ? (namespaces.name === namespace ? 'yes' : 'no') : certainty(namespaces, inNamespace);
      return bothHold(named, certainty(pods, labels));
    });
    return certainties.includes('maybe') && !certainties.includes('yes');
  }

  /** `{}` also reaches pods whose Namespace object has not been seen; no other selector does (S-22). */
  #selectsNamespace(selector: Selector, name: string): boolean {
    if (selector.kind === 'all-of' && selector.requirements.length === 0) return true;
    const namespace = this.#namespaces.get(name);
    return namespace !== undefined && matches(selector, namespace.labels);
  }
}

/** The one namespace that the selection names. */
function namedBy({ namespaces }: PodSelection): string | undefined {
  return 'name' in namespaces ? namespaces.name : undefined;
}

/** The one namespace all of the union's selections name; undefined: there is no such. */
function namespaceOf(union: PeerUnion): string | undefined {
  if (union.kind === 'any') return undefined;
  const names = new Set(union.selections.map(namedBy));
  const [name] = names;
  return names.size === 1 ? name : undefined;
}

/** One of them matches each pod that the union may hold. In doubt that is any pod, as of some the labels are not known. */
function selectorsOf(union: PeerUnion): readonly Selector[] {
  return union.kind === 'any' || union.inDoubt ? [EVERYTHING] : union.selections.map(({ pods }) => pods);
}

/** Up to this many parts a list is made anew: one that grows in place keeps room for more, of each of tens of thousands of identities. */
const MAX_SNUG = 16;

function addPart(identity: Identity, part: Part): void {
  if (identity.parts.length < MAX_SNUG) identity.parts = identity.parts.concat(part);
  else identity.parts.push(part);
}

/** Brings the entries for one address to what they should be. `holds`: the part holds the address. Returns whether any changed. */
function update(part: Part, address: string, from: Pod | undefined, to: Pod | undefined, holds: boolean): boolean {
  const wanted = to && holds ? part.entriesOf(address, to) : NO_ENTRIES;
  const isWanted = wanted.length > MAX_SNUG ? new Set(wanted) : { has: (entry: string) => wanted.includes(entry) };
  let changed = false;
  for (const entry of from ? part.entriesOf(address, from) : NO_ENTRIES) {
    if (!isWanted.has(entry)) changed = part.members.set(entry, part.baseOf(entry)) || changed;
  }
  for (const entry of wanted) changed = part.members.set(entry, true) || changed;
  return changed;
}

const NO_ENTRIES: readonly string[] = [];

function isInBlocks({ blocks }: Part, address: string): boolean {
  return blocks !== undefined && contains(blocks, address);
}

function addressSet(key: string, union: PeerUnion, family: Family, space: AddressSpace): LiveSet {
  const table = new Map(space.toPrefixTable().map((entry) => [formatNetMember(entry.cidr), entry.match] as const));
  const members = new JournaledMap<string, boolean>(table);
  const kind = space.isEmpty() ? 'addresses' : 'prefixes';
  const part: Part = {
    union,
    members,
    // A host entry is the longest prefix there is: it decides alone, whatever the blocks say around it.
    entriesOf: (address) => (familyOf(address) === family && !contains(space, address) ? [address] : []),
    baseOf: (entry) => table.get(entry),
  };
  const refresh = (set: LiveSet): AddressSet => ({ key, family, kind, members: set.members.snapshot() });
  const value: AddressSet = { key, family, kind, members: members.snapshot() };
  return { key, members, parts: [part], value, refresh, accounts: NO_ACCOUNTS };
}

function addressPortSet(key: string, union: PeerUnion, family: Family, names: PortNames): LiveSet {
  const members = new JournaledMap<string, boolean>();
  const part: Part = {
    union,
    members,
    entriesOf: (address, pod) => (familyOf(address) === family ? addressPortEntries(address, pod, names) : []),
    baseOf: () => undefined,
    ...(union.kind === 'union' && !union.blocks[family].isEmpty() ? { blocks: union.blocks[family] } : {}),
  };
  return endpointsOf(key, family, members, [part]);
}

function addressPortSetByPort(
  key: string,
  unions: readonly (readonly [port: string, union: PeerUnion])[],
  family: Family,
): LiveSet {
  const members = new JournaledMap<string, boolean>();
  const parts = unions.map(
    ([port, union]): Part => ({
      union,
      members,
      entriesOf: (address) => (familyOf(address) === family ? [`${address},${port}`] : []),
      baseOf: () => undefined,
    }),
  );
  return endpointsOf(key, family, members, parts);
}

function endpointsOf(
  key: string,
  family: Family,
  members: JournaledMap<string, boolean>,
  parts: readonly Part[],
  holds: AddressPortSet['holds'] = 'addresses',
): LiveSet {
  const refresh = (set: LiveSet): AddressPortSet => ({ key, family, holds, members: set.members.snapshot() });
  const value: AddressPortSet = { key, family, holds, members: members.snapshot() };
  return { key, members, parts, value, refresh, accounts: NO_ACCOUNTS };
}

/** Of blocks alone: what it holds never changes. */
function addressPortSetOfBlocks(key: string, tables: readonly PortTable[], family: Family): LiveSet {
  const members = new JournaledMap<string, boolean>();
  for (const [port, table] of tables) {
    for (const { cidr, match } of table) members.set(`${formatNetMember(cidr)},${port}`, match);
  }
  members.dropHistory();
  return endpointsOf(key, family, members, [], 'prefixes');
}

function selectionKeysOf(union: PeerUnion): readonly string[] {
  return union.kind === 'union' ? union.selectionKeys : [];
}

/** `address,protocolNumber:port` for each of the pod's ports with one of the names and its protocol (S-40, S-41, S-46). */
export function addressPortEntries(address: string, pod: Pod, names: PortNames): readonly string[] {
  return pod.namedPorts
    .filter(({ protocol, name }) => names.get(protocol)?.has(name))
    .map((port) => `${address},${PROTOCOL_NUMBER[port.protocol]}:${port.port}`);
}

type PortNames = ReadonlyMap<Protocol, ReadonlySet<string>>;

export function portNames(names: readonly NamedPortRef[]): PortNames {
  const known = new Groups<Protocol, string>();
  for (const { protocol, name } of names) known.add(protocol, name);
  return known;
}

export function addressPortKeys(meaning: readonly unknown[]): Readonly<Record<Family, string>> {
  return { 4: JSON.stringify(['endpoints', 4, ...meaning]), 6: JSON.stringify(['endpoints', 6, ...meaning]) };
}

/** Unambiguous text of a selection; equal selections give equal text. */
function selectionKey(selection: PodSelection): string {
  const namespaces =
    'name' in selection.namespaces ? { name: selection.namespaces.name } : selectorKey(selection.namespaces);
  return JSON.stringify([namespaces, selectorKey(selection.pods)]);
}

function contains(space: AddressSpace, address: string): boolean {
  if (space.isEmpty()) return false;
  const parsed = parseAddress(address);
  return parsed !== undefined && space.contains(parsed);
}

function tableText(table: readonly PrefixEntry[]): readonly string[] {
  return table.map((entry) => `${entry.match ? '' : '!'}${formatCidr(entry.cidr)}`);
}
