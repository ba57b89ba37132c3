/** What the matrix says of classes of ends and ports is what the evaluator says of each flow. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { ClusterSnapshot, Flow } from '../../src/policy/model.ts';
import { addressOwners, claimantsOf } from '../../src/policy/address-owners.ts';
import { connectionOf } from '../../src/policy/connection.ts';
import { createEvaluator } from '../../src/policy/evaluate.ts';
import { explainFlow } from '../../src/policy/explain-flow.ts';
import { familyOf } from '../../src/net/ip.ts';
import { changesBetween } from '../../src/policy/matrix/changes.ts';
import { groupEnds } from '../../src/policy/matrix/groups.ts';
import { objectKey } from '../../src/policy/model.ts';
import { FlowMatrix } from '../../src/policy/matrix/matrix.ts';
import {
  cluster,
  clusterPair,
  contestedCluster,
  contestedTiers,
  crowdedCluster,
  flowsAtEdges,
  tieredCluster,
  tieredPair,
} from './clusters.ts';
import { runs } from './runs.ts';

const any = fc.oneof(
  cluster,
  contestedCluster,
  crowdedCluster.map(({ crowded }) => crowded),
);

/** The same pods under other policies. */
const otherPolicies = fc
  .tuple(cluster, cluster)
  .map(([one, { policies }]): readonly [ClusterSnapshot, ClusterSnapshot] => [one, { ...one, policies }]);

/** The same pods, nodes and policies under other cluster-wide policies. */
const otherTiers = fc
  .tuple(tieredCluster, tieredCluster)
  .map(([one, { clusterPolicies = new Map() }]): readonly [ClusterSnapshot, ClusterSnapshot] => [
    one,
    { ...one, clusterPolicies },
  ]);

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
      runs(80),
    );
    assert.ok(seen.allowed > 1000 && seen.denied > 300 && seen.grouped > 20, JSON.stringify(seen));
  });

  it('says it where cluster-wide policies decide, in doubt as well (N-60 to N-67, N-90)', () => {
    const seen = { flows: 0, allowed: 0, denied: 0, grouped: 0, byTiers: 0, passed: 0, nodes: 0 };
    const withFlows = fc
      .oneof({ weight: 3, arbitrary: tieredCluster }, { weight: 1, arbitrary: contestedTiers })
      .chain((snapshot) => fc.tuple(fc.constant(snapshot), flowsAtEdges([snapshot], 60)));
    fc.assert(
      fc.property(withFlows, ([snapshot, flows]) => {
        const matrix = new FlowMatrix([snapshot]);
        compare(snapshot, matrix, 0, [...flows, ...nodeFlows(snapshot, flows)], seen);
        seen.grouped += matrix.classes.filter(({ members }) => members.length > 1).length;
        seen.byTiers += matrix.verdicts.filter(({ kind }) => kind === 'tier-rule').length;
        seen.passed += matrix.verdicts.filter(({ passedBy }) => passedBy !== undefined).length;
        seen.nodes += new Set(matrix.classes.flatMap(({ kind, values }) => (kind === 'node' ? values : []))).size;
      }),
      runs(110),
    );
    const { grouped, byTiers, passed, nodes, ...flows } = seen;
    assert.ok(flows.allowed > 1000 && flows.denied > 500, JSON.stringify(seen));
    assert.ok(
      [grouped, byTiers, passed, nodes].every((count) => count > 20),
      JSON.stringify(seen),
    );
  });

  it('says it of two states of a cluster at once', () => {
    const seen = { flows: 0, allowed: 0, denied: 0 };
    const pairs = fc.oneof({ weight: 2, arbitrary: clusterPair }, { weight: 1, arbitrary: tieredPair });
    const withFlows = pairs.chain((pair) => fc.tuple(fc.constant(pair), flowsAtEdges(pair, 40)));
    fc.assert(
      fc.property(withFlows, ([pair, flows]) => {
        const matrix = new FlowMatrix(pair);
        for (const [world, snapshot] of pair.entries()) compare(snapshot, matrix, world, flows, seen);
      }),
      runs(50),
    );
    assert.ok(seen.allowed > 1000 && seen.denied > 150, JSON.stringify(seen));
  });

  it('finds the changes that the evaluator finds between the pods of two states, pair by pair and port by port', () => {
    const seen = { 'newly-allowed': 0, 'newly-denied': 0 };
    fc.assert(
      fc.property(fc.oneof(clusterPair, otherPolicies, tieredPair, otherTiers), (pair) => {
        const matrix = new FlowMatrix(pair);
        const groups = groupEnds(matrix, (kind, member) => ({ kind, namespace: '', name: member }));
        const pods = groups.filter(({ type, name }) => type === 'pod' && !name.includes(' and '));
        const ports = [...matrix.ports.keys()];
        const found = [...changesBetween(matrix, pods, pods, ports)].flatMap(({ change, from, to, ports: at, pairs }) =>
          at.map((port) => `${from.name} ${to.name} ${port} ${change} ${pairs}`),
        );
        const expected = expectedChanges(pair, matrix);
        assert.deepEqual(found.sort(), expected.sort());
        for (const line of expected) seen[line.includes('newly-allowed') ? 'newly-allowed' : 'newly-denied']++;
      }),
      runs(80),
    );
    assert.ok(seen['newly-allowed'] > 200 && seen['newly-denied'] > 100, JSON.stringify(seen));
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
      runs(60),
    );
    assert.ok(changed > 20, `${changed} flows`);
  });
});

/** `from to port change pairs`, by the evaluator alone. A pod is the same in both states by its name; each of its families is an end. */
function expectedChanges(pair: readonly ClusterSnapshot[], { ports }: FlowMatrix): string[] {
  const worlds = pair.map((snapshot) => {
    const byPod = new Map<string, string>();
    for (const [address, owner] of addressOwners(snapshot.pods.values()))
      if (claimantsOf(owner).length === 1) byPod.set(`${objectKey(owner)} ${familyOf(address)}`, address);
    return { byPod, evaluator: createEvaluator(snapshot) };
  });
  const allowed = (world: number, from: string, to: string, port: number): boolean | undefined => {
    const { byPod, evaluator } = worlds[world]!;
    const [source, destination] = [byPod.get(from), byPod.get(to)];
    if (source === undefined || destination === undefined) return undefined;
    const { number, port: at } = ports[port]!;
    return evaluator.evaluate({ source, destination, protocol: number, port: at }).allowed;
  };
  const ends = [...worlds[1]!.byPod.keys()];
  const counts = new Map<string, number>();
  for (const from of ends) {
    for (const to of ends) {
      if (from === to || from.at(-1) !== to.at(-1)) continue;
      for (const port of ports.keys()) {
        const [was, is] = [allowed(0, from, to, port) ?? false, allowed(1, from, to, port)!];
        if (was === is) continue;
        const key = `${from.slice(0, -2)} ${to.slice(0, -2)} ${port} ${is ? 'newly-allowed' : 'newly-denied'}`;
        counts.set(key, (counts.get(key) ?? 0) + 1);
      }
    }
  }
  return [...counts].map(([key, count]) => `${key} ${count}`);
}

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
