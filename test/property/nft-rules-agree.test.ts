/** Packets traced through a node's table of nftables get the verdict of the reference evaluator. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { NodeCompiler } from '../../src/compile/compile-node.ts';
import { runSync } from '../../src/core/sliced.ts';
import { NodeRenderer } from '../../src/dataplane/nftables/render/render-node.ts';
import type { Layout, Table } from '../../src/dataplane/nftables/table/table.ts';
import { NO_INTERFACES, type PodInterfaces } from '../../src/host/pod-interfaces.ts';
import type { ClusterSnapshot } from '../../src/policy/model.ts';
import { feed, LAYOUT } from '../support/fake-cluster.ts';
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
      fc.property(fc.array(fc.oneof(moment(cluster), moment(tieredCluster)), MOMENTS), followedAsMet),
      runs(100),
    );
  });
});

const MOMENTS = { minLength: 2, maxLength: 4 };
const CLOSED: Layout = { ...LAYOUT, mode: 'enforce', newPods: { interfacePrefixes: ['eth'] } };
const LAYOUTS: readonly Layout[] = [
  { ...LAYOUT, mode: 'enforce' },
  { ...LAYOUT, mode: 'enforce' },
  { ...LAYOUT, mode: 'audit' },
  CLOSED,
];

/** A cluster, where its pods are attached, what the kernel refuses, and how it is enforced; most of it as the moment before. */
interface Moment {
  readonly snapshot: ClusterSnapshot;
  /** One bit for each local pod that has an interface, and one for how. */
  readonly attached: number;
  /** Which chain or set is refused, of those that there are; 0: none. */
  readonly refused: number;
  readonly layout: Layout;
}

function moment(clusters: fc.Arbitrary<ClusterSnapshot>): fc.Arbitrary<Moment> {
  return fc.record({
    snapshot: clusters,
    attached: fc.oneof(fc.constant(0), fc.nat(255)),
    refused: fc.oneof(fc.constant(0), fc.nat(40)),
    layout: fc.constantFrom(...LAYOUTS),
  });
}

/** As one agent does it: one compiler, one renderer. */
function followedAsMet(moments: readonly Moment[]): void {
  const renderer = new NodeRenderer();
  const compiler = new NodeCompiler(NODE);
  let known: ClusterSnapshot | undefined;
  // Each as it is, and once more with the policies of the one before it: what changes one by one is followed in smaller steps.
  const steps = moments.flatMap((each, at) => [
    each,
    { ...each, snapshot: moments[at - 1]?.snapshot ?? each.snapshot },
  ]);
  for (const { snapshot, attached, refused, layout } of steps) {
    feed(compiler, known, snapshot);
    known = snapshot;
    const intent = compiler.intent();
    const interfaces = interfacesOf(snapshot, attached);
    const whole = new NodeRenderer().render(intent, layout, interfaces);
    const names = [...whole.chains.keys(), ...whole.sets.keys()].filter((name) => /^PCL|-/.test(name));
    const rejected = new Set(refused === 0 || names.length === 0 ? [] : [names[refused % names.length]!]);
    const followed = runSync(renderer.renderInSteps(intent, layout, interfaces, { rejected }));
    const met = new NodeRenderer();
    assert.deepEqual(printed(followed), printed(runSync(met.renderInSteps(intent, layout, interfaces, { rejected }))));
    for (const name of followed.sets.keys()) assert.equal(renderer.stopping.has(name), met.stopping.has(name), name);
  }
}

function interfacesOf({ pods }: ClusterSnapshot, attached: number): PodInterfaces {
  const local = [...pods].filter(([, { nodeName }]) => nodeName === NODE);
  const found = local.flatMap(([pod], index): PodInterfaces['pods'] =>
    attached & (1 << index) ? [{ name: `eth${index}`, via: attached & 1 ? 'route' : 'second', pod }] : [],
  );
  return { ...NO_INTERFACES, pods: found };
}

function agree(
  clusters: fc.Arbitrary<ClusterSnapshot>,
  count: number,
  atLeast: { readonly passed: number; readonly dropped: number },
): void {
  const seen = { passed: 0, dropped: 0 };
  const withFlows = clusters.chain((snapshot) => fc.tuple(fc.constant(snapshot), flowsAtEdges([snapshot], 60)));
  fc.assert(
    fc.property(withFlows, ([snapshot, flows]) => {
      const table = inForce(render(new NodeRenderer(), snapshot), 1, { ...LAYOUT, mode: 'enforce' });
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
