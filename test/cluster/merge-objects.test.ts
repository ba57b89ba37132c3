import assert from 'node:assert/strict';
import type { ManifestObject } from '../../src/cluster/read-manifests.ts';
import { mergeObjects, type Way } from '../../src/cluster/merge-objects.ts';

const object = (kind: string, name: string, namespace?: string, mark?: string): ManifestObject => {
  const apiVersion = kind === 'NetworkPolicy' ? 'networking.k8s.io/v1' : 'v1';
  return { object: { apiVersion, kind, metadata: { name, namespace, mark } }, file: 'test', line: 1 };
};

const merged = (before: readonly ManifestObject[], after: readonly ManifestObject[], way: Way): string[] =>
  mergeObjects(before, after, way, 'default').map(({ object: each }) => {
    const { kind, metadata } = each as { kind: string; metadata: Record<string, string> };
    return [kind, metadata.namespace, metadata.name, metadata.mark].filter((part) => part !== undefined).join(' ');
  });

describe('mergeObjects', () => {
  const before = [
    object('Namespace', 'a'),
    object('Pod', 'p', 'a'),
    object('NetworkPolicy', 'one', 'a'),
    object('NetworkPolicy', 'two', 'a'),
    object('NetworkPolicy', 'one', 'b'),
  ];
  const after = [object('NetworkPolicy', 'one', 'a', 'new')];

  it('apply: puts what is new in the place of what has its name', () => {
    assert.deepEqual(merged(before, after, 'apply'), [
      ...['Namespace a', 'Pod a p', 'NetworkPolicy a two', 'NetworkPolicy b one'],
      'NetworkPolicy a one new',
    ]);
  });

  it('prune: other policies of the same namespaces go', () => {
    assert.deepEqual(merged(before, after, 'prune'), [
      ...['Namespace a', 'Pod a p', 'NetworkPolicy b one'],
      'NetworkPolicy a one new',
    ]);
  });

  it('whole: nothing else is left', () => {
    assert.deepEqual(merged(before, after, 'whole'), ['NetworkPolicy a one new']);
  });

  it('knows an object by kind, namespace and name, whatever the version; without a namespace it is in the one given', () => {
    const old = [
      {
        ...object('NetworkPolicy', 'x'),
        object: { apiVersion: 'networking.k8s.io/v1beta1', kind: 'NetworkPolicy', metadata: { name: 'x' } },
      },
    ];
    assert.deepEqual(merged(old, [object('NetworkPolicy', 'x', 'default', 'new')], 'apply'), [
      'NetworkPolicy default x new',
    ]);
    assert.equal(merged([object('Pod', 'x', 'a')], [object('Service', 'x', 'a')], 'apply').length, 2);
    assert.equal(merged([object('Pod', 'x', 'a')], [object('Pod', 'x', 'b')], 'apply').length, 2);
  });
});
