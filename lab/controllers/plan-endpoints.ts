/** Which endpoints a Service has, from its selector and the pods. Pure. */
import { isIPv6 } from 'node:net';
import type {
  Container,
  Endpoint,
  EndpointAddress,
  EndpointSliceObject,
  EndpointsObject,
  PodObject,
  ServiceObject,
  ServicePort,
} from '../api/objects.ts';
import { isFinished, isReady, isTerminating, ownerReference, shortHash } from './pod-state.ts';

/** As the endpoint slice controller's default. */
const MAX_ENDPOINTS_PER_SLICE = 100;

export const SERVICE_NAME_LABEL = 'kubernetes.io/service-name';
export const MANAGED_BY_LABEL = 'endpointslice.kubernetes.io/managed-by';
export const MANAGER = 'endpointslice-controller.k8s.io';

interface ResolvedPort {
  readonly name: string;
  readonly port: number;
  readonly protocol: string;
}

/** True if the pods behind the service are found by its selector. */
export function hasSelector(service: ServiceObject): boolean {
  return service.spec.type !== 'ExternalName' && Object.keys(service.spec.selector ?? {}).length > 0;
}

export function selects(service: ServiceObject, pod: PodObject): boolean {
  const labels = pod.metadata.labels ?? {};
  return Object.entries(service.spec.selector ?? {}).every(([key, value]) => labels[key] === value);
}

/** The port numbers of the service's target ports on this pod; a name the pod does not declare is left out. */
export function resolvePorts(service: ServiceObject, pod: PodObject): readonly ResolvedPort[] {
  return (service.spec.ports ?? []).flatMap((port) => {
    const number = targetNumber(port, pod);
    return number === undefined ? [] : [{ name: port.name ?? '', port: number, protocol: port.protocol ?? 'TCP' }];
  });
}

function targetNumber(port: ServicePort, pod: PodObject): number | undefined {
  const target = port.targetPort ?? port.port;
  if (typeof target === 'number') return target;
  const sidecars = (pod.spec.initContainers ?? []).filter((container) => container.restartPolicy === 'Always');
  const declared = [...pod.spec.containers, ...sidecars].flatMap((container: Container) => container.ports ?? []);
  const protocol = port.protocol ?? 'TCP';
  return declared.find((candidate) => candidate.name === target && (candidate.protocol ?? 'TCP') === protocol)
    ?.containerPort;
}

interface Member {
  readonly pod: PodObject;
  readonly address: string;
  readonly ready: boolean;
  readonly ports: readonly ResolvedPort[];
}

/** The pods that have an address of the family, by name. */
function members(service: ServiceObject, pods: readonly PodObject[], family: string): readonly Member[] {
  return pods
    .filter((pod) => selects(service, pod) && !isFinished(pod))
    .flatMap((pod) => {
      const address = addressOf(pod, family);
      if (address === undefined) return [];
      const ready = (isReady(pod) && !isTerminating(pod)) || service.spec.publishNotReadyAddresses === true;
      return [{ pod, address, ready, ports: resolvePorts(service, pod) }];
    })
    .sort((a, b) => (a.pod.metadata.name < b.pod.metadata.name ? -1 : 1));
}

function addressOf(pod: PodObject, family: string): string | undefined {
  const addresses = pod.status?.podIPs?.map(({ ip }) => ip) ?? (pod.status?.podIP ? [pod.status.podIP] : []);
  return addresses.find((address) => isIPv6(address) === (family === 'IPv6'));
}

function groupByPorts(all: readonly Member[]): ReadonlyMap<string, readonly Member[]> {
  const groups = new Map<string, Member[]>();
  for (const member of all) {
    const key = JSON.stringify(member.ports);
    const group = groups.get(key);
    if (group) group.push(member);
    else groups.set(key, [member]);
  }
  return groups;
}

/** All slices the service should have; pods with different numbers for a named port are in different slices. */
export function desiredSlices(service: ServiceObject, pods: readonly PodObject[]): readonly EndpointSliceObject[] {
  const families = service.spec.ipFamilies ?? ['IPv4'];
  return families.flatMap((family) => {
    const groups = groupByPorts(members(service, pods, family));
    if (groups.size === 0) return [slice(service, family, [], [], 0)];
    return [...groups.values()].flatMap((group) => {
      const count = Math.ceil(group.length / MAX_ENDPOINTS_PER_SLICE);
      return Array.from({ length: count }, (_, index) => {
        const part = group.slice(index * MAX_ENDPOINTS_PER_SLICE, (index + 1) * MAX_ENDPOINTS_PER_SLICE);
        return slice(service, family, group[0]?.ports ?? [], part, index);
      });
    });
  });
}

function slice(
  service: ServiceObject,
  family: string,
  ports: readonly ResolvedPort[],
  part: readonly Member[],
  index: number,
): EndpointSliceObject {
  const { name, namespace } = service.metadata;
  const suffix = shortHash([family, ports, index], 5);
  const metadata = {
    name: `${name}-${suffix}`,
    namespace,
    labels: { [SERVICE_NAME_LABEL]: name, [MANAGED_BY_LABEL]: MANAGER },
    ownerReferences: [ownerReference(service)],
  };
  const object = {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata,
    addressType: family === 'IPv6' ? 'IPv6' : 'IPv4',
    endpoints: part.map(endpoint),
    ports,
  };
  return object as unknown as EndpointSliceObject;
}

function endpoint({ pod, address, ready }: Member): Endpoint {
  const { hostname, subdomain, nodeName } = pod.spec;
  return {
    addresses: [address],
    conditions: { ready, serving: isReady(pod), terminating: isTerminating(pod) },
    ...(hostname && subdomain ? { hostname } : {}),
    ...(nodeName ? { nodeName } : {}),
    targetRef: targetRef(pod),
  };
}

const targetRef = ({ metadata }: PodObject) => ({
  kind: 'Pod',
  namespace: metadata.namespace ?? '',
  name: metadata.name,
  uid: metadata.uid,
});

/** The older Endpoints object of the service: its first family only. */
export function desiredEndpoints(service: ServiceObject, pods: readonly PodObject[]): EndpointsObject {
  const groups = groupByPorts(members(service, pods, service.spec.ipFamilies?.[0] ?? 'IPv4'));
  const address = ({ pod, address: ip }: Member): EndpointAddress => ({
    ip,
    ...(pod.spec.nodeName ? { nodeName: pod.spec.nodeName } : {}),
    targetRef: targetRef(pod),
  });
  const subsets = [...groups.values()].map((group) => {
    const ready = group.filter((member) => member.ready).map(address);
    const notReady = group.filter((member) => !member.ready && !isTerminating(member.pod)).map(address);
    return {
      ...(ready.length > 0 ? { addresses: ready } : {}),
      ...(notReady.length > 0 ? { notReadyAddresses: notReady } : {}),
      ports: (group[0]?.ports ?? []).map(({ name, ...port }) => (name === '' ? port : { name, ...port })),
    };
  });
  const { name, namespace, labels } = service.metadata;
  const object = {
    apiVersion: 'v1',
    kind: 'Endpoints',
    metadata: { name, namespace, ...(labels ? { labels } : {}) },
    ...(subsets.length > 0 ? { subsets } : {}),
  };
  return object as unknown as EndpointsObject;
}
