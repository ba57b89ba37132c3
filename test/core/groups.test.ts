import assert from 'node:assert/strict';
import { Groups } from '../../src/core/groups.ts';

describe('groups of values', () => {
  it('hold each value once, by key', () => {
    const groups = new Groups<string, number>();
    for (const value of [1, 2, 1]) groups.add('a', value);
    groups.add('b', 1);
    assert.deepEqual(groups, new Groups(Object.entries({ a: new Set([1, 2]), b: new Set([1]) })));
  });

  it('have no key without a value', () => {
    const groups = new Groups<string, number>();
    groups.add('a', 1);
    groups.add('a', 2);
    assert.deepEqual([groups.remove('a', 3), groups.remove('b', 1), groups.remove('a', 1)], [false, false, true]);
    assert.deepEqual(groups.get('a'), new Set([2]));
    assert.equal(groups.remove('a', 2), true);
    assert.equal(groups.size, 0);
  });
});
