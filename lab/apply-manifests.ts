/** Manifests into the lab's API server, in an order that works whatever order they were written in. */
import type { Family } from '../src/core/vocabulary.ts';
import type { ManifestObject } from '../src/cluster/read-manifests.ts';
import type { ApiObject } from './api/objects.ts';

import { ApiStore } from './api/api-store.ts';
import { ApiError } from './api/errors.ts';
import { isObject } from './api/json.ts';
import type { ResourceInfo } from './api/resources.ts';
import { POLICY_CHANNELS, type PolicyChannel } from './api/schemas.ts';
import { allocateServiceAddresses, NODE_PORTS } from './controllers/service-addresses.ts';
import { CLUSTER_CIDRS } from './network/address-plan.ts';
import { servedKind, type ServedKind } from './served-kinds.ts';

export interface ApplyOutcome {
  /** `namespace/name` or `name`. */
  readonly name: string;
  readonly object: ApiObject;
}

type ManifestFields = object & { readonly metadata?: { readonly annotations?: unknown } | null };

/** What `kubectl apply` notes, so that a later one by the user compares with the manifest and does not complain. */
const LAST_APPLIED = 'kubectl.kubernetes.io/last-applied-configuration';

/** One line for people: `file:line: what`. */
export interface ManifestNote {
  readonly file: string;
  readonly line: number;
  /** Where it is in a file of several. */
  readonly part?: string;
  /** Names object and field. */
  readonly message: string;
}

/** A manifest with what the API server makes of it. */
export interface CheckedPolicy extends ManifestObject {
  /** As stored once everything written before it is there, with defaults and without what has no meaning. */
  readonly stored: ManifestObject;
}

export interface CheckedManifests {
  readonly policies: readonly CheckedPolicy[];
  /** Everything else that the lab knows, in the order to apply it. */
  readonly others: readonly ManifestObject[];
  /** Left out: kinds the lab has no use for. */
  readonly skipped: readonly ManifestNote[];
  /** What the API server would refuse. */
  readonly errors: readonly ManifestNote[];
  /** N-2: of the CRD of cluster-wide policies, where it is among what was given. */
  readonly policyChannel?: PolicyChannel;
}

/** Kinds others depend on; the rest follows in the order written, policies last. */
const FIRST = ['Namespace', 'Node', 'ServiceAccount', 'ConfigMap', 'Service'];

export function orderForApply(objects: readonly ManifestObject[]): {
  readonly others: readonly ManifestObject[];
  readonly policies: readonly ManifestObject[];
} {
  const rank = ({ object }: ManifestObject): number => {
    const index = FIRST.indexOf(kindOf(object));
    return index < 0 ? FIRST.length : index;
  };
  const others = objects.filter((from) => !isPolicy(from)).toSorted((a, b) => rank(a) - rank(b));
  return { others, policies: objects.filter(isPolicy) };
}

/** Tries everything on an API server nobody sees, so that all that is wrong is known before anything is built. */
export function checkManifests(
  objects: readonly ManifestObject[],
  families: readonly Family[] = [4, 6],
  policyChannel?: PolicyChannel,
): CheckedManifests {
  const skipped: ManifestNote[] = [];
  const errors: ManifestNote[] = [];
  const known: ManifestObject[] = [];
  let given = policyChannel;
  for (const from of objects) {
    const problem = whatIsNoObject(from.object);
    if (problem !== undefined) {
      errors.push(noteAt(from, problem));
      continue;
    }
    const crd = policyCrd(from.object);
    if (crd) {
      if ('channel' in crd) given = crd.channel;
      else errors.push(noteAt(from, `${describe(from.object)}: ${crd.problem}`));
      continue;
    }
    const served = servedKindOf(from.object);
    if (served.kind === 'served') known.push(from);
    else (served.kind === 'wrong' ? errors : skipped).push(noteAt(from, `${describe(from.object)}: ${served.message}`));
  }
  const { others, policies } = orderForApply(known);
  const trial = new ApiStore(given ? { policyChannel: given } : {});
  const serviceCidrs = families.map((family) => CLUSTER_CIDRS[family].services);
  const stop = allocateServiceAddresses(trial, { serviceCidrs, nodePorts: NODE_PORTS });
  const checked: CheckedPolicy[] = [];
  for (const from of [...others, ...policies]) {
    try {
      const { object } = applyObject(trial, from);
      if (isPolicy(from)) checked.push({ ...from, stored: { ...from, object } });
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      errors.push(refusalNote(from, error));
    }
  }
  stop();
  return { policies: checked, others, skipped, errors, ...(given ? { policyChannel: given } : {}) };
}

export function noteText({ file, line, part, message }: ManifestNote): string {
  return `${file}:${line}: ${part === undefined ? '' : `${part}: `}${message}`;
}

function noteAt({ file, line, part }: ManifestObject, message: string): ManifestNote {
  return { file, line, ...(part === undefined ? {} : { part }), message };
}

/** What the API server says, at the line of the field it says it of. */
function refusalNote(from: ManifestObject, error: ApiError): ManifestNote {
  const named = error.message.includes(`"${nameOf(from.object)}"`);
  const quoting = /expected a string, found (?:boolean|number)/.test(error.message)
    ? ' (YAML reads yes, no, on, off, y, n and 010 as no text: put it in quotes)'
    : '';
  const message = `${named ? error.message : `${describe(from.object)}: ${error.message}`}${quoting}`;
  return noteAt({ ...from, line: lineOfField(from, error) ?? from.line }, message);
}

function lineOfField({ lineAt }: ManifestObject, { status, message }: ApiError): number | undefined {
  const field =
    status.details?.causes?.[0]?.field ??
    /unknown field "([^"]+)"/.exec(message)?.[1] ??
    /(?:^|: )([\w.[\]]+): expected /.exec(message)?.[1];
  const path = (field ?? '').split(/[.[\]]+/).filter((step) => step !== '');
  for (; path.length > 0; path.pop()) {
    const line = lineAt?.(path);
    if (line !== undefined) return line;
  }
  return undefined;
}

const POLICY_CRD = 'clusternetworkpolicies.policy.networking.k8s.io';
const CHANNEL = 'policy.networking.k8s.io/channel';
const SERVED_VERSION = 'v1alpha2';

/** Undefined: it is not the CRD of cluster-wide policies. Without the note of its channel, the one that has domain names is experimental. */
function policyCrd(object: unknown): { readonly channel: PolicyChannel } | { readonly problem: string } | undefined {
  if (kindOf(object) !== 'CustomResourceDefinition' || nameOf(object) !== POLICY_CRD) return undefined;
  const { metadata, spec } = object as { metadata: { annotations?: Record<string, unknown> }; spec?: unknown };
  const text = JSON.stringify(spec ?? {});
  if (!text.includes(`"name":"${SERVED_VERSION}"`))
    return { problem: `the lab serves ${SERVED_VERSION}, which it lacks` };
  const noted = POLICY_CHANNELS.find((each) => each === metadata.annotations?.[CHANNEL]);
  return { channel: noted ?? (text.includes('"domainNames"') ? 'experimental' : 'standard') };
}

function isPolicy({ object }: ManifestObject): boolean {
  return ['NetworkPolicy', 'ClusterNetworkPolicy'].includes(kindOf(object));
}

interface LooseManifest {
  readonly apiVersion?: unknown;
  readonly kind?: unknown;
  readonly metadata?: { readonly name?: string; readonly namespace?: string } | null;
}

function kindOf(object: unknown): string {
  const kind = (object as LooseManifest | null)?.kind;
  return typeof kind === 'string' ? kind : '';
}

function whatIsNoObject(object: unknown): string | undefined {
  if (typeof object !== 'object' || object === null || Array.isArray(object))
    return `not an object: ${JSON.stringify(object)?.slice(0, 60)}`;
  const { apiVersion, kind } = object as LooseManifest;
  if (typeof kind !== 'string' || kind === '') return 'kind: is missing';
  if (typeof apiVersion !== 'string' || apiVersion === '') return `${kind}: apiVersion: is missing`;
  return undefined;
}

function nameOf(object: unknown): string {
  return (object as LooseManifest).metadata?.name ?? '';
}

/** `Pod default/a (v1)`. */
function describe(object: unknown): string {
  const { apiVersion, kind, metadata } = object as LooseManifest;
  const name = nameOf(object) === '' ? '(no name)' : nameOf(object);
  const path = metadata?.namespace === undefined ? name : `${metadata.namespace}/${name}`;
  return `${String(kind)} ${path} (${String(apiVersion)})`;
}

function servedKindOf(object: unknown): ServedKind {
  const { apiVersion, kind } = object as LooseManifest;
  return servedKind(String(apiVersion), String(kind));
}

function resourceOf(object: unknown): ResourceInfo | undefined {
  const served = servedKindOf(object);
  return served.kind === 'served' ? served.info : undefined;
}

/**
 * Creates or replaces one object, as `kubectl apply --server-side` would. Namespaces it mentions are made when missing.
 * Throws ApiError naming object and field.
 */
export function applyObject(store: ApiStore, from: ManifestObject): ApplyOutcome {
  const info = resourceOf(from.object);
  if (!info) throw new ApiError(400, 'BadRequest', `the lab knows no kind ${describe(from.object)}`);
  const { metadata } = from.object as LooseManifest;
  for (const field of ['name', 'namespace'] as const) {
    const value: unknown = metadata?.[field] ?? '';
    if (typeof value === 'string') continue;
    throw new ApiError(400, 'BadRequest', `metadata.${field}: expected a string, found ${JSON.stringify(value)}`);
  }
  const name = metadata?.name ?? '';
  if (name === '') throw new ApiError(400, 'BadRequest', `${info.kind}: metadata.name: is missing`);
  const namespace = info.namespaced ? metadata?.namespace || 'default' : undefined;
  if (namespace !== undefined && !store.get('namespaces', { name: namespace })) {
    store.create('namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } });
  }
  const object = withLastApplied(from.object as ManifestFields, namespace);
  const written = store.apply(info.plural, { name, namespace }, object, 'portcullis-lab');
  return { name: namespace === undefined ? name : `${namespace}/${name}`, object: written.object };
}

function withLastApplied(object: ManifestFields, namespace: string | undefined): object {
  const { metadata } = object;
  const given = metadata?.annotations ?? {};
  const placed = { ...object, metadata: { ...metadata, ...(namespace === undefined ? {} : { namespace }) } };
  // The API server says what is wrong with annotations of another type.
  if (!isObject(given)) return placed;
  const noted = { ...object, metadata: { annotations: {}, ...placed.metadata } };
  const annotations = { ...given, [LAST_APPLIED]: `${JSON.stringify(noted)}\n` };
  return { ...placed, metadata: { ...placed.metadata, annotations } };
}
