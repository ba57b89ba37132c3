import assert from 'node:assert/strict';
import type { ManifestObject } from '../../src/cluster/read-manifests.ts';
import { inventoryOf } from '../../src/cluster/inventory.ts';
import { podOwners } from '../../src/cluster/pod-owners.ts';
import { parseCidr } from '../../src/net/cidr.ts';

const owners = (...objects: readonly object[]): Record<string, string> => {
  const given = objects.map((object): ManifestObject => ({ object, file: 'test', line: 1 }));
  const inventory = inventoryOf(given, { defaultNamespace: 'default', podCidr: parseCidr('198.18.0.0/15')! });
  return Object.fromEntries(
    [...podOwners(inventory)].map(([pod, { kind, namespace, name }]) => [pod, `${kind} ${namespace}/${name}`]),
  );
};

const pod = (name: string, labels: Record<string, string>, owner?: readonly [kind: string, name: string]): object => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    namespace: 'shop',
    name,
    labels,
    ...(owner ? { ownerReferences: [{ kind: owner[0], name: owner[1], controller: true }] } : {}),
  },
  spec: { containers: [] },
});

const deployment = (name: string, labels: Record<string, string>): object => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { namespace: 'shop', name },
  spec: { selector: { matchLabels: labels }, template: { metadata: { labels }, spec: { containers: [] } } },
});

describe('podOwners', () => {
  it('names the workload whose selector has the pod, and pods that do not exist yet', () => {
    assert.deepEqual(owners(deployment('web', { app: 'web' }), pod('web-1', { app: 'web', x: 'y' })), {
      'shop/web-1': 'Deployment shop/web',
    });
    assert.deepEqual(owners(deployment('web', { app: 'web' })), { 'shop/web': 'Deployment shop/web' });
  });

  it('prefers what people write to what controllers make of it', () => {
    const set = { ...deployment('web-5f', { app: 'web' }), kind: 'ReplicaSet' };
    assert.deepEqual(owners(set, deployment('web', { app: 'web' }), pod('web-1', { app: 'web' })), {
      'shop/web-1': 'Deployment shop/web',
    });
  });

  it('asks the pod for its controller where the workload is not given', () => {
    const hashed = { app: 'web', 'pod-template-hash': '5f' };
    assert.deepEqual(
      owners(
        pod('a', hashed, ['ReplicaSet', 'web-5f']),
        pod('b', { app: 'b' }, ['ReplicaSet', 'b-5f']),
        pod('c', {}, ['Job', 'c']),
      ),
      { 'shop/a': 'Deployment shop/web', 'shop/b': 'ReplicaSet shop/b-5f', 'shop/c': 'Job shop/c' },
    );
  });

  it('takes pods with the same labels together, named by those that tell them apart', () => {
    const labels = (app: string, index: string) => ({ app, part: 'x', 'apps.kubernetes.io/pod-index': index });
    assert.deepEqual(owners(pod('a-0', labels('a', '0')), pod('a-1', labels('a', '1')), pod('b-0', labels('b', '0'))), {
      'shop/a-0': 'Pods shop/app=a',
      'shop/a-1': 'Pods shop/app=a',
      'shop/b-0': 'Pod shop/b-0',
    });
    assert.deepEqual(owners(pod('a', {}), pod('b', {})), { 'shop/a': 'Pod shop/a', 'shop/b': 'Pod shop/b' });
  });
});
