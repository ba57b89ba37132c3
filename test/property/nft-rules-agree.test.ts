/** Packets traced through a node's table of nftables get the verdict of the reference evaluator. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { NodeRenderer } from '../../src/dataplane/nftables/render/render-node.ts';
import type { Table } from '../../src/dataplane/nftables/table/table.ts';
import type { ClusterSnapshot } from '../../src/policy/model.ts';
import { LAYOUT } from '../support/fake-cluster.ts';
import { inForce } from '../support/nft-fake.ts';
import { traceTable } from '../support/nft-tracer.ts';
import { compileNode } from '../support/stages.ts';
import { cluster, contestedCluster, contestedTiers, flowsAtEdges, NODE, tieredCluster } from './clusters.ts';
import { expectedHere, packetOf } from './expected.ts';
import { runs } from './runs.ts';

describe('property: a traced table of nftables agrees with the evaluator', () => {
  it('on flows at the edges of what any cluster says', () => agree(cluster, 150, { passed: 1000, dropped: 400 }));

  it('on addresses that several pods show (S-73)', () => agree(contestedCluster, 150, { passed: 1000, dropped: 400 }));

  it('with tiers of cluster-wide policies', () => agree(tieredCluster, 150, { passed: 1000, dropped: 400 }));

  it('with tiers, on addresses that several pods show', () =>
    agree(contestedTiers, 100, { passed: 600, dropped: 400 }));

  it('for one renderer that follows the cluster, as for one that meets it first', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(cluster, tieredCluster), { minLength: 2, maxLength: 4 }), (snapshots) => {
        const renderer = new NodeRenderer();
        let followed: Table | undefined;
        for (const snapshot of snapshots) followed = render(renderer, snapshot);
        assert.deepEqual(printed(followed!), printed(render(new NodeRenderer(), snapshots.at(-1)!)));
      }),
      runs(100),
    );
  });
});

function agree(
  clusters: fc.Arbitrary<ClusterSnapshot>,
  count: number,
  atLeast: { readonly passed: number; readonly dropped: number },
): void {
  const seen = { passed: 0, dropped: 0 };
  const withFlows = clusters.chain((snapshot) => fc.tuple(fc.constant(snapshot), flowsAtEdges([snapshot], 60)));
  fc.assert(
    fc.property(withFlows, ([snapshot, flows]) => {
      const table = inForce(render(new NodeRenderer(), snapshot), 1, LAYOUT.marks!);
      const expected = expectedHere(snapshot);
      for (const flow of flows) {
        const { passes, why } = expected(flow);
        const { verdict, matched } = traceTable(table, packetOf(snapshot, flow));
        seen[verdict]++;
        assert.equal(verdict, passes ? 'passed' : 'dropped', `${JSON.stringify(flow)}\n${why}\n${matched.join('\n')}`);
      }
    }),
    runs(count),
  );
  const isEnough = seen.passed > atLeast.passed && seen.dropped > atLeast.dropped;
  assert.ok(isEnough, `not much was tried: ${JSON.stringify(seen)}`);
}

function render(renderer: NodeRenderer, snapshot: ClusterSnapshot): Table {
  return renderer.render(compileNode(snapshot, NODE), { ...LAYOUT, mode: 'enforce' });
}

function printed({ chains, sets }: Table): unknown {
  return {
    chains: new Map([...chains.values()].map(({ name, hook, lines }) => [name, { hook, lines }])),
    sets: new Map([...sets.values()].map(({ name, type, elements }) => [name, { type, elements: new Set(elements) }])),
  };
}
