import assert from 'node:assert/strict';
import type {
  DaemonSetObject,
  NodeObject,
  PodObject,
  ReplicatedObject,
  ServiceObject,
} from '../../../lab/api/objects.ts';
import { desiredEndpoints, desiredSlices } from '../../../lab/controllers/plan-endpoints.ts';
import {
  planDaemonSet,
  planDeployment,
  planReplicaSet,
  planStatefulSet,
} from '../../../lab/controllers/plan-workloads.ts';
import { shortHash, templateHash, withCondition } from '../../../lab/controllers/pod-state.ts';
import { chooseNode } from '../../../lab/controllers/scheduler.ts';
import type { Any } from '../api/client.ts';

const READY = [{ type: 'Ready', status: 'True' }];

interface PodFields {
  readonly ready?: boolean;
  readonly node?: string;
  readonly labels?: object;
  readonly ips?: readonly string[];
  readonly metadata?: object;
  readonly status?: object;
  readonly spec?: object;
}

function pod(name: string, fields: PodFields = {}): PodObject {
  const { ready = true, node = 'n1', labels = { app: 'x' }, ips = [] } = fields;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace: 'ns',
      uid: name,
      resourceVersion: '1',
      creationTimestamp: '2026-01-01T00:00:00Z',
      labels,
      ...fields.metadata,
    },
    spec: { containers: [{ name: 'c' }], ...(node === '' ? {} : { nodeName: node }), ...fields.spec },
    status: {
      phase: 'Running',
      podIPs: ips.map((ip) => ({ ip })),
      ...(ready ? { conditions: READY } : {}),
      ...fields.status,
    },
  } as unknown as PodObject;
}

const TEMPLATE = { metadata: { labels: { app: 'x' } }, spec: { containers: [{ name: 'c', image: 'i' }] } };

function workload(kind: string, spec: object, metadata: object = {}, status: object = {}): ReplicatedObject {
  return {
    apiVersion: 'apps/v1',
    kind,
    metadata: {
      name: 'w',
      namespace: 'ns',
      uid: 'u',
      resourceVersion: '1',
      creationTimestamp: '',
      generation: 3,
      ...metadata,
    },
    spec: { selector: { matchLabels: { app: 'x' } }, template: TEMPLATE, ...spec },
    status,
  } as unknown as ReplicatedObject;
}

const node = (name: string, spec: object = {}, labels: object = {}): NodeObject =>
  ({ apiVersion: 'v1', kind: 'Node', metadata: { name, labels }, spec }) as unknown as NodeObject;

const names = (objects: readonly { metadata: { name: string } }[]): string =>
  objects.map(({ metadata }) => metadata.name).join();

describe('ReplicaSet plan', () => {
  it('makes missing pods with owner, labels and a generated name', () => {
    const plan = planReplicaSet(workload('ReplicaSet', { replicas: 3 }), [pod('a')]);
    assert.equal(plan.create.length, 2);
    const [made] = plan.create as Any[];
    assert.equal(made.metadata.generateName, 'w-');
    assert.deepEqual(made.metadata.labels, { app: 'x' });
    assert.deepEqual(made.metadata.ownerReferences[0], {
      apiVersion: 'apps/v1',
      kind: 'ReplicaSet',
      name: 'w',
      uid: 'u',
      controller: true,
      blockOwnerDeletion: true,
    });
  });

  it('takes away pods without node first, then unready, then young ones', () => {
    const pods = [
      pod('old'),
      pod('young', { metadata: { creationTimestamp: '2026-02-01T00:00:00Z' } }),
      pod('unready', { ready: false }),
      pod('nowhere', { node: '', ready: false }),
    ];
    assert.equal(names(planReplicaSet(workload('ReplicaSet', { replicas: 1 }), pods).remove), 'nowhere,unready,young');
    assert.equal(names(planReplicaSet(workload('ReplicaSet', { replicas: 3 }), pods).remove), 'nowhere');
  });

  it('does not count terminating and finished pods', () => {
    const pods = [
      pod('going', { metadata: { deletionTimestamp: 'x' } }),
      pod('failed', { status: { phase: 'Failed' } }),
    ];
    const plan = planReplicaSet(workload('ReplicaSet', { replicas: 1 }), pods);
    assert.deepEqual([plan.create.length, plan.remove.length, (plan.status as Any).replicas], [1, 0, 0]);
  });
});

describe('Deployment plan', () => {
  const hash = templateHash(TEMPLATE);
  const set = (suffix: string, replicas: number, ready: number, revision: number): ReplicatedObject =>
    workload(
      'ReplicaSet',
      { replicas },
      {
        name: `w-${suffix}`,
        labels: { 'pod-template-hash': suffix },
        annotations: { 'deployment.kubernetes.io/revision': String(revision) },
      },
      { replicas, readyReplicas: ready },
    );
  const scales = (plan: ReturnType<typeof planDeployment>): string =>
    plan.scale.map((step) => `${step.set.metadata.name}=${step.replicas}`).join();

  it('makes a set named after the template, whose pods carry the hash', () => {
    const plan = planDeployment(workload('Deployment', { replicas: 2 }), [], 'now');
    const made = plan.create as Any;
    assert.equal(made.metadata.name, `w-${hash}`);
    assert.equal(made.spec.replicas, 2);
    assert.deepEqual(made.spec.selector.matchLabels, { app: 'x', 'pod-template-hash': hash });
    assert.deepEqual(made.spec.template.metadata.labels, { app: 'x', 'pod-template-hash': hash });
    assert.equal(made.metadata.annotations['deployment.kubernetes.io/revision'], '1');
  });

  it('lets old pods go as new ones become ready', () => {
    const deployment = workload('Deployment', { replicas: 3 });
    assert.equal(scales(planDeployment(deployment, [set(hash, 3, 0, 2), set('old', 3, 3, 1)], 'now')), '');
    assert.equal(scales(planDeployment(deployment, [set(hash, 3, 2, 2), set('old', 3, 3, 1)], 'now')), 'w-old=1');
    assert.equal(scales(planDeployment(deployment, [set(hash, 3, 3, 2), set('old', 1, 1, 1)], 'now')), 'w-old=0');
  });

  it('recreates only when all old pods are gone', () => {
    const deployment = workload('Deployment', { replicas: 2, strategy: { type: 'Recreate' } });
    const first = planDeployment(deployment, [set('old', 2, 2, 1)], 'now');
    assert.deepEqual([(first.create as Any).spec.replicas, scales(first)], [0, 'w-old=0']);
    assert.equal(scales(planDeployment(deployment, [set(hash, 0, 0, 2), set('old', 0, 0, 1)], 'now')), `w-${hash}=2`);
  });

  it('gives an old template that comes back the next revision', () => {
    const plan = planDeployment(
      workload('Deployment', { replicas: 1 }),
      [set(hash, 0, 0, 1), set('newer', 1, 1, 2)],
      'now',
    );
    assert.deepEqual([plan.revision, plan.current?.metadata.name], [3, `w-${hash}`]);
  });

  it('is available when enough pods are ready', () => {
    const status = (ready: number): Any =>
      planDeployment(workload('Deployment', { replicas: 2 }), [set(hash, 2, ready, 1)], 'now').status;
    const available = (ready: number): string =>
      status(ready).conditions.find((c: Any) => c.type === 'Available').status;
    assert.deepEqual([available(1), available(2), status(1).observedGeneration], ['False', 'True', 3]);
  });
});

describe('DaemonSet plan', () => {
  const daemonSet = (spec: object = {}): DaemonSetObject => workload('DaemonSet', spec) as unknown as DaemonSetObject;
  const current = { 'controller-revision-hash': templateHash(TEMPLATE) };

  it('puts one pod on each node that fits', () => {
    const template = { ...TEMPLATE, spec: { ...TEMPLATE.spec, nodeSelector: { disk: 'ssd' } } };
    const nodes = [node('n1', {}, { disk: 'ssd' }), node('n2', {}, { disk: 'ssd' }), node('n3')];
    const plan = planDaemonSet(daemonSet({ template }), [pod('a')], nodes);
    assert.deepEqual(
      (plan.create as Any[]).map((made) => made.spec.nodeName),
      ['n2'],
    );
  });

  it('takes pods off nodes that are gone or have two', () => {
    const pods = [
      pod('a', { labels: current }),
      pod('b', { labels: current }),
      pod('c', { node: 'gone', labels: current }),
    ];
    assert.equal(names(planDaemonSet(daemonSet(), pods, [node('n1')]).remove), 'a,c');
  });

  it('replaces outdated pods one node at a time', () => {
    const pods = [pod('a', { node: 'n1' }), pod('b', { node: 'n2' })];
    const nodes = [node('n1'), node('n2')];
    assert.equal(names(planDaemonSet(daemonSet(), pods, nodes).remove), 'b');
    const unready = [pods[0]!, pod('b', { node: 'n2', ready: false, labels: current })];
    assert.equal(names(planDaemonSet(daemonSet(), unready, nodes).remove), '', 'waits for the new pod');
    assert.equal(names(planDaemonSet(daemonSet({ updateStrategy: { type: 'OnDelete' } }), pods, nodes).remove), '');
  });
});

describe('StatefulSet plan', () => {
  const made = (spec: object, pods: readonly PodObject[]): string =>
    names(planStatefulSet(workload('StatefulSet', spec), pods).create as Any[]);
  const labels = { 'controller-revision-hash': templateHash(TEMPLATE) };

  it('makes pods in order, each when those before it are ready', () => {
    assert.equal(made({ replicas: 3 }, []), 'w-0');
    assert.equal(made({ replicas: 3 }, [pod('w-0', { ready: false })]), '');
    assert.equal(made({ replicas: 3 }, [pod('w-0')]), 'w-1');
    assert.equal(made({ replicas: 3, podManagementPolicy: 'Parallel' }, [pod('w-1')]), 'w-0,w-2');
  });

  it('takes the last one first, and outdated pods from the end', () => {
    const pods = ['w-0', 'w-1', 'w-2'].map((name) => pod(name, { labels }));
    assert.equal(names(planStatefulSet(workload('StatefulSet', { replicas: 1 }), pods).remove), 'w-2');
    const outdated = ['w-0', 'w-1'].map((name) => pod(name));
    assert.equal(names(planStatefulSet(workload('StatefulSet', { replicas: 2 }), outdated).remove), 'w-1');
  });
});

describe('scheduling', () => {
  it('takes the usable nodes in turn', () => {
    const nodes = [
      node('n1'),
      node('n2', { unschedulable: true }),
      node('n3'),
      node('n4', { taints: [{ effect: 'NoSchedule' }] }),
    ];
    assert.deepEqual(
      [0, 1, 2].map((turn) => chooseNode(pod('p'), nodes, turn)),
      ['n1', 'n3', 'n1'],
    );
  });

  it('honours nodeSelector, also by host name, and finds nothing where nothing fits', () => {
    const choose = (nodeSelector: object) =>
      chooseNode(pod('p', { spec: { nodeSelector } }), [node('n1'), node('n2', {}, { a: 'b' })], 0);
    assert.deepEqual(
      [choose({ 'kubernetes.io/hostname': 'n2' }), choose({ a: 'b' }), choose({ a: 'c' })],
      ['n2', 'n2', undefined],
    );
  });
});

describe('endpoints plan', () => {
  const service = (spec: object): ServiceObject =>
    ({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 's', namespace: 'ns', uid: 's' },
      spec: {
        selector: { app: 'x' },
        ports: [{ name: 'web', port: 80, targetPort: 'http', protocol: 'TCP' }],
        ...spec,
      },
    }) as unknown as ServiceObject;
  const serving = (name: string, ip: string, containerPort: number, fields: PodFields = {}): PodObject =>
    pod(name, {
      ips: [ip],
      spec: { containers: [{ name: 'c', ports: [{ name: 'http', containerPort }] }] },
      ...fields,
    });

  it('keeps pods with different numbers for a name in different slices', () => {
    const slices = desiredSlices(service({}), [
      serving('a', '203.0.113.1', 80),
      serving('b', '203.0.113.2', 8080),
      serving('c', '203.0.113.3', 80),
    ]);
    assert.deepEqual(
      slices.map((slice) => [slice.ports?.[0]?.port, slice.endpoints?.map((endpoint) => endpoint.addresses[0]).join()]),
      [
        [80, '203.0.113.1,203.0.113.3'],
        [8080, '203.0.113.2'],
      ],
    );
    assert.equal(new Set(slices.map((slice) => slice.metadata.name)).size, 2);
  });

  it('leaves out unselected, finished and addressless pods, and marks unready and terminating ones', () => {
    const pods = [
      serving('other', '203.0.113.1', 80, { labels: {} }),
      serving('done', '203.0.113.2', 80, { status: { phase: 'Succeeded', podIP: '203.0.113.2' } }),
      pod('no-address'),
      serving('unready', '203.0.113.3', 80, { ready: false }),
      serving('going', '203.0.113.4', 80, { metadata: { deletionTimestamp: 'x' } }),
    ];
    const conditions = (spec: object) =>
      desiredSlices(service(spec), pods).flatMap((slice) =>
        (slice.endpoints ?? []).map(({ targetRef, conditions: { ready, serving: serves, terminating } }) => [
          targetRef?.name,
          ready,
          serves,
          terminating,
        ]),
      );
    assert.deepEqual(conditions({}), [
      ['going', false, true, true],
      ['unready', false, false, false],
    ]);
    assert.deepEqual(conditions({ publishNotReadyAddresses: true })[1], ['unready', true, false, false]);
    const { subsets } = desiredEndpoints(service({}), pods);
    assert.deepEqual(
      subsets?.[0]?.notReadyAddresses?.map(({ ip }) => ip),
      ['203.0.113.3'],
    );
  });

  it('makes slices of each family, at most 100 endpoints each, and one empty slice without pods', () => {
    const pods = Array.from({ length: 101 }, (_, index) =>
      pod(`p${index}`, { ips: [`203.0.113.${index}`, `2001:db8::${index.toString(16)}`] }),
    );
    const dual = service({ ipFamilies: ['IPv6', 'IPv4'], ports: [{ port: 80, targetPort: 8080 }] });
    assert.deepEqual(
      desiredSlices(dual, pods).map((slice) => [slice.addressType, slice.endpoints?.length]),
      [
        ['IPv6', 100],
        ['IPv6', 1],
        ['IPv4', 100],
        ['IPv4', 1],
      ],
    );
    assert.deepEqual(
      desiredSlices(service({}), []).map((slice) => slice.endpoints),
      [[]],
    );
    assert.deepEqual(desiredEndpoints(dual, pods).subsets?.[0]?.addresses?.[0]?.ip, '2001:db8::0');
  });

  it('leaves out a named port that a pod declares for another protocol', () => {
    const udp = pod('a', {
      ips: ['203.0.113.1'],
      spec: { containers: [{ name: 'c', ports: [{ name: 'http', containerPort: 80, protocol: 'UDP' }] }] },
    });
    assert.deepEqual(desiredSlices(service({}), [udp])[0]?.ports, []);
  });
});

describe('helpers', () => {
  it('hash the same for equal values in any order of fields', () => {
    assert.equal(shortHash({ a: 1, b: [{ c: 2, d: undefined }] }, 8), shortHash({ b: [{ c: 2 }], a: 1 }, 8));
    assert.notEqual(shortHash({ a: [1, 2] }, 8), shortHash({ a: [2, 1] }, 8));
  });

  it('move a condition time only when its status changes', () => {
    const first = withCondition([], { type: 'A', status: 'True', reason: 'x' }, 't1');
    const same = withCondition(first, { type: 'A', status: 'True', reason: 'y' }, 't2');
    assert.deepEqual(same, [
      { type: 'A', status: 'True', reason: 'y', lastUpdateTime: 't2', lastTransitionTime: 't1' },
    ]);
    const other = withCondition(same, { type: 'A', status: 'False', reason: 'y' }, 't3');
    assert.equal(other[0]?.lastTransitionTime, 't3');
  });
});
