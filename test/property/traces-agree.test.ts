/** What `explain --verify` compares never disagrees on a node whose rules are as they should be: evaluator, explanation, traced rules. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { PROTOCOL_NUMBER, PROTOCOLS } from '../../src/core/vocabulary.ts';
import type { Dataplane, TracedVerdict } from '../../src/dataplane/dataplane.ts';
import { createIptablesDataplane } from '../../src/dataplane/iptables/iptables-dataplane.ts';
import { createNftablesDataplane } from '../../src/dataplane/nftables/nftables-dataplane.ts';
import { EpochKeeper } from '../../src/dataplane/nftables/sync/epoch-keeper.ts';
import { NO_INTERFACES } from '../../src/host/pod-interfaces.ts';
import { addressOwners, claimantsOf, isContested } from '../../src/policy/address-owners.ts';
import { connectionOf } from '../../src/policy/connection.ts';
import { letsPass } from '../../src/policy/evaluate.ts';
import { explainFlow } from '../../src/policy/explain-flow.ts';
import { type ClusterSnapshot, type Flow, objectKey } from '../../src/policy/model.ts';
import { LAYOUT } from '../support/fake-cluster.ts';
import { createFakeKernel } from '../support/fake-kernel.ts';
import { createFakeNft } from '../support/nft-fake.ts';
import { traceTable } from '../support/nft-tracer.ts';
import { compileNode } from '../support/stages.ts';
import { type Packet, traceRules } from '../support/tracer.ts';
import { auditedCluster, cluster, contestedCluster, flowsAtEdges, NODE, tieredCluster } from './clusters.ts';
import { packetOf } from './expected.ts';
import { runs } from './runs.ts';

interface Traced {
  readonly dataplane: Dataplane;
  /** What the tests' own tracer makes of what is in the kernel now. */
  readonly walk: (packet: Packet) => 'passed' | 'dropped';
}

const DATAPLANES = {
  iptables: (): Traced => {
    const kernel = createFakeKernel();
    const dataplane = createIptablesDataplane({ kernel, layout: LAYOUT, now: () => 0, firstEpoch: 1 });
    return { dataplane, walk: (packet) => traceRules(kernel.state(), packet).verdict };
  },
  nftables: (): Traced => {
    const kernel = createFakeNft();
    const epochs = new EpochKeeper({ marks: LAYOUT.marks!, firstEpoch: 1, now: () => 0 });
    const options = { kernel, table: 'portcullis', layout: LAYOUT, now: () => 0, epochs };
    return {
      dataplane: createNftablesDataplane(options),
      walk: (packet) => traceTable(kernel.table()!, packet).verdict,
    };
  },
};
const USUAL = fc.oneof(cluster, contestedCluster, auditedCluster);
const KINDS = (['iptables', 'nftables'] as const).flatMap((name) => [
  [name, 'enforce', 'of NetworkPolicies', USUAL] as const,
  [name, 'audit', 'of NetworkPolicies', USUAL] as const,
  [name, 'enforce', 'with tiers', tieredCluster] as const,
]);

describe('property: traces of the product agree', () => {
  for (const [name, mode, what, clusters] of KINDS) {
    it(`with evaluator and explanation, verdict by verdict and policy by policy: ${name}, mode ${mode}, ${what}`, async () => {
      const seen = { passes: 0, dropped: 0, allowed: 0, denied: 0 };
      const withFlows = clusters.chain((each) => fc.tuple(fc.constant(each), flowsAtEdges([each], 60)));
      await fc.assert(
        fc.asyncProperty(withFlows, async ([snapshot, flows]) => {
          for (const { flow, traced, byTests } of await tracedOf(DATAPLANES[name](), snapshot, flows, mode)) {
            const text = `${JSON.stringify(flow)}\n${traced.why}\n${traced.path.join('\n')}`;
            assert.ok(traced.kind !== 'unknown', text);
            seen[traced.kind]++;
            assert.equal(traced.kind, byTests === 'passed' ? 'passes' : 'dropped', text);
            checkAgainstExplanation(snapshot, flow, traced, mode, seen, text);
          }
        }),
        runs(mode === 'audit' ? 30 : 80),
      );
      const isEnough = mode === 'audit' || (seen.dropped > 60 && seen.allowed > 3 && seen.denied > 30);
      assert.ok(seen.passes > 200 && isEnough, `not much was tried: ${JSON.stringify(seen)}`);
    });
  }
});

async function tracedOf(
  { dataplane, walk }: Traced,
  snapshot: ClusterSnapshot,
  flows: readonly Flow[],
  mode: 'enforce' | 'audit',
) {
  const intent = compileNode(snapshot, NODE);
  await dataplane.sync(intent, { mode, resync: true, interfaces: NO_INTERFACES });
  const asked = flows.flatMap((flow) => {
    const protocol = PROTOCOLS.find((each) => PROTOCOL_NUMBER[each] === flow.protocol);
    return protocol ? [{ flow, traceable: { ...flow, protocol } }] : [];
  });
  const nodeAddresses = snapshot.nodes.get(NODE)?.addresses ?? [];
  const place = { nodeAddresses, localAddresses: intent.localAddresses, interfaces: NO_INTERFACES };
  const found = await dataplane.trace(
    asked.map(({ traceable }) => traceable),
    place,
  );
  return (
    asked
      .map(({ flow }, index) => ({
        flow,
        traced: found[index]!,
        byTests: walk(packetOf(snapshot, flow)),
      }))
      // What the node sends itself meets no rule of ours; the tests' tracer asks what FORWARD would do.
      .filter(({ flow }) => !nodeAddresses.includes(flow.source))
  );
}

function checkAgainstExplanation(
  snapshot: ClusterSnapshot,
  flow: Flow,
  traced: TracedVerdict,
  mode: string,
  seen: { allowed: number; denied: number },
  text: string,
): void {
  const owners = addressOwners(snapshot.pods.values());
  const isHere = (address: string): boolean =>
    claimantsOf(owners.get(address)).some(({ nodeName }) => nodeName === NODE);
  const isClaimedTwice = [flow.source, flow.destination].some((address) => isContested(owners.get(address)));
  // What a pod sends to itself is forwarded only if it came by way of a Service (N-71).
  const { directions } = explainFlow(snapshot, connectionOf(owners, { ...flow, viaService: true }));
  const here = directions.filter(({ direction }) => isHere(direction === 'egress' ? flow.source : flow.destination));
  const passes = mode === 'audit' || here.every(({ verdict }) => letsPass(verdict));
  assert.equal(traced.kind, passes ? 'passes' : 'dropped', text);
  // S-73: whose rules judge an address that several pods show is not told by one of them.
  if (mode === 'audit' || isClaimedTwice) return;
  for (const { direction, verdict } of here) {
    const decided = traced.decided.filter((each) => each.direction === direction);
    if (verdict.kind === 'allowed') {
      seen.allowed++;
      const [{ rules } = { rules: [] }] = decided.filter(({ action }) => action === 'allow');
      const names = verdict.by.map((rule) => JSON.stringify([objectKey(rule.policy), rule.index]));
      assert.ok(
        rules.some((rule) => names.includes(JSON.stringify([objectKey(rule.policy), rule.index]))),
        `${direction} ${JSON.stringify(decided)} is not by ${names.join()}\n${text}`,
      );
    }
    if (verdict.kind === 'denied') {
      seen.denied++;
      const [denial] = decided.filter(({ action }) => action === 'deny');
      // Policies of the whole cluster stand beside those that isolate.
      const isolating = denial?.policies.filter(({ namespace }) => namespace !== '');
      assert.deepEqual(isolating?.map(objectKey), verdict.isolatedBy.map(objectKey), `${direction}\n${text}`);
      return;
    }
    if (verdict.kind === 'tier-rule' && verdict.action === 'Deny') {
      seen.denied++;
      const [denial] = decided.filter(({ action }) => action === 'deny');
      // Rules next to each other with the same action are asked in any order: it may be another one of the tier that matches, too.
      const tiers = denial?.policies.map(({ name }) => snapshot.clusterPolicies!.get(name)?.tier) ?? [];
      assert.deepEqual([...new Set(tiers)], [verdict.by.policy.tier], `${direction}\n${text}`);
      return;
    }
  }
}
