/** docs/conformance.md says what is so: every clause, the scenarios and tests that cite it, and the mutants that were tried. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { SUITES } from './scenarios/index.ts';

const ROOT = new URL('../', import.meta.url);
const clausesOf = (letter: string, first: number, last: number): string[] =>
  Array.from({ length: last - first + 1 }, (_, index) => `${letter}-${String(first + index).padStart(2, '0')}`);
/** Of NetworkPolicy, then of cluster-wide policies, whose numbers have gaps. */
const CLAUSES = [
  ...clausesOf('S', 1, 80),
  ...(
    [
      [1, 5],
      [10, 29],
      [33, 33],
      [40, 48],
      [50, 59],
      [60, 73],
      [80, 87],
      [90, 93],
    ] as const
  ).flatMap(([first, last]) => clausesOf('N', first, last).map((clause) => clause.replace('N-0', 'N-'))),
];
const STATES = ['enforced', 'decision', 'not applicable', 'later'];

const read = (path: string): string => readFileSync(new URL(path, ROOT), 'utf8');
const page = read('docs/conformance.md');
const scenarios = SUITES.flatMap((suite) => suite.scenarios);

interface Row {
  readonly clause: string;
  readonly state: string;
  readonly ids: readonly string[];
  readonly files: readonly string[];
}

const rows: readonly Row[] = [...page.matchAll(/^\| (S-\d\d|N-\d+) \|([^|]*)\|([^|]*)\|[^|]*\|$/gm)].map(
  ([, clause, state, shownBy]) => ({
    clause: clause!,
    state: state!.trim(),
    ids: [...shownBy!.matchAll(/(?<![\w-])[EUPRFGT]-\d+[a-z]?(?![\w-])/g)].map(([id]) => id),
    files: filesIn(shownBy!),
  }),
);

/** `policy/parse` -> test/policy/parse.test.ts */
function filesIn(text: string): string[] {
  return [...text.matchAll(/`([\w/-]+)`/g)].map(([, name]) => `test/${name}.test.ts`);
}

/** By itself, or as one of a span: `N-53 to N-55`. */
function cites(text: string, clause: string): boolean {
  const [letter, number] = [clause.slice(0, 2), Number(clause.slice(2))];
  return [...text.matchAll(new RegExp(`${letter}(\\d+)(?: to ${letter}(\\d+))?`, 'g'))].some(
    ([, first, last = first]) => Number(first) <= number && number <= Number(last),
  );
}

describe('docs/conformance.md', () => {
  it('has every clause once, in order, in one of the states', () => {
    assert.deepEqual(
      rows.map(({ clause }) => clause),
      CLAUSES,
    );
    for (const { clause, state } of rows) assert.ok(STATES.includes(state), `${clause}: ${state}`);
    assert.match(page, /^C-01 to C-30 .*: not part of this version\.$/m);
  });

  it('names for each clause all scenarios that cite it, and no other', () => {
    for (const { clause, ids } of rows) {
      const citing = scenarios.filter(({ cites }) => cites.includes(clause)).map(({ id }) => id);
      assert.deepEqual([...ids].sort(), citing.sort(), clause);
    }
    const cited = scenarios.flatMap((scenario) => scenario.cites);
    const unknown = cited.filter((clause) => !CLAUSES.includes(clause));
    assert.deepEqual(unknown, []);
  });

  it('names tests that are there and speak of the clause', () => {
    for (const { clause, files } of rows) {
      for (const file of files) {
        assert.ok(existsSync(new URL(file, ROOT)), `${clause}: ${file} is not there`);
        assert.ok(cites(read(file), clause), `${clause}: ${file} does not cite it`);
      }
    }
  });

  it('shows everything that it calls enforced or decided', () => {
    for (const { clause, state, ids, files } of rows) {
      if (state === 'not applicable' || state === 'later') continue;
      assert.ok(ids.length + files.length > 0, `${clause}: nothing shows it`);
    }
  });

  it('tells of every mutant who noticed it', () => {
    const table = page.slice(page.indexOf('| broken line | noticed by |'));
    const told = [...table.matchAll(/^\| (.+?) \| (.+) \|$/gm)].slice(1);
    const titles = [...read('scripts/torture-mutants.ts').matchAll(/^ {4}title: (['"])(.+)\1,$/gm)].map(
      ([, , title]) => title!,
    );
    assert.ok(titles.length > 30, 'the mutants were found');
    assert.deepEqual(
      told.map(([, title]) => title),
      titles,
    );
    for (const [, title, noticed] of told) {
      const files = noticed!.split(', ').map((name) => `test/${name}.test.ts`);
      for (const file of files) assert.ok(existsSync(new URL(file, ROOT)), `${title}: ${file}`);
    }
  });

  it('names files that are there outside of the table, too', () => {
    const prose = page.split('\n').filter((line) => !line.startsWith('|'));
    for (const line of prose) {
      for (const [, name] of line.matchAll(/`([a-z]+\/[\w-]+)`/g)) {
        const found = [`test/${name}.test.ts`, name!].some((path) => existsSync(new URL(path, ROOT)));
        assert.ok(found, `${name} in: ${line}`);
      }
    }
  });
});
