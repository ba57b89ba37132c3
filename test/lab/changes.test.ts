import assert from 'node:assert/strict';
import type { ResourceName } from '../../lab/api/objects.ts';
import type { StoredEvent } from '../../lab/api/storage.ts';
import { concernsPackets, describeChange } from '../../lab/changes.ts';

function event(type: StoredEvent['type'], now: object, before?: object, kind = 'Pod'): StoredEvent {
  const object = (metadata: object): object => ({ kind, metadata: { namespace: 'x', name: 'a', ...metadata } });
  const previous = before === undefined ? {} : { previous: object(before) };
  return { type, version: 1, object: object(now), ...previous } as unknown as StoredEvent;
}

const updated = (before: object, now: object, resource: ResourceName = 'pods'): string | undefined =>
  describeChange(resource, event('MODIFIED', now, before));

describe('describeChange', () => {
  it('names what came and went', () => {
    assert.equal(describeChange('pods', event('ADDED', {})), 'created Pod x/a');
    assert.equal(
      describeChange('networkpolicies', event('DELETED', {}, {}, 'NetworkPolicy')),
      'deleted NetworkPolicy x/a',
    );
    const namespace = event('ADDED', { namespace: undefined }, undefined, 'Namespace');
    assert.equal(describeChange('namespaces', namespace), 'created Namespace a');
  });

  it('says which labels and annotations changed', () => {
    const [before, now] = [{ labels: { a: '1', b: '2', c: '3' } }, { labels: { a: '1', b: '4', d: '5' } }];
    assert.equal(updated(before, now), 'labels of Pod x/a: +b=4 -c +d=5');
    const audit = { annotations: { 'portcullis.dev/mode': 'audit', 'kubectl.kubernetes.io/note': 'x' } };
    assert.equal(updated({}, audit, 'nodes'), 'annotations of Pod x/a: +portcullis.dev/mode=audit');
  });

  it('tells a change of the spec from the bookkeeping of controllers', () => {
    assert.equal(updated({ generation: 1 }, { generation: 2 }, 'deployments'), 'changed Pod x/a');
    assert.equal(updated({ generation: 1 }, { generation: 1, resourceVersion: '7' }), undefined);
    assert.equal(updated({}, { annotations: { 'deployment.kubernetes.io/revision': '1' } }, 'deployments'), undefined);
  });

  it('is silent about kinds that only machines write', () => {
    for (const resource of ['endpointslices', 'events', 'leases', 'replicasets'] as const) {
      assert.equal(describeChange(resource, event('ADDED', {})), undefined);
    }
  });
});

describe('concernsPackets', () => {
  it('holds for what an agent watches', () => {
    const all: readonly ResourceName[] = [
      'namespaces',
      'pods',
      'networkpolicies',
      'clusternetworkpolicies',
      'nodes',
      'services',
      'deployments',
    ];
    assert.deepEqual(all.filter(concernsPackets), all.slice(0, 5));
  });
});
