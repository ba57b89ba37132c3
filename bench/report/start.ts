/** Suite *start*: the agent's start beside the least that could be done with the same bytes. */
import type { Summary } from '../statistics.ts';
import { barChart } from './chart.ts';
import { COLOURS } from './frame.ts';
import { limitOf } from './quantities.ts';
import { inUnit, type Middle, middleOf, type SuiteReport } from './suite-report.ts';

const SIDES = {
  file: 'from a file,\nJSON.parse',
  tls: 'over TLS,\nJSON.parse',
  cold: 'agent,\ncold start',
  restart: 'agent,\nrestart',
};
type SideName = keyof typeof SIDES;
const NAMES = Object.keys(SIDES) as SideName[];

interface Data {
  /** Times the side `file`. */
  readonly coldLimit: number | undefined;
  readonly seconds: Readonly<Record<SideName, Middle>>;
}

export const startReport: SuiteReport<Data> = {
  reduce: (result) => {
    const { summaries } = result.raw as { readonly summaries: Readonly<Record<SideName, Summary>> };
    const [file, tls, cold, restart] = NAMES.map((name) => middleOf(summaries[name]));
    return {
      coldLimit: limitOf(result, /^cold start/),
      seconds: { file: file!, tls: tls!, cold: cold!, restart: restart! },
    };
  },
  plots: (data) => [
    { name: 'start', alt: 'Time to the first commit beside reading and parsing the same bytes', svg: chart(data) },
  ],
};

function chart({ seconds, coldLimit }: Data): string {
  const marks =
    typeof coldLimit !== 'number'
      ? []
      : [
          {
            name: `target for a cold start: ${coldLimit} x the file`,
            value: (inUnit(seconds.file.median, 's') ?? Number.NaN) * coldLimit,
            colour: COLOURS.green,
          },
        ];
  return barChart({
    title: 'From the start of the process',
    subtitle: 'Bars: median of the runs; black lines: between what half of them lie.',
    xLabel: 'until the same objects are parsed; until the first pass is done',
    yLabel: 'time, s',
    yScale: 'linear',
    groups: NAMES.map((name) => SIDES[name]),
    series: [
      {
        name: 'time',
        colour: COLOURS.blue,
        values: NAMES.map((name) => {
          const { median, quartiles } = seconds[name];
          return { value: inUnit(median, 's'), low: inUnit(quartiles[0], 's'), high: inUnit(quartiles[1], 's') };
        }),
      },
    ],
    marks,
  });
}
