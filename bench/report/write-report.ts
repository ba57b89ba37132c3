/** The files: bench/results/<suite>.json -> a folder with the tables as one page, report.md, and the plots as SVG. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { SuiteResult } from '../types.ts';
import { renderPage } from './page.ts';
import { inOrder, plotsOf, type Reduced, reduce } from './reduced.ts';

const PAGE = 'report.md';

/** A file that is missing or not what it should be; the message names it. */
export class BadFile extends Error {
  constructor(file: string, why: string) {
    super(`${file}: ${why}`);
  }
}

/**
 * Makes `outFolder` anew from the results of `suites` (none: all there are); names the suites. A suite that was asked for and has no
 * result, or no result at all, is a `BadFile`; then nothing is written.
 */
export function writeReport(resultsFolder: string, outFolder: string, suites: readonly string[]): readonly string[] {
  const names = suites.length > 0 ? suites : jsonNames(resultsFolder);
  if (names.length === 0) throw new BadFile(resultsFolder, 'holds no results; npm run bench makes them');
  const reduced = inOrder(names.map((name) => readSuite(join(resultsFolder, `${name}.json`))));
  const plots = reduced.flatMap((suite) =>
    attempt(join(resultsFolder, `${suite.suite}.json`), 'its data does not fit the plots', () => plotsOf(suite)),
  );
  rmSync(outFolder, { recursive: true, force: true });
  mkdirSync(outFolder, { recursive: true });
  for (const { name, svg } of plots) writeFileSync(join(outFolder, `${name}.svg`), svg);
  writeFileSync(join(outFolder, PAGE), renderPage(reduced));
  return reduced.map(({ suite }) => suite);
}

function jsonNames(folder: string): readonly string[] {
  if (!existsSync(folder)) return [];
  const files = readdirSync(folder).filter((file) => file.endsWith('.json'));
  return files.map((file) => basename(file, '.json')).sort();
}

/** What all results have in common is looked at; the numbers are checked by their use. */
function readSuite(file: string): Reduced {
  const name = basename(file, '.json');
  if (!existsSync(file)) throw new BadFile(file, `is not there; npm run bench -- ${name} makes it`);
  const value = attempt(
    file,
    'is no JSON',
    () => JSON.parse(readFileSync(file, 'utf8')) as Partial<SuiteResult> | null,
  );
  if (value?.suite !== name) throw new BadFile(file, `holds no result of suite ${name}`);
  if (!Array.isArray(value.tables) || typeof value.machine !== 'object')
    throw new BadFile(file, 'lacks tables or machine');
  return attempt(file, `its numbers are not those of suite ${name}`, () => reduce(value as SuiteResult));
}

function attempt<T>(file: string, otherwise: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw new BadFile(file, `${otherwise}: ${(error as Error).message}`);
  }
}
