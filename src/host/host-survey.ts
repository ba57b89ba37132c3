/** Reads what else is on this host: interfaces, pinned BPF objects, IPVS, the beginnings of others' tables. Changes nothing. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ForeignRule, HostSurvey } from './host-findings.ts';
import type { ReadCommand } from './reading-shell.ts';

import { readFlowtables, readIpvsServices, readNftTables } from './read-listings.ts';

interface SurveyPaths {
  readonly interfaces: string;
  readonly bpf: string;
  /** A process's view of /proc/net. */
  readonly net: string;
}

const PATHS: SurveyPaths = { interfaces: '/sys/class/net', bpf: '/sys/fs/bpf', net: '/proc/net' };
/** Of the folders in which others pin objects, level by level. */
const MAX_PINS = 5_000;
const MAX_DEPTH = 4;

/** Where others hook in, and where the path of packets is bent. */
const CHAINS: readonly (readonly [table: string, chain: string])[] = [
  ['filter', 'FORWARD'],
  ['raw', 'PREROUTING'],
  ['raw', 'OUTPUT'],
  ['mangle', 'PREROUTING'],
];

/** Never rejects; what cannot be read is undefined, or left out. */
export async function surveyHost(ask: ReadCommand, paths: SurveyPaths = PATHS): Promise<HostSurvey> {
  const interfaces = (await list(paths.interfaces)) ?? [];
  const rules: ForeignRule[] = [];
  for (const tool of ['iptables', 'ip6tables']) {
    rules.push(...(await rulesOf(ask, `${tool}-nft`, () => true)));
    // Asking for a table that is not there would make it.
    const names = await lines(join(paths.net, tool === 'iptables' ? 'ip_tables_names' : 'ip6_tables_names'));
    rules.push(...(await rulesOf(ask, `${tool}-legacy`, (table) => names?.includes(table) === true)));
  }
  return {
    interfaces,
    rules,
    nftTables: readNftTables(await ask(['nft', 'list', 'chains'])),
    flowtables: readFlowtables(await ask(['nft', 'list', 'flowtables'])),
    bpfPins: await pinned(paths.bpf),
    ipvsServices: readIpvsServices(await lines(join(paths.net, 'ip_vs'))),
  };
}

async function rulesOf(ask: ReadCommand, tool: string, has: (table: string) => boolean): Promise<ForeignRule[]> {
  const found: ForeignRule[] = [];
  for (const [table, chain] of CHAINS) {
    if (!has(table)) continue;
    const text = (await ask([tool, '-t', table, '-S', chain])) ?? '';
    for (const rule of text.split('\n')) if (rule.startsWith('-A ')) found.push({ tool, table, rule });
  }
  return found;
}

async function pinned(root: string): Promise<readonly string[] | undefined> {
  if ((await list(root)) === undefined) return undefined;
  const found: string[] = [];
  const walk = async (path: string, depth: number): Promise<void> => {
    for (const name of (await list(join(root, path))) ?? []) {
      if (found.length >= MAX_PINS) return;
      const inner = path === '' ? name : `${path}/${name}`;
      found.push(inner);
      if (depth < MAX_DEPTH) await walk(inner, depth + 1);
    }
  };
  await walk('', 1);
  return found;
}

/** Undefined: no folder, or not to be read. */
async function list(directory: string): Promise<string[] | undefined> {
  try {
    return (await readdir(directory)).sort();
  } catch {
    return undefined;
  }
}

async function lines(file: string): Promise<readonly string[] | undefined> {
  try {
    return (await readFile(file, 'utf8')).split('\n');
  } catch {
    return undefined;
  }
}
