/** What a request asks for, read from method and URL. Pure. */
import type { ResourceName } from './objects.ts';
import { findResource, type ResourceInfo, type Subresource } from './resources.ts';

export type Verb = 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete' | 'deletecollection';

export interface ResourceRequest {
  readonly kind: 'resource';
  readonly verb: Verb;
  readonly info: ResourceInfo;
  readonly namespace: string | undefined;
  /** Absent for list, create, deletecollection and most watches. */
  readonly name: string | undefined;
  readonly subresource: Subresource | undefined;
  /** Of a proxy: what is asked there. */
  readonly path?: string;
  readonly query: URLSearchParams;
}

export interface PlainRequest {
  readonly kind: 'plain';
  readonly method: string;
  readonly path: string;
}

/** The path exists, the method on it does not. */
export interface WrongMethod {
  readonly kind: 'wrong-method';
}

export type ParsedRequest = ResourceRequest | PlainRequest | WrongMethod;

const SUBRESOURCES: ReadonlySet<string> = new Set([
  'status',
  'scale',
  'binding',
  'eviction',
  'finalize',
  'log',
  'proxy',
]);

/** A URL that names none of our resources is `plain`. */
export function parseRequest(method: string, url: URL): ParsedRequest {
  const parts = url.pathname
    .split('/')
    .filter((part) => part !== '')
    .map(decodePart);
  const target = parseTarget(parts);
  if (!target) return { kind: 'plain', method, path: url.pathname.replace(/(.)\/+$/, '$1') };
  const verb = verbOf(method, target, url.searchParams);
  if (!verb) return { kind: 'wrong-method' };
  return { kind: 'resource', verb, ...target, query: url.searchParams };
}

function decodePart(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

type Target = Pick<ResourceRequest, 'info' | 'namespace' | 'name' | 'subresource' | 'path'>;

function parseTarget(parts: readonly string[]): Target | undefined {
  const [root, ...rest] = parts;
  if (root === 'api' && rest.length >= 2) return parseRest('', rest[0] ?? '', rest.slice(1));
  if (root === 'apis' && rest.length >= 3) return parseRest(rest[0] ?? '', rest[1] ?? '', rest.slice(2));
  return undefined;
}

function parseRest(group: string, version: string, rest: readonly string[]): Target | undefined {
  const [first, namespace, plural] = rest;
  // namespaces/x/status is about the namespace, namespaces/x/pods about what is in it.
  if (first === 'namespaces' && plural !== undefined && !SUBRESOURCES.has(plural)) {
    const info = findResource(group, version, plural);
    return info?.namespaced ? target(info, namespace, rest.slice(3)) : undefined;
  }
  const info = findResource(group, version, first ?? '');
  return info && target(info, undefined, rest.slice(1));
}

function target(info: ResourceInfo, namespace: string | undefined, rest: readonly string[]): Target | undefined {
  const [name, sub, ...more] = rest;
  const subresource = info.subresources.find((known) => known === sub);
  if (subresource === 'proxy' && namespace !== undefined)
    return { info, namespace, name, subresource, path: `/${more.map(encodeURIComponent).join('/')}` };
  if (more.length > 0 || (sub !== undefined && !subresource)) return undefined;
  // Objects of a namespaced kind are reached through their namespace only.
  if (name !== undefined && info.namespaced && namespace === undefined) return undefined;
  return { info, namespace, name, subresource };
}

const PROXY_VERBS: Readonly<Record<string, Verb>> = { GET: 'get', POST: 'create', PUT: 'update', DELETE: 'delete' };

function verbOf(method: string, target: Target, query: URLSearchParams): Verb | undefined {
  if (target.subresource === 'proxy') return PROXY_VERBS[method];
  if (target.subresource === 'log' && method !== 'GET') return undefined;
  const watch = query.get('watch') === 'true' || query.get('watch') === '1';
  const named = target.name !== undefined;
  switch (method) {
    case 'GET':
      return watch && !target.subresource ? 'watch' : named ? 'get' : 'list';
    case 'POST':
      if (named) return target.subresource === 'binding' || target.subresource === 'eviction' ? 'create' : undefined;
      return target.info.namespaced && target.namespace === undefined ? undefined : 'create';
    case 'PUT':
      return named ? 'update' : undefined;
    case 'PATCH':
      return named ? 'patch' : undefined;
    case 'DELETE':
      return named ? 'delete' : 'deletecollection';
    default:
      return undefined;
  }
}

export type CountedResource = ResourceName | 'none';

export interface LoggedRequest {
  readonly verb: Verb | 'plain';
  readonly resource: CountedResource;
  readonly namespace: string | undefined;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly userAgent: string;
}

const LOG_LIMIT = 1000;

/** Which requests came in, for tests. */
export class RequestLog {
  readonly #counts = new Map<string, number>();
  #recent: LoggedRequest[] = [];

  record(request: LoggedRequest): void {
    const key = `${request.verb} ${request.resource}`;
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
    this.#recent.push(request);
    if (this.#recent.length > 2 * LOG_LIMIT) this.#recent = this.#recent.slice(-LOG_LIMIT);
  }

  /** Requests with this verb (and resource) since the start or the last reset. */
  count(verb: Verb, resource?: ResourceName): number {
    let sum = 0;
    for (const [key, count] of this.#counts) {
      const [counted, of] = key.split(' ');
      if (counted === verb && (resource === undefined || of === resource)) sum += count;
    }
    return sum;
  }

  /** Counts by `verb resource`. */
  counts(): ReadonlyMap<string, number> {
    return new Map(this.#counts);
  }

  /** The last requests, oldest first, at least 1000 if there were so many. */
  recent(): readonly LoggedRequest[] {
    return [...this.#recent];
  }

  reset(): void {
    this.#counts.clear();
    this.#recent = [];
  }
}
