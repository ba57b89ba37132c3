/** Suites -> one page in Markdown: all targets in a table, then the machine, plots and tables of each suite. */
import { number } from '../statistics.ts';
import { markdownTable } from '../text-table.ts';
import type { Machine, Table } from '../types.ts';
import { isTargets, targetRows } from './quantities.ts';
import { plotsOf, type Reduced } from './reduced.ts';

/** Plots lie beside the page. */
export function renderPage(suites: readonly Reduced[]): string {
  const targets = suites.flatMap((suite) =>
    targetRows(suite).map(([what, ...row]) => [`${suite.suite}: ${what}`, ...row]),
  );
  const sections = [
    '# Measured',
    ...(targets.length > 0 ? ['## Targets', targetsTable(targets)] : []),
    ...suites.flatMap((suite) => [`## Suite ${suite.suite}`, suiteBody(suite)]),
  ];
  return `${sections.join('\n\n')}\n`;
}

function targetsTable(rows: Table['rows']): string {
  return markdownTable({ title: 'targets', columns: ['what', 'measured', 'target', 'met'], rows });
}

function suiteBody(suite: Reduced): string {
  const plots = plotsOf(suite).map(({ name, alt }) => `![${alt}](${name}.svg)`);
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
