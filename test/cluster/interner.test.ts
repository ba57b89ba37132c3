import assert from 'node:assert/strict';
import { Interner } from '../../src/cluster/interner.ts';

describe('interner', () => {
  it('keeps equal labels once, and different ones apart', () => {
    const interner = new Interner();
    const labels = interner.labels({ app: 'web', tier: 'front' });
    assert.equal(interner.labels({ app: 'web', tier: 'front' }), labels);
    assert.notEqual(interner.labels({ app: 'web' }), labels);
    assert.deepEqual({ ...labels }, { app: 'web', tier: 'front' });
  });

  it('labels hold what was given and inherit nothing', () => {
    const labels = new Interner().labels(JSON.parse('{"__proto__":"a","constructor":"b"}') as Record<string, string>);
    assert.deepEqual(Object.entries(labels), [
      ['__proto__', 'a'],
      ['constructor', 'b'],
    ]);
    assert.equal('toString' in labels, false);
    assert.equal('toString' in new Interner().labels({}), false);
  });

  it('keeps equal data once', () => {
    const interner = new Interner();
    const rules = interner.data([{ ports: 'any', peers: [{ kind: 'nothing' }] }]);
    assert.equal(interner.data([{ ports: 'any', peers: [{ kind: 'nothing' }] }]), rules);
    assert.notEqual(interner.data([]), rules);
  });

  it('of many, some of the same hash, none is taken for another', () => {
    const objects = { size: 200_000 };
    const interner = new Interner(objects);
    const all = Array.from({ length: 150_000 }, (_, i) => ({ app: `a${i}`, tier: `b${(i * 7919) % 150_000}` }));
    const shared = all.map((labels) => interner.labels(labels));
    for (const [i, labels] of all.entries()) {
      assert.equal(shared[i]!.app, labels.app);
      assert.equal(shared[i]!.tier, labels.tier);
      assert.equal(interner.labels({ ...labels }), shared[i]);
    }
  });

  it('forgets rather than grow for ever', () => {
    const interner = new Interner();
    const first = interner.labels({ app: 'first' });
    for (let i = 0; i < 20_000; i++) interner.labels({ app: `web-${i}` });
    const again = interner.labels({ app: 'first' });
    assert.notEqual(again, first);
    assert.deepEqual({ ...again }, { ...first });
  });

  it('fault: long values that come and go are forgotten sooner', () => {
    const interner = new Interner();
    const long = (n: number): string => `${n}-${'k'.repeat(4000)}`;
    const labels = interner.labels({ [long(0)]: long(0) });
    const ports = interner.ports([{ name: long(0), protocol: 'TCP', port: 1 }]);
    const data = interner.data([long(0)]);
    for (let n = 1; n < 1500; n++) {
      interner.labels({ [long(n)]: long(n) });
      interner.ports([{ name: long(n), protocol: 'TCP', port: 1 }]);
      if (n < 1000) interner.data([long(n), long(n)]);
    }
    assert.notEqual(interner.labels({ [long(0)]: long(0) }), labels);
    assert.notEqual(interner.ports([{ name: long(0), protocol: 'TCP', port: 1 }]), ports);
    assert.notEqual(interner.data([long(0)]), data);
  });
});
