import assert from 'node:assert/strict';
import { NodeCompiler } from '../../src/compile/compile-node.ts';
import { acceptRules } from '../../src/compile/program.ts';
import { RuleReader } from '../../src/compile/read-rules.ts';
import type { Policy, Problem, Rule } from '../../src/policy/model.ts';
import { pod, policy } from '../support/builders.ts';

/** A policy that keeps its rules as text would, and how often they were read. */
function counted(key: string, ruleBytes?: number): { readonly policy: Policy; readonly reads: () => number } {
  const whole = policy(key, { podSelector: { matchLabels: { app: 'a' } }, ingress: [{ ports: [{ port: 80 }] }] });
  let reads = 0;
  const problem: Problem = {
    object: { kind: 'NetworkPolicy', namespace: 'x', name: whole.name },
    field: 'spec',
    message: 'is odd',
  };
  const { ingress, egress, ...head } = whole;
  const read = (rules: readonly Rule[]): readonly Rule[] => {
    reads++;
    return rules;
  };
  return {
    policy: {
      ...head,
      get ingress() {
        return read(ingress);
      },
      get egress() {
        return egress;
      },
      ...(ruleBytes === undefined ? {} : { ruleBytes }),
      ruleProblems: () => [problem],
    },
    reads: () => reads,
  };
}

const LABELS = { labels: { app: 'a' }, addresses: ['10.0.0.1'] };

describe('reading rules', () => {
  it('fault: rules of policies that select no local pod are never read, and what was read is forgotten with the last one', () => {
    const compiler = new NodeCompiler('node-1');
    const one = counted('x/one');
    compiler.policy('x/one', one.policy);
    compiler.pod('x/elsewhere', pod('x/elsewhere', { ...LABELS, addresses: ['10.0.0.9'], nodeName: 'node-2' }));
    compiler.pod('x/other', pod('x/other', { addresses: ['10.0.0.8'] }));
    assert.deepEqual(compiler.intent().problems, []);
    assert.equal(one.reads(), 0);

    compiler.pod('x/a', pod('x/a', LABELS));
    assert.deepEqual(acceptRules(compiler.intent().programs[0]!).length, 1);
    assert.deepEqual(
      compiler.intent().problems.map(({ message }) => message),
      ['is odd'],
    );
    assert.equal(one.reads(), 1);
    const other = counted('x/two');
    compiler.policy('x/two', other.policy);
    compiler.intent();
    assert.deepEqual(
      [one.reads(), other.reads()],
      [1, 1],
      'another policy of the class is no reason to read this one again',
    );

    compiler.pod('x/a', undefined);
    assert.deepEqual(compiler.intent().problems, []);
    compiler.pod('x/a', pod('x/a', LABELS));
    compiler.intent();
    assert.equal(one.reads(), 2);
  });

  it('long rules are read anew each time, their problems once', () => {
    const reader = new RuleReader();
    const long = counted('x/long', 1_000_000);
    for (let n = 0; n < 3; n++) assert.equal(reader.read(long.policy).ingress.length, 1);
    assert.equal(long.reads(), 3);
    assert.equal(reader.problems().length, 1);
    reader.forgetUnused(() => true);
    assert.equal(reader.problems().length, 1);
    reader.released(long.policy);
    reader.forgetUnused(() => false);
    assert.deepEqual(reader.problems(), []);
  });
});
