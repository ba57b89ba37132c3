/** Where in a file of scenarios something stands, and its YAML as values. */
import { LineCounter, parseAllDocuments } from 'yaml';

export interface Source {
  readonly file: string;
  /** Of the first line, from 1. */
  readonly line: number;
}

export function fail({ file, line }: Source, message: string): never {
  throw new Error(`${file}:${line}: ${message}`);
}

export interface YamlDocument {
  readonly source: Source;
  readonly value: Readonly<Record<string, unknown>>;
}

/** The documents of a YAML text that begins at `source`; each must be a mapping. */
export function readYaml(text: string, source: Source): readonly YamlDocument[] {
  const lines = new LineCounter();
  const documents = parseAllDocuments(text, { lineCounter: lines, prettyErrors: false });
  if (!Array.isArray(documents)) return fail(source, 'no YAML in the block');
  return documents.map((document) => {
    const at = (offset: number): Source => ({ ...source, line: source.line + lines.linePos(offset).line - 1 });
    const [error] = [...document.errors, ...document.warnings];
    if (error !== undefined) return fail(at(error.pos[0]), error.message);
    const start = at(document.contents?.range[0] ?? 0);
    return { source: start, value: asMapping(document.toJS(), start, 'a YAML document') };
  });
}

export function asMapping(value: unknown, source: Source, what: string): Readonly<Record<string, unknown>> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  return fail(source, `${what} is no mapping`);
}

/** Fails on a key that is none of `known`. */
export function onlyKeys(value: object, known: readonly string[], source: Source, what: string): void {
  const strange = Object.keys(value).find((key) => !known.includes(key));
  if (strange !== undefined) fail(source, `${what} has no "${strange}"; it has ${known.join(', ')}`);
}

/** `value`, which is one of `choices`. */
export function oneOf<T extends string | boolean>(
  value: unknown,
  choices: readonly T[],
  source: Source,
  what: string,
): T {
  const found = choices.find((choice) => choice === value);
  return found ?? fail(source, `${what} is ${JSON.stringify(value)}, none of ${choices.join(', ')}`);
}

export function portNumber(value: unknown, source: Source): number {
  const port = Number(value);
  if (!Number.isInteger(port) || port < 1 || port > 65535) fail(source, `${String(value)} is no port`);
  return port;
}

/** `x/a`. */
export function podName(value: unknown, source: Source): string {
  if (typeof value === 'string' && /^[^\s/]+\/[^\s/]+$/.test(value)) return value;
  return fail(source, `${JSON.stringify(value)} is not namespace/pod`);
}

/** A mapping of strings; absent is none. */
export function labelsOf(value: unknown, source: Source): Readonly<Record<string, string>> {
  const labels = asMapping(value ?? {}, source, 'labels');
  for (const [key, each] of Object.entries(labels)) {
    if (typeof each !== 'string') fail(source, `label ${key} is ${JSON.stringify(each)}, not a string`);
  }
  return labels as Record<string, string>;
}
