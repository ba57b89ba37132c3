/** What packets, kills and restarts see of a table of nftables that follows a cluster. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { ClusterSnapshot, Flow } from '../../src/policy/model.ts';
import { AgentKilled, createFakeNft } from '../support/nft-fake.ts';
import { createNftNode, type NftNode } from '../support/nft-node.ts';
import type { Connection, Packet } from '../support/tracer.ts';
import { clusterPair, crowdedPair, flowsAtEdges, NODE, tieredPair } from './clusters.ts';
import { expectedHere, goneBetween, packetOf } from './expected.ts';
import { runs } from './runs.ts';

const anyPair = fc.oneof({ weight: 3, arbitrary: clusterPair }, { weight: 2, arbitrary: tieredPair });
const withFlows = (pair: typeof anyPair) => pair.chain((each) => fc.tuple(fc.constant(each), flowsAtEdges(each, 40)));
const pairs = withFlows(anyPair);

function verdicts(node: NftNode, snapshot: ClusterSnapshot, flows: readonly Flow[]): readonly boolean[] {
  return flows.map((flow) => node.walk(packetOf(snapshot, flow), flow).verdict === 'passed');
}

function expectedOf(snapshot: ClusterSnapshot, flows: readonly Flow[]): readonly boolean[] {
  const expected = expectedHere(snapshot);
  return flows.map((flow) => expected(flow).passes);
}

describe('property: updates of a table of nftables', () => {
  it('each commit shows the old verdicts or the new ones, of all flows at once', async () => {
    await fc.assert(
      fc.asyncProperty(pairs, async ([[before, after], flows]) => {
        const node = createNftNode(NODE);
        await node.bring(before);
        const [old, wanted] = [expectedOf(before, flows), expectedOf(after, flows)];
        const seen: string[] = [];
        node.kernel.onCommit = () => {
          const now = verdicts(node, after, flows);
          const isOld = now.every((each, index) => each === old[index]);
          const isNew = now.every((each, index) => each === wanted[index]);
          if (!isOld && !isNew) seen.push(JSON.stringify(now));
        };
        await node.bring(after);
        assert.deepEqual(seen, []);
        assert.deepEqual(verdicts(node, after, flows), wanted);
        assert.equal((await node.bring(after)).steps, 0, 'a pass over an unchanged cluster plans nothing');
      }),
      runs(100),
    );
  });

  it('fault: the agent is killed ahead of any transaction; the next one writes what is missing, and a third one nothing', async () => {
    await fc.assert(
      fc.asyncProperty(pairs, fc.integer({ min: 0, max: 2 }), async ([[before, after], flows], diesAfter) => {
        const kernel = createFakeNft();
        const node = createNftNode(NODE, { kernel });
        await node.bring(before);
        kernel.faults.diesAfter = diesAfter;
        await node.sync(after).catch((error: unknown) => assert.ok(error instanceof AgentKilled));
        kernel.faults.diesAfter = undefined;
        const next = createNftNode(NODE, { kernel });
        await next.bring(after);
        assert.deepEqual(verdicts(next, after, flows), expectedOf(after, flows));
        const third = createNftNode(NODE, { kernel });
        assert.equal((await third.bring(after)).steps, 0, 'a restart with an unchanged cluster writes nothing');
      }),
      runs(60),
    );
  });

  it('live flows end with the permission, in both directions, and not before', () =>
    liveFlows(pairs, 100, { kept: 300, cut: 30 }));

  it('the same of flows that shared sets of addresses with ports allow', () =>
    liveFlows(withFlows(crowdedPair), 12, { kept: 20, cut: 0 }));
});

async function liveFlows(
  arbitrary: typeof pairs,
  count: number,
  atLeast: { readonly kept: number; readonly cut: number },
): Promise<void> {
  const seen = { kept: 0, cut: 0 };
  await fc.assert(
    fc.asyncProperty(arbitrary, fc.boolean(), async ([[before, after], flows], isRestarted) => {
      const kernel = createFakeNft();
      const node = createNftNode(NODE, { kernel });
      await node.bring(before);
      const live = flows.flatMap((flow): { flow: Flow; connection: Connection }[] => {
        const connection = { mark: 0 };
        const { verdict } = node.walk({ ...packetOf(before, flow), connection }, flow);
        return verdict === 'passed' ? [{ flow, connection }] : [];
      });
      await (isRestarted ? createNftNode(NODE, { kernel }) : node).bring(after);
      const expected = expectedHere(after);
      const isGone = goneBetween(before, after);
      for (const { flow, connection } of live) {
        const packet: Packet = { ...packetOf(before, flow), state: 'ESTABLISHED' };
        if (packet.hook === 'INPUT' || flow.protocol === 1 || flow.protocol === 58) continue;
        const reply: Packet = {
          ...packet,
          source: packet.destination,
          destination: packet.source,
          port: 40_001,
          sourcePort: packet.port,
          direction: 'REPLY',
        };
        const { passes, why } = expected(flow);
        if (!passes && isGone(flow)) continue;
        for (const each of [packet, reply]) {
          const { verdict, matched } = node.walk({ ...each, connection: { ...connection } }, flow);
          const wanted = passes ? 'passed' : 'dropped';
          assert.equal(verdict, wanted, `${JSON.stringify(each)}\n${why}\n${matched.join('\n')}`);
        }
        seen[passes ? 'kept' : 'cut']++;
      }
    }),
    runs(count),
  );
  const isEnough = seen.kept >= atLeast.kept && seen.cut >= atLeast.cut;
  assert.ok(isEnough, `not much was tried: ${JSON.stringify(seen)}`);
}
