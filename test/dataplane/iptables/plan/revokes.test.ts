/** Which changes of a chain take a permission away. */
import assert from 'node:assert/strict';
import { ChainText } from '../../../../src/dataplane/iptables/rules/chain.ts';
import { judgedBy } from '../../../../src/dataplane/iptables/plan/judgement.ts';
import { revokes as judgementRevokes } from '../../../../src/dataplane/judgement.ts';

const chain = (...lines: readonly string[]): ChainText => new ChainText(lines, 4);
type Chains = Readonly<Record<string, ChainText>>;

/** Of one chain, or of an endpoint chain `PCL-E-a` with its parts. */
function revokes(from: ChainText | Chains | undefined, to: ChainText | Chains | undefined): boolean {
  const judged = (given: ChainText | Chains | undefined) => {
    const chains = given instanceof ChainText ? { 'PCL-E-a': given } : (given ?? {});
    return judgedBy('PCL-E-a', new Map(Object.entries(chains)));
  };
  return judgementRevokes(judged(from), judged(to));
}

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

const DENIED = chain('-m conntrack --ctstate RELATED,ESTABLISHED -j CONNMARK --set-xmark 0x1/0x1', '-j DROP');
const A = '-s 10.0.0.1/32';
const B = '-s 10.0.0.2/32';
const DENY = '-g PCL-EX-a';
const PASS = '-g PCL-EN-a';
const ALLOW = '-j RETURN';
const tiers = (main: readonly string[], next?: readonly string[], denied = DENIED): Chains => ({
  'PCL-E-a': chain(...main),
  'PCL-EX-a': denied,
  ...(next ? { 'PCL-EN-a': chain(...next) } : {}),
});

describe('revoking, where the first matching rule decides', () => {
  const before = [`${A} ${ALLOW}`, `${B} ${DENY}`, `${WEB}`];
  for (const [what, after, isRevoked] of [
    ['the same', before, false],
    ['one more is accepted, at the end', [...before, DNS], false],
    ['one more is accepted, ahead of all', [DNS, ...before], false],
    ['a Deny is gone', [before[0]!, before[2]!], false],
    ['an Accept is gone', before.slice(1), true],
    ['a Deny appears at the end', [...before, `${DNS.replace(ALLOW, DENY)}`], true],
    ['an Accept is behind a Deny that was behind it', [before[1]!, before[0]!, before[2]!], true],
    ['an Accept is ahead of a Deny that was ahead of it', [before[0]!, before[2]!, before[1]!], false],
    ['an Accept turns into a Deny', [`${A} ${DENY}`, ...before.slice(1)], true],
    ['all that is left is denied', [...before, DENY], true],
  ] as const)
    it(`${what}: ${isRevoked}`, () => assert.equal(revokes(tiers(before), tiers(after)), isRevoked));

  const passing = [`${A} ${PASS}`, `${B} ${ALLOW}`, PASS];
  for (const [what, main, next, isRevoked] of [
    ['the same', passing, [WEB, '-j DROP'], false],
    ['NetworkPolicy allows more', passing, [WEB, DNS, '-j DROP'], false],
    ['NetworkPolicy allows less', passing, ['-j DROP'], true],
    ['a Pass turns into a Deny', [`${A} ${DENY}`, ...passing.slice(1)], [WEB, '-j DROP'], true],
    ['a Pass is gone', passing.slice(1), [WEB, '-j DROP'], true],
    ['a Pass appears', [`${DNS.replace(ALLOW, PASS)}`, ...passing], [WEB, '-j DROP'], true],
  ] as const)
    it(`${what}: ${isRevoked}`, () =>
      assert.equal(revokes(tiers(passing, [WEB, '-j DROP']), tiers(main, next)), isRevoked));

  it('a part that is not what it should be, or that only told what would be denied, may have allowed anything', () => {
    assert.ok(revokes(tiers(before, undefined, chain(FOREIGN, '-j DROP')), tiers(before)));
    assert.ok(revokes({ 'PCL-E-a': chain(...before) }, tiers(before)));
    assert.ok(revokes({ 'PCL-E-a': chain(`${B} -g PCL-EW-a`), 'PCL-EW-a': chain('-j RETURN') }, tiers(before)));
  });
});
