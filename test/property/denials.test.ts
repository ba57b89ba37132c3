/** Explanations of denials say what the evaluator says, and every clause they call false is false by itself. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { DIRECTIONS, type Direction } from '../../src/core/vocabulary.ts';
import type { ClusterSnapshot, Flow, Peer, Policy, Rule } from '../../src/policy/model.ts';
import { EVERYTHING, objectKey } from '../../src/policy/model.ts';
import { addressOwners } from '../../src/policy/address-owners.ts';
import { connectionOf } from '../../src/policy/connection.ts';
import { createEvaluator, evaluate } from '../../src/policy/evaluate.ts';
import { explainDenial, type FailedTerm, type Reason, reasonText } from '../../src/policy/explain-denial.ts';
import { cluster, contestedCluster, flowsAtEdges } from './clusters.ts';
import { runs } from './runs.ts';

describe('property: explanations of denials', () => {
  it('agree with the evaluator on flows at the edges of what any cluster says', () =>
    hold(cluster, { denied: 400, rules: 200 }));

  it('and on addresses that several pods show (S-73)', () => hold(contestedCluster, { denied: 400, rules: 50 }));
});

async function hold(
  clusters: fc.Arbitrary<ClusterSnapshot>,
  atLeast: { readonly denied: number; readonly rules: number },
): Promise<void> {
  const seen = { denied: 0, rules: 0, terms: new Set<string>() };
  const withFlows = clusters.chain((snapshot) => fc.tuple(fc.constant(snapshot), flowsAtEdges([snapshot], 40)));
  fc.assert(
    fc.property(withFlows, ([snapshot, flows]) => {
      const evaluator = createEvaluator(snapshot);
      const owners = addressOwners(snapshot.pods.values());
      const reversed = { ...snapshot, policies: new Map([...snapshot.policies].reverse()) };
      for (const flow of flows) {
        const verdict = evaluator.evaluate(flow);
        const connection = connectionOf(owners, flow);
        for (const direction of DIRECTIONS) {
          const explained = explainDenial(snapshot, direction, connection);
          assert.deepEqual(explained.verdict, verdict[direction]);
          assert.deepEqual(explainDenial(reversed, direction, connection), explained);
          if (explained.verdict.kind !== 'denied') {
            assert.deepEqual(explained.policies, []);
            continue;
          }
          seen.denied++;
          assert.deepEqual(
            explained.policies.map(({ policy }) => policy),
            explained.verdict.isolatedBy,
          );
          for (const { policy, reason } of explained.policies) {
            const found = snapshot.policies.get(objectKey(policy))!;
            checkReason(snapshot, found, direction, flow, reason, seen);
            assert.ok(reasonText(reason, direction, connection).length > 0);
          }
        }
      }
    }),
    runs(200),
  );
  const text = JSON.stringify({ ...seen, terms: [...seen.terms] });
  assert.ok(
    seen.denied > atLeast.denied && seen.rules > atLeast.rules && seen.terms.size >= 5,
    `not much was tried: ${text}`,
  );
}

function checkReason(
  snapshot: ClusterSnapshot,
  policy: Policy,
  direction: Direction,
  flow: Flow,
  reason: Reason,
  seen: { rules: number; readonly terms: Set<string> },
): void {
  switch (reason.kind) {
    case 'no-rules':
      assert.deepEqual(policy[direction], []);
      return;
    case 'subject-labels-unknown':
    case 'address-claimed':
      // Whatever its rules say.
      assert.ok(!allows(snapshot, policy, direction, flow, [{ ports: 'any', peers: 'any' }]));
      return;
    case 'rule':
      seen.rules++;
      checkRule(snapshot, policy, direction, flow, reason, seen.terms);
  }
}

function checkRule(
  snapshot: ClusterSnapshot,
  policy: Policy,
  direction: Direction,
  flow: Flow,
  { index, failed }: Reason & { kind: 'rule' },
  terms: Set<string>,
): void {
  const { ports, peers } = policy[direction][index]!;
  const holds = (rule: Rule): boolean => allows(snapshot, policy, direction, flow, [rule]);
  const failing = failed.map(({ kind }) => kind);
  assert.ok(failing.length > 0);
  assert.equal(holds({ ports, peers: 'any' }), !failing.includes('ports'));
  assert.equal(holds({ ports: 'any', peers }), !failing.includes('peers'));
  for (const clause of failed) {
    if (clause.kind === 'ports') assert.deepEqual(clause.ports, ports);
    else
      for (const term of clause.nearest) {
        terms.add(term.kind);
        for (const peer of peersOf(term)) assert.ok(!holds({ ports: 'any', peers: [peer] }), JSON.stringify(term));
      }
  }
  // No rule of which fewer clauses fail.
  for (const rule of policy[direction]) {
    const misses = [holds({ ...rule, peers: 'any' }), holds({ ...rule, ports: 'any' })].filter((is) => !is).length;
    assert.ok(misses >= failing.length);
  }
}

/** Peers that ask for the term and nothing else; none for what no peer can say by itself. */
function peersOf(term: FailedTerm): Peer[] {
  switch (term.kind) {
    case 'outside-block':
      return [{ kind: 'ip-block', cidr: term.cidr, except: [] }];
    case 'excepted':
      return [{ kind: 'ip-block', cidr: term.cidr, except: [term.except] }];
    case 'not-a-pod':
      return [{ kind: 'pods', namespaces: EVERYTHING, pods: EVERYTHING }];
    case 'other-namespace':
      return [{ kind: 'pods', namespaces: 'own', pods: EVERYTHING }];
    case 'label': {
      const selector = { kind: 'all-of', requirements: [term.requirement] } as const;
      return [
        term.of === 'pod'
          ? { kind: 'pods', namespaces: EVERYTHING, pods: selector }
          : { kind: 'pods', namespaces: selector, pods: EVERYTHING },
      ];
    }
    case 'unusable':
    case 'unknown-labels':
      return [];
  }
}

/** Whether the policy would let the flow pass if these were its rules, and no other policy had any. */
function allows(
  snapshot: ClusterSnapshot,
  policy: Policy,
  direction: Direction,
  flow: Flow,
  rules: readonly Rule[],
): boolean {
  const policies = [...snapshot.policies.values()].map((each) => {
    const own = objectKey(each) === objectKey(policy) ? rules : [];
    return [objectKey(each), { ...each, [direction]: own }] as const;
  });
  return evaluate({ ...snapshot, policies: new Map(policies) }, flow)[direction].kind === 'allowed';
}
