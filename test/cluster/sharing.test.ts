import assert from 'node:assert/strict';
import { Sharing } from '../../src/cluster/sharing.ts';

describe('sharing', () => {
  it('keeps equal labels once, and different ones apart', () => {
    const sharing = new Sharing();
    const labels = sharing.labels({ app: 'web', tier: 'front' });
    assert.equal(sharing.labels({ app: 'web', tier: 'front' }), labels);
    assert.notEqual(sharing.labels({ app: 'web' }), labels);
    assert.deepEqual({ ...labels }, { app: 'web', tier: 'front' });
  });

  it('labels hold what was given and inherit nothing', () => {
    const labels = new Sharing().labels(JSON.parse('{"__proto__":"a","constructor":"b"}') as Record<string, string>);
    assert.deepEqual(Object.entries(labels), [
      ['__proto__', 'a'],
      ['constructor', 'b'],
    ]);
    assert.equal('toString' in labels, false);
    assert.equal('toString' in new Sharing().labels({}), false);
  });

  it('keeps equal data once', () => {
    const sharing = new Sharing();
    const rules = sharing.data([{ ports: 'any', peers: [{ kind: 'nothing' }] }]);
    assert.equal(sharing.data([{ ports: 'any', peers: [{ kind: 'nothing' }] }]), rules);
    assert.notEqual(sharing.data([]), rules);
  });

  it('of many, some of the same hash, none is taken for another', () => {
    const objects = { size: 200_000 };
    const sharing = new Sharing(objects);
    const all = Array.from({ length: 150_000 }, (_, i) => ({ app: `a${i}`, tier: `b${(i * 7919) % 150_000}` }));
    const shared = all.map((labels) => sharing.labels(labels));
    for (const [i, labels] of all.entries()) {
      assert.equal(shared[i]!.app, labels.app);
      assert.equal(shared[i]!.tier, labels.tier);
      assert.equal(sharing.labels({ ...labels }), shared[i]);
    }
  });

  it('forgets rather than grow for ever', () => {
    const sharing = new Sharing();
    const first = sharing.labels({ app: 'first' });
    for (let i = 0; i < 20_000; i++) sharing.labels({ app: `web-${i}` });
    const again = sharing.labels({ app: 'first' });
    assert.notEqual(again, first);
    assert.deepEqual({ ...again }, { ...first });
  });

  it('fault: long values that come and go are forgotten sooner', () => {
    const sharing = new Sharing();
    const long = (n: number): string => `${n}-${'k'.repeat(4000)}`;
    const labels = sharing.labels({ [long(0)]: long(0) });
    const ports = sharing.ports([{ name: long(0), protocol: 'TCP', port: 1 }]);
    const data = sharing.data([long(0)]);
    for (let n = 1; n < 1500; n++) {
      sharing.labels({ [long(n)]: long(n) });
      sharing.ports([{ name: long(n), protocol: 'TCP', port: 1 }]);
      if (n < 1000) sharing.data([long(n), long(n)]);
    }
    assert.notEqual(sharing.labels({ [long(0)]: long(0) }), labels);
    assert.notEqual(sharing.ports([{ name: long(0), protocol: 'TCP', port: 1 }]), ports);
    assert.notEqual(sharing.data([long(0)]), data);
  });
});
