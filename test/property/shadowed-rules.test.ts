/** A rule that lint calls shadowed changes no verdict when it is taken out. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { createEvaluator } from '../../src/policy/evaluate.ts';
import { objectKey, type Policy } from '../../src/policy/model.ts';
import { shadowedRules } from '../../src/policy/lint.ts';
import { cluster, crowdedPair, flowsAtEdges } from './clusters.ts';
import { runs } from './runs.ts';

const ANY = { peers: 'any', ports: 'any' } as const;

describe('property: shadowed rules', () => {
  it('are no loss, one by one, in any cluster', () => {
    let tried = 0;
    const any = fc.oneof(
      cluster,
      crowdedPair.map(([one]) => one),
    );
    // A wide rule beside others: chance alone makes few of them.
    const widened = fc.tuple(any, fc.nat()).map(([snapshot, pick]) => {
      const policies = [...snapshot.policies.values()];
      const chosen = policies[pick % Math.max(1, policies.length)];
      if (!chosen) return snapshot;
      const [first] = chosen.ingress;
      const wide = first ? { ...first, ports: 'any' as const } : ANY;
      const changed: Policy = { ...chosen, ingress: chosen.isolates.ingress ? [...chosen.ingress, wide] : [] };
      return { ...snapshot, policies: new Map(snapshot.policies).set(objectKey(chosen), changed) };
    });
    const withFlows = widened.chain((snapshot) => fc.tuple(fc.constant(snapshot), flowsAtEdges([snapshot], 40)));
    fc.assert(
      fc.property(withFlows, ([snapshot, flows]) => {
        const before = createEvaluator(snapshot);
        for (const { object, path } of shadowedRules([...snapshot.policies.values()])) {
          const [, direction, index] = path as ['spec', 'ingress' | 'egress', number];
          const key = `${object.namespace}/${object.name}`;
          const policy = snapshot.policies.get(key)!;
          const without = { ...policy, [direction]: policy[direction].filter((_, at) => at !== index) } as Policy;
          const after = createEvaluator({ ...snapshot, policies: new Map(snapshot.policies).set(key, without) });
          tried++;
          for (const flow of flows)
            assert.equal(after.evaluate(flow).allowed, before.evaluate(flow).allowed, `${key} ${direction}[${index}]`);
        }
      }),
      runs(120),
    );
    assert.ok(tried > 60, `${tried} rules`);
  });
});
