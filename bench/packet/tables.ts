/** Samples -> ratios against no rules, round by round. */
import { summarise } from '../statistics.ts';
import { targetsTable } from '../targets.ts';
import type { Table } from '../types.ts';
import { ORDERED_RULES } from './cluster.ts';
import type { Measured, Traffic } from './measure.ts';
import { MANY_PODS, MANY_POLICIES, type Shape, shapeText } from './shapes.ts';

export interface ShapeResult {
  readonly shape: Shape;
  readonly variants: readonly Measured[];
}

const COLUMNS: readonly (readonly [Traffic, string])[] = [
  ['rr', 'round trip'],
  ['udp', 'UDP requests'],
  ['bulk', 'bulk TCP'],
  ['crr', 'connections'],
  ['dns', 'UDP new flows'],
];

export function packetTables(results: readonly ShapeResult[]): readonly Table[] {
  return [...targets(results), ...results.map(ratioTable), costTable(results)];
}

function ratioTable({ shape, variants }: ShapeResult): Table {
  const measured = COLUMNS.filter(([traffic]) => isMeasured(variants, traffic));
  return {
    title: shapeText(shape),
    note:
      'Against no rules in the same round: median, and between what half of the rounds lie. Round trip: time, less is better; ' +
      'all others: rate, more is better. "none again" is noise.',
    columns: ['rules', ...measured.map(([, title]) => title)],
    rows: variants
      .filter(({ rules }) => rules !== 'none')
      .map((variant) => [
        nameOf(variant),
        ...measured.map(([traffic]) => ratioText(ratios(variant, variants, traffic))),
      ]),
  };
}

/** Extra time of a packet that is the first of its flow: the rules alone, without what a connection costs besides. */
function costTable(results: readonly ShapeResult[]): Table {
  return {
    title: 'extra time of the first packet of a flow, and the size of the rules',
    note: 'Nanoseconds more than without rules: median of the rounds, and between what half of them lie.',
    columns: ['cluster', 'rules', 'extra ns', 'half of them', 'rules loaded', 'load, s'],
    rows: results.flatMap(({ shape, variants }) =>
      variants
        .filter(({ rules }) => rules !== 'none')
        .map((variant) => {
          const { median, quartiles } = summarise(differences(variant, variants));
          const [low, high] = quartiles.map((value) => Math.round(value));
          return [
            shapeText(shape),
            nameOf(variant),
            Math.round(median),
            `${low}..${high}`,
            variant.ruleCount,
            variant.loadSeconds.toFixed(2),
          ];
        }),
    ),
  };
}

/** Each against the rules without a log rule, in the same round. */
export function denialTable(shape: Shape, variants: readonly Measured[]): Table {
  return {
    title: `a denied packet; ${shapeText(shape)}`,
    note: 'Nanoseconds to send a datagram that is dropped, and how many more than where nothing logs it: median of the rounds, and between what half of them lie. "again" is noise.',
    columns: ['rules', 'ns', 'extra ns', 'half of them'],
    rows: variants.map((variant) => {
      const { denied } = variants.find(({ rules, backend }) => {
        return backend === variant.backend && rules === 'ours, not logged';
      })!.samples;
      const own = variant.samples.denied;
      const { median, quartiles } = summarise(own.map((ns, round) => ns - denied[round]!));
      const half = quartiles.map((value) => Math.round(value)).join('..');
      return [nameOf(variant), Math.round(summarise(own).median), Math.round(median), half];
    }),
  };
}

/** How much longer something may take under ordered rules: of a flow that is there already no packet meets one, so that what differs is noise. */
const TIER_LIMITS = [
  ['crr', 1.1, 'new connections'],
  ['rr', 1.05, 'round trip of an established flow'],
] as const;

/** Each against the mean of both sides without ordered rules of the same backend, in the same round. */
export function tierTables(shape: Shape, variants: readonly Measured[]): readonly Table[] {
  const timesOf = (variant: Measured, traffic: Traffic): readonly number[] => {
    const others = variants.filter(({ backend, rules }) => {
      const isBase = rules === 'ours' || rules === 'ours, again';
      return backend === variant.backend && isBase && rules !== variant.rules;
    });
    const own = variant.samples[traffic];
    return own.map(
      (ns, round) => ns / (others.reduce((sum, { samples }) => sum + samples[traffic][round]!, 0) / others.length),
    );
  };
  const title = `${ORDERED_RULES} ordered rules of tier Admin in each direction; ${shapeText(shape)}`;
  const tiered = variants.filter(({ rules }) => rules === 'ours, with tiers');
  return [
    {
      title,
      note: 'Time against the same cluster without them in the same round: median, and between what half of the rounds lie. "again" is noise.',
      columns: ['rules', 'round trip', 'bulk TCP', 'connections', 'first packet'],
      rows: variants
        .filter(({ rules }) => rules !== 'ours')
        .map((variant) => [
          nameOf(variant),
          ...(['rr', 'bulk', 'crr', 'new'] as const).map((traffic) => ratioText(timesOf(variant, traffic))),
        ]),
    },
    targetsTable(
      tiered.flatMap((variant) =>
        TIER_LIMITS.map(([traffic, limit, what]) => ({
          what: `${what} under ${ORDERED_RULES} ordered rules; ${variant.backend}`,
          measured: summarise(timesOf(variant, traffic)).median,
          limit,
          kind: 'at-most',
          unit: 'x',
        })),
      ),
    ),
  ];
}

const ROUND_TRIP = 'round trip of an established flow';

/** `limits`: of iptables, of nftables. */
function targets(results: readonly ShapeResult[]): readonly Table[] {
  const wanted = [
    { shape: MANY_POLICIES, traffic: 'rr', limits: [1.05, 1 / 0.995], kind: 'at-most', what: ROUND_TRIP },
    { shape: MANY_POLICIES, traffic: 'bulk', limits: [0.97, 0.97], kind: 'at-least', what: 'bulk TCP' },
    { shape: MANY_PODS, traffic: 'crr', limits: [0.95, 0.98], kind: 'at-least', what: 'new connections' },
  ] as const;
  const rows = wanted.flatMap(({ shape, traffic, limits: [iptables, nftables], kind, what }) =>
    results
      .filter((result) => shapeText(result.shape) === shapeText(shape))
      .flatMap(({ variants }) =>
        variants
          .filter(({ rules }) => rules === 'ours')
          .map((variant) => ({
            what: `${what}; ${shapeText(shape)}; ${variant.backend}`,
            measured: summarise(ratios(variant, variants, traffic)).median,
            limit: variant.backend === 'nftables' ? nftables : iptables,
            kind,
            unit: 'x',
          })),
      ),
  );
  return rows.length > 0 ? [targetsTable(rows)] : [];
}

function nameOf({ rules, backend }: Measured): string {
  return backend === undefined ? rules : `${rules}, ${backend}`;
}

/** Not every kind of traffic is measured in every cluster. */
export function isMeasured(variants: readonly Measured[], traffic: Traffic): boolean {
  return variants.every(({ samples }) => samples[traffic].length > 0);
}

/** Per round. `rr` as times, the others as rates. Without rules twice: one against the other, anything else against both. */
export function ratios(variant: Measured, variants: readonly Measured[], traffic: Traffic): readonly number[] {
  const base = baseline(variant, variants, traffic);
  const own = variant.samples[traffic];
  return own.map((value, round) => (traffic === 'rr' ? value / base[round]! : base[round]! / value));
}

function differences(variant: Measured, variants: readonly Measured[]): readonly number[] {
  const base = baseline(variant, variants, 'new');
  return variant.samples.new.map((value, round) => value - base[round]!);
}

function baseline(variant: Measured, variants: readonly Measured[], traffic: Traffic): readonly number[] {
  const none = variants.find(({ rules }) => rules === 'none')!.samples[traffic];
  const again = variants.find(({ rules }) => rules === 'none again')!.samples[traffic];
  return variant.rules === 'none again' ? none : none.map((value, round) => (value + again[round]!) / 2);
}

function ratioText(values: readonly number[]): string {
  const { median, quartiles } = summarise(values);
  return `${median.toFixed(3)} (${quartiles.map((value) => value.toFixed(2)).join('..')})`;
}
