/** Suite *packet*: 150 KB of samples -> medians and quartiles; ratios and the first packet per cluster. */
import type { Measured } from '../packet/measure.ts';
import { shapeText } from '../packet/shapes.ts';
import { ratios, type ShapeResult } from '../packet/tables.ts';
import { summarise } from '../statistics.ts';
import { barChart, type Mark, type Value } from './chart.ts';
import { COLOURS } from './frame.ts';
import { limitOf } from './quantities.ts';
import { type Middle, middleOf, type SuiteReport } from './suite-report.ts';

interface Variant {
  readonly name: string;
  readonly roundTrip: Middle;
  readonly connections: Middle;
  readonly extraNs: Middle;
}

interface Data {
  readonly roundTripLimit: number | undefined;
  readonly connectionsLimit: number | undefined;
  readonly clusters: readonly { readonly cluster: string; readonly variants: readonly Variant[] }[];
}

const SERIES = [
  { name: 'ours, iptables-nft', colour: COLOURS.blue },
  { name: 'ours, iptables-legacy', colour: COLOURS.sky },
  { name: 'linear, iptables-nft', colour: COLOURS.red },
  { name: 'linear, iptables-legacy', colour: COLOURS.orange },
];
const HALF = 'Bars: median of the rounds; black lines: between what half of them lie.';

export const packetReport: SuiteReport<Data> = {
  reduce: (result) => ({
    roundTripLimit: limitOf(result, /^round trip/),
    connectionsLimit: limitOf(result, /^new connections/),
    clusters: (result.raw as { readonly results: readonly ShapeResult[] }).results.map(({ shape, variants }) => ({
      cluster: shapeText(shape),
      variants: variants.filter(({ rules }) => rules !== 'none').map((variant) => reduceVariant(variant, variants)),
    })),
  }),
  plots: (data) => [
    {
      name: 'packet-connections',
      alt: 'New connections per second against no rules, per cluster',
      svg: ratioChart(
        data,
        'New connections against no rules',
        'connections per second, ratio (more is better)',
        ({ connections }) => connections,
        data.connectionsLimit,
      ),
    },
    {
      name: 'packet-round-trip',
      alt: 'Round trip of a live flow against no rules, per cluster',
      svg: ratioChart(
        data,
        'Round trip of a live flow against no rules',
        'time, ratio (less is better)',
        ({ roundTrip }) => roundTrip,
        data.roundTripLimit,
      ),
    },
    {
      name: 'packet-first',
      alt: 'Extra time of the first packet of a flow, per cluster',
      svg: barChart({
        title: 'What rules add to the first packet of a flow',
        subtitle: HALF,
        xLabel: 'cluster: pods of the node, classes x policies per pod, peers per policy',
        yLabel: 'extra time, ns (logarithmic)',
        yScale: 'log',
        groups: groupsOf(data),
        series: seriesOf(data, ({ extraNs }) => extraNs),
      }),
    },
  ],
};

function reduceVariant(variant: Measured, variants: readonly Measured[]): Variant {
  const middle = (samples: readonly number[]): Middle => middleOf(summarise(samples));
  const rates = ratios(variant, variants, 'new');
  return {
    name: variant.backend === undefined ? variant.rules : `${variant.rules}, ${variant.backend}`,
    roundTrip: middle(ratios(variant, variants, 'rr')),
    connections: middle(ratios(variant, variants, 'crr')),
    // The rate is what a packet takes without rules by what it takes with them.
    extraNs: middle(variant.samples.new.map((ns, round) => ns * (1 - rates[round]!))),
  };
}

function ratioChart(
  data: Data,
  title: string,
  yLabel: string,
  pick: (variant: Variant) => Middle,
  limit: number | undefined,
): string {
  const marks: Mark[] = [{ name: 'no rules', value: 1, colour: COLOURS.grey }];
  if (typeof limit === 'number')
    marks.push({ name: `target (for one of the clusters): ${limit}`, value: limit, colour: COLOURS.green });
  return barChart({
    title,
    subtitle: HALF,
    xLabel: 'cluster: pods of the node, classes x policies per pod, peers per policy',
    yLabel,
    yScale: 'linear',
    groups: groupsOf(data),
    series: seriesOf(data, pick),
    marks,
  });
}

function groupsOf({ clusters }: Data): readonly string[] {
  return clusters.map(({ cluster }) => cluster.replaceAll(', ', '\n'));
}

function seriesOf({ clusters }: Data, pick: (variant: Variant) => Middle) {
  return SERIES.map(({ name, colour }) => ({
    name,
    colour,
    values: clusters.map(({ variants }): Value | undefined => {
      const variant = variants.find((each) => each.name === name);
      if (!variant) return undefined;
      const { median, quartiles } = pick(variant);
      return { value: median, low: quartiles[0], high: quartiles[1] };
    }),
  }));
}
