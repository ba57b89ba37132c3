/**
 * What `nft -p -s list table` prints -> values. Rules stay the text that they are; what is not known of a set or chain (a size, a
 * timeout, a comment) becomes a part of its type or hook, so that it is like none of ours.
 */
import type { Sliced } from '../../../core/sliced.ts';
import { runSync } from '../../../core/sliced.ts';
import { versionedMap, versionedMapOver } from '../../../core/versioned-map.ts';
import type { Chain, Elements, Known, NftSet, Table } from './table.ts';

import { type TableFamily, nameIn } from './families.ts';
import { isSameChain, isSameKind } from './table.ts';
import { readElement } from './write-table.ts';

/** One table of both. */
export function mergeTables(tables: readonly Table[]): Table {
  return {
    chains: versionedMap(tables.flatMap(({ chains }) => [...chains])),
    sets: versionedMap(tables.flatMap(({ sets }) => [...sets])),
  };
}

/** As `readTableInSteps`. */
export function readTable(text: string, family: TableFamily = 'inet'): Table {
  return runSync(readTableInSteps(text, family));
}

/** Of listings of tables of either family, one behind the other. */
export function readTables(text: string): Table {
  const listings = text.split(/^(?=table )/m);
  return mergeTables(listings.map((each) => readTable(each, each.startsWith('table bridge ') ? 'bridge' : 'inet')));
}

const NOTHING_KNOWN: Known = { chain: () => undefined, set: () => undefined };
const LINES_PER_STEP = 256;
const OBJECT_END = '\t}';
const ELEMENTS = '\t\telements = {';

/**
 * A chain or set that is like the known one is that object, and nothing of the text is kept for it. Throws for text that is no listing of one
 * table of the family.
 */
export function* readTableInSteps(text: string, family: TableFamily, known: Known = NOTHING_KNOWN): Sliced<Table> {
  const lines = new Lines(text);
  if (!new RegExp(`^table ${family} \\S+ \\{`).test(lines.next() ?? ''))
    throw new Error(`not a listing of a table: ${text.slice(0, 200)}`);
  const chains = new Map<string, Chain>();
  const sets = new Map<string, NftSet>();
  let isWhole = false;
  for (let line = lines.next(); line !== undefined; line = lines.next()) {
    if (line === '}') isWhole = true;
    const [, kind, local = ''] = /^\t(\w+) (\S+) \{/.exec(line) ?? [];
    if (kind === undefined) continue;
    const name = nameIn(family, local);
    if (kind === 'set' || kind === 'map') {
      const set = yield* readSet(lines, name, kind === 'map', known.set(name));
      if (set) sets.set(set.name, set);
    } else {
      const body = yield* restOf(lines);
      const chain = kind === 'chain' && body ? readChain(name, body, known.chain(name)) : undefined;
      if (chain) chains.set(chain.name, chain);
    }
    yield;
  }
  if (!isWhole) throw new Error('the listing of a table lacks its end');
  return { chains: versionedMapOver(chains), sets: versionedMapOver(sets) };
}

/** One after the other: a list of all of them would take as much memory as the text. */
class Lines {
  readonly #text: string;
  /** Where the next one begins. */
  at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  next(): string | undefined {
    const from = this.at;
    if (from >= this.#text.length) return undefined;
    const newline = this.#text.indexOf('\n', from);
    const end = newline < 0 ? this.#text.length : newline;
    this.at = end + 1;
    return this.#text.slice(from, end);
  }
}

/** Of a chain, or of what is not known; undefined: it has no end. */
function* restOf(lines: Lines): Sliced<readonly string[] | undefined> {
  const body: string[] = [];
  for (let line = lines.next(); line !== undefined; line = lines.next()) {
    if (line === OBJECT_END) return body;
    if (body.push(line.trim()) % LINES_PER_STEP === 0) yield;
  }
  return undefined;
}

function readChain(name: string, body: readonly string[], known: Chain | undefined): Chain {
  const lines = body.filter((line) => line !== '');
  const isHead = (line: string): boolean => /^(type \S+ hook|comment) /.test(line);
  const chain = { name, hook: lines.filter(isHead).join(' '), lines: lines.filter((line) => !isHead(line)) };
  return known && isSameChain(chain, known) ? known : chain;
}

/** Undefined: it has no end. */
function* readSet(lines: Lines, name: string, isMap: boolean, known: NftSet | undefined): Sliced<NftSet | undefined> {
  const about: string[] = [];
  let from = lines.at;
  for (let line = lines.next(); line !== OBJECT_END && !line?.startsWith(ELEMENTS); line = lines.next()) {
    if (line === undefined) return undefined;
    about.push(line.trim());
    from = lines.at;
  }
  const kind = kindOf(name, isMap, about);
  if (known && isSameKind(kind, known)) {
    lines.at = from;
    if (yield* areElements(known.elements, lines, isMap)) return known;
  }
  lines.at = from;
  const elements = new Map<string, true | string>();
  const behind = yield* eachElement(lines, isMap, (element, verdict) => void elements.set(element, verdict));
  if (!behind) return undefined;
  return {
    ...(behind.length > 0 ? kindOf(name, isMap, [...about, ...behind]) : kind),
    elements: versionedMapOver(elements),
  };
}

/** `about`: what is printed besides elements. */
function kindOf(name: string, isMap: boolean, [type = '', ...others]: readonly string[]): Omit<NftSet, 'elements'> {
  const isInterval = others.includes('flags interval');
  const unknown = others.filter((line) => line !== 'flags interval');
  return {
    name,
    type: [type.replace(/^type /, '').replace(/ : verdict$/, ''), ...unknown].join('; '),
    ...(isInterval ? { isInterval } : {}),
    ...(isMap ? { isMap } : {}),
  };
}

function* areElements(known: Elements, lines: Lines, isMap: boolean): Sliced<boolean> {
  let [count, areSame] = [0, true];
  const behind = yield* eachElement(lines, isMap, (element, verdict) => {
    count++;
    areSame &&= known.get(element) === verdict;
  });
  return areSame && count === known.size && behind?.length === 0;
}

/** Result: the lines of the set behind its elements; undefined: it has no end. */
function* eachElement(
  lines: Lines,
  isMap: boolean,
  take: (element: string, verdict: true | string) => void,
): Sliced<readonly string[] | undefined> {
  const behind: string[] = [];
  let isListed = false;
  let count = 0;
  for (let line = lines.next(); line !== OBJECT_END; line = lines.next()) {
    if (line === undefined) return undefined;
    const isFirst = line.startsWith(ELEMENTS);
    isListed ||= isFirst;
    if (isListed) {
      const isLast = line.endsWith('}');
      takeFrom(line.slice(isFirst ? ELEMENTS.length : 0, isLast ? -1 : undefined), isMap, take);
      isListed = !isLast;
    } else behind.push(line.trim());
    if (++count % LINES_PER_STEP === 0) yield;
  }
  return behind;
}

/** `10.0.0.1 . 6 . 80 : goto x, 10.0.0.2 . 6 . 80 : drop,` */
function takeFrom(text: string, isMap: boolean, take: (element: string, verdict: true | string) => void): void {
  const trimmed = text.trim();
  const list = trimmed.endsWith(',') ? trimmed.slice(0, -1) : trimmed;
  if (list === '') return;
  for (const each of list.split(', ')) {
    if (!isMap) take(readElement(each), true);
    else {
      const colon = each.lastIndexOf(' : ');
      take(readElement(each.slice(0, colon)), each.slice(colon + 3));
    }
  }
}
