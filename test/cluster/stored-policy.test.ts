import assert from 'node:assert/strict';
import fc from 'fast-check';
import { closeNamespace, projectStoredPolicy, type StoredPolicy } from '../../src/cluster/stored-policy.ts';
import { LONG_VALUE_BYTES } from '../../src/cluster/long-json.ts';
import { projectNamespace, projectNode } from '../../src/cluster/project.ts';
import { MODE_KEY } from '../../src/core/vocabulary.ts';
import { POLICY_LIMITS } from '../../src/cluster/limits.ts';
import { readEvent } from '../../src/cluster/read-answer.ts';
import { Interner } from '../../src/cluster/interner.ts';
import { isSameValue } from '../../src/core/same-value.ts';
import { parsePolicy } from '../../src/policy/parse.ts';
import type { Problem } from '../../src/policy/model.ts';
import { apiPolicy, rulesOf } from '../support/api-objects.ts';

function keep(object: unknown): { readonly policy: StoredPolicy; readonly problems: readonly Problem[] } {
  const event = readEvent(Buffer.from(JSON.stringify({ type: 'ADDED', object })));
  const projection = projectStoredPolicy(event!.object, new Interner());
  assert.ok(projection.kind === 'record');
  return { policy: projection.record, problems: projection.problems };
}

const SPECS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  'no rules': {},
  'an empty section': { ingress: [] },
  'null sections': { ingress: null, egress: null },
  'one rule of everything': { ingress: [{}] },
  'both directions': { policyTypes: ['Ingress', 'Egress'], ingress: [{ ports: [{ port: 'http' }] }], egress: [{}] },
  'egress rules without types': { policyTypes: undefined, egress: [{ to: [{ podSelector: {} }] }] },
  'a section whose type is not in effect': { policyTypes: ['Egress'], ingress: [{}], egress: [{}] },
  'long egress without types': { policyTypes: undefined, egress: [{ to: rulesOf(3 * LONG_VALUE_BYTES) }] },
  'long rules': { ingress: rulesOf(3 * LONG_VALUE_BYTES) },
  'letters that are no ASCII': { ingress: [{ from: [{ podSelector: { matchLabels: { 'ä€': '𝄞' } } }] }] },
  'an unusable selector': { podSelector: { matchLabels: 3 }, ingress: [{}] },
  'unusable rules': { ingress: [{ from: 3 }, 4, { ports: [{ port: 'X' }] }] },
};

describe('a policy as it is kept', () => {
  for (const [what, spec] of Object.entries(SPECS)) {
    it(`says what the object says: ${what}`, () => {
      const object = apiPolicy('p', { spec });
      const { policy: expected, problems } = parsePolicy(JSON.parse(JSON.stringify(object)));
      const { policy, problems: found } = keep(object);
      const { namespace, name, uid, podSelector, isolates, ingress, egress } = policy;
      assert.deepEqual({ namespace, name, uid, podSelector, isolates, ingress, egress }, expected);
      assert.deepEqual([...found, ...policy.ruleProblems()], problems);
    });
  }

  it('says what the object says, whatever the object', () => {
    const odd = fc.jsonValue({ maxDepth: 5 });
    const section = fc.oneof(odd, fc.array(fc.record({ from: odd, to: odd, ports: odd }, { requiredKeys: [] })));
    const spec = fc.record(
      { podSelector: odd, policyTypes: fc.oneof(odd, fc.constant(['Egress'])), ingress: section, egress: section },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(fc.oneof(odd, spec), (any) => {
        const object = { ...apiPolicy('p'), spec: any };
        const { policy: expected, problems } = parsePolicy(JSON.parse(JSON.stringify(object)));
        const { policy, problems: found } = keep(object);
        assert.deepEqual([policy.podSelector, policy.isolates], [expected!.podSelector, expected!.isolates]);
        assert.deepEqual([policy.ingress, policy.egress, found], [expected!.ingress, expected!.egress, problems]);
      }),
      { numRuns: 300 },
    );
  });

  it('holds no rules as objects, and equal text of equal policies is equal data', () => {
    const [one, other] = [1, 2].map(() => keep(apiPolicy('p', { spec: { ingress: rulesOf(30_000) } })).policy);
    assert.equal(
      Object.values(one!).some((value) => Array.isArray(value)),
      false,
    );
    assert.equal(typeof one!.text?.ingress, 'string');
    assert.ok(isSameValue(one, other));
    const changed = keep(apiPolicy('p', { spec: { ingress: rulesOf(30_000, 1) } })).policy;
    assert.equal(isSameValue(one, changed), false);
  });

  it('tells what is wrong with long rules when they are read', () => {
    const spec = { ingress: [...rulesOf(20_000), { from: [{ ipBlock: { cidr: 'nonsense' } }] }] };
    const { policy, problems } = keep(apiPolicy('p', { spec }));
    assert.deepEqual(problems, []);
    assert.deepEqual(
      policy.ruleProblems().map(({ object, field }) => [object.name, field]),
      [['p', 'spec.ingress[1].from[0].ipBlock.cidr']],
    );
  });

  it('fault: rules over the limit of one policy are not kept; it isolates the pods it selects and allows nothing', () => {
    const { policy } = keep(apiPolicy('p', { spec: { ingress: rulesOf(POLICY_LIMITS.rulesOfPolicy + 100) } }));
    assert.equal(policy.text, undefined);
    assert.deepEqual(policy.ingress, []);
    assert.deepEqual(policy.isolates, { ingress: true, egress: false });
    assert.equal(policy.podSelector.kind === 'all-of' && policy.podSelector.requirements.length, 1);
  });

  for (const [what, values] of [
    ['some', 70],
    ['many', 3000],
  ] as const) {
    it(`fault: a selector of too ${what} values isolates every pod and keeps no rule`, () => {
      const selector = {
        matchExpressions: [
          { key: 'k', operator: 'In', values: Array.from({ length: values }, (_, n) => `${n}`.padEnd(60, 'x')) },
        ],
      };
      const { policy, problems } = keep(apiPolicy('p', { spec: { podSelector: selector, ingress: [{}] } }));
      assert.deepEqual(policy.podSelector, { kind: 'all-of', requirements: [] });
      assert.deepEqual(policy.ingress, []);
      assert.match(problems[0]!.message, /^is .* long, and 4 KiB is the most/);
      assert.equal(problems[0]!.field, 'spec.podSelector');
    });
  }
});

describe('the mode of what is kept', () => {
  const long = { 'kubectl.kubernetes.io/last-applied-configuration': 'x'.repeat(3 * LONG_VALUE_BYTES) };

  it('of a policy, also among annotations that are too long to be looked at', () => {
    for (const others of [{}, long]) {
      const metadata = (mode: string) => ({ namespace: 'x', name: 'p', annotations: { ...others, [MODE_KEY]: mode } });
      const { policy, problems } = keep({ ...apiPolicy('p'), metadata: metadata('audit') });
      assert.deepEqual([policy.mode, policy.withoutRules().mode, problems], ['audit', 'audit', []]);
      const misspelt = keep({ ...apiPolicy('p'), metadata: metadata('audti') });
      assert.equal(misspelt.policy.mode, 'enforce');
      assert.deepEqual(
        misspelt.problems.map(({ field }) => field),
        ['metadata.annotations[portcullis.dev/mode]'],
      );
      const { policy: without } = keep({ ...apiPolicy('p'), metadata: { ...metadata(''), annotations: others } });
      assert.equal(without.mode, undefined);
    }
  });

  it('of a namespace and of a node, the same', () => {
    for (const others of [{}, long]) {
      const metadata = { name: 'x', annotations: { ...others, [MODE_KEY]: 'audit' } };
      const read = readEvent(Buffer.from(JSON.stringify({ type: 'ADDED', object: { metadata } })))!.object;
      const [namespace, node] = [projectNamespace(read, new Interner()), projectNode(read, new Interner())];
      assert.ok(namespace.kind === 'record' && node.kind === 'record');
      assert.deepEqual([namespace.record.mode, node.record.modeAnnotation], ['audit', 'audit']);
      const misspelt = projectNamespace({ metadata: { name: 'x', annotations: { [MODE_KEY]: 'x' } } }, new Interner());
      assert.ok(misspelt.kind === 'record' && misspelt.record.mode === 'enforce');
      assert.match(misspelt.problems[0]!.message, /its policies are enforced$/);
    }
  });

  it('a namespace that is closed for what is in it is closed whatever it is annotated with', () => {
    assert.equal(closeNamespace('x', '(closed)').mode, 'enforce');
  });
});
