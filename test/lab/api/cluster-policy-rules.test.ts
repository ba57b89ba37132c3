/** What the API server takes of ClusterNetworkPolicy, and what it says of the rest. */
import assert from 'node:assert/strict';
import { validateClusterPolicy } from '../../../lab/api/cluster-policy-rules.ts';

const ALL = { namespaces: {} };
const told = (spec: object): readonly string[] =>
  validateClusterPolicy({ spec: { tier: 'Admin', priority: 1, subject: ALL, ...spec } }).map(
    ({ field }) => field ?? '',
  );
const egress = (rule: object): readonly string[] => told({ egress: [{ action: 'Deny', to: [ALL], ...rule }] });

describe('validation of ClusterNetworkPolicy', () => {
  it('takes what the API has', () => {
    assert.deepEqual(egress({ protocols: [{ tcp: { destinationPort: { range: { start: 1, end: 65535 } } } }] }), []);
    assert.deepEqual(egress({ to: [{ networks: ['10.0.0.0/8', '::/0'] }, { nodes: {} }] }), []);
  });

  for (const [what, found, field] of [
    ['another tier (N-10)', told({ tier: 'Top' }), 'spec.tier'],
    ['a priority beyond 1000 (N-11)', told({ priority: 1001 }), 'spec.priority'],
    ['two kinds of subject (N-12)', told({ subject: { ...ALL, pods: {} } }), 'spec.subject'],
    [
      '26 rules (N-13)',
      told({ ingress: Array.from({ length: 26 }, () => ({ action: 'Deny', from: [ALL] })) }),
      'spec.ingress',
    ],
    ['another action (N-15)', egress({ action: 'Allow' }), 'spec.egress[0].action'],
    ['no peers (N-16)', egress({ to: [] }), 'spec.egress[0].to'],
    ['an empty list of protocols (N-17)', egress({ protocols: [] }), 'spec.egress[0].protocols'],
    ['what is no CIDR (N-23)', egress({ to: [{ networks: ['10.0.0.0'] }] }), 'spec.egress[0].to[0].networks[0]'],
    ['a protocol without ports (N-26)', egress({ protocols: [{ tcp: {} }] }), 'spec.egress[0].protocols[0].tcp'],
    [
      'a range of one port (N-28)',
      egress({ protocols: [{ udp: { destinationPort: { range: { start: 5, end: 5 } } } }] }),
      'spec.egress[0].protocols[0].udp.destinationPort.range',
    ],
    [
      'a port by name of a network (N-33)',
      egress({ to: [{ networks: ['10.0.0.0/8'] }], protocols: [{ destinationNamedPort: 'web' }] }),
      'spec.egress[0]',
    ],
  ] as const)
    it(`refuses ${what}`, () => assert.deepEqual(found, [field]));
});
