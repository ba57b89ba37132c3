/**
 * The generated parts of docs/performance.md, between markers; what is written by hand around them stays.
 *
 *   <!-- targets -->             one table, of all suites
 *   <!-- tables: packet -->      machine, plots and tables of one suite
 *   <!-- end -->
 */
import { number } from '../statistics.ts';
import { markdownTable } from '../text-table.ts';
import type { Machine, Table } from '../types.ts';
import { isTargets, targetRows } from './quantities.ts';
import { plotsOf, type Stored } from './stored.ts';

const TARGETS = '<!-- targets -->';
const END = '<!-- end -->';
/** Suites that have no place in the page yet get a section in front of this line, or at the end. */
const FURTHER = '<!-- further suites -->';
const ANY_START = /<!-- (targets|tables: .*) -->/;
/** From the page to the plots. */
export const PLOT_FOLDER = 'performance';

/** `page` with all generated parts as `suites` have them. Parts of suites that are not given stay as they are. Throws on a broken marker. */
export function renderPage(page: string, suites: readonly Stored[]): string {
  const targets = suites.flatMap((suite) =>
    targetRows(suite).map(([what, ...row]) => [`${suite.suite}: ${what}`, ...row]),
  );
  const withTargets =
    targets.length > 0 && page.includes(TARGETS) ? replaceBlock(page, TARGETS, targetsTable(targets)) : page;
  return suites.reduce((text, suite) => {
    const marker = `<!-- tables: ${suite.suite} -->`;
    return replaceBlock(text.includes(marker) ? text : addSection(text, suite.suite, marker), marker, suiteBody(suite));
  }, withTargets);
}

function replaceBlock(page: string, marker: string, body: string): string {
  const [before, after, ...more] = page.split(marker);
  if (more.length > 0) throw new Error(`${marker} is there more than once`);
  const end = after!.indexOf(END);
  if (end < 0 || ANY_START.test(after!.slice(0, end))) throw new Error(`${marker} has no ${END}`);
  return `${before}${marker}\n\n${body}\n\n${after!.slice(end)}`;
}

function addSection(page: string, suite: string, marker: string): string {
  const section = `## Suite ${suite}\n\n${marker}\n${END}\n`;
  const place = page.indexOf(FURTHER);
  return place < 0 ? `${page.trimEnd()}\n\n${section}` : `${page.slice(0, place)}${section}\n${page.slice(place)}`;
}

function targetsTable(rows: Table['rows']): string {
  return markdownTable({ title: 'targets', columns: ['what', 'measured', 'target', 'met'], rows });
}

function suiteBody(suite: Stored): string {
  const plots = plotsOf(suite).map(({ name, alt }) => `![${alt}](${PLOT_FOLDER}/${name}.svg)`);
  const tables = suite.tables.filter((table) => !isTargets(table));
  const texts = tables.map((table, index) => tableText(table, tables[index - 1]?.note));
  return [machineText(suite.machine), ...plots, ...texts].join('\n\n');
}

/** What the table above has said already is not said again. */
function tableText(table: Table, noteBefore: string | undefined): string {
  const { title, note } = table;
  const said = note === undefined || note === noteBefore ? [] : [note];
  return [`**${title}.** ${said.join('')}`.trimEnd(), markdownTable(table)].join('\n\n');
}

function machineText({ cpu, cores, memoryGiB, kernel, node, iptables, ipset, yardstickMs }: Machine): string {
  const tools = [iptables, ipset].filter((tool) => tool !== undefined);
  const parts = [cpu, `${cores} cores`, `${memoryGiB} GiB`, `Linux ${kernel}`, `Node.js ${node}`, ...tools];
  const yardstick = yardstickMs === undefined ? '' : ` The yardstick took ${number(yardstickMs)} ms.`;
  return `*Measured on: ${parts.join(', ')}.${yardstick}*`;
}
