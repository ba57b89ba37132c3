/** The four ways to patch an object. All return a new value and never change their arguments. Pure. */
import { badRequest, serverError } from './errors.ts';
import { cloneJson, equalJson, isObject } from './json.ts';
import { fieldSchema, type ListSchema, type Schema } from './schema.ts';

type Fields = Record<string, unknown>;

// ---- JSON patch, RFC 6902

interface Operation {
  readonly op: string;
  readonly path: string;
  readonly from?: string;
  readonly value?: unknown;
}

/** Applies the operations in order. Throws 400 on a malformed patch, 422 when an operation cannot be carried out. */
export function jsonPatch(target: Fields, patch: unknown): Fields {
  if (!Array.isArray(patch)) throw badRequest('a JSON patch must be a list of operations');
  let result: unknown = cloneJson(target);
  patch.forEach((operation, index) => {
    if (!isObject(operation) || typeof operation.op !== 'string' || typeof operation.path !== 'string') {
      throw badRequest(`JSON patch operation ${index} needs "op" and "path"`);
    }
    result = applyOperation(result, operation as unknown as Operation, index);
  });
  if (!isObject(result)) throw badRequest('the patched value is no object');
  return result;
}

function applyOperation(root: unknown, operation: Operation, index: number): unknown {
  const failed = (why: string) =>
    serverError(422, `JSON patch operation ${index} (${operation.op} ${operation.path}): ${why}`);
  const path = pointer(operation.path, failed);
  switch (operation.op) {
    case 'add':
      return insertAt(root, path, cloneJson(operation.value), failed);
    case 'remove':
      return removeAt(root, path, failed);
    case 'replace':
      readAt(root, path, failed);
      return replaceAt(root, path, cloneJson(operation.value), failed);
    case 'test':
      if (!equalJson(readAt(root, path, failed), operation.value)) throw failed('the value differs');
      return root;
    case 'copy':
      return insertAt(root, path, cloneJson(readAt(root, pointer(operation.from ?? '', failed), failed)), failed);
    case 'move': {
      const from = pointer(operation.from ?? '', failed);
      const value = readAt(root, from, failed);
      return insertAt(removeAt(root, from, failed), path, value, failed);
    }
    default:
      throw badRequest(`JSON patch operation ${index}: unknown op ${JSON.stringify(operation.op)}`);
  }
}

type Failed = (why: string) => Error;

function pointer(text: string, failed: Failed): string[] {
  if (text === '') return [];
  if (!text.startsWith('/')) throw failed('a path starts with /');
  return text
    .slice(1)
    .split('/')
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
}

function readAt(root: unknown, path: readonly string[], failed: Failed): unknown {
  let value = root;
  for (const part of path) {
    if (Array.isArray(value)) value = value[listIndex(part, value.length - 1, failed)];
    else if (isObject(value) && Object.hasOwn(value, part)) value = value[part];
    else throw failed(`there is no ${JSON.stringify(part)}`);
  }
  return value;
}

function listIndex(part: string, max: number, failed: Failed): number {
  const index = /^(0|[1-9]\d*)$/.test(part) ? Number(part) : Number.NaN;
  if (!(index <= max)) throw failed(`${JSON.stringify(part)} is no position in the list`);
  return index;
}

function insertAt(root: unknown, path: readonly string[], value: unknown, failed: Failed): unknown {
  const last = path.at(-1);
  if (last === undefined) return value;
  const parent = readAt(root, path.slice(0, -1), failed);
  if (Array.isArray(parent)) {
    parent.splice(last === '-' ? parent.length : listIndex(last, parent.length, failed), 0, value);
  } else if (isObject(parent)) parent[last] = value;
  else throw failed('the parent is neither object nor list');
  return root;
}

function replaceAt(root: unknown, path: readonly string[], value: unknown, failed: Failed): unknown {
  const last = path.at(-1);
  if (last === undefined) return value;
  const parent = readAt(root, path.slice(0, -1), failed);
  if (Array.isArray(parent)) parent[listIndex(last, parent.length - 1, failed)] = value;
  else if (isObject(parent)) parent[last] = value;
  return root;
}

function removeAt(root: unknown, path: readonly string[], failed: Failed): unknown {
  const last = path.at(-1);
  if (last === undefined) throw failed('the whole object cannot be removed');
  readAt(root, path, failed);
  const parent = readAt(root, path.slice(0, -1), failed);
  if (Array.isArray(parent)) parent.splice(listIndex(last, parent.length - 1, failed), 1);
  else if (isObject(parent)) delete parent[last];
  return root;
}

// ---- JSON merge patch, RFC 7386

/** Objects merge, null removes, everything else replaces. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return cloneJson(patch);
  const result: Fields = isObject(target) ? { ...target } : {};
  for (const key of Object.keys(patch)) {
    if (patch[key] === null) delete result[key];
    else result[key] = mergePatch(result[key], patch[key]);
  }
  return result;
}

// ---- strategic merge patch

const SET_ORDER = '$setElementOrder/';
const DELETE_VALUES = '$deleteFromPrimitiveList/';
const RETAIN_KEYS = '$retainKeys';
const DIRECTIVE = '$patch';

/** Objects merge; lists with a merge key merge by it, sets merge as sets, other lists are replaced; directives are obeyed. */
export function strategicPatch(target: unknown, patch: Fields, schema: Schema): Fields {
  if (patch[DIRECTIVE] === 'replace') return withoutDirectives(patch);
  if (patch[DIRECTIVE] === 'delete') return {};
  const result: Fields = isObject(target) ? { ...target } : {};
  retainKeys(result, patch[RETAIN_KEYS]);
  for (const key of Object.keys(patch)) {
    const value = patch[key];
    if (key.startsWith('$')) continue;
    if (value === null) delete result[key];
    else result[key] = mergeField(result[key], value, fieldSchema(schema, key));
  }
  for (const key of Object.keys(patch)) {
    if (key.startsWith(DELETE_VALUES)) deleteValues(result, key.slice(DELETE_VALUES.length), patch[key]);
    else if (key.startsWith(SET_ORDER)) orderList(result, key.slice(SET_ORDER.length), patch[key], schema);
  }
  return result;
}

function mergeField(current: unknown, value: unknown, schema: Schema): unknown {
  if (isObject(value)) return strategicPatch(current, value, schema);
  if (!Array.isArray(value)) return value;
  if (schema.type !== 'list' || !Array.isArray(current)) return withoutDirectives(removeDeleted(value));
  if (schema.set) return [...current, ...value.filter((item) => !current.includes(item))];
  if (schema.mergeKey === undefined) return withoutDirectives(value);
  return mergeKeyed(current, value, schema, schema.mergeKey);
}

function removeDeleted(items: readonly unknown[]): unknown[] {
  return items.filter((item) => !(isObject(item) && (item[DIRECTIVE] === 'delete' || isDirectiveOnly(item))));
}

const isDirectiveOnly = (item: Fields): boolean => Object.keys(item).length === 1 && item[DIRECTIVE] === 'replace';

function mergeKeyed(
  current: readonly unknown[],
  patch: readonly unknown[],
  schema: ListSchema,
  key: string,
): unknown[] {
  if (patch.some((item) => isObject(item) && isDirectiveOnly(item))) return withoutDirectives(removeDeleted(patch));
  const result = [...current];
  for (const item of patch) {
    if (!isObject(item) || item[key] === undefined) {
      throw badRequest(`strategic merge patch: a list item lacks its merge key ${JSON.stringify(key)}`);
    }
    const at = result.findIndex((existing) => isObject(existing) && existing[key] === item[key]);
    if (item[DIRECTIVE] === 'delete') {
      if (at >= 0) result.splice(at, 1);
    } else if (at < 0) result.push(withoutDirectives(item));
    else result[at] = strategicPatch(result[at], item, schema.items);
  }
  return result;
}

function retainKeys(result: Fields, keys: unknown): void {
  if (!Array.isArray(keys)) return;
  for (const key of Object.keys(result)) if (!keys.includes(key)) delete result[key];
}

function deleteValues(result: Fields, field: string, values: unknown): void {
  const current = result[field];
  if (Array.isArray(current) && Array.isArray(values)) result[field] = current.filter((item) => !values.includes(item));
}

/** Puts listed items in the given order; items the order does not name keep their place at the end. */
function orderList(result: Fields, field: string, order: unknown, schema: Schema): void {
  const current = result[field];
  const itemSchema = fieldSchema(schema, field);
  if (!Array.isArray(current) || !Array.isArray(order) || itemSchema.type !== 'list') return;
  const key = itemSchema.mergeKey;
  const keyOf = (item: unknown): unknown => (key !== undefined && isObject(item) ? item[key] : item);
  const position = new Map(order.map((item, index) => [keyOf(item), index]));
  const rank = (item: unknown): number => position.get(keyOf(item)) ?? order.length;
  result[field] = [...current].sort((a, b) => rank(a) - rank(b));
}

function withoutDirectives<T>(value: T): T {
  if (Array.isArray(value)) return value.map(withoutDirectives) as T;
  if (!isObject(value)) return value;
  const result: Fields = {};
  for (const key of Object.keys(value)) {
    if (!key.startsWith('$') && value[key] !== null) result[key] = withoutDirectives(value[key]);
  }
  return result as T;
}

// ---- server-side apply, without field owners

/**
 * Merges what a manager wants into the live value; what the same manager wanted `before` and wants no more is removed.
 * Lists with keys are maps, sets are sets, other lists are replaced as a whole.
 */
export function applyMerge(live: unknown, before: unknown, wanted: unknown, schema: Schema): unknown {
  if ('atomic' in schema && schema.atomic) return cloneJson(wanted);
  if (isObject(wanted)) return applyFields(live, before, wanted, schema);
  if (!Array.isArray(wanted) || schema.type !== 'list') return cloneJson(wanted);
  if (schema.set) {
    const dropped = Array.isArray(before) ? before.filter((item) => !wanted.includes(item)) : [];
    const kept = Array.isArray(live) ? live.filter((item) => !dropped.includes(item)) : [];
    return [...kept, ...wanted.filter((item) => !kept.includes(item))];
  }
  if (schema.mergeKey === undefined) return cloneJson(wanted);
  return applyKeyed(live, before, wanted, schema, schema.applyKeys ?? [schema.mergeKey]);
}

function applyFields(live: unknown, before: unknown, wanted: Fields, schema: Schema): Fields {
  const result: Fields = isObject(live) ? { ...live } : {};
  const previously = isObject(before) ? before : {};
  for (const key of Object.keys(previously)) {
    if (wanted[key] === undefined) removeApplied(result, key, previously[key], fieldSchema(schema, key));
  }
  for (const key of Object.keys(wanted)) {
    if (wanted[key] === null) continue;
    result[key] = applyMerge(result[key], previously[key], wanted[key], fieldSchema(schema, key));
  }
  return result;
}

/** Removes a field that is wanted no more; of a map or an open object only what was applied. */
function removeApplied(result: Fields, key: string, before: unknown, schema: Schema): void {
  const live = result[key];
  const isOne = 'atomic' in schema && schema.atomic;
  if (!isOne && isObject(live) && isObject(before) && (schema.type === 'map' || schema.type === 'object')) {
    const rest = applyFields(live, before, {}, schema);
    if (Object.keys(rest).length > 0) result[key] = rest;
    else delete result[key];
  } else delete result[key];
}

function applyKeyed(
  live: unknown,
  before: unknown,
  wanted: readonly unknown[],
  schema: ListSchema,
  keys: readonly string[],
): unknown[] {
  const idOf = (item: unknown): string =>
    isObject(item) ? JSON.stringify(keys.map((key) => item[key] ?? keyDefault(key))) : '';
  const find = (items: unknown, id: string): unknown =>
    Array.isArray(items) ? items.find((item) => idOf(item) === id) : undefined;
  const wantedIds = new Set(wanted.map(idOf));
  const liveItems = Array.isArray(live) ? live : [];
  const kept = liveItems.filter((item) => wantedIds.has(idOf(item)) || find(before, idOf(item)) === undefined);
  const merged = kept.map((item) => {
    const id = idOf(item);
    return wantedIds.has(id) ? applyMerge(item, find(before, id), find(wanted, id), schema.items) : item;
  });
  const keptIds = new Set(kept.map(idOf));
  return [...merged, ...wanted.filter((item) => !keptIds.has(idOf(item))).map(cloneJson)];
}

/** The key fields that have a default in the API. */
const keyDefault = (key: string): string | undefined => (key === 'protocol' ? 'TCP' : undefined);
