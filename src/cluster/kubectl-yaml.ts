/**
 * YAML and JSON text -> values, as kubectl reads them: sigs.k8s.io/yaml, which is go-yaml 2 and so YAML 1.1 without its numbers to
 * base 60 ([why](../../docs/decisions/yaml-as-kubectl-reads-it.md)). Pure.
 */
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseAllDocuments,
  Scalar,
  type ScalarTag,
  type YAMLMap,
} from 'yaml';
import { messageOf } from '../core/error-text.ts';

/** Both 1-based. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

export interface YamlDocument {
  readonly value: unknown;
  /** 1-based, where it starts. */
  readonly line: number;
  /** 1-based line of what a path of keys and indexes leads to; undefined where the text was not read for lines. */
  readonly lineAt: (path: readonly (string | number)[]) => number | undefined;
  /** The same, with the column: where the value is. */
  readonly positionAt: (path: readonly (string | number)[]) => Position | undefined;
  /** Keys given twice in one map, the later one counts: as kubectl does, who says nothing of it. */
  readonly duplicates: readonly { readonly key: string; readonly line: number }[];
}

export type YamlResult = YamlDocument | { readonly error: string; readonly line: number };

/** JSON longer than this is read for its values alone, which is twenty times faster. */
const MAX_JSON_WITH_LINES = 1024 * 1024;
const HIDDEN = 'follows the end mark `...` without a `---`: kubectl reads nothing of it';
/** Values that aliases may stand for in one document; they multiply otherwise. */
const MAX_ALIASED_VALUES = 100_000;

/** Every document of `text`, empty ones too (their value is null); those that cannot be read as their error. Never throws. */
export function readYaml(text: string): readonly YamlResult[] {
  const bare = text.startsWith('\uFEFF') ? text.slice(1) : text;
  if (!bare.trimStart().startsWith('{')) return readDocuments(bare);
  const values = readJson(bare);
  if (!values) return readDocuments(bare);
  const marked = bare.length > MAX_JSON_WITH_LINES || values.length > 1 ? [] : readDocuments(bare);
  return values.map(({ value, offset }, index): YamlDocument => {
    const twin = marked[index];
    if (twin && 'value' in twin) return { ...twin, value };
    return { value, line: lineOf(bare, offset), lineAt: () => undefined, positionAt: () => undefined, duplicates: [] };
  });
}

/** JSON objects one after another with or without space between, as kubectl takes them; undefined if it is anything else. */
function readJson(text: string): readonly { readonly value: unknown; readonly offset: number }[] | undefined {
  try {
    return objectSpans(text).map(([start, end]) => ({ value: JSON.parse(text.slice(start, end)), offset: start }));
  } catch {
    return undefined;
  }
}

/** Where each top-level `{...}` begins and ends. Anything between them but space makes a span that is no JSON. */
function objectSpans(text: string): [number, number][] {
  const spans: [number, number][] = [];
  const token = /"(?:[^"\\]|\\.)*"|[{}]|[^\s"{}]/gs;
  let depth = 0;
  let start = 0;
  for (let found = token.exec(text); found; found = token.exec(text)) {
    const [what] = found;
    if (depth === 0) start = found.index;
    if (what === '{') depth += 1;
    else if (what === '}') depth -= 1;
    if (depth === 0) spans.push([start, token.lastIndex]);
  }
  if (depth > 0) spans.push([start, text.length]);
  return spans;
}

function lineOf(text: string, offset: number): number {
  let line = 1;
  for (let at = text.indexOf('\n'); at >= 0 && at < offset; at = text.indexOf('\n', at + 1)) line += 1;
  return line;
}

function readDocuments(text: string): readonly YamlResult[] {
  const lines = new LineCounter();
  const positionAt = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return { line: line || 1, column: col || 1 };
  };
  const lineAt = (offset: number): number => positionAt(offset).line;
  try {
    const parsed = parseAllDocuments(text, {
      lineCounter: lines,
      prettyErrors: false,
      logLevel: 'silent',
      schema: 'failsafe',
      customTags: TAGS,
      uniqueKeys: false,
    });
    // Without any document the library returns an empty list of its own kind.
    const documents = [...(parsed as Iterable<Document.Parsed>)];
    return documents.map((document, index) => {
      const hidden = index > 0 && document.contents !== null && !document.directives.docStart;
      const line = lineAt(document.contents?.range[0] ?? 0);
      return hidden ? { error: HIDDEN, line } : readDocument(document, positionAt);
    });
  } catch (error) {
    // Nested so deeply that the parser's own calls did not fit.
    return [{ error: `cannot be read: ${messageOf(error)}`, line: 1 }];
  }
}

function readDocument(document: Document.Parsed, positionAt: (offset: number) => Position): YamlResult {
  const lineAt = (offset: number): number => positionAt(offset).line;
  const [error] = document.errors;
  if (error) return { error: `is not valid YAML: ${error.message}`, line: lineAt(error.pos[0]) };
  const { contents } = document;
  const line = lineAt(contents?.range[0] ?? 0);
  const conversion = new Conversion(document, lineAt);
  try {
    const value = conversion.valueOf(contents);
    const at = (path: readonly (string | number)[]): Position | undefined => {
      const node = nodeAt(contents, path);
      return node?.range ? positionAt(node.range[0]) : undefined;
    };
    return { value, line, lineAt: (path) => at(path)?.line, positionAt: at, duplicates: conversion.duplicates };
  } catch (failure) {
    if (failure instanceof Unreadable) return { error: failure.message, line: lineAt(failure.offset) };
    return { error: `cannot be read: ${messageOf(failure)}`, line };
  }
}

function nodeAt(root: Node | null, path: readonly (string | number)[]): Node | undefined {
  let node: unknown = root;
  for (const step of path) {
    if (isMap(node))
      node = node.items.findLast(({ key }) => isScalar(key) && String(key.value) === String(step))?.value;
    else if (isSeq(node)) node = node.items[Number(step)];
    else return undefined;
  }
  return (node ?? undefined) as Node | undefined;
}

class Unreadable extends Error {
  readonly offset: number;

  constructor(message: string, offset: number) {
    super(message);
    this.offset = offset;
  }
}

/** Parsed nodes -> plain values, with the merge keys and key types of go-yaml 2. */
class Conversion {
  readonly duplicates: { key: string; line: number }[] = [];
  readonly #document: Document.Parsed;
  readonly #lineAt: (offset: number) => number;
  readonly #open = new Set<Node>();
  #aliased = 0;

  constructor(document: Document.Parsed, lineAt: (offset: number) => number) {
    this.#document = document;
    this.#lineAt = lineAt;
  }

  valueOf(node: unknown): unknown {
    if (this.#open.size > 0 && ++this.#aliased > MAX_ALIASED_VALUES)
      throw new Unreadable(`cannot be read: its aliases stand for more than ${MAX_ALIASED_VALUES} values`, 0);
    if (isAlias(node)) return this.#following(node, (target) => this.valueOf(target));
    if (isMap(node)) return this.#map(node);
    if (isSeq(node)) return node.items.map((item) => this.valueOf(item));
    if (!isScalar(node)) return null;
    if (typeof node.value === 'number' && !Number.isFinite(node.value))
      throw new Unreadable(`cannot be read: ${node.source ?? String(node.value)} is no number of JSON`, startOf(node));
    return node.value ?? null;
  }

  #following<T>(alias: Node, use: (target: Node) => T): T {
    const target = isAlias(alias) ? alias.resolve(this.#document) : undefined;
    if (!target) throw new Unreadable('cannot be read: an alias without its anchor', startOf(alias));
    if (this.#open.has(target)) throw new Unreadable('cannot be read: an anchor that contains itself', startOf(alias));
    this.#open.add(target);
    const result = use(target);
    this.#open.delete(target);
    return result;
  }

  #map(node: YAMLMap): Record<string, unknown> {
    const into: Record<string, unknown> = {};
    const given = new Set<string>();
    for (const pair of node.items) {
      if (isMergeKey(pair)) this.#merge(into, pair.value);
      else {
        const key = this.#keyOf(pair);
        if (given.has(key)) this.duplicates.push({ key, line: this.#lineAt(startOf(pair.key)) });
        given.add(key);
        put(into, key, this.valueOf(pair.value));
      }
    }
    return into;
  }

  /** Puts the merged map's fields over those before it, as go-yaml 2 does: what follows it wins, what precedes it does not. */
  #merge(into: Record<string, unknown>, value: unknown): void {
    if (isAlias(value)) this.#following(value, (target) => this.#merge(into, target));
    // The first of several wins.
    else if (isSeq(value)) for (const item of value.items.toReversed()) this.#merge(into, item);
    else if (isMap(value)) for (const [key, field] of Object.entries(this.#map(value))) put(into, key, field);
    else throw new Unreadable('cannot be read: << must be followed by a map or a list of maps', startOf(value));
  }

  #keyOf({ key }: Pair): string {
    const value = this.valueOf(key);
    if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return String(value);
    throw new Unreadable(`cannot be read: a key must be text, not ${JSON.stringify(value)}`, startOf(key));
  }
}

function startOf(node: unknown): number {
  return (node as Node | undefined)?.range?.[0] ?? 0;
}

function isMergeKey({ key }: Pair): boolean {
  return isScalar(key) && key.value === '<<' && (key.type === undefined || key.type === Scalar.PLAIN);
}

/** `__proto__` is a key as any other. */
function put(into: Record<string, unknown>, key: string, value: unknown): void {
  Object.defineProperty(into, key, { value, enumerable: true, configurable: true, writable: true });
}

const YAML = 'tag:yaml.org,2002:';

const TAGS: ScalarTag[] = [
  { tag: `${YAML}null`, default: true, test: /^(?:~|null|Null|NULL)?$/, resolve: () => null },
  {
    tag: `${YAML}bool`,
    default: true,
    test: /^(?:[yY]|[yY]es|YES|[nN]|[nN]o|NO|[tT]rue|TRUE|[fF]alse|FALSE|[oO]n|ON|[oO]ff|OFF)$/,
    resolve: (text) => /^(?:y|t|on)/i.test(text),
  },
  { tag: `${YAML}int`, default: true, test: /^[-+.0-9]/, resolve: numberOrText },
  { tag: `${YAML}float`, resolve: numberOrText },
  { tag: `${YAML}binary`, resolve: (text) => Buffer.from(text, 'base64').toString() },
];

const INTEGERS: readonly (readonly [pattern: RegExp, base: number, digitsAt: number])[] = [
  [/^[-+]?0[xX][0-9a-fA-F]+$/, 16, 2],
  [/^[-+]?0[bB][01]+$/, 2, 2],
  [/^[-+]?0[oO][0-7]+$/, 8, 2],
  [/^[-+]?0[0-7]+$/, 8, 1],
  [/^[-+]?[0-9]+$/, 10, 0],
];
const FLOAT = /^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$/;

/** `0777` and `0o777` are octal, `1_000` is 1000, `08` is 8; `1:30` and `2001-01-01` are text. */
function numberOrText(text: string): number | string {
  if (/^[-+]?\.(?:inf|Inf|INF)$/.test(text)) return text.startsWith('-') ? -Infinity : Infinity;
  if (/^\.(?:nan|NaN|NAN)$/.test(text)) return Number.NaN;
  const plain = text.replaceAll('_', '');
  for (const [pattern, base, digitsAt] of INTEGERS) {
    if (!pattern.test(plain)) continue;
    const digits = plain.replace(/^[-+]/, '').slice(digitsAt);
    const value = base === 10 ? Number(digits) : Number.parseInt(digits, base);
    return plain.startsWith('-') && value !== 0 ? -value : value;
  }
  const value = FLOAT.test(plain) ? Number(plain) : Number.NaN;
  return Number.isFinite(value) ? value : text;
}
