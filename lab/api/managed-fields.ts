/**
 * Who wrote which field: `metadata.managedFields` in the form FieldsV1. Kept for every write whose client names itself. Pure.
 */
import { equalJson, isObject } from './json.ts';
import type { ManagedFieldsEntry } from './objects.ts';
import { fieldSchema, type ListSchema, type Schema } from './schema.ts';
import { compareText } from '../../src/core/compare.ts';

/** A tree of path elements: `f:name` a field, `k:{...}` an item by its keys, `v:...` an item of a set, `.` the thing itself. */
export interface FieldSet {
  readonly [element: string]: FieldSet;
}

export type ManagedOperation = 'Apply' | 'Update';

export interface Writer {
  readonly manager: string;
  readonly operation: ManagedOperation;
  readonly apiVersion: string;
  readonly subresource: 'status' | undefined;
  /** The kind's status is written through its subresource only. */
  readonly statusApart: boolean;
  /** RFC 3339. */
  readonly time: string;
}

type Fields = Readonly<Record<string, unknown>>;

const LEAF: FieldSet = Object.freeze({});
const ITSELF = '.';

/** What is not owned by anybody: identity, and what the server writes by itself. */
const UNOWNED = ['apiVersion', 'kind'];
const UNOWNED_METADATA: readonly string[] = [
  'name',
  'namespace',
  'uid',
  'resourceVersion',
  'generation',
  'creationTimestamp',
  'deletionTimestamp',
  'deletionGracePeriodSeconds',
  'selfLink',
  'managedFields',
];

/** The entries after a write that made `after` of `before`. `applied`: the configuration of an apply, which owns all it names. */
export function managedFieldsAfter(
  entries: readonly ManagedFieldsEntry[],
  writer: Writer,
  write: {
    readonly before: object | undefined;
    readonly after: object;
    readonly applied?: object | undefined;
    readonly schema: Schema;
  },
): readonly ManagedFieldsEntry[] {
  const { schema } = write;
  const present = ownable(write.after, writer);
  const all = fieldsIn(present, undefined, schema, true) ?? LEAF;
  const changed = fieldsIn(present, write.before && ownable(write.before, writer), schema, true) ?? LEAF;
  const isOwn = (entry: ManagedFieldsEntry): boolean =>
    entry.manager === writer.manager &&
    entry.operation === writer.operation &&
    entry.subresource === writer.subresource;
  const own = entries.find(isOwn);
  const written =
    write.applied === undefined
      ? union((own?.fieldsV1 as FieldSet | undefined) ?? LEAF, changed)
      : (fieldsIn(ownable(write.applied, writer), undefined, schema, false) ?? LEAF);
  const others = entries
    .filter((entry) => !isOwn(entry))
    .map((entry) => withFields(entry, subtract(entry.fieldsV1 as FieldSet, changed)));
  const { manager, operation, apiVersion, subresource, time } = writer;
  const fields = intersect(written, all);
  const entry: ManagedFieldsEntry = {
    ...(manager === '' ? {} : { manager }),
    operation,
    apiVersion,
    time: own && equalJson(own.fieldsV1, fields) && isEmpty(changed) ? own.time : time,
    fieldsType: 'FieldsV1',
    fieldsV1: fields,
    ...(subresource === undefined ? {} : { subresource }),
  };
  return [...others, entry].filter(({ fieldsV1 }) => !isEmpty(fieldsV1 as FieldSet)).sort(compareEntries);
}

/** One field that an apply would change and that another manager has written. */
export interface FieldConflict {
  /** For example `.spec.podSelector`. */
  readonly field: string;
  /** For example `conflict with "kubectl-edit" using networking.k8s.io/v1`. */
  readonly message: string;
}

/** What an apply of `applied` would take from others: it has to be forced then. */
export function applyConflicts(
  entries: readonly ManagedFieldsEntry[],
  writer: Writer,
  write: {
    readonly before: object | undefined;
    readonly after: object;
    readonly applied: object;
    readonly schema: Schema;
  },
): readonly FieldConflict[] {
  const { schema } = write;
  const before = write.before && ownable(write.before, writer);
  const changed = fieldsIn(ownable(write.after, writer), before, schema, false) ?? LEAF;
  const named = fieldsIn(ownable(write.applied, writer), undefined, schema, false) ?? LEAF;
  const taken = intersect(changed, named);
  return entries
    .filter((entry) => entry.manager !== writer.manager || entry.operation !== writer.operation)
    .flatMap((entry) => {
      const message = `conflict with ${JSON.stringify(entry.manager ?? '')} using ${entry.apiVersion}`;
      return sharedFields(taken, entry.fieldsV1 as FieldSet, '').map((field) => ({ field, message }));
    });
}

function sharedFields(a: FieldSet, b: FieldSet, path: string): readonly string[] {
  return Object.entries(a).flatMap(([element, inside]) => {
    const other = b[element];
    if (!other || element === ITSELF) return [];
    const field = path + elementText(element);
    return isEmpty(inside) || isEmpty(other) ? [field] : sharedFields(inside, other, field);
  });
}

/** `f:spec` -> `.spec`, `k:{"name":"c"}` -> `[name="c"]`, `v:"x"` -> `[="x"]`. */
function elementText(element: string): string {
  const text = element.slice(2);
  if (element.startsWith('f:')) return `.${text}`;
  if (element.startsWith('v:')) return `[=${text}]`;
  const keys = Object.entries(JSON.parse(text) as Fields);
  return `[${keys.map(([key, value]) => `${key}=${JSON.stringify(value)}`).join(',')}]`;
}

/** Why these entries, sent by a client, are none; undefined if they are fine. */
export function faultOfEntries(
  entries: readonly unknown[],
): { readonly field: string; readonly value: unknown } | undefined {
  for (const [index, entry] of entries.entries()) {
    const { operation, fieldsType } = isObject(entry) ? entry : {};
    if (operation !== 'Apply' && operation !== 'Update')
      return { field: `[${index}].operation`, value: operation ?? '' };
    if (fieldsType !== undefined && fieldsType !== 'FieldsV1')
      return { field: `[${index}].fieldsType`, value: fieldsType };
  }
  return undefined;
}

function compareEntries(a: ManagedFieldsEntry, b: ManagedFieldsEntry): number {
  if (a.operation !== b.operation) return a.operation === 'Apply' ? -1 : 1;
  return compareText(a.time, b.time) || compareText(a.manager ?? '', b.manager ?? '');
}

const withFields = (entry: ManagedFieldsEntry, fieldsV1: FieldSet): ManagedFieldsEntry => ({ ...entry, fieldsV1 });

function ownable(object: object, { subresource, statusApart }: Writer): Fields {
  const { metadata, status, ...rest } = object as Record<string, unknown>;
  const kept = without(rest, UNOWNED);
  if (subresource === 'status') return { status };
  const own = without(isObject(metadata) ? metadata : {}, UNOWNED_METADATA);
  return { ...kept, ...(Object.keys(own).length > 0 ? { metadata: own } : {}), ...(statusApart ? {} : { status }) };
}

function without(fields: Fields, names: readonly string[]): Fields {
  return Object.fromEntries(Object.entries(fields).filter(([name]) => !names.includes(name)));
}

/**
 * The fields of `value` that `before` lacks or holds otherwise; undefined if there are none. `wholes`: new maps and lists are
 * owned themselves too, as by an update; an apply owns only what is in them.
 */
function fieldsIn(value: unknown, before: unknown, schema: Schema, wholes: boolean): FieldSet | undefined {
  if (value === undefined) return undefined;
  const isOne = 'atomic' in schema && schema.atomic;
  if (!isOne && isObject(value) && Object.keys(value).length > 0) return fieldsOfObject(value, before, schema, wholes);
  if (
    Array.isArray(value) &&
    value.length > 0 &&
    schema.type === 'list' &&
    (schema.set || schema.mergeKey !== undefined)
  ) {
    return fieldsOfItems(value, before, schema, wholes);
  }
  return equalJson(value, before) ? undefined : LEAF;
}

function fieldsOfObject(value: Fields, before: unknown, schema: Schema, wholes: boolean): FieldSet | undefined {
  const old = isObject(before) ? before : {};
  const isNewMap = wholes && schema.type === 'map' && !isObject(before);
  const children = Object.entries(value).flatMap(([name, field]) => {
    const inside = fieldsIn(field, old[name], fieldSchema(schema, name), wholes);
    return inside ? [[`f:${name}`, inside] as const] : [];
  });
  return treeOf(children, isNewMap);
}

function fieldsOfItems(
  items: readonly unknown[],
  before: unknown,
  schema: ListSchema,
  wholes: boolean,
): FieldSet | undefined {
  const old = new Map((Array.isArray(before) ? before : []).map((item: unknown) => [elementOf(item, schema), item]));
  const children = items.flatMap((item) => {
    const element = elementOf(item, schema);
    const isNew = !old.has(element);
    const inside = schema.set ? (isNew ? LEAF : undefined) : fieldsIn(item, old.get(element), schema.items, wholes);
    if (!inside) return [];
    return [[element, isNew && !schema.set ? { [ITSELF]: LEAF, ...inside } : inside] as const];
  });
  return treeOf(children, wholes && !Array.isArray(before));
}

function treeOf(children: readonly (readonly [string, FieldSet])[], itself: boolean): FieldSet | undefined {
  if (children.length === 0) return undefined;
  return Object.fromEntries([...(itself ? [[ITSELF, LEAF] as const] : []), ...children]);
}

function elementOf(item: unknown, schema: ListSchema): string {
  if (schema.set || !isObject(item)) return `v:${JSON.stringify(item)}`;
  const keys = [...(schema.applyKeys ?? [schema.mergeKey ?? ''])].sort();
  const values = keys.map((key) => [key, item[key] ?? (key === 'protocol' ? 'TCP' : undefined)] as const);
  return `k:${JSON.stringify(Object.fromEntries(values))}`;
}

const isEmpty = (set: FieldSet): boolean => Object.keys(set).length === 0;

function union(a: FieldSet, b: FieldSet): FieldSet {
  const result: Record<string, FieldSet> = { ...a };
  for (const [element, inside] of Object.entries(b)) {
    const mine = result[element];
    result[element] = mine ? union(mine, inside) : inside;
  }
  return result;
}

/** What of `a` is still there; `.` is where its parent is. */
function intersect(a: FieldSet, b: FieldSet): FieldSet {
  const kept = Object.entries(a).flatMap(([element, inside]) => {
    if (element === ITSELF) return [[element, inside] as const];
    const other = b[element];
    if (!other) return [];
    const both = isEmpty(inside) ? inside : intersect(inside, other);
    return isEmpty(inside) || !isEmpty(both) ? [[element, both] as const] : [];
  });
  return Object.fromEntries(kept);
}

/** `a` without the fields of `b`. */
function subtract(a: FieldSet, b: FieldSet): FieldSet {
  const kept = Object.entries(a).flatMap(([element, inside]) => {
    const other = b[element];
    if (!other || element === ITSELF) return [[element, inside] as const];
    if (isEmpty(inside) || isEmpty(other)) return [];
    const rest = subtract(inside, other);
    return isEmpty(rest) ? [] : [[element, rest] as const];
  });
  return Object.fromEntries(kept);
}
