/** The verbs: one resource request in, one answer out. Watches are in handle-watch.ts. */
import type { ResourceRequest } from './api-request.ts';
import type { ApiStore, DeleteOptions, FieldValidation, PatchType, WriteOptions } from './api-store.ts';
import {
  type ApiError,
  badRequest,
  type Cause,
  cause,
  expired,
  invalid,
  methodNotAllowed,
  noSuchPath,
  notAcceptable,
  notFound,
  unsupportedMediaType,
  versionTooLarge,
} from './errors.ts';
import { isObject, textOf } from './json.ts';
import type { ListPages } from './list-pages.ts';
import { type ApiObject, type ObjectRef, refOf } from './objects.ts';
import { mergePatch } from './patch.ts';
import { chooseRepresentation, type ListMeta, type Representation } from './representations.ts';
import {
  mediaType,
  parseBody,
  parseObject,
  parseObjectBody,
  type ParsedBody,
  type RequestBody,
} from './request-body.ts';
import { parseSelectors } from './selectors.ts';
import { selectorText } from './tables.ts';

export interface Answer {
  readonly code: number;
  /** JSON text. */
  readonly body: string;
}

/** A resource request with what came along. */
export interface Incoming {
  readonly request: ResourceRequest;
  readonly accept: string | undefined;
  readonly body: RequestBody;
  readonly userAgent: string;
  /** Collects warnings for the answer's headers. */
  readonly warn: (text: string) => void;
}

/** Throws ApiError. */
export function handleRequest(store: ApiStore, pages: ListPages, incoming: Incoming): Answer {
  const { request } = incoming;
  switch (request.verb) {
    case 'list':
      return listObjects(store, pages, incoming);
    case 'get':
      return request.subresource === 'scale' ? getScale(store, request) : getObject(store, incoming);
    case 'create':
      return request.subresource ? createSubresource(store, incoming) : createObject(store, incoming);
    case 'update':
      return request.subresource === 'scale' ? writeScale(store, incoming) : updateObject(store, incoming);
    case 'patch':
      return request.subresource === 'scale' ? writeScale(store, incoming) : patchObject(store, incoming);
    case 'delete':
      return deleteObject(store, incoming);
    case 'deletecollection':
      return deleteObjects(store, incoming);
    case 'watch':
      throw new Error('watches are handled elsewhere');
  }
}

export function representationOf(store: ApiStore, incoming: Pick<Incoming, 'request' | 'accept'>): Representation {
  const { request, accept } = incoming;
  const chosen = chooseRepresentation(request.info, accept, request.query.get('includeObject'), () => store.nowMs());
  if (!chosen) throw notAcceptable();
  return chosen;
}

const named = ({ namespace, name }: ResourceRequest): ObjectRef => ({ namespace, name: name ?? '' });

const answer = (incoming: Incoming, store: ApiStore, code: number, object: ApiObject): Answer => ({
  code,
  body: representationOf(store, incoming).one(object),
});

// ---- reads

function getObject(store: ApiStore, incoming: Incoming): Answer {
  const { info, name = '' } = incoming.request;
  const object = store.get(info.plural, named(incoming.request));
  if (!object) throw notFound(info, name);
  return answer(incoming, store, 200, object);
}

function listObjects(store: ApiStore, pages: ListPages, incoming: Incoming): Answer {
  const { info, namespace, query } = incoming.request;
  const limit = Math.max(0, Number(query.get('limit') ?? 0) || 0);
  const token = query.get('continue');
  if (!token) checkListVersion(query.get('resourceVersion'), query.get('resourceVersionMatch'), store.storage.version);
  const matches = parseSelectors(info.plural, query.get('labelSelector'), query.get('fieldSelector'));
  const all = store.storage.list(info.plural, namespace);
  const selected = matches ? all.filter(matches) : all;
  const { version } = store.storage;
  const page = token ? pages.next(token, { objects: selected, version }, limit) : pages.first(selected, version, limit);
  const meta: ListMeta = {
    resourceVersion: String(page.version),
    ...(page.continue === undefined ? {} : { continue: page.continue }),
    ...(page.remaining === undefined || matches ? {} : { remainingItemCount: page.remaining }),
  };
  return { code: 200, body: representationOf(store, incoming).list(page.objects, meta) };
}

/** A version as sent by a client. Throws 400 if it is no number. */
export function parseVersion(text: string): number {
  if (!/^\d+$/.test(text)) throw badRequest(`invalid resource version ${JSON.stringify(text)}: must be a number`);
  return Number(text);
}

function checkListVersion(text: string | null, match: string | null, current: number): void {
  if (!text || text === '0') return;
  const wanted = parseVersion(text);
  if (wanted > current) throw versionTooLarge(wanted, current);
  if (match === 'Exact' && wanted !== current) throw expired(`The provided resource version is too old: ${wanted}`);
}

// ---- writes

/** A client that does not name itself is known by the program's name in its User-Agent. */
const managerOf = ({ request, userAgent }: Incoming): string =>
  request.query.get('fieldManager') || (userAgent.split('/')[0] ?? '').slice(0, MAX_MANAGER);

/** The API's limit on the name of a manager. */
const MAX_MANAGER = 128;

function checkManager(manager: string | null, options: 'Create' | 'Update' | 'Patch'): void {
  if (manager === null || (manager.length <= MAX_MANAGER && !/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/u.test(manager))) return;
  const subject = { group: 'meta.k8s.io', plural: '', kind: `${options}Options` };
  const causes =
    manager.length > MAX_MANAGER
      ? [cause.tooLong('fieldManager', MAX_MANAGER)]
      : [cause.invalid('fieldManager', manager, 'should only contain printable characters')];
  throw invalid(subject, '', causes);
}

function writeOptions(incoming: Incoming, parsed?: ParsedBody): WriteOptions {
  const { namespace, query, subresource } = incoming.request;
  const validation = query.get('fieldValidation');
  return {
    namespace,
    dryRun: query.get('dryRun') === 'All',
    fieldValidation: isFieldValidation(validation) ? validation : 'Warn',
    warn: incoming.warn,
    subresource: subresource === 'status' ? 'status' : undefined,
    manager: managerOf(incoming),
    force: query.get('force') === 'true',
    ...(parsed ? { duplicates: parsed.duplicates, fractions: parsed.fractions } : {}),
  };
}

const isFieldValidation = (text: string | null): text is FieldValidation =>
  text === 'Strict' || text === 'Warn' || text === 'Ignore';

function createObject(store: ApiStore, incoming: Incoming): Answer {
  const { info, query } = incoming.request;
  checkManager(query.get('fieldManager'), 'Create');
  const body = parseObjectBody(incoming.body);
  return answer(incoming, store, 201, store.create(info.plural, body.value, writeOptions(incoming, body)));
}

function updateObject(store: ApiStore, incoming: Incoming): Answer {
  const { info, name, query } = incoming.request;
  checkManager(query.get('fieldManager'), 'Update');
  const body = parseObjectBody(incoming.body);
  const metadata = isObject(body.value.metadata) ? body.value.metadata : {};
  if (textOf(metadata.name) !== name) {
    throw badRequest('the name of the object does not match the name on the URL');
  }
  // Finalizing a namespace takes away the built-in finalizer, which this server does without.
  if (incoming.request.subresource === 'finalize') return getObject(store, incoming);
  return answer(incoming, store, 200, store.update(info.plural, body.value, writeOptions(incoming, body)));
}

const PATCH_TYPES: Readonly<Record<string, PatchType>> = {
  'application/json-patch+json': 'json',
  'application/merge-patch+json': 'merge',
  'application/strategic-merge-patch+json': 'strategic',
};

const invalidPatchOptions = (fault: Cause): ApiError =>
  invalid({ group: 'meta.k8s.io', plural: '', kind: 'PatchOptions' }, '', [fault]);

function patchObject(store: ApiStore, incoming: Incoming): Answer {
  const { info, query } = incoming.request;
  const type = mediaType(incoming.body.contentType);
  checkManager(query.get('fieldManager'), 'Patch');
  if (type === 'application/apply-patch+yaml' || type === 'application/apply-patch+json') {
    const manager = query.get('fieldManager');
    if (!manager) throw invalidPatchOptions(cause.required('fieldManager', 'is required for apply patch'));
    const body = parseObjectBody(incoming.body);
    const options = writeOptions(incoming, body);
    const { object, created } = store.apply(info.plural, named(incoming.request), body.value, manager, options);
    return answer(incoming, store, created ? 201 : 200, object);
  }
  if (query.has('force'))
    throw invalidPatchOptions(cause.forbidden('force', 'may not be specified for non-apply patch'));
  const patchType = PATCH_TYPES[type];
  if (!patchType) throw unsupportedMediaType(type);
  const body = parseBody(incoming.body);
  // A merge patch keeps numbers as written; the other two put them into values first.
  const { fractions: _values, ...values } = body;
  const options = writeOptions(incoming, patchType === 'merge' ? body : { ...values, fractions: new Map() });
  const patched = store.patch(info.plural, named(incoming.request), patchType, body.value, options);
  return answer(incoming, store, 200, patched);
}

// ---- deletes

function deleteOptions(incoming: Incoming): DeleteOptions {
  const { query } = incoming.request;
  const body = incoming.body.bytes.length === 0 ? {} : parseObject(incoming.body);
  const grace = body.gracePeriodSeconds ?? query.get('gracePeriodSeconds') ?? undefined;
  if (grace !== undefined && !/^\d+$/.test(textOf(grace)))
    throw badRequest('gracePeriodSeconds must be a number, 0 or more');
  const policy = body.propagationPolicy ?? query.get('propagationPolicy');
  const orphan = body.orphanDependents === true || query.get('orphanDependents') === 'true';
  const preconditions = isObject(body.preconditions) ? body.preconditions : undefined;
  const dryRun = (Array.isArray(body.dryRun) && body.dryRun.includes('All')) || query.get('dryRun') === 'All';
  return {
    gracePeriodSeconds: grace === undefined ? undefined : Number(grace),
    propagationPolicy: orphan ? 'Orphan' : textOf(policy),
    preconditions,
    dryRun,
  };
}

/** Pods, services and service accounts are answered with the object, other kinds with a Status once they are gone. */
const RETURNS_OBJECT: ReadonlySet<string> = new Set(['pods', 'services', 'serviceaccounts']);

function deleteObject(store: ApiStore, incoming: Incoming): Answer {
  const { info, name = '' } = incoming.request;
  const left = store.delete(info.plural, named(incoming.request), deleteOptions(incoming));
  const remains = store.get(info.plural, refOf(left))?.metadata.uid === left.metadata.uid;
  if (remains || RETURNS_OBJECT.has(info.plural)) return answer(incoming, store, 200, left);
  const group = info.group === '' ? {} : { group: info.group };
  const details = { name, ...group, kind: info.plural, uid: left.metadata.uid };
  return statusAnswer(200, { status: 'Success', details });
}

function deleteObjects(store: ApiStore, incoming: Incoming): Answer {
  const { info, namespace, query } = incoming.request;
  const labelSelector = query.get('labelSelector') ?? '';
  const fieldSelector = query.get('fieldSelector') ?? '';
  const deleted = store.deleteCollection(
    info.plural,
    { namespace, labelSelector, fieldSelector },
    deleteOptions(incoming),
  );
  const meta = { resourceVersion: String(store.storage.version) };
  return { code: 200, body: representationOf(store, incoming).list(deleted, meta) };
}

const statusAnswer = (code: number, fields: object): Answer => ({
  code,
  body: JSON.stringify({ kind: 'Status', apiVersion: 'v1', metadata: {}, ...fields }),
});

// ---- binding, eviction, scale

function createSubresource(store: ApiStore, incoming: Incoming): Answer {
  const { subresource } = incoming.request;
  const body = parseObject(incoming.body);
  if (subresource === 'binding') {
    const target = isObject(body.target) ? textOf(body.target.name) : '';
    if (target === '') throw badRequest('Binding: target.name: Required value');
    store.bind(named(incoming.request), target);
    return statusAnswer(201, { status: 'Success', code: 201 });
  }
  if (subresource !== 'eviction') throw methodNotAllowed();
  const options = isObject(body.deleteOptions) ? body.deleteOptions : {};
  const grace = options.gracePeriodSeconds;
  store.delete('pods', named(incoming.request), { gracePeriodSeconds: typeof grace === 'number' ? grace : undefined });
  return statusAnswer(201, { status: 'Success', code: 201 });
}

type Scalable = 'deployments' | 'replicasets' | 'statefulsets';

function scalable(request: ResourceRequest): Scalable {
  const { plural } = request.info;
  if (plural === 'deployments' || plural === 'replicasets' || plural === 'statefulsets') return plural;
  throw noSuchPath();
}

function scaleOf(store: ApiStore, request: ResourceRequest): Record<string, unknown> {
  const object = store.get(scalable(request), named(request));
  if (!object) throw notFound(request.info, request.name ?? '');
  const { name, namespace, uid, resourceVersion, creationTimestamp } = object.metadata;
  return {
    kind: 'Scale',
    apiVersion: 'autoscaling/v1',
    metadata: { name, namespace, uid, resourceVersion, creationTimestamp },
    spec: { replicas: object.spec.replicas ?? 1 },
    status: { replicas: object.status?.replicas ?? 0, selector: selectorText(object.spec.selector) },
  };
}

function getScale(store: ApiStore, request: ResourceRequest): Answer {
  return { code: 200, body: JSON.stringify(scaleOf(store, request)) };
}

/** PUT holds a Scale; PATCH is merged into one, whatever its type, as a Scale has no lists. */
function writeScale(store: ApiStore, incoming: Incoming): Answer {
  const { request } = incoming;
  const scale = scaleOf(store, request);
  const wanted = mergePatch(scale, parseObject(incoming.body));
  const spec = isObject(wanted) && isObject(wanted.spec) ? wanted.spec : {};
  const metadata = isObject(wanted) && isObject(wanted.metadata) ? wanted.metadata : {};
  store.modify(
    scalable(request),
    named(request),
    (draft) => {
      draft.spec.replicas = spec.replicas ?? 0;
      draft.metadata.resourceVersion = metadata.resourceVersion;
    },
    { dryRun: request.query.get('dryRun') === 'All' },
  );
  return getScale(store, request);
}
