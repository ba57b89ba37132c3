import assert from 'node:assert/strict';
import { BlockList } from 'node:net';
import fc from 'fast-check';
import { IPv4CidrRange, IPv6CidrRange } from 'ip-num';
import {
  type Cidr,
  cidrContains,
  cidrCovers,
  formatCidr,
  formatNetMember,
  halvesOf,
  parseCidr,
} from '../../src/net/cidr.ts';
import { cidrOfAddress, compareCidrs, parseNetMember } from '../support/cidrs.ts';
import { formatAddress, parseAddress } from '../../src/net/ip.ts';
import { address, cidr, edgesOf, family } from './arbitraries.ts';

describe('parseCidr', () => {
  const valid: readonly (readonly [text: string, canonical: string])[] = [
    ['203.0.113.0/24', '203.0.113.0/24'],
    ['203.0.113.7/24', '203.0.113.0/24'],
    ['10.1.2.3/8', '10.0.0.0/8'],
    ['203.0.113.7/32', '203.0.113.7/32'],
    ['203.0.113.7/0', '0.0.0.0/0'],
    ['010.0.0.0/8', '10.0.0.0/8'],
    ['10.0.0.0/08', '10.0.0.0/8'],
    ['2001:db8::7/32', '2001:db8::/32'],
    ['2001:db8:ffff::/33', '2001:db8:8000::/33'],
    ['2001:db8::7/128', '2001:db8::7/128'],
    ['2001:db8::7/127', '2001:db8::6/127'],
    ['ffff::/0', '::/0'],
    ['::ffff:10.1.2.3/104', '10.0.0.0/8'],
    ['::ffff:10.1.2.3/96', '0.0.0.0/0'],
    ['::ffff:10.1.2.3/128', '10.1.2.3/32'],
    ['::ffff:10.1.2.3/95', '::fffe:0:0/95'],
  ];
  for (const [text, canonical] of valid) {
    it(`reads ${text} as ${canonical}`, () => assert.equal(formatCidr(parseCidr(text)!), canonical));
  }

  const invalid = [
    ...[
      '',
      '/',
      '/8',
      '203.0.113.0',
      '203.0.113.0/',
      '203.0.113.0/33',
      '203.0.113.0/-1',
      '203.0.113.0/+8',
      '203.0.113.0/ 8',
      '2001:db8::/64/64',
      '/203.0.113.0/24',
    ],
    ...[
      '203.0.113.0/24 ',
      '203.0.113.0/24/24',
      '203.0.113.0/255.255.255.0',
      '203.0.113/24',
      '2001:db8::',
      '2001:db8::/129',
    ],
    ...['fe80::1%eth0/64', '2001:db8::/3a', '203.0.113.0/4294967304', 'any', '203.0.113.0\u0000/24'],
  ];
  for (const text of invalid) it(`refuses ${JSON.stringify(text)}`, () => assert.equal(parseCidr(text), undefined));

  it('reads what formatCidr writes', () =>
    fc.assert(fc.property(family.chain(cidr), (value) => assert.deepEqual(parseCidr(formatCidr(value)), value))));

  it('clears the host bits that ip-num clears', () =>
    fc.assert(
      fc.property(family.chain(address), fc.nat(128), (host, length) => {
        const text = formatAddress(host);
        // ip-num takes no dotted tail of an IPv6 address.
        fc.pre(host.family === 4 ? length <= 32 : !text.includes('.'));
        const ours = parseCidr(`${text}/${length}`)!;
        const range = host.family === 4 ? IPv4CidrRange : IPv6CidrRange;
        const theirs = range.fromCidr(`${text}/${length}`).getFirst();
        assert.equal(formatCidr(ours), `${formatAddress(parseAddress(theirs.toString())!)}/${length}`);
      }),
    ));
});

describe('cidrContains', () => {
  it('agrees with net.BlockList, at the edges above all', () =>
    fc.assert(
      fc.property(
        family.chain((of) => fc.tuple(cidr(of), fc.array(address(of)))),
        ([value, others]) => {
          const type = value.family === 4 ? 'ipv4' : 'ipv6';
          const list = new BlockList();
          list.addSubnet(formatAddress(value), value.prefixLength, type);
          for (const each of [...edgesOf(value), ...others]) {
            const text = formatAddress(each);
            assert.equal(cidrContains(value, each), list.check(text, type), `${formatCidr(value)} ${text}`);
          }
        },
      ),
      { numRuns: 500 },
    ));

  it('holds nothing of the other family', () => {
    assert.equal(cidrContains(parseCidr('::/0')!, parseAddress('203.0.113.7')!), false);
    assert.equal(cidrContains(parseCidr('0.0.0.0/0')!, parseAddress('::')!), false);
  });
});

describe('cidrCovers', () => {
  const cases: readonly (readonly [outer: string, inner: string, covers: boolean])[] = [
    ['203.0.113.0/24', '203.0.113.0/24', true],
    ['203.0.113.0/24', '203.0.113.128/25', true],
    ['203.0.113.0/24', '203.0.112.0/23', false],
    ['203.0.113.0/24', '203.0.114.0/25', false],
    ['0.0.0.0/0', '255.255.255.255/32', true],
    ['0.0.0.0/0', '::/0', false],
    ['2001:db8::/32', '2001:db8:8000::/33', true],
    ['2001:db8:8000::/33', '2001:db8::/33', false],
  ];
  for (const [outer, inner, covers] of cases) {
    it(`${outer} ${covers ? 'covers' : 'does not cover'} ${inner}`, () =>
      assert.equal(cidrCovers(parseCidr(outer)!, parseCidr(inner)!), covers));
  }
});

describe('compareCidrs', () => {
  it('orders by family, first address, then the wider first', () => {
    const ascending = [
      '0.0.0.0/0',
      '0.0.0.0/1',
      '127.0.0.0/8',
      '128.0.0.0/1',
      '203.0.113.0/24',
      '203.0.113.0/25',
      '::/0',
      '::/128',
      '8000::/1',
    ];
    const cidrs = ascending.map((text) => parseCidr(text)!);
    assert.deepEqual(cidrs.toReversed().sort(compareCidrs), cidrs);
  });
});

describe('halvesOf', () => {
  it('gives two neighbours that together are the whole', () =>
    fc.assert(
      fc.property(family.chain(cidr), (value) => {
        const halves = halvesOf(value);
        if (halves === undefined) return assert.equal(value.prefixLength, value.family === 4 ? 32 : 128);
        assert.deepEqual(halves.map(formatCidr), halvesByText(value));
      }),
    ));

  it('splits all of IPv4 and IPv6', () => {
    assert.deepEqual(halvesOf(parseCidr('0.0.0.0/0')!)!.map(formatCidr), ['0.0.0.0/1', '128.0.0.0/1']);
    assert.deepEqual(halvesOf(parseCidr('::/0')!)!.map(formatCidr), ['::/1', '8000::/1']);
  });

  /** By BigInt, the slow and obvious way. */
  function halvesByText({ family: of, words, prefixLength }: Cidr): string[] {
    const bits = of === 4 ? 32 : 128;
    const start = words.reduce((sum, word) => sum * 2n ** 32n + BigInt(word), 0n);
    const upper = start + 2n ** BigInt(bits - prefixLength - 1);
    return [start, upper].map((value) => {
      const parts = words.map((_, i) => Number((value >> BigInt(bits - 32 * (i + 1))) & 0xffffffffn));
      return `${formatAddress({ family: of, words: parts })}/${prefixLength + 1}`;
    });
  }
});

describe('net members', () => {
  it('leave out the length of a single address', () => {
    assert.equal(formatNetMember(cidrOfAddress(parseAddress('203.0.113.7')!)), '203.0.113.7');
    assert.equal(formatNetMember(parseCidr('2001:db8::/127')!), '2001:db8::/127');
  });

  it('stay IPv6 when IPv4-mapped', () => {
    const member = parseNetMember(6, '::ffff:0.0.0.0/96')!;
    assert.equal(member.family, 6);
    assert.equal(formatNetMember(member), '::ffff:0.0.0.0/96');
  });

  it('are read back, and refused in a set of the other family', () =>
    fc.assert(
      fc.property(family.chain(cidr), (value) => {
        assert.deepEqual(parseNetMember(value.family, formatNetMember(value)), value);
        assert.equal(parseNetMember(value.family === 4 ? 6 : 4, formatNetMember(value)), undefined);
      }),
    ));

  it('are refused when they are none', () => {
    for (const text of ['', '203.0.113.7/', '203.0.113.7/33', '203.0.113.7 nomatch']) {
      assert.equal(parseNetMember(4, text), undefined);
    }
  });
});
