/** The columns `kubectl get` shows, as the API's Table form. Pure. */
import { hostPortText } from '../../src/net/host-port.ts';
import { isObject, textOf } from './json.ts';
import type {
  ApiObject,
  Condition,
  ConfigMapObject,
  DaemonSetObject,
  EndpointSliceObject,
  EndpointsObject,
  EventObject,
  Labels,
  LabelSelector,
  LeaseObject,
  NamespaceObject,
  ClusterNetworkPolicyObject,
  NetworkPolicyObject,
  NodeObject,
  PodObject,
  PodSpec,
  ReplicatedObject,
  ResourceName,
  ServiceObject,
} from './objects.ts';

type Cell = string | number;

interface Column {
  readonly name: string;
  readonly type: 'string' | 'integer';
  readonly format: string;
  readonly description: string;
  /** 0: always shown; 1: only with `-o wide`. */
  readonly priority: 0 | 1;
  readonly cell: (object: ApiObject, nowMs: number) => Cell;
}

const NONE = '<none>';
const UNKNOWN = '<unknown>';

function column<T extends ApiObject>(name: string, cell: (object: T, nowMs: number) => Cell, wide = false): Column {
  return {
    name,
    type: 'string',
    format: name === 'Name' ? 'name' : '',
    description: `${name} of the object`,
    priority: wide ? 1 : 0,
    cell: cell as Column['cell'],
  };
}

const NAME = column('Name', (object) => object.metadata.name);
const AGE = column('Age', (object, nowMs) => age(object.metadata.creationTimestamp, nowMs));

/** Time since `timestamp` in one or two units, as kubectl writes it: 45s, 5m10s, 3h20m, 4d2h, 300d. */
export function age(timestamp: string | undefined, nowMs: number): string {
  const startMs = Date.parse(timestamp ?? '');
  if (Number.isNaN(startMs)) return UNKNOWN;
  const seconds = Math.max(0, Math.floor((nowMs - startMs) / 1000));
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  const days = Math.floor(hours / 24);
  const two = (large: number, unit: string, small: number, smallUnit: string): string =>
    small === 0 ? `${large}${unit}` : `${large}${unit}${small}${smallUnit}`;
  if (seconds < 120) return `${seconds}s`;
  if (minutes < 10) return two(minutes, 'm', seconds % 60, 's');
  if (minutes < 180) return `${minutes}m`;
  if (hours < 8) return two(hours, 'h', minutes % 60, 'm');
  if (hours < 48) return `${hours}h`;
  if (days < 8) return two(days, 'd', hours % 24, 'h');
  if (days < 730) return `${days}d`;
  const years = Math.floor(days / 365);
  return days < 8 * 365 ? two(years, 'y', days % 365, 'd') : `${years}y`;
}

const listed = (items: readonly string[]): string => (items.length === 0 ? NONE : items.join(','));

const labelText = (labels: Labels | undefined): string =>
  listed(Object.entries(labels ?? {}).map(([key, value]) => `${key}=${value}`));

export function selectorText(selector: LabelSelector | undefined): string {
  const exact = Object.entries(selector?.matchLabels ?? {}).map(([key, value]) => `${key}=${value}`);
  const terms = (selector?.matchExpressions ?? []).map(({ key, operator, values = [] }) => {
    const list = `(${[...values].sort().join(',')})`;
    if (operator === 'In') return `${key} in ${list}`;
    if (operator === 'NotIn') return `${key} notin ${list}`;
    return operator === 'DoesNotExist' ? `!${key}` : key;
  });
  return listed([...exact, ...terms]);
}

const conditionTrue = (conditions: readonly Condition[] | undefined, type: string): boolean =>
  (conditions ?? []).some((condition) => condition.type === type && condition.status === 'True');

// ---- pods

function podStatus(pod: PodObject): string {
  if (pod.metadata.deletionTimestamp !== undefined) return 'Terminating';
  for (const container of pod.status?.containerStatuses ?? []) {
    const waiting = container.state?.waiting;
    if (isObject(waiting) && textOf(waiting.reason) !== '') return textOf(waiting.reason);
  }
  if (pod.status?.phase === 'Succeeded') return 'Completed';
  return pod.status?.reason ?? pod.status?.phase ?? 'Unknown';
}

const readyContainers = (pod: PodObject): string =>
  `${(pod.status?.containerStatuses ?? []).filter((container) => container.ready).length}/${pod.spec.containers.length}`;

const restarts = (pod: PodObject): string =>
  String((pod.status?.containerStatuses ?? []).reduce((sum, container) => sum + container.restartCount, 0));

const PODS = [
  NAME,
  column<PodObject>('Ready', readyContainers),
  column<PodObject>('Status', podStatus),
  column<PodObject>('Restarts', restarts),
  AGE,
  column<PodObject>('IP', (pod) => pod.status?.podIP ?? NONE, true),
  column<PodObject>('Node', (pod) => pod.spec.nodeName ?? NONE, true),
  column<PodObject>('Nominated Node', () => NONE, true),
  column<PodObject>('Readiness Gates', () => NONE, true),
];

// ---- services and endpoints

function servicePorts(service: ServiceObject): string {
  return listed(
    (service.spec.ports ?? []).map(({ port, nodePort, protocol = 'TCP' }) =>
      nodePort ? `${port}:${nodePort}/${protocol}` : `${port}/${protocol}`,
    ),
  );
}

function externalAddress({ spec, status }: ServiceObject): string {
  if (spec.type === 'ExternalName') return spec.externalName ?? NONE;
  const balanced = (status?.loadBalancer?.ingress ?? []).flatMap((entry) => (entry.ip ? [entry.ip] : []));
  const addresses = [...balanced, ...(spec.externalIPs ?? [])];
  return addresses.length === 0 && spec.type === 'LoadBalancer' ? '<pending>' : listed(addresses);
}

const SERVICES = [
  NAME,
  column<ServiceObject>('Type', (service) => service.spec.type ?? ''),
  column<ServiceObject>('Cluster-IP', (service) => service.spec.clusterIP ?? NONE),
  column<ServiceObject>('External-IP', externalAddress),
  column<ServiceObject>('Port(s)', servicePorts),
  AGE,
  column<ServiceObject>('Selector', (service) => labelText(service.spec.selector), true),
];

/** At most three, as kubectl has it. */
function shortened(items: readonly string[]): string {
  return items.length > 3 ? `${items.slice(0, 3).join(',')} + ${items.length - 3} more...` : listed(items);
}

function endpointAddresses(endpoints: EndpointsObject): string {
  const addresses = (endpoints.subsets ?? []).flatMap((subset) =>
    (subset.addresses ?? []).flatMap(({ ip }) =>
      (subset.ports ?? []).map(({ port }) => hostPortText({ host: ip, port })),
    ),
  );
  return shortened(addresses);
}

const ENDPOINT_SLICES = [
  NAME,
  column<EndpointSliceObject>('AddressType', (slice) => slice.addressType),
  column<EndpointSliceObject>('Ports', (slice) =>
    shortened((slice.ports ?? []).map((port) => textOf(port.port ?? '*'))),
  ),
  column<EndpointSliceObject>('Endpoints', (slice) =>
    shortened((slice.endpoints ?? []).flatMap((endpoint) => endpoint.addresses)),
  ),
  AGE,
];

// ---- workloads

const containerNames = (spec: PodSpec): string => listed(spec.containers.map((container) => container.name));
const images = (spec: PodSpec): string => listed(spec.containers.map((container) => container.image ?? ''));

const TEMPLATE_COLUMNS = [
  column<ReplicatedObject>('Containers', (workload) => containerNames(workload.spec.template.spec), true),
  column<ReplicatedObject>('Images', (workload) => images(workload.spec.template.spec), true),
];
const SELECTOR = column<ReplicatedObject>('Selector', (workload) => selectorText(workload.spec.selector), true);

const DEPLOYMENTS = [
  NAME,
  column<ReplicatedObject>('Ready', ({ spec, status }) => `${status?.readyReplicas ?? 0}/${spec.replicas ?? 1}`),
  column<ReplicatedObject>('Up-to-date', ({ status }) => status?.updatedReplicas ?? 0),
  column<ReplicatedObject>('Available', ({ status }) => status?.availableReplicas ?? 0),
  AGE,
  ...TEMPLATE_COLUMNS,
  SELECTOR,
];

const REPLICA_SETS = [
  NAME,
  column<ReplicatedObject>('Desired', ({ spec }) => spec.replicas ?? 1),
  column<ReplicatedObject>('Current', ({ status }) => status?.replicas ?? 0),
  column<ReplicatedObject>('Ready', ({ status }) => status?.readyReplicas ?? 0),
  AGE,
  ...TEMPLATE_COLUMNS,
  SELECTOR,
];

const STATEFUL_SETS = [
  NAME,
  column<ReplicatedObject>('Ready', ({ spec, status }) => `${status?.readyReplicas ?? 0}/${spec.replicas ?? 1}`),
  AGE,
  ...TEMPLATE_COLUMNS,
];

const DAEMON_SETS = [
  NAME,
  column<DaemonSetObject>('Desired', ({ status }) => status?.desiredNumberScheduled ?? 0),
  column<DaemonSetObject>('Current', ({ status }) => status?.currentNumberScheduled ?? 0),
  column<DaemonSetObject>('Ready', ({ status }) => status?.numberReady ?? 0),
  column<DaemonSetObject>('Up-to-date', ({ status }) => status?.updatedNumberScheduled ?? 0),
  column<DaemonSetObject>('Available', ({ status }) => status?.numberAvailable ?? 0),
  column<DaemonSetObject>('Node Selector', (set) => labelText(set.spec.template.spec.nodeSelector)),
  AGE,
  column<DaemonSetObject>('Containers', (set) => containerNames(set.spec.template.spec), true),
  column<DaemonSetObject>('Images', (set) => images(set.spec.template.spec), true),
  column<DaemonSetObject>('Selector', (set) => selectorText(set.spec.selector), true),
];

// ---- nodes and the rest

const ROLE_LABEL = 'node-role.kubernetes.io/';

function nodeStatus(node: NodeObject): string {
  const ready = conditionTrue(node.status?.conditions, 'Ready') ? 'Ready' : 'NotReady';
  return node.spec?.unschedulable ? `${ready},SchedulingDisabled` : ready;
}

function nodeRoles(node: NodeObject): string {
  const labels = Object.keys(node.metadata.labels ?? {});
  return listed(labels.filter((key) => key.startsWith(ROLE_LABEL)).map((key) => key.slice(ROLE_LABEL.length)));
}

const nodeAddress = (type: string) => (node: NodeObject) =>
  (node.status?.addresses ?? []).find((address) => address.type === type)?.address ?? NONE;

const nodeInfo = (field: string) => (node: NodeObject) => textOf(node.status?.nodeInfo?.[field]) || UNKNOWN;

const NODES = [
  NAME,
  column<NodeObject>('Status', nodeStatus),
  column<NodeObject>('Roles', nodeRoles),
  AGE,
  column<NodeObject>('Version', nodeInfo('kubeletVersion')),
  column<NodeObject>('Internal-IP', nodeAddress('InternalIP'), true),
  column<NodeObject>('External-IP', nodeAddress('ExternalIP'), true),
  column<NodeObject>('OS-Image', nodeInfo('osImage'), true),
  column<NodeObject>('Kernel-Version', nodeInfo('kernelVersion'), true),
  column<NodeObject>('Container-Runtime', nodeInfo('containerRuntimeVersion'), true),
];

const EVENTS = [
  column<EventObject>('Last Seen', (event, nowMs) =>
    age(event.lastTimestamp ?? event.metadata.creationTimestamp, nowMs),
  ),
  column<EventObject>('Type', (event) => event.type ?? ''),
  column<EventObject>('Reason', (event) => event.reason ?? ''),
  column<EventObject>('Object', (event) =>
    event.involvedObject ? `${event.involvedObject.kind.toLowerCase()}/${event.involvedObject.name}` : '',
  ),
  column<EventObject>('Message', (event) => event.message ?? ''),
  column<EventObject>('Count', (event) => event.count ?? 1, true),
  column<EventObject>('Name', (event) => event.metadata.name, true),
];

const DATA = column<ConfigMapObject>(
  'Data',
  ({ data, binaryData }) => Object.keys(data ?? {}).length + Object.keys(binaryData ?? {}).length,
);

const COLUMNS: Readonly<Partial<Record<ResourceName, readonly Column[]>>> = {
  pods: PODS,
  services: SERVICES,
  endpoints: [NAME, column<EndpointsObject>('Endpoints', endpointAddresses), AGE],
  endpointslices: ENDPOINT_SLICES,
  deployments: DEPLOYMENTS,
  replicasets: REPLICA_SETS,
  statefulsets: STATEFUL_SETS,
  daemonsets: DAEMON_SETS,
  nodes: NODES,
  events: EVENTS,
  configmaps: [NAME, DATA, AGE],
  secrets: [NAME, column('Type', (secret) => textOf((secret as { type?: string }).type)), DATA, AGE],
  namespaces: [NAME, column<NamespaceObject>('Status', (namespace) => namespace.status?.phase ?? 'Active'), AGE],
  networkpolicies: [
    NAME,
    column<NetworkPolicyObject>('Pod-Selector', (policy) => selectorText(policy.spec.podSelector)),
    AGE,
  ],
  clusternetworkpolicies: [
    NAME,
    column<ClusterNetworkPolicyObject>('Tier', ({ spec }) => textOf(spec.tier)),
    column<ClusterNetworkPolicyObject>('Priority', ({ spec }) => String(spec.priority)),
    AGE,
  ],
  leases: [NAME, column<LeaseObject>('Holder', (lease) => lease.spec?.holderIdentity ?? ''), AGE],
};

export type IncludeObject = 'None' | 'Metadata' | 'Object';

export interface TableColumn {
  readonly name: string;
  readonly type: string;
  readonly format: string;
  readonly description: string;
  readonly priority: number;
}

export function columnDefinitions(resource: ResourceName): readonly TableColumn[] {
  return (COLUMNS[resource] ?? [NAME, AGE]).map(({ cell: _cell, ...definition }) => definition);
}

export interface TableRow {
  readonly cells: readonly Cell[];
  readonly object?: unknown;
}

/** One row; a cell that cannot be read from a hostile object is shown as unknown. */
export function tableRow(resource: ResourceName, object: ApiObject, include: IncludeObject, nowMs: number): TableRow {
  const cells = (COLUMNS[resource] ?? [NAME, AGE]).map(({ cell }) => {
    try {
      return cell(object, nowMs);
    } catch {
      return UNKNOWN;
    }
  });
  if (include === 'None') return { cells };
  return { cells, object: include === 'Object' ? object : partialMetadata(object) };
}

export function partialMetadata(object: ApiObject): object {
  return { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata: object.metadata };
}
