/**
 * Bar and line charts as SVG text. A value that is missing or has no place on its axis is left out; what is drawn depends on the
 * numbers alone.
 *
 *   title                          the plot is as wide as its groups need,
 *   subtitle                       the page scales it to its own width
 *   [] series  [] series  -- mark
 *   y |
 *     |  bars or lines
 *     +---------------
 *       group    group
 *            x
 */
import {
  axis,
  CHARACTER_WIDTH,
  type ChartText,
  COLOURS,
  DASHES,
  frame,
  grid,
  label,
  LEFT,
  type LegendEntry,
  LINE_HEIGHT,
  line,
  MIN_PLOT_WIDTH,
  numberText,
  type Plot,
  plotOf,
} from './frame.ts';
import { makeScale, type Scale, type ScaleKind } from './scale.ts';
import { element } from './svg.ts';

/** `low` and `high` are the ends of the line drawn through the value. */
export interface Value {
  readonly value: number | null | undefined;
  readonly low?: number | null | undefined;
  readonly high?: number | null | undefined;
}

/** A value to compare with: a dashed line across the plot. */
export interface Mark {
  readonly name: string;
  readonly value: number | null | undefined;
  readonly colour: string;
}

export interface BarChart extends ChartText {
  readonly yScale: ScaleKind;
  /** Each may have several lines. */
  readonly groups: readonly string[];
  /** A value per group. */
  readonly series: readonly {
    readonly name: string;
    readonly colour: string;
    readonly values: readonly (Value | undefined)[];
  }[];
  /** One bar per group, the series on top of each other; parts add up on a linear axis only, so that is what it gets. */
  readonly stacked?: boolean;
  readonly marks?: readonly Mark[];
}

export interface LineChart extends ChartText {
  readonly xScale: ScaleKind;
  readonly yScale: ScaleKind;
  readonly series: readonly {
    readonly name: string;
    readonly colour: string;
    readonly dashed?: boolean;
    /** Ascending by `x`. */
    readonly points: readonly (Value & { readonly x: number | null | undefined })[];
  }[];
  readonly marks?: readonly Mark[];
}

const BAR_WIDTH = 18;
/** More different places than this along x get the ticks of the scale. */
const MAX_OWN_TICKS = 6;

export function barChart(chart: BarChart): string {
  const { groups, series, stacked = false, marks = [] } = chart;
  const bars = stacked ? 1 : series.length;
  const longest = Math.max(0, ...groups.flatMap((group) => group.split('\n').map((line) => line.length)));
  const groupWidth = Math.max(
    MIN_PLOT_WIDTH / Math.max(1, groups.length),
    bars * BAR_WIDTH + 24,
    longest * CHARACTER_WIDTH + 10,
  );
  const legend = [...series.map((each): LegendEntry => ({ ...each, kind: 'box' })), ...marks.map(asDashes)];
  const layOut = plotOf(groups.length * groupWidth, legend);
  const values = stacked
    ? groups.map((_, group) => sumOf(series, group))
    : series.flatMap(({ values: own }) => ends(own));
  const y = makeScale(
    stacked ? 'linear' : chart.yScale,
    [...values, ...marks.map(({ value }) => value)],
    [layOut.bottom, layOut.top],
  );
  const drawn = groups.flatMap((_, group) => {
    const middle = LEFT + (group + 0.5) * groupWidth;
    if (stacked) return stack(series, group, middle, y);
    return series.flatMap(({ colour, values: own }, index) =>
      bar(own[group], middle + (index - bars / 2) * BAR_WIDTH, colour, y, layOut.bottom),
    );
  });
  const labels = groups.flatMap((group, index) =>
    group
      .split('\n')
      .map((line, row) => label(line, LEFT + (index + 0.5) * groupWidth, layOut.bottom + 18 + row * LINE_HEIGHT)),
  );
  const rows = Math.max(1, ...groups.map((group) => group.split('\n').length));
  return frame(chart, layOut, legend, rows, [
    ...grid(y, layOut),
    ...drawn,
    ...markLines(marks, y, layOut),
    ...axis(layOut),
    ...labels,
  ]);
}

export function lineChart(chart: LineChart): string {
  const { series, marks = [] } = chart;
  const legend = [
    ...series.map((each): LegendEntry => ({ ...each, kind: each.dashed ? 'dashes' : 'line' })),
    ...marks.map(asDashes),
  ];
  const layOut = plotOf(MIN_PLOT_WIDTH, legend);
  const points = series.flatMap((each) => each.points);
  const y = makeScale(chart.yScale, [...ends(points), ...marks.map(({ value }) => value)], [layOut.bottom, layOut.top]);
  const x = makeScale(
    chart.xScale,
    points.map((point) => point.x),
    [LEFT, layOut.right],
  );
  const own = [...new Set(points.map((point) => point.x))].filter((value) => x.place(value) !== undefined);
  const ticks = own.length > 0 && own.length <= MAX_OWN_TICKS ? (own as number[]) : x.ticks;
  const xAxis = ticks.flatMap((tick) => {
    const place = x.place(tick)!;
    return [
      line(place, layOut.bottom, place, layOut.bottom + 4, COLOURS.black),
      label(numberText(tick), place, layOut.bottom + 18),
    ];
  });
  return frame(chart, layOut, legend, 1, [
    ...grid(y, layOut),
    ...markLines(marks, y, layOut),
    ...series.flatMap((each) => curve(each, x, y)),
    ...axis(layOut),
    ...xAxis,
  ]);
}

// --------------------------------------------------------------------------------------------------------------- shapes

function bar(value: Value | undefined, left: number, colour: string, y: Scale, bottom: number): readonly string[] {
  const top = y.place(value?.value);
  if (top === undefined) return [];
  const base = y.place(0) ?? bottom;
  const rect = element('rect', {
    x: left + 1,
    y: Math.min(top, base),
    width: BAR_WIDTH - 2,
    height: Math.abs(base - top),
    fill: colour,
  });
  return [rect, ...whisker(value!, left + BAR_WIDTH / 2, y)];
}

function stack(series: BarChart['series'], group: number, middle: number, y: Scale): readonly string[] {
  let sum = 0;
  return series.flatMap(({ colour, values }) => {
    const value = values[group]?.value;
    const from = y.place(sum);
    const to = typeof value === 'number' ? y.place(sum + value) : undefined;
    if (from === undefined || to === undefined || !(to < from)) return [];
    sum += value!;
    return [element('rect', { x: middle - BAR_WIDTH, y: to, width: 2 * BAR_WIDTH, height: from - to, fill: colour })];
  });
}

/** From low to high, with a short end where there is one. */
function whisker({ value, low, high }: Value, x: number, y: Scale): readonly string[] {
  const [from, to] = [y.place(low ?? value), y.place(high ?? value)];
  if (from === undefined || to === undefined || from === to) return [];
  const end = (place: number): string => line(x - 3, place, x + 3, place, COLOURS.black);
  return [
    line(x, from, x, to, COLOURS.black),
    ...(low === undefined || low === null ? [] : [end(from)]),
    ...(high === undefined || high === null ? [] : [end(to)]),
  ];
}

function curve({ colour, dashed, points }: LineChart['series'][number], x: Scale, y: Scale): readonly string[] {
  const places = points.flatMap((point) => {
    const [across, up] = [x.place(point.x), y.place(point.value)];
    return across === undefined || up === undefined ? [] : [{ point, across, up }];
  });
  if (places.length === 0) return [];
  const path = places.map(({ across, up }) => `${across.toFixed(1)},${up.toFixed(1)}`).join(' ');
  const dashes = dashed ? { 'stroke-dasharray': DASHES } : {};
  return [
    element('polyline', { points: path, fill: 'none', stroke: colour, 'stroke-width': 2, ...dashes }),
    ...places.flatMap(({ point, across, up }) => [
      ...whisker(point, across, y),
      element('circle', { cx: across, cy: up, r: 3.5, fill: colour }),
    ]),
  ];
}

function markLines(marks: readonly Mark[], y: Scale, { right }: Plot): readonly string[] {
  return marks.flatMap(({ value, colour }) => {
    const place = y.place(value);
    return place === undefined ? [] : [line(LEFT, place, right, place, colour, { width: 2, dashed: true })];
  });
}

function asDashes({ name, colour }: Mark): LegendEntry {
  return { name, colour, kind: 'dashes' };
}

// -------------------------------------------------------------------------------------------------------------- numbers

/** All that must find room on the axis. */
function ends(values: readonly (Value | undefined)[]): readonly (number | null | undefined)[] {
  return values.flatMap((each) => [each?.value, each?.low, each?.high]);
}

function sumOf(series: BarChart['series'], group: number): number {
  const values = series.map(({ values: own }) => own[group]?.value);
  return values.reduce<number>((sum, value) => (Number.isFinite(value) && value! > 0 ? sum + value! : sum), 0);
}
