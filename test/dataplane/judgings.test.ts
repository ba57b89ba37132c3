import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { LocalEndpoint, Program } from '../../src/compile/intent.ts';
import { changedJudgings, isJudgedBy } from '../../src/dataplane/judgings.ts';
import { runs } from '../property/runs.ts';

const KEYS = ['a', 'b', 'c', 'd', 'e', 'f'];
const program = (key: string): Program => ({ key, direction: 'ingress', policies: [], stages: [] });

describe('the judgings that a change of intents concerns', () => {
  it('are those of programs that came, went, or are other objects, in either list', () => {
    const known = new Map(KEYS.map((key) => [key, [program(key), program(key)]]));
    // By key: absent, or one of two.
    const list = fc
      .tuple(...KEYS.map(() => fc.integer({ min: -1, max: 1 })))
      .map((picks) => picks.flatMap((pick, at) => known.get(KEYS[at]!)![pick] ?? []));
    const lists = fc.record({ programs: list, audits: list });
    fc.assert(
      fc.property(lists, lists, (before, after) => {
        const naive = KEYS.filter((key) =>
          (['programs', 'audits'] as const).some((name) => {
            const [old, now] = [before, after].map((each) => each[name].find((one) => one.key === key));
            return old !== now;
          }),
        );
        assert.deepEqual([...changedJudgings(before, after)].sort(), naive);
        assert.equal(changedJudgings(before, before).size, 0);
      }),
      runs(300),
    );
  });

  it('are asked of a pod by its programs and audits of both directions', () => {
    const none: LocalEndpoint = { pod: 'x/a', addresses: [], programs: {}, audits: {} };
    const changed = new Set(['a']);
    assert.equal(isJudgedBy(none, changed), false);
    for (const part of ['programs', 'audits'] as const)
      for (const direction of ['ingress', 'egress'] as const) {
        assert.equal(isJudgedBy({ ...none, [part]: { [direction]: 'a' } }, changed), true);
        assert.equal(isJudgedBy({ ...none, [part]: { [direction]: 'b' } }, changed), false);
        assert.equal(isJudgedBy({ ...none, [part]: { [direction]: 'a' } }, new Set()), false);
      }
  });
});
