/** What all charts share: the ground, title, legend and axes around a plot, and the colours. */
import type { Scale } from './scale.ts';
import { element, textElement } from './svg.ts';

export interface ChartText {
  readonly title: string;
  /** What the lines through the values mean, and the like. */
  readonly subtitle?: string;
  readonly xLabel: string;
  /** With the unit. */
  readonly yLabel: string;
}

export interface LegendEntry {
  readonly name: string;
  readonly colour: string;
  readonly kind: 'box' | 'line' | 'dashes';
}

export interface Plot {
  readonly top: number;
  readonly bottom: number;
  readonly right: number;
}

/** Told apart by those who do not see all colours, on a white ground. Source: Okabe and Ito, "Color Universal Design". */
export const COLOURS = {
  blue: '#0072b2',
  sky: '#56b4e9',
  red: '#d55e00',
  orange: '#e69f00',
  green: '#009e73',
  pink: '#cc79a7',
  grey: '#7f7f7f',
  black: '#222222',
} as const;

const FONT = 'system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif';
const PLOT_HEIGHT = 260;
export const MIN_PLOT_WIDTH = 560;
export const LEFT = 76;
/** Half of the last label along x has room here. */
const RIGHT = 40;
export const LINE_HEIGHT = 14;
const LEGEND_TOP = 62;
const LEGEND_ROW = 20;
/** About, at 12 pixels: enough to tell when a legend needs another row. */
export const CHARACTER_WIDTH = 6.6;
export const DASHES = '6 4';

export function plotOf(width: number, legend: readonly LegendEntry[]): Plot {
  const right = LEFT + Math.max(MIN_PLOT_WIDTH, width);
  const top = LEGEND_TOP + legendRows(legend, right).length * LEGEND_ROW + 4;
  return { top, bottom: top + PLOT_HEIGHT, right };
}

/** Title, legend and labels around `body`, on a white ground: pages may be dark. */
export function frame(
  { title, subtitle, xLabel, yLabel }: ChartText,
  { top, bottom, right }: Plot,
  legend: readonly LegendEntry[],
  labelRows: number,
  body: readonly string[],
): string {
  const width = right + RIGHT;
  const height = bottom + labelRows * LINE_HEIGHT + 36;
  const middle = (top + bottom) / 2;
  const svg = element(
    'svg',
    {
      xmlns: 'http://www.w3.org/2000/svg',
      viewBox: `0 0 ${Math.ceil(width)} ${Math.ceil(height)}`,
      width: Math.ceil(width),
      height: Math.ceil(height),
      role: 'img',
      'font-family': FONT,
      'font-size': 12,
      fill: COLOURS.black,
    },
    [
      textElement('title', {}, title),
      element('rect', { x: 0, y: 0, width: Math.ceil(width), height: Math.ceil(height), fill: '#ffffff' }),
      textElement('text', { x: 16, y: 26, 'font-size': 16, 'font-weight': 'bold' }, title),
      ...(subtitle === undefined ? [] : [textElement('text', { x: 16, y: 46, fill: '#555555' }, subtitle)]),
      ...drawLegend(legend, right),
      ...body,
      label(xLabel, (LEFT + right) / 2, height - 12),
      textElement('text', { transform: `translate(18 ${middle}) rotate(-90)`, 'text-anchor': 'middle' }, yLabel),
    ],
  );
  return `${svg}\n`;
}

function drawLegend(legend: readonly LegendEntry[], right: number): readonly string[] {
  return legendRows(legend, right).flatMap((row, index) => {
    const y = LEGEND_TOP + index * LEGEND_ROW;
    let x = 16;
    return row.flatMap((entry) => {
      const drawn = [legendSign(entry, x, y), label(entry.name, x + 24, y + 10, 'start')];
      x += legendWidth(entry);
      return drawn;
    });
  });
}

function legendSign({ kind, colour }: LegendEntry, x: number, y: number): string {
  switch (kind) {
    case 'box':
      return element('rect', { x: x + 4, y, width: 12, height: 12, fill: colour });
    case 'line':
      return line(x, y + 6, x + 18, y + 6, colour, { width: 2 });
    case 'dashes':
      return line(x, y + 6, x + 18, y + 6, colour, { width: 2, dashed: true });
  }
}

function legendRows(legend: readonly LegendEntry[], right: number): readonly (readonly LegendEntry[])[] {
  const rows: LegendEntry[][] = [];
  let used = Number.POSITIVE_INFINITY;
  for (const entry of legend) {
    if (used + legendWidth(entry) > right) {
      rows.push([]);
      used = 16;
    }
    rows.at(-1)!.push(entry);
    used += legendWidth(entry);
  }
  return rows;
}

function legendWidth({ name }: LegendEntry): number {
  return 24 + name.length * CHARACTER_WIDTH + 16;
}

export function grid(y: Scale, { right }: Plot): readonly string[] {
  return y.ticks.flatMap((tick) => {
    const place = y.place(tick)!;
    return [line(LEFT, place, right, place, '#dddddd'), label(numberText(tick), LEFT - 8, place + 4, 'end')];
  });
}

export function axis({ top, bottom, right }: Plot): readonly string[] {
  return [line(LEFT, top, LEFT, bottom, COLOURS.black), line(LEFT, bottom, right, bottom, COLOURS.black)];
}

export function line(
  x1: number,
  y1: number,
  x2: number,
  y2: number,
  stroke: string,
  { width = 1, dashed = false }: { readonly width?: number; readonly dashed?: boolean } = {},
): string {
  const dashes = dashed ? { 'stroke-dasharray': DASHES } : {};
  return element('line', { x1, y1, x2, y2, stroke, 'stroke-width': width, ...dashes });
}

export function label(text: string, x: number, y: number, anchor: 'start' | 'middle' | 'end' = 'middle'): string {
  return textElement('text', { x, y, 'text-anchor': anchor }, text);
}

export function numberText(value: number): string {
  return value.toLocaleString('en-US', { maximumSignificantDigits: 6 });
}
