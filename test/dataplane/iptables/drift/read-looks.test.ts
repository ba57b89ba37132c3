import assert from 'node:assert/strict';
import { readChainListing, readSetHeaders } from '../../../../src/dataplane/iptables/drift/read-looks.ts';

/** Recorded from ipset 7.17. */
const HEADERS = `Name: PCL4-a
Type: hash:ip
Revision: 6
Header: family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0x569fc950
Size in memory: 256
References: 0
Number of entries: 1

Name: other
Type: bitmap:port
Revision: 3
Header: range 1-1024
Size in memory: 456
References: 0
Number of entries: 12
`;

describe('short looks are read', () => {
  it('rules of a chain, with the warning of the nft variant around', () => {
    const text =
      '# Warning: iptables-legacy tables present\n-P FORWARD ACCEPT\n-A FORWARD -j ACCEPT\n-A FORWARD -j PCL-FWD\n';
    assert.deepEqual(readChainListing(text, 'FORWARD'), ['-j ACCEPT', '-j PCL-FWD']);
    assert.deepEqual(readChainListing('-P INPUT DROP\n', 'INPUT'), []);
  });

  it('what is no listing of that chain is no answer', () => {
    assert.equal(readChainListing('', 'FORWARD'), undefined);
    assert.equal(readChainListing('-P INPUT ACCEPT\n', 'FORWARD'), undefined);
  });

  it('headers of sets', () => {
    assert.deepEqual(Object.fromEntries(readSetHeaders(HEADERS)), {
      'PCL4-a': { type: 'hash:ip', entries: 1, seed: '0x569fc950' },
      other: { type: 'bitmap:port', entries: 12, seed: '' },
    });
    assert.equal(readSetHeaders('').size, 0);
  });
});
