/** The tables themselves: complete, and what they claim to be. */
import assert from 'node:assert/strict';
import { parseTruthTable } from '../support/truth-table.ts';
import { SUITES } from './index.ts';

const scenarios = SUITES.flatMap((suite) => suite.scenarios);

/** `('E', 1, 42)`: E-01 to E-42. */
function numbered(letter: string, first: number, last: number): string[] {
  return Array.from({ length: last - first + 1 }, (_, index) => `${letter}-${String(first + index).padStart(2, '0')}`);
}

describe('scenarios: the tables', () => {
  it('hold every public case, and every other that is a reachability of new connections', () => {
    const small = ['U-1', 'U-2', 'U-3', 'P-1', 'P-2', 'P-3'];
    const recipes = [...numbered('R', 1, 12), 'R-02a', 'R-11b', 'R-14'];
    const facts = numbered('F', 1, 20).filter((id) => id !== 'F-04' && id !== 'F-16');
    const gaps = [...numbered('G', 1, 10), 'G-12', 'G-13', 'G-15'];
    const tiers = numbered('T', 1, 14);
    const ids = new Set(scenarios.map(({ id }) => id));
    const missing = [...numbered('E', 1, 42), ...small, ...recipes, ...facts, ...gaps, ...tiers].filter(
      (id) => !ids.has(id),
    );
    assert.deepEqual(missing, []);
  });

  it('have an id of their own and cite clauses', () => {
    assert.equal(new Set(scenarios.map(({ id }) => id)).size, scenarios.length);
    for (const { id, cites } of scenarios) {
      assert.ok(cites.length > 0 && cites.every((cite) => /^[SN]-\d\d$/.test(cite)), id);
    }
  });

  it('each deny something somewhere, but for those about allowing everything', () => {
    const open = scenarios.filter(({ steps }) =>
      steps.every(({ expect }) =>
        expect.every(({ table }) => parseTruthTable(table).cells.every((cell) => cell.reaches)),
      ),
    );
    assert.deepEqual(
      open.map(({ id }) => id),
      ['E-05', 'E-16'],
    );
  });

  it('are only data', () => {
    for (const scenario of scenarios) assert.deepEqual(JSON.parse(JSON.stringify(scenario)), scenario, scenario.id);
  });
});
