import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { renderPage } from '../../bench/report/page.ts';
import { limitOf, readQuantity } from '../../bench/report/quantities.ts';
import { plotsOf, type Reduced, reduce } from '../../bench/report/reduced.ts';
import { writeReport } from '../../bench/report/write-report.ts';
import { PLOT_DATA } from './plot-data.ts';
import { targetsTable } from '../../bench/targets.ts';
import type { SuiteResult, Table } from '../../bench/types.ts';
import { readElements } from './xml.ts';

const MACHINE = { cpu: 'a CPU', cores: 2, memoryGiB: 4, kernel: '6.1', node: 'v24.0.0', startedAt: 1 };
const TABLE: Table = { title: 'what', note: 'A note.', columns: ['row', 'time'], rows: [['first', '1.00 ms']] };
const SUITES_WITH_PLOTS = Object.keys(PLOT_DATA);

function reduced(suite: string, tables: readonly Table[] = [TABLE]): Reduced {
  return { suite, machine: MACHINE, tables };
}

/** Copies of `data`: as it is, with odd numbers, with one element of each list. */
function variations(data: unknown): readonly unknown[] {
  const changed = (change: (value: unknown) => unknown): unknown =>
    JSON.parse(JSON.stringify(data), (_, value: unknown) => change(value));
  const numbers = [0, 1, -1, null];
  return [
    data,
    ...numbers.map((odd) => changed((value) => (typeof value === 'number' ? odd : value))),
    changed((value) => (Array.isArray(value) ? value.slice(0, 1) : value)),
    changed((value) => (Array.isArray(value) && typeof value[0] === 'object' ? [] : value)),
  ];
}

/** One side of suite packet, the same samples for each kind of traffic but for those left out. */
function variant(rules: string, values: readonly number[], backend?: string, without: readonly string[] = []): object {
  const samples = { rr: values, udp: values, bulk: values, crr: values, dns: values, new: values };
  return {
    rules,
    ...(backend === undefined ? {} : { backend }),
    ruleCount: 1,
    loadSeconds: 1,
    samples: { ...samples, ...Object.fromEntries(without.map((traffic) => [traffic, []])) },
  };
}

function rounded(value: unknown): unknown {
  const shorten = (_: string, each: unknown): unknown =>
    typeof each === 'number' ? Number(each.toPrecision(5)) : each;
  return JSON.parse(JSON.stringify(value, shorten));
}

describe('bench/report plots', () => {
  it('are well formed with usual numbers, and with odd, few or no ones in their place', () => {
    for (const suite of SUITES_WITH_PLOTS) {
      assert.ok(plotsOf({ ...reduced(suite), data: PLOT_DATA[suite] }).length > 0, suite);
      for (const data of variations(PLOT_DATA[suite])) {
        for (const { name, svg } of plotsOf({ ...reduced(suite), data })) {
          assert.equal(readElements(svg)[0], 'svg', name);
          assert.doesNotMatch(svg, /NaN|undefined|null|Infinity/, name);
        }
      }
    }
  });
});

describe('bench/report page', () => {
  it('has machine, plots and tables of each suite', () => {
    assert.equal(
      renderPage([reduced('other')]),
      `# Measured

## Suite other

*Measured on: a CPU, 2 cores, 4 GiB, Linux 6.1, Node.js v24.0.0.*

**what.** A note.

| row | time |
|---|---:|
| first | 1.00 ms |
`,
    );
    const withPlot = renderPage([{ ...reduced('start'), data: PLOT_DATA.start }]);
    assert.match(withPlot, /\n!\[Time to the first commit[^\]]*\]\(start\.svg\)\n/);
  });

  it('targets of all suites are one table, and not repeated', () => {
    const targets = targetsTable([{ what: 'speed', measured: 2, limit: 1, kind: 'at-most', unit: 's' }]);
    const page = renderPage([reduced('other', [targets, TABLE])]);
    assert.match(
      page,
      /## Targets\n\n\| what .*\n.*\n\| other: speed \| 2\.00 s \| <= 1\.00 s \| NO \|\n\n## Suite other/,
    );
    assert.equal(page.split('speed').length, 2);
  });

  it('a note that the table above has is not said again', () => {
    const page = renderPage([reduced('other', [TABLE, { ...TABLE, title: 'more' }])]);
    assert.equal(page.split('A note.').length, 2);
  });
});

describe('bench/report files', () => {
  let folder: string;
  const path = (...names: readonly string[]): string => join(folder, ...names);
  const put = (name: string, value: unknown): void => writeFileSync(path('results', name), JSON.stringify(value));
  const write = (...suites: readonly string[]): readonly string[] =>
    writeReport(path('results'), path('report'), suites);

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-report-'));
    mkdirSync(path('results'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it('all results become one page, in the order of the suites, with the plots beside it', () => {
    put('weather.json', { ...reduced('weather'), raw: {} });
    put('packet.json', { ...reduced('packet'), raw: { results: [] } });
    put('event.json', { ...reduced('event'), raw: { backends: PLOT_DATA.event } });
    assert.deepEqual(write(), ['event', 'packet', 'weather']);
    const page = readFileSync(path('report/report.md'), 'utf8');
    assert.deepEqual(page.match(/^## Suite .*/gm), ['## Suite event', '## Suite packet', '## Suite weather']);
    const shown = [...page.matchAll(/\]\((.*)\)/g)].map(([, file]) => file);
    assert.deepEqual(new Set(readdirSync(path('report'))), new Set([...shown, 'report.md']));
  });

  it('only the suites asked for are shown, and nothing of an earlier report stays', () => {
    put('weather.json', { ...reduced('weather'), raw: {} });
    put('tides.json', { ...reduced('tides'), raw: {} });
    mkdirSync(path('report'));
    writeFileSync(path('report/old.svg'), '<svg/>');
    assert.deepEqual(write('tides'), ['tides']);
    assert.deepEqual(readdirSync(path('report')), ['report.md']);
  });

  it('samples of suite packet become ratios against both sides without rules, and nanoseconds more than these', () => {
    const variants = [
      variant('none', [90, 90]),
      variant('none again', [110, 110]),
      variant('ours', [125, 200], 'iptables-nft'),
    ];
    const raw = { results: [{ shape: { pods: 1, classes: 1, policies: 1, peers: 1 }, variants }] };
    const { data } = reduce({ ...reduced('packet'), raw }) as {
      readonly data: { readonly clusters: readonly { readonly variants: readonly unknown[] }[] };
    };
    assert.deepEqual(rounded(data.clusters[0]!.variants[1]), {
      name: 'ours, iptables-nft',
      roundTrip: { median: 1.25, quartiles: [1.25, 2] },
      connections: { median: 0.5, quartiles: [0.5, 0.8] },
      extraNs: { median: 25, quartiles: [25, 100] },
    });
  });

  it('more and more policies become curves, and no bars where nothing but what begins was measured', () => {
    const result = (policies: number, extra: number, rest: object, without: readonly string[]): object => ({
      shape: { pods: 110, classes: 20, policies, peers: 200, ...rest },
      variants: [
        variant('none', [100], undefined, without),
        variant('none again', [100], undefined, without),
        variant('ours', [100 + extra], 'iptables-nft', without),
        ...(policies === 1 ? [variant('ours', [100 + extra], 'nftables', without)] : []),
      ],
    });
    const onlyNew = ['rr', 'udp', 'bulk', 'dns'];
    const results = [
      result(100, 40, { kind: 'own ports', onlyNew: true }, onlyNew),
      result(5, 20, {}, []),
      result(1, 10, { onlyNew: true }, onlyNew),
      result(5, 10, { pods: 10 }, []),
    ];
    const { data } = reduce({ ...reduced('packet'), raw: { results } }) as Required<Reduced> & {
      readonly data: {
        readonly clusters: readonly unknown[];
        readonly curve: readonly { policies: number; kind: string; variants: readonly unknown[] }[];
      };
    };
    assert.equal(data.clusters.length, 2);
    assert.deepEqual(
      data.curve.map(({ policies, kind, variants }) => [policies, kind, variants.length]),
      [
        [1, 'same words', 2],
        [5, 'same words', 1],
        [100, 'own ports', 1],
      ],
    );
    const curves = plotsOf({ ...reduced('packet'), data }).filter(({ name }) => name.startsWith('packet-policies'));
    const dots = curves.map(({ name, svg }) => [name, readElements(svg).filter((each) => each === 'circle').length]);
    // The one policy is the first of each kind.
    assert.deepEqual(dots, [
      ['packet-policies-iptables-nft', 2 + 1 + 2],
      // Nothing was measured with iptables-legacy.
      ['packet-policies-nftables', 3],
    ]);
    const old = plotsOf({ ...reduced('packet'), data: { clusters: data.clusters } });
    assert.ok(!old.some(({ name }) => name.startsWith('packet-policies')), 'results from before there was a curve');
  });

  it('what cannot be read is named, and nothing is written', () => {
    const result: SuiteResult = { ...reduced('cidr'), raw: [] };
    const take = (): unknown => write('cidr');
    assert.throws(() => write(), /holds no results/);
    assert.throws(take, /cidr\.json: is not there; npm run bench -- cidr/);
    put('cidr.json', result);
    assert.throws(take, /cidr\.json: its numbers are not those of suite cidr/);
    put('cidr.json', { ...result, suite: 'event' });
    assert.throws(take, /cidr\.json: holds no result of suite cidr/);
    put('cidr.json', { suite: 'cidr' });
    assert.throws(take, /cidr\.json: lacks tables or machine/);
    writeFileSync(path('results/cidr.json'), '{');
    assert.throws(take, /cidr\.json: is no JSON/);
    assert.ok(!existsSync(path('report')));
  });
});

describe('bench/report quantities', () => {
  it('reads what the tables say', () => {
    const texts = [
      '1.15 µs',
      '44.1 µs',
      '839 ms',
      '2,609 MB',
      '-10 ns',
      '3.00x',
      '0 s',
      '-',
      '45 apples',
      '1.2.3 s',
      7,
    ];
    assert.deepEqual(texts.map(readQuantity), [
      1.15e-6,
      44.1e-6,
      0.839,
      2609,
      -10e-9,
      3,
      0,
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
    assert.equal(readQuantity(undefined), undefined);
  });

  it('finds the limit of a target', () => {
    const targets = targetsTable([
      { what: 'slow one', measured: 1, limit: 3, kind: 'at-least', unit: 'x' },
      { what: 'fast one', measured: 1, limit: 50, kind: 'at-most', unit: 'µs' },
    ]);
    assert.equal(limitOf(reduced('other', [TABLE, targets]), /^fast/), 50e-6);
    assert.equal(limitOf(reduced('other', [TABLE]), /^fast/), undefined);
  });
});
