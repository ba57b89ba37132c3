import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { ClusterPolicy, ClusterRule } from '../../src/policy/model.ts';
import { EVERYTHING } from '../../src/policy/model.ts';
import { parseClusterPolicy } from '../../src/policy/parse-cluster-policy.ts';

const HEAD = { tier: 'Admin', priority: 5, subject: { namespaces: {} } };
const TO_ALL = [{ namespaces: {} }];

function parse(spec: unknown): { policy: ClusterPolicy; problems: readonly string[] } {
  const { policy, problems } = parseClusterPolicy({ metadata: { name: 'p', uid: 'u' }, spec });
  return { policy: policy!, problems: problems.map(({ field, message }) => `${field} ${message}`) };
}

/** Egress rules of a policy that is right but for them. */
function rules(...egress: readonly unknown[]): readonly ClusterRule[] {
  return parse({ ...HEAD, egress }).policy.egress;
}

const DENY_ALL = { action: 'Deny', ports: 'any', peers: 'any' };

describe('parseClusterPolicy', () => {
  it('reads a whole policy, rules in order', () => {
    const { policy, problems } = parse({
      tier: 'Baseline',
      priority: 1000,
      subject: { pods: { podSelector: { matchLabels: { app: 'a' } } } },
      ingress: [{ name: 'first', action: 'Pass', from: [{ pods: { namespaceSelector: {}, podSelector: {} } }] }],
      egress: [
        {
          action: 'Accept',
          to: [{ nodes: {} }, { networks: ['10.1.2.3/8', 'fd00::/8'] }],
          protocols: [
            { tcp: { destinationPort: { number: 80 } } },
            { udp: { destinationPort: { range: { start: 1, end: 65535 } } } },
            { sctp: {} },
            { destinationNamedPort: 'web' },
          ],
        },
      ],
    });
    assert.deepEqual(problems, []);
    const { name, uid, tier, priority, subject, ingress, egress } = policy;
    assert.deepEqual([name, uid, tier, priority], ['p', 'u', 'Baseline', 1000]);
    assert.deepEqual(subject, {
      namespaces: EVERYTHING,
      pods: { kind: 'all-of', requirements: [{ key: 'app', operator: 'In', values: ['a'] }] },
    });
    assert.deepEqual(ingress, [
      {
        name: 'first',
        action: 'Pass',
        ports: 'any',
        peers: [{ kind: 'pods', namespaces: EVERYTHING, pods: EVERYTHING }],
      },
    ]);
    const [rule] = egress as [ClusterRule];
    assert.deepEqual(rule.ports, [
      { kind: 'range', protocol: 'TCP', first: 80, last: 80 },
      { kind: 'range', protocol: 'UDP', first: 1, last: 65535 },
      { kind: 'range', protocol: 'SCTP', first: 0, last: 65535 },
      ...['TCP', 'UDP', 'SCTP'].map((protocol) => ({ kind: 'named', protocol, name: 'web' })),
    ]);
    assert.deepEqual(
      (rule.peers as readonly { kind: string }[]).map(({ kind }) => kind),
      ['nodes', 'ip-block', 'ip-block'],
    );
  });

  it('fault: an entry that cannot be understood matches nothing in an Accept rule, and makes others deny everything', () => {
    for (const [why, part] of [
      ['an unknown peer', { to: [...TO_ALL, { services: {} }] }],
      ['a peer without a field', { to: [...TO_ALL, {}] }],
      ['a peer of two kinds', { to: [...TO_ALL, { namespaces: {}, nodes: {} }] }],
      ['domain names', { to: [...TO_ALL, { domainNames: ['*.example.com'] }] }],
      [
        'a selector with an unknown operator',
        { to: [...TO_ALL, { nodes: { matchExpressions: [{ key: 'a', operator: 'Gt', values: ['1'] }] } }] },
      ],
      ['pods without a podSelector', { to: [...TO_ALL, { pods: { namespaceSelector: {} } }] }],
      ['a network that is none', { to: [...TO_ALL, { networks: ['10.0.0.0/8', '10.0.0.0/33'] }] }],
      ['no network', { to: [...TO_ALL, { networks: [] }] }],
    ] as const) {
      const [accept, deny, pass] = rules(
        { action: 'Accept', ...part },
        { name: 'n', action: 'Deny', ...part },
        { action: 'Pass', ...part },
      );
      assert.equal(accept!.action, 'Accept', why);
      assert.equal(accept!.peers.length, 1, `${why}: its siblings keep their meaning`);
      assert.deepEqual(deny, { name: 'n', ...DENY_ALL }, why);
      assert.deepEqual(pass, DENY_ALL, why);
    }
    for (const [why, entry] of [
      ['an unknown protocol', { icmp: {} }],
      ['none', {}],
      ['two', { tcp: {}, udp: {} }],
      ['a port out of range', { tcp: { destinationPort: { number: 0 } } }],
      ['a port and a range', { tcp: { destinationPort: { number: 1, range: { start: 1, end: 2 } } } }],
      ['a range backwards', { tcp: { destinationPort: { range: { start: 2, end: 1 } } } }],
      ['an unknown field of a range', { tcp: { destinationPort: { range: { start: 1, end: 2, step: 1 } } } }],
      ['an unknown field of a protocol', { tcp: { sourcePort: 1 } }],
      ['a name that is none', { destinationNamedPort: '' }],
    ] as const) {
      const protocols = [{ udp: {} }, entry];
      const [accept, deny] = rules(
        { action: 'Accept', to: TO_ALL, protocols },
        { action: 'Deny', to: TO_ALL, protocols },
      );
      assert.equal(accept!.ports.length, 1, why);
      assert.deepEqual(deny, DENY_ALL, why);
    }
  });

  it('fault: no peers, or an empty list of protocols, are never everything', () => {
    for (const part of [
      {},
      { to: [] },
      { to: null },
      { to: {} },
      { to: TO_ALL, protocols: [] },
      { to: TO_ALL, protocols: {} },
    ]) {
      const [accept, deny] = rules({ action: 'Accept', ...part }, { action: 'Deny', ...part });
      assert.ok(accept!.peers.length === 0 || accept!.ports.length === 0, JSON.stringify(part));
      assert.deepEqual(deny, DENY_ALL);
    }
  });

  it('fault: a rule that is none, or of an unknown action, denies everything; an Accept rule with an unknown field matches nothing', () => {
    assert.deepEqual(rules(null, 'x', { action: 'Log', to: TO_ALL }, { to: TO_ALL }), [
      DENY_ALL,
      DENY_ALL,
      DENY_ALL,
      DENY_ALL,
    ]);
    assert.deepEqual(rules({ action: 'Accept', to: TO_ALL, from: TO_ALL }), [
      { action: 'Accept', ports: [], peers: [] },
    ]);
    assert.deepEqual(parse({ ...HEAD, egress: {} }).policy.egress, [DENY_ALL]);
    assert.deepEqual(parse({ ...HEAD, ingress: [{ action: 'Deny', from: [{ nodes: {} }] }] }).policy.ingress, [
      DENY_ALL,
    ]);
  });

  it('fault: where tier, priority or subject cannot be understood, no Accept matches, the rest denies, every pod may be meant', () => {
    const egress = [
      { action: 'Accept', to: TO_ALL },
      { action: 'Pass', to: TO_ALL },
    ];
    for (const wrong of [
      { tier: 'Middle' },
      { priority: 1001 },
      { priority: '5' },
      { subject: {} },
      { subject: { namespaces: {}, pods: { podSelector: {} } } },
      { subject: { pods: { podSelector: { matchLabels: { a: 1 } } } } },
      { more: true },
    ]) {
      const { policy, problems } = parse({ ...HEAD, ...wrong, egress });
      assert.deepEqual(policy.egress, [{ action: 'Accept', ports: [], peers: [] }, DENY_ALL], JSON.stringify(wrong));
      assert.equal(problems.length, 1, problems.join('\n'));
      assert.deepEqual(policy.subject, { namespaces: EVERYTHING, pods: EVERYTHING });
    }
  });

  it('says where and with what consequence', () => {
    const { problems } = parse({
      ...HEAD,
      egress: [
        { action: 'Accept', to: [{ networks: ['x'] }] },
        {
          action: 'Pass',
          to: [{ domainNames: ['a.example'] }],
          protocols: [{ tcp: { destinationPort: { number: 70000 } } }],
        },
        { action: 'Allow', to: TO_ALL },
      ],
    });
    assert.deepEqual(problems, [
      'spec.egress[0].to[0].networks[0] is "x", not a CIDR: the entry matches nothing',
      'spec.egress[1].protocols[0].tcp.destinationPort.number is 70000, not a number in 1-65535: the rule denies everything',
      'spec.egress[1].to[0].domainNames is not supported by this agent: the rule denies everything',
      'spec.egress[2].action is "Allow", not Accept, Deny or Pass: the rule denies everything',
    ]);
    const nameless = parseClusterPolicy({ spec: HEAD });
    assert.equal(nameless.policy, undefined);
    assert.equal(nameless.problems[0]!.message, 'is absent: the policy is ignored');
    assert.equal(parse({ ...HEAD, egress: Array(90).fill(0) }).problems.length, 51);
  });

  it('fault: nothing makes it throw, and what it gives is whole', () => {
    const word = fc.constantFrom(
      'tier',
      'priority',
      'subject',
      'ingress',
      'egress',
      'action',
      'to',
      'from',
      'pods',
      'networks',
      'tcp',
    );
    const value = fc.letrec((tie) => ({
      any: fc.oneof(
        fc.jsonValue(),
        fc.constantFrom('Admin', 'Deny', 5),
        fc.dictionary(word, tie('any')),
        fc.array(tie('any')),
      ),
    })).any;
    fc.assert(
      fc.property(value, (spec) => {
        const { policy } = parseClusterPolicy({ metadata: { name: 'p' }, spec });
        assert.ok(['Admin', 'Baseline'].includes(policy!.tier));
        for (const rule of [...policy!.ingress, ...policy!.egress])
          assert.ok(['Accept', 'Deny', 'Pass'].includes(rule.action));
      }),
      { numRuns: 1_000 },
    );
  });
});
