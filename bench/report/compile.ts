/** Suite *compile*: where the time of one event goes, and a whole compile, against the size of the cluster. */
import type { Summary } from '../statistics.ts';
import type { SuiteResult } from '../types.ts';
import { barChart, lineChart } from './chart.ts';
import { COLOURS } from './frame.ts';
import { limitOf, readQuantity } from './quantities.ts';
import { inUnit, type Middle, middleOf, type SuiteReport } from './suite-report.ts';

const STAGES = ['follow', 'compile', 'render', 'plan'] as const;
const COLOUR_OF = { follow: COLOURS.green, compile: COLOURS.blue, render: COLOURS.sky, plan: COLOURS.orange };

interface StageTimes {
  readonly cluster: string;
  readonly event: string;
  /** Seconds, medians; in the order of `STAGES`. */
  readonly stages: readonly (number | undefined)[];
}

interface Data {
  readonly eventLimit: number | undefined;
  readonly full: readonly { readonly pods: number; readonly seconds: Middle }[];
  readonly stages: readonly StageTimes[];
}

export const compileReport: SuiteReport<Data> = {
  reduce: (result) => ({
    eventLimit: limitOf(result, /^remote pod event/),
    full: (result.raw as readonly { readonly pods: number; readonly fullSeconds: Summary }[]).map(
      ({ pods, fullSeconds }) => ({ pods, seconds: middleOf(fullSeconds) }),
    ),
    stages: readStages(result),
  }),
  plots: (data) => [
    {
      name: 'compile-event',
      alt: 'CPU per event of a pod on another node, by stage, for three sizes of cluster',
      svg: eventChart(data),
    },
    { name: 'compile-full', alt: 'CPU of a whole compile against pods of the cluster', svg: fullChart(data) },
  ],
};

/** Medians by stage are in the table alone. */
function readStages({ tables }: SuiteResult): readonly StageTimes[] {
  const table = tables.find(({ columns }) => STAGES.every((stage) => columns.includes(stage)));
  if (!table) return [];
  const places = STAGES.map((stage) => table.columns.indexOf(stage));
  const event = table.columns.indexOf('event');
  return table.rows.map((row) => ({
    cluster: String(row[0]),
    event: String(row[event]),
    stages: places.map((place) => readQuantity(row[place])),
  }));
}

function eventChart({ stages, eventLimit }: Data): string {
  const events = [...new Set(stages.map(({ event }) => event))];
  const ordered = events.flatMap((name) => stages.filter(({ event }) => event === name));
  return barChart({
    title: 'One event of a pod on another node, by stage',
    subtitle: 'CPU of events that change what this node enforces: the medians of the stages on top of each other.',
    xLabel: 'event, pods in the cluster',
    yLabel: 'CPU, µs',
    yScale: 'linear',
    groups: ordered.map(({ cluster, event }) => `${event}\n${cluster.split(', ')[0]}`),
    series: STAGES.map((stage, index) => ({
      name: stage,
      colour: COLOUR_OF[stage],
      values: ordered.map((each) => ({ value: inUnit(each.stages[index], 'µs') })),
    })),
    stacked: true,
    marks:
      eventLimit === undefined
        ? []
        : [{ name: 'target for the median of all three', value: inUnit(eventLimit, 'µs'), colour: COLOURS.black }],
  });
}

function fullChart({ full }: Data): string {
  return lineChart({
    title: 'A whole compile, as at start',
    subtitle: 'From records to plan. Dots: median; black lines: between what half of the rounds lie.',
    xLabel: 'pods in the cluster (logarithmic)',
    yLabel: 'CPU, ms (logarithmic)',
    xScale: 'log',
    yScale: 'log',
    series: [
      {
        name: 'whole compile',
        colour: COLOURS.blue,
        points: full.map(({ pods, seconds: { median, quartiles } }) => ({
          x: pods,
          value: inUnit(median, 'ms'),
          low: inUnit(quartiles[0], 'ms'),
          high: inUnit(quartiles[1], 'ms'),
        })),
      },
    ],
  });
}
