/** Values -> commands of nft. */
import { type TableFamily, familyOfName, localName } from './families.ts';
import type { Rule } from './rule.ts';
import type { Chain, NftSet } from './table.ts';

/** nft puts those of one command into one message, which must not be longer than 64 KiB. */
export const MAX_ELEMENTS = 1_000;

export interface TableName {
  readonly name: string;
}

/** One command, and the chain or set it belongs to. */
export interface Command {
  readonly text: string;
  readonly object: string;
  /** The same as values, of what netlink messages are made for (write-netlink.ts). */
  readonly change?: Change;
}

export type Change =
  | { readonly kind: 'table'; readonly verb: 'add' | 'delete'; readonly family: TableFamily }
  | { readonly kind: 'chain'; readonly chain: string; readonly hook: string }
  | { readonly kind: 'rule'; readonly chain: string; readonly rule: Rule }
  | { readonly kind: 'flush-chain' | 'delete-chain'; readonly chain: string }
  | { readonly kind: 'set' | 'delete-set'; readonly set: SetKind }
  | ElementChange;

export type SetKind = Pick<NftSet, 'name' | 'type' | 'isInterval' | 'isMap'>;

export interface ElementChange {
  readonly kind: 'elements';
  readonly verb: 'add' | 'delete';
  readonly set: SetKind;
  readonly elements: readonly (readonly [string, true | string])[];
}

/** For our tables, which have one name. */
export class TableWriter {
  readonly #table: string;

  constructor(table: string) {
    this.#table = table;
  }

  /** Changes nothing if it is there. */
  addTable(family: TableFamily): Command {
    const change = { kind: 'table', verb: 'add', family } as const;
    return { text: `add table ${family} ${this.#table}`, object: '', change };
  }

  deleteTable(family: TableFamily): Command {
    const change = { kind: 'table', verb: 'delete', family } as const;
    return { text: `delete table ${family} ${this.#table}`, object: '', change };
  }

  addChain({ name, hook }: Chain): Command {
    const text = `add chain ${this.#in(name)}${hook === '' ? '' : ` { ${hook} }`}`;
    return { text, object: name, change: { kind: 'chain', chain: name, hook } };
  }

  addRules({ name, lines, rules }: Chain): Command[] {
    return lines.map((line, index) => {
      const command = { text: `add rule ${this.#in(name)} ${line}`, object: name };
      const rule = rules?.[index];
      return rule ? { ...command, change: { kind: 'rule', chain: name, rule } } : command;
    });
  }

  flushChain(name: string): Command {
    return {
      text: `flush chain ${this.#in(name)}`,
      object: name,
      change: { kind: 'flush-chain', chain: name },
    };
  }

  deleteChain(name: string): Command {
    return {
      text: `delete chain ${this.#in(name)}`,
      object: name,
      change: { kind: 'delete-chain', chain: name },
    };
  }

  addSet(set: NftSet): Command {
    const { name, type, isInterval, isMap } = set;
    const flags = isInterval ? ' flags interval;' : '';
    const [kind, of] = isMap ? ['map', type.includes(' : ') ? type : `${type} : verdict`] : ['set', type];
    const text = `add ${kind} ${this.#in(name)} { type ${of};${flags} }`;
    return { text, object: name, change: { kind: 'set', set } };
  }

  deleteSet(set: NftSet): Command {
    const { name, isMap } = set;
    const text = `delete ${isMap ? 'map' : 'set'} ${this.#in(name)}`;
    return { text, object: name, change: { kind: 'delete-set', set } };
  }

  addElements(set: NftSet, elements: ElementChange['elements']): Command[] {
    return this.#inBatches('add', set, elements);
  }

  deleteElements(set: NftSet, elements: readonly string[]): Command[] {
    return this.#inBatches(
      'delete',
      set,
      elements.map((element) => [element, true]),
    );
  }

  #inBatches(verb: 'add' | 'delete', set: NftSet, elements: ElementChange['elements']): Command[] {
    const { name } = set;
    const commands: Command[] = [];
    for (let at = 0; at < elements.length; at += MAX_ELEMENTS) {
      const some = elements.slice(at, at + MAX_ELEMENTS);
      const text = `${verb} element ${this.#in(name)} { ${some.map(entryText).join(', ')} }`;
      commands.push({ text, object: name, change: { kind: 'elements', verb, set, elements: some } });
    }
    return commands;
  }

  #in(name: string): string {
    return `${familyOfName(name)} ${this.#table} ${localName(name)}`;
  }
}

function entryText([element, verdict]: readonly [string, true | string]): string {
  return verdict === true ? elementText(element) : `${elementText(element)} : ${verdict}`;
}

/** `10.0.0.1,6:80` of NodeIntent is `10.0.0.1 . 6 . 80`; others are written as they are. */
export function elementText(element: string): string {
  return element.includes(',') ? elementFields(element).join(' . ') : element;
}

export function elementFields(element: string): readonly string[] {
  const comma = element.indexOf(',');
  if (comma < 0) return element.split(' . ');
  const colon = element.indexOf(':', comma);
  return [element.slice(0, comma), element.slice(comma + 1, colon), element.slice(colon + 1)];
}

/** The opposite of `elementText`. */
export function readElement(text: string): string {
  if (!text.includes(' . ')) return text;
  const parts = text.split(' . ');
  return parts.length === 3 ? `${parts[0]},${parts[1]}:${parts[2]}` : text;
}
