/** JSON text -> value, with what `JSON.parse` hides: keys given twice, and numbers written as fractions. Pure. */

export interface ReadJson {
  readonly value: unknown;
  /** Paths of keys given more than once, as `spec.ingress[0].ports`. Of two values the later counts; objects are merged. */
  readonly duplicates: readonly string[];
  /** Numbers written with a point or an exponent: path to text. The API takes none of them as an integer, `80.0` neither. */
  readonly fractions: ReadonlyMap<string, string>;
}

/** Throws SyntaxError, as `JSON.parse` does. */
export function readJson(text: string): ReadJson {
  JSON.parse(text);
  return new Reader(text).read();
}

type Fields = Record<string, unknown>;

const SPACE = /[ \t\n\r]*/y;
const STRING = /"(?:[^"\\]|\\.)*"/y;
const NUMBER = /-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?/y;
const WORD = /true|false|null/y;

/** Walks text that `JSON.parse` has found valid, so it never asks whether it is. */
class Reader {
  readonly #text: string;
  readonly #duplicates = new Set<string>();
  readonly #fractions = new Map<string, string>();
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  read(): ReadJson {
    const value = this.#value('', undefined);
    return { value, duplicates: [...this.#duplicates], fractions: this.#fractions };
  }

  /** `before`: what an earlier key of the same name held. */
  #value(path: string, before: unknown): unknown {
    this.#take(SPACE);
    switch (this.#text.charAt(this.#at)) {
      case '{':
        return this.#object(path, before);
      case '[':
        return this.#list(path);
      case '"':
        return JSON.parse(this.#take(STRING));
      case 't':
      case 'f':
      case 'n':
        return JSON.parse(this.#take(WORD));
      default:
        return this.#number(path);
    }
  }

  #number(path: string): number {
    const text = this.#take(NUMBER);
    if (/[.eE]/.test(text)) this.#fractions.set(path, text);
    else this.#fractions.delete(path);
    return Number(text);
  }

  #object(path: string, before: unknown): Fields {
    const result = (isFields(before) ? before : {}) as Fields;
    const seen = new Set<string>();
    for (const _ of this.#items('}')) {
      const key = JSON.parse(this.#take(STRING)) as string;
      this.#take(SPACE);
      this.#at += 1;
      const field = path === '' ? key : `${path}.${key}`;
      if (seen.has(key)) this.#duplicates.add(field);
      seen.add(key);
      const value = this.#value(field, Object.hasOwn(result, key) ? result[key] : undefined);
      // `__proto__` is a key like any other.
      Object.defineProperty(result, key, { value, enumerable: true, writable: true, configurable: true });
    }
    return result;
  }

  #list(path: string): unknown[] {
    const result: unknown[] = [];
    for (const _ of this.#items(']')) result.push(this.#value(`${path}[${result.length}]`, undefined));
    return result;
  }

  /** Stops before each item of the object or list that begins here, and behind its end. */
  *#items(end: '}' | ']'): Generator<void> {
    for (;;) {
      // The opening bracket, then the commas.
      this.#at += 1;
      this.#take(SPACE);
      if (this.#text[this.#at] !== end) yield;
      this.#take(SPACE);
      if (this.#text[this.#at] === end) break;
    }
    this.#at += 1;
  }

  #take(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const [text = ''] = pattern.exec(this.#text) ?? [];
    this.#at += text.length;
    return text;
  }
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
