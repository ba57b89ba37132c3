import assert from 'node:assert/strict';
import fc from 'fast-check';
import { LabelBudget } from '../../src/cluster/label-budget.ts';
import { projectPod } from '../../src/cluster/project.ts';
import { ObjectStore } from '../../src/cluster/store.ts';
import { podObject, runningStatus } from '../support/api-objects.ts';
import { isEligible } from '../../src/policy/address-owners.ts';
import { type Pod, UNKNOWN_LABELS } from '../../src/policy/model.ts';

const LIMITS = { ofNamespace: 10_000, inAll: 25_000 };

interface Wanted {
  readonly namespace: string;
  readonly name: string;
  readonly created: number;
  readonly bytes: number;
  readonly address?: boolean;
}

function apiPod({ namespace, name, created, bytes, address = true }: Wanted): object {
  const labels = Object.fromEntries(
    Array.from({ length: Math.ceil(bytes / 50) }, (_, n) => [`k${n}`.padEnd(25, 'k'), 'v'.repeat(25)]),
  );
  const creationTimestamp = new Date(1.79e12 + created * 1000).toISOString();
  return {
    ...podObject(`${namespace}/${name}`, { labels, metadata: { uid: name, creationTimestamp } }),
    status: address ? runningStatus('203.0.113.1') : {},
  };
}

function storeOf(wanted: readonly Wanted[]): ObjectStore<Pod> {
  const store = new ObjectStore<Pod>({
    project: projectPod,
    namespaced: true,
    uidOf: ({ uid }) => uid,
    onChange: () => {},
    matters: isEligible,
    budget: new LabelBudget(LIMITS),
  });
  for (const each of wanted) store.upsert(apiPod(each), 0);
  return store;
}

const unknown = (store: ObjectStore<Pod>): readonly string[] =>
  [...store.records.values()]
    .filter(({ labels }) => labels === UNKNOWN_LABELS)
    .map(({ name }) => name)
    .sort();
const p = (name: string, created: number, bytes: number, namespace = 'x'): Wanted => ({
  namespace,
  name,
  created,
  bytes,
});

describe('limits on labels', () => {
  it('fault: labels that do not fit into their namespace are not kept, the oldest are', () => {
    const few = Array.from({ length: 50 }, (_, n) => p(`few${n}`, n, 1500));
    const store = storeOf([...few, p('c', 103, 5000), p('a', 101, 5000), p('b', 102, 4900)]);
    assert.deepEqual(unknown(store), ['c']);
    assert.deepEqual(
      store.problems.map(({ object, field }) => [object.name, field]),
      [['c', 'metadata.labels']],
    );
    store.remove(apiPod(p('a', 101, 5000)), 1);
    assert.deepEqual(unknown(store), ['c'], 'what was dropped is not there');
    assert.equal(store.wantsList(60_000), true);
    store.beginList();
    for (const each of [p('c', 103, 5000), p('b', 102, 4900)]) store.upsert(apiPod(each), 60_000);
    store.endList(60_000, true);
    assert.deepEqual([unknown(store), store.problems], [[], []]);
    assert.equal(store.wantsList(1e9), false);
  });

  it('a pod without an address takes part in nothing', () => {
    const store = storeOf([{ ...p('a', 1, 6000), address: false }, p('b', 2, 6000)]);
    assert.deepEqual([...store.records.keys()], ['x/b']);
    assert.deepEqual(unknown(store), []);
    store.upsert(apiPod(p('a', 1, 6000)), 1);
    assert.deepEqual(unknown(store), ['b'], 'the older one comes first');
    store.upsert(apiPod({ ...p('a', 1, 6000), address: false }), 2);
    assert.equal(store.wantsList(60_000), true);
  });

  it('fault: whose labels are kept depends on what there is, not on what was heard when', () => {
    const one = fc.record({
      namespace: fc.constantFrom('x', 'y', 'z'),
      name: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
      created: fc.nat(3),
      bytes: fc.constantFrom(0, 1000, 2500, 5000, 7900, 9000),
      address: fc.boolean(),
    });
    const unique = fc.uniqueArray(one, { selector: ({ namespace, name }) => `${namespace}/${name}`, maxLength: 12 });
    fc.assert(
      fc.property(unique, unique, (wanted, passing) => {
        const straight = storeOf(wanted);
        const store = storeOf([...passing, ...wanted.toReversed()]);
        for (const each of passing)
          if (!wanted.some(({ namespace, name }) => each.namespace === namespace && each.name === name))
            store.remove(apiPod(each), 1);
        // What was dropped on the way and fits again comes with a list; in what order that is heard may ask for another.
        for (const one of [straight, store, straight, store]) {
          one.beginList();
          for (const each of wanted) one.upsert(apiPod(each), 2);
          one.endList(2, true);
        }
        const sorted = (records: ReadonlyMap<string, Pod>): unknown =>
          [...records].sort(([a], [b]) => (a < b ? -1 : 1));
        assert.deepEqual(sorted(store.records), sorted(straight.records));
        assert.deepEqual(
          store.problems.map(({ message }) => message).sort(),
          straight.problems.map(({ message }) => message).sort(),
        );
      }),
      { numRuns: 150 },
    );
  });
});
