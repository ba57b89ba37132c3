import assert from 'node:assert/strict';
import fc from 'fast-check';
import { projectPod } from '../../src/cluster/project.ts';
import { ObjectStore, type StoreChange } from '../../src/cluster/store.ts';
import { isSameValue } from '../../src/core/same-value.ts';
import type { Pod } from '../../src/policy/model.ts';
import { apiPod } from '../support/api-objects.ts';

function podStore(onlyKey?: string): { store: ObjectStore<Pod>; changes: StoreChange[] } {
  const changes: StoreChange[] = [];
  const store = new ObjectStore<Pod>({
    project: projectPod,
    namespaced: true,
    uidOf: (pod) => pod.uid,
    onChange: (change) => changes.push(change),
    ...(onlyKey === undefined ? {} : { onlyKey }),
  });
  return { store, changes };
}

describe('store', () => {
  it('reports before and after', () => {
    const { store, changes } = podStore();
    store.upsert(apiPod('a'), 1);
    store.upsert(apiPod('a', { ip: '203.0.113.2' }), 2);
    store.remove(apiPod('a'), 3);
    assert.deepEqual(
      changes.map(({ type, key, arrivedAtMs }) => [type, key, arrivedAtMs]),
      [
        ['added', 'x/a', 1],
        ['changed', 'x/a', 2],
        ['deleted', 'x/a', 3],
      ],
    );
    const [added, changed, deleted] = changes;
    assert.equal(added?.before, undefined);
    assert.equal(changed?.before, added?.after);
    assert.notEqual(changed?.after, changed?.before);
    assert.equal(deleted?.before, changed?.after);
    assert.equal(deleted?.after, undefined);
    assert.equal(store.records.size, 0);
  });

  it('an equal record stays the same object', () => {
    const { store, changes } = podStore();
    store.upsert(apiPod('a'), 1);
    const before = store.records.get('x/a');
    assert.equal(store.upsert(apiPod('a', { version: '99' }), 2), 'unchanged');
    assert.equal(store.records.get('x/a'), before);
    assert.equal(changes.length, 1);
  });

  it('problems come and go with their object', () => {
    const { store } = podStore();
    const bad = apiPod('a', { ip: 'nonsense' });
    store.upsert(bad, 1);
    assert.deepEqual(
      store.problems.map(({ object, field }) => [object.namespace, object.name, field]),
      [['x', 'a', 'status.podIPs[0].ip']],
    );
    const same = store.problems;
    store.upsert(apiPod('b'), 2);
    assert.equal(store.problems, same, 'the list is made anew only when it changes');
    store.upsert({ ...bad, metadata: { namespace: 'x', name: 'a', uid: 'other' } }, 3);
    assert.equal(store.problems.length, 1, 'a reborn object brings its own');
    store.upsert(apiPod('a'), 4);
    assert.deepEqual(store.problems, []);
    store.upsert(bad, 5);
    store.remove(apiPod('a'), 6);
    assert.deepEqual(store.problems, []);
    for (let i = 0; i < 100; i++) store.upsert({ metadata: {} }, 7);
    assert.equal(store.problems.length, 20);
    store.beginList();
    assert.deepEqual(store.problems, []);
  });

  it('a list that broke off deletes nothing', () => {
    const { store } = podStore();
    for (const name of ['a', 'b']) store.upsert(apiPod(name), 1);
    store.beginList();
    store.upsert(apiPod('a'), 2);
    store.dropList();
    assert.equal(store.endList(3, true), 0);
    assert.equal(store.records.size, 2);
  });

  it('what is deleted while a list runs is not brought back or kept', () => {
    const { store } = podStore();
    store.beginList();
    store.upsert(apiPod('a'), 1);
    store.remove(apiPod('a'), 2);
    assert.equal(store.endList(3, true), 2);
    assert.equal(store.records.size, 0);
  });

  it('keeps only the key it is for', () => {
    const { store } = podStore('x/a');
    store.upsert(apiPod('a'), 1);
    store.upsert(apiPod('b'), 1);
    assert.deepEqual([...store.records.keys()], ['x/a']);
  });

  it('any sequence of events and lists leaves what the last word about each object says', () => {
    const name = fc.constantFrom('a', 'b', 'c');
    const one = fc.record({ name, uid: fc.constantFrom('1', '2'), ip: fc.constantFrom('203.0.113.1', '203.0.113.2') });
    const step = fc.oneof(
      fc.record({ kind: fc.constant('upsert' as const), pod: one }),
      fc.record({ kind: fc.constant('remove' as const), pod: one }),
      fc.record({ kind: fc.constant('list' as const), pods: fc.uniqueArray(one, { selector: (pod) => pod.name }) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const { store, changes } = podStore();
        const model = new Map<string, { uid: string; ip: string }>();
        for (const it of steps) {
          if (it.kind === 'upsert') {
            store.upsert(apiPod(it.pod.name, it.pod), 0);
            model.set(`x/${it.pod.name}`, it.pod);
          } else if (it.kind === 'remove') {
            store.remove(apiPod(it.pod.name, it.pod), 0);
            if (model.get(`x/${it.pod.name}`)?.uid === it.pod.uid) model.delete(`x/${it.pod.name}`);
          } else {
            store.beginList();
            for (const pod of it.pods) store.upsert(apiPod(pod.name, pod), 0);
            store.endList(0, true);
            model.clear();
            for (const pod of it.pods) model.set(`x/${pod.name}`, pod);
          }
        }
        const state = (map: ReadonlyMap<string, { uid: string }>): string[] =>
          [...map].map(([key, { uid }]) => `${key} ${uid}`).sort();
        assert.deepEqual(state(store.records), state(model));
        // The changes alone tell the same story, and no change is told twice.
        const replayed = new Map<string, Pod>();
        for (const change of changes) {
          assert.equal(replayed.get(change.key), change.before);
          if (change.after) replayed.set(change.key, change.after as Pod);
          else replayed.delete(change.key);
        }
        assert.deepEqual(state(replayed), state(store.records));
      }),
    );
  });

  it('isSameValue compares JSON values', () => {
    fc.assert(fc.property(fc.jsonValue(), (value) => isSameValue(value, JSON.parse(JSON.stringify(value)))));
    assert.equal(isSameValue({ a: 1, b: 2 }, { b: 2, a: 1 }), true);
    for (const [a, b] of [
      [{ a: 1 }, { a: 1, b: 2 }],
      [{ a: undefined }, { b: undefined }],
      [
        [1, 2],
        [2, 1],
      ],
      [[], {}],
      [null, {}],
      ['1', 1],
    ])
      assert.equal(isSameValue(a, b), false, JSON.stringify([a, b]));
  });
});
