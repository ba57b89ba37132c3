import assert from 'node:assert/strict';
import fc from 'fast-check';
import { SmallMap } from '../../src/core/small-map.ts';

describe('small map', () => {
  it('does what a Map does, whether few or many', () => {
    const step = fc.record({ key: fc.nat(14), value: fc.option(fc.nat(), { nil: undefined }) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const small = new SmallMap<number, number>();
        const map = new Map<number, number>();
        for (const { key, value } of steps) {
          if (value === undefined) assert.equal(small.delete(key), map.delete(key));
          else {
            small.set(key, value);
            map.set(key, value);
          }
          assert.equal(small.size, map.size);
          assert.equal(small.get(key), map.get(key));
        }
        assert.deepEqual(new Map(small), map);
        assert.deepEqual([...small.values()].map(String).sort(), [...map.values()].map(String).sort());
      }),
    );
  });
});
