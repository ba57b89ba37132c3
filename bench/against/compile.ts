/**
 * Suite *compile* beside another version. What it measures are functions inside of the product, so each version runs its own suite, in a
 * process of its own, in turn; what is compared are the rows that both have.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describeMachine } from '../machine.ts';
import { readQuantity } from '../report/quantities.ts';
import { median, ratio } from '../statistics.ts';
import { SUITES } from '../suites.ts';
import type { SuiteOptions, SuiteResult, Table } from '../types.ts';
import { inTurn, withBoth } from './both.ts';
import type { Version } from './version.ts';

export async function run({ against, quick, full, rounds = quick ? 1 : 2 }: SuiteOptions): Promise<SuiteResult> {
  return await withBoth(against!, async (both, directory) => {
    const results = new Map<Version, SuiteResult[]>(both.map((version) => [version, []]));
    for (let round = 0; round < rounds; round++)
      for (const version of inTurn(both, round))
        results.get(version)!.push(runOwn(version, { quick, full: full ?? false }, directory));
    return { suite: 'compile', machine: describeMachine(), tables: compareTables(both, results), raw: undefined };
  });
}

function runOwn({ root, name }: Version, options: SuiteOptions, directory: string): SuiteResult {
  const file = join(directory, 'compile.json');
  const flags = SUITES.find((suite) => suite.name === 'compile')!.nodeFlags;
  const argv = [...flags, join(root, 'bench/run-suite.ts'), 'compile', JSON.stringify(options), file];
  const { status } = spawnSync(process.execPath, argv, { stdio: 'inherit' });
  if (status !== 0) throw new Error(`suite compile of ${name}: exit code ${status}`);
  return JSON.parse(readFileSync(file, 'utf8')) as SuiteResult;
}

/** Of each quantity in the tables: medians over the rounds. */
export function compareTables(
  both: readonly [{ name: string }, { name: string }],
  results: ReadonlyMap<unknown, readonly SuiteResult[]>,
): Table[] {
  const [other, own] = both.map((version) => quantities(results.get(version)!));
  const rows = [...own!].flatMap(([key, values]) => {
    const before = other!.get(key);
    if (before === undefined) return [];
    return [[key, before.text, values.text, ratio(median(values.numbers) / median(before.numbers))]];
  });
  return [{ title: 'what both versions measure', columns: ['what', both[0].name, both[1].name, 'ratio'], rows }];
}

interface Quantity {
  readonly numbers: number[];
  /** As the table has it, of the last round. */
  text: string;
}

/** Title, row and column -> what stands there. */
function quantities(results: readonly SuiteResult[]): ReadonlyMap<string, Quantity> {
  const found = new Map<string, Quantity>();
  for (const { title, columns, row } of results
    .flatMap(({ tables }) => tables.filter(({ title }) => title !== 'targets'))
    .flatMap(rowsOf)) {
    const rowName = row.filter(isName).join(', ');
    for (const [index, cell] of row.entries()) {
      const value = readQuantity(cell);
      if (value === undefined) continue;
      const key = `${title}: ${rowName}: ${columnName(columns, index)}`;
      const known = found.get(key) ?? { numbers: [], text: '' };
      known.numbers.push(value);
      known.text = String(cell);
      found.set(key, known);
    }
  }
  return found;
}

/** A name that stands there twice belongs to the column before it. */
function columnName(columns: readonly string[], index: number): string {
  const name = columns[index]!;
  return columns.indexOf(name) === columns.lastIndexOf(name) ? name : `${columns[index - 1]}, ${name}`;
}

/** Neither a quantity, nor a bare count or share, nor the sign that there is none. */
function isName(cell: string | number): boolean {
  return readQuantity(cell) === undefined && !/^-$|^-?[\d.,]+( %)?$/.test(String(cell));
}

function rowsOf({ title, columns, rows }: Table) {
  return rows.map((row) => ({ title, columns, row }));
}
