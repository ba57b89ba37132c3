import assert from 'node:assert/strict';
import fc from 'fast-check';
import { DraftMap } from '../../src/core/draft-map.ts';
import { runs } from '../property/runs.ts';

const KEYS = ['a', 'b', 'c', 'd', 'e', 'f'];
const entries = fc.array(fc.tuple(fc.constantFrom(...KEYS), fc.option(fc.nat(9), { nil: undefined })));

const ascending = (a: number, b: number): number => a - b;

describe('a draft of a map', () => {
  it('reads as the map with the changes, which are not in it before they are committed', () =>
    fc.assert(
      fc.property(entries, entries, (first, changes) => {
        const put = (map: Map<string, number>, all: typeof first): Map<string, number> => {
          for (const [key, value] of all) {
            if (value === undefined) map.delete(key);
            else map.set(key, value);
          }
          return map;
        };
        const base = put(new Map(), first);
        const wanted = put(new Map(base), changes);
        const draft = new DraftMap(base);
        for (const [key, value] of changes) draft.set(key, value);
        assert.deepEqual(base, put(new Map(), first));
        assert.equal(draft.size, wanted.size);
        assert.deepEqual([...draft.values()].sort(ascending), [...wanted.values()].sort(ascending));
        for (const key of KEYS) assert.equal(draft.get(key), wanted.get(key));
        assert.deepEqual(
          [...draft.changes()].map(([key]) => key),
          [...new Set(changes.map(([key]) => key))],
        );
        draft.commit();
        assert.deepEqual(base, wanted);
        assert.equal(draft.size, wanted.size);
      }),
      runs(200),
    ));
});
