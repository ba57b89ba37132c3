/**
 * The ends that flows can have, in classes that no policy tells apart: pods by namespace, the labels that selectors ask for, port names
 * and blocks of addresses; the world outside by blocks; nodes.
 */
import type { Family } from '../../core/vocabulary.ts';
import type { ClusterSnapshot, Labels, LabelledNode, Pod, Selector } from '../model.ts';

import { FAMILIES } from '../../core/vocabulary.ts';
import { formatCidr } from '../../net/cidr.ts';
import { familyOf, parseAddress } from '../../net/ip.ts';
import { addressOwners, claimantsOf, isContested } from '../address-owners.ts';
import { objectKey, UNKNOWN_LABELS } from '../model.ts';
import { Regions } from './regions.ts';
import { peersOf, rulesOf } from './rules.ts';

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
  const regions = new Regions(worlds);
  const identities = worlds.map((world) => new Identities(world));
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
        : (places[world]!.get(placeOf(address, true)) ?? outside.get(regions.keyOf(parseAddress(address)!)))),
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
  for (const { nodes, labelledNodes } of worlds) {
    for (const { name, addresses } of [...nodes.values(), ...(labelledNodes?.values() ?? [])]) {
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

function hasNode({ nodes, labelledNodes }: ClusterSnapshot, name: string, address: string): boolean {
  return [nodes.get(name), labelledNodes?.get(name)].some((node) => node?.addresses.includes(address));
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
function valueKey({ address, owner }: EndValue, identities: Identities, regions: Regions): unknown[] {
  // Rules name a node by its address, whoever else has it (N-44).
  const place = [regions.keyOf(parseAddress(address)!), ...identities.nodesAt(address)];
  if (!owner) return [place];
  const pods = claimantsOf(owner).map((pod) => [
    pod.namespace,
    pod.nodeName !== undefined,
    identities.ofPod(pod.labels),
    namedPortsKey(pod),
  ]);
  // What several have in common depends on all of their labels.
  return isContested(owner) ? [place, owner.name] : [place, ...pods];
}

export function namedPortsKey({ namedPorts }: Pod): string {
  return namedPorts
    .map(({ name, protocol, port }) => `${name} ${protocol} ${port}`)
    .sort()
    .join();
}

/** What policies can tell apart: pods, and nodes at the addresses that they have. */
class Identities {
  readonly #pods: LabelIdentities;
  readonly #nodes: LabelIdentities;
  readonly #byAddress: ReadonlyMap<string, readonly LabelledNode[]>;

  constructor(world: ClusterSnapshot) {
    const { policies, clusterPolicies, labelledNodes } = world;
    const peers = peersOf(rulesOf(world));
    const nodes = peers.flatMap((peer) => (peer.kind === 'nodes' ? [peer.nodes] : []));
    this.#pods = new LabelIdentities([
      ...[...policies.values()].map(({ podSelector }) => podSelector),
      ...[...(clusterPolicies?.values() ?? [])].map(({ subject }) => subject.pods),
      ...peers.flatMap((peer) => (peer.kind === 'pods' ? [peer.pods] : [])),
    ]);
    this.#nodes = new LabelIdentities(nodes);
    this.#byAddress = nodes.length === 0 ? new Map() : nodesByAddress(labelledNodes?.values() ?? []);
  }

  ofPod(labels: Labels): string {
    return this.#pods.keyOf(labels);
  }

  /** Sorted; empty where no rule asks for nodes. */
  nodesAt(address: string): readonly string[] {
    return (this.#byAddress.get(address) ?? []).map(({ labels }) => this.#nodes.keyOf(labels)).sort();
  }
}

/** Several may show the same address. */
export function nodesByAddress(nodes: Iterable<LabelledNode>): ReadonlyMap<string, readonly LabelledNode[]> {
  const found = new Map<string, LabelledNode[]>();
  for (const node of nodes) {
    for (const address of new Set(node.addresses)) {
      const known = found.get(address);
      if (known) known.push(node);
      else found.set(address, [node]);
    }
  }
  return found;
}

/** Labels cut down to the keys that selectors ask for. */
class LabelIdentities {
  readonly #asked: ReadonlySet<string>;
  readonly #known = new Map<Labels, string>();

  constructor(selectors: readonly Selector[]) {
    this.#asked = new Set(selectors.flatMap(keysOf));
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

function keysOf(selector: Selector): string[] {
  return selector.kind === 'all-of' ? selector.requirements.map(({ key }) => key) : [];
}
