import assert from 'node:assert/strict';
import { type AgentSample, growthOf } from './torture/soak.ts';
import { NEIGHBOURS, SOAK_FAULTS } from './torture/soak-faults.ts';

const samples = (rssMiB: (index: number) => number, descriptors: (index: number) => number = () => 30): AgentSample[] =>
  Array.from({ length: 40 }, (_, index) => ({
    atSeconds: index,
    rssMiB: rssMiB(index),
    descriptors: descriptors(index),
  }));

describe('fuzz: what a soak calls growth', () => {
  it('a start that settles, and noise, are none', () => {
    assert.deepEqual(growthOf(samples((index) => (index < 8 ? 60 + index * 5 : 100))), []);
    assert.deepEqual(growthOf(samples((index) => 100 + 15 * (index % 2))), []);
    assert.deepEqual(growthOf([]), []);
  });

  it('memory or descriptors that go on and on are', () => {
    assert.match(growthOf(samples((index) => 60 + 3 * index))[0] ?? '', /memory grows/);
    assert.match(
      growthOf(
        samples(
          () => 60,
          (index) => 20 + index,
        ),
      )[0] ?? '',
      /descriptors grow/,
    );
  });

  it('faults have names of their own, and those of neighbours declare their windows', () => {
    assert.equal(new Set(SOAK_FAULTS.map(({ name }) => name)).size, SOAK_FAULTS.length);
    assert.equal(NEIGHBOURS.length, 6);
  });
});
