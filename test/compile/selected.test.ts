/** Whom policies select is asked once for pods with the same labels; where policies change, of the changed ones alone. */
import assert from 'node:assert/strict';
import { loadSnapshot, NodeCompiler } from '../../src/compile/compile-node.ts';
import type { Policy } from '../../src/policy/model.ts';
import { pod, policy, snapshot } from '../support/builders.ts';

const GROUPS = 20;

let asked = 0;

/** Counts how often it is looked at for whom it selects. */
function watched(name: string, group: number, port = 80): Policy {
  const made = policy(name, {
    podSelector: { matchLabels: { group: `g${group}` } },
    ingress: [{ from: [{ podSelector: { matchLabels: { peer: name } } }], ports: [{ port }] }],
  });
  const { podSelector } = made;
  const counted = {
    enumerable: true,
    get: () => {
      asked++;
      return podSelector;
    },
  };
  return Object.defineProperty({ ...made }, 'podSelector', counted);
}

describe('policies that select local pods', () => {
  const labels = Array.from({ length: GROUPS }, (_, group) => ({ group: `g${group}` }));
  const pods = Array.from({ length: GROUPS * 5 }, (_, n) => {
    return { ...pod(`x/p${n}`, { addresses: [`10.0.0.${n}`] }), labels: labels[n % GROUPS]! };
  });
  const compiler = new NodeCompiler('node-1');
  const asking = (change: () => void): number => {
    asked = 0;
    change();
    compiler.intent();
    return asked;
  };

  it('are asked about each kind of labels once', () => {
    const policies = labels.map((_, group) => watched(`x/q${group}`, group));
    loadSnapshot(compiler, snapshot({ pods, policies }));
    const count = asking(() => {});
    assert.ok(count >= GROUPS * GROUPS && count < 2 * GROUPS * GROUPS, `asked ${count} times`);
    assert.equal(compiler.intent().programs.length, GROUPS);
  });

  it('are asked about again where they changed, and only then', () => {
    const before = compiler.intent();
    const edited = asking(() => compiler.policy('x/q3', watched('x/q3', 3, 81)));
    assert.ok(edited >= GROUPS && edited < 4 * GROUPS, `asked ${edited} times`);
    const { endpoints, programs } = compiler.intent();
    assert.equal(endpoints, before.endpoints);
    assert.equal(programs.filter((program) => !before.programs.includes(program)).length, 1);
    const relabelled = asking(() => compiler.pod('x/p0', { ...pods[0]!, labels: labels[1]! }));
    assert.ok(relabelled < GROUPS, `asked ${relabelled} times`);
    assert.equal(compiler.intent().endpoints[0]!.programs, compiler.intent().endpoints[1]!.programs);
  });
});
