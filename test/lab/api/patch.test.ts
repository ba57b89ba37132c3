import assert from 'node:assert/strict';
import { freezeJson } from '../../../lab/api/json.ts';
import { applyMerge, jsonPatch, mergePatch, strategicPatch } from '../../../lab/api/patch.ts';
import { SCHEMAS } from '../../../lab/api/schemas.ts';
import type { Any } from './client.ts';

const POD = freezeJson({
  metadata: { name: 'p', labels: { a: '1', b: '2' }, finalizers: ['x'] },
  spec: {
    containers: [
      { name: 'one', image: 'i:1', ports: [{ containerPort: 80 }], env: [{ name: 'A', value: '1' }] },
      { name: 'two', image: 'j:1' },
    ],
    tolerations: [{ key: 'k' }],
  },
});

describe('strategic merge patch', () => {
  const patch = (value: object): Any => strategicPatch(POD, value as Record<string, unknown>, SCHEMAS.pods);

  it('merges containers by name and their ports and env by their keys', () => {
    const containers = [{ name: 'one', ports: [{ containerPort: 81 }], env: [{ name: 'A', value: '2' }] }];
    const result = patch({ spec: { containers } });
    assert.deepEqual(result.spec.containers[0], {
      name: 'one',
      image: 'i:1',
      ports: [{ containerPort: 80 }, { containerPort: 81 }],
      env: [{ name: 'A', value: '2' }],
    });
    assert.equal(result.spec.containers.length, 2);
    assert.equal(POD.spec.containers[0]?.env?.[0]?.value, '1', 'the argument stays as it was');
  });

  it('obeys $patch delete and replace', () => {
    assert.deepEqual(
      patch({ spec: { containers: [{ name: 'one', $patch: 'delete' }] } }).spec.containers.map((c: Any) => c.name),
      ['two'],
    );
    assert.deepEqual(patch({ spec: { containers: [{ $patch: 'replace' }, { name: 'three' }] } }).spec.containers, [
      { name: 'three' },
    ]);
    assert.deepEqual(patch({ metadata: { labels: { $patch: 'replace', c: '3' } } }).metadata.labels, { c: '3' });
  });

  it('removes with null, replaces lists without a key, merges sets, deletes from sets', () => {
    assert.deepEqual(patch({ metadata: { labels: { a: null } } }).metadata.labels, { b: '2' });
    assert.deepEqual(patch({ spec: { tolerations: [{ key: 'l' }] } }).spec.tolerations, [{ key: 'l' }]);
    assert.deepEqual(patch({ metadata: { finalizers: ['y', 'x'] } }).metadata.finalizers, ['x', 'y']);
    assert.deepEqual(patch({ metadata: { '$deleteFromPrimitiveList/finalizers': ['x'] } }).metadata.finalizers, []);
  });

  it('puts lists in the order asked for and keeps only retained keys', () => {
    const ordered = patch({ spec: { '$setElementOrder/containers': [{ name: 'two' }, { name: 'one' }] } });
    assert.deepEqual(
      ordered.spec.containers.map((c: Any) => c.name),
      ['two', 'one'],
    );
    assert.deepEqual(patch({ metadata: { $retainKeys: ['name'], name: 'p' } }).metadata, { name: 'p' });
  });

  it('treats every list of a NetworkPolicy as one value', () => {
    const before = { spec: { ingress: [{ ports: [{ port: 80 }] }], policyTypes: ['Ingress'] } };
    const result: Any = strategicPatch(
      before,
      { spec: { ingress: [{ ports: [{ port: 81 }] }] } },
      SCHEMAS.networkpolicies,
    );
    assert.deepEqual(result.spec, { ingress: [{ ports: [{ port: 81 }] }], policyTypes: ['Ingress'] });
  });

  it('refuses list items without their merge key', () => {
    assert.throws(() => patch({ spec: { containers: [{ image: 'x' }] } }), /merge key "name"/);
  });
});

describe('JSON patch', () => {
  it('adds, removes, replaces, moves, copies and tests', () => {
    const result = jsonPatch({ a: { b: [1, 2] }, 'x/y': 1 }, [
      { op: 'test', path: '/a/b/0', value: 1 },
      { op: 'add', path: '/a/b/1', value: 9 },
      { op: 'add', path: '/a/b/-', value: 3 },
      { op: 'remove', path: '/a/b/0' },
      { op: 'replace', path: '/x~1y', value: 2 },
      { op: 'copy', from: '/a/b', path: '/c' },
      { op: 'move', from: '/a', path: '/d' },
    ]);
    assert.deepEqual(result, { 'x/y': 2, c: [9, 2, 3], d: { b: [9, 2, 3] } });
  });

  for (const [why, operation] of [
    ['a failed test', { op: 'test', path: '/a', value: 2 }],
    ['a missing target', { op: 'remove', path: '/b' }],
    ['a position outside of the list', { op: 'add', path: '/l/5', value: 1 }],
    ['the prototype', { op: 'add', path: '/__proto__/polluted', value: 1 }],
  ] as const) {
    it(`refuses ${why} with 422`, () => {
      assert.throws(() => jsonPatch({ a: 1, l: [] }, [operation]), { code: 422 });
    });
  }
});

describe('JSON merge patch', () => {
  it('follows the example of RFC 7386', () => {
    const before = {
      title: 'Goodbye!',
      author: { givenName: 'John', familyName: 'Doe' },
      tags: ['example', 'sample'],
      content: 'x',
    };
    const patch = { title: 'Hello!', phoneNumber: '1', author: { familyName: null }, tags: ['example'] };
    assert.deepEqual(mergePatch(before, patch), {
      title: 'Hello!',
      author: { givenName: 'John' },
      tags: ['example'],
      content: 'x',
      phoneNumber: '1',
    });
  });
});

describe('server-side apply', () => {
  const apply = (live: object, before: object | undefined, wanted: object): Any =>
    applyMerge(live, before, wanted, SCHEMAS.pods);

  it('removes what the manager applied before and wants no more, and leaves what others wrote', () => {
    const live = {
      metadata: { labels: { mine: '1', kept: '1', theirs: '1' } },
      spec: { containers: POD.spec.containers },
    };
    const before = { metadata: { labels: { mine: '1', kept: '1' } }, spec: { containers: [{ name: 'one' }] } };
    const result = apply(live, before, { metadata: { labels: { kept: '2' } } });
    assert.deepEqual(result.metadata.labels, { kept: '2', theirs: '1' });
    const removed = apply(live, before, { spec: { containers: [] } });
    assert.deepEqual(
      removed.spec.containers.map((c: Any) => c.name),
      ['two'],
    );
  });

  it('takes ports with the same number and another protocol as different', () => {
    const live = { spec: { containers: [{ name: 'one', ports: [{ containerPort: 53, protocol: 'TCP' }] }] } };
    const wanted = {
      spec: { containers: [{ name: 'one', ports: [{ containerPort: 53 }, { containerPort: 53, protocol: 'UDP' }] }] },
    };
    assert.deepEqual(apply(live, undefined, wanted).spec.containers[0].ports, [
      { containerPort: 53, protocol: 'TCP' },
      { containerPort: 53, protocol: 'UDP' },
    ]);
  });
});
