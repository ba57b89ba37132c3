/** What the pods of one group need in one direction -> the rules that let just that pass, each with the flows it is for. */
import type { Direction, Protocol } from '../../core/vocabulary.ts';
import type { ObservedFlow } from './observed.ts';
import type { PodGroup } from './groups.ts';

import { NAMESPACE_NAME_LABEL } from '../model.ts';
import { type Block, type BlockLimits, blocksFor } from './blocks.ts';

/** The other end of a flow that must pass. */
export type NeededPeer =
  | { readonly kind: 'pods'; readonly group: PodGroup }
  /** Of a node, of the world outside, or of a pod that no selector is sure to find. */
  | { readonly kind: 'address'; readonly address: string };

/** `any`: of a protocol without ports, which no entry of `ports` lets through (S-66). */
export type NeededPort = 'any' | { readonly protocol: Protocol; readonly port: number | string };

export interface Need {
  readonly peer: NeededPeer;
  readonly port: NeededPort;
  readonly seen: ObservedFlow;
}

export type Written = Readonly<Record<string, unknown>>;

export interface DraftRule {
  readonly written: Written;
  readonly seen: readonly ObservedFlow[];
  /** What it lets through besides, in words. */
  readonly notes: readonly string[];
}

/** More single ports of one protocol than anybody lists: a range from the lowest to the highest. */
const MAX_PORTS = 16;
const PEERS = { ingress: 'from', egress: 'to' } as const satisfies Record<Direction, string>;

/** Peers with the same ports share a rule. */
export function draftRules(
  needs: readonly Need[],
  direction: Direction,
  namespace: string,
  limits: BlockLimits,
): readonly DraftRule[] {
  const peers = [...podPeers(needs, namespace), ...blockPeers(needs, limits)].map((peer) => {
    const ports = portsOf(peer.needs);
    return { ...peer, ports, key: JSON.stringify(ports.written) };
  });
  return [...Map.groupBy(peers, ({ key }) => key).values()].map((alike) => {
    const { written: ports } = alike[0]!.ports;
    const notes = alike.flatMap((each) => [...each.notes, ...each.ports.notes]);
    return {
      written: { [PEERS[direction]]: alike.map(({ written }) => written), ...(ports ? { ports } : {}) },
      seen: [...new Set(alike.flatMap((each) => each.needs.map(({ seen }) => seen)))],
      notes: [...new Set(notes)],
    };
  });
}

interface DraftPeer {
  readonly written: Written;
  readonly needs: readonly Need[];
  readonly notes: readonly string[];
}

/** By namespace and name. */
function podPeers(needs: readonly Need[], namespace: string): readonly DraftPeer[] {
  const found = Map.groupBy(needs, ({ peer }) => (peer.kind === 'pods' ? peer.group : undefined));
  return [...found]
    .flatMap(([group, own]) => (group ? [[group, own] as const] : []))
    .sort(([a], [b]) => (`${a.namespace}/${a.name}` < `${b.namespace}/${b.name}` ? -1 : 1))
    .map(([group, own]) => ({ written: podPeer(group, namespace), needs: own, notes: coverage(group) }));
}

function podPeer({ namespace: of, labels }: PodGroup, namespace: string): Written {
  const podSelector = selector(labels);
  return of === namespace
    ? { podSelector }
    : { namespaceSelector: { matchLabels: { [NAMESPACE_NAME_LABEL]: of } }, podSelector };
}

export function selector(labels: PodGroup['labels']): Written {
  return Object.keys(labels).length === 0 ? {} : { matchLabels: labels };
}

/** In words; empty where the labels select the group alone. */
export function coverage({ namespace, name, alsoSelects }: PodGroup): readonly string[] {
  if (alsoSelects.length === 0) return [];
  return [`no label tells ${namespace}/${name} from ${alsoSelects.join(', ')}: these are meant as well`];
}

function blockPeers(needs: readonly Need[], limits: BlockLimits): readonly DraftPeer[] {
  const byPort = Map.groupBy(
    needs.filter(({ peer }) => peer.kind === 'address'),
    ({ port }) => JSON.stringify(port),
  );
  const found = new Map<string, { readonly block: Block; readonly needs: Need[] }>();
  for (const own of byPort.values()) {
    const byAddress = Map.groupBy(own, ({ peer }) => (peer.kind === 'address' ? peer.address : ''));
    for (const block of blocksFor([...byAddress.keys()], limits)) {
      const known = found.get(block.cidr) ?? { block, needs: [] };
      known.needs.push(...block.addresses.flatMap((address) => byAddress.get(address)!));
      found.set(block.cidr, known);
    }
  }
  return [...found.values()].map(({ block: { cidr, except, addresses }, needs: own }) => ({
    written: { ipBlock: { cidr, ...(except.length > 0 ? { except } : {}) } },
    needs: own,
    notes: addresses.length > 1 ? [`${cidr} stands for the ${addresses.length} addresses seen in it`] : [],
  }));
}

interface DraftPorts {
  /** Undefined: all ports of all protocols. */
  readonly written: readonly Written[] | undefined;
  readonly notes: readonly string[];
}

function portsOf(needs: readonly Need[]): DraftPorts {
  if (needs.some(({ port }) => port === 'any'))
    return { written: undefined, notes: ['all ports: no rule with ports lets through the protocol that was seen'] };
  const byProtocol = Map.groupBy(
    needs.flatMap(({ port }) => (port === 'any' ? [] : [port])),
    ({ protocol }) => protocol,
  );
  const parts = [...byProtocol]
    .sort(([a], [b]) => (a < b ? 1 : -1))
    .map(([protocol, ports]) => portsOfOne(protocol, ports));
  return { written: parts.flatMap(({ written }) => written ?? []), notes: parts.flatMap(({ notes }) => notes) };
}

function portsOfOne(protocol: Protocol, ports: readonly { readonly port: number | string }[]): DraftPorts {
  const all = [...new Set(ports.map(({ port }) => port))];
  const names = all.filter((port) => typeof port === 'string').sort();
  const numbers = all.filter((port) => typeof port === 'number').sort((a, b) => a - b);
  // Policies name no port 0, but all ports of a protocol (S-34).
  if (numbers[0] === 0) return { written: [{ protocol }], notes: [`all ports of ${protocol}: port 0 was seen`] };
  const named = names.map((port) => ({ protocol, port }));
  const [lowest, highest] = [numbers[0]!, numbers.at(-1)!];
  if (numbers.length <= MAX_PORTS)
    return { written: [...numbers.map((port) => ({ protocol, port })), ...named], notes: [] };
  return {
    written: [{ protocol, port: lowest, endPort: highest }, ...named],
    notes: [`${protocol} ${lowest} to ${highest} stands for the ${numbers.length} ports seen`],
  };
}
