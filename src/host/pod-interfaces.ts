/**
 * Which interface of the host is which pod's, from what the kernel says of links, routes, neighbours and bridges. Pure.
 *
 *   routed      a route to the pod's address alone leads by its interface
 *   bridged     the neighbour table gives the hardware address of the pod's address, the bridge the port where that is
 *   second      another interface into the network namespace of one that is known
 *
 * What was found on a bridge is kept as long as the interface and the pod are there: entries of both tables age, and a pod could
 * overwrite a neighbour's with forged ARP answers; who was there first stays.
 */
import { type Cidr, cidrContains } from '../net/cidr.ts';
import { parseAddress } from '../net/ip.ts';

/** Where a local pod is attached, as far as the host can tell. */
export interface PodInterface {
  readonly name: string;
  /** `second`: no address of the pod leads there, but it is the same network namespace (VPC CNI's IPv4 egress of IPv6 pods). */
  readonly via: 'bridge' | 'route' | 'second';
  /** `namespace/name`. */
  readonly pod: string;
}

/** What is known of where pods are attached; the same object as long as nothing about it changed. */
export interface PodInterfaces {
  /** By name. */
  readonly pods: readonly PodInterface[];
  /** Bridges that a pod is attached to, or may soon be. */
  readonly bridges: readonly PodBridge[];
  /** Broadcast addresses of the networks on those. */
  readonly broadcasts: readonly string[];
}

export interface PodBridge {
  readonly name: string;
  readonly isOnlyPods: boolean;
  /** It has no ports yet. */
  readonly isEmpty?: true;
}

export const NO_INTERFACES: PodInterfaces = { pods: [], bridges: [], broadcasts: [] };

export interface HostLink {
  readonly name: string;
  readonly index: number;
  /** The bridge it is a port of. */
  readonly master?: string;
  /** Is a bridge itself. */
  readonly isBridge?: boolean;
  /** Of the network namespace of a veth's other end; absent if that is this host's own. */
  readonly namespace?: string;
}

/** Addresses are canonical text. */
export interface HostFacts {
  readonly links: readonly HostLink[];
  /** Routes to single addresses: address -> interface. */
  readonly hostRoutes: ReadonlyMap<string, string>;
  /** Routes to networks that lie directly behind an interface. */
  readonly networks: readonly { readonly prefix: Cidr; readonly device: string }[];
  /** Broadcast addresses of the host's networks. */
  readonly broadcasts: readonly { readonly address: string; readonly device: string }[];
  /** Interface and address, `cni0 10.244.1.5` -> hardware address. */
  readonly neighbours: ReadonlyMap<string, string>;
  /** Bridge and hardware address, `cni0 0a:58:…` -> port. */
  readonly stations: ReadonlyMap<string, string>;
}

/** A port of a bridge on which a pod was found. */
export interface KnownPort {
  readonly index: number;
  readonly pod: string;
}

export interface FoundInterfaces {
  readonly interfaces: PodInterfaces;
  readonly ports: ReadonlyMap<string, KnownPort>;
  /** Addresses of pods whose interface is not known, and the bridge to ask for each, if one leads there. */
  readonly unknown: readonly { readonly address: string; readonly pod: string; readonly bridge?: string }[];
  /** Interfaces that look like a pod's, but belong to no pod that is known. */
  readonly nobodys: readonly string[];
}

interface InterfaceQuestion {
  readonly facts: HostFacts;
  readonly localAddresses: ReadonlyMap<string, string>;
  readonly prefixes: readonly string[];
  /** Of interfaces that are no pod's although their names begin like those of pods. */
  readonly trunkPrefix: string;
  readonly known: ReadonlyMap<string, KnownPort>;
}

export function findInterfaces(question: InterfaceQuestion): FoundInterfaces {
  const { facts, localAddresses, prefixes, trunkPrefix } = question;
  const links = new Map(facts.links.map((link) => [link.name, link]));
  const isTrunk = (name: string): boolean => trunkPrefix !== '' && name.startsWith(trunkPrefix);
  const isPods = (name: string): boolean =>
    links.has(name) && !isTrunk(name) && prefixes.some((prefix) => name.startsWith(prefix));
  const found = new Map<string, PodInterface>();
  const ports = portsOf(question, links, isPods);
  for (const [name, { pod }] of ports) found.set(name, { name, via: 'bridge', pod });
  for (const [address, pod] of localAddresses) {
    const name = facts.hostRoutes.get(address);
    if (name !== undefined && isPods(name) && !found.has(name)) found.set(name, { name, via: 'route', pod });
  }
  addSeconds(found, facts.links, isPods);
  const attached = new Set([...found.values()].map(({ pod }) => pod));
  const unknown = [...localAddresses].flatMap(([address, pod]) => {
    if (attached.has(pod)) return [];
    const bridge = bridgeTo(address, facts);
    return [{ address, pod, ...(bridge === undefined ? {} : { bridge }) }];
  });
  return {
    interfaces: { pods: [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1)), ...bridgesOf(facts, isPods) },
    ports,
    unknown,
    nobodys: facts.links.map(({ name }) => name).filter((name) => isPods(name) && !found.has(name)),
  };
}

function portsOf(
  { facts, localAddresses, known }: InterfaceQuestion,
  links: ReadonlyMap<string, HostLink>,
  isPods: (name: string) => boolean,
): ReadonlyMap<string, KnownPort> {
  const pods = new Set(localAddresses.values());
  const ports = new Map<string, KnownPort>();
  for (const [name, port] of known) {
    const link = links.get(name);
    if (link?.index === port.index && link.master !== undefined && pods.has(port.pod)) ports.set(name, port);
  }
  const attached = new Set([...ports.values()].map(({ pod }) => pod));
  const bridges = new Set(facts.links.flatMap(({ master }) => (master === undefined ? [] : [master])));
  for (const [address, pod] of localAddresses) {
    if (attached.has(pod)) continue;
    for (const bridge of bridges) {
      const station = facts.neighbours.get(`${bridge} ${address}`);
      const name = station === undefined ? undefined : facts.stations.get(`${bridge} ${station}`);
      if (name === undefined || ports.has(name) || !isPods(name)) continue;
      ports.set(name, { index: links.get(name)!.index, pod });
    }
  }
  return ports;
}

/** Interfaces that lead into the same network namespace as one that is known. */
function addSeconds(
  found: Map<string, PodInterface>,
  links: readonly HostLink[],
  isPods: (name: string) => boolean,
): void {
  const podIn = new Map<string, string>();
  for (const { name, namespace } of links) {
    const pod = found.get(name)?.pod;
    if (pod !== undefined && namespace !== undefined) podIn.set(namespace, pod);
  }
  for (const { name, namespace, master } of links) {
    const pod = namespace === undefined ? undefined : podIn.get(namespace);
    if (pod === undefined || found.has(name) || !isPods(name)) continue;
    found.set(name, { name, via: master === undefined ? 'second' : 'bridge', pod });
  }
}

/** A bridge without ports may be made for a pod that is to come. */
function bridgesOf(
  { links, broadcasts }: HostFacts,
  isPods: (name: string) => boolean,
): Pick<PodInterfaces, 'bridges' | 'broadcasts'> {
  const bridges = links.flatMap(({ name, isBridge }) => {
    const ports = links.filter(({ master }) => master === name);
    if (!isBridge || (ports.length > 0 && !ports.some((port) => isPods(port.name)))) return [];
    const isOnlyPods = ports.every((port) => isPods(port.name));
    return [{ name, isOnlyPods, ...(ports.length === 0 ? { isEmpty: true as const } : {}) }];
  });
  const names = new Set(bridges.map(({ name }) => name));
  return { bridges, broadcasts: broadcasts.flatMap(({ address, device }) => (names.has(device) ? [address] : [])) };
}

function bridgeTo(text: string, { links, networks }: HostFacts): string | undefined {
  const bridges = new Set(links.flatMap(({ master }) => (master === undefined ? [] : [master])));
  const address = parseAddress(text);
  if (!address) return undefined;
  return networks.find(({ prefix, device }) => bridges.has(device) && cidrContains(prefix, address))?.device;
}
