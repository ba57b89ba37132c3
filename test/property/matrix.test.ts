/** What the matrix says of classes of ends and ports is what the evaluator says of each flow. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { ClusterSnapshot, Flow } from '../../src/policy/model.ts';
import { addressOwners, claimantsOf } from '../../src/policy/address-owners.ts';
import { connectionOf, createEvaluator } from '../../src/policy/evaluate.ts';
import { explainFlow } from '../../src/policy/explain-flow.ts';
import { FlowMatrix } from '../../src/policy/matrix/matrix.ts';
import { cluster, clusterPair, contestedCluster, crowdedCluster, flowsAtEdges } from './clusters.ts';
import { runs } from './runs.ts';

const any = fc.oneof(
  cluster,
  contestedCluster,
  crowdedCluster.map(({ crowded }) => crowded),
);

describe('property: the matrix of flows', () => {
  it('says of every flow what the evaluator and explanations say', () => {
    const seen = { flows: 0, allowed: 0, denied: 0, grouped: 0 };
    const withFlows = any.chain((snapshot) => fc.tuple(fc.constant(snapshot), flowsAtEdges([snapshot], 60)));
    fc.assert(
      fc.property(withFlows, ([snapshot, flows]) => {
        const matrix = new FlowMatrix([snapshot]);
        compare(snapshot, matrix, 0, [...flows, ...nodeFlows(snapshot, flows)], seen);
        seen.grouped += matrix.classes.filter(({ members }) => members.length > 1).length;
      }),
      runs(150),
    );
    assert.ok(seen.allowed > 1000 && seen.denied > 300 && seen.grouped > 30, JSON.stringify(seen));
  });

  it('says it of two states of a cluster at once', () => {
    const seen = { flows: 0, allowed: 0, denied: 0 };
    const withFlows = clusterPair.chain((pair) => fc.tuple(fc.constant(pair), flowsAtEdges(pair, 40)));
    fc.assert(
      fc.property(withFlows, ([pair, flows]) => {
        const matrix = new FlowMatrix(pair);
        for (const [world, snapshot] of pair.entries()) compare(snapshot, matrix, world, flows, seen);
      }),
      runs(100),
    );
    assert.ok(seen.allowed > 1000 && seen.denied > 300, JSON.stringify(seen));
  });

  it('judges as if audited policies were enforced, where that is asked', () => {
    let changed = 0;
    const withFlows = cluster.chain((snapshot) => fc.tuple(fc.constant(snapshot), flowsAtEdges([snapshot], 40)));
    fc.assert(
      fc.property(withFlows, ([snapshot, flows]) => {
        const matrix = new FlowMatrix([snapshot], { enforcesAudited: true });
        const evaluator = createEvaluator(snapshot);
        for (const flow of flows) {
          const verdict = evaluator.evaluate(flow);
          const { egress, ingress } = verdict.ifEnforced ?? verdict;
          const ours = matrix.judge(0, flow);
          if (ours) assert.deepEqual(ours, { egress, ingress });
          if (verdict.ifEnforced && verdict.ifEnforced.allowed !== verdict.allowed) changed++;
        }
      }),
      runs(80),
    );
    assert.ok(changed > 30, `${changed} flows`);
  });
});

function compare(
  snapshot: ClusterSnapshot,
  matrix: FlowMatrix,
  world: number,
  flows: readonly Flow[],
  seen: { flows: number; allowed: number; denied: number },
): void {
  const evaluator = createEvaluator(snapshot);
  const owners = addressOwners(snapshot.pods.values());
  for (const flow of flows) {
    const { allowed, egress, ingress } = evaluator.evaluate(flow);
    const ours = matrix.judge(world, flow);
    assert.ok(ours, `not judged: ${JSON.stringify(flow)}`);
    assert.deepEqual(ours, { egress, ingress }, JSON.stringify(flow));
    const { directions } = explainFlow(snapshot, connectionOf(owners, flow));
    assert.deepEqual(
      directions.map(({ verdict }) => verdict),
      [ours.egress, ours.ingress],
    );
    seen.flows++;
    seen[allowed ? 'allowed' : 'denied']++;
  }
}

/** The same flows from each node that no destination is on. */
function nodeFlows(snapshot: ClusterSnapshot, flows: readonly Flow[]): Flow[] {
  const owners = addressOwners(snapshot.pods.values());
  return flows.flatMap((flow) =>
    [...snapshot.nodes.values()].flatMap(({ name, addresses }): Flow[] => {
      const source = addresses.find((each) => each.includes(':') === flow.destination.includes(':'));
      const isOwn = claimantsOf(owners.get(flow.destination)).some(({ nodeName }) => nodeName === name);
      return source === undefined || isOwn || owners.has(source) ? [] : [{ ...flow, source, fromNode: name }];
    }),
  );
}
