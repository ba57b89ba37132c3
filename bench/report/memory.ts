/** Suite *memory*: resident memory against the size of the cluster, with what was promised. */
import { median } from '../statistics.ts';
import { lineChart } from './chart.ts';
import { COLOURS } from './frame.ts';
import { limitOf } from './quantities.ts';
import type { SuiteReport } from './suite-report.ts';

interface Run {
  /** MB. */
  readonly steady: number;
  readonly peak: number;
}

interface Raw {
  readonly pods: number;
  readonly agents: readonly { readonly runs: readonly Run[] }[];
  readonly informer: readonly Run[];
}

interface Size {
  readonly pods: number;
  /** Medians. */
  readonly agent: Run;
  readonly informer: Run;
  readonly limit: number | undefined;
}

export const memoryReport: SuiteReport<readonly Size[]> = {
  reduce: (result) =>
    (result.raw as readonly Raw[]).map(({ pods, agents, informer }) => ({
      pods,
      agent: middleRun(agents[0]!.runs),
      informer: middleRun(informer),
      limit: limitOf(result, new RegExp(`^peak RSS, ${pods.toLocaleString('en-US')} pods`)),
    })),
  plots: (sizes) => [
    {
      name: 'memory',
      alt: 'Resident memory against pods of the cluster, agent and informer, with the targets',
      svg: chart(sizes),
    },
  ],
};

function middleRun(runs: readonly Run[]): Run {
  return { steady: median(runs.map(({ steady }) => steady)), peak: median(runs.map(({ peak }) => peak)) };
}

function chart(sizes: readonly Size[]): string {
  const line = (pick: (size: Size) => number | undefined) => sizes.map((size) => ({ x: size.pods, value: pick(size) }));
  return lineChart({
    title: 'Resident memory of the process',
    subtitle: 'Medians; the agent holds namespaces and policies besides, the informer pods alone.',
    xLabel: 'pods in the cluster (logarithmic)',
    yLabel: 'RSS, MB (logarithmic)',
    xScale: 'log',
    yScale: 'log',
    series: [
      { name: 'informer: peak', colour: COLOURS.red, points: line(({ informer }) => informer.peak) },
      {
        name: 'informer: steady',
        colour: COLOURS.orange,
        dashed: true,
        points: line(({ informer }) => informer.steady),
      },
      { name: 'agent: peak', colour: COLOURS.blue, points: line(({ agent }) => agent.peak) },
      { name: 'agent: steady', colour: COLOURS.sky, dashed: true, points: line(({ agent }) => agent.steady) },
      { name: 'target for the peak', colour: COLOURS.green, dashed: true, points: line(({ limit }) => limit) },
    ],
  });
}
