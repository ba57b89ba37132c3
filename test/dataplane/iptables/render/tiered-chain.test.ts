/** Names of chains with tiers of cluster-wide policies. */
import assert from 'node:assert/strict';
import { parseClusterPolicy } from '../../../../src/policy/parse-cluster-policy.ts';
import { namespace, pod, snapshot } from '../../../support/builders.ts';
import { LAYOUT } from '../../../support/fake-cluster.ts';
import { compileNode, renderNode } from '../../../support/stages.ts';

function namesOf(...actions: readonly string[]): readonly string[] {
  const ingress = actions.map((action, index) => ({
    action,
    from: [{ namespaces: { matchLabels: { index: `${index}` } } }],
  }));
  const tiers = ['Admin', 'Baseline'].map((tier) => {
    const spec = { tier, priority: 1, subject: { namespaces: {} }, ingress };
    return parseClusterPolicy({ metadata: { name: tier.toLowerCase() }, spec }).policy!;
  });
  const cluster = {
    ...snapshot({ namespaces: [namespace('x')], pods: [pod('x/a', { addresses: ['10.0.0.1'] })], policies: [] }),
    clusterPolicies: new Map(tiers.map((policy) => [policy.name, policy])),
  };
  const { families } = renderNode(compileNode(cluster, 'node-1'), { ...LAYOUT, mode: 'enforce' });
  return [...families[4].endpointChains.keys()];
}

describe('names of chains with tiers', () => {
  it('chains with the same rules and other actions have other names', () => {
    const all = [namesOf('Deny', 'Pass', 'Deny'), namesOf('Pass', 'Deny', 'Deny'), namesOf('Accept', 'Deny', 'Pass')];
    assert.deepEqual([...new Set(all.flat())].length, 3);
  });
});
