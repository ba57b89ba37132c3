/**
 * Objects as an API server has printed them (`kubectl get ... -o yaml`) -> manifests for the lab: what the server has set is left
 * out, and pods run as they did there, on the lab's nodes and with their own addresses where the lab has room for those. Pure.
 *
 * An object with `metadata.uid` was printed by a server. What people wrote by hand is not touched.
 */
import type { Family } from '../src/core/vocabulary.ts';
import type { ManifestObject } from '../src/cluster/read-manifests.ts';
import type { Wiring } from './network/types.ts';

import { canonicalAddress, familyOf, parseAddress } from '../src/net/ip.ts';
import { cidrContains } from '../src/net/cidr.ts';
import { compareText } from '../src/core/compare.ts';
import { isObject, textOf } from './api/json.ts';
import { NODE_PORTS } from './controllers/service-addresses.ts';
import { ADDRESSES_ANNOTATION } from './kubelet.ts';
import { NO_POD_CIDRS } from './network/address-plan.ts';

type Fields = Readonly<Record<string, unknown>>;

export interface DumpShape {
  /** Nodes that pods run on, in order of name. */
  readonly nodes: readonly string[];
  /** Of the pods' addresses; empty: no pod shows one. */
  readonly families: readonly Family[];
}

export interface DumpPlace {
  readonly nodes: readonly string[];
  readonly families: readonly Family[];
  readonly wiring: Wiring;
}

export interface AdaptedDump {
  readonly objects: readonly ManifestObject[];
  /** What is not as it was, one line each. */
  readonly notes: readonly string[];
  /** Addresses that pods bring along. */
  readonly addresses: readonly string[];
}

/** Kinds that make pods in the lab. */
const WORKLOADS: ReadonlySet<string> = new Set(['Deployment', 'ReplicaSet', 'DaemonSet', 'StatefulSet', 'Job']);
/** Made again from Services and pods, or of no use to anybody here. */
const DERIVED: ReadonlySet<string> = new Set(['Node', 'Event', 'Lease', 'ControllerRevision']);
const LAST_APPLIED = 'kubectl.kubernetes.io/last-applied-configuration';
const MANAGED_SLICE = 'endpointslice-controller.k8s.io';
const MAX_NAMED = 4;

export function dumpShape(objects: readonly ManifestObject[]): DumpShape {
  const pods = printed(objects).filter(({ fields }) => isLivePod(fields));
  const nodes = pods.map(({ fields }) => textOf(fieldsOf(fields.spec).nodeName)).filter((name) => name !== '');
  const addresses = pods.flatMap(({ fields }) => (isHostNetwork(fields) ? [] : addressesOf(fields)));
  const families = ([4, 6] as const).filter((family) => addresses.some((address) => familyOf(address) === family));
  return { nodes: [...new Set(nodes)].sort(compareText), families };
}

export function adaptDump(objects: readonly ManifestObject[], place: DumpPlace): AdaptedDump {
  return new Adaptation(objects, place).adapted();
}

interface Printed {
  readonly from: ManifestObject;
  readonly fields: Fields;
}

function printed(objects: readonly ManifestObject[]): Printed[] {
  return objects.flatMap((from) => {
    const fields = fieldsOf(from.object);
    return textOf(fieldsOf(fields.metadata).uid) === '' ? [] : [{ from, fields }];
  });
}

class Adaptation {
  readonly #objects: readonly ManifestObject[];
  readonly #place: DumpPlace;
  readonly #byUid: ReadonlyMap<string, Fields>;
  /** Uids of whatever controls a pod of the dump, directly or through others. */
  readonly #withPods = new Set<string>();
  readonly #nodeOf = new Map<string, string>();
  readonly #daemonPods = new Set<string>();
  readonly #addresses = new Set<string>();
  readonly #selecting: ReadonlySet<string>;
  readonly #leftOut = { workloads: [] as string[], over: [] as string[], doubled: [] as string[] };
  readonly #moved: string[] = [];
  readonly #nodePorts: string[] = [];

  constructor(objects: readonly ManifestObject[], place: DumpPlace) {
    this.#objects = objects;
    this.#place = place;
    const all = printed(objects).map(({ fields }) => fields);
    this.#byUid = new Map(all.map((fields) => [textOf(fieldsOf(fields.metadata).uid), fields]));
    for (const pod of all.filter(({ kind }) => kind === 'Pod')) this.#noteOwners(pod);
    for (const [index, name] of dumpShape(objects).nodes.entries())
      this.#nodeOf.set(name, place.nodes.includes(name) ? name : place.nodes[index % place.nodes.length]!);
    this.#selecting = new Set(all.filter(selects).map(nameOf));
  }

  #noteOwners(pod: Fields): void {
    for (let owner = controllerOf(pod); owner !== undefined && !this.#withPods.has(owner); ) {
      this.#withPods.add(owner);
      owner = controllerOf(this.#byUid.get(owner) ?? {});
    }
  }

  adapted(): AdaptedDump {
    const dumped = new Set(printed(this.#objects).map(({ from }) => from));
    const objects = this.#objects.flatMap((from) => {
      const object = dumped.has(from) ? this.#adapt(from.object as Fields) : from.object;
      return object === undefined ? [] : [{ ...from, object }];
    });
    return { objects, notes: this.#notes(), addresses: [...this.#addresses] };
  }

  /** Undefined: left out. */
  #adapt(fields: Fields): Fields | undefined {
    const kind = textOf(fields.kind);
    if (DERIVED.has(kind) || this.#isMadeAgain(fields)) return undefined;
    if (WORKLOADS.has(kind) && this.#hasItsPods(fields)) {
      this.#leftOut.workloads.push(`${kind} ${nameOf(fields)}`);
      return undefined;
    }
    if (kind === 'Pod') return this.#pod(fields);
    return kind === 'Service' ? this.#service(fields) : bare(fields);
  }

  /** Endpoints of a Service that selects pods. */
  #isMadeAgain(fields: Fields): boolean {
    const { namespace, labels } = fieldsOf(fields.metadata);
    if (fields.kind === 'Endpoints') return this.#selecting.has(nameOf(fields));
    if (fields.kind !== 'EndpointSlice') return false;
    const of = fieldsOf(labels);
    const service = `${textOf(namespace)}/${textOf(of['kubernetes.io/service-name'])}`;
    return of['endpointslice.kubernetes.io/managed-by'] === MANAGED_SLICE || this.#selecting.has(service);
  }

  /** Its pods are given, will be made by what controls it, or have come and gone. */
  #hasItsPods(workload: Fields): boolean {
    const controller = this.#byUid.get(controllerOf(workload) ?? '');
    if (this.#withPods.has(textOf(fieldsOf(workload.metadata).uid))) return true;
    if (controller && WORKLOADS.has(textOf(controller.kind))) return true;
    const { conditions } = fieldsOf(workload.status);
    return workload.kind === 'Job' && listOf(conditions).some(isOver);
  }

  #pod(pod: Fields): Fields | undefined {
    if (!isLivePod(pod)) {
      this.#leftOut.over.push(nameOf(pod));
      return undefined;
    }
    const { nodeName: formerNode, nodeSelector: _selector, ...spec } = fieldsOf(pod.spec);
    const nodeName = this.#nodeOf.get(textOf(formerNode));
    if (nodeName !== undefined && this.#isDoubled(pod, nodeName)) {
      this.#leftOut.doubled.push(nameOf(pod));
      return undefined;
    }
    const adapted = bare({ ...pod, spec: { ...spec, ...(nodeName === undefined ? {} : { nodeName }) } });
    const addresses = isHostNetwork(pod) ? [] : this.#keepAddresses(pod);
    if (addresses.length === 0) return adapted;
    const metadata = fieldsOf(adapted.metadata);
    const annotations = { ...fieldsOf(metadata.annotations), [ADDRESSES_ANNOTATION]: addresses.join(',') };
    return { ...adapted, metadata: { ...metadata, annotations } };
  }

  /** A second pod of a DaemonSet on one node of the lab. */
  #isDoubled(pod: Fields, nodeName: string): boolean {
    const owner = controllerReference(pod);
    if (owner?.kind !== 'DaemonSet') return false;
    const key = `${textOf(owner.uid)} ${nodeName}`;
    const doubled = this.#daemonPods.has(key);
    this.#daemonPods.add(key);
    return doubled;
  }

  #keepAddresses(pod: Fields): readonly string[] {
    const { families, wiring } = this.#place;
    const own = addressesOf(pod).filter((address) => families.includes(familyOf(address)));
    const fits = (address: string): boolean =>
      wiring === 'routed' &&
      !this.#addresses.has(address) &&
      !NO_POD_CIDRS.some((cidr) => cidrContains(cidr, parseAddress(address)!));
    const kept = families.flatMap(
      (family) => own.find((address) => familyOf(address) === family && fits(address)) ?? [],
    );
    for (const address of kept) this.#addresses.add(address);
    if (own.some((address) => !kept.includes(address))) this.#moved.push(nameOf(pod));
    return kept;
  }

  /** With a cluster address and node ports that the lab can give. */
  #service(service: Fields): Fields {
    const {
      clusterIP,
      clusterIPs: _ips,
      ipFamilies,
      ipFamilyPolicy,
      healthCheckNodePort: _health,
      ...spec
    } = fieldsOf(service.spec);
    const families = listOf(ipFamilies).filter((family) => this.#place.families.some((own) => family === `IPv${own}`));
    const single = this.#place.families.length === 1 && ipFamilyPolicy === 'RequireDualStack';
    return bare({
      ...service,
      spec: {
        ...spec,
        ...(clusterIP === 'None' ? { clusterIP } : {}),
        ...(families.length > 0 ? { ipFamilies: families } : {}),
        ...(ipFamilyPolicy === undefined ? {} : { ipFamilyPolicy: single ? 'PreferDualStack' : ipFamilyPolicy }),
        ...(spec.ports === undefined
          ? {}
          : { ports: listOf(spec.ports).map((port) => this.#servicePort(service, port)) }),
      },
    });
  }

  #servicePort(service: Fields, port: unknown): unknown {
    const { nodePort, ...rest } = fieldsOf(port);
    const [first, last] = NODE_PORTS;
    if (typeof nodePort !== 'number' || (nodePort >= first && nodePort <= last)) return port;
    this.#nodePorts.push(`${nameOf(service)} ${nodePort}`);
    return rest;
  }

  #notes(): string[] {
    const { workloads, over, doubled } = this.#leftOut;
    const nodes = [...this.#nodeOf].filter(([name, own]) => name !== own).map(([name, own]) => `${name} is ${own}`);
    const why =
      this.#place.wiring === 'bridge'
        ? 'a bridge has those of its node alone'
        : 'theirs are in use, or those of nodes, Services or outside hosts here';
    return [
      ...some(nodes, (list) => `nodes: ${list}`),
      ...some(workloads, (list) => `left out, as their pods are given or over: ${list}`),
      ...some(over, (list) => `left out, as they have finished or are being deleted: ${list}`),
      ...some(doubled, (list) => `left out, as another pod of their DaemonSet is on the same node of the lab: ${list}`),
      ...some(this.#moved, (list) => `other addresses than in the dump, as ${why}: ${list}`),
      ...some(this.#nodePorts, (list) => `other node ports than in the dump, as they are not in 30000-32767: ${list}`),
    ];
  }
}

function some(names: readonly string[], text: (list: string) => string): string[] {
  if (names.length === 0) return [];
  const more = names.length > MAX_NAMED ? ` and ${names.length - MAX_NAMED} more` : '';
  return [text(`${names.slice(0, MAX_NAMED).join(', ')}${more}`)];
}

/** Without what a server sets: identity, versions, times, status, and finalizers, which nobody here would ever take away. */
function bare({ status: _status, ...object }: Fields): Fields {
  const { name, namespace, labels, annotations, ownerReferences } = fieldsOf(object.metadata);
  const { [LAST_APPLIED]: _applied, ...rest } = fieldsOf(annotations);
  const metadata = {
    name,
    namespace,
    labels,
    annotations: isObject(annotations) ? rest : annotations,
    ownerReferences,
  };
  return {
    ...object,
    metadata: Object.fromEntries(Object.entries(metadata).filter(([, value]) => value !== undefined)),
  };
}

function isLivePod(fields: Fields): boolean {
  const phase = fieldsOf(fields.status).phase;
  const leaves = (fieldsOf(fields.metadata).deletionTimestamp ?? undefined) !== undefined;
  return fields.kind === 'Pod' && phase !== 'Succeeded' && phase !== 'Failed' && !leaves;
}

function isHostNetwork(pod: Fields): boolean {
  return fieldsOf(pod.spec).hostNetwork === true;
}

/** In canonical text; what is none is passed over. */
function addressesOf(pod: Fields): readonly string[] {
  const { podIP, podIPs } = fieldsOf(pod.status);
  const texts = [podIP, ...listOf(podIPs).map((item) => fieldsOf(item).ip)].map(textOf);
  return [...new Set(texts.map((text) => canonicalAddress(text)))].filter((address) => address !== undefined);
}

function selects(fields: Fields): boolean {
  return fields.kind === 'Service' && Object.keys(fieldsOf(fieldsOf(fields.spec).selector)).length > 0;
}

function isOver(condition: unknown): boolean {
  const { type, status } = fieldsOf(condition);
  return (type === 'Complete' || type === 'Failed') && status === 'True';
}

function controllerReference(object: Fields): Fields | undefined {
  const references = listOf(fieldsOf(object.metadata).ownerReferences).map(fieldsOf);
  return references.find(({ controller }) => controller === true);
}

function controllerOf(object: Fields): string | undefined {
  const uid = textOf(controllerReference(object)?.uid);
  return uid === '' ? undefined : uid;
}

function nameOf({ metadata }: Fields): string {
  const { namespace, name } = fieldsOf(metadata);
  return namespace === undefined ? textOf(name) : `${textOf(namespace)}/${textOf(name)}`;
}

function fieldsOf(value: unknown): Fields {
  return isObject(value) ? value : {};
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
