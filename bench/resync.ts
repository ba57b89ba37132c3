/**
 * Suite *resync*: a node with very many rules and set entries: written, read back and compared, taken over after a restart, scraped;
 * and how long everything else had to wait meanwhile.
 */
import type { NodeIntent } from '../src/compile/intent.ts';

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadSnapshot, NodeCompiler } from '../src/compile/compile-node.ts';
import { createAgentMetrics, createRegistry } from '../src/telemetry/metrics.ts';
import { bundleAgent, FIRST_SYNC, readStall, startAgent } from './agent-process.ts';
import { startApiProcess } from './api-process.ts';
import { backendsOf, isIptables, type MeasuredBackend } from './backends.ts';
import { ClusterModel, LOCAL_NODE } from './cluster-model.ts';
import { loadModel } from './load-model.ts';
import { describeMachine } from './machine.ts';
import { openNode, type Resync, type Synced, touchTable } from './resync-nodes.ts';
import { IdleProcess, type Stall, longestOf, nextTurn, sleep, watchStalls } from './stalls.ts';
import { median, number, ratio, spread, stallCells, summarise, time } from './statistics.ts';
import { stallTargets, targetsTable } from './targets.ts';
import type { SuiteOptions, SuiteResult, Table } from './types.ts';
import { treeCpuMs } from './watched-process.ts';

const CLUSTER = { pods: 100_000, namespaces: 1_000, policies: 10_000, localPods: 1_000, localNamespaces: 500 };
const QUICK_CLUSTER = { pods: 1_000, namespaces: 50, policies: 250, localPods: 50, localNamespaces: 25 };
/** An agent's process resyncs so often, for so long. */
const RESYNC_SECONDS = 4;
const RESYNCING_MS = 30_000;
const QUICK_MS = 5_000;

const SITUATIONS = ['tools write', 'written', 'tools read', 'read back', 'repaired', 'taken over', 'scraped'] as const;
type Situation = (typeof SITUATIONS)[number];
const TEXT: Readonly<Record<Situation, string>> = {
  'tools write': 'the same text, written by the tools alone',
  written: 'everything written into an empty kernel',
  'tools read': 'printed by the tools alone',
  'read back': 'read back, nothing changed',
  repaired: 'read back, a rule and an entry were taken out by somebody',
  'taken over': 'first sync of a new process, nothing changed',
  scraped: 'metrics scraped',
};
/** What the tools alone do of each. */
const BARE: Readonly<Partial<Record<Situation, Situation>>> = {
  written: 'tools write',
  'read back': 'tools read',
  repaired: 'tools read',
  'taken over': 'tools read',
};

interface Sample {
  readonly seconds: number;
  /** Of this process and all that it started. */
  readonly cpuSeconds: number;
  readonly stall: Stall;
}

/** The agent's own process, with the whole cluster, while it compares again and again. */
interface ProcessResult {
  /** MB, from its start. */
  readonly peak: number;
  readonly stall: Stall;
  /** Why it is not all of it: the process ended. */
  readonly failure?: string;
}

interface BackendResult {
  readonly backend: MeasuredBackend;
  /** Of both families. */
  readonly rules: number;
  readonly entries: number;
  readonly samples: Readonly<Record<Situation, Sample[]>>;
  readonly process: ProcessResult;
  readonly idleStall: Stall;
}

export async function run(options: SuiteOptions): Promise<SuiteResult> {
  const { quick, rounds = quick ? 1 : 5 } = options;
  const cluster = quick ? QUICK_CLUSTER : CLUSTER;
  const compiler = new NodeCompiler(LOCAL_NODE);
  loadSnapshot(compiler, loadModel(new ClusterModel(cluster)).snapshot);
  const intent = compiler.intent();
  const results: BackendResult[] = [];
  for (const backend of backendsOf(options)) results.push(await measure(backend, intent, rounds, quick));
  return {
    suite: 'resync',
    machine: describeMachine(),
    tables: [...(quick ? [] : [targets(results)]), ...results.map(table), processTable(results)],
    raw: results,
  };
}

async function measure(
  backend: MeasuredBackend,
  intent: NodeIntent,
  rounds: number,
  quick: boolean,
): Promise<BackendResult> {
  const node = openNode(backend, intent);
  const samples: Record<Situation, Sample[]> = {
    'tools write': [],
    written: [],
    'tools read': [],
    'read back': [],
    repaired: [],
    'taken over': [],
    scraped: [],
  };
  let size = { rules: 0, entries: 0 };
  const pass = async (situation: Situation, resync: Resync, writes: boolean): Promise<void> => {
    const { result, ...sample } = await watched(resync);
    assertDone(situation, result, writes);
    samples[situation].push(sample);
    const { rules, entries } = result;
    size = { rules, entries };
  };
  const idle = new IdleProcess();
  await idle.longest();
  const metrics = createAgentMetrics(createRegistry(), { processMetrics: true });
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-resync-'));
  const alone = async (situation: Situation, work: () => Promise<void>): Promise<void> => {
    const { result: _result, ...sample } = await watched(work);
    samples[situation].push(sample);
  };
  try {
    const tools = await node.tools(folder);
    await node.clear();
    // The first round warms up and is not counted.
    for (let round = quick ? 0 : -1; round < rounds; round++) {
      if (round === 0) for (const situation of SITUATIONS) samples[situation].length = 0;
      await alone('tools write', () => tools.write());
      await node.clear();
      const agent = node.agent();
      await pass('written', agent, true);
      await alone('tools read', () => tools.read());
      await pass('read back', agent, false);
      await node.tamper();
      await pass('repaired', agent, true);
      await pass('taken over', node.agent(), false);
      await alone('scraped', async () => void (await metrics.scrape()));
      await node.clear();
    }
    const process = await measureProcess(backend, quick);
    return { backend, ...size, samples, process, idleStall: await idle.longest() };
  } finally {
    idle.stop();
    await node.clear();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measureProcess(backend: MeasuredBackend, quick: boolean): Promise<ProcessResult> {
  const directory = mkdtempSync(join(tmpdir(), 'portcullis-resync-'));
  const stallFile = join(directory, 'stall.json');
  const api = await startApiProcess(quick ? QUICK_CLUSTER : CLUSTER, directory);
  try {
    const more = [`--resync-interval=${RESYNC_SECONDS}`];
    const agent = startAgent(bundleAgent(directory), api, { backend, stallFile, more });
    let peak = Number.NaN;
    let failure: string | undefined;
    try {
      await agent.said(FIRST_SYNC);
      // The table of nftables is read where somebody wrote to it, and else now and then.
      for (let at = 0; at < (quick ? QUICK_MS : RESYNCING_MS); at += RESYNC_SECONDS * 1000) {
        if (!isIptables(backend)) await touchTable();
        await sleep(RESYNC_SECONDS * 1000);
      }
      peak = agent.memory().peak / 1e6;
    } catch (error) {
      failure = (error as Error).message;
    } finally {
      await agent.stop();
    }
    if (failure !== undefined) return { peak, stall: { ms: Number.NaN, cpuMs: Number.NaN }, failure };
    return { peak, stall: readStall(stallFile) };
  } finally {
    api.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

async function watched<T>(work: () => Promise<T>): Promise<Sample & { readonly result: T }> {
  const stalls = watchStalls();
  await nextTurn();
  await nextTurn();
  stalls.longest();
  const [began, cpu] = [performance.now(), treeCpuMs(process.pid)];
  const result = await work();
  const seconds = (performance.now() - began) / 1000;
  const cpuSeconds = (treeCpuMs(process.pid) - cpu) / 1000;
  await nextTurn();
  const stall = stalls.longest();
  stalls.stop();
  return { result, seconds, cpuSeconds, stall };
}

function assertDone(situation: Situation, { failures, stepsApplied }: Synced, writes: boolean): void {
  if (failures.length > 0) throw new Error(`${situation}: ${failures[0]!.message}`);
  if (stepsApplied > 0 !== writes) throw new Error(`${situation}: ${stepsApplied} steps`);
}

// -------------------------------------------------------------------------------------------------------------- tables

/** Of the agent, so of no tool alone. */
const OF_AGENT = SITUATIONS.filter((situation) => !situation.startsWith('tools'));

function longestStall({ samples }: BackendResult, situations: readonly Situation[] = OF_AGENT): Stall {
  return longestOf(situations.flatMap((situation) => samples[situation].map(({ stall }) => stall)));
}

function targets(results: readonly BackendResult[]): Table {
  const peaks = new Map(results.map(({ backend, process }) => [backend, process.peak]));
  const [own, other] = [peaks.get('nftables'), peaks.get('iptables-nft')];
  return targetsTable([
    ...results.flatMap((result) => stallTargets(result.backend, longestStall(result), result.idleStall)),
    ...(own === undefined || other === undefined
      ? []
      : [
          {
            what: "nftables: peak memory of the agent's process against iptables-nft",
            measured: own / other,
            limit: 1,
            kind: 'at-most' as const,
            unit: 'x',
          },
        ]),
  ]);
}

function processTable(results: readonly BackendResult[]): Table {
  return {
    title: "the agent's process, with the whole cluster",
    note: `Read over TLS, then compared with the kernel every ${RESYNC_SECONDS} s.`,
    columns: ['data plane', 'peak', 'stall: CPU', 'by the clock', 'ended'],
    rows: results.map(({ backend, process }) => [
      backend,
      `${number(process.peak)} MB`,
      ...stallCells(process.stall),
      process.failure ?? 'no',
    ]),
  };
}

function table(result: BackendResult): Table {
  const { backend, rules, entries, samples } = result;
  return {
    title: `${backend}: a large node`,
    note: `${rules.toLocaleString('en-US')} rules over both families, ${entries.toLocaleString('en-US')} set entries. From rendering to the last command; median and middle half. CPU of all processes.`,
    columns: ['what', 'time', 'to the tools', 'CPU', 'to the tools', 'stall: CPU', 'by the clock'],
    rows: SITUATIONS.map((situation) => {
      const middle = (each: Situation, of: 'seconds' | 'cpuSeconds'): number =>
        median(samples[each].map((sample) => sample[of]));
      const tools = BARE[situation];
      const toTools = (of: 'seconds' | 'cpuSeconds'): string =>
        tools ? ratio(middle(situation, of) / middle(tools, of)) : '-';
      return [
        TEXT[situation],
        spread(summarise(samples[situation].map(({ seconds }) => seconds))),
        toTools('seconds'),
        time(middle(situation, 'cpuSeconds')),
        toTools('cpuSeconds'),
        ...(situation.startsWith('tools') ? ['-', '-'] : stallCells(longestStall(result, [situation]))),
      ];
    }),
  };
}
