/** Values -> commands of nft. */
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
}

/** For one table. */
export class TableWriter {
  readonly #table: string;

  constructor(name: string) {
    this.#table = `inet ${name}`;
  }

  addTable(): Command {
    return { text: `add table ${this.#table}`, object: '' };
  }

  deleteTable(): Command {
    return { text: `delete table ${this.#table}`, object: '' };
  }

  addChain({ name, hook }: Chain): Command {
    return this.#command(`add chain ${this.#table} ${name}${hook === '' ? '' : ` { ${hook} }`}`, name);
  }

  addRules({ name, lines }: Chain): Command[] {
    return lines.map((line) => this.#command(`add rule ${this.#table} ${name} ${line}`, name));
  }

  flushChain(name: string): Command {
    return this.#command(`flush chain ${this.#table} ${name}`, name);
  }

  deleteChain(name: string): Command {
    return this.#command(`delete chain ${this.#table} ${name}`, name);
  }

  addSet({ name, type, isInterval, isMap }: NftSet): Command {
    const flags = isInterval ? ' flags interval;' : '';
    const [kind, of] = isMap ? ['map', `${type} : verdict`] : ['set', type];
    return this.#command(`add ${kind} ${this.#table} ${name} { type ${of};${flags} }`, name);
  }

  deleteSet({ name, isMap }: NftSet): Command {
    return this.#command(`delete ${isMap ? 'map' : 'set'} ${this.#table} ${name}`, name);
  }

  addElements({ name }: Pick<NftSet, 'name'>, elements: readonly (readonly [string, true | string])[]): Command[] {
    return this.#inBatches(
      'add',
      name,
      elements.map(([element, verdict]) => {
        return verdict === true ? elementText(element) : `${elementText(element)} : ${verdict}`;
      }),
    );
  }

  deleteElements({ name }: Pick<NftSet, 'name'>, elements: readonly string[]): Command[] {
    return this.#inBatches('delete', name, elements.map(elementText));
  }

  #inBatches(verb: 'add' | 'delete', name: string, texts: readonly string[]): Command[] {
    const commands: Command[] = [];
    for (let at = 0; at < texts.length; at += MAX_ELEMENTS) {
      const some = texts.slice(at, at + MAX_ELEMENTS).join(', ');
      commands.push(this.#command(`${verb} element ${this.#table} ${name} { ${some} }`, name));
    }
    return commands;
  }

  #command(text: string, object: string): Command {
    return { text, object };
  }
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
