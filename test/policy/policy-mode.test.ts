/** Who is audited: by which annotation, and what becomes of one that is misspelt. */
import assert from 'node:assert/strict';
import { MODE_KEY, type PolicyMode } from '../../src/core/vocabulary.ts';
import { parsePolicy } from '../../src/policy/parse.ts';
import { isAudited, readPolicyMode } from '../../src/policy/policy-mode.ts';
import { namespace, policyObject } from '../support/builders.ts';

describe('the mode of a policy', () => {
  it('the own annotation wins over that of the namespace; without either it is enforced', () => {
    for (const [own, ofNamespace, audited] of [
      [undefined, undefined, false],
      ['audit', undefined, true],
      ['enforce', undefined, false],
      [undefined, 'audit', true],
      [undefined, 'enforce', false],
      ['enforce', 'audit', false],
      ['audit', 'enforce', true],
    ] as const satisfies readonly (readonly [PolicyMode | undefined, PolicyMode | undefined, boolean])[]) {
      const policy = own ? { mode: own } : {};
      const within = { ...namespace('x'), ...(ofNamespace ? { mode: ofNamespace } : {}) };
      assert.equal(isAudited(policy, within), audited, `${own} in ${ofNamespace}`);
    }
    assert.equal(isAudited({}, undefined), false);
    assert.equal(isAudited({ mode: 'audit' }, undefined), true);
  });

  it('is read from the annotation alone', () => {
    for (const nothing of [undefined, null, 3, [], {}, { [MODE_KEY]: null }, { mode: 'audit' }])
      assert.deepEqual(readPolicyMode(nothing, 'it is'), {});
    for (const mode of ['audit', 'enforce'] as const)
      assert.deepEqual(readPolicyMode({ [MODE_KEY]: mode, other: 'x' }, 'it is'), { mode });
  });

  it('fault: a value that is neither enforces, and is named', () => {
    for (const value of ['Audit', 'audit ', '', 'off', 'dry-run', 1, true, {}]) {
      const object = policyObject('x/p', { podSelector: {} }, { annotations: { [MODE_KEY]: value } });
      const { policy, problems } = parsePolicy(object);
      assert.equal(policy!.mode, 'enforce', JSON.stringify(value));
      assert.deepEqual(
        problems.map(({ object: whose, field }) => [whose, field]),
        [[{ kind: 'NetworkPolicy', namespace: 'x', name: 'p' }, 'metadata.annotations[portcullis.dev/mode]']],
      );
      assert.match(problems[0]!.message, /^is .*, not one of enforce, audit: the policy is enforced$/);
    }
  });
});
