/** Packets traced through a node's rules get the verdict of the reference evaluator. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { ClusterSnapshot } from '../../src/policy/model.ts';
import { compileNode, renderNode } from '../support/stages.ts';
import { createFakeNode, enforce, LAYOUT } from '../support/fake-cluster.ts';
import { traceRules, traceValues } from '../support/tracer.ts';
import { cluster, contestedCluster, contestedTiers, flowsAtEdges, NODE, tieredCluster } from './clusters.ts';
import { expectedHere, packetOf } from './expected.ts';
import { runs } from './runs.ts';

describe('property: traced rules agree with the evaluator', () => {
  it('on flows at the edges of what any cluster says', () => agree(cluster, 150, { passed: 1000, dropped: 400 }));

  it('on addresses that several pods show (S-73)', () => agree(contestedCluster, 150, { passed: 1000, dropped: 400 }));
});

describe('property: with tiers of cluster-wide policies', () => {
  it('traced rules agree with the evaluator', () => agree(tieredCluster, 150, { passed: 1000, dropped: 400 }));

  it('also on addresses that several pods show', () => agree(contestedTiers, 100, { passed: 600, dropped: 400 }));
});

async function agree(
  clusters: fc.Arbitrary<ClusterSnapshot>,
  count: number,
  atLeast: { readonly passed: number; readonly dropped: number },
): Promise<void> {
  const seen = { passed: 0, dropped: 0 };
  const withFlows = clusters.chain((snapshot) => fc.tuple(fc.constant(snapshot), flowsAtEdges([snapshot], 60)));
  await fc.assert(
    fc.asyncProperty(withFlows, async ([snapshot, flows]) => {
      const node = createFakeNode(NODE);
      await enforce(node, snapshot);
      const state = node.kernel.state();
      const ruleset = renderNode(compileNode(snapshot, NODE), { ...LAYOUT, mode: 'enforce' });
      const expected = expectedHere(snapshot);
      for (const flow of flows) {
        const { passes, why } = expected(flow);
        const { verdict, matched } = traceRules(state, packetOf(snapshot, flow));
        seen[verdict]++;
        const text = `${JSON.stringify(flow)}\n${why}\n${matched.join('\n')}`;
        assert.equal(verdict, passes ? 'passed' : 'dropped', text);
        // The same before any text is made.
        assert.equal(traceValues(ruleset, 1, packetOf(snapshot, flow)).verdict, verdict, text);
      }
    }),
    runs(count),
  );
  const isEnough = seen.passed > atLeast.passed && seen.dropped > atLeast.dropped;
  assert.ok(isEnough, `not much was tried: ${JSON.stringify(seen)}`);
}
