import assert from 'node:assert/strict';
import fc from 'fast-check';
import { type BarChart, barChart, type LineChart, lineChart, type Value } from '../../bench/report/chart.ts';
import { COLOURS } from '../../bench/report/frame.ts';
import { makeScale } from '../../bench/report/scale.ts';
import { element } from '../../bench/report/svg.ts';
import { readElements } from './xml.ts';

const TEXT = { title: 'a < b & "c"', subtitle: 'what > it', xLabel: 'pods', yLabel: 'time, µs' };
const ODD = [0, -1, 1e-9, 3, 1e12, null, undefined, Number.NaN, Number.POSITIVE_INFINITY];

function bars(values: readonly (Value | undefined)[], rest: Partial<BarChart> = {}): string {
  const groups = values.map((_, index) => `group\n${index}`);
  const series = [{ name: 'ours & theirs', colour: COLOURS.blue, values }];
  return barChart({ ...TEXT, yScale: 'linear', groups, series, ...rest });
}

function curve(points: LineChart['series'][number]['points'], rest: Partial<LineChart> = {}): string {
  return lineChart({
    ...TEXT,
    xScale: 'log',
    yScale: 'log',
    series: [{ name: 'ours', colour: COLOURS.blue, points }],
    ...rest,
  });
}

function assertDrawn(svg: string): void {
  assert.equal(readElements(svg)[0], 'svg');
  assert.doesNotMatch(svg, /NaN|undefined|null|Infinity/);
}

/** Of the bars in the first colour; the squares of the legend are narrower. */
function heights(svg: string): readonly number[] {
  const rects = svg.matchAll(/width="(\d+)" height="([^"]*)" fill="([^"]*)"/g);
  return [...rects]
    .filter(([, width, , fill]) => Number(width) > 12 && fill === COLOURS.blue)
    .map(([, , height]) => Number(height));
}

describe('bench/report charts', () => {
  it('the reader of the tests refuses what is not well formed', () => {
    for (const text of ['<a>', '<a></b>', '<a b="1" b="2"/>', '<a/><b/>', '<a>&</a>', '<a b=1/>', '<a><'])
      assert.throws(() => readElements(text), text);
  });

  it('whatever the values, a chart is well formed and holds no word in the place of a number', () => {
    const number = fc.oneof(fc.constantFrom(...ODD), fc.double({ min: -1e15, max: 1e15 }));
    const value = fc.record({ x: number, value: number, low: number, high: number });
    const scale = fc.constantFrom('linear' as const, 'log' as const);
    fc.assert(
      fc.property(fc.array(value, { maxLength: 6 }), scale, scale, fc.boolean(), number, (all, y, x, stacked, mark) => {
        const marks = [{ name: 'target', value: mark, colour: COLOURS.green }];
        assertDrawn(bars(all, { yScale: y, stacked, marks }));
        assertDrawn(curve(all, { yScale: y, xScale: x, marks }));
      }),
      { numRuns: 60 },
    );
  });

  it('no series, no group, no point', () => {
    assertDrawn(bars([]));
    assertDrawn(bars([undefined, undefined], { yScale: 'log' }));
    assertDrawn(bars([], { series: [], groups: ['alone'] }));
    assertDrawn(curve([]));
    assertDrawn(curve([], { series: [] }));
  });

  it('a bar is as high as its value, a missing one is not drawn, 0 has no height', () => {
    assert.deepEqual(
      heights(bars([{ value: 100 }, undefined, { value: 50 }, { value: null }, { value: 0 }])),
      [260, 130, 0],
    );
  });

  it('the least value on a logarithmic axis can be seen', () => {
    const [least, most] = heights(bars([{ value: 1 }, { value: 1000 }], { yScale: 'log' }));
    assert.ok(least! > 10, `${least}`);
    assert.equal(most, 260);
  });

  it('a stack is as high as the sum of its parts', () => {
    const values = [{ value: 30 }];
    const series = [COLOURS.red, COLOURS.blue, COLOURS.blue].map((colour) => ({ name: 'part', colour, values }));
    const drawn = bars(values, { series: [...series, { ...series[0]!, values: [{ value: 10 }] }], stacked: true });
    assert.deepEqual(heights(drawn), [78, 78]);
  });

  it('one point is a dot', () => {
    const svg = curve([{ x: 1000, value: 5, low: 4, high: 6 }]);
    assert.equal(readElements(svg).filter((name) => name === 'circle').length, 1);
    assertDrawn(svg);
  });

  it('the ground is white, and what the chart shows is said in words', () => {
    const svg = bars([{ value: 1 }]);
    assert.match(svg, /<rect x="0" y="0" [^>]*fill="#ffffff"\/>/);
    assert.match(svg, /<title>a &lt; b &amp; &quot;c&quot;<\/title>/);
    for (const text of ['ours &amp; theirs', 'pods', 'time, µs', 'group', '0'])
      assert.ok(svg.includes(`>${text}</text>`));
  });

  it('the same numbers give the same text', () => {
    assert.equal(bars([{ value: 1 / 3, low: 0.1, high: 2 / 3 }]), bars([{ value: 1 / 3, low: 0.1, high: 2 / 3 }]));
  });

  it('a coordinate that is no number is refused', () => {
    assert.throws(() => element('rect', { x: Number.NaN }), /x of <rect> is NaN/);
  });
});

describe('bench/report scales', () => {
  it('a linear axis begins at 0 and ends at a round number', () => {
    assert.deepEqual(makeScale('linear', [0.3, 0.95], [0, 1]).ticks, [0, 0.2, 0.4, 0.6, 0.8, 1]);
    assert.deepEqual(makeScale('linear', [-3, 8], [0, 1]).ticks, [-4, -2, 0, 2, 4, 6, 8]);
    assert.deepEqual(makeScale('linear', [], [0, 1]).place(0), 0);
  });

  it('a logarithmic axis goes by 1, 2, 5, and by powers of ten if that were too many', () => {
    assert.deepEqual(makeScale('log', [3, 40], [0, 1]).ticks, [2, 5, 10, 20, 50]);
    assert.deepEqual(makeScale('log', [1.5, 90_000], [0, 1]).ticks, [1, 10, 100, 1_000, 10_000, 100_000]);
  });

  it('each tick has its place, also where the values are as small or great as an axis takes', () => {
    for (const value of [1.0000000000000001e-100, 9.9e99]) {
      const { ticks, place } = makeScale('log', [value], [0, 1]);
      assert.deepEqual(
        ticks.filter((tick) => place(tick) === undefined),
        [],
        `${value}`,
      );
    }
  });

  it('a logarithmic axis has no place for 0 and below', () => {
    const { place } = makeScale('log', [0, 1, 100], [0, 300]);
    assert.equal(place(0), undefined);
    assert.equal(place(-1), undefined);
    assert.equal(place(100), 300);
  });
});
