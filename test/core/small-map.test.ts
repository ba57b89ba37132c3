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

  it('of few, leaves none out that stays while others go', () => {
    for (const gone of [0, 1, 2, 3]) {
      const small = new SmallMap<number, string>();
      for (let key = 0; key < 4; key++) small.set(key, `v${key}`);
      const seen: number[] = [];
      for (const [key] of small) {
        seen.push(key);
        if (key === 1) small.delete(gone);
      }
      for (const key of [0, 1, 2, 3]) assert.ok(key === gone || seen.includes(key), `${key} without ${gone}`);
    }
  });
});
