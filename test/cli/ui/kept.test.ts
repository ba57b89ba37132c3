import assert from 'node:assert/strict';
import { kept } from '../../../src/cli/ui/kept.ts';

describe('kept', () => {
  let nowMs: number;
  let made: number;
  const clock = { now: () => nowMs };
  const make = async (): Promise<number> => ++made;

  beforeEach(() => {
    nowMs = 0;
    made = 0;
  });

  it('makes a value when it is asked for, and again when it is old', async () => {
    const value = kept(make, 100, clock);
    assert.deepEqual([await value(), await value(), made], [1, 1, 1]);
    nowMs = 99;
    assert.equal(await value(), 1);
    nowMs = 100;
    assert.deepEqual([await value(), await value()], [2, 2]);
  });

  it('begins with the one that is given', async () => {
    const value = kept(make, 100, clock, 7);
    assert.equal(await value(), 7);
    nowMs = 100;
    assert.equal(await value(), 1);
  });

  it('is made once for all who ask meanwhile, and kept for as long as making it took, five times', async () => {
    const slow = Promise.withResolvers<number>();
    const value = kept(() => slow.promise, 100, clock);
    const [one, other] = [value(), value()];
    nowMs = 1000;
    slow.resolve(1);
    assert.deepEqual([await one, await other], [1, 1]);
    const before = value();
    nowMs = 5_999;
    assert.equal(value(), before);
    nowMs = 6_000;
    assert.notEqual(value(), before);
  });

  it('tells whoever asks that it failed, and tries again with the next', async () => {
    let fails = true;
    const value = kept(async () => (fails ? Promise.reject(new Error('away')) : 1), 100, clock);
    await assert.rejects(value(), /away/);
    fails = false;
    assert.equal(await value(), 1);
  });
});
