/** Any JSON at all, and JSON that is nearly a NetworkPolicy: the parser neither throws nor opens anything. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { Rule } from '../../src/policy/model.ts';
import { parsePolicy } from '../../src/policy/parse.ts';

const scalar = fc.constantFrom<unknown>(
  null,
  0,
  -1,
  80,
  1e9,
  0.5,
  true,
  '',
  '80',
  'web',
  'TCP',
  'Ingress',
  '__proto__',
  '\u0000\n\u007f\u202e',
  '203.0.113.0/24',
  '::/0',
  '10.0.0.0/99',
);
const junk = fc.oneof({ weight: 3, arbitrary: scalar }, fc.jsonValue({ maxDepth: 2 }));

/** An object with some of `fields`, each sometimes something else entirely. */
function nearly(fields: Readonly<Record<string, fc.Arbitrary<unknown>>>): fc.Arbitrary<unknown> {
  const arbitraries = Object.fromEntries(
    Object.entries(fields).map(([name, field]) => [name, fc.oneof({ weight: 9, arbitrary: field }, junk)]),
  );
  return fc.oneof({ weight: 12, arbitrary: fc.record(arbitraries, { requiredKeys: [] }) }, junk);
}

const listOf = (entry: fc.Arbitrary<unknown>) => fc.array(entry, { maxLength: 3 });
const word = fc.constantFrom('a', 'b', '');
const selector = nearly({
  matchLabels: fc.dictionary(word, word),
  matchExpressions: listOf(
    nearly({
      key: word,
      operator: fc.constantFrom('In', 'NotIn', 'Exists', 'DoesNotExist', 'in'),
      values: listOf(word),
    }),
  ),
});
const cidr = fc.constantFrom(
  '203.0.113.0/24',
  '203.0.113.9/32',
  '2001:db8::/32',
  '::/0',
  '010.0.0.0/8',
  '::ffff:1.2.3.4/128',
  '1.2.3.4',
);
const peer = nearly({
  podSelector: selector,
  namespaceSelector: selector,
  ipBlock: nearly({ cidr, except: listOf(cidr) }),
});
const port = nearly({
  protocol: fc.constantFrom('TCP', 'UDP', 'SCTP', 'tcp'),
  port: fc.constantFrom<unknown>(1, 80, 65535, 65536, 'web', '80'),
  endPort: fc.constantFrom<unknown>(79, 80, 90, 'web'),
});
const rule = (peers: string) => nearly({ ports: listOf(port), [peers]: listOf(peer) });
const spec = nearly({
  podSelector: selector,
  policyTypes: listOf(fc.constantFrom('Ingress', 'Egress', 'Ingress', 'ingress')),
  ingress: listOf(rule('from')),
  egress: listOf(rule('to')),
});
const object = spec.map((value) => ({ metadata: { namespace: 'x', name: 'p' }, spec: value }));

/** What the object says in so many words, read independently of the parser. */
function says(raw: unknown): { readonly ingress: boolean; readonly egress: boolean } {
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw))
    return { ingress: raw !== null, egress: raw !== null };
  const { policyTypes, egress } = raw as { policyTypes?: unknown; egress?: unknown };
  if (Array.isArray(policyTypes) && policyTypes.length > 0) {
    return { ingress: policyTypes.includes('Ingress'), egress: policyTypes.includes('Egress') };
  }
  return { ingress: true, egress: Array.isArray(egress) && egress.length > 0 };
}

describe('parse: fuzz', () => {
  it('any JSON value: never throws, problems are plain', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        for (const problem of parsePolicy(value).problems) assertPlain(problem);
      }),
      { numRuns: 500 },
    );
  });

  it('nearly a policy: isolates where the object says so, keeps every rule in its place, never widens', () => {
    let clean = 0;
    let broken = 0;
    fc.assert(
      fc.property(object, (raw) => {
        const { policy, problems } = parsePolicy(JSON.parse(JSON.stringify(raw)));
        assert.ok(policy);
        const said = says(raw.spec);
        assert.ok(!said.ingress || policy.isolates.ingress, 'ingress is isolated');
        assert.ok(!said.egress || policy.isolates.egress, 'egress is isolated');
        assert.ok(policy.isolates.ingress || policy.ingress.length === 0);
        assert.ok(policy.isolates.egress || policy.egress.length === 0);
        assert.notEqual(policy.podSelector.kind, 'nothing');
        checkRules(policy.ingress, raw.spec, 'ingress', 'from');
        checkRules(policy.egress, raw.spec, 'egress', 'to');
        for (const problem of problems) assertPlain(problem);
        if (problems.length === 0) clean++;
        else broken++;
      }),
      { numRuns: 1500 },
    );
    // Neither kind of object may be missing, or the property says less than it seems to.
    assert.ok(clean > 20 && broken > 200, `${clean} clean, ${broken} broken`);
  });

  it('does not depend on anything but the object', () => {
    fc.assert(
      fc.property(object, (raw) => assert.deepEqual(parsePolicy(raw), parsePolicy(JSON.parse(JSON.stringify(raw))))),
      { numRuns: 200 },
    );
  });
});

/** A list that was written with entries, or as something that is no list, never becomes "any". */
function checkRules(rules: readonly Rule[], raw: unknown, section: string, peers: string): void {
  const list = (raw as Record<string, unknown> | null)?.[section];
  for (const [index, parsed] of rules.entries()) {
    const written = (list as readonly unknown[])[index];
    const isEmpty = (value: unknown) =>
      value === undefined || value === null || (Array.isArray(value) && value.length === 0);
    const fields = (typeof written === 'object' ? written : null) as Record<string, unknown> | null;
    assert.equal(parsed.ports === 'any' && !isEmpty(fields?.ports), false, 'ports');
    assert.equal(parsed.peers === 'any' && !isEmpty(fields?.[peers]), false, 'peers');
    assert.equal(parsed.peers === 'any' && parsed.ports === 'any' && fields === null, false, 'a rule that is none');
  }
}

function assertPlain({ field, message }: { readonly field: string; readonly message: string }): void {
  for (const text of [field, message]) {
    assert.doesNotMatch(text, /[\p{Cc}\p{Cf}]/u);
    assert.ok(text.length > 0 && text.length < 700);
  }
}
