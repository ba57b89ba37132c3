import assert from 'node:assert/strict';
import type { DaemonSetObject, NodeObject, PodObject, ReplicatedObject } from '../../lab/api/objects.ts';
import { type SettledInput, settledState } from '../../lab/settled.ts';

const NODES = ['node-1', 'node-2'];

function pod(name: string, fields: { spec?: object; status?: object; metadata?: object } = {}): PodObject {
  return {
    metadata: { namespace: 'x', name, uid: name, ...fields.metadata },
    spec: { containers: [], nodeName: 'node-1', ...fields.spec },
    status: { phase: 'Pending', ...fields.status },
  } as unknown as PodObject;
}

const UNSCHEDULABLE = { conditions: [{ type: 'PodScheduled', status: 'False' }] };

function workload(kind: string, name: string, spec: object, status: object, metadata: object = {}) {
  return { kind, metadata: { namespace: 'x', name, uid: name, generation: 1, ...metadata }, spec, status } as unknown;
}

function state(input: Partial<SettledInput>) {
  const nodes = NODES.map((name) => ({ metadata: { name, labels: { disk: name } } }) as unknown as NodeObject);
  const nothing = { pods: [], replicated: [], daemonSets: [], failures: new Map<string, string>() };
  return settledState({ ...nothing, nodes, nodeNames: NODES, ...input });
}

describe('settledState', () => {
  it('waits for pods that have a node and do not run yet', () => {
    const pods = [
      pod('new'),
      pod('unplaced', { spec: { nodeName: undefined } }),
      pod('runs', { status: { phase: 'Running' } }),
      pod('done', { status: { phase: 'Succeeded' } }),
      pod('leaves', { metadata: { deletionTimestamp: 'now' } }),
    ];
    assert.deepEqual(state({ pods }), { waiting: ['pod x/new', 'pod x/unplaced'], stuck: [] });
  });

  it('names pods for a node that is not there', () => {
    const { waiting, stuck } = state({ pods: [pod('a', { spec: { nodeName: 'worker-7' } })] });
    assert.deepEqual(waiting, []);
    assert.deepEqual(stuck, ['pod x/a: spec.nodeName: no node "worker-7" in this lab, only node-1, node-2']);
  });

  it('names pods whose nodeSelector fits no node, and says what to do', () => {
    const spec = { nodeName: undefined, nodeSelector: { disk: 'ssd' } };
    const { stuck } = state({ pods: [pod('a', { spec, status: UNSCHEDULABLE })] });
    assert.match(stuck[0]!, /^pod x\/a: spec\.nodeSelector: disk=ssd matches none of node-1, node-2; .*kind Node/);
  });

  it('tells a selector that fits, but only unusable nodes, from one that does not', () => {
    const spec = { nodeName: undefined, nodeSelector: { disk: 'node-2' } };
    const { stuck } = state({ pods: [pod('a', { spec, status: UNSCHEDULABLE })] });
    assert.match(stuck[0]!, /tainted, unschedulable or not ready/);
  });

  it('hands on why the kubelet gave up', () => {
    const failures = new Map([['x/a', 'addresses: 10.0.0.1 is held by pod/x/b']]);
    assert.deepEqual(state({ pods: [pod('a')], failures }).stuck, ['pod x/a: addresses: 10.0.0.1 is held by pod/x/b']);
  });

  it('waits for workloads until all their pods are ready', () => {
    const complete = { observedGeneration: 1, replicas: 2, readyReplicas: 2, updatedReplicas: 2 };
    const replicated = [
      workload('Deployment', 'done', { replicas: 2 }, complete),
      workload('Deployment', 'unseen', { replicas: 2 }, { ...complete, observedGeneration: 0 }),
      workload('ReplicaSet', 'few', { replicas: 2 }, { ...complete, replicas: 1 }),
      workload('StatefulSet', 'surplus', {}, complete),
      workload('Deployment', 'old', { replicas: 2 }, { ...complete, updatedReplicas: 1 }),
      workload('Deployment', 'new', {}, undefined as unknown as object),
    ] as ReplicatedObject[];
    const daemonSets = [
      workload('DaemonSet', 'everywhere', {}, { observedGeneration: 1, numberReady: 2, desiredNumberScheduled: 2 }),
      workload('DaemonSet', 'partly', {}, { observedGeneration: 1, numberReady: 1, desiredNumberScheduled: 2 }),
    ] as DaemonSetObject[];
    assert.deepEqual(state({ replicated, daemonSets }).waiting, [
      'Deployment x/unseen',
      'ReplicaSet x/few',
      'StatefulSet x/surplus',
      'Deployment x/old',
      'Deployment x/new',
      'DaemonSet x/partly',
    ]);
  });

  it('does not wait for a workload whose pods are stuck', () => {
    const owned = { ownerReferences: [{ uid: 'set', controller: true }] };
    const set = workload('ReplicaSet', 'set', {}, {}, { ownerReferences: [{ uid: 'deployment', controller: true }] });
    const replicated = [workload('Deployment', 'deployment', {}, {}), set] as ReplicatedObject[];
    const { waiting, stuck } = state({
      pods: [pod('a', { spec: { nodeName: 'gone' }, metadata: owned })],
      replicated,
    });
    assert.deepEqual([waiting, stuck.length], [[], 1]);
  });
});
