/**
 * A small description of the API's objects, used for decoding (types, unknown fields) and for merging lists in patches.
 * Objects are open (unknown fields pass) unless closed. Pure.
 */
import { isObject } from './json.ts';

export type Schema =
  | { readonly type: 'any' | 'string' | 'integer' | 'boolean' | 'int-or-string' }
  | { readonly type: 'map'; readonly values: Schema; readonly atomic?: boolean }
  | ListSchema
  | {
      readonly type: 'object';
      readonly fields: Readonly<Record<string, Schema>>;
      readonly closed: boolean;
      /** Fields that exist even if nobody wrote them, as the empty object. */
      readonly always: readonly string[];
      /** Owned and applied as one value, whatever fields it has. */
      readonly atomic?: boolean;
    };

export interface ListSchema {
  readonly type: 'list';
  readonly items: Schema;
  /** Patches merge items with the same value of this field (strategic merge). Absent: the list is replaced as a whole. */
  readonly mergeKey?: string;
  /** Items with the same values of these fields are one in server-side apply; default: `mergeKey` alone. */
  readonly applyKeys?: readonly string[];
  /** A list of plain values that patches merge as a set. */
  readonly set?: boolean;
}

export const ANY: Schema = { type: 'any' };
export const STRING: Schema = { type: 'string' };
export const INTEGER: Schema = { type: 'integer' };
export const BOOLEAN: Schema = { type: 'boolean' };
export const INT_OR_STRING: Schema = { type: 'int-or-string' };
export const STRING_MAP = { type: 'map', values: STRING } as const satisfies Schema;
export const STRINGS: Schema = { type: 'list', items: STRING };
export const STRING_SET: Schema = { type: 'list', items: STRING, set: true };

type ObjectSchema = Extract<Schema, { type: 'object' }>;

export const open = (fields: Readonly<Record<string, Schema>>, always: readonly string[] = []): ObjectSchema => ({
  type: 'object',
  fields,
  closed: false,
  always,
});

export const closed = (fields: Readonly<Record<string, Schema>>, always: readonly string[] = []): ObjectSchema => ({
  type: 'object',
  fields,
  closed: true,
  always,
});

/** The same object or map, owned and applied as one value. */
export const atomic = (schema: Extract<Schema, { type: 'object' | 'map' }>): Schema => ({ ...schema, atomic: true });

export const list = (items: Schema): Schema => ({ type: 'list', items });

export const keyed = (mergeKey: string, items: Schema, applyKeys?: readonly string[]): Schema => ({
  type: 'list',
  items,
  mergeKey,
  ...(applyKeys ? { applyKeys } : {}),
});

/** The schema of one field; `ANY` where the schema says nothing. */
export function fieldSchema(schema: Schema, field: string): Schema {
  if (schema.type === 'map') return schema.values;
  if (schema.type !== 'object') return ANY;
  return Object.hasOwn(schema.fields, field) ? (schema.fields[field] ?? ANY) : ANY;
}

export interface Decoded {
  /** A mutable copy without nulls; fields a closed object does not know are dropped, its empty lists and maps too. */
  readonly value: Record<string, unknown>;
  /** Paths of the dropped fields. */
  readonly unknownFields: readonly string[];
}

/** A field has a type the API cannot hold. The message names path, expectation and finding. */
export class DecodeError extends Error {}

/**
 * Decodes one object from parsed JSON. `fractions`: where the JSON text holds a number written with a point or an exponent,
 * path to text; it is no integer, whatever its value. Throws DecodeError.
 */
export function decodeObject(schema: Schema, value: unknown, fractions: ReadonlyMap<string, string> = NONE): Decoded {
  const found: Findings = { unknown: [], fractions };
  const decoded = decode(schema, value, '', found);
  if (!isObject(decoded)) throw new DecodeError('expected an object');
  return { value: decoded, unknownFields: found.unknown };
}

const NONE: ReadonlyMap<string, string> = new Map();

interface Findings {
  readonly unknown: string[];
  readonly fractions: ReadonlyMap<string, string>;
}

function decode(schema: Schema, value: unknown, path: string, found: Findings): unknown {
  switch (schema.type) {
    case 'any':
      return decodeAny(value);
    case 'string':
      return typeof value === 'string' ? value : mismatch(path, 'a string', value);
    case 'boolean':
      return typeof value === 'boolean' ? value : mismatch(path, 'true or false', value);
    case 'integer':
      return isInt32(value) ? asWritten(path, value, found) : mismatch(path, 'a 32-bit integer', value);
    case 'int-or-string':
      if (isInt32(value)) return asWritten(path, value, found);
      return typeof value === 'string' ? value : mismatch(path, 'an integer or a string', value);
    case 'list':
      return decodeList(schema, value, path, found);
    case 'map':
      return decodeMap(schema.values, value, path, found);
    case 'object':
      return decodeFields(schema, value, path, found);
  }
}

function asWritten(path: string, value: number, { fractions }: Findings): number {
  const text = fractions.get(path);
  if (text !== undefined) throw new DecodeError(`${path}: expected a 32-bit integer, found number ${text}`);
  return value;
}

function decodeAny(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(decodeAny);
  if (!isObject(value)) return value;
  const result: Record<string, unknown> = {};
  for (const key of Object.keys(value)) {
    const field = value[key];
    if (field !== undefined && field !== null) result[key] = decodeAny(field);
  }
  return result;
}

function decodeList(schema: ListSchema, value: unknown, path: string, found: Findings): unknown[] {
  if (!Array.isArray(value)) return mismatch(path, 'a list', value);
  return value.map((item, index) => {
    const itemPath = `${path}[${index}]`;
    // The API reads a null item as the item type's empty value.
    return decode(schema.items, item ?? emptyOf(schema.items), itemPath, found);
  });
}

function emptyOf(schema: Schema): unknown {
  switch (schema.type) {
    case 'string':
      return '';
    case 'boolean':
      return false;
    case 'integer':
    case 'int-or-string':
      return 0;
    case 'list':
      return [];
    case 'map':
    case 'object':
    case 'any':
      return {};
  }
}

function decodeMap(values: Schema, value: unknown, path: string, found: Findings): Record<string, unknown> {
  if (!isObject(value)) return mismatch(path, 'an object', value);
  const result: Record<string, unknown> = {};
  for (const key of Object.keys(value)) {
    const field = value[key] ?? emptyOf(values);
    result[key] = decode(values, field, `${path}.${key}`, found);
  }
  return result;
}

function decodeFields(
  schema: Extract<Schema, { type: 'object' }>,
  value: unknown,
  path: string,
  found: Findings,
): Record<string, unknown> {
  if (!isObject(value)) return mismatch(path, 'an object', value);
  const result: Record<string, unknown> = {};
  for (const key of Object.keys(value)) {
    const field = value[key];
    const fieldPath = path === '' ? key : `${path}.${key}`;
    if (schema.closed && !Object.hasOwn(schema.fields, key)) {
      found.unknown.push(fieldPath);
      continue;
    }
    if (field === null || field === undefined) continue;
    const decoded = decode(fieldSchema(schema, key), field, fieldPath, found);
    if (schema.closed && isEmptyCollection(fieldSchema(schema, key), decoded)) continue;
    result[key] = decoded;
  }
  for (const key of schema.always) result[key] ??= decode(fieldSchema(schema, key), {}, key, found);
  return result;
}

function isEmptyCollection(schema: Schema, value: unknown): boolean {
  if (schema.type === 'list') return Array.isArray(value) && value.length === 0;
  return schema.type === 'map' && isObject(value) && Object.keys(value).length === 0;
}

function isInt32(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && Math.abs(value) <= 0x7fffffff;
}

function mismatch(path: string, expected: string, value: unknown): never {
  const found = Array.isArray(value)
    ? 'a list'
    : value === null
      ? 'null'
      : isObject(value)
        ? 'an object'
        : typeof value;
  const shown = typeof value === 'string' || typeof value === 'number' ? ` ${JSON.stringify(value)}` : '';
  throw new DecodeError(`${path || 'body'}: expected ${expected}, found ${found}${shown}`);
}
