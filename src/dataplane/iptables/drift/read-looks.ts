/** The short answers of `iptables -S CHAIN`, `ipset list -terse`, `nft list chains` and others. */

/** Rules of a chain as `iptables -S CHAIN` prints them, without `-A CHAIN`; undefined if this is no such listing. */
export function readChainListing(text: string, chain: string): readonly string[] | undefined {
  const lines = text.split('\n').filter((line) => line.startsWith('-'));
  if (!lines.some((line) => line.startsWith(`-P ${chain} `) || line === `-N ${chain}`)) return undefined;
  const start = `-A ${chain} `;
  return lines.filter((line) => line.startsWith(start)).map((line) => line.slice(start.length).trimEnd());
}

export interface SetHeader {
  readonly type: string;
  readonly entries: number;
  /** Drawn when the set is made, and moves along when it is swapped; empty before ipset 7.12. */
  readonly seed: string;
}

/** By name, all sets of the host. */
export function readSetHeaders(text: string): ReadonlyMap<string, SetHeader> {
  const headers = new Map<string, SetHeader>();
  for (const block of text.split('\n\n')) {
    const name = /^Name: (.*)$/m.exec(block)?.[1];
    const entries = /^Number of entries: (\d+)$/m.exec(block)?.[1];
    if (name === undefined || entries === undefined) continue;
    headers.set(name, {
      type: /^Type: (.*)$/m.exec(block)?.[1] ?? '',
      entries: Number(entries),
      seed: /^Header: .*\binitval (\S+)/m.exec(block)?.[1] ?? '',
    });
  }
  return headers;
}

export interface NftTable {
  readonly family: string;
  readonly name: string;
  readonly chains: readonly string[];
}

/**
 * table ip filter {
 *         chain FORWARD {
 */
export function readNftTables(text: string | undefined): readonly NftTable[] | undefined {
  if (text === undefined) return undefined;
  const tables: { family: string; name: string; chains: string[] }[] = [];
  for (const line of text.split('\n')) {
    const table = /^table (\S+) (\S+) \{/.exec(line);
    if (table) tables.push({ family: table[1]!, name: table[2]!, chains: [] });
    const chain = /^\s+chain (\S+) \{/.exec(line);
    if (chain) tables.at(-1)?.chains.push(chain[1]!);
  }
  return tables;
}

/** `table/flowtable` of each that has a device. */
export function readFlowtables(text: string | undefined): readonly string[] | undefined {
  if (text === undefined) return undefined;
  const found: string[] = [];
  let table = '';
  let flowtable: string | undefined;
  for (const line of text.split('\n')) {
    table = /^table \S+ (\S+) \{/.exec(line)?.[1] ?? table;
    flowtable = /^\s+flowtable (\S+) \{/.exec(line)?.[1] ?? flowtable;
    const devices = /^\s+devices = \{(.*)\}/.exec(line)?.[1]?.trim();
    if (devices && flowtable !== undefined) found.push(`${table}/${flowtable} on ${devices}`);
  }
  return found;
}

/** Of /proc/net/ip_vs. Services are the lines that begin with a protocol or a mark; their servers are indented. */
export function readIpvsServices(lines: readonly string[] | undefined): number | undefined {
  return lines?.filter((line) => /^(TCP|UDP|SCTP|FWM) /.test(line)).length;
}
