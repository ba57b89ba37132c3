/** Suite *packet* beside another version: each side's rules as its own agent writes them, in namespaces of their own, measured in turn. */
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { BACKENDS } from '../../src/core/vocabulary.ts';
import { readTable } from '../../src/dataplane/nftables/table/read-table.ts';
import { FIRST_SYNC, startAgent } from '../agent-process.ts';
import { startApiProcess } from '../api-process.ts';
import { describeMachine } from '../machine.ts';
import { makeCluster, type MeasuredCluster, NODE_NAME } from '../packet/cluster.ts';
import { measure, type Traffic } from '../packet/measure.ts';
import { MANY_PODS, MANY_POLICIES, type Shape, shapeText } from '../packet/shapes.ts';
import type { Testbed } from '../packet/testbed.ts';
import { backendsOf, isIptables, type MeasuredBackend } from '../backends.ts';
import { closeAll, loadNothing, openVariant, type Variant } from '../packet/variants.ts';
import { median, number, summarise } from '../statistics.ts';
import type { SuiteOptions, SuiteResult, Table } from '../types.ts';
import { type Both, withBoth } from './both.ts';
import type { Version } from './version.ts';

const TRAFFIC = [
  ['rr', 'round trip'],
  ['crr', 'connection'],
  ['new', 'first packet'],
] as const satisfies readonly (readonly [Traffic, string])[];
const QUICK: Shape = { pods: 40, classes: 4, policies: 3, peers: 20 };

export async function run(options: SuiteOptions): Promise<SuiteResult> {
  const { quick, full, against } = options;
  return await withBoth(against!, async (both, directory) => {
    const tables: Table[] = [];
    for (const shape of quick ? [QUICK] : full ? [MANY_POLICIES, MANY_PODS] : [MANY_POLICIES])
      tables.push(await measureShape(both, shape, options, mkdtempSync(join(directory, 'shape-'))));
    return { suite: 'packet', machine: describeMachine(), tables, raw: undefined };
  });
}

async function measureShape(both: Both, shape: Shape, options: SuiteOptions, directory: string): Promise<Table> {
  const { quick, rounds } = options;
  const backends = backendsOf({ ...options, quick: false }, BACKENDS);
  const variants = await openSides(both, backends, makeCluster(shape), directory);
  try {
    const measured = await measure(variants, {
      rounds: rounds ?? (quick ? 3 : 40),
      parts: 16,
      partMs: quick ? 0.5 : 1.5,
      traffic: TRAFFIC.map(([traffic]) => traffic),
    });
    const samples = measured.map((each) => each.samples);
    const sides = backends.map(
      (backend, index) => [backend, samples[2 + 2 * index]!, samples[3 + 2 * index]!] as const,
    );
    return {
      title: shapeText(shape),
      note: `Time, medians: less is better. The ratio is of times of one round, with its middle half; "none again" against "none" is the noise.`,
      columns: ['traffic', 'rules', both[0].name, both[1].name, 'ratio', 'middle half'],
      rows: TRAFFIC.flatMap(([traffic, what]) => [
        row(what, 'none, none again', samples[0]![traffic], samples[1]![traffic]),
        ...sides.map(([backend, other, own]) => row(what, backend, other[traffic], own[traffic])),
      ]),
    };
  } finally {
    await closeAll(variants);
  }
}

function row(what: string, rules: string, other: readonly number[], own: readonly number[]): string[] {
  const ratios = summarise(own.map((value, round) => value / other[round]!));
  const microseconds = (samples: readonly number[]): string => `${number(median(samples) / 1000)} µs`;
  const half = ratios.quartiles.map((value) => value.toFixed(3)).join('..');
  return [what, rules, microseconds(other), microseconds(own), `${ratios.median.toFixed(3)}x`, half];
}

async function openSides(
  both: Both,
  backends: readonly MeasuredBackend[],
  cluster: MeasuredCluster,
  directory: string,
): Promise<readonly Variant[]> {
  const opened: Variant[] = [];
  const lockFile = (): string => join(directory, `xtables-${opened.length}.lock`);
  try {
    for (const rules of ['none', 'none again'] as const)
      opened.push(await openVariant({ rules, backend: undefined, cluster, lockFile: lockFile(), load: loadNothing }));
    for (const backend of backends) {
      for (const version of both) {
        const [file, folder] = [lockFile(), mkdtempSync(join(directory, 'agent-'))];
        const load = (testbed: Testbed): Promise<number> =>
          loadByAgent(version, backend, cluster, testbed, file, folder);
        opened.push(await openVariant({ rules: 'ours', backend, cluster, lockFile: file, load }));
      }
    }
    return opened;
  } catch (error) {
    await closeAll(opened);
    throw error;
  }
}

/** The agent's first pass; then it ends, and its rules stay. */
async function loadByAgent(
  { bundle }: Version,
  backend: MeasuredBackend,
  { objects }: MeasuredCluster,
  { node }: Testbed,
  lockFile: string,
  folder: string,
): Promise<number> {
  const inside = (argv: readonly [string, ...string[]]) => node.inside(argv);
  const api = await startApiProcess(objects, folder, { inside });
  try {
    const agent = startAgent(bundle, api, {
      backend,
      nodeName: NODE_NAME,
      inside,
      env: { XTABLES_LOCKFILE: lockFile },
    });
    try {
      await agent.said(FIRST_SYNC);
    } finally {
      await agent.stop();
    }
    if (!isIptables(backend)) {
      const { chains } = readTable(await node.run(['nft', '-p', '-s', 'list', 'table', 'inet', 'portcullis']));
      return [...chains.values()].reduce((sum, { lines }) => sum + lines.length, 0);
    }
    const rules = await node.run([`${backend}-save`, '-t', 'mangle']);
    return rules.split('\n').filter((line) => line.startsWith('-A ')).length;
  } finally {
    api.stop();
  }
}
