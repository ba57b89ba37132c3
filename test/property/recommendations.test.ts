/** No recommended policy denies a flow that was seen, in whatever cluster, with and without the policies that are there. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { DIRECTIONS } from '../../src/core/vocabulary.ts';
import { parseCidr } from '../../src/net/cidr.ts';
import { createEvaluator, letsPass } from '../../src/policy/evaluate.ts';
import { lastingLabels } from '../../src/policy/lasting-labels.ts';
import { type ClusterSnapshot, type Flow, objectKey, type Pod, type Policy } from '../../src/policy/model.ts';
import { parsePolicy } from '../../src/policy/parse.ts';
import { recommend, type Recommendation } from '../../src/policy/recommend/recommend.ts';
import { auditedCluster, cluster, contestedCluster, flowsAtEdges, tieredCluster } from './clusters.ts';
import { runs } from './runs.ts';

function policiesOf({ policies }: Recommendation): Map<string, Policy> {
  const parsed = policies.map(({ manifest }) => {
    const { policy, problems } = parsePolicy(manifest);
    assert.deepEqual(problems, []);
    return policy!;
  });
  return new Map(parsed.map((policy) => [objectKey(policy), policy]));
}

/** By labels, or by one of them alone: then the pods of a group differ in others. */
const GROUPINGS: readonly ((pod: Pod) => string)[] = [
  ({ labels }) => `pods/${JSON.stringify(lastingLabels(labels))}`,
  ({ labels }) => `pods/${labels.app ?? 'none'}`,
  ({ name }) => `pod/${name}`,
];

const arbitrary = fc.oneof(cluster, auditedCluster, contestedCluster, tieredCluster).chain((snapshot) =>
  fc.record({
    snapshot: fc.constant(snapshot),
    flows: flowsAtEdges([snapshot], 30),
    others: flowsAtEdges([snapshot], 30),
    groupOf: fc.constantFrom(...GROUPINGS),
    fromScratch: fc.boolean(),
    most: fc.constantFrom(0, 1, 3),
  }),
);

describe('property: recommended policies', () => {
  it('let every observed flow pass that they could deny, and withhold what does not', () => {
    const seen = { policies: 0, withheld: 0, denied: 0, keptOut: 0, wide: 0, byTiers: 0 };
    fc.assert(
      fc.property(arbitrary, ({ snapshot, flows, others, groupOf, fromScratch, most }) => {
        const observed = flows.map((flow, index) => ({ flow, count: 1, from: `line ${index}` }));
        const podBlocks = [parseCidr('10.0.0.0/16')!, parseCidr('fd00::/64')!];
        const found = recommend(snapshot, observed, {
          groupOf,
          isFor: (namespace) => namespace !== 'n3',
          directions: DIRECTIONS,
          limits: { most, podBlocks },
          fromScratch,
        });
        const recommended = policiesOf(found);
        assert.ok([...recommended.values()].every(({ namespace }) => namespace !== 'n3'));
        const policies = new Map([...(fromScratch ? [] : snapshot.policies), ...recommended]);
        const judge = judgeIn({ ...snapshot, policies });
        const told = new Set(found.denied.map(({ seen: { flow }, direction }) => keyOf(flow, direction)));
        for (const flow of flows) {
          const verdict = judge(flow);
          for (const direction of DIRECTIONS) {
            const own = verdict[direction];
            assert.equal(told.has(keyOf(flow, direction)), !letsPass(own), JSON.stringify([flow, direction, own]));
            if (own.kind === 'tier-rule') seen.byTiers++;
            if (own.kind !== 'denied') continue;
            seen.denied++;
            assert.ok(!own.isolatedBy.some((ref) => recommended.has(objectKey(ref))), JSON.stringify(flow));
          }
        }
        seen.policies += recommended.size;
        seen.withheld += found.withheld.length;
        seen.keptOut += others.filter((flow) => !judge(flow).allowed).length;
        seen.wide += found.policies.filter(({ rules }) => rules.some(({ notes }) => notes.length > 0)).length;
      }),
      runs(200),
    );
    assert.ok(
      Object.values(seen).every((count) => count > 10),
      JSON.stringify(seen),
    );
  });
});

function judgeIn(snapshot: ClusterSnapshot) {
  const evaluator = createEvaluator(snapshot);
  return (flow: Flow) => {
    const verdict = evaluator.evaluate(flow);
    return verdict.ifEnforced ?? verdict;
  };
}

function keyOf({ source, destination, protocol, port }: Flow, direction: string): string {
  return `${source} ${destination} ${protocol} ${port} ${direction}`;
}
