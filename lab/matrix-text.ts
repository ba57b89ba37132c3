/** A matrix as tables for people: predicted beside measured, as many side by side as the width allows. Pure. */
import type { Matrix, MatrixCell, MatrixPort } from './matrix.ts';
import type { CellVerdict } from './measure.ts';
import type { Paint, Style } from '../src/cli/paint.ts';

export interface MatrixTextOptions {
  /** Columns of the terminal. */
  readonly width: number;
  readonly paint: Paint;
}

export const LEGEND = 'Rows send, columns receive:  . arrives   X dropped   - not asked   ! not as predicted';

const MAX_LABEL = 40;
const MIN_LABEL = 12;
/** At least as wide as the word above it. */
const MIN_PANEL = 'predicted'.length + 1;
/** A mark and the space before it. */
const CELL_WIDTH = 2;
const PANEL_GAP = 3;
const SHEET_GAP = 4;

/** The tables of all the families and ports that look the same. */
interface Sheet {
  readonly title: string;
  readonly predicted: readonly string[];
  readonly measured: readonly string[];
}

/** A table without row labels: what stands under one heading. Every line has `width` visible columns. */
interface Panel {
  readonly width: number;
  readonly lines: readonly Segment[][];
}

interface Segment {
  readonly text: string;
  readonly style?: Style;
}

/**
 * One title and a pair of tables per group of families and ports that look the same; numbers over the columns are those in front
 * of the rows. What does not fit side by side goes below each other, and what is wider than the terminal is cut into columns.
 */
export function matrixText(matrix: Matrix, verdicts: readonly CellVerdict[], options: MatrixTextOptions): string {
  const { paint, width } = options;
  const labels = rowLabels(matrix, width);
  const available = width - labels.width;
  const size = matrix.endpoints.length;
  const blocks = sheetsOf(matrix, verdicts).flatMap((sheet) => sheetPanels(sheet, size, available));
  const lines: string[] = [];
  for (const band of bandsOf(blocks, available)) {
    lines.push('');
    const height = Math.max(...band.map(({ lines: own }) => own.length));
    for (let at = 0; at < height; at++) {
      const label = labels.at(at - (height - size));
      const row = band.map((panel) => renderLine(panel, panel.lines[at] ?? [], paint)).join(' '.repeat(SHEET_GAP));
      lines.push(`${paintAll(label, paint)}${row}`.trimEnd());
    }
  }
  return `${lines.join('\n')}\n`;
}

/** The middle gives way: a name's end tells pods of one workload apart, its beginning says whose they are. */
export function shorten(text: string, width: number): string {
  if (text.length <= width) return text;
  const tail = Math.ceil((width - 1) / 2);
  return `${text.slice(0, width - 1 - tail)}…${text.slice(text.length - tail)}`;
}

interface RowLabels {
  readonly width: number;
  /** Blank for lines above the first row. */
  readonly at: (row: number) => readonly Segment[];
}

function rowLabels({ endpoints }: Matrix, width: number): RowLabels {
  const digits = String(endpoints.length).length;
  const longest = Math.max(MIN_LABEL, ...endpoints.map(({ label }) => label.length));
  const room = Math.max(MIN_LABEL, Math.min(MAX_LABEL, Math.floor(width / 3)));
  const nameWidth = Math.min(longest, room);
  const total = digits + 1 + nameWidth + 2;
  return {
    width: total,
    at: (row) => {
      const endpoint = endpoints[row];
      if (row < 0 || !endpoint) return [{ text: ' '.repeat(total) }];
      const name = shorten(endpoint.label, nameWidth).padEnd(nameWidth + 2);
      return [{ text: `${String(row + 1).padStart(digits)} `, style: 'dim' }, { text: name }];
    },
  };
}

/** The panels of a sheet: the pair as one if it fits, else each by itself, cut into as many columns as fit. */
function sheetPanels(sheet: Sheet, size: number, available: number): Panel[] {
  const all = { first: 0, count: size };
  const pair = [panelOf('predicted', sheet.predicted, all), panelOf('measured', sheet.measured, all)];
  const joined = beside(pair);
  if (joined.width <= available) return [titled(sheet.title, joined, available)];
  const perChunk = Math.max(1, Math.floor(available / CELL_WIDTH));
  const isSame = sheet.predicted.join() === sheet.measured.join();
  const tables = isSame
    ? [['predicted and measured', sheet.measured] as const]
    : ([
        ['predicted', sheet.predicted],
        ['measured', sheet.measured],
      ] as const);
  const chunks = Array.from({ length: Math.ceil(size / perChunk) }, (_, index) => index * perChunk);
  return tables.flatMap(([heading, rows]) =>
    chunks.map((first) => {
      const columns = { first, count: Math.min(perChunk, size - first) };
      return titled(sheet.title, panelOf(heading, rows, columns), available);
    }),
  );
}

function panelOf(
  heading: string,
  rows: readonly string[],
  { first, count }: { readonly first: number; readonly count: number },
): Panel {
  return {
    width: Math.max(MIN_PANEL, count * CELL_WIDTH, heading.length + 1),
    lines: [
      [{ text: ` ${heading}`, style: 'dim' }],
      ...columnNumbers(first, count, String(rows.length).length).map((text): Segment[] => [{ text, style: 'dim' }]),
      ...rows.map((row) =>
        row
          .slice(first, first + count)
          .split('')
          .map((mark) => markSegment(mark)),
      ),
    ],
  };
}

/** The numbers of the columns, a line per digit, so that a column need not be wider than its marks. */
function columnNumbers(first: number, count: number, digits: number): string[] {
  const numbers = Array.from({ length: count }, (_, index) => String(first + index + 1).padStart(digits));
  return Array.from({ length: digits }, (_, digit) =>
    numbers.map((number) => number[digit]!.padStart(CELL_WIDTH)).join(''),
  );
}

function markSegment(mark: string): Segment {
  // The alarm colours the field, so the space before it counts.
  return { text: mark.padStart(CELL_WIDTH), style: MARK_STYLE[mark] ?? 'dim' };
}

const MARK_STYLE: Readonly<Record<string, Style>> = { '.': 'green', X: 'red', '!': 'alarm' };

function beside(panels: readonly Panel[]): Panel {
  const width = panels.reduce((sum, panel) => sum + panel.width, PANEL_GAP * (panels.length - 1));
  const lines = panels[0]!.lines.map((_, at) =>
    panels.flatMap((panel, index) => {
      const line = panel.lines[at]!;
      const missing = panel.width - visibleLength(line) + PANEL_GAP;
      return index === panels.length - 1 ? line : [...line, { text: ' '.repeat(missing) }];
    }),
  );
  return { width, lines };
}

function titled(title: string, panel: Panel, available: number): Panel {
  const lines = wrapWords(title, available).map((text): Segment[] => [{ text, style: 'bold' }]);
  const width = Math.max(panel.width, ...lines.map(visibleLength));
  return { width, lines: [...lines, ...panel.lines] };
}

/** As many panels in a band as fit. */
function bandsOf(panels: readonly Panel[], available: number): Panel[][] {
  const bands: Panel[][] = [];
  let used = 0;
  for (const panel of panels) {
    const needed = used + SHEET_GAP + panel.width;
    const band = bands.at(-1);
    if (band && needed <= available && band[0]!.lines.length === panel.lines.length) {
      band.push(panel);
      used = needed;
    } else {
      bands.push([panel]);
      used = panel.width;
    }
  }
  return bands;
}

function renderLine(panel: Panel, line: readonly Segment[], paint: Paint): string {
  return paintAll(line, paint) + ' '.repeat(Math.max(0, panel.width - visibleLength(line)));
}

function paintAll(segments: readonly Segment[], paint: Paint): string {
  return segments.map(({ text, style }) => (style ? paint(style, text) : text)).join('');
}

function visibleLength(line: readonly Segment[]): number {
  return line.reduce((sum, { text }) => sum + text.length, 0);
}

function wrapWords(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const line = lines.at(-1);
    if (line !== undefined && line.length + 1 + word.length <= width) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines;
}

// -------------------------------------------------------------------------------------------------------------- sheets

interface Grid {
  readonly cell: MatrixCell;
  readonly predicted: string[][];
  readonly measured: string[][];
}

function sheetsOf(matrix: Matrix, verdicts: readonly CellVerdict[]): readonly Sheet[] {
  const size = matrix.endpoints.length;
  const grids = new Map<string, Grid>();
  for (const [index, cell] of matrix.cells.entries()) {
    const key = `${cell.port.protocol} ${cell.port.port} ${cell.family}`;
    const grid = grids.get(key) ?? { cell, predicted: blankGrid(size), measured: blankGrid(size) };
    grids.set(key, grid);
    const mark = cell.predicted ? '.' : 'X';
    grid.predicted[cell.from]![cell.to] = mark;
    grid.measured[cell.from]![cell.to] = verdicts[index] === 'agrees' ? mark : '!';
  }
  const alike = Map.groupBy(grids.values(), ({ predicted, measured }) => JSON.stringify([predicted, measured]));
  return [...alike.values()].map((group) => ({
    title: titleOf(group.map(({ cell }) => cell)),
    predicted: group[0]!.predicted.map((row) => row.join('')),
    measured: group[0]!.measured.map((row) => row.join('')),
  }));
}

function blankGrid(size: number): string[][] {
  return Array.from({ length: size }, () => Array.from({ length: size }, () => '-'));
}

/** `TCP 80, 443, UDP 53 on IPv4 and IPv6; TCP 8080 on IPv4`. */
function titleOf(cells: readonly MatrixCell[]): string {
  const byPort = Map.groupBy(cells, ({ port }) => `${port.protocol} ${port.port}`);
  const byFamilies = Map.groupBy(byPort.values(), (same) => same.map(({ family }) => `IPv${family}`).join(' and '));
  return [...byFamilies]
    .map(([families, groups]) => `${portsText(groups.map(([first]) => first!.port))} on ${families}`)
    .join('; ');
}

/** `TCP 80, 443, UDP 53`: the protocol is said once for the ports that follow it. */
export function portsText(ports: readonly MatrixPort[]): string {
  const byProtocol = Map.groupBy(ports, ({ protocol }) => protocol);
  return [...byProtocol].map(([protocol, same]) => `${protocol} ${same.map(({ port }) => port).join(', ')}`).join(', ');
}
