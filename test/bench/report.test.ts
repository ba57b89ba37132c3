import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findDrift, takeResults, writeDocumentation } from '../../bench/report/documentation.ts';
import { renderPage } from '../../bench/report/page.ts';
import { limitOf, readQuantity } from '../../bench/report/quantities.ts';
import { plotsOf, type Stored } from '../../bench/report/stored.ts';
import { targetsTable } from '../../bench/targets.ts';
import type { SuiteResult, Table } from '../../bench/types.ts';
import { readElements } from './xml.ts';

const DOCS = join(import.meta.dirname, '../../docs');
const MACHINE = { cpu: 'a CPU', cores: 2, memoryGiB: 4, kernel: '6.1', node: 'v24.0.0', startedAt: 1 };
const TABLE: Table = { title: 'what', note: 'A note.', columns: ['row', 'time'], rows: [['first', '1.00 ms']] };
const PAGE = `# By hand
<!-- targets -->
old targets
<!-- end -->
between, costs $& and $1
<!-- tables: other -->
old tables
<!-- end -->
after
`;

function stored(suite: string, tables: readonly Table[] = [TABLE]): Stored {
  return { suite, machine: MACHINE, tables };
}

function committed(): readonly Stored[] {
  const folder = join(DOCS, 'performance');
  const files = readdirSync(folder).filter((file) => file.endsWith('.json'));
  return files.map((file) => JSON.parse(readFileSync(join(folder, file), 'utf8')) as Stored);
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

describe('docs/performance.md', () => {
  it('page and plots are what the committed numbers give; npm run bench:report writes them', () => {
    assert.deepEqual(findDrift(DOCS), []);
  });

  it('every committed suite has its place, and every plot is shown', () => {
    const page = readFileSync(join(DOCS, 'performance.md'), 'utf8');
    const suites = committed();
    assert.ok(suites.length > 0);
    for (const suite of suites) {
      assert.ok(page.includes(`<!-- tables: ${suite.suite} -->`), suite.suite);
      for (const { name } of plotsOf(suite)) assert.ok(page.includes(`(performance/${name}.svg)`), name);
    }
  });

  it('plots are well formed with the committed numbers, and with odd, few or no ones in their place', () => {
    const withPlots = committed().filter(({ data }) => data !== undefined);
    assert.ok(withPlots.length > 0);
    for (const suite of withPlots) {
      for (const data of variations(suite.data)) {
        for (const { name, svg } of plotsOf({ ...suite, data })) {
          assert.equal(readElements(svg)[0], 'svg', name);
          assert.doesNotMatch(svg, /NaN|undefined|null|Infinity/, name);
        }
      }
    }
  });
});

describe('bench/report page', () => {
  it('replaces what is between the markers and nothing else', () => {
    const page = renderPage(PAGE, [stored('other')]);
    assert.equal(
      page,
      `# By hand
<!-- targets -->
old targets
<!-- end -->
between, costs $& and $1
<!-- tables: other -->

*Measured on: a CPU, 2 cores, 4 GiB, Linux 6.1, Node.js v24.0.0.*

**what.** A note.

| row | time |
|---|---:|
| first | 1.00 ms |

<!-- end -->
after
`,
    );
    assert.equal(renderPage(page, [stored('other')]), page);
  });

  it('targets of all suites are one table, and not repeated', () => {
    const targets = targetsTable([{ what: 'speed', measured: 2, limit: 1, kind: 'at-most', unit: 's' }]);
    const page = renderPage(PAGE, [stored('other', [targets, TABLE])]);
    assert.match(
      page,
      /<!-- targets -->\n\n\| what .*\n.*\n\| other: speed \| 2\.00 s \| <= 1\.00 s \| NO \|\n\n<!-- end -->/,
    );
    assert.equal(page.split('speed').length, 2);
  });

  it('a note that the table above has is not said again', () => {
    const page = renderPage(PAGE, [stored('other', [TABLE, { ...TABLE, title: 'more' }])]);
    assert.equal(page.split('A note.').length, 2);
  });

  it('a suite without a place gets a section, where the page wants it', () => {
    const page = renderPage(`${PAGE}<!-- further suites -->\nlast\n`, [stored('resync')]);
    assert.match(
      page,
      /after\n## Suite resync\n\n<!-- tables: resync -->\n\n\*Measured[\s\S]*<!-- end -->\n\n<!-- further suites -->\nlast\n$/,
    );
    assert.equal(renderPage(page, [stored('resync')]), page);
    assert.match(renderPage(PAGE, [stored('resync')]), /after\n\n## Suite resync\n/);
  });

  it('a marker that does not end, or is there twice, is refused', () => {
    assert.throws(() => renderPage('<!-- tables: other -->\n', [stored('other')]), /has no <!-- end -->/);
    const early = '<!-- tables: other -->\n<!-- tables: more -->\n<!-- end -->\n';
    assert.throws(() => renderPage(early, [stored('other')]), /has no <!-- end -->/);
    assert.throws(() => renderPage(`${PAGE}${PAGE}`, [stored('other')]), /more than once/);
  });
});

describe('bench/report files', () => {
  let folder: string;
  const path = (...names: readonly string[]): string => join(folder, ...names);
  const put = (name: string, value: unknown): void => writeFileSync(path('results', name), JSON.stringify(value));

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-report-'));
    mkdirSync(path('results'));
    cpSync(DOCS, path('docs'), {
      recursive: true,
      filter: (source) => source === DOCS || source.startsWith(join(DOCS, 'performance')),
    });
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it('a new result goes into the page; suites without one keep what they have', () => {
    const before = readFileSync(path('docs/performance/cidr.json'), 'utf8');
    put('weather.json', { ...stored('weather'), raw: { samples: [1, 2, 3] } });
    assert.deepEqual(takeResults(path('results'), path('docs'), []), ['weather']);
    assert.deepEqual(findDrift(path('docs')), ['performance.md differs from what performance/*.json gives']);
    writeDocumentation(path('docs'));
    assert.deepEqual(findDrift(path('docs')), []);
    assert.match(readFileSync(path('docs/performance.md'), 'utf8'), /## Suite weather/);
    assert.doesNotMatch(readFileSync(path('docs/performance/weather.json'), 'utf8'), /samples/);
    assert.equal(readFileSync(path('docs/performance/cidr.json'), 'utf8'), before);
  });

  it('an edited page, a lost plot and a plot of nothing are drift', () => {
    const page = path('docs/performance.md');
    writeFileSync(
      page,
      readFileSync(page, 'utf8').replace('| 1,000', '| 1,001').replace('*Measured on:', '*Measured on'),
    );
    rmSync(path('docs/performance/cidr-match.svg'));
    writeFileSync(path('docs/performance/nothing.svg'), '<svg/>');
    assert.deepEqual([...findDrift(path('docs'))].sort(), [
      'performance.md differs from what performance/*.json gives',
      'performance/cidr-match.svg differs from what performance/*.json gives',
      'performance/nothing.svg is drawn from no file in performance/',
    ]);
  });

  it('samples of suite packet become ratios against both sides without rules, and nanoseconds more than these', () => {
    const variants = [
      variant('none', [90, 90]),
      variant('none again', [110, 110]),
      variant('ours', [125, 200], 'iptables-nft'),
    ];
    const raw = { results: [{ shape: { pods: 1, classes: 1, policies: 1, peers: 1 }, variants }] };
    put('packet.json', { ...stored('packet'), raw });
    takeResults(path('results'), path('docs'), ['packet']);
    const { data } = JSON.parse(readFileSync(path('docs/performance/packet.json'), 'utf8')) as {
      readonly data: { readonly clusters: readonly { readonly variants: readonly unknown[] }[] };
    };
    assert.deepEqual(data.clusters[0]!.variants[1], {
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
      ],
    });
    const onlyNew = ['rr', 'udp', 'bulk', 'dns'];
    const results = [
      result(100, 40, { kind: 'own ports', onlyNew: true }, onlyNew),
      result(5, 20, {}, []),
      result(1, 10, { onlyNew: true }, onlyNew),
      result(5, 10, { pods: 10 }, []),
    ];
    put('packet.json', { ...stored('packet'), raw: { results } });
    takeResults(path('results'), path('docs'), ['packet']);
    const { data } = JSON.parse(readFileSync(path('docs/performance/packet.json'), 'utf8')) as Required<Stored> & {
      readonly data: {
        readonly clusters: readonly unknown[];
        readonly curve: readonly { policies: number; kind: string; variants: readonly unknown[] }[];
      };
    };
    assert.equal(data.clusters.length, 2);
    assert.deepEqual(
      data.curve.map(({ policies, kind, variants }) => [policies, kind, variants.length]),
      [
        [1, 'same words', 1],
        [5, 'same words', 1],
        [100, 'own ports', 1],
      ],
    );
    const curves = plotsOf({ ...stored('packet'), data }).filter(({ name }) => name.startsWith('packet-policies'));
    const dots = curves.map(({ name, svg }) => [name, readElements(svg).filter((each) => each === 'circle').length]);
    // The one policy is the first of each kind.
    assert.deepEqual(dots, [
      ['packet-policies-iptables-nft', 2 + 1 + 2],
      ['packet-policies-iptables-legacy', 0],
    ]);
    const old = plotsOf({ ...stored('packet'), data: { clusters: data.clusters } });
    assert.ok(!old.some(({ name }) => name.startsWith('packet-policies')), 'results from before there was a curve');
  });

  it('what cannot be read is named, and nothing is written', () => {
    const before = readFileSync(path('docs/performance/cidr.json'), 'utf8');
    const result: SuiteResult = { ...stored('cidr'), raw: [] };
    const take = (): unknown => takeResults(path('results'), path('docs'), ['cidr']);
    assert.throws(take, /cidr\.json: is not there; npm run bench -- cidr/);
    put('cidr.json', result);
    assert.throws(take, /cidr\.json: its numbers are not those of suite cidr/);
    put('cidr.json', { ...result, suite: 'event' });
    assert.throws(take, /cidr\.json: holds no result of suite cidr/);
    put('cidr.json', { suite: 'cidr' });
    assert.throws(take, /cidr\.json: lacks tables or machine/);
    writeFileSync(path('results/cidr.json'), '{');
    assert.throws(take, /cidr\.json: is no JSON/);
    assert.equal(readFileSync(path('docs/performance/cidr.json'), 'utf8'), before);
    writeFileSync(path('docs/performance/cidr.json'), JSON.stringify({ ...stored('cidr'), data: {} }));
    assert.throws(() => findDrift(path('docs')), /cidr\.json: its data does not fit the plots of suite cidr/);
    rmSync(path('docs/performance/cidr.json'));
    rmSync(path('docs/performance.md'));
    assert.throws(() => findDrift(path('docs')), /performance\.md: is not there/);
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
    assert.equal(limitOf(stored('other', [TABLE, targets]), /^fast/), 50e-6);
    assert.equal(limitOf(stored('other', [TABLE]), /^fast/), undefined);
  });
});
