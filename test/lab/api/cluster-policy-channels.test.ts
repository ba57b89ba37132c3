/** Which CRD of ClusterNetworkPolicy is served (N-2), and what the API server then takes. */
import assert from 'node:assert/strict';
import { ApiStore } from '../../../lab/api/api-store.ts';
import { ApiError } from '../../../lab/api/errors.ts';
import type { PolicyChannel } from '../../../lab/api/schemas.ts';
import { checkManifests, noteText } from '../../../lab/apply-manifests.ts';
import { parseManifests } from '../../../src/cluster/read-manifests.ts';

const policyWith = (peer: object, protocols: readonly object[] = []): object => ({
  metadata: { name: 'p' },
  spec: {
    tier: 'Admin',
    priority: 1,
    subject: { namespaces: {} },
    egress: [{ action: 'Deny', to: [peer], ...(protocols.length > 0 ? { protocols } : {}) }],
  },
});

function answer(policyChannel: PolicyChannel, policy: object, fieldValidation: 'Strict' | 'Ignore' = 'Ignore'): string {
  const store = new ApiStore({ policyChannel });
  try {
    store.create('clusternetworkpolicies', policy, { fieldValidation });
    return 'taken';
  } catch (error) {
    if (error instanceof ApiError) return error.message;
    throw error;
  }
}

const NODES = policyWith({ nodes: {} });
const NAMED = policyWith({ networks: ['203.0.113.0/24'] }, [{ destinationNamedPort: 'web' }]);
const CRD = (channel: string, text = '{}') => `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: clusternetworkpolicies.policy.networking.k8s.io
  ${channel === '' ? '' : `annotations: { policy.networking.k8s.io/channel: ${channel} }`}
spec: { versions: [{ name: v1alpha2, schema: ${text} }] }
`;
const POLICY = `---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: { name: p }
spec: { tier: Admin, priority: 1, subject: { namespaces: {} }, egress: [{ action: Deny, to: [{ nodes: {} }] }] }
`;

describe('channels of the CRD of cluster-wide policies (N-2)', () => {
  it('experimental: peers nodes and domain names are taken, and a name of a port beside networks is not (N-33)', () => {
    assert.equal(answer('experimental', NODES), 'taken');
    assert.equal(answer('experimental', policyWith({ domainNames: ['a.example', '*.b.example.'] })), 'taken');
    assert.match(
      answer('experimental', NAMED),
      /^ClusterNetworkPolicy.* is invalid: spec\.egress\[0\]: Invalid value: .*namedPorts/,
    );
  });

  it('standard: a peer that it has not is dropped, which leaves one without a field; a name of a port is not looked at', () => {
    assert.match(
      answer('standard', NODES),
      /spec\.egress\[0\]\.to\[0\]: Invalid value: .*: spec\.egress\[0\]\.to\[0\] in body should have at least 1 properties/,
    );
    assert.match(answer('standard', NODES, 'Strict'), /unknown field "spec\.egress\[0\]\.to\[0\]\.nodes"/);
    assert.equal(answer('standard', NAMED), 'taken');
    assert.equal(answer('standard', policyWith({ networks: ['10.0.0.0/8'] })), 'taken');
  });

  it('domain names have a form, and lists that are sets hold nothing twice (N-23, N-24)', () => {
    for (const name of ['a', '*', 'a.*.example', 'a..example', '-a.example'])
      assert.match(
        answer('experimental', policyWith({ domainNames: [name] })),
        /domainNames\[0\] in body should match '\^/,
        name,
      );
    assert.match(
      answer('experimental', policyWith({ networks: ['::/0', '::/0'] })),
      /networks\[1\]: Duplicate value: "::\/0"/,
    );
  });

  it('the CRD among manifests says which, whatever comes first', () => {
    const check = (text: string, channel?: PolicyChannel) =>
      checkManifests(parseManifests(text, 'f').objects, [4, 6], channel);
    const { policyChannel, errors, skipped } = check(CRD('standard') + POLICY);
    assert.deepEqual([policyChannel, skipped], ['standard', []]);
    assert.match(errors.map(noteText).join(), /^f:11: .*unknown field "spec\.egress\[0\]\.to\[0\]\.nodes"/);
    for (const text of [
      CRD('experimental') + POLICY,
      `${POLICY.slice(4)}---\n${CRD('', '{ domainNames: {} }')}`,
      POLICY,
    ])
      assert.deepEqual(check(text).errors, []);
    assert.equal(check(CRD('')).policyChannel, 'standard');
    assert.equal(check(POLICY, 'standard').errors.length, 1);
    const other = check(CRD('standard').replace('v1alpha2', 'v1beta9'));
    assert.match(other.errors.map(noteText).join(), /the lab serves v1alpha2, which it lacks/);
  });
});
