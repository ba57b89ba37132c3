/** Which changes of a chain take a permission away. */
import assert from 'node:assert/strict';
import { ChainText } from '../../../../src/dataplane/iptables/rules/chain.ts';
import { revokes } from '../../../../src/dataplane/iptables/plan/revokes.ts';

const chain = (...lines: readonly string[]): ChainText => new ChainText(lines, 4);
const INVALID = '-m conntrack --ctstate INVALID -j DROP';
const WEB = '-p tcp -m tcp --dport 80 -j RETURN';
const DNS = '-p udp -m udp --dport 53 -j RETURN';
const LOG = '-m limit --limit 10/sec -j NFLOG --nflog-prefix x';
const LEGEND = '-m comment --comment "x/p ingress rules 0"';
const FOREIGN = '-m recent --name x -j ACCEPT';

describe('revoking', () => {
  const before = chain(INVALID, WEB, DNS, '-j DROP', LEGEND);
  for (const [what, after, isRevoked] of [
    ['the same rules', chain(...before.lines), false],
    ['one more', chain(INVALID, WEB, '-p sctp -j RETURN', DNS, '-j DROP'), false],
    ['another order, another log, another legend', chain(DNS, WEB, LOG, '-j DROP'), false],
    ['one less', chain(INVALID, WEB, '-j DROP', LEGEND), true],
    ['one is narrower', chain(INVALID, WEB, `-s 10.0.0.1/32 ${DNS}`, '-j DROP'), true],
    ['none at all', chain('-j DROP'), true],
    ['no chain', undefined, true],
  ] as const)
    it(`${what}: ${isRevoked}`, () => assert.equal(revokes(before, after), isRevoked));

  it('where there was no chain, or one that lets everything through, everything is revoked', () => {
    assert.ok(revokes(undefined, before));
    assert.ok(revokes(chain(WEB), chain(WEB, '-j DROP')));
    assert.ok(revokes(chain(WEB, '-s 10.0.0.1/32 -j DROP'), chain(WEB, '-j DROP')));
  });

  it('what others wrote may have allowed anything, as long as it stays it is not revoked', () => {
    assert.ok(revokes(chain(FOREIGN, '-j DROP'), chain('-j DROP')));
    assert.ok(!revokes(chain(FOREIGN, '-j DROP'), chain(WEB, FOREIGN, '-j DROP')));
  });
});
