/** The scenario tables at their first depth: the reference evaluator. */
import assert from 'node:assert/strict';
import type { Family } from '../../src/core/vocabulary.ts';
import { createEvaluator, letsPass } from '../../src/policy/evaluate.ts';
import { explainVerdict } from '../../src/policy/explain-verdict.ts';
import { FAMILIES, hasOpenFamily } from '../support/address-plan.ts';
import { problemText } from '../support/builders.ts';
import {
  type ClusterState,
  type Probe,
  addressesOf,
  applyChange,
  initialState,
  legsOf,
} from '../support/cluster-state.ts';
import { type Cell, parseTruthTable, printTruthTable } from '../support/truth-table.ts';
import { SUITES } from './index.ts';
import type { Expectation, Scenario } from './scenario.ts';

interface Count {
  cells: number;
  denied: number;
}

for (const { name, scenarios } of SUITES) {
  describe(`scenarios, evaluator: ${name}`, () => {
    const count: Count = { cells: 0, denied: 0 };
    for (const scenario of scenarios) {
      // Placeholders that leave the family open make one cluster per family out of the scenario; otherwise one serves both.
      const variants: readonly (readonly Family[])[] = hasOpenFamily(scenario.steps) ? [[4], [6]] : [FAMILIES];
      for (const families of variants) {
        const suffix = families.length > 1 ? '' : ` (IPv${families[0]})`;
        it(`${scenario.id} ${scenario.title}${suffix}`, () => runScenario(scenario, families, count));
      }
    }
    after(() => {
      console.log(`      ${scenarios.length} scenarios, ${count.cells} cells, ${count.denied} of them denied`);
    });
  });
}

function runScenario(scenario: Scenario, families: readonly Family[], count: Count): void {
  let state = initialState(scenario.topology, families[0] ?? 4);
  const [first] = scenario.steps;
  for (const expectation of first?.expect ?? []) checkAllOpen(state, expectation, families);
  for (const [index, step] of scenario.steps.entries()) {
    state = step.changes.reduce(applyChange, state);
    const { problems } = state.snapshot;
    if (!scenario.refusedByApi && !scenario.unsupported) assert.deepEqual(problems.map(problemText), []);
    const title = `step ${index + 1}${step.name ? ` (${step.name})` : ''}`;
    assert.ok(step.expect.length > 0, `${title}: expects nothing`);
    for (const expectation of step.expect) checkTable(state, expectation, families, title, count);
  }
}

/** Before the first change nothing is denied: a table of X must be the policies' doing. */
function checkAllOpen(state: ClusterState, expectation: Expectation, families: readonly Family[]): void {
  for (const cell of parseTruthTable(expectation.table).cells) {
    for (const family of families) {
      const answer = ask(state, probeOf(expectation, cell, family));
      assert.notEqual(answer?.reaches, false, `before the first step ${cell.from} does not reach ${cell.to}`);
    }
  }
}

function checkTable(
  state: ClusterState,
  expectation: Expectation,
  families: readonly Family[],
  title: string,
  count: Count,
): void {
  const table = parseTruthTable(expectation.table);
  for (const name of [...table.rows, ...table.columns]) {
    assert.ok(addressesOf(state, name) !== undefined, `${title}: the table names ${name}, which does not exist`);
  }
  let asked = 0;
  for (const family of expectation.families ?? FAMILIES) {
    if (!families.includes(family)) continue;
    const seen = new Map(table.cells.map((cell) => [cell, ask(state, probeOf(expectation, cell, family))]));
    const wrong = table.cells.filter(
      (cell) => seen.get(cell) !== undefined && seen.get(cell)?.reaches !== cell.reaches,
    );
    if (wrong.length > 0) {
      const what = `${title}, ${expectation.protocol} ${expectation.port}, IPv${family}`;
      const print = printTruthTable(table, (cell) => seen.get(cell)?.reaches ?? cell.reaches);
      const why = wrong.map((cell) => `${cell.from} -> ${cell.to}: ${seen.get(cell)?.why}`).join('\n');
      assert.fail(`${what}\n${print}\n${why}`);
    }
    const answered = table.cells.filter((cell) => seen.get(cell) !== undefined);
    asked += answered.length;
    count.cells += answered.length;
    count.denied += answered.filter(({ reaches }) => !reaches).length;
  }
  // A scenario of one family may be in a variant of the other; within its own families a table must ask something.
  const due = (expectation.families ?? FAMILIES).some((family) => families.includes(family));
  assert.ok(asked > 0 || !due, `${title}: no cell of a table could be asked`);
}

function probeOf({ protocol, port, via }: Expectation, { from, to }: Cell, family: Family): Probe {
  return { from, to, protocol, port, via, family };
}

function ask(state: ClusterState, probe: Probe): { readonly reaches: boolean; readonly why: string } | undefined {
  const legs = legsOf(state, probe);
  if (legs === undefined) return undefined;
  const evaluator = createEvaluator(state.snapshot);
  const verdicts = legs.map(({ flow, sides }) => ({ verdict: evaluator.evaluate(flow), sides }));
  return {
    reaches: verdicts.every(({ verdict, sides }) => sides.every((side) => letsPass(verdict[side]))),
    why: verdicts.map(({ verdict }) => explainVerdict(verdict)).join('\nthen '),
  };
}
