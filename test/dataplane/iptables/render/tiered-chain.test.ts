/** Chains with tiers of cluster-wide policies: their names, and who meets them. */
import assert from 'node:assert/strict';
import { DenyingParts } from '../../../../src/dataplane/denying-parts.ts';
import type { Ruleset } from '../../../../src/dataplane/iptables/rules/ruleset.ts';
import type { RuleRef } from '../../../../src/policy/model.ts';
import { parseClusterPolicy } from '../../../../src/policy/parse-cluster-policy.ts';
import { namespace, pod, snapshot } from '../../../support/builders.ts';
import { LAYOUT } from '../../../support/fake-cluster.ts';
import { compileNode, renderNode } from '../../../support/stages.ts';
import { traceValues } from '../../../support/tracer.ts';

function rulesetOf(...actions: readonly string[]): Ruleset {
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
  return renderNode(compileNode(cluster, 'node-1'), { ...LAYOUT, mode: 'enforce' });
}

const namesOf = (...actions: readonly string[]) => [...rulesetOf(...actions).families[4].endpointChains.keys()];

describe('chains with tiers', () => {
  it('chains with the same rules and other actions have other names', () => {
    const all = [namesOf('Deny', 'Pass', 'Deny'), namesOf('Pass', 'Deny', 'Deny'), namesOf('Accept', 'Deny', 'Pass')];
    assert.deepEqual([...new Set(all.flat())].length, 3);
  });

  it('a packet of a flow that was judged meets the same rules whatever the tiers say', () => {
    const met = (...actions: readonly string[]): readonly string[] => {
      const ruleset = rulesetOf(...actions);
      const connection = { mark: 0 };
      const packet = { family: 4, source: '203.0.113.9', destination: '10.0.0.1', protocol: 6, port: 80 } as const;
      assert.equal(traceValues(ruleset, 1, { ...packet, connection }).verdict, 'passed');
      const { verdict, matched } = traceValues(ruleset, 1, { ...packet, state: 'ESTABLISHED', connection });
      assert.equal(verdict, 'passed');
      return matched;
    };
    assert.deepEqual(met('Deny', 'Pass', 'Accept', 'Deny'), met());
  });

  it('answers of a flow that is judged again are asked for the port that they come from', () => {
    const web = [{ tcp: { destinationPort: { number: 80 } } }];
    const ingress = [
      { action: 'Accept', from: [{ namespaces: {} }], protocols: web },
      { action: 'Deny', from: [{ namespaces: {} }] },
    ];
    const spec = {
      tier: 'Admin',
      priority: 1,
      subject: { pods: { podSelector: { matchLabels: { pod: 'a' } } } },
      ingress,
    };
    const { policy } = parseClusterPolicy({ metadata: { name: 'web' }, spec });
    const pods = [pod('x/a', { addresses: ['10.0.0.1'] }), pod('x/b', { addresses: ['10.9.0.1'], nodeName: 'node-2' })];
    const cluster = { ...snapshot({ pods }), clusterPolicies: new Map([['web', policy!]]) };
    const ruleset = renderNode(compileNode(cluster, 'node-1'), { ...LAYOUT, mode: 'enforce' });
    const answer = (sourcePort: number): string => {
      const ends = { source: '10.0.0.1', destination: '10.9.0.1', protocol: 6, port: 40_000, sourcePort } as const;
      const live = { family: 4, state: 'ESTABLISHED', direction: 'REPLY', connection: { mark: 0 } } as const;
      return traceValues(ruleset, 1, { ...live, ...ends }).verdict;
    };
    assert.deepEqual([80, 81].map(answer), ['passed', 'dropped']);
  });

  it('more policies than there are parts share the last part', () => {
    const by = (name: string): readonly RuleRef[] => [
      { policy: { namespace: '', name, tier: 'Admin' }, direction: 'ingress', index: 0 },
    ];
    const parts = new DenyingParts();
    const numbers = Array.from({ length: 20 }, (_, index) => parts.numberOf(by(`p${index}`)));
    assert.deepEqual(numbers, [...Array(15).keys(), ...Array(5).fill(15)]);
    assert.equal(parts.numberOf(by('p3')), 3);
    assert.deepEqual(
      parts.all().map(({ policies }) => policies.length),
      [...Array(15).fill(1), 5],
    );
  });
});
