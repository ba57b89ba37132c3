/** The schema of each resource: complete and closed for NetworkPolicy, elsewhere what decoding and patch merging need. Pure data. */
import type { ResourceName } from './objects.ts';
import {
  ANY,
  atomic,
  BOOLEAN,
  closed,
  INT_OR_STRING,
  INTEGER,
  keyed,
  list,
  open,
  type Schema,
  STRING,
  STRING_MAP,
  STRING_SET,
  STRINGS,
} from './schema.ts';

const OWNER_REFERENCES = keyed(
  'uid',
  closed({
    apiVersion: STRING,
    kind: STRING,
    name: STRING,
    uid: STRING,
    controller: BOOLEAN,
    blockOwnerDeletion: BOOLEAN,
  }),
);

const METADATA_FIELDS = {
  name: STRING,
  generateName: STRING,
  namespace: STRING,
  selfLink: STRING,
  uid: STRING,
  resourceVersion: STRING,
  generation: INTEGER,
  creationTimestamp: STRING,
  deletionTimestamp: STRING,
  deletionGracePeriodSeconds: INTEGER,
  labels: STRING_MAP,
  annotations: STRING_MAP,
  ownerReferences: OWNER_REFERENCES,
  finalizers: STRING_SET,
  managedFields: list(ANY),
} satisfies Record<string, Schema>;

const METADATA = closed(METADATA_FIELDS);

const CONDITIONS = keyed('type', open({ type: STRING, status: STRING }));

const LABEL_SELECTOR = atomic(
  closed({
    matchLabels: STRING_MAP,
    matchExpressions: list(closed({ key: STRING, operator: STRING, values: STRINGS })),
  }),
);

const POLICY_PORTS = list(closed({ protocol: STRING, port: INT_OR_STRING, endPort: INTEGER }));

const POLICY_PEERS = list(
  closed({
    podSelector: LABEL_SELECTOR,
    namespaceSelector: LABEL_SELECTOR,
    ipBlock: closed({ cidr: STRING, except: STRINGS }),
  }),
);

const CONTAINER_PORTS = keyed(
  'containerPort',
  open({ name: STRING, containerPort: INTEGER, hostPort: INTEGER, protocol: STRING }),
  ['containerPort', 'protocol'],
);

const CONTAINERS = keyed(
  'name',
  open({
    name: STRING,
    image: STRING,
    command: STRINGS,
    args: STRINGS,
    ports: CONTAINER_PORTS,
    env: keyed('name', open({ name: STRING, value: STRING })),
    volumeMounts: keyed('mountPath', open({ name: STRING, mountPath: STRING })),
    volumeDevices: keyed('devicePath', open({ devicePath: STRING })),
    restartPolicy: STRING,
  }),
);

const POD_SPEC = open({
  nodeName: STRING,
  nodeSelector: atomic(STRING_MAP),
  hostNetwork: BOOLEAN,
  restartPolicy: STRING,
  terminationGracePeriodSeconds: INTEGER,
  containers: CONTAINERS,
  initContainers: CONTAINERS,
  ephemeralContainers: CONTAINERS,
  volumes: keyed('name', open({ name: STRING })),
  imagePullSecrets: keyed('name', open({ name: STRING })),
  hostAliases: keyed('ip', open({ ip: STRING, hostnames: STRINGS })),
  topologySpreadConstraints: keyed('topologyKey', open({ topologyKey: STRING }), ['topologyKey', 'whenUnsatisfiable']),
  resourceClaims: keyed('name', open({ name: STRING })),
  schedulingGates: keyed('name', open({ name: STRING })),
  tolerations: list(open({})),
});

const IPS = keyed('ip', open({ ip: STRING }));

const TEMPLATE = open({ metadata: METADATA, spec: POD_SPEC });

const REPLICATED_SPEC = open({
  replicas: INTEGER,
  minReadySeconds: INTEGER,
  revisionHistoryLimit: INTEGER,
  paused: BOOLEAN,
  selector: LABEL_SELECTOR,
  template: TEMPLATE,
});

/** What every object has, plus `fields`. */
const object = (fields: Readonly<Record<string, Schema>>, always: readonly string[] = []): Schema =>
  open({ apiVersion: STRING, kind: STRING, metadata: METADATA, ...fields }, ['metadata', ...always]);

const workload = object({ spec: REPLICATED_SPEC, status: open({ conditions: CONDITIONS }) });

const NETWORK_POLICY = closed(
  {
    apiVersion: STRING,
    kind: STRING,
    metadata: METADATA,
    spec: closed(
      {
        podSelector: LABEL_SELECTOR,
        policyTypes: STRINGS,
        ingress: list(closed({ from: POLICY_PEERS, ports: POLICY_PORTS })),
        egress: list(closed({ to: POLICY_PEERS, ports: POLICY_PORTS })),
      },
      ['podSelector'],
    ),
  },
  ['metadata', 'spec'],
);

/** N-2: which CRD of ClusterNetworkPolicy is served. The standard one lacks peers nodes and domainNames. */
export const POLICY_CHANNELS = ['experimental', 'standard'] as const;
export type PolicyChannel = (typeof POLICY_CHANNELS)[number];

/** ClusterNetworkPolicy v1alpha2. */
const CLUSTER_POLICY_PODS = closed({ namespaceSelector: LABEL_SELECTOR, podSelector: LABEL_SELECTOR }, ['podSelector']);
const CLUSTER_POLICY_PORT = closed(
  { destinationPort: closed({ number: INTEGER, range: closed({ start: INTEGER, end: INTEGER }, ['start', 'end']) }) },
  [],
);
const CLUSTER_POLICY_RULE = {
  name: STRING,
  action: STRING,
  protocols: list(
    closed({
      tcp: CLUSTER_POLICY_PORT,
      udp: CLUSTER_POLICY_PORT,
      sctp: CLUSTER_POLICY_PORT,
      destinationNamedPort: STRING,
    }),
  ),
};
const CLUSTER_POLICY_PEER = { namespaces: LABEL_SELECTOR, pods: CLUSTER_POLICY_PODS };
const clusterPolicy = (more: Readonly<Record<string, Schema>>): Schema =>
  closed(
    {
      apiVersion: STRING,
      kind: STRING,
      metadata: METADATA,
      spec: closed(
        {
          tier: STRING,
          priority: INTEGER,
          subject: closed(CLUSTER_POLICY_PEER),
          ingress: list(
            closed({ ...CLUSTER_POLICY_RULE, from: list(closed(CLUSTER_POLICY_PEER)) }, ['action', 'from']),
          ),
          egress: list(
            closed(
              {
                ...CLUSTER_POLICY_RULE,
                to: list(closed({ ...CLUSTER_POLICY_PEER, networks: STRINGS, ...more })),
              },
              ['action', 'to'],
            ),
          ),
        },
        ['tier', 'priority', 'subject'],
      ),
      status: open({ conditions: CONDITIONS }),
    },
    ['metadata', 'spec'],
  );
const CLUSTER_POLICY = {
  experimental: clusterPolicy({ nodes: LABEL_SELECTOR, domainNames: STRINGS }),
  standard: clusterPolicy({}),
} as const satisfies Record<PolicyChannel, Schema>;

const SERVICE_PORTS = keyed(
  'port',
  open({
    name: STRING,
    protocol: STRING,
    port: INTEGER,
    targetPort: INT_OR_STRING,
    nodePort: INTEGER,
    appProtocol: STRING,
  }),
  ['port', 'protocol'],
);

const ENDPOINT_PORTS = list(open({ name: STRING, port: INTEGER, protocol: STRING }));

export const SCHEMAS: Readonly<Record<ResourceName, Schema>> = {
  namespaces: object({ spec: open({ finalizers: STRINGS }), status: open({ phase: STRING, conditions: CONDITIONS }) }),
  pods: object(
    {
      spec: POD_SPEC,
      status: open({
        phase: STRING,
        podIP: STRING,
        hostIP: STRING,
        podIPs: IPS,
        hostIPs: IPS,
        conditions: CONDITIONS,
        containerStatuses: list(open({ name: STRING })),
      }),
    },
    ['spec', 'status'],
  ),
  services: object(
    {
      spec: open({
        type: STRING,
        clusterIP: STRING,
        clusterIPs: STRINGS,
        ipFamilies: STRINGS,
        ipFamilyPolicy: STRING,
        selector: atomic(STRING_MAP),
        ports: SERVICE_PORTS,
        externalIPs: STRINGS,
        externalName: STRING,
        publishNotReadyAddresses: BOOLEAN,
      }),
      status: open({ conditions: CONDITIONS }),
    },
    ['spec', 'status'],
  ),
  nodes: object(
    {
      spec: open({
        podCIDR: STRING,
        podCIDRs: STRING_SET,
        unschedulable: BOOLEAN,
        taints: list(open({ key: STRING, value: STRING, effect: STRING })),
      }),
      status: open({
        conditions: CONDITIONS,
        addresses: keyed('type', open({ type: STRING, address: STRING })),
      }),
    },
    ['spec', 'status'],
  ),
  endpoints: object({
    subsets: list(open({ addresses: list(open({ ip: STRING })), ports: ENDPOINT_PORTS })),
  }),
  events: object({ involvedObject: open({ kind: STRING, name: STRING }), reason: STRING, message: STRING }),
  configmaps: object({ data: STRING_MAP, binaryData: STRING_MAP, immutable: BOOLEAN }),
  secrets: object({ data: STRING_MAP, stringData: STRING_MAP, type: STRING }),
  serviceaccounts: object({
    secrets: keyed('name', open({ name: STRING })),
    imagePullSecrets: keyed('name', open({ name: STRING })),
  }),
  deployments: workload,
  daemonsets: workload,
  replicasets: workload,
  statefulsets: workload,
  jobs: object({ spec: open({ template: TEMPLATE }), status: open({ conditions: CONDITIONS }) }, ['spec', 'status']),
  endpointslices: object({
    addressType: STRING,
    endpoints: list(open({ addresses: STRINGS, nodeName: STRING })),
    ports: ENDPOINT_PORTS,
  }),
  networkpolicies: NETWORK_POLICY,
  clusternetworkpolicies: CLUSTER_POLICY.experimental,
  leases: object({ spec: open({ holderIdentity: STRING, leaseDurationSeconds: INTEGER }) }),
  clusterroles: object({ rules: list(open({ verbs: STRINGS, resources: STRINGS })) }),
  clusterrolebindings: object({ subjects: list(open({})), roleRef: open({}) }),
  roles: object({ rules: list(open({ verbs: STRINGS, resources: STRINGS })) }),
  rolebindings: object({ subjects: list(open({})), roleRef: open({}) }),
};

/** As the server that serves this channel reads objects. */
export function schemaOf(resource: ResourceName, channel: PolicyChannel): Schema {
  return resource === 'clusternetworkpolicies' ? CLUSTER_POLICY[channel] : SCHEMAS[resource];
}
