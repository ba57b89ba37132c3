/**
 * Suite *resync*: a node with very many rules and set entries: written, read back and compared, taken over after a restart, scraped;
 * and how long everything else had to wait meanwhile.
 */
import type { NodeIntent } from '../src/compile/intent.ts';
import type { Backend } from '../src/core/vocabulary.ts';
import type { Kernel } from '../src/dataplane/iptables/kernel/kernel.ts';
import type { SyncResult } from '../src/dataplane/iptables/sync/one-sync.ts';
import { SnapshotSync } from '../test/support/snapshot-sync.ts';
import { NodeCompiler, loadSnapshot } from '../src/compile/compile-node.ts';
import { runCommand } from '../src/host/command.ts';
import { toolName } from '../src/dataplane/iptables/kernel/linux-kernel.ts';
import { createOneVariantKernel } from '../test/support/one-variant-kernel.ts';
import { teardown } from '../src/dataplane/iptables/plan/teardown.ts';
import { createAgentMetrics, createRegistry } from '../src/telemetry/metrics.ts';
import { ClusterModel, LOCAL_NODE } from './cluster-model.ts';
import { loadModel } from './load-model.ts';
import { describeMachine } from './machine.ts';
import { LAYOUT } from './node-pass.ts';
import { IdleProcess, type Stall, longestOf, nextTurn, watchStalls } from './stalls.ts';
import { spread, stallCells, summarise } from './statistics.ts';
import { stallTargets, targetsTable } from './targets.ts';
import type { SuiteOptions, SuiteResult, Table } from './types.ts';

const CLUSTER = { pods: 100_000, namespaces: 1_000, policies: 10_000, localPods: 1_000, localNamespaces: 500 };
const QUICK_CLUSTER = { pods: 1_000, namespaces: 50, policies: 250, localPods: 50, localNamespaces: 25 };
const BACKENDS: readonly Backend[] = ['iptables-nft', 'iptables-legacy'];

const SITUATIONS = ['written', 'read back', 'repaired', 'taken over', 'scraped'] as const;
type Situation = (typeof SITUATIONS)[number];
const TEXT: Readonly<Record<Situation, string>> = {
  written: 'everything written into an empty kernel',
  'read back': 'read back, nothing changed',
  repaired: 'read back, a rule and an entry were taken out by somebody',
  'taken over': 'first pass of a new process, nothing changed',
  scraped: 'metrics scraped',
};

interface Sample {
  readonly seconds: number;
  readonly stall: Stall;
}

interface BackendResult {
  readonly backend: Backend;
  /** Of both families. */
  readonly rules: number;
  readonly entries: number;
  readonly samples: Readonly<Record<Situation, Sample[]>>;
  readonly idleStall: Stall;
}

export async function run({ quick, rounds = quick ? 1 : 5 }: SuiteOptions): Promise<SuiteResult> {
  const compiler = new NodeCompiler(LOCAL_NODE);
  loadSnapshot(compiler, loadModel(new ClusterModel(quick ? QUICK_CLUSTER : CLUSTER)).snapshot);
  const intent = compiler.intent();
  const results: BackendResult[] = [];
  for (const backend of quick ? BACKENDS.slice(0, 1) : BACKENDS)
    results.push(await measure(backend, intent, rounds, quick));
  return {
    suite: 'resync',
    machine: describeMachine(),
    tables: [...(quick ? [] : [targets(results)]), ...results.map(table)],
    raw: results,
  };
}

async function measure(backend: Backend, intent: NodeIntent, rounds: number, quick: boolean): Promise<BackendResult> {
  const kernel = createOneVariantKernel({ backend, families: [4, 6], run: runCommand, lockWaitSeconds: 5 });
  const samples: Record<Situation, Sample[]> = {
    written: [],
    'read back': [],
    repaired: [],
    'taken over': [],
    scraped: [],
  };
  let size = { rules: 0, entries: 0 };
  const pass = async (situation: Situation, agent: SnapshotSync, writes: boolean): Promise<void> => {
    const { result, ...sample } = await watched(() => agent.sync(NO_SNAPSHOT, 'enforce', LAYOUT, true));
    assertDone(situation, result, writes);
    samples[situation].push(sample);
    size = sizeOf(result);
  };
  const idle = new IdleProcess();
  await idle.longest();
  const metrics = createAgentMetrics(createRegistry(), { processMetrics: true });
  try {
    // The first round warms up and is not counted.
    for (let round = quick ? 0 : -1; round < rounds; round++) {
      if (round === 0) for (const situation of SITUATIONS) samples[situation].length = 0;
      const agent = reconciler(kernel, intent);
      await pass('written', agent, true);
      await pass('read back', agent, false);
      await tamper(kernel);
      await pass('repaired', agent, true);
      await pass('taken over', reconciler(kernel, intent), false);
      const { seconds, stall } = await watched(() => metrics.scrape());
      samples.scraped.push({ seconds, stall });
      await clear(kernel);
    }
    return { backend, ...size, samples, idleStall: await idle.longest() };
  } finally {
    idle.stop();
    await clear(kernel);
  }
}

/** The intent is made already: compiling is measured by suite *compile*. */
const NO_SNAPSHOT = { pods: new Map(), namespaces: new Map(), policies: new Map(), nodes: new Map(), problems: [] };

function reconciler(kernel: Kernel, intent: NodeIntent): SnapshotSync {
  const options = { nodeName: LOCAL_NODE, kernel, now: () => performance.now(), firstEpoch: 1 };
  return new SnapshotSync({ ...options, compile: () => intent });
}

async function watched<T>(work: () => Promise<T>): Promise<Sample & { readonly result: T }> {
  const stalls = watchStalls();
  await nextTurn();
  await nextTurn();
  stalls.longest();
  const began = performance.now();
  const result = await work();
  const seconds = (performance.now() - began) / 1000;
  await nextTurn();
  const stall = stalls.longest();
  stalls.stop();
  return { result, seconds, stall };
}

function assertDone(situation: Situation, { failures, stepsApplied }: SyncResult, writes: boolean): void {
  if (failures.length > 0) throw new Error(`${situation}: ${failures[0]!.message}`);
  if (stepsApplied > 0 !== writes) throw new Error(`${situation}: ${stepsApplied} steps`);
}

function sizeOf({ plan }: SyncResult): { rules: number; entries: number } {
  const { families, sets } = plan!.after;
  const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0);
  return {
    rules: sum(Object.values(families).flatMap(({ chains }) => [...chains.values()].map(({ length }) => length))),
    entries: sum([...sets.values()].map(({ members }) => members.size)),
  };
}

async function tamper(kernel: Kernel): Promise<void> {
  const { backend } = kernel;
  const { families, sets } = await kernel.readBack();
  const [chain] = [...families[4]!.chains].find(([name, lines]) => name.startsWith('PCL-I-') && lines.length > 1)!;
  const set = [...sets.values()].find(({ type, members }) => type === 'hash:ip' && members.size > 1)!;
  const rule = ['*mangle', `-D ${chain} 1`, 'COMMIT', ''].join('\n');
  await runCommand({ argv: [toolName(backend, 4, 'restore'), '--noflush'], stdin: rule, timeoutMs: 10_000 });
  await runCommand({ argv: ['ipset', 'del', set.name, [...set.members.keys()][0]!], timeoutMs: 10_000 });
}

async function clear(kernel: Kernel): Promise<void> {
  for (const step of teardown(await kernel.readBack()).steps) await kernel.apply(step);
}

// -------------------------------------------------------------------------------------------------------------- tables

function longestStall({ samples }: BackendResult, situations: readonly Situation[] = SITUATIONS): Stall {
  return longestOf(situations.flatMap((situation) => samples[situation].map(({ stall }) => stall)));
}

function targets(results: readonly BackendResult[]): Table {
  return targetsTable(
    results.flatMap((result) => stallTargets(result.backend, longestStall(result), result.idleStall)),
  );
}

function table(result: BackendResult): Table {
  const { backend, rules, entries, samples } = result;
  return {
    title: `${backend}: a large node`,
    note: `${rules.toLocaleString('en-US')} rules over both families, ${entries.toLocaleString('en-US')} set entries. From rendering to the last command; median and middle half.`,
    columns: ['what', 'time', 'stall: CPU', 'by the clock'],
    rows: SITUATIONS.map((situation) => [
      TEXT[situation],
      spread(summarise(samples[situation].map(({ seconds }) => seconds))),
      ...stallCells(longestStall(result, [situation])),
    ]),
  };
}
