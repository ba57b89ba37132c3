/** The files: bench/results/ -> docs/performance/<suite>.json -> docs/performance/*.svg and docs/performance.md. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { SuiteResult } from '../types.ts';
import { PLOT_FOLDER, renderPage } from './page.ts';
import { formatStored, inOrder, plotsOf, type Stored, store } from './stored.ts';

/** A file that is missing or not what it should be; the message names it. */
export class BadFile extends Error {
  constructor(file: string, why: string) {
    super(`${file}: ${why}`);
  }
}

/**
 * Takes the results of `suites` (none: all there are) into the folder of the documentation; names those taken. A suite that
 * was asked for and has no result is a `BadFile`.
 */
export function takeResults(resultsFolder: string, docsFolder: string, suites: readonly string[]): readonly string[] {
  const names = suites.length > 0 ? suites : jsonNames(resultsFolder);
  const texts = names.map((name) => {
    const file = join(resultsFolder, `${name}.json`);
    if (!existsSync(file)) throw new BadFile(file, `is not there; npm run bench -- ${name} makes it`);
    const result = readSuite<SuiteResult>(file);
    return attempt(file, `its numbers are not those of suite ${name}`, () => formatStored(store(result)));
  });
  const folder = join(docsFolder, PLOT_FOLDER);
  mkdirSync(folder, { recursive: true });
  for (const [index, name] of names.entries()) writeFileSync(join(folder, `${name}.json`), texts[index]!);
  return names;
}

/** Path from the folder of the documentation -> text: the page and the plots as the committed numbers give them. */
export function renderDocumentation(docsFolder: string): ReadonlyMap<string, string> {
  const folder = join(docsFolder, PLOT_FOLDER);
  const files = new Map<string, string>();
  const suites = inOrder(jsonNames(folder).map((name) => readSuite<Stored>(join(folder, `${name}.json`))));
  for (const suite of suites) {
    const file = join(folder, `${suite.suite}.json`);
    const plots = attempt(file, `its data does not fit the plots of suite ${suite.suite}`, () => plotsOf(suite));
    for (const { name, svg } of plots) files.set(join(PLOT_FOLDER, `${name}.svg`), svg);
  }
  const page = `${PLOT_FOLDER}.md`;
  const pageFile = join(docsFolder, page);
  if (!existsSync(pageFile)) throw new BadFile(pageFile, 'is not there; its text is written by hand');
  return files.set(
    page,
    attempt(pageFile, 'cannot be filled', () => renderPage(readFileSync(pageFile, 'utf8'), suites)),
  );
}

export function writeDocumentation(docsFolder: string): void {
  for (const [path, text] of renderDocumentation(docsFolder)) writeFileSync(join(docsFolder, path), text);
}

/** What of the committed files is not as the committed numbers give it, a line each; none: all is well. */
export function findDrift(docsFolder: string): readonly string[] {
  const desired = renderDocumentation(docsFolder);
  const different = [...desired].filter(([path, text]) => {
    const file = join(docsFolder, path);
    return !existsSync(file) || readFileSync(file, 'utf8') !== text;
  });
  const strange = namesEndingIn(join(docsFolder, PLOT_FOLDER), '.svg')
    .map((name) => join(PLOT_FOLDER, `${name}.svg`))
    .filter((path) => !desired.has(path));
  return [
    ...different.map(([path]) => `${path} differs from what ${PLOT_FOLDER}/*.json gives`),
    ...strange.map((path) => `${path} is drawn from no file in ${PLOT_FOLDER}/`),
  ];
}

function jsonNames(folder: string): readonly string[] {
  return namesEndingIn(folder, '.json');
}

function namesEndingIn(folder: string, ending: string): readonly string[] {
  if (!existsSync(folder)) return [];
  const files = readdirSync(folder).filter((file) => file.endsWith(ending));
  return files.map((file) => basename(file, ending)).sort();
}

/** What a result and a stored suite have in common is looked at; the numbers are checked by their use. */
function readSuite<T extends SuiteResult | Stored>(file: string): T {
  const value = attempt(file, 'is no JSON', () => JSON.parse(readFileSync(file, 'utf8')) as Partial<T> | null);
  const name = basename(file, '.json');
  if (value?.suite !== name) throw new BadFile(file, `holds no result of suite ${name}`);
  if (!Array.isArray(value.tables) || typeof value.machine !== 'object')
    throw new BadFile(file, 'lacks tables or machine');
  return value as T;
}

function attempt<T>(file: string, otherwise: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw new BadFile(file, `${otherwise}: ${(error as Error).message}`);
  }
}
