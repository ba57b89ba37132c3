/** The scenario tables as the matrix sees them: each probe is the evaluator's answer, and each step a change that diff tells of. */
import assert from 'node:assert/strict';
import type { Family } from '../../src/core/vocabulary.ts';
import { createEvaluator, letsPass } from '../../src/policy/evaluate.ts';
import { FlowMatrix } from '../../src/policy/matrix/matrix.ts';
import { FAMILIES, hasOpenFamily } from '../support/address-plan.ts';
import { applyChange, type ClusterState, initialState, legsOf } from '../support/cluster-state.ts';
import { parseTruthTable } from '../support/truth-table.ts';
import { SUITES } from './index.ts';
import type { Scenario } from './scenario.ts';

describe('scenarios, matrix', () => {
  const count = { asked: 0, denied: 0, changed: 0 };
  for (const { name, scenarios } of SUITES)
    it(name, () => {
      for (const scenario of scenarios) {
        const variants: readonly (readonly Family[])[] = hasOpenFamily(scenario.steps) ? [[4], [6]] : [FAMILIES];
        for (const families of variants) runScenario(scenario, families, count);
      }
    });
  after(() => {
    assert.ok(count.asked > 4000 && count.denied > 1400 && count.changed > 1000, JSON.stringify(count));
  });
});

/** Each state beside the one before it, in one matrix. */
function runScenario(
  scenario: Scenario,
  families: readonly Family[],
  count: { asked: number; denied: number; changed: number },
): void {
  let before = initialState(scenario.topology, families[0] ?? 4);
  for (const step of scenario.steps) {
    const state = step.changes.reduce(applyChange, before);
    const matrix = new FlowMatrix([before.snapshot, state.snapshot]);
    const evaluators = [createEvaluator(before.snapshot), createEvaluator(state.snapshot)];
    for (const flow of flowsOf(state, step.expect, families)) {
      const passed = evaluators.map((evaluator, world) => {
        const { egress, ingress } = evaluator.evaluate(flow);
        if (ingress.kind === 'exempt' && ingress.reason === 'own-node') return true;
        const ours = matrix.judge(world, flow);
        // An address that no pod had before is nobody's there.
        if (!ours && world === 0) return undefined;
        assert.deepEqual(ours, { egress, ingress }, `${scenario.id}: ${JSON.stringify(flow)}`);
        return letsPass(egress) && letsPass(ingress);
      });
      count.asked++;
      if (passed[1] === false) count.denied++;
      if (passed[0] !== undefined && passed[0] !== passed[1]) count.changed++;
    }
    before = state;
  }
}

function* flowsOf(state: ClusterState, expect: Scenario['steps'][number]['expect'], families: readonly Family[]) {
  for (const { table, protocol, port, via, families: own = FAMILIES } of expect) {
    for (const family of own.filter((each) => families.includes(each))) {
      for (const { from, to } of parseTruthTable(table).cells) {
        for (const { flow } of legsOf(state, { from, to, protocol, port, via, family }) ?? []) yield flow;
      }
    }
  }
}
