/** What people read of a denied flow. */
import assert from 'node:assert/strict';
import type { Direction } from '../../src/core/vocabulary.ts';
import type { ClusterSnapshot, Flow, Policy } from '../../src/policy/model.ts';
import { addressOwners } from '../../src/policy/address-owners.ts';
import { connectionOf } from '../../src/policy/connection.ts';
import { explainDenial, reasonText } from '../../src/policy/explain-denial.ts';
import { UNKNOWN_LABELS } from '../../src/policy/model.ts';
import { namespace, pod, policy, snapshot } from '../support/builders.ts';

const WEB = '10.0.0.1';
const DB = '10.0.0.2';
const PODS = [
  pod('shop/web', { addresses: [WEB], labels: { app: 'web', tier: 'front' } }),
  pod('data/db', {
    addresses: [DB],
    labels: { app: 'db' },
    namedPorts: [{ name: 'sql', protocol: 'TCP', port: 5432 }],
  }),
];
const NAMESPACES = [namespace('shop', { env: 'dev' }), namespace('data', { env: 'prod' })];

const TO_DB: Flow = { source: WEB, destination: DB, protocol: 6, port: 8443 };

const all = (name: string, spec: object): Policy => policy(`data/${name}`, { podSelector: {}, ...spec });
const from = (name: string, ...ingress: readonly object[]): Policy => all(name, { policyTypes: ['Ingress'], ingress });
const world = (...policies: readonly Policy[]): ClusterSnapshot =>
  snapshot({ pods: PODS, namespaces: NAMESPACES, policies });

function reasons(of: ClusterSnapshot, flow: Flow = TO_DB, direction: Direction = 'ingress'): string[] {
  const connection = connectionOf(addressOwners(of.pods.values()), flow);
  const { policies } = explainDenial(of, direction, connection);
  return policies.map(({ policy: { name }, reason }) => `${name}: ${reasonText(reason, direction, connection)}`);
}

describe('why a flow is denied', () => {
  const ROWS: readonly [what: string, rule: object, text: string][] = [
    ['a port', { ports: [{ port: 8080 }] }, 'port 8443 not in 8080'],
    ['a range of ports', { ports: [{ port: 80, endPort: 90 }, { port: 443 }] }, 'port 8443 not in 80-90, 443'],
    [
      'ports of other protocols too',
      { ports: [{ port: 53, protocol: 'UDP' }, { port: 53 }] },
      'TCP 8443 not in UDP 53, TCP 53',
    ],
    ['a protocol', { ports: [{ port: 8443, protocol: 'UDP' }] }, 'TCP not in UDP 8443'],
    ['a named port', { ports: [{ port: 'sql' }] }, 'port 8443 not in sql (5432)'],
    [
      'a name that the pod does not have',
      { ports: [{ port: 'web' }] },
      'port 8443 not in web (no such port at the destination)',
    ],
    ['a namespace by name', { from: [{ podSelector: {} }] }, 'namespace shop is not data'],
    [
      'a namespace by label',
      { from: [{ namespaceSelector: { matchLabels: { env: 'prod' } } }] },
      'namespace label env=dev is not prod',
    ],
    [
      'a label that is missing',
      { from: [{ namespaceSelector: { matchLabels: { team: 'a' } } }] },
      'namespace label team is absent, not a',
    ],
    [
      'labels of both',
      { from: [{ namespaceSelector: { matchLabels: { env: 'prod' } }, podSelector: { matchLabels: { app: 'db' } } }] },
      'namespace label env=dev is not prod, pod label app=web is not db',
    ],
    [
      'expressions',
      {
        from: [
          {
            namespaceSelector: {},
            podSelector: {
              matchExpressions: [
                { key: 'app', operator: 'NotIn', values: ['web'] },
                { key: 'tier', operator: 'DoesNotExist' },
                { key: 'role', operator: 'Exists' },
                { key: 'app', operator: 'In', values: ['a', 'b'] },
              ],
            },
          },
        ],
      },
      'pod label app=web is ruled out, pod label tier=front must not be there, pod label role is absent, pod label app=web is not in a, b',
    ],
    ['a block', { from: [{ ipBlock: { cidr: '192.0.2.0/24' } }] }, 'not in 192.0.2.0/24'],
    [
      'an exception',
      { from: [{ ipBlock: { cidr: '10.0.0.0/8', except: ['10.0.0.0/24'] } }] },
      'in 10.0.0.0/8 but excepted by 10.0.0.0/24',
    ],
    [
      'port and peer',
      { ports: [{ port: 80 }], from: [{ podSelector: {} }] },
      'port 8443 not in 80; namespace shop is not data',
    ],
  ];
  for (const [what, rule, text] of ROWS)
    it(`names ${what}`, () => assert.deepEqual(reasons(world(from('p', rule))), [`p: ingress[0]: ${text}`]));

  it('tells of all policies that isolate the pod', () => {
    const found = reasons(
      world(from('b'), from('a', { ports: [{ port: 1 }] }), all('out', { policyTypes: ['Egress'] })),
    );
    assert.deepEqual(found, ['a: ingress[0]: port 8443 not in 1', 'b: no rules: allows nothing']);
  });

  it('tells of egress as well', () => {
    const deny = policy('shop/out', {
      podSelector: {},
      policyTypes: ['Egress'],
      egress: [{ to: [{ podSelector: {} }] }],
    });
    assert.deepEqual(reasons(world(deny), TO_DB, 'egress'), ['out: egress[0]: namespace data is not shop']);
  });

  it('says that selectors match pods alone', () => {
    const flow = { ...TO_DB, source: '192.0.2.1' };
    assert.deepEqual(reasons(world(from('p', { from: [{ namespaceSelector: {} }] })), flow), [
      "p: ingress[0]: selects pods, and the address is no pod's",
    ]);
  });

  it('says which protocol has no ports', () => {
    assert.deepEqual(reasons(world(from('p', { ports: [{ port: 80 }] })), { ...TO_DB, protocol: 1, port: 0 }), [
      'p: ingress[0]: ICMP not in TCP 80',
    ]);
    assert.deepEqual(reasons(world(from('p', { ports: [{ port: 80 }] })), { ...TO_DB, protocol: 47, port: 0 }), [
      'p: ingress[0]: protocol 47 not in TCP 80',
    ]);
  });

  it('says that labels are not known', () => {
    const many = world(from('p', { from: [{ podSelector: {} }] }));
    const pods = new Map(many.pods).set('data/db', { ...PODS[1]!, labels: UNKNOWN_LABELS });
    const only = policy('data/p', { podSelector: { matchLabels: { app: 'x' } }, policyTypes: ['Ingress'] });
    const text = 'p: may select the pod, which has more labels than are kept: allows nothing';
    assert.deepEqual(reasons({ ...many, pods, policies: new Map([['data/p', only]]) }), [text]);
    const peers = from('p', { from: [{ namespaceSelector: {}, podSelector: { matchLabels: { app: 'web' } } }] });
    const strangers = new Map(many.pods).set('shop/web', { ...PODS[0]!, labels: UNKNOWN_LABELS });
    assert.deepEqual(reasons({ ...world(peers), pods: strangers }), ['p: ingress[0]: labels of pod web are not known']);
    const early = from('p', { from: [{ namespaceSelector: { matchLabels: { env: 'dev' } } }] });
    assert.deepEqual(reasons({ ...world(early), namespaces: new Map() }), [
      'p: ingress[0]: labels of namespace shop are not known',
    ]);
  });

  it('says that several pods claim the address', () => {
    const other = pod('shop/other', { addresses: [DB] });
    const of = snapshot({ pods: [...PODS, other], namespaces: NAMESPACES, policies: [from('p', {})] });
    assert.deepEqual(
      reasons({ ...of, policies: new Map([...of.policies, ['shop/q', policy('shop/q', { podSelector: {} })]]) }),
      [
        'p: data/db and shop/other claim the address and are not isolated alike: nothing is allowed',
        'q: data/db and shop/other claim the address and are not isolated alike: nothing is allowed',
      ],
    );
  });

  describe('the nearest rule', () => {
    it('is one of which fewest clauses fail', () => {
      const both = { ports: [{ port: 80 }], from: [{ podSelector: {} }] };
      const port = { ports: [{ port: 81 }] };
      assert.deepEqual(reasons(world(from('p', both, port))), ['p: ingress[1]: port 8443 not in 81']);
    });

    it('is one of the same protocol', () => {
      const udp = { ports: [{ port: 8443, protocol: 'UDP' }] };
      assert.deepEqual(reasons(world(from('p', udp, { ports: [{ port: 81 }] }))), [
        'p: ingress[1]: port 8443 not in 81',
      ]);
    });

    it('is one of which fewest labels differ, of its peers likewise', () => {
      const two = { namespaceSelector: { matchLabels: { env: 'prod' } }, podSelector: { matchLabels: { app: 'db' } } };
      const one = { namespaceSelector: {}, podSelector: { matchLabels: { app: 'db' } } };
      const block = { ipBlock: { cidr: '192.0.2.0/24' } };
      const found = reasons(world(from('p', { from: [block] }, { from: [two, block] }, { from: [block, two, one] })));
      assert.deepEqual(found, ['p: ingress[2]: pod label app=web is not db']);
    });

    it('is the first of equals', () => {
      const found = reasons(world(from('p', { ports: [{ port: 2 }] }, { ports: [{ port: 1 }] })));
      assert.deepEqual(found, ['p: ingress[0]: port 8443 not in 2']);
    });

    it('is about blocks where the other end is no pod', () => {
      const rule = { from: [{ namespaceSelector: {} }, { ipBlock: { cidr: '192.0.2.0/25' } }] };
      assert.deepEqual(reasons(world(from('p', rule)), { ...TO_DB, source: '192.0.2.200' }), [
        'p: ingress[0]: not in 192.0.2.0/25',
      ]);
    });
  });

  it('cuts what is long', () => {
    const ports = Array.from({ length: 12 }, (_, at) => ({ port: at + 1 }));
    assert.deepEqual(reasons(world(from('p', { ports }))), [
      'p: ingress[0]: port 8443 not in 1, 2, 3, 4, 5, 6, 7, 8, 4 more',
    ]);
    const label = { namespaceSelector: { matchLabels: { env: 'x'.repeat(5000) } } };
    assert.ok(reasons(world(from('p', { from: [label] })))[0]!.length < 200);
  });
});
