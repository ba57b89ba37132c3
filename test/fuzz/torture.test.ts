/** What the torture is made of: objects an API server takes, the same for the same seed, and of every kind. */
import assert from 'node:assert/strict';
import { ApiStore } from '../../lab/api/api-store.ts';
import { parsePolicy } from '../../src/policy/parse.ts';
import { parseClusterPolicy } from '../../src/policy/parse-cluster-policy.ts';
import { Dice } from './torture/dice.ts';
import { NODES, someClusterPolicySpec, somePod, somePodAddresses, somePolicySpec } from './torture/objects.ts';
import { policyObject } from '../support/builders.ts';
import { namespaceObject } from '../support/api-objects.ts';

const COUNT = 300;

function policiesOf(seed: string): object[] {
  const dice = new Dice(seed);
  return Array.from({ length: COUNT }, (_, index) => policyObject(`default/p${index}`, somePolicySpec(dice)));
}

function podsOf(seed: string): object[] {
  const dice = new Dice(seed);
  return Array.from({ length: COUNT }, (_, index) => {
    const node = dice.pick(NODES);
    return somePod(dice, { namespace: 'default', name: `a${index}`, node, addresses: somePodAddresses(dice, node) });
  });
}

function clusterPoliciesOf(seed: string): { metadata: { name: string }; spec: object }[] {
  const dice = new Dice(seed);
  return Array.from({ length: COUNT }, (_, index) => {
    return { metadata: { name: `c${index}` }, spec: someClusterPolicySpec(dice) };
  });
}

describe('fuzz: the objects of the torture', () => {
  it('are taken by an API server, and understood whole', () => {
    const store = new ApiStore();
    store.create('namespaces', namespaceObject('default'));
    for (const object of podsOf('one')) store.create('pods', object);
    for (const object of policiesOf('one')) {
      const stored = store.create('networkpolicies', object);
      assert.deepEqual(parsePolicy(stored).problems, [], JSON.stringify(object));
    }
  });

  it('are understood but for domain names where they are cluster-wide policies (N-90)', () => {
    const store = new ApiStore();
    let odd = 0;
    for (const object of clusterPoliciesOf('one')) {
      const { problems } = parseClusterPolicy(store.create('clusternetworkpolicies', object));
      odd += problems.length;
      for (const { field } of problems) assert.match(field, /domainNames$/, JSON.stringify(object));
    }
    assert.ok(odd > 3, `${odd} entries are not understood`);
  });

  it('are the same for the same seed, and others for another', () => {
    assert.deepEqual(policiesOf('one'), policiesOf('one'));
    assert.deepEqual(podsOf('one'), podsOf('one'));
    assert.notDeepEqual(policiesOf('two'), policiesOf('one'));
  });

  it('say everything that can be said', () => {
    const text = JSON.stringify([policiesOf('one'), podsOf('one'), clusterPoliciesOf('one')]);
    const words = [
      'In',
      'NotIn',
      'Exists',
      'DoesNotExist',
      'ipBlock',
      'except',
      'namespaceSelector',
      'podSelector',
      'endPort',
      'Admin',
      'Baseline',
      'Pass',
      'networks',
      'nodes',
      'destinationNamedPort',
      'range',
    ];
    const values = [
      '"SCTP"',
      '"port":"web"',
      '"policyTypes":["Egress"]',
      '"ingress":[]',
      '{}',
      '::/0',
      '/32',
      'restartPolicy',
    ];
    for (const word of [...words.map((each) => `"${each}"`), ...values]) assert.ok(text.includes(word), word);
  });
});
