/** How objects are written into answers: as they are, as tables, or as metadata only, by the Accept header. */
import type { ApiObject } from './objects.ts';
import { apiVersionOf, type ResourceInfo } from './resources.ts';
import { columnDefinitions, type IncludeObject, partialMetadata, tableRow } from './tables.ts';

export type EventType = 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';

export interface ListMeta {
  readonly resourceVersion: string;
  readonly continue?: string;
  readonly remainingItemCount?: number;
}

/** One way of writing objects; every function returns JSON text. */
export interface Representation {
  readonly one: (object: ApiObject) => string;
  readonly list: (objects: readonly ApiObject[], meta: ListMeta) => string;
  /** What stands in a watch event for an object. */
  readonly inEvent: (object: ApiObject) => string;
  readonly bookmark: (resourceVersion: string, annotations?: Readonly<Record<string, string>>) => string;
}

interface MediaRange {
  readonly type: string;
  readonly parameters: Readonly<Record<string, string>>;
}

/** Splits an Accept header into its media ranges, in the order given; quality values are not weighed. */
export function mediaRanges(accept: string | undefined): readonly MediaRange[] {
  if (accept === undefined || accept.trim() === '') return [{ type: '*/*', parameters: {} }];
  return accept.split(',').map((range) => {
    const [type = '', ...parameters] = range.split(';').map((part) => part.trim());
    return { type, parameters: Object.fromEntries(parameters.map((parameter) => parameter.split('=', 2))) };
  });
}

const isJson = (type: string): boolean => type === 'application/json' || type === 'application/*' || type === '*/*';

/** Undefined when the client takes nothing this server can write. */
export function chooseRepresentation(
  info: ResourceInfo,
  accept: string | undefined,
  include: string | null,
  nowMs: () => number,
): Representation | undefined {
  for (const { type, parameters } of mediaRanges(accept)) {
    if (!isJson(type)) continue;
    const as = parameters.as;
    if (as === undefined) return plain(info);
    if (as === 'Table') return table(info, includeObject(include), parameters.v ?? 'v1', nowMs);
    if (as === 'PartialObjectMetadata' || as === 'PartialObjectMetadataList') return metadataOnly(info);
  }
  return undefined;
}

const includeObject = (text: string | null): IncludeObject =>
  text === 'None' || text === 'Object' ? text : 'Metadata';

/** The text of an object without kind and apiVersion, as it stands in lists; kept as long as the object lives. */
const bodies = new WeakMap<ApiObject, string>();

function bodyOf(object: ApiObject): string {
  let body = bodies.get(object);
  if (body === undefined) {
    const { apiVersion: _version, kind: _kind, ...rest } = object;
    body = JSON.stringify(rest);
    bodies.set(object, body);
  }
  return body;
}

export function objectJson(object: ApiObject): string {
  return `{"kind":${JSON.stringify(object.kind)},"apiVersion":${JSON.stringify(object.apiVersion)},${bodyOf(object).slice(1)}`;
}

function plain(info: ResourceInfo): Representation {
  const apiVersion = apiVersionOf(info);
  return {
    one: objectJson,
    list: (objects, meta) =>
      `{"kind":"${info.kind}List","apiVersion":"${apiVersion}","metadata":${JSON.stringify(meta)},"items":[${objects.map(bodyOf).join(',')}]}`,
    inEvent: objectJson,
    bookmark: (resourceVersion, annotations) =>
      JSON.stringify({ kind: info.kind, apiVersion, metadata: bookmarkMeta(resourceVersion, annotations) }),
  };
}

function metadataOnly(info: ResourceInfo): Representation {
  const one = (object: ApiObject): string => JSON.stringify(partialMetadata(object));
  return {
    one,
    list: (objects, metadata) =>
      JSON.stringify({
        kind: 'PartialObjectMetadataList',
        apiVersion: 'meta.k8s.io/v1',
        metadata,
        items: objects.map(partialMetadata),
      }),
    inEvent: one,
    bookmark: plain(info).bookmark,
  };
}

function table(info: ResourceInfo, include: IncludeObject, version: string, nowMs: () => number): Representation {
  const write = (metadata: object, objects: readonly ApiObject[]): string =>
    JSON.stringify({
      kind: 'Table',
      apiVersion: `meta.k8s.io/${version}`,
      metadata,
      columnDefinitions: columnDefinitions(info.plural),
      rows: objects.map((object) => tableRow(info.plural, object, include, nowMs())),
    });
  const one = (object: ApiObject): string => write({ resourceVersion: object.metadata.resourceVersion }, [object]);
  return {
    one,
    list: (objects, meta) => write(meta, objects),
    inEvent: one,
    bookmark: (resourceVersion, annotations) => write(bookmarkMeta(resourceVersion, annotations), []),
  };
}

function bookmarkMeta(resourceVersion: string, annotations: Readonly<Record<string, string>> | undefined): object {
  return { resourceVersion, creationTimestamp: null, ...(annotations ? { annotations } : {}) };
}
