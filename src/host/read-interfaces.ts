/** What `ip` and `bridge` (iproute2) tell of this host's links, routes, neighbours and bridges. */
import { CommandFailed, type CommandRequest, type RunCommand } from './command.ts';
import type { HostFacts, HostLink } from './pod-interfaces.ts';

import { type Cidr, parseCidr } from '../net/cidr.ts';
import { canonicalAddress } from '../net/ip.ts';

const TIMEOUT_MS = 5_000;

/** By what they tell of. */
export const HOST_FACTS = {
  links: ['ip', '-j', '-d', 'link', 'show'],
  'routes (IPv4)': ['ip', '-4', '-j', 'route', 'show', 'table', 'all'],
  'routes (IPv6)': ['ip', '-6', '-j', 'route', 'show', 'table', 'all'],
  neighbours: ['ip', '-j', 'neigh', 'show'],
  stations: ['bridge', '-j', 'fdb', 'show'],
} as const satisfies Readonly<Record<string, CommandRequest['argv']>>;
type Fact = keyof typeof HOST_FACTS;

/** Between what one command prints and what the next does. */
const SEPARATOR = '@@';

/** Rejects with CommandFailed, or where a tool prints something else than it should. */
export async function readHostFacts(run: RunCommand): Promise<HostFacts> {
  const [linkEntries = [], ...routeEntries] = await readTogether(run, ['links', 'routes (IPv4)', 'routes (IPv6)']);
  const links = linkEntries.map(linkOf);
  const isBridged = links.some(({ master }) => master !== undefined);
  const [neighbours = [], stations = []] = isBridged ? await readTogether(run, ['neighbours', 'stations']) : [];
  return {
    links,
    ...routesOf(routeEntries.flat()),
    neighbours: neighboursOf(neighbours),
    stations: stationsOf(stations),
  };
}

/** By one shell: to start a process from this large one takes longer than all that these do. Where that fails, each by itself says why. */
async function readTogether(run: RunCommand, facts: readonly Fact[]): Promise<readonly (readonly Entry[])[]> {
  const printed = await printedTogether(run, facts);
  if (printed) return facts.map((what, index) => entriesOf(HOST_FACTS[what], printed[index]!));
  return await Promise.all(
    facts.map(async (what) => {
      const argv = HOST_FACTS[what];
      return entriesOf(argv, (await run({ argv, timeoutMs: TIMEOUT_MS })).stdout);
    }),
  );
}

async function printedTogether(run: RunCommand, facts: readonly Fact[]): Promise<readonly string[] | undefined> {
  const script = facts.map((what) => HOST_FACTS[what].join(' ')).join(` && echo ${SEPARATOR} && `);
  try {
    const { stdout } = await run({ argv: ['sh', '-c', script], timeoutMs: TIMEOUT_MS });
    const printed = stdout.split(new RegExp(`^${SEPARATOR}$`, 'm'));
    return printed.length === facts.length ? printed : undefined;
  } catch (error) {
    if (!(error instanceof CommandFailed)) throw error;
    return undefined;
  }
}

/** Has the kernel ask who has these addresses; answers come later. Pods see an ARP request or a neighbour solicitation, no more. */
export async function askNeighbours(
  run: RunCommand,
  addresses: readonly { readonly address: string; readonly bridge: string }[],
): Promise<void> {
  const lines = addresses.map(({ address, bridge }) => `neigh replace ${address} dev ${bridge} use\n`);
  await run({ argv: ['ip', '-force', '-batch', '-'], stdin: lines.join(''), timeoutMs: TIMEOUT_MS });
}

type Entry = Readonly<Record<string, unknown>>;

function entriesOf(argv: readonly string[], stdout: string): readonly Entry[] {
  const text = stdout.trim();
  // Nothing at all where there is nothing to list.
  const value: unknown = text === '' ? [] : JSON.parse(text);
  if (!Array.isArray(value)) throw new Error(`${argv.join(' ')} printed no list: ${text.slice(0, 80)}`);
  return value as readonly Entry[];
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : undefined;
}

function linkOf({ ifname, ifindex, master, linkinfo, link_netns, link_netnsid }: Entry): HostLink {
  // By its name where it has one on this host, else by number.
  const namespace = textOf(link_netns) ?? textOf(link_netnsid);
  const bridge = textOf(master);
  return {
    name: textOf(ifname) ?? '',
    index: Number(ifindex),
    ...(bridge === undefined ? {} : { master: bridge }),
    ...((linkinfo as Entry | undefined)?.info_kind === 'bridge' ? { isBridge: true } : {}),
    ...(namespace === undefined ? {} : { namespace }),
  };
}

function routesOf(entries: readonly Entry[]): Pick<HostFacts, 'hostRoutes' | 'networks' | 'broadcasts'> {
  const hostRoutes = new Map<string, string>();
  const networks: { prefix: Cidr; device: string }[] = [];
  const broadcasts: { address: string; device: string }[] = [];
  for (const { dst, dev, type, gateway, via } of entries) {
    const [destination, device] = [textOf(dst), textOf(dev)];
    if (destination === undefined || device === undefined || gateway !== undefined || via !== undefined) continue;
    const host = canonicalAddress(destination.replace(/\/(?:32|128)$/, ''));
    if (type === 'broadcast' && host !== undefined) broadcasts.push({ address: host, device });
    if (type !== undefined && type !== 'unicast') continue;
    const prefix = host === undefined ? parseCidr(destination) : undefined;
    if (host !== undefined) hostRoutes.set(host, device);
    else if (prefix) networks.push({ prefix, device });
  }
  return { hostRoutes, networks, broadcasts };
}

function neighboursOf(entries: readonly Entry[]): ReadonlyMap<string, string> {
  const neighbours = new Map<string, string>();
  for (const { dst, dev, lladdr } of entries) {
    const [address, device, station] = [canonicalAddress(textOf(dst) ?? ''), textOf(dev), textOf(lladdr)];
    if (address !== undefined && device !== undefined && station !== undefined)
      neighbours.set(`${device} ${address}`, station);
  }
  return neighbours;
}

function stationsOf(entries: readonly Entry[]): ReadonlyMap<string, string> {
  const stations = new Map<string, string>();
  for (const { mac, ifname, master, state } of entries) {
    const [station, port, bridge] = [textOf(mac), textOf(ifname), textOf(master)];
    // `permanent`: the port's own address.
    if (station !== undefined && port !== undefined && bridge !== undefined && state !== 'permanent')
      stations.set(`${bridge} ${station}`, port);
  }
  return stations;
}
