/** Suite *cidr*: a longest-prefix match against the number of prefixes. */
import type { Summary } from '../statistics.ts';
import { lineChart } from './chart.ts';
import { COLOURS } from './frame.ts';
import { limitOf } from './quantities.ts';
import { inUnit, type Middle, middleOf, type SuiteReport } from './suite-report.ts';

interface Case {
  readonly shape: string;
  readonly family: number;
  readonly count: number;
}

interface Data {
  readonly lookupLimit: number | undefined;
  readonly matches: readonly (Case & { readonly trie: Middle; readonly index: Middle })[];
}

interface Raw {
  readonly measured: readonly (Case & {
    readonly seconds: { readonly lookup: Summary; readonly match: Summary };
  })[];
}

const LINES = [
  { shape: 'random', family: 4, colour: COLOURS.blue },
  { shape: 'random', family: 6, colour: COLOURS.sky },
  { shape: 'blocklist', family: 4, colour: COLOURS.red },
  { shape: 'blocklist', family: 6, colour: COLOURS.orange },
];

export const cidrReport: SuiteReport<Data> = {
  reduce: (result) => ({
    lookupLimit: limitOf(result, /^longest-prefix match/),
    matches: (result.raw as Raw).measured.map(({ shape, family, count, seconds }) => ({
      shape,
      family,
      count,
      trie: middleOf(seconds.lookup),
      index: middleOf(seconds.match),
    })),
  }),
  plots: (data) => [
    { name: 'cidr-match', alt: 'Time of one longest-prefix match against the number of prefixes', svg: chart(data) },
  ],
};

function chart({ matches, lookupLimit }: Data): string {
  const line = (side: 'trie' | 'index', { shape, family, colour }: (typeof LINES)[number]) => ({
    name: `${side}: ${shape}, IPv${family}`,
    colour,
    dashed: side === 'trie',
    points: matches
      .filter((each) => each.shape === shape && each.family === family)
      .map((each) => {
        const { median, quartiles } = each[side];
        return {
          x: each.count,
          value: inUnit(median, 'ns'),
          low: inUnit(quartiles[0], 'ns'),
          high: inUnit(quartiles[1], 'ns'),
        };
      }),
  });
  return lineChart({
    title: 'One longest-prefix match',
    subtitle: 'Dots: median; black lines: between what half of the rounds lie.',
    xLabel: 'prefixes (logarithmic)',
    yLabel: 'time, ns (logarithmic)',
    xScale: 'log',
    yScale: 'log',
    series: (['trie', 'index'] as const).flatMap((side) => LINES.map((each) => line(side, each))),
    marks:
      lookupLimit === undefined
        ? []
        : [{ name: 'target at 100,000', value: inUnit(lookupLimit, 'ns'), colour: COLOURS.green }],
  });
}
