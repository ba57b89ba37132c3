import assert from 'node:assert/strict';
import { BlockList, isIPv4 } from 'node:net';
import fc from 'fast-check';
import { ApiStore } from '../../../lab/api/api-store.ts';
import { isStrictSubset, parseCidr } from '../../../lab/api/cidr-rules.ts';
import type { ApiError } from '../../../lab/api/errors.ts';
import { type Any, policy } from './client.ts';

function newStore(): ApiStore {
  const store = new ApiStore();
  store.create('namespaces', { metadata: { name: 'default' } });
  return store;
}

/** `field: message` of each cause of the refusal. */
function causesOf(spec: object): string[] {
  try {
    newStore().create('networkpolicies', policy('p', spec));
  } catch (error) {
    return ((error as ApiError).status.details?.causes ?? []).map(({ field, message }) => `${field}: ${message}`);
  }
  return [];
}

const stored = (spec: object): Any => newStore().create('networkpolicies', policy('p', spec)).spec;

describe('NetworkPolicy defaults', () => {
  for (const [why, spec, types] of [
    ['nothing written', {}, ['Ingress']],
    ['ingress rules only', { ingress: [{}] }, ['Ingress']],
    ['an egress rule', { egress: [{}] }, ['Ingress', 'Egress']],
    ['an empty egress list', { egress: [] }, ['Ingress']],
    ['an empty policyTypes list', { policyTypes: [], egress: [{}] }, ['Ingress', 'Egress']],
    ['policyTypes Egress', { policyTypes: ['Egress'] }, ['Egress']],
    ['policyTypes null', { policyTypes: null }, ['Ingress']],
    ['a type named twice', { policyTypes: ['Ingress', 'Ingress'] }, ['Ingress', 'Ingress']],
  ] as const) {
    it(`policyTypes with ${why}: ${types.join(', ')}`, () => assert.deepEqual(stored(spec).policyTypes, types));
  }

  it('fills the protocol of ports and keeps the selector that was not written', () => {
    const spec = stored({ ingress: [{ ports: [{ port: 80 }, {}, { port: 'web', protocol: 'UDP' }] }] });
    assert.deepEqual(spec.ingress[0].ports, [
      { port: 80, protocol: 'TCP' },
      { protocol: 'TCP' },
      { port: 'web', protocol: 'UDP' },
    ]);
    assert.deepEqual(spec.podSelector, {});
  });

  it('drops empty lists and nulls, but keeps empty selectors of peers', () => {
    const spec = stored({
      podSelector: null,
      ingress: [{ from: [], ports: null }, { from: [{ podSelector: {}, namespaceSelector: null }] }],
      egress: [],
    });
    assert.deepEqual(spec, {
      podSelector: {},
      ingress: [{}, { from: [{ podSelector: {} }] }],
      policyTypes: ['Ingress'],
    });
  });
});

describe('NetworkPolicy validation', () => {
  const port = (entry: object) => ({ ingress: [{ ports: [entry] }] });
  const peer = (entry: object) => ({ egress: [{ to: [entry] }] });

  for (const [spec, field, message] of [
    // API-2, S-37
    [port({ endPort: 80 }), 'ports[0].endPort', /`port` is not specified/],
    [port({ port: 'web', endPort: 80 }), 'ports[0].endPort', /`port` is a name/],
    [port({ port: 80, endPort: 79 }), 'ports[0].endPort', /greater than or equal to `port`/],
    [port({ port: 80, endPort: 70000 }), 'ports[0].endPort', /between 1 and 65535/],
    [port({ port: 0 }), 'ports[0].port', /between 1 and 65535/],
    [port({ port: 65536 }), 'ports[0].port', /between 1 and 65535/],
    // S-39, S-47
    [port({ port: '80' }), 'ports[0].port', /at least one letter/],
    [port({ port: 'a--b' }), 'ports[0].port', /consecutive hyphens/],
    [port({ port: '-ab' }), 'ports[0].port', /start and end/],
    [port({ port: 'Web' }), 'ports[0].port', /lower case/],
    [port({ port: 'sixteen-letters1' }), 'ports[0].port', /no more than 15/],
    [port({ port: '' }), 'ports[0].port', /Invalid value: ""/],
    [
      port({ protocol: 'ICMP' }),
      'ports[0].protocol',
      /Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"/,
    ],
    // S-25, S-48
    [peer({}), 'to[0]', /Required value: must specify a peer/],
    [peer({ podSelector: {}, ipBlock: { cidr: '10.0.0.0/8' } }), 'to[0]', /Forbidden/],
    [peer({ ipBlock: {} }), 'to[0].ipBlock.cidr', /Required value/],
    [peer({ ipBlock: { cidr: '10.0.0.0' } }), 'to[0].ipBlock.cidr', /valid CIDR/],
    [peer({ ipBlock: { cidr: '10.0.0.0/33' } }), 'to[0].ipBlock.cidr', /valid CIDR/],
    [peer({ ipBlock: { cidr: 'fe80::1%eth0/64' } }), 'to[0].ipBlock.cidr', /valid CIDR/],
    [peer({ ipBlock: { cidr: '10.0.0.0/8', except: ['11.0.0.0/16'] } }), 'to[0].ipBlock.except[0]', /strict subset/],
    [peer({ ipBlock: { cidr: '10.0.0.0/8', except: ['10.0.0.0/8'] } }), 'to[0].ipBlock.except[0]', /strict subset/],
    [peer({ ipBlock: { cidr: '0.0.0.0/0', except: ['2001:db8::/32'] } }), 'to[0].ipBlock.except[0]', /strict subset/],
    [peer({ ipBlock: { cidr: '::/0', except: ['x'] } }), 'to[0].ipBlock.except[0]', /valid CIDR/],
    [peer({ podSelector: { matchLabels: { 'a b': 'c' } } }), 'to[0].podSelector.matchLabels', /Invalid value: "a b"/],
    [peer({ namespaceSelector: { matchLabels: { a: '-' } } }), 'to[0].namespaceSelector.matchLabels', /label value/],
  ] as const) {
    it(`refuses ${JSON.stringify(spec)}`, () => {
      const causes = causesOf(spec);
      assert.ok(causes.length >= 1, 'it is refused');
      assert.match(causes[0] ?? '', message);
      assert.ok(causes[0]?.startsWith(`spec.${'ingress' in spec ? 'ingress' : 'egress'}[0].${field}: `), causes[0]);
    });
  }

  for (const [why, terms, message] of [
    ['In without values', { operator: 'In' }, /matchExpressions\[0\].values: Required/],
    ['NotIn with an empty list', { operator: 'NotIn', values: [] }, /values: Required/],
    ['Exists with values', { operator: 'Exists', values: ['a'] }, /values: Forbidden/],
    ['DoesNotExist with values', { operator: 'DoesNotExist', values: ['a'] }, /values: Forbidden/],
    ['an unknown operator', { operator: 'Gt', values: ['1'] }, /operator: Unsupported value: "Gt"/],
    ['a value that is no label value', { operator: 'In', values: ['a', 'b c'] }, /values\[1\]: Invalid value: "b c"/],
  ] as const) {
    it(`refuses a selector with ${why}`, () => {
      const [first = ''] = causesOf({ podSelector: { matchExpressions: [{ key: 'k', ...terms }] } });
      assert.match(first, message);
      assert.match(first, /^spec\.podSelector\./);
    });
  }

  it('refuses three policyTypes and unknown ones', () => {
    assert.match(
      causesOf({ policyTypes: ['Ingress', 'Egress', 'Ingress'] })[0] ?? '',
      /^spec.policyTypes: .*more than two/,
    );
    assert.match(
      causesOf({ policyTypes: ['ingress'] })[0] ?? '',
      /^spec.policyTypes\[0\]: Unsupported value: "ingress"/,
    );
  });

  it('accepts everything that is allowed', () => {
    const spec = {
      podSelector: { matchExpressions: [{ key: 'example.com/k', operator: 'NotIn', values: ['', 'v'] }] },
      policyTypes: ['Egress', 'Ingress'],
      ingress: [
        {},
        {
          ports: [
            { port: 1, endPort: 65535 },
            { port: 80, endPort: 80 },
            { port: '0a', protocol: 'SCTP' },
          ],
        },
      ],
      egress: [
        { to: [{ podSelector: {}, namespaceSelector: {} }, { ipBlock: { cidr: '::/0', except: ['2001:db8::/32'] } }] },
      ],
    };
    assert.deepEqual(causesOf(spec), []);
  });

  it('accepts host bits, leading zeros and IPv4-mapped networks with a warning', () => {
    const warnings: string[] = [];
    const spec = {
      ingress: [{ from: ['10.1.2.3/8', '010.0.0.0/8', '::ffff:10.0.0.0/104'].map((cidr) => ({ ipBlock: { cidr } })) }],
    };
    newStore().create('networkpolicies', policy('p', spec), { warn: (text) => warnings.push(text) });
    assert.equal(warnings.length, 3);
    assert.match(warnings[0] ?? '', /spec.ingress\[0\].from\[0\].ipBlock.cidr: "10.1.2.3\/8"/);
  });

  it('names every fault at once, as a Status that names kind and object', () => {
    const spec = { ingress: [{ ports: [{ port: 0 }], from: [{}] }] };
    assert.throws(() => newStore().create('networkpolicies', policy('p', spec)), {
      code: 422,
      reason: 'Invalid',
      message:
        'NetworkPolicy.networking.k8s.io "p" is invalid: [spec.ingress[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive, ' +
        'spec.ingress[0].from[0]: Required value: must specify a peer]',
    });
  });

  it('refuses wrong types with 400 and the path', () => {
    const store = newStore();
    const refused = (spec: object, message: RegExp) =>
      assert.throws(() => store.create('networkpolicies', policy('p', spec)), { code: 400, message });
    refused({ ingress: {} }, /spec.ingress: expected a list, found an object/);
    refused(
      { ingress: [{ ports: [{ port: true }] }] },
      /ports\[0\].port: expected an integer or a string, found boolean/,
    );
    refused(
      { podSelector: { matchLabels: { a: 1 } } },
      /spec.podSelector.matchLabels.a: expected a string, found number 1/,
    );
    refused({ ingress: [{ ports: [{ endPort: '80' }] }] }, /endPort: expected a 32-bit integer, found string "80"/);
  });

  it('refuses, warns of or drops unknown fields', () => {
    const spec = { podSelector: {}, ingres: [] };
    const store = newStore();
    assert.throws(() => store.create('networkpolicies', policy('p', spec)), {
      code: 400,
      message: /unknown field "spec.ingres"/,
    });
    const warnings: string[] = [];
    const object = store.create('networkpolicies', policy('p', spec), {
      fieldValidation: 'Warn',
      warn: (text) => warnings.push(text),
    });
    assert.deepEqual(warnings, ['unknown field "spec.ingres"']);
    assert.ok(!('ingres' in object.spec));
  });

  it('checks the name and the labels', () => {
    const named = (name: string) => () => newStore().create('networkpolicies', { ...policy('p'), metadata: { name } });
    assert.throws(named('Upper'), { code: 422, message: /metadata.name: Invalid value: "Upper"/ });
    assert.throws(named('a'.repeat(254)), { code: 422 });
    assert.equal(named(`${'a'.repeat(63)}.b`)().metadata.name.length, 65);
    assert.equal(named('a'.repeat(253))().metadata.name.length, 253);
  });
});

describe('CIDRs of the API server', () => {
  it('a strict subset is what an independent block list says', () => {
    const cidr = fc.oneof(
      fc.tuple(fc.ipV4(), fc.integer({ min: 0, max: 32 })).map(([ip, bits]) => `${ip}/${bits}`),
      fc.tuple(fc.ipV6(), fc.integer({ min: 0, max: 128 })).map(([ip, bits]) => `${ip}/${bits}`),
    );
    fc.assert(
      fc.property(cidr, cidr, fc.boolean(), (inner, outer, nest) => {
        // Half of the pairs are nested by construction, or almost no random pair would be.
        const inside = nest ? `${outer.split('/')[0]}/${inner.split('/')[1]}` : inner;
        const [a, b] = [parseCidr(inside), parseCidr(outer)];
        if (!a || !b) return nest;
        const [ip = '', bits = ''] = outer.split('/');
        const list = new BlockList();
        list.addSubnet(ip, Number(bits), isIPv4(ip) ? 'ipv4' : 'ipv6');
        const [address = '', innerBits] = inside.split('/');
        const sameFamily = isIPv4(address) === isIPv4(ip);
        const contained =
          sameFamily && list.check(address, isIPv4(address) ? 'ipv4' : 'ipv6') && Number(innerBits) > Number(bits);
        return isStrictSubset(a, b) === contained;
      }),
      { numRuns: 500 },
    );
  });

  it('reads leading zeros as decimal and IPv4 tails in IPv6', () => {
    assert.equal(parseCidr('010.0.0.0/8')?.network, 10n << 24n);
    assert.equal(parseCidr('2001:db8::203.0.113.1/128')?.network, (0x20010db8n << 96n) | 0xcb007101n);
    assert.equal(parseCidr('10.0.0.0/08')?.bits, 8);
  });
});
