/** A rule that lint calls shadowed changes no verdict when it is taken out. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { createEvaluator } from '../../src/policy/evaluate.ts';
import {
  type ClusterPolicy,
  type ClusterSnapshot,
  objectKey,
  type Policy,
  UNKNOWN_LABELS,
} from '../../src/policy/model.ts';
import { shadowedRules } from '../../src/policy/lint.ts';
import { neverReached } from '../../src/policy/lint-tiers.ts';
import { cluster, crowdedPair, flowsAtEdges, tieredCluster } from './clusters.ts';
import { runs } from './runs.ts';

const ANY = { peers: 'any', ports: 'any' } as const;

describe('property: shadowed rules', () => {
  it('are no loss, one by one, in any cluster', () => {
    let tried = 0;
    const any = fc.oneof(
      cluster,
      crowdedPair.map(([one]) => one),
    );
    // A wide rule beside others: chance alone makes few of them.
    const widened = fc.tuple(any, fc.nat()).map(([snapshot, pick]) => {
      const policies = [...snapshot.policies.values()];
      const chosen = policies[pick % Math.max(1, policies.length)];
      if (!chosen) return snapshot;
      const [first] = chosen.ingress;
      const wide = first ? { ...first, ports: 'any' as const } : ANY;
      const changed: Policy = { ...chosen, ingress: chosen.isolates.ingress ? [...chosen.ingress, wide] : [] };
      return { ...snapshot, policies: new Map(snapshot.policies).set(objectKey(chosen), changed) };
    });
    const withFlows = widened.chain((snapshot) => fc.tuple(fc.constant(snapshot), flowsAtEdges([snapshot], 40)));
    fc.assert(
      fc.property(withFlows, ([snapshot, flows]) => {
        const before = createEvaluator(snapshot);
        for (const { object, path } of shadowedRules([...snapshot.policies.values()])) {
          const [, direction, index] = path as ['spec', 'ingress' | 'egress', number];
          const key = `${object.namespace}/${object.name}`;
          const policy = snapshot.policies.get(key)!;
          const without = { ...policy, [direction]: policy[direction].filter((_, at) => at !== index) } as Policy;
          const after = createEvaluator({ ...snapshot, policies: new Map(snapshot.policies).set(key, without) });
          tried++;
          for (const flow of flows)
            assert.equal(after.evaluate(flow).allowed, before.evaluate(flow).allowed, `${key} ${direction}[${index}]`);
        }
      }),
      runs(120),
    );
    assert.ok(tried > 60, `${tried} rules`);
  });

  it('of tiers, that are never reached, are no loss either (N-61)', () => {
    const seen = { rules: 0, decided: 0 };
    // Of labels that are not known anything may be so, and an Accept before a Deny then does not take its place.
    const known = tieredCluster.map(
      ({ pods, namespaces, clusterPolicies, labelledNodes, ...rest }): ClusterSnapshot => ({
        ...rest,
        clusterPolicies: widenedTiers(clusterPolicies!),
        labelledNodes: labelledNodes!,
        pods: new Map(
          [...pods].filter(([, { labels, namespace }]) => labels !== UNKNOWN_LABELS && namespaces.has(namespace)),
        ),
        namespaces: new Map([...namespaces].filter(([, { labels }]) => labels !== UNKNOWN_LABELS)),
      }),
    );
    const withFlows = known.chain((snapshot) => fc.tuple(fc.constant(snapshot), flowsAtEdges([snapshot], 60)));
    fc.assert(
      fc.property(withFlows, ([snapshot, flows]) => {
        const policies = snapshot.clusterPolicies!;
        const before = createEvaluator(snapshot);
        for (const { object, path } of neverReached([...policies.values()])) {
          const [, direction, index] = path as ['spec', 'ingress' | 'egress', number];
          const policy = policies.get(object.name)!;
          const without = {
            ...policy,
            [direction]: policy[direction].filter((_, at) => at !== index),
          } as ClusterPolicy;
          const after = createEvaluator({ ...snapshot, clusterPolicies: new Map(policies).set(object.name, without) });
          seen.rules++;
          for (const flow of flows) {
            const [was, is] = [before.evaluate(flow), after.evaluate(flow)];
            assert.equal(is.allowed, was.allowed, `${object.name} ${direction}[${index}]`);
            if ([was.egress, was.ingress].some(({ kind }) => kind === 'tier-rule')) seen.decided++;
          }
        }
      }),
      runs(200),
    );
    assert.ok(seen.rules > 60 && seen.decided > 200, JSON.stringify(seen));
  });
});

/** A first rule that matches much, which chance alone seldom makes, ahead of the others of every second policy. */
function widenedTiers(policies: ReadonlyMap<string, ClusterPolicy>): ReadonlyMap<string, ClusterPolicy> {
  return new Map(
    [...policies].map(([name, policy], index) => {
      const [first] = policy.ingress;
      if (!first || index % 2 === 1) return [name, policy];
      return [
        name,
        { ...policy, ingress: [{ ...first, ports: 'any' as const }, ...policy.ingress.slice(0, 2), first] },
      ];
    }),
  );
}
