/**
 * A cluster as one finds them, of any size, as API objects: workloads whose pods share their labels, some whose pods do not
 * (StatefulSets and Jobs label each pod), a few policies per namespace, pods spread over nodes. The same options give the same
 * cluster.
 */
import { namespaceObject, nodeObject, podObject as writtenPod, runningStatus } from '../test/support/api-objects.ts';
import { policyObject as writtenPolicy } from '../test/support/builders.ts';
import { below, chance, pick, type Random, randomFrom } from './random.ts';

export interface ClusterOptions {
  readonly pods: number;
  readonly namespaces: number;
  readonly policies: number;
  /** Pods on the node that is measured, in the first namespaces. */
  readonly localPods: number;
  /** Namespaces these pods are spread over. */
  readonly localNamespaces: number;
  /** Adds what agents never look at (managed fields, volumes, conditions), as a real API server does: about 5 KiB a pod. */
  readonly fullSize?: boolean;
}

export interface PodSpec {
  readonly namespace: string;
  readonly name: string;
  readonly app: string;
  readonly nodeName: string;
  readonly address: string;
  readonly labels: Readonly<Record<string, string>>;
}

export const LOCAL_NODE = 'node-0';
export const NODE_ADDRESS = '203.0.113.10';
const PODS_PER_NODE = 60;
/** Of all pods: StatefulSets and Jobs, whose pods have labels of their own. */
const UNIQUE_SHARE = 0.12;
const TEAMS = 24;
const ENVIRONMENTS = ['prod', 'staging', 'dev'];
const COMPONENTS = ['web', 'api', 'worker', 'db', 'cache', 'batch'];
/** Workload sizes: many small ones, few large ones. */
const REPLICAS = [1, 1, 2, 2, 3, 3, 3, 4, 6, 10, 20];

export type RawObject = Readonly<Record<string, unknown>> & {
  readonly metadata: Readonly<Record<string, unknown>> & { readonly name: string; readonly namespace?: string };
};

export class ClusterModel {
  readonly options: ClusterOptions;
  readonly namespaces: readonly RawObject[];
  readonly policies: readonly RawObject[];
  readonly pods: readonly PodSpec[];

  constructor(options: ClusterOptions) {
    this.options = options;
    const random = randomFrom(0x2545f491);
    this.namespaces = Array.from({ length: options.namespaces }, (_, index) => teamNamespace(index));
    this.policies = Array.from({ length: options.policies }, (_, index) => policyOf(index, options.namespaces));
    this.pods = placePods(options, random);
  }

  get node(): RawObject {
    return nodeObject(LOCAL_NODE, [NODE_ADDRESS], { uid: 'node-0', resourceVersion: '1' });
  }

  /** A pod that is not on the measured node, spread over them by `n`. */
  remotePod(n: number): PodSpec {
    const { localPods, pods } = this.options;
    return this.pods[localPods + ((n * 7919) % (pods - localPods))]!;
  }

  /** One more of the same workload as some remote pod, with an address that nobody had. */
  newPod(n: number): PodSpec {
    const like = this.remotePod(n);
    return { ...like, name: `${like.name}-new-${n}`, address: podAddress(this.options.pods + n) };
  }
}

function placePods(options: ClusterOptions, random: Random): PodSpec[] {
  const pods: PodSpec[] = [];
  const nodes = Math.max(2, Math.ceil(options.pods / PODS_PER_NODE));
  const workloads = new Map<string, number>();
  let workload = 0;
  while (pods.length < options.pods) {
    const isLocal = pods.length < options.localPods;
    const namespace = `team-${isLocal ? pods.length % options.localNamespaces : below(random, options.namespaces)}`;
    const number = (workloads.get(namespace) ?? 0) + 1;
    workloads.set(namespace, number);
    const app = COMPONENTS[number % COMPONENTS.length]!;
    const isUnique = chance(random, UNIQUE_SHARE);
    const hash = Math.imul(++workload, 0x5bd1e995).toString(36).slice(-6);
    const replicas = isLocal ? 1 : Math.min(pick(random, REPLICAS), options.pods - pods.length);
    for (let replica = 0; replica < replicas; replica++) {
      const name = isUnique ? `${app}-${number}-${replica}` : `${app}-${number}-${hash}-${suffix(pods.length)}`;
      const nodeName = isLocal ? LOCAL_NODE : `node-${1 + below(random, nodes - 1)}`;
      const own = isUnique
        ? { 'statefulset.kubernetes.io/pod-name': name }
        : { 'pod-template-hash': `7d9f8c${number}` };
      const labels = { ...workloadLabels(namespace, app, number), ...own };
      pods.push({ namespace, name, app, nodeName, address: podAddress(pods.length), labels });
    }
  }
  return pods;
}

function workloadLabels(namespace: string, app: string, number: number): Record<string, string> {
  return {
    'app.kubernetes.io/name': app,
    'app.kubernetes.io/instance': `${namespace}-${app}-${number}`,
    'app.kubernetes.io/version': `1.${number % 7}.0`,
    'app.kubernetes.io/managed-by': 'helm',
    tier: app === 'db' || app === 'cache' ? 'backend' : 'frontend',
  };
}

/** Five letters that tell pods apart, as a ReplicaSet gives them. */
function suffix(index: number): string {
  return (index + 0x1000000).toString(36).slice(-5);
}

/** 10.0.1.0 onwards: 16 million pods. */
export function podAddress(index: number): string {
  const number = index + 256;
  return `10.${(number >>> 16) & 255}.${(number >>> 8) & 255}.${number & 255}`;
}

function teamNamespace(index: number): RawObject {
  const name = `team-${index}`;
  const labels = {
    'kubernetes.io/metadata.name': name,
    team: `t${index % TEAMS}`,
    environment: ENVIRONMENTS[index % ENVIRONMENTS.length]!,
  };
  return namespaceObject(name, { uid: `ns-${index}`, resourceVersion: '1', labels });
}

/** With another value of a label that policies ask for. */
export function relabelledNamespace(index: number, round: number): RawObject {
  const object = teamNamespace(index);
  const labels = { ...(object.metadata.labels as Record<string, string>), team: `t${(index + round) % TEAMS}` };
  return { ...object, metadata: { ...object.metadata, labels, resourceVersion: String(round + 1) } };
}

// ------------------------------------------------------------------------------------------------------------ policies

const port = (number: number | string): object => ({ protocol: 'TCP', port: number });
const apps = (...values: string[]): object => ({
  matchExpressions: [{ key: 'app.kubernetes.io/name', operator: 'In', values }],
});
const app = (value: string): object => ({ matchLabels: { 'app.kubernetes.io/name': value } });

/** What a team with a few policies has; each namespace begins with another one. */
const POLICY_SPECS: readonly ((namespace: number) => { name: string; spec: object })[] = [
  () => ({ name: 'default-deny-ingress', spec: { podSelector: {}, policyTypes: ['Ingress'] } }),
  () => ({
    name: 'web-to-api',
    spec: {
      podSelector: app('api'),
      policyTypes: ['Ingress'],
      ingress: [{ from: [{ podSelector: apps('web', 'worker') }], ports: [port(8080), port(9090)] }],
    },
  }),
  (namespace) => ({
    name: 'same-team',
    spec: {
      podSelector: { matchLabels: { tier: 'frontend' } },
      policyTypes: ['Ingress'],
      ingress: [
        {
          from: [
            {
              namespaceSelector: { matchLabels: { team: `t${namespace % TEAMS}` } },
              podSelector: { matchLabels: { tier: 'frontend' } },
            },
          ],
          ports: [port('http')],
        },
        {
          from: [{ namespaceSelector: { matchLabels: { team: 't0' } }, podSelector: app('worker') }],
          ports: [port(9100)],
        },
      ],
    },
  }),
  () => ({
    name: 'egress',
    spec: {
      podSelector: apps('api', 'worker', 'batch'),
      policyTypes: ['Egress'],
      egress: [
        { ports: [{ protocol: 'UDP', port: 53 }, port(53)] },
        {
          to: [{ ipBlock: { cidr: '0.0.0.0/0', except: ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16'] } }],
          ports: [port(443)],
        },
        { to: [{ podSelector: apps('db', 'cache') }], ports: [port(5432), port(6379)] },
      ],
    },
  }),
  () => ({
    name: 'db-clients',
    spec: {
      podSelector: apps('db', 'cache'),
      policyTypes: ['Ingress'],
      ingress: [{ from: [{ podSelector: apps('api', 'worker', 'batch') }], ports: [port(5432), port(6379)] }],
    },
  }),
];

function policyOf(index: number, namespaces: number): RawObject {
  const namespace = index % namespaces;
  const round = Math.floor(index / namespaces);
  const make = POLICY_SPECS[(round + namespace) % POLICY_SPECS.length]!;
  const { name, spec } = make(namespace);
  return policyObject(`team-${namespace}`, round < POLICY_SPECS.length ? name : `${name}-${round}`, spec);
}

export function policyObject(namespace: string, name: string, spec: object, version = 1): RawObject {
  const metadata = { uid: `${namespace}/${name}`, resourceVersion: String(version) };
  return writtenPolicy(`${namespace}/${name}`, { ...spec }, metadata);
}

// ---------------------------------------------------------------------------------------------------------------- pods

export interface PodChange {
  readonly labels?: Readonly<Record<string, string>>;
  readonly version?: number;
  readonly fullSize?: boolean;
}

/** The pod as the API server would send it. */
export function podObject(pod: PodSpec, { labels, version = 1, fullSize = false }: PodChange = {}): RawObject {
  const { namespace, name, nodeName, address } = pod;
  const written = writtenPod(`${namespace}/${name}`, {
    labels: { ...pod.labels, ...labels },
    metadata: {
      uid: `${namespace}/${name}`,
      resourceVersion: String(version),
      creationTimestamp: '2026-01-01T00:00:00Z',
      ...(fullSize ? { annotations: ANNOTATIONS, managedFields: MANAGED_FIELDS, ownerReferences: OWNER } : {}),
    },
    spec: { nodeName, containers: containers(pod.app, fullSize), ...(fullSize ? REST_OF_SPEC : {}) },
  });
  const rest = { hostIP: NODE_ADDRESS, conditions: CONDITIONS, containerStatuses: CONTAINER_STATUSES };
  return { ...written, status: { ...runningStatus(address), ...(fullSize ? rest : {}) } };
}

function containers(name: string, fullSize: boolean): object[] {
  const ports = [
    { name: 'http', containerPort: 8080, protocol: 'TCP' },
    { name: 'metrics', containerPort: 9090, protocol: 'TCP' },
  ];
  return [{ name, image: `registry.example/${name}:1.0.0`, ports, ...(fullSize ? REST_OF_CONTAINER : {}) }];
}

const ANNOTATIONS = {
  'kubectl.kubernetes.io/restartedAt': '2026-01-01T00:00:00Z',
  'checksum/config': '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08',
  'prometheus.io/scrape': 'true',
};
const OWNER = [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'web-7d9f8c6b5', uid: '6a1f', controller: true }];
const owned = (...paths: readonly string[]): object => Object.fromEntries(paths.map((path) => [`f:${path}`, {}]));
const MANAGED_FIELDS = [
  {
    manager: 'kube-controller-manager',
    operation: 'Update',
    apiVersion: 'v1',
    time: '2026-01-01T00:00:00Z',
    fieldsType: 'FieldsV1',
    fieldsV1: {
      'f:metadata': { 'f:annotations': owned('.', ...Object.keys(ANNOTATIONS)), 'f:labels': owned('.', 'app', 'tier') },
      'f:spec': {
        'f:containers': {
          'k:{"name":"web"}': owned(
            '.',
            'env',
            'image',
            'imagePullPolicy',
            'livenessProbe',
            'name',
            'ports',
            'resources',
          ),
        },
        ...owned('dnsPolicy', 'enableServiceLinks', 'restartPolicy', 'schedulerName', 'securityContext', 'volumes'),
      },
    },
  },
  {
    manager: 'kubelet',
    operation: 'Update',
    apiVersion: 'v1',
    time: '2026-01-01T00:00:05Z',
    fieldsType: 'FieldsV1',
    fieldsV1: {
      'f:status': owned('conditions', 'containerStatuses', 'hostIP', 'phase', 'podIP', 'podIPs', 'startTime'),
    },
    subresource: 'status',
  },
];
const PROBE = { httpGet: { path: '/healthz', port: 'http', scheme: 'HTTP' }, timeoutSeconds: 1, periodSeconds: 10 };
const REST_OF_CONTAINER = {
  env: Array.from({ length: 12 }, (_, index) => ({
    name: `SETTING_${index}`,
    value: `value of setting number ${index}`,
  })),
  resources: { requests: { cpu: '100m', memory: '128Mi' }, limits: { memory: '256Mi' } },
  volumeMounts: [
    { name: 'config', mountPath: '/etc/app' },
    { name: 'kube-api-access', readOnly: true, mountPath: '/var/run/secrets/kubernetes.io/serviceaccount' },
  ],
  livenessProbe: PROBE,
  readinessProbe: PROBE,
  terminationMessagePath: '/dev/termination-log',
  imagePullPolicy: 'IfNotPresent',
};
const REST_OF_SPEC = {
  volumes: [
    { name: 'config', configMap: { name: 'app', defaultMode: 420 } },
    {
      name: 'kube-api-access',
      projected: { sources: [{ serviceAccountToken: { expirationSeconds: 3607, path: 'token' } }], defaultMode: 420 },
    },
  ],
  restartPolicy: 'Always',
  terminationGracePeriodSeconds: 30,
  dnsPolicy: 'ClusterFirst',
  serviceAccountName: 'default',
  tolerations: ['not-ready', 'unreachable'].map((key) => ({
    key: `node.kubernetes.io/${key}`,
    operator: 'Exists',
    effect: 'NoExecute',
    tolerationSeconds: 300,
  })),
};
const CONDITIONS = ['PodReadyToStartContainers', 'Initialized', 'Ready', 'ContainersReady', 'PodScheduled'].map(
  (type) => ({
    type,
    status: 'True',
    lastProbeTime: null,
    lastTransitionTime: '2026-01-01T00:00:05Z',
  }),
);
const CONTAINER_STATUSES = [
  {
    name: 'app',
    state: { running: { startedAt: '2026-01-01T00:00:04Z' } },
    ready: true,
    restartCount: 0,
    image: 'registry.example/app:1.0.0',
    imageID: 'registry.example/app@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08',
    containerID: 'containerd://9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08',
    started: true,
  },
];
