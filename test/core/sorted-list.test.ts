import assert from 'node:assert/strict';
import fc from 'fast-check';
import { SortedList } from '../../src/core/sorted-list.ts';
import { runs } from '../property/runs.ts';

interface Element {
  readonly key: string;
}

const keys = Array.from({ length: 60 }, (_, n) => `k${n}`);
/** One or two at a time, or half of all. */
const changes = fc.oneof(
  fc.dictionary(fc.constantFrom(...keys), fc.boolean(), { maxKeys: 2 }),
  fc.dictionary(fc.constantFrom(...keys), fc.boolean(), { maxKeys: 30 }),
);

describe('a sorted list', () => {
  it('holds what was put there last, in order; the lists of before stay what they were', () =>
    fc.assert(
      fc.property(fc.array(changes, { maxLength: 12 }), (walk) => {
        const sorted = new SortedList<Element>(({ key }) => key);
        const wanted = new Map<string, Element>();
        for (const each of walk) {
          const before = sorted.list;
          const copy = [...before];
          const change = new Map<string, Element | undefined>();
          for (const [key, isThere] of Object.entries(each)) change.set(key, isThere ? { key } : undefined);
          sorted.apply(change);
          for (const [key, element] of change) {
            if (element) wanted.set(key, element);
            else wanted.delete(key);
          }
          assert.deepEqual(
            sorted.list.map(({ key }) => key),
            [...wanted.keys()].sort(),
          );
          assert.ok(sorted.list.every((element) => wanted.get(element.key) === element));
          assert.deepEqual(before, copy);
        }
      }),
      runs(200),
    ));

  it('is the same object as long as nothing is another', () => {
    const sorted = new SortedList<Element>(({ key }) => key);
    const [a, b] = [{ key: 'a' }, { key: 'b' }];
    sorted.apply(
      new Map([
        ['b', b],
        ['a', a],
      ]),
    );
    const { list } = sorted;
    assert.deepEqual(list, [a, b]);
    sorted.apply(
      new Map<string, Element | undefined>([
        ['a', a],
        ['c', undefined],
      ]),
    );
    assert.equal(sorted.list, list);
    sorted.apply(new Map([['a', { key: 'a' }]]));
    assert.notEqual(sorted.list, list);
  });
});
