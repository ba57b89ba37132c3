/** Suite *event*: the agent beside the bare commands, one chart per backend. */
import type { Summary } from '../statistics.ts';
import { barChart, type Value } from './chart.ts';
import { COLOURS } from './frame.ts';
import { inUnit, type SuiteReport } from './suite-report.ts';

type Times = Pick<Summary, 'median' | 'p99'>;

interface Backend {
  readonly backend: string;
  readonly events: readonly { readonly name: string; readonly agent: Times; readonly bare: Times }[];
}

type Data = readonly Backend[];

export const eventReport: SuiteReport<Data> = {
  reduce: ({ raw }) =>
    (raw as { readonly backends: Data }).backends.map(({ backend, events }) => ({
      backend,
      events: events.map(({ name, agent, bare }) => ({ name, agent: timesOf(agent), bare: timesOf(bare) })),
    })),
  plots: (data) =>
    data.map((each) => ({
      name: `event-${each.backend}`,
      alt: `From the watch line to the commit per kind of event, agent and bare commands, ${each.backend}`,
      svg: chart(each),
    })),
};

function timesOf({ median, p99 }: Times): Times {
  return { median, p99 };
}

function chart({ backend, events }: Backend): string {
  const value = ({ median, p99 }: Times): Value => ({ value: inUnit(median, 'ms'), high: inUnit(p99, 'ms') });
  return barChart({
    title: `From the watch line to the commit, ${backend}`,
    subtitle: 'An idle agent. Bars: median; black lines: up to the 99th percentile.',
    xLabel: 'event',
    yLabel: 'time, ms (logarithmic)',
    yScale: 'log',
    groups: events.map(({ name }) => name.replaceAll(' ', '\n')),
    series: [
      { name: 'agent', colour: COLOURS.blue, values: events.map(({ agent }) => value(agent)) },
      { name: 'the same commands, bare', colour: COLOURS.orange, values: events.map(({ bare }) => value(bare)) },
    ],
  });
}
