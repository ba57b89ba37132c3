/** Values -> commands of nft. */
import { type TableFamily, familyOfName, localName } from './families.ts';
import type { Rule } from './rule.ts';
import type { Chain, NftSet } from './table.ts';

/** nft puts those of one command into one message, which must not be longer than 64 KiB. */
const MAX_ELEMENTS = 1_000;

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
  | ElementChange
  | { readonly kind: 'chain'; readonly chain: string }
  /** A rule that gives each flow these bits of its mark. */
  | { readonly kind: 'stamp'; readonly chain: string; readonly mask: number; readonly bits: number };

/** Of a hash set or map. */
export interface ElementChange {
  readonly kind: 'elements';
  readonly verb: 'add' | 'delete';
  /** As NftSet has it. */
  readonly type: string;
  readonly set: string;
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
    return { text: `add table ${family} ${this.#table}`, object: '' };
  }

  deleteTable(family: TableFamily): Command {
    return { text: `delete table ${family} ${this.#table}`, object: '' };
  }

  addChain({ name, hook }: Chain): Command {
    const command = this.#command(`add chain ${this.#in(name)}${hook === '' ? '' : ` { ${hook} }`}`, name);
    return hook === '' ? { ...command, change: { kind: 'chain', chain: name } } : command;
  }

  addRules({ name, lines, rules }: Chain): Command[] {
    return lines.map((line, index) => {
      const command = this.#command(`add rule ${this.#in(name)} ${line}`, name);
      const stamp = rules && stampOf(rules[index]!);
      return stamp ? { ...command, change: { kind: 'stamp', chain: name, ...stamp } } : command;
    });
  }

  flushChain(name: string): Command {
    return this.#command(`flush chain ${this.#in(name)}`, name);
  }

  deleteChain(name: string): Command {
    return this.#command(`delete chain ${this.#in(name)}`, name);
  }

  addSet({ name, type, isInterval, isMap }: NftSet): Command {
    const flags = isInterval ? ' flags interval;' : '';
    const [kind, of] = isMap ? ['map', type.includes(' : ') ? type : `${type} : verdict`] : ['set', type];
    return this.#command(`add ${kind} ${this.#in(name)} { type ${of};${flags} }`, name);
  }

  deleteSet({ name, isMap }: NftSet): Command {
    return this.#command(`delete ${isMap ? 'map' : 'set'} ${this.#in(name)}`, name);
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
    const { name, type, isInterval } = set;
    const commands: Command[] = [];
    for (let at = 0; at < elements.length; at += MAX_ELEMENTS) {
      const some = elements.slice(at, at + MAX_ELEMENTS);
      const command = this.#command(`${verb} element ${this.#in(name)} { ${some.map(entryText).join(', ')} }`, name);
      commands.push(
        isInterval ? command : { ...command, change: { kind: 'elements', verb, type, set: name, elements: some } },
      );
    }
    return commands;
  }

  #in(name: string): string {
    return `${familyOfName(name)} ${this.#table} ${localName(name)}`;
  }

  #command(text: string, object: string): Command {
    return { text, object };
  }
}

function stampOf({ matches, target, counts, comment }: Rule): { mask: number; bits: number } | undefined {
  if (target.kind !== 'set-mark' || matches.length > 0 || counts || comment !== undefined) return undefined;
  return { mask: target.mask, bits: target.bits };
}

function entryText([element, verdict]: readonly [string, true | string]): string {
  return verdict === true ? elementText(element) : `${elementText(element)} : ${verdict}`;
}

/** `10.0.0.1,6:80` of NodeIntent is `10.0.0.1 . 6 . 80`; others are written as they are. */
export function elementText(element: string): string {
  const comma = element.indexOf(',');
  if (comma < 0) return element;
  const colon = element.indexOf(':', comma);
  return `${element.slice(0, comma)} . ${element.slice(comma + 1, colon)} . ${element.slice(colon + 1)}`;
}

/** The opposite of `elementText`. */
export function readElement(text: string): string {
  const parts = text.split(' . ');
  return parts.length === 3 ? `${parts[0]},${parts[1]}:${parts[2]}` : text;
}
