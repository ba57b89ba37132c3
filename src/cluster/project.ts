/**
 * One API object -> the slim record we keep. Called for each line as it arrives, with whatever the line held: nothing here
 * throws. What cannot be used is left out and reported; what is left out of a pod can only make it match less.
 */
import { canonicalAddress } from '../net/ip.ts';
import { isEligible } from '../policy/address-owners.ts';
import { MODE_KEY, type Protocol, PROTOCOLS } from '../core/vocabulary.ts';
import {
  type ClusterPolicy,
  NAMESPACE_NAME_LABEL,
  type LabelledNode,
  type Labels,
  type NamedPort,
  type Namespace,
  type NodeRecord,
  type Pod,
  type PodPhase,
  type Policy,
  type Problem,
  UNKNOWN_LABELS,
} from '../policy/model.ts';
import { parseClusterPolicy } from '../policy/parse-cluster-policy.ts';
import { parsePolicy } from '../policy/parse.ts';
import { readPolicyMode } from '../policy/policy-mode.ts';
import { type RawRecord, isRecord, quote } from '../policy/raw-values.ts';
import { FREE_LABEL_BYTES, MAX_LABEL_BYTES, MAX_NAMED_PORTS, MAX_PORT_BYTES, bytesText } from './limits.ts';
import { LongJson } from './long-json.ts';
import type { Interner } from './interner.ts';

/** Of one object: the first ones tell the story. */
const MAX_PROBLEMS = 20;
const MAX_NAME = 253;
const MAX_PORT = 65535;
const PHASES = new Set<PodPhase>(['Pending', 'Running', 'Succeeded', 'Failed', 'Unknown']);

export type ObjectRecord = Pod | Namespace | Policy | NodeRecord | ClusterPolicy | LabelledNode;

type Projection<T> =
  /** `key` is `namespace/name` or `name`. */
  | { readonly kind: 'record'; readonly key: string; readonly record: T; readonly problems: readonly Problem[] }
  /** The object cannot even be named, so it cannot be kept. */
  | { readonly kind: 'unusable'; readonly problems: readonly Problem[] };

export type Project<T> = (object: unknown, interner: Interner) => Projection<T>;

/** What identifies an object; undefined if it has no usable name (or namespace, where it needs one). */
export interface Identity {
  readonly key: string;
  readonly uid: string;
}

export function identify(object: unknown, namespaced: boolean): Identity | undefined {
  const metadata = metadataOf(object);
  const { name, namespace } = metadata;
  if (!isUsableName(name)) return undefined;
  if (!namespaced) return { key: name, uid: text(metadata.uid) };
  return isUsableName(namespace) ? { key: `${namespace}/${name}`, uid: text(metadata.uid) } : undefined;
}

/** The newest time stamp of the API server's own in the metadata, ms; undefined if there is none. Not that of a deletion, which is ahead. */
export function writtenAt(object: unknown): number | undefined {
  const { managedFields, creationTimestamp } = metadataOf(object);
  const times = Array.isArray(managedFields)
    ? managedFields.map((entry) => (isRecord(entry) ? text(entry.time) : ''))
    : [];
  // The API server writes all times in one form, in which the later one is the greater text.
  return timestamp([text(creationTimestamp), ...times].sort().at(-1)) || undefined;
}

/** `namespace/name`, as far as known, for log lines about objects that cannot be used. */
export function nameForLog(object: unknown): string {
  const { name, namespace } = metadataOf(object);
  return `${isUsableName(namespace) ? `${namespace}/` : ''}${isUsableName(name) ? name : '(no usable name)'}`;
}

export const projectPod: Project<Pod> = (object, interner) => {
  const report = new Report('Pod', object);
  const metadata = metadataOf(object);
  const { namespace, name } = metadata;
  if (!isUsableName(namespace) || !isUsableName(name)) return report.unusable(true);
  const spec = part(object, 'spec', report);
  const status = part(object, 'status', report);
  const addresses = podAddresses(status, report);
  const hostNetwork = spec.hostNetwork === true;
  const phase = podPhase(status.phase, report);
  // What is wrong with a pod that is nobody's subject or peer, such as one that waits for a node, its next event tells.
  const details = isEligible({ addresses, hostNetwork, phase }) ? report : new Report('Pod', object);
  const labels = readLabels(metadata.labels, details);
  const labelBytes = lengthOf(labels);
  const record: Pod = {
    namespace: interner.text(namespace),
    name,
    uid: text(metadata.uid),
    ...(isUsableName(spec.nodeName) ? { nodeName: interner.text(spec.nodeName) } : {}),
    addresses,
    hostNetwork,
    phase,
    terminating: isTerminating(metadata),
    createdAtMs: timestamp(metadata.creationTimestamp),
    addressesSince: addresses.length > 0 ? newestTransition(status.conditions) : 0,
    labels: interner.labels(labels),
    namedPorts: interner.ports(namedPorts(spec, details)),
    ...(labelBytes > FREE_LABEL_BYTES ? { labelBytes } : {}),
  };
  return { kind: 'record', key: `${namespace}/${name}`, record, problems: report.problems };
};

export const projectNamespace: Project<Namespace> = (object, interner) => {
  const report = new Report('Namespace', object);
  const metadata = metadataOf(object);
  const { name } = metadata;
  if (!isUsableName(name)) return report.unusable(false);
  const given = readLabels(metadata.labels, report);
  // S-21: as if the API server had set it.
  const isComplete = given === UNKNOWN_LABELS || Object.hasOwn(given, NAMESPACE_NAME_LABEL);
  const labels = isComplete ? given : { ...given, [NAMESPACE_NAME_LABEL]: name };
  const status = isRecord(object) && isRecord(object.status) ? object.status : {};
  const terminating = isTerminating(metadata) || status.phase === 'Terminating';
  const { mode, problem } = readPolicyMode(withModeOnly(metadata.annotations), 'its policies are');
  if (problem) report.add(problem.field, problem.message);
  const record: Namespace = {
    name,
    uid: text(metadata.uid),
    labels: interner.labels(labels),
    ...(terminating ? { terminating } : {}),
    ...(mode ? { mode } : {}),
  };
  return { kind: 'record', key: name, record, problems: report.problems };
};

export const projectNode: Project<NodeRecord> = (object) => {
  const report = new Report('Node', object);
  const metadata = metadataOf(object);
  const { name } = metadata;
  if (!isUsableName(name)) return report.unusable(false);
  const listed = list(part(object, 'status', report).addresses, 'status.addresses', report);
  // Host names stand in the same list; only what reads as an address is one.
  const addresses = listed.flatMap(
    (entry) => canonicalAddress(text(isRecord(entry) ? entry.address : undefined)) ?? [],
  );
  const modeAnnotation = modeIn(metadata.annotations);
  const modeLabel = modeIn(metadata.labels);
  const record: NodeRecord = {
    name,
    addresses: unique(addresses),
    ...(modeAnnotation === undefined ? {} : { modeAnnotation }),
    ...(modeLabel === undefined ? {} : { modeLabel }),
  };
  return { kind: 'record', key: name, record, problems: report.problems };
};

/** Any node, with what rules select it by (N-44). */
export const projectLabelledNode: Project<LabelledNode> = (object, interner) => {
  const projection = projectNode(object, interner);
  if (projection.kind === 'unusable') return projection;
  const { name, addresses } = projection.record;
  const labels = interner.labels(readLabels(metadataOf(object).labels, new Report('Node', object)));
  return { ...projection, record: { name, addresses, labels }, problems: [] };
};

export const projectClusterPolicy: Project<ClusterPolicy> = (object) => {
  const { policy, problems } = parseClusterPolicy(object);
  if (!policy) return { kind: 'unusable', problems };
  return { kind: 'record', key: policy.name, record: policy, problems };
};

/** Of annotations or labels. */
function modeIn(raw: unknown): string | undefined {
  const mode = withModeOnly(raw)[MODE_KEY];
  return typeof mode === 'string' ? mode : undefined;
}

/** Annotations or labels, however long they are, with the one that sets a mode. */
export function withModeOnly(raw: unknown): RawRecord {
  const mode = raw instanceof LongJson ? raw.member(MODE_KEY) : isRecord(raw) ? raw[MODE_KEY] : undefined;
  return mode === undefined ? {} : { [MODE_KEY]: mode };
}

/** What the same chart brings into many namespaces is kept once. */
export const projectPolicy: Project<Policy> = (object, interner) => {
  const { policy, problems } = parsePolicy(object);
  if (!policy) return { kind: 'unusable', problems };
  const { namespace, name, uid, podSelector, isolates, ingress, egress, mode } = policy;
  const record: Policy = {
    namespace: interner.text(namespace),
    name: interner.text(name),
    uid,
    podSelector: interner.data(podSelector),
    isolates: interner.data(isolates),
    ...(mode ? { mode } : {}),
    ingress: interner.data(ingress),
    egress: interner.data(egress),
  };
  return { kind: 'record', key: `${namespace}/${name}`, record, problems };
};

/** Problems of one object, gathered. */
class Report {
  readonly problems: Problem[] = [];
  readonly #kind: string;
  readonly #metadata: RawRecord;

  constructor(kind: string, object: unknown) {
    this.#kind = kind;
    this.#metadata = metadataOf(object);
  }

  add(field: string, message: string): void {
    if (this.problems.length >= MAX_PROBLEMS) return;
    const { name, namespace } = this.#metadata;
    const object = {
      kind: this.#kind,
      ...(isUsableName(namespace) ? { namespace } : {}),
      name: isUsableName(name) ? name : '',
    };
    this.problems.push({ object, field, message });
  }

  /** Says what is wrong with the name. */
  unusable(namespaced: boolean): { readonly kind: 'unusable'; readonly problems: readonly Problem[] } {
    for (const field of namespaced ? (['namespace', 'name'] as const) : (['name'] as const))
      if (!isUsableName(this.#metadata[field]))
        this.add(`metadata.${field}`, `is ${quote(this.#metadata[field])}: the object is ignored`);
    return { kind: 'unusable', problems: this.problems };
  }
}

/** S-57: `status.podIPs`, falling back to `status.podIP`. */
function podAddresses(status: RawRecord, report: Report): readonly string[] {
  const addresses: string[] = [];
  for (const [index, entry] of list(status.podIPs, 'status.podIPs', report).entries()) {
    const ip = isRecord(entry) ? entry.ip : entry;
    const address = podAddress(ip);
    if (address !== undefined) addresses.push(address);
    else report.add(`status.podIPs[${index}].ip`, `is ${quote(ip)}, not an IP address of a pod: ignored`);
  }
  const { podIP } = status;
  if (addresses.length > 0 || podIP === undefined || podIP === null || podIP === '') return unique(addresses);
  const address = podAddress(podIP);
  if (address !== undefined) return [address];
  report.add('status.podIP', `is ${quote(podIP)}, not an IP address of a pod: ignored`);
  return [];
}

/** S-73: of a pod's conditions. The API server writes all times in one form, in which the later one is the greater text. */
function newestTransition(conditions: unknown): number {
  if (!Array.isArray(conditions)) return 0;
  const times = conditions.map((condition) => (isRecord(condition) ? text(condition.lastTransitionTime) : ''));
  return timestamp(times.sort().at(-1));
}

/** The unspecified address means "none yet"; nobody sends from it, and no set of the kernel's holds it. */
const UNSPECIFIED: readonly (string | undefined)[] = ['0.0.0.0', '::'];

function podAddress(ip: unknown): string | undefined {
  const address = typeof ip === 'string' ? canonicalAddress(ip) : undefined;
  return UNSPECIFIED.includes(address) ? undefined : address;
}

function podPhase(phase: unknown, report: Report): PodPhase {
  if (phase === undefined || phase === null || phase === '') return 'Pending';
  if (PHASES.has(phase as PodPhase)) return phase as PodPhase;
  report.add('status.phase', `is ${quote(phase)}: taken as Unknown`);
  return 'Unknown';
}

/** S-45: of `containers`, and of `initContainers` that stay (restartPolicy Always). With too many, none can be told by name. */
function namedPorts(spec: RawRecord, report: Report): readonly NamedPort[] {
  const found = new Map<string, NamedPort>();
  for (const field of ['containers', 'initContainers'] as const) {
    for (const [index, container] of containersOf(spec[field], `spec.${field}`, report).entries()) {
      if (!isRecord(container) || (field === 'initContainers' && container.restartPolicy !== 'Always')) continue;
      const at = `spec.${field}[${index}].ports`;
      for (const [position, port] of portsOf(container.ports, at, report).entries()) {
        const named = namedPort(port, `${at}[${position}]`, report);
        if (named) found.set(`${named.name} ${named.protocol} ${named.port}`, named);
        if (found.size <= MAX_NAMED_PORTS) continue;
        report.add(at, `the pod has more than ${MAX_NAMED_PORTS} named ports: none of them counts; name fewer`);
        return [];
      }
    }
  }
  return [...found.values()];
}

function containersOf(raw: unknown, field: string, report: Report): readonly unknown[] {
  if (!(raw instanceof LongJson)) return list(raw, field, report);
  const containers = raw.items('ports', 'restartPolicy');
  if (!containers) report.add(field, 'is no list of containers: taken as empty');
  return containers ?? [];
}

function portsOf(raw: unknown, field: string, report: Report): readonly unknown[] {
  if (!(raw instanceof LongJson)) return list(raw, field, report);
  if (raw.bytes.length <= MAX_PORT_BYTES) return list(raw.parse(), field, report);
  const limit = bytesText(MAX_PORT_BYTES);
  report.add(field, `is ${bytesText(raw.bytes.length)} long, and ${limit} is the most that is read: taken as empty`);
  return [];
}

function namedPort(port: unknown, field: string, report: Report): NamedPort | undefined {
  if (!isRecord(port)) {
    report.add(field, `is ${quote(port)}, not a port: ignored`);
    return undefined;
  }
  const { name, containerPort } = port;
  if (name === undefined || name === null || name === '') return undefined;
  const protocol = port.protocol ?? 'TCP';
  if (typeof name !== 'string') report.add(`${field}.name`, `is ${quote(name)}, not a name: ignored`);
  else if (!PROTOCOLS.includes(protocol as Protocol))
    report.add(`${field}.protocol`, `is ${quote(protocol)}: port ignored`);
  else if (!isPort(containerPort)) report.add(`${field}.containerPort`, `is ${quote(containerPort)}: port ignored`);
  else return { name, protocol: protocol as Protocol, port: containerPort };
  return undefined;
}

function isPort(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= MAX_PORT;
}

/** Without a prototype, so that no key (`__proto__`, `constructor`) means anything but itself. */
function readLabels(raw: unknown, report: Report): Labels {
  const labels: Record<string, string> = Object.create(null);
  if (raw === undefined || raw === null) return labels;
  if (raw instanceof LongJson) return tooManyLabels(raw.bytes.length, report);
  if (!isRecord(raw)) {
    report.add('metadata.labels', `is ${quote(raw)}: taken as no labels`);
    return labels;
  }
  for (const key of Object.keys(raw)) {
    const value = raw[key];
    if (typeof value === 'string') labels[key] = value;
    else report.add(`metadata.labels[${quote(key)}]`, `is ${quote(value)}, not a string: ignored`);
  }
  const bytes = lengthOf(labels);
  return bytes > MAX_LABEL_BYTES ? tooManyLabels(bytes, report) : labels;
}

function lengthOf(labels: Labels): number {
  let bytes = 0;
  for (const key in labels) bytes += key.length + labels[key]!.length;
  return bytes;
}

function tooManyLabels(bytes: number, report: Report): Labels {
  const limit = bytesText(MAX_LABEL_BYTES);
  report.add(
    'metadata.labels',
    `are ${bytesText(bytes)}, and ${limit} are the most that are kept: selectors by label do not find it as a peer, and policies that ` +
      'may select it isolate it and allow nothing; use fewer labels',
  );
  return UNKNOWN_LABELS;
}

function isTerminating({ deletionTimestamp }: RawRecord): boolean {
  return deletionTimestamp !== undefined && deletionTimestamp !== null;
}

export function metadataOf(object: unknown): RawRecord {
  return isRecord(object) && isRecord(object.metadata) ? object.metadata : {};
}

function part(object: unknown, name: 'spec' | 'status', report: Report): RawRecord {
  const value = isRecord(object) ? object[name] : undefined;
  if (isRecord(value)) return value;
  if (value !== undefined && value !== null) report.add(name, `is ${quote(value)}, not an object: taken as empty`);
  return {};
}

function list(value: unknown, field: string, report: Report): readonly unknown[] {
  if (Array.isArray(value)) return value;
  if (value !== undefined && value !== null) report.add(field, `is ${quote(value)}, not a list: taken as empty`);
  return [];
}

/** As in policy/parse.ts: looser than the API, but safe in a `namespace/name` key and on one line. */
function isUsableName(value: unknown): value is string {
  return typeof value === 'string' && value.length <= MAX_NAME && /^[^\s/\p{Cc}]+$/u.test(value);
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

export function timestamp(value: unknown): number {
  const ms = typeof value === 'string' ? Date.parse(value) : Number.NaN;
  return Number.isNaN(ms) ? 0 : ms;
}

function unique(values: readonly string[]): readonly string[] {
  return values.length < 2 ? values : [...new Set(values)];
}
