/** A table as text for a terminal, and as Markdown for the documentation. */
import type { Table } from './types.ts';

export function formatTable({ title, note, columns, rows }: Table): string {
  const cells = [columns, ...rows].map((row) => row.map(String));
  const widths = columns.map((_, column) => Math.max(...cells.map((row) => (row[column] ?? '').length)));
  // The first column names the row, the others are numbers.
  const line = (row: readonly string[]): string =>
    widths
      .map((width, column) => (column === 0 ? (row[0] ?? '').padEnd(width) : (row[column] ?? '').padStart(width)))
      .join('  ')
      .trimEnd();
  const [head, ...body] = cells.map(line);
  return [title, ...(note === undefined ? [] : [note]), head!, '-'.repeat(head!.length), ...body].join('\n');
}

export function markdownTable({ columns, rows }: Table): string {
  const line = (row: readonly (string | number)[]): string => `| ${row.join(' | ')} |`;
  const rule = `|${columns.map((_, column) => (column === 0 ? '---' : '---:')).join('|')}|`;
  return [line(columns), rule, ...rows.map(line)].join('\n');
}
