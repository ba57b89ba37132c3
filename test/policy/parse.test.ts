import assert from 'node:assert/strict';
import { formatCidr } from '../../src/net/cidr.ts';
import type { Peer, Policy, Problem, Rule } from '../../src/policy/model.ts';
import { MAX_PROBLEMS, parsePolicy } from '../../src/policy/parse.ts';
import { policyObject } from '../support/builders.ts';

function parse(spec: unknown): { readonly policy: Policy; readonly problems: readonly Problem[] } {
  const { policy, problems } = parsePolicy({ ...policyObject('x/p', {}), spec });
  assert.ok(policy);
  return { policy, problems };
}

/** For specs that are in order. */
function good(spec: unknown): Policy {
  const { policy, problems } = parse(spec);
  assert.deepEqual(problems, []);
  return policy;
}

function ingressRule(rule: unknown): { readonly rule: Rule; readonly fields: readonly string[] } {
  const { policy, problems } = parse({ ingress: [rule] });
  assert.deepEqual(policy.isolates, { ingress: true, egress: false });
  const [parsed] = policy.ingress;
  assert.ok(parsed);
  return { rule: parsed, fields: problems.map(({ field }) => field) };
}

const portsOf = (...ports: unknown[]) => {
  const { rule, fields } = ingressRule({ ports });
  return { ports: rule.ports, fields };
};

const peerOf = (peer: unknown): { readonly peer: Peer; readonly fields: readonly string[] } => {
  const { rule, fields } = ingressRule({ from: [peer] });
  assert.ok(rule.peers !== 'any' && rule.peers.length === 1);
  return { peer: rule.peers[0]!, fields };
};

const EVERYTHING = { kind: 'all-of', requirements: [] };

describe('parse: object', () => {
  it('reads name, namespace and uid', () => {
    const object = { metadata: { namespace: 'x', name: 'p', uid: 'u-1', labels: { a: 'b' } }, spec: {} };
    const { policy, problems } = parsePolicy(object);
    assert.deepEqual(problems, []);
    assert.deepEqual([policy?.namespace, policy?.name, policy?.uid], ['x', 'p', 'u-1']);
  });

  const nameless: readonly (readonly [string, unknown, readonly string[]])[] = [
    ['null', null, ['metadata.namespace', 'metadata.name']],
    ['a string', 'policy', ['metadata.namespace', 'metadata.name']],
    ['a list', [], ['metadata.namespace', 'metadata.name']],
    ['no metadata', { spec: {} }, ['metadata.namespace', 'metadata.name']],
    ['no namespace', { metadata: { name: 'p' } }, ['metadata.namespace']],
    ['an empty name', { metadata: { namespace: 'x', name: '' } }, ['metadata.name']],
    ['a number as name', { metadata: { namespace: 'x', name: 7 } }, ['metadata.name']],
    ['a name with a slash', { metadata: { namespace: 'x', name: 'a/b' } }, ['metadata.name']],
    ['a name with a newline', { metadata: { namespace: 'x', name: 'a\n-A INPUT' } }, ['metadata.name']],
    ['a name with a NUL', { metadata: { namespace: 'x\0', name: 'a' } }, ['metadata.namespace']],
    ['an endless name', { metadata: { namespace: 'x', name: 'a'.repeat(300) } }, ['metadata.name']],
  ];
  for (const [name, object, fields] of nameless) {
    it(`${name}: no policy, reported`, () => {
      const { policy, problems } = parsePolicy(object);
      assert.equal(policy, undefined);
      assert.deepEqual(
        problems.map(({ field }) => field),
        fields,
      );
    });
  }

  it('problems name the object and stay on one short line, whatever the object holds', () => {
    const { problems } = parse({ policyTypes: [`In\ngress${'\u0000'.repeat(10_000)}`] });
    assert.deepEqual(problems[0]?.object, { kind: 'NetworkPolicy', namespace: 'x', name: 'p' });
    assert.match(problems[0].message, /^is "In\\ngress[^\n\0]{1,700}both directions are isolated$/);
  });

  it('a hundred thousand bad entries are a few problems, and good ones among them count', () => {
    const ports: unknown[] = new Array(100_000).fill(null);
    const { policy, problems } = parse({ ingress: [{ ports: [...ports, { port: 80 }] }] });
    assert.deepEqual(policy.ingress[0]?.ports, [{ kind: 'range', protocol: 'TCP', first: 80, last: 80 }]);
    assert.equal(problems.length, MAX_PROBLEMS + 1);
    assert.equal(problems.at(-1)?.message, 'has 99950 more problems');
  });

  it('an object with a hundred thousand unknown fields is survived', () => {
    const fields = Object.fromEntries(Array.from({ length: 100_000 }, (_, index) => [`f${index}`, 1]));
    assert.deepEqual(ingressRule(fields).rule, { ports: [], peers: [] });
    assert.deepEqual(peerOf({ podSelector: { matchExpressions: [fields] } }).peer.kind, 'nothing');
  });
});

describe('parse: policyTypes (S-11, S-12, S-13)', () => {
  const types = (spec: object) => {
    const { isolates } = good(spec);
    return [isolates.ingress && 'Ingress', isolates.egress && 'Egress'].filter(Boolean).join(' ');
  };
  const cases: readonly (readonly [object, string])[] = [
    [{}, 'Ingress'],
    [{ ingress: [], egress: [] }, 'Ingress'],
    [{ ingress: null, egress: null, policyTypes: null }, 'Ingress'],
    [{ policyTypes: [], egress: [] }, 'Ingress'],
    [{ ingress: [{}] }, 'Ingress'],
    [{ egress: [{}] }, 'Ingress Egress'],
    [{ policyTypes: [], egress: [{ to: [{ podSelector: {} }] }] }, 'Ingress Egress'],
    [{ policyTypes: ['Egress'] }, 'Egress'],
    [{ policyTypes: ['Egress'], ingress: [{}] }, 'Egress'],
    [{ policyTypes: ['Ingress'], egress: [{}] }, 'Ingress'],
    [{ policyTypes: ['Ingress', 'Ingress'] }, 'Ingress'],
    [{ policyTypes: ['Egress', 'Ingress'] }, 'Ingress Egress'],
  ];
  for (const [spec, expected] of cases) {
    it(`${JSON.stringify(spec)}: ${expected}`, () => assert.equal(types(spec), expected));
  }

  it('a section whose type is not in effect is not read, however wrong it is', () => {
    const policy = good({ policyTypes: ['Egress'], ingress: ['nonsense'], egress: [{}] });
    assert.deepEqual(policy.ingress, []);
    assert.deepEqual(policy.egress, [{ ports: 'any', peers: 'any' }]);
  });

  for (const policyTypes of [['ingress'], ['Ingress', 'Both'], [null], [7], 'Ingress', {}, 7]) {
    it(`${JSON.stringify(policyTypes)} isolates in both directions, rules are kept, and is reported`, () => {
      const { policy, problems } = parse({ policyTypes, ingress: [{}] });
      assert.deepEqual(policy.isolates, { ingress: true, egress: true });
      assert.equal(policy.ingress.length, 1);
      assert.equal(problems.length, 1);
      assert.match(problems[0]!.field, /^spec\.policyTypes/);
    });
  }

  it('an egress section that is no list still says egress', () => {
    const { policy, problems } = parse({ egress: { to: [] } });
    assert.deepEqual(policy.isolates, { ingress: true, egress: true });
    assert.deepEqual(
      problems.map(({ field }) => field),
      ['spec.egress'],
    );
  });
});

describe('parse: spec and subject (S-15, S-19)', () => {
  for (const spec of [
    {},
    { podSelector: null },
    { podSelector: {} },
    { podSelector: { matchLabels: {} } },
    null,
    undefined,
  ]) {
    it(`${JSON.stringify(spec)} selects every pod of the namespace`, () => {
      assert.deepEqual(good(spec).podSelector, EVERYTHING);
    });
  }

  it('a spec that is no object isolates everything', () => {
    const { policy, problems } = parse('deny');
    assert.deepEqual(policy.podSelector, EVERYTHING);
    assert.deepEqual(policy.isolates, { ingress: true, egress: true });
    assert.equal(problems.length, 1);
  });

  it('an unusable subject selector selects every pod, in the directions of the policy, and keeps no rules', () => {
    const podSelector = { matchExpressions: [{ key: 'a', operator: 'Like', values: ['b'] }] };
    const { policy, problems } = parse({ podSelector, policyTypes: ['Egress'], egress: [{}] });
    assert.deepEqual(policy.podSelector, EVERYTHING);
    assert.deepEqual(policy.isolates, { ingress: false, egress: true });
    assert.deepEqual(policy.egress, []);
    assert.deepEqual(
      problems.map(({ field }) => field),
      ['spec.podSelector.matchExpressions[0].operator'],
    );
  });

  it('an unknown field of spec is reported and changes nothing', () => {
    const { policy, problems } = parse({ podselector: {}, ingress: [{}] });
    assert.equal(policy.ingress.length, 1);
    assert.deepEqual(
      problems.map(({ field }) => field),
      ['spec.podselector'],
    );
  });
});

describe('parse: rules (S-14, S-23, S-32)', () => {
  const anything = { ports: 'any', peers: 'any' };
  for (const rule of [{}, { ports: [], from: [] }, { ports: null, from: null }]) {
    it(`${JSON.stringify(rule)} allows everything`, () =>
      assert.deepEqual(ingressRule(rule), { rule: anything, fields: [] }));
  }

  it('keeps the positions of rules, also behind an unusable one', () => {
    const { policy } = parse({ ingress: [null, { ports: [{ port: 80 }] }] });
    assert.deepEqual(policy.ingress, [
      { ports: [], peers: [] },
      { ports: [{ kind: 'range', protocol: 'TCP', first: 80, last: 80 }], peers: 'any' },
    ]);
  });

  for (const [rule, field] of [
    [null, 'spec.ingress[0]'],
    ['allow', 'spec.ingress[0]'],
    [[], 'spec.ingress[0]'],
    [{ form: [] }, 'spec.ingress[0].form'],
    [{ to: [] }, 'spec.ingress[0].to'],
  ] as const) {
    it(`${JSON.stringify(rule)} allows nothing`, () => {
      assert.deepEqual(ingressRule(rule), { rule: { ports: [], peers: [] }, fields: [field] });
    });
  }

  it('lists that are none allow nothing', () => {
    assert.deepEqual(ingressRule({ ports: 80 }), {
      rule: { ports: [], peers: 'any' },
      fields: ['spec.ingress[0].ports'],
    });
    assert.deepEqual(ingressRule({ from: {} }), {
      rule: { ports: 'any', peers: [] },
      fields: ['spec.ingress[0].from'],
    });
    const { policy, problems } = parse({ ingress: 'all' });
    assert.deepEqual(policy.ingress, []);
    assert.equal(problems.length, 1);
  });

  it('egress rules have `to`', () => {
    const { policy } = parse({ egress: [{ to: [{ podSelector: {} }] }, { from: [] }] });
    assert.deepEqual(policy.egress, [
      { ports: 'any', peers: [{ kind: 'pods', namespaces: 'own', pods: EVERYTHING }] },
      { ports: [], peers: [] },
    ]);
  });
});

describe('parse: ports (S-34..S-39)', () => {
  const range = (protocol: string, first: number, last: number) => ({ kind: 'range', protocol, first, last });
  const usable: readonly (readonly [object, object])[] = [
    [{}, range('TCP', 0, 65535)],
    [{ protocol: 'UDP' }, range('UDP', 0, 65535)],
    [{ protocol: null, port: null, endPort: null }, range('TCP', 0, 65535)],
    [{ port: 80 }, range('TCP', 80, 80)],
    [{ port: 1, protocol: 'SCTP' }, range('SCTP', 1, 1)],
    [{ port: 65535 }, range('TCP', 65535, 65535)],
    [{ port: 80, endPort: 80 }, range('TCP', 80, 80)],
    [{ port: 80, endPort: 90 }, range('TCP', 80, 90)],
    [{ port: 'web' }, { kind: 'named', protocol: 'TCP', name: 'web' }],
    [
      { port: 'dns-udp', protocol: 'UDP' },
      { kind: 'named', protocol: 'UDP', name: 'dns-udp' },
    ],
  ];
  for (const [entry, expected] of usable) {
    it(JSON.stringify(entry), () => assert.deepEqual(portsOf(entry), { ports: [expected], fields: [] }));
  }

  const at = (field: string) => `spec.ingress[0].ports[0]${field}`;
  const unusable: readonly (readonly [unknown, string])[] = [
    [null, at('')],
    [80, at('')],
    ['web', at('')],
    [{ protocol: 'tcp' }, at('.protocol')],
    [{ protocol: '' }, at('.protocol')],
    [{ protocol: 'ICMP' }, at('.protocol')],
    [{ protocol: 6 }, at('.protocol')],
    [{ port: 0 }, at('.port')],
    [{ port: -1 }, at('.port')],
    [{ port: 65536 }, at('.port')],
    [{ port: 80.5 }, at('.port')],
    [{ port: true }, at('.port')],
    [{ port: [80] }, at('.port')],
    [{ port: '' }, at('.port')],
    [{ port: 80, endPort: 79 }, at('.endPort')],
    [{ port: 80, endPort: 70000 }, at('.endPort')],
    [{ port: 80, endPort: '90' }, at('.endPort')],
    [{ port: 80, endPort: 0 }, at('.endPort')],
    [{ port: 'web', endPort: 90 }, at('.endPort')],
    [{ endPort: 90 }, at('.endPort')],
    [{ port: 80, ports: [81] }, at('.ports')],
  ];
  for (const [entry, field] of unusable) {
    it(`${JSON.stringify(entry)} matches nothing, reported at ${field}`, () => {
      assert.deepEqual(portsOf(entry), { ports: [], fields: [field] });
    });
  }

  it('a string of digits is a name that no pod has, and reported (S-39)', () => {
    const { ports, fields } = portsOf({ port: '80' });
    assert.deepEqual(ports, [{ kind: 'named', protocol: 'TCP', name: '80' }]);
    assert.deepEqual(fields, ['spec.ingress[0].ports[0].port']);
  });

  it('siblings of an unusable entry keep their meaning', () => {
    assert.deepEqual(portsOf({ protocol: 'ICMP' }, { port: 80 }).ports, [range('TCP', 80, 80)]);
  });
});

describe('parse: peers (S-16, S-24, S-25)', () => {
  const web = { kind: 'all-of', requirements: [{ key: 'app', operator: 'In', values: ['web'] }] };
  const raw = { matchLabels: { app: 'web' } };
  const usable: readonly (readonly [object, object])[] = [
    [{ podSelector: raw }, { kind: 'pods', namespaces: 'own', pods: web }],
    [{ podSelector: {} }, { kind: 'pods', namespaces: 'own', pods: EVERYTHING }],
    [
      { podSelector: {}, namespaceSelector: null },
      { kind: 'pods', namespaces: 'own', pods: EVERYTHING },
    ],
    [{ namespaceSelector: {} }, { kind: 'pods', namespaces: EVERYTHING, pods: EVERYTHING }],
    [
      { namespaceSelector: raw, podSelector: null, ipBlock: null },
      { kind: 'pods', namespaces: web, pods: EVERYTHING },
    ],
    [
      { namespaceSelector: {}, podSelector: raw },
      { kind: 'pods', namespaces: EVERYTHING, pods: web },
    ],
  ];
  for (const [entry, expected] of usable) {
    it(JSON.stringify(entry), () => assert.deepEqual(peerOf(entry), { peer: expected, fields: [] }));
  }

  const at = (field: string) => `spec.ingress[0].from[0]${field}`;
  const unusable: readonly (readonly [unknown, string])[] = [
    [null, at('')],
    ['everyone', at('')],
    [[], at('')],
    [{}, at('')],
    [{ podSelector: null }, at('')],
    [{ nodeSelector: {} }, at('.nodeSelector')],
    [{ podSelector: {}, nodeSelector: {} }, at('.nodeSelector')],
    [{ podSelector: {}, ipBlock: { cidr: '203.0.113.0/24' } }, at('')],
    [{ podSelector: 'web' }, at('.podSelector')],
    [{ podSelector: { matchLabels: { a: 1 } } }, at('.podSelector.matchLabels["a"]')],
    [
      { namespaceSelector: { matchExpressions: [{ key: 'a', operator: 'In', values: [] }] }, podSelector: {} },
      at('.namespaceSelector.matchExpressions[0].values'),
    ],
    [{ ipBlock: '203.0.113.0/24' }, at('.ipBlock')],
    [{ ipBlock: {} }, at('.ipBlock.cidr')],
    [{ ipBlock: { cidr: 7 } }, at('.ipBlock.cidr')],
    [{ ipBlock: { cidr: 'x' } }, at('.ipBlock.cidr')],
    [{ ipBlock: { cidr: '203.0.113.0' } }, at('.ipBlock.cidr')],
    [{ ipBlock: { cidr: '203.0.113.0/33' } }, at('.ipBlock.cidr')],
    [{ ipBlock: { cidr: '2001:db8::/129' } }, at('.ipBlock.cidr')],
    [{ ipBlock: { cidr: '203.0.113.0/24', except: '203.0.113.1/32' } }, at('.ipBlock.except')],
    [{ ipBlock: { cidr: '203.0.113.0/24', except: [null] } }, at('.ipBlock.except[0]')],
    [{ ipBlock: { cidr: '203.0.113.0/24', except: ['203.0.113.1'] } }, at('.ipBlock.except[0]')],
    [{ ipBlock: { cidr: '203.0.113.0/24', excepts: [] } }, at('.ipBlock.excepts')],
  ];
  for (const [entry, field] of unusable) {
    it(`${JSON.stringify(entry)} matches nothing, reported at ${field}`, () => {
      const { peer, fields } = peerOf(entry);
      assert.equal(peer.kind, 'nothing');
      assert.deepEqual(fields, [field]);
    });
  }

  it('an entry that matches nothing says why, and stays in its place', () => {
    const { rule } = ingressRule({ from: [{}, { podSelector: {} }] });
    assert.ok(rule.peers !== 'any');
    assert.deepEqual(
      rule.peers.map(({ kind }) => kind),
      ['nothing', 'pods'],
    );
    assert.match(JSON.stringify(rule.peers[0]), /from\[0\] has no podSelector/);
  });
});

describe('parse: ipBlock (S-28..S-31)', () => {
  const block = (ipBlock: object) => {
    const { peer, fields } = peerOf({ ipBlock });
    assert.ok(peer.kind === 'ip-block');
    return { cidr: formatCidr(peer.cidr), except: peer.except.map(formatCidr), fields };
  };

  it('clears host bits, reads leading zeros as decimal, and takes mapped IPv4 as IPv4', () => {
    assert.equal(block({ cidr: '10.1.2.3/8' }).cidr, '10.0.0.0/8');
    assert.equal(block({ cidr: '010.0.0.0/8' }).cidr, '10.0.0.0/8');
    assert.equal(block({ cidr: '::ffff:203.0.113.0/120' }).cidr, '203.0.113.0/24');
    assert.equal(block({ cidr: '::/0' }).cidr, '::/0');
    assert.equal(block({ cidr: '0.0.0.0/0' }).cidr, '0.0.0.0/0');
  });

  it('keeps the exceptions, in their order', () => {
    const except = ['203.0.113.7/32', '203.0.113.0/30'];
    assert.deepEqual(block({ cidr: '203.0.113.0/24', except }), { cidr: '203.0.113.0/24', except, fields: [] });
    assert.deepEqual(block({ cidr: '203.0.113.0/24', except: null }).except, []);
  });

  it('reports exceptions that are no strict part of the block, and keeps their plain meaning', () => {
    const field = 'spec.ingress[0].from[0].ipBlock.except[0]';
    assert.deepEqual(block({ cidr: '203.0.113.0/24', except: ['203.0.113.0/24'] }).fields, [field]);
    assert.deepEqual(block({ cidr: '203.0.113.0/24', except: ['203.0.112.0/23'] }).fields, [field]);
    assert.deepEqual(block({ cidr: '203.0.113.0/24', except: ['10.0.0.0/8'] }).fields, [field]);
    assert.deepEqual(block({ cidr: '::/0', except: ['203.0.113.0/25'] }), {
      cidr: '::/0',
      except: [],
      fields: [field],
    });
  });
});
