/** Packets traced through a node's rules get the verdict of the reference evaluator. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { Family } from '../../src/core/vocabulary.ts';
import { judgedBy, policiesOf, sharesOf } from '../../src/dataplane/iptables/counters/counted-rules.ts';
import type { Ruleset } from '../../src/dataplane/iptables/rules/ruleset.ts';
import { addressOwners, claimantsOf, isContested } from '../../src/policy/address-owners.ts';
import { auditOutcome, createEvaluator, letsPass } from '../../src/policy/evaluate.ts';
import { type ClusterSnapshot, type Flow, objectKey } from '../../src/policy/model.ts';
import { isAudited } from '../../src/policy/policy-mode.ts';
import { compileNode, renderNode } from '../support/stages.ts';
import { createFakeNode, enforce, LAYOUT } from '../support/fake-cluster.ts';
import { traceRules, traceValues } from '../support/tracer.ts';
import {
  auditedCluster,
  cluster,
  contestedCluster,
  contestedTiers,
  flowsAtEdges,
  NODE,
  tieredCluster,
} from './clusters.ts';
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

describe('property: policies that are only audited', () => {
  it('what is enforced is that of the cluster without them', () => {
    let audited = 0;
    fc.assert(
      fc.property(fc.oneof(cluster, contestedCluster), (snapshot) => {
        const { programs, endpoints, audits } = compileNode(snapshot, NODE);
        const without = compileNode(withoutAudited(snapshot), NODE);
        assert.deepEqual(programs, without.programs);
        const isolated = endpoints.filter((each) => Object.keys(each.programs).length > 0);
        assert.deepEqual(
          isolated.map((each) => ({ ...each, audits: {} })),
          without.endpoints,
        );
        audited += audits.length;
      }),
      runs(300),
    );
    assert.ok(audited > 50, `not much was tried: ${audited}`);
  });

  for (const mode of ['enforce', 'audit'] as const) {
    it(`what they would deny, or newly allow, is what the evaluator says; node in mode ${mode}`, () => {
      const seen = { 'would-deny': 0, 'would-allow': 0 };
      const clusters = fc.oneof(cluster, auditedCluster);
      const withFlows = clusters.chain((snapshot) => fc.tuple(fc.constant(snapshot), flowsAtEdges([snapshot], 60)));
      fc.assert(
        fc.property(withFlows, ([snapshot, flows]) => {
          const ruleset = renderNode(compileNode(snapshot, NODE), { ...LAYOUT, mode });
          const expected = expectedCounts(snapshot, mode);
          for (const flow of flows) {
            const packet = packetOf(snapshot, flow);
            const { matched } = traceValues(ruleset, 1, packet);
            const counted = countsOf(ruleset, packet.family, matched);
            const wanted = expected(flow, packet.hook === 'INPUT');
            assert.deepEqual(counted, wanted, `${JSON.stringify(flow)}\n${matched.join('\n')}`);
            for (const each of counted) seen[each.startsWith('would-deny') ? 'would-deny' : 'would-allow']++;
          }
        }),
        runs(150),
      );
      assert.ok(seen['would-deny'] > 50 && seen['would-allow'] > 15, `not much was tried: ${JSON.stringify(seen)}`);
    });
  }
});

function withoutAudited(snapshot: ClusterSnapshot): ClusterSnapshot {
  const { policies, namespaces } = snapshot;
  const enforced = [...policies].filter(([, policy]) => !isAudited(policy, namespaces.get(policy.namespace)));
  return { ...snapshot, policies: new Map(enforced) };
}

/** What the rules that a packet met count for audit, as `action direction policies`; of would-allow whose it is, not which of them. */
function countsOf({ families }: Ruleset, family: Family, matched: readonly string[]): readonly string[] {
  const { chains, endpointChains } = families[family];
  return matched
    .flatMap((text) => {
      const [, name, rule] = /^(\S+) (.*)$/.exec(text)!;
      const chain = chains.get(name!);
      if (chain?.role.kind !== 'endpoint') return [];
      const index = chain.rules.findIndex((each) => JSON.stringify(each) === rule);
      const judged = judgedBy(chain, policiesOf(endpointChains.get(chain.role.endpoint), chain.role.part));
      return !judged ? [] : sharesOf(chain.rules, judged).filter((share) => share.index === index);
    })
    .flatMap(({ counted: { action, direction, of } }) => {
      if (action !== 'would-deny' && action !== 'would-allow') return [];
      const whose = of.kind === 'policies' ? of.policies.map(objectKey) : [of.kind];
      return `${action} ${direction} ${action === 'would-deny' ? whose.join() : 'some'}`;
    });
}

/** On the sides that this node judges; what egress denies does not come as far as ingress. */
function expectedCounts(snapshot: ClusterSnapshot, mode: 'enforce' | 'audit') {
  const evaluator = createEvaluator(snapshot);
  const owners = addressOwners(snapshot.pods.values());
  return (flow: Flow, isToNode: boolean): readonly string[] => {
    const verdict = evaluator.evaluate(flow);
    const found: string[] = [];
    for (const direction of ['egress', 'ingress'] as const) {
      const address = direction === 'egress' ? flow.source : flow.destination;
      const owner = owners.get(address);
      const isHere = claimantsOf(owner).some(({ nodeName }) => nodeName === NODE);
      if (!isHere || (direction === 'ingress' && isToNode)) continue;
      const judged = verdict[direction];
      // S-73: of an address that several pods show, only what is in force is counted.
      const denied = verdict.ifEnforced?.[direction];
      const outcome = isContested(owner) ? undefined : auditOutcome(verdict, direction);
      if (mode === 'audit' && judged.kind === 'denied')
        found.push(`would-deny ${direction} ${judged.isolatedBy.map(objectKey).join()}`);
      else if (outcome === 'would-deny' && denied?.kind === 'denied')
        found.push(`would-deny ${direction} ${denied.isolatedBy.map(objectKey).join()}`);
      if (outcome === 'would-allow') found.push(`would-allow ${direction} some`);
      if (mode === 'enforce' && !letsPass(judged)) break;
    }
    return found;
  };
}

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
