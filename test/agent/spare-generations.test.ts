import assert from 'node:assert/strict';
import { SpareGenerations } from '../../src/agent/spare-generations.ts';

/** Three generations: 2, 4 and 6 in the place of the lowest bits, 1 the denied flag. */
const MARKS = { mask: 0x70000000 };
const bits = (generation: number): number => generation * 0x20000000;

function bench(carried: ReadonlySet<number>) {
  const doubts: string[] = [];
  const asked: string[] = [];
  const cleared: number[] = [];
  let timeout: () => void = () => {};
  const spares = new SpareGenerations({
    marks: MARKS,
    flows: {
      isCarried: (family, value, mask) => {
        assert.equal(mask, MARKS.mask);
        asked.push(`IPv${family} ${value / 0x20000000}`);
        return Promise.resolve(carried.has(value) && !cleared.includes(value));
      },
      clear: (_family, value) => Promise.resolve(void cleared.push(value)),
    },
    onDoubt: (why) => doubts.push(why),
    after: (_ms, callback) => {
      timeout = callback;
      return () => {};
    },
  });
  return { spares, doubts, asked, cleared, timeOut: () => timeout() };
}

describe('spare generations', () => {
  it('takes the next one that no flow carries, going round', async () => {
    const { spares, asked } = bench(new Set([bits(3)]));
    assert.equal(await spares.find(4, 3, 2), 1);
    assert.equal(await spares.find(6, 2, 1), 2);
    assert.deepEqual(asked, ['IPv4 3', 'IPv4 1', 'IPv6 2']);
  });

  it('looks once per family and generation in force', async () => {
    const { spares, asked } = bench(new Set());
    assert.deepEqual([await spares.find(4, 3, 2), await spares.find(4, 3, 2)], [3, 3]);
    assert.equal(asked.length, 1);
    await spares.find(4, 1, 3);
    assert.equal(asked.length, 2);
  });

  it('where all are carried: makes the oldest free, never the one in force', async () => {
    const { spares, asked, cleared, doubts } = bench(new Set([bits(1), bits(2), bits(3)]));
    assert.equal(await spares.find(4, 3, 2), 3);
    assert.deepEqual(cleared, [bits(3)]);
    assert.ok(!asked.includes('IPv4 2'));
    assert.deepEqual(doubts, []);
  });

  it('does not hold up a change: late or failed, the next number is taken, and that is told once', async () => {
    const { spares, doubts, timeOut } = bench(new Set());
    const late = spares.find(4, 3, 2);
    timeOut();
    assert.equal(await late, 3);
    assert.match(doubts.join(), /within 500 ms/);
    const missing = new SpareGenerations({
      marks: MARKS,
      flows: { isCarried: () => Promise.reject(new Error('no such tool')), clear: () => Promise.resolve() },
      onDoubt: (why) => doubts.push(why),
      after: () => () => {},
    });
    assert.deepEqual([await missing.find(4, 3, 2), await missing.find(4, 1, 3)], [3, 1]);
    assert.deepEqual(doubts.slice(1), ['no such tool']);
  });
});
