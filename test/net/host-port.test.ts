import assert from 'node:assert/strict';
import fc from 'fast-check';
import { IPv4, IPv6 } from 'ip-num';
import { bracketed, type HostPort, hostPortText, parseHostPort } from '../../src/net/host-port.ts';

const GOOD: readonly (readonly [text: string, host: string, shown?: string])[] = [
  ['192.0.2.1:443', '192.0.2.1'],
  ['api.example.org:443', 'api.example.org'],
  ['node_1:443', 'node_1'],
  ['10.example:443', '10.example'],
  ['[2001:db8::1]:443', '2001:db8::1'],
  ['[2001:0DB8:0:0::1]:443', '2001:db8::1', '[2001:db8::1]:443'],
  ['[64:ff9b::192.0.2.1]:443', '64:ff9b::c000:201', '[64:ff9b::c000:201]:443'],
  ['[::ffff:192.0.2.1]:443', '::ffff:192.0.2.1'],
  ['[::]:443', '::'],
];

const BAD: readonly (readonly [text: string, problem: string])[] = [
  ['', '"" has no port'],
  ['a', '"a" has no port'],
  ['a:', '"a:" has no port'],
  [':1', '"" is no host name, IPv4 address or [IPv6 address]'],
  ['a b:1', '"a b" is no host name, IPv4 address or [IPv6 address]'],
  ['2001:db8::1:443', '"2001:db8::1" is no host name, IPv4 address or [IPv6 address]'],
  ['https://a:1', '"https://a" is no host name, IPv4 address or [IPv6 address]'],
  ['a:1/x', '"a:1/x" has no port'],
  ['a:0', 'port 0 is not in 1 to 65535'],
  ['a:65536', 'port 65536 is not in 1 to 65535'],
  ['192.0.2.300:443', '"192.0.2.300" is no IPv4 address'],
  ['192.0.2:443', '"192.0.2" is no IPv4 address'],
  // Some resolvers read it as an octal number.
  ['010.0.2.1:443', '"010.0.2.1" is no IPv4 address'],
  ['[192.0.2.1]:443', '"192.0.2.1" is no IPv6 address'],
  ['[1::2::3]:443', '"1::2::3" is no IPv6 address'],
  ['[fe80::1%eth0]:443', '"[fe80::1%eth0]" is no host name, IPv4 address or [IPv6 address]'],
  ['[::ffff:192.0.2.300]:443', '"::ffff:192.0.2.300" is no IPv6 address'],
  ['[]:443', '"" is no IPv6 address'],
];

describe('host:port', () => {
  for (const [text, host, shown = text] of GOOD)
    it(`reads ${text}, and shows it as ${shown}`, () => {
      assert.deepEqual(parseHostPort(text), { host, port: 443 });
      assert.equal(hostPortText({ host, port: 443 }), shown);
    });

  for (const [text, problem] of BAD)
    it(`says of ${JSON.stringify(text)}: ${problem}`, () => assert.deepEqual(parseHostPort(text), { problem }));

  it('has the addresses that ip-num reads', () => {
    const hostOf = (text: string): string => (parseHostPort(text) as HostPort).host;
    // ip-num takes no dotted tail of an IPv6 address.
    const isTaken = (text: string): boolean => !text.includes('.') && !hostOf(`[${text}]:1`).includes('.');
    fc.assert(
      fc.property(fc.ipV6().filter(isTaken), (text) =>
        assert.equal(new IPv6(hostOf(`[${text}]:1`)).value, new IPv6(text).value),
      ),
    );
    fc.assert(fc.property(fc.ipV4(), (text) => assert.equal(hostOf(`${text}:1`), new IPv4(text).toString())));
  });

  it('has brackets in a URL around an IPv6 address alone', () =>
    assert.deepEqual(['::1', '127.0.0.1', 'a.example'].map(bracketed), ['[::1]', '127.0.0.1', 'a.example']));
});
