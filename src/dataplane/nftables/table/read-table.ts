/**
 * What `nft -p -s list table` prints -> values. Rules stay the text that they are; what is not known of a set or chain (a size, a
 * timeout, a comment) becomes a part of its type or hook, so that it is like none of ours.
 */
import type { Chain, NftSet, Table } from './table.ts';

import { type TableFamily, nameIn } from './families.ts';
import { versionedMap } from '../../../core/versioned-map.ts';
import { readElement } from './write-table.ts';

/** One table of both. */
export function mergeTables(tables: readonly Table[]): Table {
  return {
    chains: versionedMap(tables.flatMap(({ chains }) => [...chains])),
    sets: versionedMap(tables.flatMap(({ sets }) => [...sets])),
  };
}

/** Throws for text that is no listing of one table of the family. */
export function readTable(text: string, family: TableFamily = 'inet'): Table {
  const chains: Chain[] = [];
  const sets: NftSet[] = [];
  const lines = text.split('\n');
  if (!new RegExp(`^table ${family} \\S+ \\{`).test(lines[0] ?? ''))
    throw new Error(`not a listing of a table: ${text.slice(0, 200)}`);
  let isWhole = false;
  for (let at = 1; at < lines.length; at++) {
    const line = lines[at]!;
    if (line === '}') isWhole = true;
    const [, kind, local = ''] = /^\t(\w+) (\S+) \{/.exec(line) ?? [];
    if (kind === undefined) continue;
    const name = nameIn(family, local);
    const end = lines.indexOf('\t}', at);
    if (end < 0) break;
    const body = lines.slice(at + 1, end);
    if (kind === 'chain') chains.push(readChain(name, body));
    if (kind === 'set' || kind === 'map') sets.push(readSet(name, kind === 'map', body));
    at = end;
  }
  if (!isWhole) throw new Error('the listing of a table lacks its end');
  return {
    chains: versionedMap(chains.map((chain) => [chain.name, chain])),
    sets: versionedMap(sets.map((set) => [set.name, set])),
  };
}

function readChain(name: string, body: readonly string[]): Chain {
  const lines = body.map((line) => line.trim()).filter((line) => line !== '');
  const isHead = (line: string): boolean => /^(type \S+ hook|comment) /.test(line);
  return { name, hook: lines.filter(isHead).join(' '), lines: lines.filter((line) => !isHead(line)) };
}

function readSet(name: string, isMap: boolean, body: readonly string[]): NftSet {
  const from = body.findIndex((line) => line.startsWith('\t\telements = '));
  const about = (from < 0 ? body : body.slice(0, from)).map((line) => line.trim());
  const [type = '', ...others] = about;
  const isInterval = others.includes('flags interval');
  const unknown = others.filter((line) => line !== 'flags interval');
  return {
    name,
    type: [type.replace(/^type /, '').replace(/ : verdict$/, ''), ...unknown].join('; '),
    ...(isInterval ? { isInterval } : {}),
    ...(isMap ? { isMap } : {}),
    elements: versionedMap(from < 0 ? [] : readElements(body.slice(from).join(' '), isMap)),
  };
}

function readElements(text: string, isMap: boolean): readonly (readonly [string, true | string])[] {
  const inner = text.slice(text.indexOf('{') + 1, text.lastIndexOf('}')).trim();
  if (inner === '') return [];
  return inner.split(/,\s+/).map((each) => {
    if (!isMap) return [readElement(each), true];
    const colon = each.lastIndexOf(' : ');
    return [readElement(each.slice(0, colon)), each.slice(colon + 3)];
  });
}
