/** All that is needed to understand a difference when the lab is gone: rules, sets, connections, counters, logs, in one directory. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runCommand } from '../../../src/host/command.ts';
import { NFT_TABLE } from '../../../src/dataplane/nftables/table/names.ts';
import type { Lab } from '../../../lab/lab.ts';

const TIMEOUT_MS = 20_000;
const LOG_CHARACTERS = 200_000;

/** Output of a command on a node; what went wrong, where it failed. */
export async function onNode(lab: Lab, node: string, argv: readonly [string, ...string[]]): Promise<string> {
  const { argv: full, env } = lab.network.nodeCommand(node, argv);
  try {
    return (await runCommand({ argv: full, env, stdin: '', timeoutMs: TIMEOUT_MS })).stdout;
  } catch (error) {
    return `cannot be told: ${(error as Error).message}\n`;
  }
}

const LIST_TABLE = ['nft', 'list', 'table', 'inet', NFT_TABLE] as const;

/** Rules of both families with their counters, by node. */
export type RuleCounters = ReadonlyMap<string, string>;

export async function ruleCounters(lab: Lab): Promise<RuleCounters> {
  const variant = lab.options.backend === 'iptables-legacy' ? 'legacy' : 'nft';
  const saves = [`iptables-${variant}-save`, `ip6tables-${variant}-save`].map((tool) => [tool, '-c'] as const);
  const lists = [...saves, ...(lab.options.dataplane === 'nftables' ? [LIST_TABLE] : [])];
  const nodes = lab.network.nodes().map(async ({ name }) => {
    const texts = await Promise.all(lists.map((argv) => onNode(lab, name, [...argv])));
    return [name, texts.map((text, index) => `### ${lists[index]![0]}\n${text}`).join('')] as const;
  });
  return new Map(await Promise.all(nodes));
}

/** The rules whose counters moved, with both values. */
export function movedCounters(before: string, after: string): string {
  const read = (text: string): Map<string, string[]> => {
    const counters = new Map<string, string[]>();
    let table = '';
    for (const line of text.split('\n')) {
      if (line.startsWith('*') || line.startsWith('###'))
        table = line.startsWith('*') ? `${table.split(' *')[0]} ${line}` : line;
      const chain = /^\tchain (\S+) \{$/.exec(line)?.[1];
      if (chain !== undefined) table = `${table.split(' chain ')[0]} chain ${chain}`;
      const found = /^\[(\d+:\d+)\] (.*)$/.exec(line) ?? countedByNft(line);
      // The same rule may be there twice: by their order.
      if (found) counters.set(`${table} ${found[2]}`, [...(counters.get(`${table} ${found[2]}`) ?? []), found[1]!]);
    }
    return counters;
  };
  const earlier = read(before);
  const moved: string[] = [];
  for (const [rule, values] of read(after)) {
    values.forEach((value, index) => {
      const was = earlier.get(rule)?.[index] ?? 'absent';
      if (was !== value) moved.push(`${was} -> ${value}  ${rule}`);
    });
  }
  return moved.join('\n');
}

/** As a match of a line of iptables-save. */
function countedByNft(line: string): readonly string[] | undefined {
  const [, matches, packets, bytes, rest] = /^\t\t(.*)counter packets (\d+) bytes (\d+) (.*)$/.exec(line) ?? [];
  return rest === undefined ? undefined : [line, `${packets}:${bytes}`, `${matches}${rest}`];
}

/** Files by name; writes what every difference needs beside them. Returns the directory. */
export async function keepEvidence(
  lab: Lab,
  directory: string,
  files: Readonly<Record<string, string>>,
): Promise<string> {
  mkdirSync(directory, { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), `${text}\n`);
  const counters = await ruleCounters(lab);
  for (const { name } of lab.network.nodes()) {
    const write = (what: string, text: string): void => writeFileSync(join(directory, `${name}.${what}`), text);
    write('rules.txt', counters.get(name) ?? '');
    write('sets.txt', await onNode(lab, name, ['ipset', 'save']));
    const connections = await Promise.all(
      ['ipv4', 'ipv6'].map((family) => onNode(lab, name, ['conntrack', '-L', '-o', 'extended', '-f', family])),
    );
    write('connections.txt', connections.join(''));
    write('interfaces.txt', await onNode(lab, name, ['ip', '-s', 'link']));
    write('agent.log', tailOf(join(lab.dir, `${name}.log`)));
    for (const page of ['plan', 'readyz', 'metrics']) {
      const { body } = await lab.agents.get(name, `/${page}`).catch((error: Error) => ({ body: error.message }));
      write(`${page}.txt`, body);
    }
  }
  writeFileSync(join(directory, 'objects.json'), JSON.stringify(objectsOf(lab), null, 1));
  return directory;
}

function objectsOf({ store }: Lab): object {
  const kinds = ['namespaces', 'nodes', 'pods', 'networkpolicies'] as const;
  return Object.fromEntries(kinds.map((kind) => [kind, store.list(kind)]));
}

function tailOf(file: string): string {
  try {
    return readFileSync(file, 'utf8').slice(-LOG_CHARACTERS);
  } catch (error) {
    return (error as Error).message;
  }
}
