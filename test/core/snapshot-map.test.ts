import assert from 'node:assert/strict';
import fc from 'fast-check';
import { type MapVersion, SnapshotMap } from '../../src/core/snapshot-map.ts';
import { runs } from '../property/runs.ts';

/** The hash of the map, before its bits are mixed. */
function fnv(text: string, state = 0x811c9dc5): number {
  let hash = state;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return hash;
}

/** Two texts that lead from one state of the hash to the same other one; there is a pair among some 80,000. */
function pairFrom(state: number): readonly [string, string] {
  const seen = new Map<number, string>();
  for (let n = 0; ; n++) {
    const text = n.toString(36);
    const hash = fnv(text, state);
    const other = seen.get(hash);
    if (other !== undefined) return [other, text];
    seen.set(hash, text);
  }
}

/** Sixteen texts of one hash: no branch parts them. */
const ALIKE = [1, 2, 3, 4].reduce<readonly string[]>(
  (texts) => {
    const pair = pairFrom(fnv(texts[0]!));
    return texts.flatMap((text) => pair.map((each) => text + each));
  },
  [''],
);
const KEYS = [...ALIKE, '', ...Array.from({ length: 400 }, (_, n) => `10.0.${n >> 8}.${n & 255}`)];

const edits = fc.array(
  fc.record({
    key: fc.constantFrom(...KEYS),
    value: fc.option(fc.nat(), { nil: undefined }),
    keep: fc.integer({ min: 0, max: 20 }).map((n) => n === 0),
  }),
  { maxLength: 3000, size: 'max' },
);

const ascending = (a: number, b: number): number => a - b;

describe('a map with snapshots', () => {
  it('is tried with texts that hash alike', () => {
    assert.equal(new Set(ALIKE).size, 16);
    assert.equal(new Set(ALIKE.map((text) => fnv(text))).size, 1);
  });

  it('holds what a Map holds, and each snapshot what the map held then', () =>
    fc.assert(
      fc.property(edits, (walk) => {
        const map = new SnapshotMap<number>();
        const model = new Map<string, number>();
        const kept: (readonly [MapVersion<number>, ReadonlyMap<string, number>])[] = [];
        for (const { key, value, keep } of walk) {
          map.set(key, value);
          if (value === undefined) model.delete(key);
          else model.set(key, value);
          if (keep) kept.push([map.snapshot(), new Map(model)]);
        }
        for (const [version, expected] of [...kept, [map, model] as const]) {
          assert.equal(version.size, expected.size);
          for (const key of KEYS) assert.equal(version.get(key), expected.get(key));
          assert.deepEqual([...version.values()].sort(ascending), [...expected.values()].sort(ascending));
        }
      }),
      runs(15),
    ));

  it('is the same snapshot until something changes', () => {
    const map = new SnapshotMap<number>();
    const empty = map.snapshot();
    map.set('a', undefined);
    assert.equal(map.snapshot(), empty);
    map.set('a', 1);
    const one = map.snapshot();
    map.set('a', 1);
    assert.equal(map.snapshot(), one);
    map.set('a', 2);
    assert.notEqual(map.snapshot(), one);
    assert.deepEqual([empty.get('a'), one.get('a'), map.get('a')], [undefined, 1, 2]);
  });

  it('gives back what it took when everything is gone', () => {
    const map = new SnapshotMap<number>();
    for (const key of KEYS) map.set(key, 1);
    for (const key of KEYS) map.set(key, undefined);
    assert.equal(map.size, 0);
    assert.equal(map.countBranches(), 0);
  });
});
