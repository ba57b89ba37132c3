/** Each check finds what it is for at its field, and is silent about the same policy done right. */
import assert from 'node:assert/strict';
import {
  CHECK_NAMES,
  fieldOf,
  IGNORE_ANNOTATION,
  type CheckName,
  type LintWorld,
  lintPolicies,
  pathOf,
} from '../../src/policy/lint.ts';
import { parsePolicy } from '../../src/policy/parse.ts';
import { namespace, policyObject, type PolicySpec, snapshot } from '../support/builders.ts';
import { LINT_PODS } from '../support/lint-pods.ts';
import { TIER_CHECKS } from '../support/tier-checks.ts';

type Specs = Readonly<Record<string, PolicySpec>>;

/** As audited, those whose names begin so. */
const AUDITED = 'audited-';

function lint(specs: Specs, annotations: Readonly<Record<string, string>> = {}, isWhole = true) {
  const written = Object.entries(specs).map(([key, spec]) => {
    const mode = key.includes(`/${AUDITED}`) ? { 'portcullis.dev/mode': 'audit' } : {};
    const raw = policyObject(key, spec, { annotations: { ...annotations, ...mode } });
    const { policy, problems } = parsePolicy(raw);
    return { raw, policy: policy!, problems };
  });
  const world: LintWorld = {
    snapshot: snapshot({
      pods: LINT_PODS,
      namespaces: [namespace('shop', { team: 'a' }), namespace('kube-system')],
      policies: written.map(({ policy }) => policy),
      nodes: [{ name: 'node-1', addresses: ['192.0.2.1'] }],
    }),
    serviceAddresses: new Map([['10.96.0.1', 'default/kubernetes']]),
    isWhole,
  };
  return lintPolicies(written, world).map(({ check, object, path }) => `${check} ${object.name} ${fieldOf(path)}`);
}

const WEB = { podSelector: { matchLabels: { app: 'web' } } };
const from = (...peers: object[]): PolicySpec => ({ ...WEB, ingress: [{ from: peers, ports: [{ port: 80 }] }] });
const block = (cidr: string, except?: readonly string[]): PolicySpec =>
  from({ ipBlock: { cidr, ...(except ? { except } : {}) } });
const DNS = { to: [{ namespaceSelector: {} }], ports: [{ port: 53, protocol: 'UDP' }] };

const CASES: readonly (readonly [what: string, wrong: Specs, finding: string, right: Specs])[] = [
  [
    'a field that the API does not have',
    { 'shop/p': { ...WEB, ingres: [] } },
    'unusable p spec.ingres',
    { 'shop/p': WEB },
  ],
  [
    'egress rules under policyTypes [Ingress]',
    { 'shop/p': { ...WEB, policyTypes: ['Ingress'], egress: [DNS] } },
    'rules-without-type p spec.egress',
    { 'shop/p': { ...WEB, policyTypes: ['Ingress', 'Egress'], egress: [DNS] } },
  ],
  [
    'a selector that nobody matches',
    { 'shop/p': { podSelector: { matchLabels: { app: 'wbe' } } } },
    'selects-nobody p spec.podSelector',
    { 'shop/p': WEB },
  ],
  ['a namespace that is not there', { 'shpo/p': WEB }, 'unknown-namespace p metadata.namespace', { 'shop/p': WEB }],
  [
    'a namespace that is not there, by name',
    { 'shop/p': from({ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'shpo' } } }) },
    'unknown-namespace p spec.ingress[0].from[0].namespaceSelector',
    { 'shop/p': from({ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'kube-system' } } }) },
  ],
  [
    'labels that no namespace has',
    { 'shop/p': from({ namespaceSelector: { matchLabels: { team: 'b' } } }) },
    'matches-no-namespace p spec.ingress[0].from[0].namespaceSelector',
    { 'shop/p': from({ namespaceSelector: { matchLabels: { team: 'a' } } }) },
  ],
  [
    'a port name that nobody has, ingress',
    { 'shop/p': { ...WEB, ingress: [{ from: [{ podSelector: {} }], ports: [{ port: 'htpt' }] }] } },
    'unknown-port-name p spec.ingress[0].ports',
    { 'shop/p': { ...WEB, ingress: [{ from: [{ podSelector: {} }], ports: [{ port: 'http' }] }] } },
  ],
  [
    'a port name that nobody has, egress',
    {
      'shop/p': {
        ...WEB,
        policyTypes: ['Egress'],
        egress: [DNS, { to: [{ podSelector: { matchLabels: { app: 'db' } } }], ports: [{ port: 'http' }] }],
      },
    },
    'unknown-port-name p spec.egress[1].ports',
    {
      'shop/p': {
        ...WEB,
        policyTypes: ['Egress'],
        egress: [DNS, { to: [{ podSelector: { matchLabels: { app: 'web' } } }], ports: [{ port: 'http' }] }],
      },
    },
  ],
  [
    'two peers where one was meant',
    {
      'shop/p': from(
        { namespaceSelector: { matchLabels: { team: 'a' } } },
        { podSelector: { matchLabels: { app: 'db' } } },
      ),
    },
    'alternative-peers p spec.ingress[0].from[1]',
    {
      'shop/p': from({
        namespaceSelector: { matchLabels: { team: 'a' } },
        podSelector: { matchLabels: { app: 'db' } },
      }),
    },
  ],
  [
    'egress without DNS',
    { 'shop/p': { ...WEB, policyTypes: ['Egress'], egress: [{ to: [{ podSelector: {} }], ports: [{ port: 5432 }] }] } },
    'no-dns p spec.policyTypes',
    {
      'shop/p': { ...WEB, policyTypes: ['Egress'], egress: [{ to: [{ podSelector: {} }], ports: [{ port: 5432 }] }] },
      'shop/q': { podSelector: {}, policyTypes: ['Egress'], egress: [DNS] },
    },
  ],
  [
    'the same policy twice, in other words',
    {
      'shop/p': from({ podSelector: { matchLabels: { app: 'db' } } }, { podSelector: { matchLabels: { app: 'x' } } }),
      'shop/q': from(
        { podSelector: { matchExpressions: [{ key: 'app', operator: 'In', values: ['x'] }] } },
        { podSelector: { matchLabels: { app: 'db' } } },
      ),
    },
    'duplicate q metadata.name',
    {
      'shop/p': from({ podSelector: { matchLabels: { app: 'db' } } }),
      'shop/q': from({ podSelector: { matchLabels: { app: 'x' } } }),
    },
  ],
  [
    'a rule that another of its policy covers',
    {
      'shop/p': {
        ...WEB,
        ingress: [
          { from: [{ podSelector: { matchLabels: { app: 'db' } } }], ports: [{ port: 80 }] },
          { from: [{ podSelector: {} }], ports: [{ port: 1, endPort: 90 }] },
        ],
      },
    },
    'shadowed p spec.ingress[0]',
    {
      'shop/p': {
        ...WEB,
        ingress: [
          { from: [{ podSelector: { matchLabels: { app: 'db' } } }], ports: [{ port: 91 }] },
          { from: [{ podSelector: {} }], ports: [{ port: 1, endPort: 90 }] },
        ],
      },
    },
  ],
  [
    'a rule that another policy covers',
    {
      'shop/p': from({ podSelector: { matchLabels: { app: 'db' } } }),
      'shop/q': { podSelector: {}, ingress: [{ from: [{ podSelector: {} }] }] },
    },
    'shadowed p spec.ingress[0]',
    {
      'shop/p': from({ podSelector: { matchLabels: { app: 'db' } } }),
      'shop/q': { podSelector: { matchLabels: { app: 'db' } }, ingress: [{ from: [{ podSelector: {} }] }] },
    },
  ],
  [
    'a rule that another policy covers, and not one that is only audited',
    {
      'shop/p': from({ podSelector: { matchLabels: { app: 'db' } } }),
      'shop/q': { podSelector: {}, ingress: [{ from: [{ podSelector: {} }] }] },
    },
    'shadowed p spec.ingress[0]',
    {
      'shop/p': from({ podSelector: { matchLabels: { app: 'db' } } }),
      'shop/audited-q': { podSelector: {}, ingress: [{ from: [{ podSelector: {} }] }] },
    },
  ],
  [
    'host bits',
    { 'shop/p': block('203.0.113.7/24') },
    'host-bits p spec.ingress[0].from[0].ipBlock.cidr',
    { 'shop/p': block('203.0.113.0/24') },
  ],
  [
    'a block that holds pods',
    { 'shop/p': block('10.0.0.0/24') },
    'block-holds-pods p spec.ingress[0].from[0].ipBlock.cidr',
    { 'shop/p': block('10.0.0.0/24', ['10.0.0.0/26']) },
  ],
  [
    'a block that holds a Service',
    { 'shop/p': block('10.96.0.1/32') },
    'block-holds-service p spec.ingress[0].from[0].ipBlock.cidr',
    { 'shop/p': block('10.97.0.1/32') },
  ],
  [
    'all addresses',
    { 'shop/p': block('0.0.0.0/0') },
    'whole-internet p spec.ingress[0].from[0].ipBlock.cidr',
    { 'shop/p': block('0.0.0.0/0', ['10.0.0.0/8']) },
  ],
  [
    'a rule that lets everything through',
    { 'shop/p': { ...WEB, ingress: [{}] } },
    'allows-everything p spec.ingress[0]',
    { 'shop/p': { ...WEB, ingress: [{ ports: [{ port: 80 }] }] } },
  ],
];

describe('lint', () => {
  for (const [what, wrong, finding, right] of CASES)
    it(`finds ${what}, and nothing when it is done right`, () => {
      assert.deepEqual(lint(wrong), [finding]);
      assert.deepEqual(lint(right), []);
    });

  it('every check is tried here', () => {
    const tried = CASES.map(([, , finding]) => finding.split(' ')[0]);
    assert.deepEqual(new Set([...tried, ...TIER_CHECKS]), new Set(CHECK_NAMES));
  });

  it('says nothing of what may be there where only a part of the cluster was given', () => {
    const specs: Specs = {
      'elsewhere/p': WEB,
      'shop/q': from({ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'shpo' } } }),
    };
    assert.deepEqual(lint(specs, {}, false), []);
    assert.equal(lint(specs).length, 2);
  });

  it('leaves out what an annotation names', () => {
    const specs = { 'shop/p': block('203.0.113.7/24') };
    const ignoring = (text: string): readonly string[] => lint(specs, { [IGNORE_ANNOTATION]: text });
    assert.deepEqual(ignoring('duplicate, host-bits' satisfies `${CheckName}, ${CheckName}`), []);
    assert.deepEqual(ignoring('all'), []);
    assert.equal(ignoring('duplicate').length, 1);
  });

  it('reads and writes fields as messages name them', () => {
    for (const field of ['spec', 'spec.ingress[0].from[12].ipBlock.cidr']) assert.equal(fieldOf(pathOf(field)), field);
    assert.deepEqual(pathOf('spec.podSelector.matchLabels["a.b/c"]'), ['spec', 'podSelector', 'matchLabels', 'a.b/c']);
  });
});
