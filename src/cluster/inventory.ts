/**
 * Manifests, or a cluster's objects -> what can be asked about: the snapshot that a watch would give, with workloads and Services. Pods that
 * do not exist yet are there as well: of a workload one pod, as its template says, and addresses for all that have none.
 */
import type { ClusterSnapshot, Pod, Selector } from '../policy/model.ts';
import type { Protocol } from '../core/vocabulary.ts';
import type { ManifestObject } from './read-manifests.ts';

import { PROTOCOLS } from '../core/vocabulary.ts';
import { type Address, formatAddress } from '../net/ip.ts';
import type { Cidr } from '../net/cidr.ts';
import { isRecord, type RawRecord } from '../policy/raw-values.ts';
import { matches, parseSelector } from '../policy/selector.ts';
import { snapshotFromObjects } from './read-manifests.ts';

export interface Workload {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly pods: readonly Pod[];
}

export interface ServicePort {
  readonly name: string;
  readonly protocol: Protocol;
  readonly port: number;
  /** A number, or the name that each backend resolves for itself. */
  readonly target: number | string;
}

export interface Service {
  readonly namespace: string;
  readonly name: string;
  readonly ports: readonly ServicePort[];
  readonly clusterIPs: readonly string[];
  /** Absent: a Service without selector, whose backends its EndpointSlices name. */
  readonly backends?: readonly Pod[];
}

export interface Inventory {
  /** As they were given. */
  readonly objects: readonly ManifestObject[];
  readonly snapshot: ClusterSnapshot;
  readonly workloads: readonly Workload[];
  readonly services: readonly Service[];
  /** Addresses that no object shows, given to pods so that they can be asked about. */
  readonly assumed: ReadonlySet<string>;
}

/** The node of pods that have none, so that policies apply to them as they will. */
export const ASSUMED_NODE = 'not-scheduled';

interface InventoryOptions {
  readonly defaultNamespace: string;
  /** Where assumed addresses are from. */
  readonly podCidr: Cidr;
  /** Of the same cluster in another state: its pods keep what they were given there. */
  readonly before?: Inventory;
}

/** Kinds whose `spec.template` is that of a pod, and CronJob. */
const WORKLOAD_KINDS = new Set([
  'Deployment',
  'StatefulSet',
  'DaemonSet',
  'ReplicaSet',
  'ReplicationController',
  'Job',
  'CronJob',
]);

export function inventoryOf(objects: readonly ManifestObject[], options: InventoryOptions): Inventory {
  const given = objects.flatMap((from) => (isRecord(from.object) ? [{ from, object: from.object }] : []));
  const namespaceOf = (object: RawRecord): string =>
    textAt(object, 'metadata', 'namespace') || options.defaultNamespace;
  const rawPods = given.filter(({ object }) => object.kind === 'Pod');
  const templates = given.flatMap(({ from, object }) => templateOf(from, object, namespaceOf(object)));
  const owned = (template: Template): boolean =>
    rawPods.some(
      ({ object }) => namespaceOf(object) === template.namespace && matches(template.selector, labelsOf(object)),
    );
  const taken = new Set(rawPods.map(({ object }) => `${namespaceOf(object)}/${textAt(object, 'metadata', 'name')}`));
  const made = templates
    .filter((template) => !template.isOwned && !owned(template))
    .map((template) => podOf(template, taken));
  const addresses = new AssumedAddresses(
    options.podCidr,
    rawPods.map(({ object }) => object),
    options.before && assumedIn(options.before),
  );
  const completed = [...objects.filter(({ object }) => !isPod(object)), ...rawPods.map(({ from }) => from), ...made];
  const snapshot = snapshotFromObjects(
    completed.map((from) => addresses.given(from, namespaceOf)),
    options,
  );
  const podsOf = (namespace: string, selector: Selector): Pod[] =>
    [...snapshot.pods.values()].filter((pod) => pod.namespace === namespace && matches(selector, pod.labels));
  return {
    objects,
    snapshot,
    workloads: templates.map(({ kind, namespace, name, selector }) => ({
      kind,
      namespace,
      name,
      pods: podsOf(namespace, selector),
    })),
    services: given
      .filter(({ object }) => object.kind === 'Service' && object.apiVersion === 'v1')
      .map(({ object }) => serviceOf(object, namespaceOf(object), podsOf)),
    assumed: addresses.assumed,
  };
}

function isPod(object: unknown): boolean {
  return isRecord(object) && object.kind === 'Pod';
}

// ------------------------------------------------------------------------------------------------------------ workloads

interface Template {
  readonly from: ManifestObject;
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly selector: Selector;
  readonly labels: RawRecord;
  readonly spec: RawRecord;
  /** Another workload makes its pods: a ReplicaSet of a Deployment, a Job of a CronJob. */
  readonly isOwned: boolean;
}

function templateOf(from: ManifestObject, object: RawRecord, namespace: string): Template[] {
  const { kind } = object;
  if (typeof kind !== 'string' || !WORKLOAD_KINDS.has(kind)) return [];
  const spec = recordAt(object, 'spec');
  const template = kind === 'CronJob' ? recordAt(spec, 'jobTemplate', 'spec', 'template') : recordAt(spec, 'template');
  const labels = recordAt(template, 'metadata', 'labels');
  const isMap = kind === 'ReplicationController' || !isRecord(spec.selector);
  const raw = isMap ? { matchLabels: isRecord(spec.selector) ? spec.selector : labels } : spec.selector;
  const owners = recordAt(object, 'metadata').ownerReferences;
  return [
    {
      from,
      kind,
      namespace,
      name: textAt(object, 'metadata', 'name'),
      selector: parseSelector(raw, 'spec.selector').selector,
      labels,
      spec: recordAt(template, 'spec'),
      isOwned: Array.isArray(owners) && owners.length > 0,
    },
  ];
}

/** Under the workload's name, unless a pod has it. */
function podOf({ from, kind, namespace, name, labels, spec }: Template, taken: Set<string>): ManifestObject {
  const free =
    [name, `${name}-${kind.toLowerCase()}`].find((each) => !taken.has(`${namespace}/${each}`)) ?? `${name}-pod`;
  taken.add(`${namespace}/${free}`);
  const object = { apiVersion: 'v1', kind: 'Pod', metadata: { namespace, name: free, labels }, spec };
  return { object, file: from.file, line: from.line };
}

// ------------------------------------------------------------------------------------------------------------- services

function serviceOf(
  object: RawRecord,
  namespace: string,
  podsOf: (namespace: string, selector: Selector) => Pod[],
): Service {
  const spec = recordAt(object, 'spec');
  const ports = Array.isArray(spec.ports) ? spec.ports.filter(isRecord) : [];
  const hasSelector = isRecord(spec.selector) && Object.keys(spec.selector).length > 0;
  const selector = hasSelector && parseSelector({ matchLabels: spec.selector }, 'spec.selector').selector;
  return {
    namespace,
    name: textAt(object, 'metadata', 'name'),
    clusterIPs: [spec.clusterIP, ...(Array.isArray(spec.clusterIPs) ? spec.clusterIPs : [])].filter(
      (ip, index, all): ip is string =>
        typeof ip === 'string' && ip !== '' && ip !== 'None' && all.indexOf(ip) === index,
    ),
    ports: ports.flatMap((port): ServicePort[] => {
      const protocol = PROTOCOLS.find((each) => each === (port.protocol ?? 'TCP'));
      if (!protocol || typeof port.port !== 'number') return [];
      const target =
        typeof port.targetPort === 'string' || typeof port.targetPort === 'number' ? port.targetPort : port.port;
      return [{ name: typeof port.name === 'string' ? port.name : '', protocol, port: port.port, target }];
    }),
    ...(selector ? { backends: podsOf(namespace, selector) } : {}),
  };
}

// ------------------------------------------------------------------------------------------------------------ addresses

/** By pod. */
function assumedIn({ snapshot, assumed }: Inventory): ReadonlyMap<string, string> {
  const found = [...snapshot.pods].map(([key, { addresses }]) => [key, addresses[0] ?? ''] as const);
  return new Map(found.filter(([, address]) => assumed.has(address)));
}

/** Hands out what no pod shows. */
class AssumedAddresses {
  readonly assumed = new Set<string>();
  readonly #cidr: Cidr;
  readonly #shown: ReadonlySet<string>;
  readonly #before: ReadonlyMap<string, string>;
  readonly #kept: ReadonlySet<string>;
  #next = 0;

  constructor(cidr: Cidr, pods: readonly RawRecord[], before: ReadonlyMap<string, string> = new Map()) {
    this.#cidr = cidr;
    this.#shown = new Set(pods.flatMap(addressesIn));
    this.#before = before;
    this.#kept = new Set(before.values());
  }

  /** A pod without an address gets one, and a node; everything else stays as it is. */
  given(from: ManifestObject, namespaceOf: (object: RawRecord) => string): ManifestObject {
    const { object } = from;
    if (!isRecord(object) || object.kind !== 'Pod' || addressesIn(object).length > 0) return from;
    const spec = recordAt(object, 'spec');
    if (spec.hostNetwork === true) return from;
    const status = recordAt(object, 'status');
    // Finished pods keep none (S-71).
    if (status.phase === 'Succeeded' || status.phase === 'Failed') return from;
    const ip = this.#keptBy(`${namespaceOf(object)}/${textAt(object, 'metadata', 'name')}`) ?? this.#free();
    if (ip === undefined) return from;
    this.assumed.add(ip);
    const nodeName = spec.nodeName || ASSUMED_NODE;
    return { ...from, object: { ...object, spec: { ...spec, nodeName }, status: { ...status, podIPs: [{ ip }] } } };
  }

  #free(): string | undefined {
    const { family, words, prefixLength } = this.#cidr;
    const bits = (family === 4 ? 32 : 128) - prefixLength;
    for (const most = Math.min(2 ** bits, 2 ** 31) - 1; ++this.#next < most; ) {
      const last = words.length - 1;
      const moved = words.map((word, index) => (index === last ? (word + this.#next) >>> 0 : word));
      const ip = formatAddress({ family, words: moved } satisfies Address);
      if (!this.#shown.has(ip) && !this.#kept.has(ip)) return ip;
    }
    return undefined;
  }

  #keptBy(pod: string): string | undefined {
    const ip = this.#before.get(pod);
    return ip === undefined || this.#shown.has(ip) ? undefined : ip;
  }
}

function addressesIn(pod: RawRecord): string[] {
  const status = recordAt(pod, 'status');
  const listed = Array.isArray(status.podIPs) ? status.podIPs : [];
  const ips = listed.map((entry) => (isRecord(entry) ? entry.ip : undefined));
  return [...ips, status.podIP].filter((ip): ip is string => typeof ip === 'string' && ip !== '');
}

// --------------------------------------------------------------------------------------------------------------- fields

function recordAt(value: unknown, ...path: readonly string[]): RawRecord {
  let at: unknown = value;
  for (const key of path) at = isRecord(at) ? at[key] : undefined;
  return isRecord(at) ? at : {};
}

function textAt(value: unknown, ...path: readonly [...string[], string]): string {
  const last = path.at(-1)!;
  const text = recordAt(value, ...path.slice(0, -1))[last];
  return typeof text === 'string' ? text : '';
}

/** Strings only. */
function labelsOf(object: RawRecord): Readonly<Record<string, string>> {
  const labels = recordAt(object, 'metadata', 'labels');
  return Object.fromEntries(
    Object.entries(labels).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  );
}
