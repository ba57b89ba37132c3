/**
 * The API server's writes and reads, without HTTP: defaults, validation, versions, graceful deletion, namespaces.
 * All methods are synchronous; they throw ApiError. Returned objects are deeply frozen.
 */
import { randomUUID } from 'node:crypto';
import {
  alreadyExists,
  type ApiError,
  applyConflict,
  badRequest,
  type Cause,
  cause,
  conflict,
  forbidden,
  invalid,
  MODIFIED_MEANWHILE,
  notFound,
  qualifiedName,
  serverError,
  untypedPatch,
} from './errors.ts';
import { applyConflicts, faultOfEntries, managedFieldsAfter, type Writer } from './managed-fields.ts';
import { cloneJson, equalJson, isObject, textOf } from './json.ts';
import { fillDefaults, validateObject } from './object-rules.ts';
import {
  type ApiObject,
  type LooseObject,
  type ManagedFieldsEntry,
  type ObjectMeta,
  type ObjectRef,
  refOf,
  type ResourceName,
  type ResourceTypes,
} from './objects.ts';
import { applyMerge, jsonPatch, mergePatch, strategicPatch } from './patch.ts';
import { apiVersionOf, RESOURCES, type ResourceInfo, resourceInfo } from './resources.ts';
import { DecodeError, decodeObject } from './schema.ts';
import { type PolicyChannel, schemaOf, SCHEMAS } from './schemas.ts';
import { parseSelectors } from './selectors.ts';
import { Storage, type StorageOptions, type StoredEvent } from './storage.ts';

type Fields = Record<string, unknown>;

/** A mutable copy of an object. `spec` and `status` are absent where the kind has none. */
export type Draft = Fields & { metadata: Fields; spec: Fields; status: Fields };

export type FieldValidation = 'Strict' | 'Warn' | 'Ignore';

export interface WriteOptions {
  readonly namespace?: string | undefined;
  readonly dryRun?: boolean;
  /** What happens to fields the schema does not know; in-process default is Strict. */
  readonly fieldValidation?: FieldValidation;
  readonly warn?: (text: string) => void;
  readonly subresource?: 'status' | undefined;
  /** Who writes, noted in `metadata.managedFields`; absent: nobody is noted. */
  readonly manager?: string | undefined;
  /** A server-side apply takes fields over from their managers. */
  readonly force?: boolean;
  /** What the request's text held beside its value: see read-json.ts. */
  readonly duplicates?: readonly string[];
  readonly fractions?: ReadonlyMap<string, string>;
}

interface ApplyOptions extends WriteOptions {
  /** The configuration of a server-side apply: its manager owns just these fields. */
  readonly applied?: object;
}

export interface DeleteOptions {
  /** Absent: the pod's own `terminationGracePeriodSeconds`. Only pods are deleted gracefully. */
  readonly gracePeriodSeconds?: number | undefined;
  readonly propagationPolicy?: string | undefined;
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string } | undefined;
  readonly dryRun?: boolean;
}

export type PatchType = 'json' | 'merge' | 'strategic';

export interface ListOptions {
  readonly namespace?: string | undefined;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
}

export interface ChangeEvent<T extends ApiObject = ApiObject> {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly object: T;
  /** Absent for ADDED. */
  readonly previous?: T;
}

/** Last step before an object is validated and stored: returns the object to store. May throw ApiError. */
export type Admission<T extends ApiObject = ApiObject> = (object: T, before: T | undefined) => T;

export interface ApiStoreOptions extends Partial<StorageOptions> {
  /** Wall clock in ms since the epoch. */
  readonly now?: () => number;
  /** Whose CRD serves ClusterNetworkPolicy; `experimental` if absent. */
  readonly policyChannel?: PolicyChannel;
}

const NAME_ALPHABET = 'bcdfghjklmnpqrstvwxz2456789';
const GENERATED_SUFFIX = 5;
/** Longest generateName kept in front of the suffix. */
const MAX_GENERATED_BASE = 58;
/** etcd's limit on one request, which bounds an object (S-49). */
const MAX_OBJECT_BYTES = 1.5 * 1024 * 1024;
const DEFAULT_HISTORY = 65_536;

export class ApiStore {
  readonly storage: Storage;
  readonly #now: () => number;
  readonly #policyChannel: PolicyChannel;
  readonly #admissions = new Map<ResourceName, Admission[]>();
  /** What each manager applied last, by uid. */
  readonly #applied = new Map<string, Map<string, LooseObject>>();

  constructor(options: ApiStoreOptions = {}) {
    this.storage = new Storage({
      historyLimit: options.historyLimit ?? DEFAULT_HISTORY,
      firstVersion: options.firstVersion ?? 1,
    });
    this.#now = options.now ?? Date.now;
    this.#policyChannel = options.policyChannel ?? 'experimental';
  }

  // ---- reads

  get<R extends ResourceName>(resource: R, ref: ObjectRef): ResourceTypes[R] | undefined {
    return this.storage.get(resource, ref) as ResourceTypes[R] | undefined;
  }

  /** Sorted by namespace, then name. */
  list<R extends ResourceName>(resource: R, options: ListOptions = {}): readonly ResourceTypes[R][] {
    const matches = parseSelectors(resource, options.labelSelector, options.fieldSelector);
    const all = this.storage.list(resource, options.namespace);
    return (matches ? all.filter(matches) : all) as readonly ResourceTypes[R][];
  }

  /**
   * Calls `listener` after each change of the resource, in order; first, unless `initial` is false, with ADDED for what is there.
   * Listeners may write: they hear of it after the present change was told to all. Returns a function that ends the subscription.
   */
  watch<R extends ResourceName>(
    resource: R,
    listener: (event: ChangeEvent<ResourceTypes[R]>) => void,
    options: { readonly initial?: boolean } = {},
  ): () => void {
    const present = options.initial === false ? [] : this.storage.list(resource);
    // Changes up to here show in `present` already, even if they are still to be announced.
    const startVersion = this.storage.version;
    // Changes the listener makes while it hears of what is there must not overtake that.
    let early: ChangeEvent<ResourceTypes[R]>[] | undefined = [];
    const stop = this.storage.subscribe((changed, event) => {
      if (changed !== resource || event.version <= startVersion) return;
      const change = event as StoredEvent & ChangeEvent<ResourceTypes[R]>;
      if (early) early.push(change);
      else listener(change);
    });
    for (const object of present) listener({ type: 'ADDED', object: object as ResourceTypes[R] });
    for (let next = early.shift(); next; next = early.shift()) listener(next);
    early = undefined;
    return stop;
  }

  // ---- writes

  /** Stores a new object; `metadata.namespace` defaults to `options.namespace`, else to `default`. */
  create<R extends ResourceName>(resource: R, object: object, options: WriteOptions = {}): ResourceTypes[R] {
    const info = resourceInfo(resource);
    const fields = this.#decode(info, object, options);
    const metadata = fields.metadata as Fields;
    this.#placeInNamespace(info, metadata, options.namespace);
    this.#checkVersionUnset(info, metadata);
    const given = takeManagedFields(info, metadata);
    this.#fillCreated(info, fields, metadata);
    const prepared = this.#admit(info, fields, undefined, options);
    if (this.storage.get(resource, refOf(prepared))) throw alreadyExists(info, prepared.metadata.name);
    const owned = this.#withManagers(info, prepared, undefined, given ?? [], options);
    return this.#commit(resource, owned, options) as ResourceTypes[R];
  }

  /** Replaces an object; 409 if `metadata.resourceVersion` is given and is not the present one. */
  update<R extends ResourceName>(resource: R, object: object, options: WriteOptions = {}): ResourceTypes[R] {
    const info = resourceInfo(resource);
    const fields = this.#decode(info, object, options);
    const metadata = fields.metadata as Fields;
    this.#placeInNamespace(info, metadata, options.namespace);
    const name = textOf(metadata.name);
    const before = this.#existing(info, { namespace: metadata.namespace as string | undefined, name });
    return this.#replace(info, before, fields, options) as ResourceTypes[R];
  }

  /** Reads, changes and writes in one step. `change` gets a mutable copy. */
  modify<R extends ResourceName>(
    resource: R,
    ref: ObjectRef,
    change: (draft: Draft) => void,
    options: WriteOptions = {},
  ): ResourceTypes[R] {
    const info = resourceInfo(resource);
    const before = this.#existing(info, ref);
    const draft = cloneJson(before) as unknown as Draft;
    change(draft);
    return this.#replace(info, before, this.#decode(info, draft, options), options) as ResourceTypes[R];
  }

  /** Merges `status` into the object's status: objects merge, lists and values replace, null removes. */
  setStatus<R extends ResourceName>(resource: R, ref: ObjectRef, status: object): ResourceTypes[R] {
    return this.modify(
      resource,
      ref,
      (draft) => {
        draft.status = mergePatch(draft.status, status) as Fields;
      },
      { subresource: 'status' },
    );
  }

  /** Puts a pod on a node, as the binding subresource does. 409 if it is on one already. */
  bind(ref: ObjectRef, nodeName: string): ResourceTypes['pods'] {
    const pod = this.#existing(resourceInfo('pods'), ref) as ResourceTypes['pods'];
    const info = resourceInfo('pods');
    if (pod.spec.nodeName)
      throw conflict(info, ref.name, `pod is already assigned to node ${JSON.stringify(pod.spec.nodeName)}`);
    const conditions = [...(pod.status?.conditions ?? []).filter((condition) => condition.type !== 'PodScheduled')];
    conditions.push({ type: 'PodScheduled', status: 'True', lastTransitionTime: this.timestamp() });
    const bound = { ...pod, spec: { ...pod.spec, nodeName }, status: { ...pod.status, conditions } };
    return this.storage.put('pods', bound) as ResourceTypes['pods'];
  }

  patch<R extends ResourceName>(
    resource: R,
    ref: ObjectRef,
    type: PatchType,
    patch: unknown,
    options: WriteOptions = {},
  ): ResourceTypes[R] {
    const info = resourceInfo(resource);
    const before = this.#existing(info, ref);
    const patched = patchedObject(info, before as unknown as Fields, type, patch);
    const metadata = patched.metadata;
    if (!isObject(metadata) || metadata.name !== ref.name) throw badRequest('a patch may not change metadata.name');
    return this.#replace(info, before, this.#decode(info, patched, options), options) as ResourceTypes[R];
  }

  /**
   * Server-side apply; creates the object when it is absent. A named manager conflicts with others unless it is forced.
   * `options.fieldValidation` does not matter: an unknown field is refused always.
   */
  apply<R extends ResourceName>(
    resource: R,
    ref: ObjectRef,
    wanted: object,
    manager: string,
    options: WriteOptions = {},
  ): { readonly object: ResourceTypes[R]; readonly created: boolean } {
    const info = resourceInfo(resource);
    const config = this.#decodeApplied(info, ref, wanted, options);
    const before = this.storage.get(resource, ref);
    checkAppliedIdentity(info, ref, config.metadata as Fields, before);
    const writing: ApplyOptions = {
      ...options,
      manager: options.manager === undefined ? undefined : manager,
      applied: config,
    };
    const written = before
      ? this.#replace(info, before, this.#merged(info, before, config, manager, writing), writing)
      : this.create(resource, config, { ...writing, namespace: ref.namespace });
    if (!options.dryRun) this.#rememberApplied(written.metadata.uid, manager, config);
    return { object: written as ResourceTypes[R], created: before === undefined };
  }

  /** Deletes or starts deleting; returns the object as it was left. */
  delete<R extends ResourceName>(resource: R, ref: ObjectRef, options: DeleteOptions = {}): ResourceTypes[R] {
    const info = resourceInfo(resource);
    const object = this.#existing(info, ref);
    const { uid, resourceVersion } = options.preconditions ?? {};
    if (uid !== undefined && uid !== object.metadata.uid) {
      throw conflict(
        info,
        ref.name,
        `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${object.metadata.uid}`,
      );
    }
    if (resourceVersion !== undefined && resourceVersion !== object.metadata.resourceVersion) {
      throw conflict(info, ref.name, MODIFIED_MEANWHILE);
    }
    if (options.dryRun) return object as ResourceTypes[R];
    if (options.propagationPolicy === 'Orphan') this.#orphanDependents(object.metadata.uid);
    return this.#startDeletion(info, object, options.gracePeriodSeconds) as ResourceTypes[R];
  }

  /** Deletes everything the selection holds; returns the objects as they were left. */
  deleteCollection<R extends ResourceName>(
    resource: R,
    selection: ListOptions,
    options: DeleteOptions = {},
  ): readonly ResourceTypes[R][] {
    return this.list(resource, selection).map((object) => this.delete(resource, refOf(object), options));
  }

  /** Stores the object as it is, without defaults or validation, as an older server may have: for tests of hostile content. */
  putUnchecked(resource: ResourceName, object: object): ApiObject {
    const info = resourceInfo(resource);
    const fields = cloneJson(object) as Fields;
    const metadata: Fields = isObject(fields.metadata) ? fields.metadata : {};
    if (info.namespaced) metadata.namespace ??= 'default';
    metadata.uid ??= randomUUID();
    metadata.creationTimestamp ??= this.timestamp();
    const whole = { apiVersion: apiVersionOf(info), kind: info.kind, ...fields, metadata };
    return this.storage.put(resource, whole as unknown as ApiObject);
  }

  /** Registers a step that every created or replaced object of the resource passes through. */
  admit<R extends ResourceName>(resource: R, admission: Admission<ResourceTypes[R]>): void {
    const steps = this.#admissions.get(resource) ?? [];
    this.#admissions.set(resource, [...steps, admission as unknown as Admission]);
  }

  /** Now, as the API writes it: RFC 3339, UTC, whole seconds. */
  timestamp(): string {
    return `${new Date(this.#now()).toISOString().slice(0, 19)}Z`;
  }

  nowMs(): number {
    return this.#now();
  }

  // ---- steps of a write

  #decode(info: ResourceInfo, object: unknown, options: WriteOptions): Fields {
    const decoded = decodeOrThrow(info, this.#policyChannel, object, options.fractions);
    const { fieldValidation = 'Strict', duplicates = [] } = options;
    const faults = [...duplicates, ...decoded.unknownFields.map((field) => `unknown field ${JSON.stringify(field)}`)];
    if (faults.length > 0 && fieldValidation === 'Strict') {
      throw badRequest(
        `${info.kind} in version "${info.version}" cannot be handled as a ${info.kind}: strict decoding error: ${faults.join(', ')}`,
      );
    }
    if (fieldValidation === 'Warn') for (const fault of faults) options.warn?.(fault);
    return this.#typed(info, decoded.value);
  }

  /** What is in an apply patch must be of the object's type, whatever the field validation. */
  #decodeApplied(info: ResourceInfo, ref: ObjectRef, wanted: object, options: WriteOptions): Fields {
    // Callers in this process are told in the words of strict decoding.
    if (options.manager === undefined) return this.#decode(info, wanted, options);
    const { apiVersion, kind } = wanted as Fields;
    if (apiVersion !== apiVersionOf(info)) {
      throw badRequest(
        `Incorrect version specified in apply patch. Specified patch version: ${textOf(apiVersion)}, expected: ${apiVersionOf(info)}`,
      );
    }
    const place = ref.namespace === undefined ? ref.name : `${ref.namespace}/${ref.name}`;
    const described = `${place}; ${apiVersionOf(info)}, Kind=${textOf(kind)}`;
    if (kind !== info.kind) throw untypedPatch(described, [`the kind of this resource is ${info.kind}`]);
    const decoded = decodeOrThrow(info, this.#policyChannel, wanted, undefined, (why) =>
      untypedPatch(described, [`.${why}`]),
    );
    const unknown = decoded.unknownFields.map((field) => `.${field}: field not declared in schema`);
    if (unknown.length > 0) throw untypedPatch(described, unknown);
    const { duplicates = [], fieldValidation } = options;
    if (duplicates.length > 0 && fieldValidation === 'Strict') {
      throw badRequest(`error strict decoding YAML: ${duplicates.join(', ')}`);
    }
    if (fieldValidation === 'Warn') for (const fault of duplicates) options.warn?.(fault);
    return this.#typed(info, decoded.value);
  }

  #typed(info: ResourceInfo, value: Fields): Fields {
    const { apiVersion = apiVersionOf(info), kind = info.kind } = value;
    if (apiVersion !== apiVersionOf(info) || kind !== info.kind) {
      throw badRequest(
        `the API version or kind in the data (${textOf(apiVersion)}, ${textOf(kind)}) does not match the expected ones (${apiVersionOf(info)}, ${info.kind})`,
      );
    }
    const { apiVersion: _version, kind: _kind, metadata, spec, status, ...rest } = value;
    delete (metadata as Fields).selfLink;
    return {
      apiVersion,
      kind,
      metadata,
      ...(spec === undefined ? {} : { spec }),
      ...rest,
      ...(status === undefined ? {} : { status }),
    };
  }

  #placeInNamespace(info: ResourceInfo, metadata: Fields, namespace: string | undefined): void {
    if (!info.namespaced) return;
    const own = metadata.namespace;
    if (own !== undefined && namespace !== undefined && own !== namespace) {
      throw badRequest('the namespace of the provided object does not match the namespace sent on the request');
    }
    metadata.namespace = own ?? namespace ?? 'default';
  }

  #checkVersionUnset(info: ResourceInfo, metadata: Fields): void {
    const version = metadata.resourceVersion;
    if (version !== undefined && version !== '') {
      throw badRequest(`resourceVersion should not be set on ${qualifiedName(info)} to be created`);
    }
  }

  #fillCreated(info: ResourceInfo, fields: Fields, metadata: Fields): void {
    const base = metadata.generateName;
    if (typeof base === 'string' && base !== '' && !metadata.name)
      metadata.name = this.#generateName(info, metadata, base);
    if (info.namespaced) this.#checkNamespaceUsable(info, textOf(metadata.namespace), textOf(metadata.name));
    metadata.uid = randomUUID();
    metadata.creationTimestamp = this.timestamp();
    delete metadata.deletionTimestamp;
    delete metadata.deletionGracePeriodSeconds;
    if (hasGeneration(info)) metadata.generation = 1;
    // What a client says of the status of a new object does not count, except that jobs and nodes are storage only here.
    if (info.subresources.includes('status') && info.plural !== 'nodes' && info.plural !== 'jobs') delete fields.status;
  }

  #generateName(info: ResourceInfo, metadata: Fields, base: string): string {
    const namespace = info.namespaced ? textOf(metadata.namespace) : undefined;
    for (let attempt = 0; attempt < 8; attempt += 1) {
      const name = base.slice(0, MAX_GENERATED_BASE) + randomSuffix(GENERATED_SUFFIX);
      if (!this.storage.get(info.plural, { namespace, name })) return name;
    }
    throw serverError(500, `no free name found for generateName ${JSON.stringify(base)}`);
  }

  #checkNamespaceUsable(info: ResourceInfo, namespace: string, name: string): void {
    const found = this.get('namespaces', { name: namespace });
    if (!found) throw notFound(resourceInfo('namespaces'), namespace);
    if (found.metadata.deletionTimestamp !== undefined) {
      throw forbidden(
        info,
        name,
        `unable to create new content in namespace ${namespace} because it is being terminated`,
      );
    }
  }

  #existing(info: ResourceInfo, ref: ObjectRef): ApiObject {
    const object = this.storage.get(info.plural, ref);
    if (!object) throw notFound(info, ref.name);
    return object;
  }

  #replace(info: ResourceInfo, before: ApiObject, fields: Fields, options: WriteOptions): ApiObject {
    const metadata = fields.metadata as Fields;
    const { name } = before.metadata;
    const version = metadata.resourceVersion;
    if (version !== undefined && version !== '' && version !== '0' && version !== before.metadata.resourceVersion) {
      throw conflict(info, name, MODIFIED_MEANWHILE);
    }
    if (metadata.uid !== undefined && metadata.uid !== '' && metadata.uid !== before.metadata.uid) {
      throw conflict(
        info,
        name,
        `Precondition failed: UID in precondition: ${textOf(metadata.uid)}, UID in object meta: ${before.metadata.uid}`,
      );
    }
    const given = takeManagedFields(info, metadata);
    keepServerFields(info, fields, before, options.subresource);
    const prepared = this.#admit(info, fields, before, options);
    const owned = this.#withManagers(info, prepared, before, given ?? before.metadata.managedFields ?? [], options);
    if (equalJson(owned, before)) return before;
    const bumped = withGeneration(info, owned, before);
    if (isReleased(bumped) && !options.dryRun) {
      this.storage.put(info.plural, bumped);
      return this.#remove(info, refOf(before)) ?? bumped;
    }
    return this.#commit(info.plural, bumped, options);
  }

  #admit(info: ResourceInfo, fields: Fields, before: ApiObject | undefined, options: WriteOptions): ApiObject {
    fillDefaults(info, fields);
    let object = fields as unknown as ApiObject;
    for (const step of this.#admissions.get(info.plural) ?? []) object = step(object, before);
    const causes: Cause[] = validateObject(info, object as unknown as Fields, before as unknown as Fields | undefined, {
      warn: options.warn ?? (() => {}),
      policyChannel: this.#policyChannel,
    });
    if (causes.length > 0) throw invalid(info, object.metadata.name ?? '', causes);
    return object;
  }

  /** The object with its managers after this write; nobody is noted where the writer did not say who it is. */
  #withManagers(
    info: ResourceInfo,
    object: ApiObject,
    before: ApiObject | undefined,
    entries: readonly ManagedFieldsEntry[],
    options: ApplyOptions,
  ): ApiObject {
    const { manager, subresource, applied } = options;
    const writer: Writer = {
      manager: manager ?? '',
      operation: applied ? 'Apply' : 'Update',
      apiVersion: apiVersionOf(info),
      subresource,
      statusApart: info.subresources.includes('status'),
      time: this.timestamp(),
    };
    const write = { before, after: object, schema: SCHEMAS[info.plural] };
    if (applied && manager !== undefined && !options.force) {
      const conflicts = applyConflicts(entries, writer, { ...write, applied });
      if (conflicts.length > 0) throw applyConflict(conflicts);
    }
    const managedFields = manager === undefined ? entries : managedFieldsAfter(entries, writer, { ...write, applied });
    return managedFields.length === 0 ? object : { ...object, metadata: { ...object.metadata, managedFields } };
  }

  #commit(resource: ResourceName, object: ApiObject, options: WriteOptions): ApiObject {
    if (isTooLarge(object)) throw serverError(500, 'etcdserver: request is too large');
    return options.dryRun ? object : this.storage.put(resource, object);
  }

  #merged(info: ResourceInfo, before: ApiObject, config: Fields, manager: string, options: WriteOptions): Fields {
    const lastApplied = this.#applied.get(before.metadata.uid)?.get(manager);
    const merged = applyMerge(before, lastApplied, config, SCHEMAS[info.plural]);
    return this.#decode(info, merged, { ...options, fieldValidation: 'Ignore', duplicates: [] });
  }

  #rememberApplied(uid: string, manager: string, config: LooseObject): void {
    const byManager = this.#applied.get(uid) ?? new Map<string, LooseObject>();
    byManager.set(manager, config);
    this.#applied.set(uid, byManager);
  }

  // ---- deletion

  #startDeletion(info: ResourceInfo, object: ApiObject, gracePeriodSeconds: number | undefined): ApiObject {
    const grace = this.#graceOf(info, object, gracePeriodSeconds);
    const held = (object.metadata.finalizers ?? []).length > 0 || info.plural === 'namespaces';
    if (grace === 0 && !held) return this.#remove(info, refOf(object)) ?? object;
    const already = object.metadata.deletionGracePeriodSeconds;
    if (object.metadata.deletionTimestamp !== undefined && already !== undefined && already <= grace) return object;
    const deleteAt = new Date(this.#now() + grace * 1000).toISOString();
    const metadata: ObjectMeta = {
      ...object.metadata,
      deletionTimestamp: `${deleteAt.slice(0, 19)}Z`,
      deletionGracePeriodSeconds: grace,
    };
    const phase = info.plural === 'namespaces' ? { status: { phase: 'Terminating' } } : {};
    const marked = this.storage.put(info.plural, { ...object, metadata, ...phase });
    if (info.plural === 'namespaces') this.#emptyNamespace(object.metadata.name);
    return marked;
  }

  /** Pods that run on a node are given time; everything else goes at once. */
  #graceOf(info: ResourceInfo, object: ApiObject, wanted: number | undefined): number {
    if (info.plural !== 'pods') return 0;
    const { spec, status } = object as ResourceTypes['pods'];
    if (!spec?.nodeName || status?.phase === 'Succeeded' || status?.phase === 'Failed') return 0;
    return Math.max(0, wanted ?? spec.terminationGracePeriodSeconds ?? 30);
  }

  #remove(info: ResourceInfo, ref: ObjectRef): ApiObject | undefined {
    const removed = this.storage.remove(info.plural, ref);
    if (removed) this.#applied.delete(removed.metadata.uid);
    if (ref.namespace !== undefined) this.#finishNamespace(ref.namespace);
    return removed;
  }

  #emptyNamespace(name: string): void {
    for (const info of RESOURCES.filter((resource) => resource.namespaced)) {
      for (const object of this.storage.list(info.plural, name)) this.#startDeletion(info, object, undefined);
    }
    this.#finishNamespace(name);
  }

  /** A terminating namespace goes when its last object has gone. */
  #finishNamespace(name: string): void {
    const namespace = this.get('namespaces', { name });
    if (namespace?.metadata.deletionTimestamp === undefined) return;
    const left = RESOURCES.some((info) => info.namespaced && this.storage.count(info.plural, name) > 0);
    if (!left && (namespace.metadata.finalizers ?? []).length === 0) this.storage.remove('namespaces', { name });
  }

  #orphanDependents(uid: string): void {
    for (const info of RESOURCES) {
      for (const object of this.storage.list(info.plural)) {
        const owners = object.metadata.ownerReferences ?? [];
        const rest = owners.filter((owner) => owner.uid !== uid);
        if (rest.length === owners.length) continue;
        const { ownerReferences: _owners, ...metadata } = object.metadata;
        this.storage.put(info.plural, {
          ...object,
          metadata: rest.length === 0 ? metadata : { ...metadata, ownerReferences: rest },
        });
      }
    }
  }
}

function decodeOrThrow(
  info: ResourceInfo,
  channel: PolicyChannel,
  object: unknown,
  fractions?: ReadonlyMap<string, string>,
  refusal = (why: string): ApiError =>
    badRequest(`${info.kind} in version "${info.version}" cannot be handled as a ${info.kind}: ${why}`),
): ReturnType<typeof decodeObject> {
  try {
    return decodeObject(schemaOf(info.plural, channel), object, fractions);
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    throw refusal(error.message);
  }
}

/** A configuration names the object it is sent to; a uid or version it names must be that of the object. */
function checkAppliedIdentity(
  info: ResourceInfo,
  ref: ObjectRef,
  metadata: Fields,
  before: ApiObject | undefined,
): void {
  const name = textOf(metadata.name);
  const given = metadata.managedFields;
  if (Array.isArray(given) && given.length > 0) throw badRequest('metadata.managedFields must be nil');
  if (name !== '' && name !== ref.name) {
    throw badRequest(`the name of the object (${name}) does not match the name on the URL (${ref.name})`);
  }
  if (before) return;
  if (metadata.uid !== undefined && metadata.uid !== '') {
    const why = `uid mismatch: the provided object specified uid ${textOf(metadata.uid)}, and no existing object was found`;
    throw conflict(info, ref.name, why);
  }
  if (name === '') {
    throw badRequest(`the name of the object (${ref.name} based on URL) was undeterminable: name must be provided`);
  }
}

/** Takes the entries a client has sent out of the metadata: undefined if it sent none. A list of one empty entry resets them. */
function takeManagedFields(info: ResourceInfo, metadata: Fields): readonly ManagedFieldsEntry[] | undefined {
  const given = metadata.managedFields;
  delete metadata.managedFields;
  if (!Array.isArray(given)) return undefined;
  const entries = given.filter((entry) => !isObject(entry) || Object.keys(entry).length > 0);
  const fault = faultOfEntries(entries);
  if (!fault) return entries as ManagedFieldsEntry[];
  const why = 'must be what the API knows: operation `Apply` or `Update`, fieldsType `FieldsV1`';
  const causes = [cause.invalid(`metadata.managedFields${fault.field}`, fault.value, why)];
  throw invalid(info, textOf(metadata.name), causes);
}

function patchedObject(info: ResourceInfo, before: Fields, type: PatchType, patch: unknown): Fields {
  if (type === 'json') return jsonPatch(before, patch);
  if (!isObject(patch)) throw badRequest('a patch must be an object');
  if (type === 'strategic') return strategicPatch(before, patch, SCHEMAS[info.plural]);
  return mergePatch(before, patch) as Fields;
}

const FIXED_METADATA = [
  'name',
  'namespace',
  'uid',
  'creationTimestamp',
  'deletionTimestamp',
  'generateName',
  'generation',
] as const;

/** Puts back what an update cannot change: identity, deletion, and the half (spec or status) it does not write. */
function keepServerFields(
  info: ResourceInfo,
  fields: Fields,
  before: ApiObject,
  subresource: 'status' | undefined,
): void {
  const metadata = fields.metadata as Fields;
  const old = before as unknown as Fields;
  for (const field of [...FIXED_METADATA, 'deletionGracePeriodSeconds', 'resourceVersion'] as const) {
    const value = before.metadata[field];
    if (value === undefined) delete metadata[field];
    else metadata[field] = value;
  }
  if (subresource === 'status') {
    for (const key of Object.keys({ ...fields, ...old })) {
      if (key !== 'status' && key !== 'metadata') fields[key] = cloneJson(old[key]);
    }
    for (const key of Object.keys(fields)) if (fields[key] === undefined) delete fields[key];
  } else if (info.subresources.includes('status')) {
    if (old.status === undefined) delete fields.status;
    else fields.status = cloneJson(old.status);
  }
  if (info.plural === 'services') keepServiceAddress(fields, old);
  if (info.plural === 'pods') keepNodeName(fields, old);
}

/** A replace that leaves allocated fields out keeps them, as it does in the API server. */
function keepServiceAddress(fields: Fields, old: Fields): void {
  const [now, then] = [fields.spec, old.spec];
  if (!isObject(now) || !isObject(then) || now.type === 'ExternalName') return;
  for (const field of ['clusterIP', 'clusterIPs', 'ipFamilies', 'ipFamilyPolicy']) {
    if (then[field] !== undefined) now[field] ??= cloneJson(then[field]);
  }
}

function keepNodeName(fields: Fields, old: Fields): void {
  const [now, then] = [fields.spec, old.spec];
  if (isObject(now) && isObject(then) && then.nodeName !== undefined) now.nodeName ??= then.nodeName;
}

const hasGeneration = (info: ResourceInfo): boolean => info.group === 'apps' || info.group === 'networking.k8s.io';

/** A change of the spec is a new generation. */
function withGeneration(info: ResourceInfo, object: ApiObject, before: ApiObject): ApiObject {
  if (!hasGeneration(info)) return object;
  const [now, then] = [object as unknown as Fields, before as unknown as Fields];
  if (equalJson(now.spec, then.spec)) return object;
  return { ...object, metadata: { ...object.metadata, generation: (before.metadata.generation ?? 0) + 1 } };
}

/** The last finalizer of an object under deletion was taken away. */
function isReleased(object: ApiObject): boolean {
  const { deletionTimestamp, deletionGracePeriodSeconds = 0, finalizers = [] } = object.metadata;
  if (object.kind === 'Namespace' || deletionTimestamp === undefined) return false;
  return finalizers.length === 0 && deletionGracePeriodSeconds === 0;
}

/** Measures only objects that could be too large: the text of most is far below the limit. */
function isTooLarge(object: ApiObject): boolean {
  return JSON.stringify(object).length > MAX_OBJECT_BYTES;
}

export function randomSuffix(length: number): string {
  let suffix = '';
  for (let index = 0; index < length; index += 1) {
    suffix += NAME_ALPHABET[Math.floor(Math.random() * NAME_ALPHABET.length)];
  }
  return suffix;
}
