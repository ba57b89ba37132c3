/**
 * The ends that flows can have, in classes that no policy tells apart: pods by namespace, the labels that selectors ask for, port names
 * and blocks of addresses; the world outside by blocks; nodes.
 */
import type { Family } from '../../core/vocabulary.ts';
import type { ClusterSnapshot, Labels, Pod, Policy, Selector } from '../model.ts';

import { FAMILIES } from '../../core/vocabulary.ts';
import { formatCidr } from '../../net/cidr.ts';
import { familyOf, parseAddress } from '../../net/ip.ts';
import { addressOwners, claimantsOf, isContested } from '../address-owners.ts';
import { objectKey, UNKNOWN_LABELS } from '../model.ts';
import { Regions } from './regions.ts';

export type EndKind = 'pod' | 'node' | 'outside';

/** What a flow has at one of its ends, in one world. */
export interface EndValue {
  readonly address: string;
  readonly owner: Pod | undefined;
  /** Absent unless it is a node. */
  readonly fromNode?: string;
}

/** An address that can be an end, in each of the worlds that are looked at; undefined: there is no such end in that one. */
interface End {
  /** The pod, the node or the block. */
  readonly name: string;
  readonly kind: EndKind;
  readonly family: Family;
  readonly values: readonly (EndValue | undefined)[];
}

export interface EndClass {
  readonly kind: EndKind;
  readonly family: Family;
  /** One of them, which is asked about for all. */
  readonly values: readonly (EndValue | undefined)[];
  /** Names, as many as there are ends. */
  readonly members: readonly string[];
}

/** No Node has it: a flow from it comes from a node that the pod is not on. What comes from a pod's own node always reaches it (S-60). */
const ANOTHER_NODE = '';

export interface EndClasses {
  readonly classes: readonly EndClass[];
  /** Of an address in one world; `isNode`: a flow comes from the node that has it. Undefined: there is no such end. */
  readonly indexOf: (world: number, address: string, isNode: boolean) => number | undefined;
}

export function endClassesOf(worlds: readonly ClusterSnapshot[]): EndClasses {
  const regions = new Regions(worlds.map(({ policies }) => policies));
  const identities = worlds.map(({ policies }) => new LabelIdentities([...policies.values()]));
  const owners = worlds.map(({ pods }) => addressOwners(pods.values()));
  const ends = [...podEnds(owners), ...nodeEnds(worlds, owners)];
  ends.push(...outsideEnds(regions, worlds.length, ends));
  const byKey = new Map<string, { readonly first: End; readonly members: string[]; readonly index: number }>();
  const places = worlds.map(() => new Map<string, number>());
  const placeOf = (address: string, isNode: boolean): string => `${isNode ? 'node ' : ''}${address}`;
  for (const end of ends) {
    const keys = end.values.map((value, world) => value && valueKey(value, identities[world]!, regions));
    const key = JSON.stringify([end.kind, end.family, end.kind === 'outside' ? end.name : '', ...keys]);
    const found = byKey.get(key) ?? { first: end, members: [], index: byKey.size };
    byKey.set(key, found);
    found.members.push(end.name);
    const { index } = found;
    for (const [world, value] of end.values.entries())
      if (value) places[world]!.set(placeOf(value.address, value.fromNode !== undefined), index);
  }
  const outside = new Map(
    [...byKey.values()].flatMap(({ first, index }) => (first.kind === 'outside' ? [[first.name, index]] : [])),
  );
  return {
    classes: [...byKey.values()].map(({ first: { kind, family, values }, members }) => ({
      kind,
      family,
      values,
      members,
    })),
    indexOf: (world, address, isNode) =>
      places[world]!.get(placeOf(address, isNode)) ??
      (isNode
        ? undefined
        : (outside.get(regions.keyOf(parseAddress(address)!)) ?? places[world]!.get(placeOf(address, true)))),
  };
}

/** A pod is the same end in all worlds, whatever its addresses; where several claim an address, it is an end of its own. */
function podEnds(owners: readonly ReadonlyMap<string, Pod>[]): End[] {
  const found = new Map<string, { name: string; family: Family; values: (EndValue | undefined)[] }>();
  for (const [world, owned] of owners.entries()) {
    const seen = new Map<string, number>();
    for (const [address, owner] of owned) {
      const family = familyOf(address);
      const name = isContested(owner) ? `${owner.name} (${address})` : objectKey(owner);
      // Of one family there is one, but nothing makes sure of it.
      const count = seen.get(`${name} ${family}`) ?? 0;
      seen.set(`${name} ${family}`, count + 1);
      const id = `${name} ${family} ${count}`;
      const end = found.get(id) ?? { name, family, values: owners.map(() => undefined) };
      found.set(id, end);
      end.values[world] = { address, owner };
    }
  }
  return [...found.values()].map((end) => ({ ...end, kind: 'pod' as const }));
}

/** Addresses that pods have are theirs. */
function nodeEnds(worlds: readonly ClusterSnapshot[], owners: readonly ReadonlyMap<string, Pod>[]): End[] {
  const found = new Map<string, End>();
  for (const { nodes } of worlds) {
    for (const { name, addresses } of nodes.values()) {
      for (const address of addresses) {
        if (found.has(address) || parseAddress(address) === undefined || owners.some((owned) => owned.has(address)))
          continue;
        const value = { address, owner: undefined, fromNode: ANOTHER_NODE };
        const values = worlds.map((world) => (hasNode(world, name, address) ? value : undefined));
        found.set(address, { name, kind: 'node', family: familyOf(address), values });
      }
    }
  }
  return [...found.values()];
}

function hasNode({ nodes }: ClusterSnapshot, name: string, address: string): boolean {
  return nodes.get(name)?.addresses.includes(address) ?? false;
}

/** Of families that something in the cluster has. An address that stands for a block is nobody's in that world. */
function outsideEnds(regions: Regions, worlds: number, inside: readonly End[]): End[] {
  const taken = Array.from({ length: worlds }, (_, world) => {
    return new Set(inside.flatMap(({ values }) => values[world]?.address ?? []));
  });
  return FAMILIES.filter((family) => inside.some((end) => end.family === family))
    .flatMap((family) =>
      regions.list(family).map((region): End => {
        const values = taken.map((own) => {
          const address = regions.freeAddress(region, own);
          return address === undefined ? undefined : { address, owner: undefined };
        });
        return { name: formatCidr(region.cidr), kind: 'outside', family, values };
      }),
    )
    .filter(({ values }) => values.some((value) => value !== undefined));
}

/** The same for ends of one kind and family that no policy of that world tells apart. */
function valueKey({ address, owner }: EndValue, identities: LabelIdentities, regions: Regions): unknown[] {
  const region = regions.keyOf(parseAddress(address)!);
  if (!owner) return [region];
  const pods = claimantsOf(owner).map((pod) => [
    pod.namespace,
    pod.nodeName !== undefined,
    identities.keyOf(pod.labels),
    namedPortsKey(pod),
  ]);
  // What several have in common depends on all of their labels.
  return isContested(owner) ? [region, owner.name] : [region, ...pods];
}

export function namedPortsKey({ namedPorts }: Pod): string {
  return namedPorts
    .map(({ name, protocol, port }) => `${name} ${protocol} ${port}`)
    .sort()
    .join();
}

/** Labels cut down to the keys that selectors of policies ask for. */
class LabelIdentities {
  readonly #asked: ReadonlySet<string>;
  readonly #known = new Map<Labels, string>();

  constructor(policies: readonly Policy[]) {
    this.#asked = new Set(policies.flatMap(selectorsOf).flatMap(keysOf));
  }

  keyOf(labels: Labels): string {
    const key = this.#known.get(labels) ?? this.#textOf(labels);
    this.#known.set(labels, key);
    return key;
  }

  #textOf(labels: Labels): string {
    if (labels === UNKNOWN_LABELS) return '?';
    const asked = Object.entries(labels).filter(([key]) => this.#asked.has(key));
    return JSON.stringify(asked.sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}

function selectorsOf({ podSelector, ingress, egress }: Policy): Selector[] {
  const peers = [...ingress, ...egress].flatMap((rule) => (rule.peers === 'any' ? [] : rule.peers));
  return [podSelector, ...peers.flatMap((peer) => (peer.kind === 'pods' ? [peer.pods] : []))];
}

function keysOf(selector: Selector): string[] {
  return selector.kind === 'all-of' ? selector.requirements.map(({ key }) => key) : [];
}
