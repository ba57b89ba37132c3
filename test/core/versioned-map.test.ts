import assert from 'node:assert/strict';
import { JournaledMap, type VersionedMap, versionedMap } from '../../src/core/versioned-map.ts';

describe('a journaled map', () => {
  it('has snapshots that stay what they were while the map goes on', () => {
    const map = new JournaledMap([['a', true]]);
    const first = map.snapshot();
    assert.equal(map.set('b', false), true);
    assert.equal(map.set('a', undefined), true);
    assert.deepEqual([...first], [['a', true]]);
    assert.deepEqual([...map.snapshot()], [['b', false]]);
    assert.equal(first.size, 1);
    assert.equal(first.get('b'), undefined);
  });

  it('is the same snapshot until something changes', () => {
    const map = new JournaledMap<string, boolean>();
    const snapshot = map.snapshot();
    assert.equal(map.set('a', undefined), false);
    assert.equal(map.snapshot(), snapshot);
    map.set('a', true);
    assert.notEqual(map.snapshot(), snapshot);
    assert.notEqual(map.snapshot().version, snapshot.version);
  });

  it('tells the net changes since an older version: what went back and forth is none', () => {
    const map = new JournaledMap([
      ['a', true],
      ['gone', true],
      ['n', false],
    ]);
    const { version } = map.snapshot();
    map.set('a', undefined);
    map.set('a', true);
    map.set('b', true);
    map.set('b', undefined);
    map.set('n', true);
    map.set('gone', undefined);
    map.set('c', false);
    map.set('c', true);
    assert.deepEqual(map.snapshot().changesSince(version), [
      { key: 'n', before: false, after: true },
      { key: 'gone', before: true, after: undefined },
      { key: 'c', before: undefined, after: true },
    ]);
    assert.deepEqual(map.snapshot().changesSince(map.snapshot().version), []);
  });

  it('tells the changes since each of its versions, and to each', () => {
    const map = new JournaledMap<number, number>();
    const snapshots = [map.snapshot()];
    for (let key = 0; key < 9; key++) {
      map.set(key, key);
      // A version without a snapshot, and those of another map in between.
      map.set(key, key + 1);
      snapshots.push(map.snapshot());
      versionedMap([[key, key]]);
    }
    for (const [to, later] of snapshots.entries()) {
      for (const [from, { version }] of snapshots.entries()) {
        const changes = later.changesSince(version);
        assert.equal(changes === 'all' ? changes : changes.length, from > to ? 'all' : to - from);
      }
    }
  });

  it('knows nothing of other histories, and nothing of its own future', () => {
    const map = new JournaledMap([['a', true]]);
    const old = map.snapshot();
    map.set('b', true);
    assert.equal(old.changesSince(map.snapshot().version), 'all');
    assert.equal(map.snapshot().changesSince(versionedMap([['a', true]]).version), 'all');
    assert.equal(map.snapshot().changesSince(undefined), 'all');
  });

  it('starts a history when journaling costs more than copying, and older snapshots do not notice', () => {
    const map = new JournaledMap([['keep', true]]);
    const old = map.snapshot();
    for (let i = 0; i < 3000; i++) map.set(`member-${i % 7}`, i % 2 === 0 ? true : undefined);
    const now = map.snapshot();
    assert.equal(now.changesSince(old.version), 'all');
    assert.deepEqual([...old], [['keep', true]]);
    assert.equal(now.get('keep'), true);
    map.set('later', true);
    assert.deepEqual(map.snapshot().changesSince(now.version), [{ key: 'later', before: undefined, after: true }]);
  });

  it('can drop how it came to be as it is', () => {
    const map = new JournaledMap<string, boolean>();
    const { version } = map.snapshot();
    map.set('a', true);
    map.dropHistory();
    const snapshot = map.snapshot();
    assert.equal(snapshot.changesSince(version), 'all');
    assert.deepEqual([...snapshot], [['a', true]]);
    map.set('b', true);
    assert.deepEqual(map.snapshot().changesSince(snapshot.version), [{ key: 'b', before: undefined, after: true }]);
    assert.deepEqual([...snapshot], [['a', true]]);
  });
});

describe('a versioned map with other entries', () => {
  const first = (): VersionedMap<string, number> => versionedMap(Object.entries({ a: 1, b: 2 }));

  it('is another value, whose history is known', () => {
    const map = first();
    const later = map.with([
      ['a', undefined],
      ['c', 3],
    ]);
    assert.deepEqual(new Map(map), new Map(first()));
    assert.deepEqual([...later], Object.entries({ b: 2, c: 3 }));
    assert.deepEqual(later.changesSince(map.version), [
      { key: 'a', before: 1, after: undefined },
      { key: 'c', before: undefined, after: 3 },
    ]);
  });

  it('is the same value where nothing is other', () => {
    const map = first();
    assert.equal(map.with([['b', 2]]), map);
  });

  it('goes on from any of its versions', () => {
    const map = first();
    const one = map.with([['a', 10]]);
    const other = map.with([['b', 20]]);
    assert.deepEqual([...one], Object.entries({ a: 10, b: 2 }));
    assert.deepEqual(new Map(other), new Map(Object.entries({ a: 1, b: 20 })));
    assert.deepEqual([...one.with([['b', 3]])], Object.entries({ a: 10, b: 3 }));
    assert.equal(other.changesSince(map.version), 'all');
  });

  it('leaves a journaled map alone, whose snapshot it began with', () => {
    const map = new JournaledMap([['a', 1]]);
    const other = map.snapshot().with([['a', 2]]);
    map.set('b', 3);
    assert.deepEqual([...map.snapshot()], Object.entries({ a: 1, b: 3 }));
    assert.deepEqual([...other], [['a', 2]]);
  });

  it('keeps no longer a journal than a copy is worth', () => {
    let map = first();
    const { version } = map;
    for (let n = 0; n < 3000; n++) map = map.with([['a', n]]);
    assert.equal(map.changesSince(version), 'all');
    assert.equal(map.get('a'), 2999);
  });
});
