/** Rules of cluster-wide policies that are more than a node takes: pods under them are closed, those with fewest rules last, and it is told. */
import assert from 'node:assert/strict';
import { loadSnapshot, NodeCompiler } from '../../src/compile/compile-node.ts';
import type { NodeIntent } from '../../src/compile/intent.ts';
import { NAMESPACE_LIMITS } from '../../src/compile/limits.ts';
import type { ClusterPolicy, ClusterSnapshot, Policy } from '../../src/policy/model.ts';
import { parseClusterPolicy } from '../../src/policy/parse-cluster-policy.ts';

import { namespace, pod, policy, snapshot } from '../support/builders.ts';

/** Rules that do not merge. */
function policyOf(name: string, team: string, count: number): ClusterPolicy {
  const egress = Array.from({ length: count }, (_, index) => ({
    action: index % 2 === 0 ? 'Accept' : 'Deny',
    to: [{ networks: [`203.0.113.${index}/32`] }],
  }));
  const subject = { namespaces: { matchLabels: { team } } };
  return parseClusterPolicy({ metadata: { name }, spec: { tier: 'Admin', priority: 1, subject, egress } }).policy!;
}

function clusterOf(tiers: readonly ClusterPolicy[], policies: readonly Policy[] = []): ClusterSnapshot {
  return {
    ...snapshot({
      pods: [
        pod('x/a', { addresses: ['10.0.0.1'] }),
        pod('x/b', { addresses: ['10.0.0.2'] }),
        pod('y/c', { addresses: ['10.0.0.3'] }),
      ],
      namespaces: [namespace('x', { team: 'x' }), namespace('y', { team: 'y' })],
      policies,
    }),
    clusterPolicies: new Map(tiers.map((each) => [each.name, each])),
  };
}

function compiled(cluster: ClusterSnapshot, tierRules: number): NodeIntent {
  const compiler = new NodeCompiler('node-1', undefined, { ...NAMESPACE_LIMITS, tierRules });
  loadSnapshot(compiler, cluster);
  return compiler.intent();
}

/** Of each pod how many rules its egress has. */
function rulesOf({ endpoints, programs }: NodeIntent): Readonly<Record<string, number>> {
  const byKey = new Map(programs.map((program) => [program.key, program]));
  return Object.fromEntries(
    endpoints.map((endpoint) => [
      endpoint.pod,
      byKey.get(endpoint.programs.egress!)!.stages.reduce((sum, { rules }) => sum + rules.length, 0),
    ]),
  );
}

describe('limit on the rules of tiers', () => {
  const tiers = [policyOf('long', 'x', 30), policyOf('short', 'y', 6)];

  it('fault: programs that do not fit deny everything, the smallest are kept, and whose rules they are is told (N-90)', () => {
    const intent = compiled(clusterOf(tiers), 35);
    assert.deepEqual(rulesOf(intent), { 'x/a': 1, 'x/b': 1, 'y/c': 6 });
    const closed = intent.programs.find(({ policies }) => policies.some(({ name }) => name === 'long'))!;
    assert.deepEqual(closed.stages, [
      {
        tier: 'Admin',
        order: 'first-match',
        otherwise: 'next',
        rules: [
          {
            action: 'Deny',
            by: [{ policy: { namespace: '', name: 'long', tier: 'Admin' }, direction: 'egress', index: 1 }],
            ports: { kind: 'any' },
            peers: { 4: { kind: 'any' }, 6: { kind: 'any' } },
          },
        ],
      },
    ]);
    const told = intent.problems.map(({ object, message }) => [
      object.name,
      /more than the 35 .*denied everything/.test(message),
    ]);
    assert.deepEqual(told, [['long', true]]);
  });

  it('counts the rules of each program, as each has them: a NetworkPolicy for one of two pods makes two', () => {
    assert.deepEqual(rulesOf(compiled(clusterOf(tiers), 36)), { 'x/a': 30, 'x/b': 30, 'y/c': 6 });
    const deny = policy('x/deny', { podSelector: { matchLabels: { pod: 'a' } }, policyTypes: ['Egress'] });
    const apart = compiled(clusterOf(tiers, [deny]), 66);
    assert.deepEqual(apart.problems, []);
    const { 'x/a': a, 'x/b': b, 'y/c': c } = rulesOf(compiled(clusterOf(tiers, [deny]), 65));
    assert.deepEqual([new Set([a, b]), c], [new Set([1, 30]), 6]);
  });

  it('is no more once the rules fit, and the same whatever came first', () => {
    const compiler = new NodeCompiler('node-1', undefined, { ...NAMESPACE_LIMITS, tierRules: 35 });
    loadSnapshot(compiler, clusterOf(tiers));
    const before = rulesOf(compiler.intent());
    compiler.clusterPolicy('short', undefined);
    assert.deepEqual(rulesOf(compiler.intent()), { 'x/a': 30, 'x/b': 30 });
    compiler.clusterPolicy('short', tiers[1]);
    assert.deepEqual(rulesOf(compiler.intent()), before);
    assert.deepEqual(compiler.intent().programs, compiled(clusterOf(tiers.toReversed()), 35).programs);
  });
});
