/**
 * Tests of faults: those whose title, or a title around it, begins with `fault: `. Finds them, counts them, and writes the list in
 * docs/reliability.md.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Mocha from 'mocha';

export const FAULT_TITLE = /(?:^|\s)fault: /;

const PAGE = join(import.meta.dirname, '..', 'docs', 'reliability.md');
const BEGIN = '<!-- faults: written by `npm run faults:write` -->';
const END = '<!-- end of faults -->';

export interface FileFaults {
  readonly file: string;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly seconds: number;
}

/** Whether the text of a test file may hold such a title; loading it tells for sure. */
export function mayHoldFaults(text: string): boolean {
  return /['"`]fault: /.test(text);
}

/** Full titles by file, in the order of the files, without running anything. */
export async function faultTitles(files: readonly string[]): Promise<ReadonlyMap<string, readonly string[]>> {
  const found = new Map<string, readonly string[]>();
  for (const file of files.filter((each) => mayHoldFaults(readFileSync(each, 'utf8')))) {
    const mocha = new Mocha();
    mocha.addFile(file);
    await mocha.loadFilesAsync();
    const titles: string[] = [];
    mocha.suite.eachTest((test) => {
      if (FAULT_TITLE.test(test.fullTitle())) titles.push(shortTitle(test.fullTitle()));
    });
    if (titles.length > 0) found.set(file, titles);
  }
  return found;
}

/** From the first `fault: ` on, without the word. */
export function shortTitle(full: string): string {
  return full
    .slice(full.search(FAULT_TITLE))
    .trim()
    .replaceAll(/(^|\s)fault: /g, '$1')
    .trim();
}

export function faultList(titles: ReadonlyMap<string, readonly string[]>): string {
  const count = [...titles.values()].reduce((sum, each) => sum + each.length, 0);
  const files = [...titles].map(
    ([file, each]) => `### ${file}\n\n${each.map((title) => `- ${escaped(title)}`).join('\n')}`,
  );
  return [`**${count} faults survived**, in ${titles.size} files.`, ...files].join('\n\n');
}

const escaped = (title: string): string => title.replaceAll(/[<>*_`|\\]/g, '\\$&');

/** Puts the list between the marks of the page. */
export function withFaultList(page: string, list: string): string {
  const [start, end] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (start < 0 || end < start) throw new Error(`docs/reliability.md: the marks ${BEGIN} and ${END} are not there`);
  return `${page.slice(0, start)}${BEGIN}\n\n${list}\n\n${page.slice(end)}`;
}

export async function writeFaultPage(files: readonly string[]): Promise<void> {
  writeFileSync(PAGE, withFaultList(readFileSync(PAGE, 'utf8'), faultList(await faultTitles(files))));
}

/** Undefined if the page lists just these; otherwise what to do. */
export async function staleFaultPage(files: readonly string[]): Promise<string | undefined> {
  const page = readFileSync(PAGE, 'utf8');
  if (withFaultList(page, faultList(await faultTitles(files))) === page) return undefined;
  return 'docs/reliability.md does not list the faults as the tests name them: npm run faults:write';
}

/** One line per file, and the sum as the last. */
export function faultTable(files: readonly FileFaults[]): readonly string[] {
  const width = Math.max(4, ...files.map(({ file }) => file.length));
  const row = (file: string, ...numbers: readonly (string | number)[]): string =>
    `  ${file.padEnd(width)}${numbers.map((number) => String(number).padStart(10)).join('')}`;
  const sum = (of: (file: FileFaults) => number): number => files.reduce((total, file) => total + of(file), 0);
  const skipped = sum((file) => file.skipped);
  return [
    row('file', 'survived', 'failed', 'not run', 'seconds'),
    ...files.map((each) => row(each.file, each.passed, each.failed, each.skipped, each.seconds.toFixed(1))),
    `${sum((file) => file.passed)} faults survived, ${sum((file) => file.failed)} failed${skipped > 0 ? `, ${skipped} not run` : ''}`,
  ];
}
