import assert from 'node:assert/strict';
import { PendingChanges } from '../../src/core/pending-changes.ts';

describe('pending changes', () => {
  const started = () => {
    const now = new Map([['a', 1]]);
    const pending = new PendingChanges<number>();
    const set = (key: string, value: number | undefined): void => {
      pending.note(key, now.get(key));
      if (value === undefined) now.delete(key);
      else now.set(key, value);
    };
    return { now, pending, set };
  };

  it('are net: what went back and forth is none', () => {
    const { now, pending, set } = started();
    set('a', 2);
    set('a', 3);
    set('b', 1);
    set('c', 1);
    set('c', undefined);
    assert.deepEqual(pending.list(now), [
      { key: 'a', before: 1, after: 3 },
      { key: 'b', before: undefined, after: 1 },
    ]);
    set('a', 1);
    set('b', undefined);
    assert.deepEqual(pending.list(now), []);
    assert.equal(pending.size, 0);
  });

  it('that came after others were listed are left when these are taken in', () => {
    const { now, pending, set } = started();
    set('a', 2);
    set('b', 1);
    const listed = pending.list(now);
    set('a', 3);
    set('c', 1);
    pending.taken(listed, now);
    assert.deepEqual(pending.list(now), [
      { key: 'a', before: 2, after: 3 },
      { key: 'c', before: undefined, after: 1 },
    ]);
    pending.clear();
    assert.deepEqual(pending.list(now), []);
  });

  it('also where what was listed is undone by then', () => {
    const { now, pending, set } = started();
    set('a', 2);
    const listed = pending.list(now);
    set('a', 1);
    pending.list(now);
    pending.taken(listed, now);
    assert.deepEqual(pending.list(now), [{ key: 'a', before: 2, after: 1 }]);
  });
});
