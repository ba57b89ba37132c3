/** The short answers of `iptables -S CHAIN` and `ipset list -terse`. */

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
