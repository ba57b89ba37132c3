/** Suite *packet*: 150 KB of samples -> medians and quartiles; ratios and the first packet per cluster. */
import { MEASURED_BACKENDS, type MeasuredBackend } from '../backends.ts';
import type { Measured } from '../packet/measure.ts';
import { KINDS, type Kind, isOnCurve, shapeText } from '../packet/shapes.ts';
import { type ShapeResult, isMeasured, ratios } from '../packet/tables.ts';
import { summarise } from '../statistics.ts';
import type { SuiteResult } from '../types.ts';
import { type Mark, type Value, barChart, lineChart } from './chart.ts';
import { COLOURS } from './frame.ts';
import { limitOf } from './quantities.ts';
import { type Middle, type Plot, type SuiteReport, middleOf } from './suite-report.ts';

interface Variant {
  readonly name: string;
  readonly roundTrip: Middle;
  readonly connections: Middle;
  readonly extraNs: Middle;
}

interface Data {
  readonly roundTripLimit: number | undefined;
  readonly connectionsLimit: number | undefined;
  /** Where everything was measured. */
  readonly clusters: readonly { readonly cluster: string; readonly variants: readonly Variant[] }[];
  /** Ascending by policies; absent in results from before there was a curve. */
  readonly curve?: readonly CurvePoint[];
}

/** What a first packet costs with so many policies per pod. */
interface CurvePoint {
  readonly policies: number;
  readonly kind: Kind;
  readonly variants: readonly Pick<Variant, 'name' | 'extraNs'>[];
}

const SERIES = [
  { name: 'ours, iptables-nft', colour: COLOURS.blue },
  { name: 'ours, iptables-legacy', colour: COLOURS.sky },
  { name: 'ours, nftables', colour: COLOURS.pink },
  { name: 'linear, iptables-nft', colour: COLOURS.red },
  { name: 'linear, iptables-legacy', colour: COLOURS.orange },
];
const HALF = 'Bars: median of the rounds; black lines: between what half of them lie.';

export const packetReport: SuiteReport<Data> = {
  reduce: (result) => ({
    roundTripLimit: limitOf(result, /^round trip/),
    connectionsLimit: limitOf(result, /^new connections/),
    clusters: resultsOf(result)
      .filter(({ variants }) => isMeasured(variants, 'rr'))
      .map(({ shape, variants }) => ({
        cluster: shapeText(shape),
        variants: variants.filter(({ rules }) => rules !== 'none').map((variant) => reduceVariant(variant, variants)),
      })),
    curve: resultsOf(result)
      .filter(({ shape }) => isOnCurve(shape))
      .toSorted((a, b) => a.shape.policies - b.shape.policies)
      .map(({ shape: { policies, kind = 'same words' }, variants }) => ({
        policies,
        kind,
        variants: variants
          .filter(({ backend }) => backend !== undefined)
          .map((variant) => ({ name: nameOf(variant), extraNs: extraNsOf(variant, variants) })),
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
    ...(data.curve && data.curve.length > 0
      ? MEASURED_BACKENDS.filter((backend) => isOn(data.curve!, backend)).map((backend) =>
          curvePlot(data.curve!, backend),
        )
      : []),
  ],
};

function resultsOf({ raw }: SuiteResult): readonly ShapeResult[] {
  return (raw as { readonly results: readonly ShapeResult[] }).results;
}

function reduceVariant(variant: Measured, variants: readonly Measured[]): Variant {
  const middle = (samples: readonly number[]): Middle => middleOf(summarise(samples));
  return {
    name: nameOf(variant),
    roundTrip: middle(ratios(variant, variants, 'rr')),
    connections: middle(ratios(variant, variants, 'crr')),
    extraNs: extraNsOf(variant, variants),
  };
}

function nameOf({ rules, backend }: Pick<Measured, 'rules' | 'backend'>): string {
  return backend === undefined ? rules : `${rules}, ${backend}`;
}

/** The rate is what a packet takes without rules by what it takes with them. */
function extraNsOf(variant: Measured, variants: readonly Measured[]): Middle {
  const rates = ratios(variant, variants, 'new');
  return middleOf(summarise(variant.samples.new.map((ns, round) => ns * (1 - rates[round]!))));
}

const KIND_COLOURS: Readonly<Record<Kind, string>> = {
  'same words': COLOURS.blue,
  'own words': COLOURS.green,
  'own ports': COLOURS.red,
};

function isOn(curve: readonly CurvePoint[], backend: MeasuredBackend): boolean {
  return curve.some(({ variants }) => variants.some(({ name }) => name === nameOf({ rules: 'ours', backend })));
}

function curvePlot(curve: readonly CurvePoint[], backend: MeasuredBackend): Plot {
  return {
    name: `packet-policies-${backend}`,
    alt: `Extra time of the first packet of a flow against policies per pod, ${backend}`,
    svg: lineChart({
      title: `What a first packet costs with more and more policies, ${backend}`,
      subtitle: 'Of 110 pods in 20 classes. Dots: median of the rounds; black lines: between what half of them lie.',
      xLabel: 'policies per pod (logarithmic)',
      yLabel: 'extra time, ns (logarithmic)',
      xScale: 'log',
      yScale: 'log',
      series: (['ours', 'linear'] as const).flatMap((rules) =>
        KINDS.map((kind) => ({
          name: `${rules}, ${kind}`,
          colour: KIND_COLOURS[kind],
          dashed: rules === 'linear',
          points: curve
            // With one policy there is one kind.
            .filter((point) => point.kind === kind || point.policies === 1)
            .flatMap(({ policies, variants }) =>
              variants
                .filter(({ name }) => name === nameOf({ rules, backend }))
                .map(({ extraNs: { median, quartiles } }) => ({
                  x: policies,
                  value: median,
                  low: quartiles[0],
                  high: quartiles[1],
                })),
            ),
        })),
      ),
    }),
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
