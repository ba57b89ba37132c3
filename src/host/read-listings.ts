/** What `nft list chains`, `nft list flowtables` and /proc/net/ip_vs say. */

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
