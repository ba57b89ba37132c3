import assert from 'node:assert/strict';
import { Fights } from '../../src/dataplane/fights.ts';

describe('fault: a neighbour that keeps undoing us is told once', () => {
  const jump = { kind: 'jump', object: 'FORWARD', what: 'gone' } as const;

  it('begins with the fifth repair within a minute, and ends after a quiet one', () => {
    let nowMs = 0;
    const fights = new Fights(() => nowMs);
    const states = Array.from({ length: 7 }, () => {
      nowMs += 10_000;
      return fights.repaired(jump);
    });
    assert.deepEqual(states, ['single', 'single', 'single', 'single', 'begins', 'goes-on', 'goes-on']);
    assert.deepEqual(fights.current, ['FORWARD, gone']);
    nowMs += 60_000;
    assert.deepEqual(fights.current, []);
    assert.equal(fights.repaired(jump), 'single');
  });

  it('now and then is no fight; each object counts for itself', () => {
    let nowMs = 0;
    const fights = new Fights(() => nowMs);
    for (let i = 0; i < 20; i++) {
      nowMs += 20_000;
      assert.equal(fights.repaired(jump), 'single');
      assert.equal(fights.repaired({ ...jump, object: 'INPUT' }), 'single');
    }
  });
});
