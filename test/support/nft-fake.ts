/** Tables of nftables in memory: a kernel that takes the very commands of the product, and refuses what the kernel refuses. */
import { runSync } from '../../src/core/sliced.ts';
import { versionedMap } from '../../src/core/versioned-map.ts';
import { type NftKernel, NftFailed } from '../../src/dataplane/nftables/kernel/kernel.ts';
import { epochTable } from '../../src/dataplane/nftables/plan/epochs.ts';
import type { Rule } from '../../src/dataplane/nftables/table/rule.ts';
import { mergeTables, readTableInSteps } from '../../src/dataplane/nftables/table/read-table.ts';
import type { Known, Layout, NftSet, Table } from '../../src/dataplane/nftables/table/table.ts';
import { type Command, elementText } from '../../src/dataplane/nftables/table/write-table.ts';
import { numberOf } from './address-number.ts';
import {
  TABLE_FAMILIES,
  type TableFamily,
  familyOfName,
  localName,
  nameIn,
} from '../../src/dataplane/nftables/table/families.ts';
import { readRuleText } from '../../src/dataplane/nftables/table/parse-rule.ts';

/** The rendered table with an epoch in force. */
export function inForce(table: Table, epoch: number, layout: Layout): Table {
  const epochs = epochTable(table, layout, { epoch, released: new Set() });
  return {
    chains: versionedMap([...table.chains, ...epochs.chains]),
    sets: versionedMap([...table.sets, ...epochs.sets]),
  };
}

export interface FakeNft extends NftKernel {
  /** What the kernel holds; undefined: no table. */
  table(): Table | undefined;
  /** As `nft -p list table` prints it. */
  text(): string;
  /** Of the chain's rules, in order; undefined: it is not there. */
  handles(chain: string): readonly number[] | undefined;
  /** Transactions that went in, since the start. */
  readonly transactions: readonly (readonly string[])[];
  /** Somebody else's hand. */
  edit(...commands: readonly string[]): void;
  readonly faults: {
    /** The kernel refuses such a command. */
    refuse: ((text: string) => boolean) | undefined;
    /** So many transactions from now on are carried out, and the channel dies before it says so. */
    lostAnswers: number;
    /** So many reads from now on fail. */
    failedReads: number;
    /** The agent is killed ahead of this many more transactions. */
    diesAfter: number | undefined;
  };
  /** Called whenever packets could see something new. */
  onCommit: (() => void) | undefined;
}

export class AgentKilled extends Error {}

interface MutableSet extends Omit<NftSet, 'elements'> {
  readonly elements: Map<string, true | string>;
}
interface State {
  readonly tables: Set<TableFamily>;
  readonly chains: Map<string, { readonly hook: string; readonly lines: string[]; readonly handles: number[] }>;
  readonly sets: Map<string, MutableSet>;
}

export function createFakeNft(): FakeNft {
  let state: State | undefined;
  const transactions: string[][] = [];
  const faults: FakeNft['faults'] = { refuse: undefined, lostAnswers: 0, failedReads: 0, diesAfter: undefined };
  const fake: FakeNft = {
    faults,
    transactions,
    onCommit: undefined,
    table: () => state && tableOf(state),
    text: () => (state ? printed(state) : ''),
    handles: (chain) => state?.chains.get(chain)?.handles,
    read: async (known) => {
      if (faults.failedReads-- > 0) throw new NftFailed('nft: cannot be started', 'unavailable');
      return state && readBack(state, known);
    },
    edit: (...commands) => {
      state = applied(
        state,
        commands.map((text) => ({ text, object: '' })),
        undefined,
      );
      fake.onCommit?.();
    },
    write: async (commands) => {
      if (faults.diesAfter !== undefined && faults.diesAfter-- === 0) throw new AgentKilled();
      state = applied(state, commands, faults.refuse);
      transactions.push(commands.map(({ text }) => text));
      fake.onCommit?.();
      if (faults.lostAnswers-- > 0) throw new NftFailed('nft -i: nft ended', 'unavailable');
    },
  };
  return fake;
}

/** As values with rules, for the tracer. */
function tableOf({ chains, sets }: State): Table {
  return {
    chains: versionedMap(
      [...chains].map(([name, { hook, lines }]) => [name, { name, hook, lines, rules: lines.map(knownRule) }]),
    ),
    sets: versionedMap([...sets].map(([name, set]) => [name, { ...set, elements: versionedMap(set.elements) }])),
  };
}

const knownRules = new Map<string, Rule>();

function knownRule(line: string): Rule {
  const rule = knownRules.get(line) ?? readRuleText(line);
  if (!rule) throw new Error(`syntax error: ${line}`);
  knownRules.set(line, rule);
  return rule;
}

function printed({ tables, chains, sets }: State): string {
  return TABLE_FAMILIES.filter((family) => tables.has(family))
    .map((family) => {
      const ofFamily = <T>(objects: ReadonlyMap<string, T>): ReadonlyMap<string, T> =>
        new Map([...objects].filter(([name]) => familyOfName(name) === family));
      return printedOne(family, ofFamily(chains), ofFamily(sets));
    })
    .join('');
}

function printedOne(
  family: TableFamily,
  chains: ReadonlyMap<string, { readonly hook: string; readonly lines: readonly string[] }>,
  sets: ReadonlyMap<string, MutableSet>,
): string {
  const lines = [`table ${family} portcullis {`];
  for (const { name, type, isMap, isInterval, elements } of sets.values()) {
    const verdict = isMap && !type.includes(' : ') ? ' : verdict' : '';
    lines.push(`\t${isMap ? 'map' : 'set'} ${localName(name)} {`, `\t\ttype ${type}${verdict}`);
    if (isInterval) lines.push('\t\tflags interval');
    const texts = [...elements].map(([key, verdict]) => elementText(key) + (verdict === true ? '' : ` : ${verdict}`));
    if (texts.length > 0) lines.push(`\t\telements = { ${texts.join(',\n\t\t\t     ')} }`);
    lines.push('\t}', '');
  }
  for (const [name, chain] of chains) {
    const rules = chain.lines.map((line) => line.replace(/(^| )counter /, '$1counter packets 12 bytes 720 '));
    lines.push(
      `\tchain ${localName(name)} {`,
      ...[chain.hook, ...rules].filter(Boolean).map((line) => `\t\t${line}`),
      '\t}',
      '',
    );
  }
  return `${lines.slice(0, -1).join('\n')}\n}\n`;
}

/** As the product reads it: rules are text, and what is as it is known is the known object. */
function readBack(state: State, known: Known | undefined): Table {
  const tables = TABLE_FAMILIES.filter((family) => state.tables.has(family)).map((family) => {
    const text = printed({ ...state, tables: new Set([family]) }).replaceAll(COUNTED, '$1');
    return runSync(readTableInSteps(text, family, known));
  });
  return mergeTables(tables);
}

/** The values of counters, which `nft -s` leaves out. */
const COUNTED = /(\bcounter) packets 12 bytes 720/g;

/** All commands or, if one is refused, none. */
function applied(
  before: State | undefined,
  commands: readonly Command[],
  refuse: ((text: string) => boolean) | undefined,
): State | undefined {
  const transaction = new Transaction(before);
  for (const { text, object } of commands) {
    try {
      if (refuse?.(text)) throw new Error('Could not process rule: Cannot allocate memory');
      transaction.carryOut(text);
    } catch (error) {
      throw new NftFailed(
        `${object}: ${(error as Error).message}: ${text.slice(0, 200)}`,
        'refused',
        object || undefined,
      );
    }
  }
  return transaction.state;
}

/** No two rules have the same. */
let handlesGiven = 0;

class Transaction {
  state: State | undefined;

  constructor(before: State | undefined) {
    if (!before) return;
    this.state = {
      tables: new Set(before.tables),
      chains: new Map(
        [...before.chains].map(([name, { hook, lines, handles }]) => [
          name,
          { hook, lines: [...lines], handles: [...handles] },
        ]),
      ),
      sets: new Map([...before.sets].map(([name, set]) => [name, { ...set, elements: new Map(set.elements) }])),
    };
  }

  carryOut(text: string): void {
    const [, verb = '', kind = '', family = '', local = '', rest = ''] =
      /^(add|delete|flush) (table|chain|rule|set|map|element) (inet|bridge) \S+ ?(\S*) ?(.*)$/.exec(text) ?? [];
    const does = this.#commands[`${verb} ${kind}`];
    if (!does) throw new Error(`syntax error: ${text}`);
    this.#family = family as TableFamily;
    if (kind !== 'table' && !this.state?.tables.has(this.#family)) throw missing('table');
    does(this.#named(local), rest);
  }

  /** Of the command. */
  #family: TableFamily = 'inet';

  #named(local: string): string {
    return nameIn(this.#family, local);
  }

  readonly #commands: Readonly<Record<string, (name: string, rest: string) => void>> = {
    'add table': () => {
      this.state ??= { tables: new Set(), chains: new Map(), sets: new Map() };
      this.state.tables.add(this.#family);
    },
    'delete table': () => {
      if (!this.state?.tables.delete(this.#family)) throw missing('table');
      for (const objects of [this.state.chains, this.state.sets])
        for (const name of objects.keys()) if (familyOfName(name) === this.#family) objects.delete(name);
      if (this.state.tables.size === 0) this.state = undefined;
    },
    'add chain': (name, rest) => {
      const hook = /^\{ (.*) \}$/.exec(rest)?.[1] ?? '';
      if (!this.#held.chains.has(name)) this.#held.chains.set(name, { hook, lines: [], handles: [] });
    },
    'flush chain': (name) => {
      const { lines, handles } = this.#chain(name);
      lines.splice(0);
      handles.splice(0);
    },
    'delete chain': (name) => {
      if (this.#chain(name).lines.length > 0 || this.#isReferred(new RegExp(`\\b(jump|goto) ${localName(name)}$`)))
        throw busy(name);
      this.#held.chains.delete(name);
    },
    'add rule': (name, rest) => {
      knownRule(rest);
      for (const [, target = ''] of rest.matchAll(/\b(?:jump|goto) (\S+)$/g)) this.#chain(this.#named(target));
      for (const [, set = ''] of rest.matchAll(/@(\S+)/g)) this.#set(this.#named(set));
      if (Buffer.byteLength(/comment "([^"]*)"/.exec(rest)?.[1] ?? '') > 127) throw new Error('comment too long');
      this.#chain(name).lines.push(rest);
      this.#chain(name).handles.push(++handlesGiven);
    },
    'add set': (name, rest) => this.#addSet(name, rest, false),
    'add map': (name, rest) => this.#addSet(name, rest, true),
    'delete set': (name) => this.#deleteSet(name),
    'delete map': (name) => this.#deleteSet(name),
    'add element': (name, rest) => {
      const set = this.#set(name);
      for (const [element, verdict] of elementsIn(rest)) {
        if (set.isMap === true && verdict === true) throw new Error('an element of a map needs a verdict');
        if (verdict !== true && !set.type.includes(' : ')) this.#chain(this.#named(verdict.split(' ')[1]!));
        const before = set.elements.get(element);
        if (before !== undefined && before !== verdict) throw new Error('Could not process rule: File exists');
        if (set.isInterval && overlaps(set, element)) throw new Error('interval overlaps with an existing one');
        set.elements.set(element, verdict);
      }
    },
    'delete element': (name, rest) => {
      for (const [element] of elementsIn(rest)) if (!this.#set(name).elements.delete(element)) throw missing(element);
    },
  };

  get #held(): State {
    return this.state!;
  }

  #addSet(name: string, rest: string, isMap: boolean): void {
    const [, type = '', flags] = /^\{ type ([^;]*);( flags interval;)? \}$/.exec(rest) ?? [];
    if (type === '') throw new Error('syntax error in a set');
    const known = this.#held.sets.get(name);
    if (known) throw new Error('Could not process rule: File exists');
    this.#held.sets.set(name, {
      name,
      type: type.replace(/ : verdict$/, ''),
      ...(flags ? { isInterval: true } : {}),
      ...(isMap ? { isMap } : {}),
      elements: new Map(),
    });
  }

  #deleteSet(name: string): void {
    this.#set(name);
    if (this.#isReferred(new RegExp(`@${localName(name)}( |$)`))) throw busy(name);
    this.#held.sets.delete(name);
  }

  /** By a rule, or the element of a map. */
  #isReferred(pattern: RegExp): boolean {
    const isHere = ([name]: readonly [string, unknown]): boolean => familyOfName(name) === this.#family;
    const byRule = [...this.#held.chains]
      .filter(isHere)
      .some(([, { lines }]) => lines.some((line) => pattern.test(line.replace(/ comment ".*"$/, ''))));
    return (
      byRule ||
      [...this.#held.sets]
        .filter(isHere)
        .some(([, { elements }]) => [...elements.values()].some((verdict) => pattern.test(String(verdict))))
    );
  }

  #chain(name: string) {
    const found = this.#held.chains.get(name);
    if (!found) throw missing(name);
    return found;
  }

  #set(name: string): MutableSet {
    const found = this.#held.sets.get(name);
    if (!found) throw missing(name);
    return found;
  }
}

function missing(name: string): Error {
  return new Error(`Could not process rule: No such file or directory: ${name}`);
}

function busy(name: string): Error {
  return new Error(`Could not process rule: Device or resource busy: ${name}`);
}

/** `{ 10.0.0.1 . 6 . 80 : goto x, ... }` */
function elementsIn(text: string): readonly (readonly [string, true | string])[] {
  const inner = /^\{ (.*) \}$/.exec(text)?.[1];
  if (inner === undefined) throw new Error(`syntax error: ${text}`);
  return inner.split(', ').map((each) => {
    const [element = '', verdict] = each.split(' : ');
    const parts = element.split(' . ');
    return [parts.length === 3 ? `${parts[0]},${parts[1]}:${parts[2]}` : element, verdict ?? true];
  });
}

function overlaps({ elements }: MutableSet, element: string): boolean {
  const mine = spanOf(element);
  return [...elements.keys()].some((key) => {
    const other = spanOf(key);
    return key !== element && other.rest === mine.rest && other.first <= mine.last && mine.first <= other.last;
  });
}

function spanOf(element: string): { readonly first: bigint; readonly last: bigint; readonly rest: string } {
  const [range = '', rest = ''] = element.split(',');
  const [from = '', to] = range.split('-');
  const [address = '', length] = from.split('/');
  const { value, family } = numberOf(address);
  const width = family === 4 ? 32 : 128;
  const last = to === undefined ? value + (1n << BigInt(width - Number(length ?? width))) - 1n : numberOf(to).value;
  return { first: value, last, rest };
}
