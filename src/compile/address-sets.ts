/** Peers and ipBlocks -> address sets and endpoint sets, on the CIDR core. */
import type { Family } from '../net/ip.ts';
import type { Peer, Policy, Pod } from '../policy/model.ts';
import type { AddressSet, EndpointSet, PeerClause } from './intent.ts';
import type { OwnedPod, PeerIndex, PodSelection } from './peer-index.ts';
import type { NamedPortRef } from './ports.ts';

import { AddressSpace } from '../net/address-space.ts';
import { formatCidr } from '../net/cidr.ts';
import { parseAddress } from '../net/ip.ts';
import { PROTOCOL_NUMBER } from '../policy/model.ts';
import { matches, selectorKey } from '../policy/selector.ts';

import { familyOf, selectionKey } from './peer-index.ts';

const FAMILIES: readonly Family[] = [4, 6];

/** The union of one rule's peers: any address, or what the pod selections and, per family, the blocks hold. */
export type PeerUnion =
  | { readonly kind: 'any' }
  | {
      readonly kind: 'union';
      /** Distinct, sorted by `selectionKey`. */
      readonly selections: readonly PodSelection[];
      readonly blocks: Readonly<Record<Family, AddressSpace>>;
      readonly key: string;
    };

/** Collects the sets a node's rules need; equal meanings share one set. */
export class AddressSets {
  readonly addressSets = new Map<string, AddressSet>();
  readonly endpointSets = new Map<string, EndpointSet>();
  readonly #index: PeerIndex;
  readonly #locals: readonly OwnedPod[];

  constructor(index: PeerIndex, locals: readonly OwnedPod[]) {
    this.#index = index;
    this.#locals = locals;
  }

  select(policyNamespace: string, peers: readonly Peer[] | 'any'): PeerUnion {
    if (peers === 'any') return { kind: 'any' };
    const selections = new Map<string, PodSelection>();
    for (const peer of peers) {
      if (peer.kind !== 'pods') continue;
      const namespaces = peer.namespaces === 'own' ? { name: policyNamespace } : peer.namespaces;
      const selection: PodSelection = { namespaces, pods: peer.pods };
      selections.set(selectionKey(selection), selection);
    }
    const cidrBlocks = peers.filter((peer) => peer.kind === 'ip-block');
    const blocks = {
      4: AddressSpace.fromBlocks(
        4,
        cidrBlocks.filter((block) => block.cidr.family === 4),
      ),
      6: AddressSpace.fromBlocks(
        6,
        cidrBlocks.filter((block) => block.cidr.family === 6),
      ),
    };
    const keys = [...selections.keys()].sort();
    const key = JSON.stringify([keys, ...FAMILIES.map((family) => tableOf(blocks[family]))]);
    return { kind: 'union', selections: keys.map((selection) => selections.get(selection)!), blocks, key };
  }

  peerClauses(union: PeerUnion): Readonly<Record<Family, PeerClause>> {
    return { 4: this.#peerClause(union, 4), 6: this.#peerClause(union, 6) };
  }

  #peerClause(union: PeerUnion, family: Family): PeerClause {
    if (union.kind === 'any' || union.blocks[family].isFull()) return { kind: 'any' };
    if (union.selections.length === 0 && union.blocks[family].isEmpty()) return { kind: 'none' };
    const blocks = tableOf(union.blocks[family]);
    const key = JSON.stringify(['addresses', family, union.selections.map(selectionKey), blocks]);
    if (!this.addressSets.has(key)) this.addressSets.set(key, this.#addressSet(key, union, family));
    return { kind: 'set', key };
  }

  #addressSet(key: string, union: PeerUnion & { kind: 'union' }, family: Family): AddressSet {
    const space = union.blocks[family];
    const members = new Map<string, boolean>();
    for (const entry of space.toPrefixTable()) members.set(memberText(entry.cidr), entry.match);
    for (const selection of union.selections) {
      for (const owned of this.#index.members(selection)) {
        for (const address of owned.addresses) {
          // A host entry is the longest prefix there is: it decides alone, whatever the blocks say around it.
          if (familyOf(address) === family && !contains(space, address)) members.set(address, true);
        }
      }
    }
    return { key, family, kind: space.isEmpty() ? 'addresses' : 'prefixes', members };
  }

  /** Egress: every peer pod's own number for each name; selector peers, blocks and "any" all mean pods here (S-43, S-44). */
  peerEndpoints(union: PeerUnion, names: readonly NamedPortRef[]): Readonly<Record<Family, string>> {
    const meaning = ['peers', union.kind === 'any' ? 'any' : union.key, names];
    return this.#endpointSets(meaning, names, () => this.#peerAddresses(union));
  }

  /** Ingress: the selected local pods' own number for each name (S-40). */
  subjectEndpoints(policy: Policy, names: readonly NamedPortRef[]): Readonly<Record<Family, string>> {
    const meaning = ['subjects', policy.namespace, selectorKey(policy.podSelector), names];
    const selected = this.#locals.filter(
      ({ pod }) => pod.namespace === policy.namespace && matches(policy.podSelector, pod.labels),
    );
    return this.#endpointSets(meaning, names, () => ownedAddresses(selected));
  }

  #endpointSets(
    meaning: readonly unknown[],
    names: readonly NamedPortRef[],
    addresses: () => Iterable<readonly [string, Pod]>,
  ): Readonly<Record<Family, string>> {
    const keys = { 4: JSON.stringify(['endpoints', 4, ...meaning]), 6: JSON.stringify(['endpoints', 6, ...meaning]) };
    if (this.endpointSets.has(keys[4])) return keys;
    const members: Record<Family, Set<string>> = { 4: new Set(), 6: new Set() };
    for (const [address, pod] of addresses()) {
      for (const port of pod.namedPorts) {
        if (!names.some((name) => name.name === port.name && name.protocol === port.protocol)) continue;
        members[familyOf(address)].add(`${address},${PROTOCOL_NUMBER[port.protocol]}:${port.port}`);
      }
    }
    for (const family of FAMILIES) {
      this.endpointSets.set(keys[family], { key: keys[family], family, members: members[family] });
    }
    return keys;
  }

  *#peerAddresses(union: PeerUnion): Iterable<readonly [string, Pod]> {
    if (union.kind === 'any') {
      yield* ownedAddresses(this.#index.all());
      return;
    }
    for (const selection of union.selections) yield* ownedAddresses(this.#index.members(selection));
    if (union.blocks[4].isEmpty() && union.blocks[6].isEmpty()) return;
    for (const [address, pod] of ownedAddresses(this.#index.all())) {
      if (contains(union.blocks[familyOf(address)], address)) yield [address, pod];
    }
  }
}

function* ownedAddresses(pods: Iterable<OwnedPod>): Iterable<readonly [string, Pod]> {
  for (const { pod, addresses } of pods) {
    for (const address of addresses) yield [address, pod];
  }
}

function contains(space: AddressSpace, address: string): boolean {
  if (space.isEmpty()) return false;
  const parsed = parseAddress(address);
  return parsed !== undefined && space.contains(parsed);
}

function tableOf(space: AddressSpace): readonly string[] {
  return space.toPrefixTable().map((entry) => `${entry.match ? '' : '!'}${formatCidr(entry.cidr)}`);
}

/** As `ipset save` prints it: a host prefix without its length. */
function memberText(cidr: Parameters<typeof formatCidr>[0]): string {
  const text = formatCidr(cidr);
  const host = cidr.family === 4 ? '/32' : '/128';
  return text.endsWith(host) ? text.slice(0, -host.length) : text;
}
