import assert from 'node:assert/strict';
import { LiveMap, Moment } from '../../src/core/versioned-map.ts';

describe('members', () => {
  it('a view stays what it was while the live set goes on', () => {
    const live = new LiveMap([['a', true]]);
    const first = live.view();
    assert.equal(live.set('b', false), true);
    assert.equal(live.set('a', undefined), true);
    assert.deepEqual([...first], [['a', true]]);
    assert.deepEqual([...live.view()], [['b', false]]);
    assert.equal(first.size, 1);
    assert.equal(first.get('b'), undefined);
  });

  it('is the same view until something changes', () => {
    const live = new LiveMap();
    const view = live.view();
    assert.equal(live.set('a', undefined), false);
    assert.equal(live.view(), view);
    live.set('a', true);
    assert.notEqual(live.view(), view);
  });

  it('tells the net changes since an older view: what went back and forth is none', () => {
    const live = new LiveMap([
      ['a', true],
      ['n', false],
    ]);
    const old = live.view();
    live.set('a', undefined);
    live.set('a', true);
    live.set('b', true);
    live.set('b', undefined);
    live.set('n', true);
    live.set('c', false);
    live.set('c', true);
    assert.deepEqual(live.view().changesSince(old), [
      { key: 'n', before: false, after: true },
      { key: 'c', before: undefined, after: true },
    ]);
    assert.deepEqual(live.view().changesSince(live.view()), []);
  });

  it('knows nothing of other histories, and nothing of its own future', () => {
    const live = new LiveMap([['a', true]]);
    const old = live.view();
    live.set('b', true);
    assert.equal(old.changesSince(live.view()), undefined);
    assert.equal(live.view().changesSince(new LiveMap([['a', true]]).view()), undefined);
    assert.equal(live.view().changesSince(new Map([['a', true]])), undefined);
  });

  it('starts afresh when remembering costs more than copying, and older views do not notice', () => {
    const live = new LiveMap([['keep', true]]);
    const old = live.view();
    for (let i = 0; i < 3000; i++) live.set(`member-${i % 7}`, i % 2 === 0 ? true : undefined);
    const now = live.view();
    assert.equal(now.changesSince(old), undefined);
    assert.deepEqual([...old], [['keep', true]]);
    assert.equal(now.get('keep'), true);
    live.set('later', true);
    assert.deepEqual(live.view().changesSince(now), [{ key: 'later', before: undefined, after: true }]);
    assert.ok(live.view() instanceof Moment);
  });

  it('can forget how it came to be as it is', () => {
    const live = new LiveMap();
    live.set('a', true);
    live.forget();
    const view = live.view();
    assert.deepEqual([...view], [['a', true]]);
    live.set('b', true);
    assert.deepEqual(live.view().changesSince(view), [{ key: 'b', before: undefined, after: true }]);
    assert.deepEqual([...view], [['a', true]]);
  });
});
