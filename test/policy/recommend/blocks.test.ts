import assert from 'node:assert/strict';
import { parseCidr } from '../../../src/net/cidr.ts';
import { blocksFor } from '../../../src/policy/recommend/blocks.ts';

const podBlocks = ['10.244.0.0/16', 'fd00:10::/56'].map((text) => parseCidr(text)!);
const blocks = (addresses: readonly string[], most: number): readonly string[] =>
  blocksFor(addresses, { most, podBlocks }).map(({ cidr, except, addresses: seen }) =>
    [cidr, ...except.map((each) => `without ${each}`), `for ${seen.length}`].join(' '),
  );

describe('blocksFor', () => {
  const rows: readonly (readonly [
    what: string,
    addresses: readonly string[],
    most: number,
    expected: readonly string[],
  ])[] = [
    ['few addresses one by one', ['203.0.113.7', '203.0.113.9'], 2, ['203.0.113.7/32 for 1', '203.0.113.9/32 for 1']],
    [
      'more by networks, and one alone by itself',
      ['203.0.113.7', '203.0.113.9', '198.51.100.1'],
      2,
      ['203.0.113.0/24 for 2', '198.51.100.1/32 for 1'],
    ],
    [
      'many networks as everything but the pods',
      ['203.0.113.7', '198.51.100.1', '192.0.2.1'],
      2,
      ['0.0.0.0/0 without 10.244.0.0/16 for 3'],
    ],
    [
      'everything with the pods where an address among them was seen',
      ['203.0.113.7', '198.51.100.1', '10.244.3.4'],
      2,
      ['0.0.0.0/0 for 3'],
    ],
    [
      'each family by itself',
      ['203.0.113.7', '2001:db8::1', '2001:db8::2', '2001:db8:1::1'],
      2,
      ['203.0.113.7/32 for 1', '2001:db8::/64 for 2', '2001:db8:1::1/128 for 1'],
    ],
    ['everything of IPv6', ['2001:db8::1', '2001:db8:1::1'], 1, ['::/0 without fd00:10::/56 for 2']],
  ];
  for (const [what, addresses, most, expected] of rows)
    it(`names ${what}`, () => assert.deepEqual(blocks(addresses, most), expected));
});
