/** Explanations of flows agree with the evaluator, and what they propose makes the flow pass in that direction and touches no other policy. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { addressOwners } from '../../src/policy/address-owners.ts';
import { connectionOf } from '../../src/policy/connection.ts';
import { createEvaluator } from '../../src/policy/evaluate.ts';
import { explainFlow } from '../../src/policy/explain-flow.ts';
import { objectKey, type Policy } from '../../src/policy/model.ts';
import { parsePolicy } from '../../src/policy/parse.ts';
import { cluster, flowsAtEdges } from './clusters.ts';
import { runs } from './runs.ts';

describe('property: explanations of flows', () => {
  it('say what the evaluator says, and a new policy that they propose lets the flow pass once it is read', () => {
    const seen = { denied: 0, proposed: 0, policies: 0 };
    const withFlows = cluster.chain((snapshot) => fc.tuple(fc.constant(snapshot), flowsAtEdges([snapshot], 30)));
    fc.assert(
      fc.property(withFlows, ([snapshot, flows]) => {
        const evaluator = createEvaluator(snapshot);
        const owners = addressOwners(snapshot.pods.values());
        for (const flow of flows) {
          const verdict = evaluator.evaluate(flow);
          const explained = explainFlow(snapshot, connectionOf(owners, flow));
          assert.equal(explained.allowed, verdict.allowed);
          for (const { direction, verdict: own, remedy } of explained.directions) {
            assert.deepEqual(own, verdict[direction]);
            if (own.kind !== 'denied') {
              assert.equal(remedy, undefined);
              continue;
            }
            seen.denied++;
            if (!remedy) continue;
            seen.proposed++;
            if (remedy.kind !== 'new-policy') {
              assert.ok(own.isolatedBy.some((ref) => objectKey(ref) === objectKey(remedy.policy)));
              continue;
            }
            seen.policies++;
            const policy = parsePolicy(remedy.manifest).policy as Policy;
            const policies = new Map(snapshot.policies).set(objectKey(policy), policy);
            assert.equal(policies.size, snapshot.policies.size + 1);
            const after = createEvaluator({ ...snapshot, policies }).evaluate(flow)[direction];
            assert.equal(after.kind, 'allowed', JSON.stringify(remedy.manifest));
          }
        }
      }),
      runs(150),
    );
    assert.ok(seen.proposed > 100 && seen.policies > 10, JSON.stringify(seen));
  });
});
