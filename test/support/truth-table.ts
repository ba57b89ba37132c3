/** A reachability table: rows send, columns receive; `.` reaches, `X` does not, `-` is not asked. */
export interface TruthTable {
  readonly columns: readonly string[];
  readonly rows: readonly string[];
  /** Row by row, without the cells that are not asked. */
  readonly cells: readonly Cell[];
}

export interface Cell {
  readonly from: string;
  readonly to: string;
  readonly reaches: boolean;
}

/** Throws on anything that is not a table, and on a table that asks nothing: it would pass whatever the code does. */
export function parseTruthTable(text: string): TruthTable {
  const [head, ...body] = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  if (head === undefined) throw new Error('truth table: empty');
  const columns = distinct(head.split(/\s+/), 'column');
  const rows = distinct(
    body.map((line) => line.split(/\s+/)[0] ?? ''),
    'row',
  );
  const cells = body.flatMap((line) => parseRow(line, columns));
  if (cells.length === 0) throw new Error('truth table: no cell asks anything');
  return { columns, rows, cells };
}

function parseRow(line: string, columns: readonly string[]): Cell[] {
  const [from = '', ...marks] = line.split(/\s+/);
  if (marks.length !== columns.length) {
    throw new Error(`truth table: row "${from}" has ${marks.length} cells for ${columns.length} columns`);
  }
  return columns.flatMap((to, index) => {
    const reaches = readMark(marks[index] ?? '', from, to);
    return reaches === undefined ? [] : [{ from, to, reaches }];
  });
}

function readMark(mark: string, from: string, to: string): boolean | undefined {
  switch (mark) {
    case '.':
      return true;
    case 'X':
      return false;
    case '-':
      return undefined;
    default:
      throw new Error(`truth table: "${mark}" from ${from} to ${to} is none of . X -`);
  }
}

function distinct(names: readonly string[], what: string): readonly string[] {
  const repeated = names.find((name, index) => names.indexOf(name) !== index);
  if (repeated !== undefined) throw new Error(`truth table: ${what} "${repeated}" twice`);
  return names;
}

/** The table with what was seen; cells that differ from `table` are marked `.!` and `X!`. */
export function printTruthTable(table: TruthTable, seen: (cell: Cell) => boolean): string {
  const width = Math.max(...table.columns.map((name) => name.length), 2) + 2;
  const first = Math.max(...table.rows.map((name) => name.length)) + 2;
  const line = (name: string, marks: readonly string[]) =>
    name.padEnd(first) + marks.map((mark) => mark.padStart(width)).join('');
  const markOf = (from: string, to: string) => {
    const cell = table.cells.find((candidate) => candidate.from === from && candidate.to === to);
    if (cell === undefined) return '-';
    const observed = seen(cell);
    return `${observed ? '.' : 'X'}${observed === cell.reaches ? '' : '!'}`;
  };
  const body = table.rows.map((from) =>
    line(
      from,
      table.columns.map((to) => markOf(from, to)),
    ),
  );
  return [line('', table.columns), ...body].join('\n');
}
