/** What holds for any way from one cluster to the next. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { compileNode } from '../../src/compile/compile-node.ts';
import { diff } from '../../src/plan/diff.ts';
import { planText } from '../../src/plan/plan.ts';
import type { ClusterSnapshot, Flow } from '../../src/policy/model.ts';
import { renderNode } from '../../src/render/render-node.ts';
import type { FakeKernel } from '../support/fake-kernel.ts';
import { createFakeNode, enforce, LAYOUT } from '../support/fake-cluster.ts';
import { trace } from '../support/tracer.ts';
import { cluster, type ClusterParts, clusterPair, clusterParts, flowsAtEdges, NODE, snapshotOf } from './clusters.ts';
import { packetOf } from './expected.ts';
import { runs } from './runs.ts';

const EMPTY: ClusterParts = { pods: [], namespaces: [], policies: [] };

describe('property: order of objects', () => {
  it('does not matter: the same bytes', () => {
    const reordered = clusterParts.chain((parts) => {
      const unique = (each: { namespace?: string; name: string }): string => `${each.namespace}/${each.name}`;
      const once = {
        pods: [...new Map(parts.pods.map((each) => [unique(each), each])).values()],
        namespaces: [...new Map(parts.namespaces.map((each) => [unique(each), each])).values()],
        policies: [...new Map(parts.policies.map((each) => [unique(each), each])).values()],
      };
      const shuffled = <T>(all: readonly T[]) => fc.shuffledSubarray([...all], { minLength: all.length });
      return fc.tuple(
        fc.constant(once),
        fc.record({
          pods: shuffled(once.pods),
          namespaces: shuffled(once.namespaces),
          policies: shuffled(once.policies),
        }),
      );
    });
    const bytes = (parts: ClusterParts): string => {
      const intent = compileNode(snapshotOf(parts), NODE);
      const ruleset = renderNode(intent, { ...LAYOUT, mode: 'enforce' });
      const empty = { chains: new Map(), hooks: { FORWARD: [], INPUT: [] } };
      return planText(diff(ruleset, { families: { 4: empty, 6: empty }, sets: new Map() }));
    };
    fc.assert(
      fc.property(reordered, ([one, other]) => assert.equal(bytes(other), bytes(one))),
      runs(100),
    );
  });
});

/** Everything of ours in the kernel but what may depend on the way there: generation, room and order. */
function essence(kernel: FakeKernel): unknown {
  const { families, sets } = kernel.state();
  const rules = ([4, 6] as const).map((family) => {
    const { chains, hooks } = families[family]!;
    const withoutGeneration = [...chains].map(([name, lines]) => [
      name,
      lines.map((line) => line.replace(/0x[0-9a-f]+\/0xff000000/, 'GENERATION')),
    ]);
    return { chains: new Map(withoutGeneration as [string, string[]][]), hooks };
  });
  return { rules, sets: new Map([...sets].map(([name, { type, members }]) => [name, { type, members }])) };
}

describe('property: any sequence of snapshots', () => {
  it('ends where the last alone would, plans nothing more, and touches nothing of others', async () => {
    const sequence = fc.array(
      fc.oneof({ weight: 5, arbitrary: cluster }, { weight: 1, arbitrary: fc.constant(snapshotOf(EMPTY)) }),
      { minLength: 2, maxLength: 5 },
    );
    await fc.assert(
      fc.asyncProperty(sequence, fc.boolean(), async (snapshots, readBack) => {
        const node = createFakeNode(NODE);
        const foreign = node.kernel.foreign();
        for (const snapshot of snapshots) {
          const { drift } = await enforce(node, snapshot, readBack);
          assert.deepEqual(drift, []);
        }
        const last = snapshots.at(-1)!;
        const alone = createFakeNode(NODE);
        await enforce(alone, last);
        assert.deepEqual(essence(node.kernel), essence(alone.kernel));
        for (const again of [node, createFakeNode(NODE, node.kernel)]) {
          const { plan, drift } = await enforce(again, last, true);
          assert.deepEqual(drift, []);
          assert.deepEqual(plan?.steps, []);
        }
        assert.equal(node.kernel.foreign(), foreign);
      }),
      runs(60),
    );
  });
});

/** Takes a node from one snapshot to the next and looks at every state that packets could meet on the way. */
async function walkUpdate(before: ClusterSnapshot, after: ClusterSnapshot, flows: readonly Flow[]): Promise<void> {
  const node = createFakeNode(NODE);
  await enforce(node, before);
  const target = createFakeNode(NODE);
  await enforce(target, after);
  const packets = flows.map((flow) => packetOf(after, flow));
  const [old, future] = [node, target].map(({ kernel }) => {
    const state = kernel.state();
    return packets.map((packet) => trace(state, packet));
  }) as [string[], string[]];
  const watched = packets.filter((_, index) => old[index] === future[index]);
  const due = old.filter((verdict, index) => verdict === future[index]);
  const lines: string[] = [];
  node.kernel.onLine = (line) => {
    lines.push(line);
    const state = node.kernel.state();
    for (const [index, packet] of watched.entries()) {
      if (trace(state, packet) === due[index]) continue;
      assert.fail(`not ${due[index]} after:\n${lines.join('\n')}\n${JSON.stringify(packet)}`);
    }
  };
  await enforce(node, after);
}

describe('property: in the middle of an update', () => {
  it('no new connection meets a verdict that is neither the old nor the new one', async () => {
    const updates = clusterPair.chain((pair) => fc.tuple(fc.constant(pair), flowsAtEdges(pair, 40)));
    await fc.assert(
      fc.asyncProperty(updates, ([[before, after], flows]) => walkUpdate(before, after, flows)),
      runs(100),
    );
  });
});
