import assert from 'node:assert/strict';
import fc from 'fast-check';
import { fairShare } from '../../src/core/fair-share.ts';
import { CROWDED, type PolicyLimits } from '../../src/cluster/policy-budget.ts';
import { PolicyWatch } from './policy-watch.ts';
import { apiPolicy, rulesOf } from '../support/api-objects.ts';

const RECORD = 600;
const LIMITS: PolicyLimits = {
  selector: 4096,
  rulesOfPolicy: 4000,
  rulesOfNamespace: 10_000,
  rules: 30_000,
  recordsOfNamespace: 10 * RECORD,
  records: 90 * RECORD,
};

interface Wanted {
  readonly namespace: string;
  readonly name: string;
  readonly created: number;
  readonly bytes: number;
}

const objectOf = ({ namespace, name, created, bytes }: Wanted): Record<string, unknown> =>
  apiPolicy(name, { namespace, created, spec: { ingress: rulesOf(bytes) } });

function watchOf(wanted: readonly Wanted[], limits = LIMITS): PolicyWatch {
  const watch = new PolicyWatch(limits);
  for (const each of wanted) watch.put(objectOf(each));
  return watch;
}

/** Names of those kept with their rules, and of those without. */
function split(watch: PolicyWatch): { open: readonly string[]; closed: readonly string[] } {
  const named = (open: boolean): readonly string[] =>
    watch.state().flatMap(([key, isOpen]) => (isOpen === open ? [key.slice(key.indexOf('/') + 1)] : []));
  return { open: named(true), closed: named(false) };
}

const p = (name: string, created: number, bytes: number, namespace = 'x'): Wanted => ({
  namespace,
  name,
  created,
  bytes,
});

describe('limits on policies', () => {
  it('fault: what does not fit into its namespace is closed, the oldest are kept; a smaller one after it may fit', () => {
    const watch = watchOf([p('d', 4, 300), p('c', 3, 3500), p('a', 1, 3500), p('b', 2, 3500)]);
    assert.deepEqual(split(watch), { open: ['a', 'b', 'd'], closed: ['c'] });
    const closed = watch.store.records.get('x/c')!;
    assert.deepEqual([closed.ingress, closed.isolates.ingress, closed.podSelector.kind], [[], true, 'all-of']);
    const [problem, ...others] = watch.store.problems;
    assert.deepEqual(others, []);
    assert.deepEqual(problem!.object, { kind: 'NetworkPolicy', namespace: 'x', name: 'c' });
    assert.match(
      problem!.message,
      /^has 3 KiB of rules, which do not fit into the 10 KiB .* delete policies or make them shorter/,
    );
  });

  it('a policy that is added closes no other one', () => {
    const few = fc.array(fc.nat(4500), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(few, fc.nat(4500), (sizes, added) => {
        const watch = watchOf(sizes.map((bytes, n) => p(`p${n}`, n, bytes)));
        const before = split(watch);
        watch.put(objectOf(p('added', 100, added)));
        const after = split(watch);
        for (const name of before.open) assert.ok(after.open.includes(name), name);
        for (const name of before.closed) assert.ok(after.closed.includes(name), name);
      }),
      { numRuns: 50 },
    );
  });

  it('fault: which policies are closed depends on what there is, not on what was heard when', () => {
    const one = fc.record({
      namespace: fc.constantFrom('x', 'y', 'z', 'w'),
      name: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'),
      created: fc.nat(3),
      bytes: fc.constantFrom(0, 40, 900, 2500, 3900, 4400),
    });
    const unique = fc.uniqueArray(one, { selector: ({ namespace, name }) => `${namespace}/${name}`, maxLength: 24 });
    fc.assert(
      fc.property(unique, unique, fc.infiniteStream(fc.nat()), (wanted, passing, draw) => {
        const straight = watchOf(wanted);
        const shuffled = wanted.toSorted(() => (draw.next().value % 2 === 0 ? -1 : 1));
        const watch = new PolicyWatch(LIMITS);
        for (const each of passing) watch.put(objectOf(each));
        for (const each of shuffled) watch.put(objectOf(each));
        for (const each of passing)
          if (!wanted.some(({ namespace, name }) => each.namespace === namespace && each.name === name))
            watch.remove(objectOf(each));
        // What was dropped on the way and fits again comes with a list; in what order that is heard may ask for another.
        for (const one of [watch, straight, watch, straight]) one.list(shuffled.map(objectOf));
        assert.deepEqual(watch.state(), straight.state());
        assert.deepEqual(watch.store.problems, straight.store.problems);
        const replayed = new Map<string, unknown>();
        for (const { key, before, after } of watch.changes) {
          assert.equal(replayed.get(key), before);
          if (after) replayed.set(key, after);
          else replayed.delete(key);
        }
        assert.deepEqual(replayed, new Map(watch.store.records));
      }),
      { numRuns: 150 },
    );
  });

  it('fault: many namespaces over their share of it all close nothing of a small one', () => {
    const greedy = Array.from({ length: 12 }, (_, n) =>
      [1, 2, 3].map((each) => p(`p${each}`, each, 3000, `greedy-${n}`)),
    );
    const watch = watchOf([p('small', 500, 400, 'honest'), ...greedy.flat(), p('small2', 501, 400, 'honest')]);
    const state = new Map(watch.state());
    assert.ok(state.get('honest/small') && state.get('honest/small2'));
    const kept = [...watch.store.records.values()].reduce((sum, { text }) => sum + (text?.ingress.length ?? 0), 0);
    assert.ok(kept <= LIMITS.rules, `${kept} bytes`);
    assert.ok(kept > 0);
    // As they go, the others may have more again, from the next list on.
    for (const each of greedy.slice(2).flat()) watch.remove(objectOf(each));
    assert.equal(watch.store.wantsList(60_000), true);
    const rest = [p('small', 500, 400, 'honest'), ...greedy.slice(0, 2).flat()];
    watch.list(rest.map(objectOf));
    assert.deepEqual(split(watch).closed, []);
    assert.deepEqual(watch.store.problems, []);
  });

  it('what fits again is asked for by a list, not more often than once a minute', () => {
    const watch = watchOf([p('a', 1, 3900), p('b', 2, 3900), p('c', 3, 3900)]);
    watch.list([p('a', 1, 3900), p('b', 2, 3900), p('c', 3, 3900)].map(objectOf));
    assert.equal(watch.store.wantsList(1e9), false, 'nothing fits that is not kept');
    watch.remove(objectOf(p('a', 1, 3900)));
    assert.deepEqual(split(watch), { open: ['b'], closed: ['c'] });
    assert.equal(watch.store.wantsList(59_000), false);
    assert.equal(watch.store.wantsList(60_000), true);
    watch.now = 60_000;
    watch.list([p('b', 2, 3900), p('c', 3, 3900)].map(objectOf));
    assert.deepEqual(split(watch), { open: ['b', 'c'], closed: [] });
    assert.equal(watch.store.wantsList(1e9), false);
    assert.deepEqual(watch.store.problems, []);
  });

  it('fault: of a namespace with too many policies the newest are not kept, and all of its pods are isolated', () => {
    const all = Array.from({ length: 100 }, (_, n) => p(`p${`${n}`.padStart(2, '0')}`, n, 0));
    for (const order of [all, all.toReversed()]) {
      const watch = watchOf(order);
      const keys = watch.state().map(([key]) => key);
      assert.ok(keys.length < 20 && keys.length > 5, `${keys.length}`);
      assert.deepEqual(keys, [`x/${CROWDED}`, ...all.slice(0, keys.length - 1).map(({ name }) => `x/${name}`)]);
      const closed = watch.store.records.get(`x/${CROWDED}`)!;
      assert.deepEqual(closed.isolates, { ingress: true, egress: true });
      assert.deepEqual(
        [closed.podSelector, closed.ingress, closed.egress],
        [{ kind: 'all-of', requirements: [] }, [], []],
      );
      assert.match(watch.store.problems[0]!.message, /every pod of it is isolated/);
      watch.list(order.map(objectOf));
      assert.ok(watch.store.records.has(`x/${CROWDED}`), 'still so after a list');
      for (const each of all.slice(3)) watch.remove(objectOf(each));
      assert.ok(watch.store.records.has(`x/${CROWDED}`), 'whether there are others is not known');
      assert.equal(watch.store.wantsList(60_000), true);
      watch.list(all.slice(0, 3).map(objectOf));
      assert.deepEqual(
        watch.state().map(([key]) => key),
        ['x/p00', 'x/p01', 'x/p02'],
      );
      assert.deepEqual(watch.store.problems, []);
    }
  });

  it('a new object under the name of one that was closed is judged for itself', () => {
    const watch = watchOf([p('a', 1, 3900), p('b', 2, 3900), p('c', 3, 3900)]);
    watch.put(apiPolicy('c', { created: 4, uid: 'other', spec: { ingress: rulesOf(100) } }));
    assert.deepEqual(split(watch), { open: ['a', 'b', 'c'], closed: [] });
  });

  it('problems are as many as can be read', () => {
    const watch = watchOf(Array.from({ length: 60 }, (_, n) => p('p', n, 4400, `n${n}`)));
    assert.equal(watch.store.problems.length, 51);
    assert.match(watch.store.problems.at(-1)!.message, /^and 9 more/);
  });

  it('a share is what each may have so that all fit', () => {
    assert.equal(fairShare([10, 20], 100, 1000), 100);
    assert.equal(fairShare([10, 100, 100], 100, 150), 50);
    assert.equal(
      fairShare(
        Array.from({ length: 1000 }, () => 100),
        64,
        1,
      ),
      1,
    );
  });
});
