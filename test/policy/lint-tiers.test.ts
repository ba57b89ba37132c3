/** Each check of cluster-wide policies finds what it is for at its field, and is silent about the same policy done right. */
import assert from 'node:assert/strict';
import { fieldOf, IGNORE_ANNOTATION, type LintWorld } from '../../src/policy/lint.ts';
import { lintClusterPolicies, lintOtherGroup } from '../../src/policy/lint-tiers.ts';
import { parseClusterPolicy } from '../../src/policy/parse-cluster-policy.ts';
import { namespace, snapshot } from '../support/builders.ts';
import { LINT_PODS } from '../support/lint-pods.ts';
import { TIER_CHECKS } from '../support/tier-checks.ts';

type Spec = Readonly<Record<string, unknown>>;
type Specs = Readonly<Record<string, Spec>>;

function lint(specs: Specs, more: Partial<LintWorld> = {}, annotations: object = {}): string[] {
  const written = Object.entries(specs).map(([name, spec]) => {
    const raw = { metadata: { name, annotations }, spec: { tier: 'Admin', priority: 10, subject: SHOP, ...spec } };
    const { policy, problems } = parseClusterPolicy(raw);
    return { raw, policy: policy!, problems };
  });
  const world: LintWorld = {
    snapshot: {
      ...snapshot({ pods: LINT_PODS, namespaces: [namespace('shop', { team: 'a' }), namespace('kube-system')] }),
      clusterPolicies: new Map(written.map(({ policy }) => [policy.name, policy])),
    },
    serviceAddresses: new Map([['10.96.0.1', 'default/kubernetes']]),
    isWhole: true,
    channel: 'experimental',
    ...more,
  };
  return lintClusterPolicies(written, world).map(
    ({ check, object, path }) => `${check} ${object.name} ${fieldOf(path)}`,
  );
}

const SHOP = { namespaces: { matchLabels: { team: 'a' } } };
const WEB = { pods: { podSelector: { matchLabels: { app: 'web' } } } };
const ALL = { namespaces: {} };
const tcp = (number: number): object => ({ tcp: { destinationPort: { number } } });
const into = (...rules: object[]): Spec => ({ ingress: rules });
const out = (...rules: object[]): Spec => ({ egress: rules });
const accept = (peer: object, ...protocols: object[]): object => rule('Accept', 'from', [peer], protocols);
const deny = (peer: object, ...protocols: object[]): object => rule('Deny', 'from', [peer], protocols);
const denyTo = (peer: object, ...protocols: object[]): object => rule('Deny', 'to', [peer], protocols);
const acceptTo = (peer: object, ...protocols: object[]): object => rule('Accept', 'to', [peer], protocols);
function rule(action: string, side: string, peers: readonly object[], protocols: readonly object[]): object {
  return { action, [side]: peers, ...(protocols.length > 0 ? { protocols } : {}) };
}

const CASES: readonly (readonly [what: string, wrong: Specs, finding: string, right: Specs])[] = [
  [
    'a subject that is nobody',
    { p: { subject: { pods: { podSelector: { matchLabels: { app: 'wbe' } } } } } },
    'selects-nobody p spec.subject',
    { p: { subject: WEB } },
  ],
  [
    'a namespace that is not there, of a subject',
    { p: { subject: { namespaces: { matchLabels: { 'kubernetes.io/metadata.name': 'shpo' } } } } },
    'unknown-namespace p spec.subject.namespaces',
    { p: { subject: { namespaces: { matchLabels: { 'kubernetes.io/metadata.name': 'shop' } } } } },
  ],
  [
    'labels that no namespace has, of a peer',
    {
      p: into(
        deny({
          pods: { namespaceSelector: { matchLabels: { team: 'b' } }, podSelector: { matchLabels: { app: 'web' } } },
        }),
      ),
    },
    'matches-no-namespace p spec.ingress[0].from[0].pods.namespaceSelector',
    {
      p: into(
        deny({
          pods: { namespaceSelector: { matchLabels: { team: 'a' } }, podSelector: { matchLabels: { app: 'web' } } },
        }),
      ),
    },
  ],
  [
    'terms that exclude each other',
    {
      p: into(
        deny({
          namespaces: {
            matchLabels: { team: 'a' },
            matchExpressions: [{ key: 'team', operator: 'NotIn', values: ['a'] }],
          },
        }),
      ),
    },
    'matches-nothing p spec.ingress[0].from[0].namespaces',
    {
      p: into(
        deny({
          namespaces: {
            matchLabels: { team: 'a' },
            matchExpressions: [{ key: 'team', operator: 'NotIn', values: ['b'] }],
          },
        }),
      ),
    },
  ],
  [
    'an expression that cannot be read',
    { p: into(deny({ namespaces: { matchExpressions: [{ key: 'team', operator: 'In', values: [] }] } })) },
    'unusable p spec.ingress[0].from[0].namespaces.matchExpressions[0].values',
    { p: into(deny({ namespaces: { matchExpressions: [{ key: 'team', operator: 'Exists' }] } })) },
  ],
  [
    'an operator that there is not',
    { p: { subject: { namespaces: { matchExpressions: [{ key: 'team', operator: 'Equals', values: ['a'] }] } } } },
    'unusable p spec.subject.namespaces.matchExpressions[0].operator',
    { p: { subject: { namespaces: { matchExpressions: [{ key: 'team', operator: 'In', values: ['a'] }] } } } },
  ],
  [
    'a port name that nobody has, ingress',
    { p: into(deny(ALL, { destinationNamedPort: 'htpt' })) },
    'unknown-port-name p spec.ingress[0].protocols',
    { p: into(deny(ALL, { destinationNamedPort: 'http' })) },
  ],
  [
    'a port name that nobody has, egress',
    { p: out(denyTo({ pods: { podSelector: { matchLabels: { app: 'db' } } } }, { destinationNamedPort: 'http' })) },
    'unknown-port-name p spec.egress[0].protocols',
    { p: out(denyTo(WEB, { destinationNamedPort: 'http' })) },
  ],
  [
    'equal priorities for some of the same pods (N-67)',
    { p: into(deny(WEB)), q: { subject: WEB, ...into(deny(SHOP)) } },
    'equal-priority q spec.priority',
    { p: into(deny(WEB)), q: { subject: WEB, priority: 11, ...into(accept(SHOP)) } },
  ],
  [
    'a rule behind one of its policy that matches all it does (N-61)',
    { p: into(accept(SHOP, tcp(80), tcp(443)), deny(SHOP, tcp(80))) },
    'never-reached p spec.ingress[1]',
    { p: into(accept(SHOP, tcp(80), tcp(443)), deny(SHOP, tcp(81))) },
  ],
  [
    'a rule behind several that share what it matches',
    { p: into(accept(SHOP, tcp(80)), accept(WEB, tcp(81)), rule('Deny', 'from', [SHOP], [tcp(80)])) },
    'never-reached p spec.ingress[2]',
    { p: into(accept(SHOP, tcp(80)), accept(WEB, tcp(81)), rule('Deny', 'from', [SHOP], [tcp(80), tcp(81)])) },
  ],
  [
    'a rule behind a policy that is asked before',
    { p: { priority: 20, ...into(deny(WEB)) }, q: { priority: 5, subject: ALL, ...into(accept(ALL)) } },
    'never-reached p spec.ingress[0]',
    { p: { priority: 20, ...into(deny(WEB, tcp(80))) }, q: { priority: 25, subject: ALL, ...into(accept(ALL)) } },
  ],
  [
    'Pass where there is no tier behind (N-63)',
    { p: { tier: 'Baseline', ...into(rule('Pass', 'from', [WEB], [])) } },
    'pass-in-baseline p spec.ingress[0].action',
    { p: { tier: 'Baseline', ...into(accept(WEB)) } },
  ],
  [
    'domain names (N-87)',
    { p: out(acceptTo({ domainNames: ['a.example'] })) },
    'unsupported-field p spec.egress[0].to[0].domainNames',
    { p: out(acceptTo({ networks: ['203.0.113.0/24'] })) },
  ],
  [
    'a field of a later version (N-91)',
    { p: into({ ...accept(WEB), log: true }) },
    'unsupported-field p spec.ingress[0].log',
    { p: into(accept(WEB)) },
  ],
  [
    'host bits (N-23)',
    { p: out(denyTo({ networks: ['203.0.113.7/24'] })) },
    'host-bits p spec.egress[0].to[0].networks[0]',
    { p: out(denyTo({ networks: ['203.0.113.0/24'] })) },
  ],
  [
    'a block with the address of a Service (N-46)',
    { p: out(denyTo({ networks: ['203.0.113.0/24', '10.96.0.0/16'] })) },
    'block-holds-service p spec.egress[0].to[0].networks[1]',
    { p: out(denyTo({ networks: ['203.0.113.0/24', '10.97.0.0/16'] })) },
  ],
  [
    'a rule that keeps pods from DNS',
    { p: out(denyTo({ networks: ['0.0.0.0/0'] })) },
    'denies-dns p spec.egress[0]',
    {
      p: out(
        acceptTo(
          { namespaces: { matchLabels: { 'kubernetes.io/metadata.name': 'kube-system' } } },
          {
            udp: { destinationPort: { number: 53 } },
          },
        ),
        denyTo({ networks: ['0.0.0.0/0'] }),
      ),
    },
  ],
  [
    'pods of kube-system under a Deny',
    { p: { subject: ALL, ...into(deny(WEB, tcp(9999))) } },
    'denies-system p spec.subject',
    { p: into(deny(WEB, tcp(9999))) },
  ],
];

describe('lint of cluster-wide policies', () => {
  for (const [what, wrong, finding, right] of CASES) {
    it(`finds ${what}`, () => {
      assert.ok(lint(wrong).includes(finding), lint(wrong).join('\n'));
      const [check] = finding.split(' ');
      const still = lint(right).filter((each) => each.startsWith(`${check} `));
      assert.deepEqual(still, []);
    });
  }

  it('tries every check that is about these policies alone', () => {
    const tried = new Set(CASES.map(([, , finding]) => finding.split(' ')[0]));
    assert.deepEqual(
      TIER_CHECKS.filter((check) => !tried.has(check)),
      ['other-api-group', 'experimental-peer'],
    );
  });

  it('says of peers nodes that the standard channel has none, unless the experimental one is known (N-2)', () => {
    const nodes = { p: out(denyTo({ nodes: {} }, tcp(10_250))) };
    const expected = ['experimental-peer p spec.egress[0].to[0].nodes'];
    assert.deepEqual(lint(nodes, { channel: 'standard' }), expected);
    const { channel: _, ...unknown }: Partial<LintWorld> = { channel: 'standard' };
    assert.deepEqual(lint(nodes, { ...unknown, channel: undefined as never }), expected);
    assert.deepEqual(lint(nodes), []);
  });

  it('says nothing of what is missing where not all of a cluster is given', () => {
    const elsewhere = { p: { subject: { namespaces: { matchLabels: { team: 'z' } } } } };
    const nobody = { snapshot: snapshot({}), isWhole: false };
    assert.deepEqual(lint(elsewhere, nobody), []);
    assert.deepEqual(lint({ p: { subject: ALL, ...into(deny(WEB)) } }, nobody), ['denies-system p spec.subject']);
  });

  it('leaves out what an annotation suppresses', () => {
    const wrong = { p: { tier: 'Baseline', ...into(rule('Pass', 'from', [WEB], [])) } };
    assert.deepEqual(lint(wrong, {}, { [IGNORE_ANNOTATION]: 'pass-in-baseline' }), []);
  });

  it('says what to write in the place of objects of other groups', () => {
    const find = (apiVersion: string, kind: string) => lintOtherGroup({ apiVersion, kind, metadata: { name: 'x' } });
    assert.match(
      find('networking.k8s.aws/v1alpha1', 'ClusterNetworkPolicy')!.fix,
      /^write the same with apiVersion policy\.networking\.k8s\.io\/v1alpha2/,
    );
    assert.match(find('policy.networking.k8s.io/v1alpha1', 'AdminNetworkPolicy')!.fix, /tier: Admin/);
    assert.equal(find('policy.networking.k8s.io/v1alpha2', 'ClusterNetworkPolicy'), undefined);
    assert.equal(find('networking.k8s.aws/v1alpha1', 'PolicyEndpoint'), undefined);
  });
});
