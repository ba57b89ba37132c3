/**
 * Whether pods on one bridge bypass us: their packets to each other reach FORWARD only with
 * net.bridge.bridge-nf-call-iptables=1 (and -ip6tables).
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

const INTERFACES = '/sys/class/net';
const SYSCTLS = '/proc/sys/net/bridge';

export interface BridgeFilter {
  /** Bridges with at least one veth port: where pods may sit. */
  readonly bridges: readonly string[];
  /** The sysctls that let bridged packets pass unseen; empty if all is well or there is no such bridge. */
  readonly missing: readonly string[];
}

/** Reads the host's interfaces and sysctls. Never rejects: what cannot be read counts as missing. */
export async function readBridgeFilter(interfaces = INTERFACES, sysctls = SYSCTLS): Promise<BridgeFilter> {
  const bridges: string[] = [];
  for (const name of await list(interfaces)) {
    for (const port of await list(join(interfaces, name, 'brif'))) {
      if (!(await hasPeer(join(interfaces, port)))) continue;
      bridges.push(name);
      break;
    }
  }
  if (bridges.length === 0) return { bridges, missing: [] };
  const wanted = ['bridge-nf-call-iptables', 'bridge-nf-call-ip6tables'];
  const values = await Promise.all(wanted.map((name) => readText(join(sysctls, name))));
  return { bridges, missing: wanted.filter((_, index) => values[index] !== '1').map((name) => `net.bridge.${name}`) };
}

async function list(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).sort();
  } catch {
    return [];
  }
}

/** A veth's peer has another index, often in another namespace: `iflink` differs from `ifindex`. */
async function hasPeer(directory: string): Promise<boolean> {
  const [link, index] = await Promise.all([readText(join(directory, 'iflink')), readText(join(directory, 'ifindex'))]);
  return link !== undefined && link !== index;
}

async function readText(file: string): Promise<string | undefined> {
  try {
    return (await readFile(file, 'utf8')).trim();
  } catch {
    return undefined;
  }
}
