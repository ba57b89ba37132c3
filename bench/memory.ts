/** Suite *memory*: RSS of the agent process while it takes in clusters of several sizes over TLS, beside the library's informer. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundleAgent, FIRST_SYNC, readStall, startAgent } from './agent-process.ts';
import { type ApiProcess, startApiProcess } from './api-process.ts';
import { backendsOf, type MeasuredBackend } from './backends.ts';
import type { ClusterOptions } from './cluster-model.ts';
import { describeMachine } from './machine.ts';
import { IdleProcess, longestOf, sleep, type Stall } from './stalls.ts';
import { median, number, ratio, stallCells } from './statistics.ts';
import { IMAGE_FLAGS } from './suites.ts';
import { stallTargets, type Target, targetsTable } from './targets.ts';
import type { SuiteOptions, SuiteResult, Table } from './types.ts';
import { type Memory, WatchedProcess } from './watched-process.ts';

const SIZES = [5_000, 20_000, 100_000];
const LOCAL = { localPods: 100, localNamespaces: 60 };
/** MB of peak RSS promised. */
const LIMITS: Readonly<Record<number, number>> = { 5000: 100, 20000: 130, 100000: 260 };
const SETTLE_MS = 5_000;

interface Run {
  /** Seconds from the start of the process until it had everything (the agent: until its rules were in the kernel). */
  readonly seconds: number;
  readonly steady: number;
  readonly peak: number;
  /** Absent for the informer, which does not measure it. */
  readonly stall?: Stall;
}

interface AgentRuns {
  readonly backend: MeasuredBackend;
  readonly runs: readonly Run[];
}

interface SizeResult {
  readonly pods: number;
  readonly agents: readonly AgentRuns[];
  readonly informer: readonly Run[];
}

export async function run(options: SuiteOptions): Promise<SuiteResult> {
  const { quick, rounds = quick ? 1 : 3 } = options;
  const backends = backendsOf(options, ['iptables-nft', 'nftables']);
  const directory = mkdtempSync(join(tmpdir(), 'portcullis-memory-'));
  const idle = new IdleProcess();
  try {
    const bundle = bundleAgent(directory);
    const results: SizeResult[] = [];
    await idle.longest();
    for (const pods of quick ? [1_000] : SIZES) results.push(await measure(pods, backends, rounds, bundle, directory));
    const idleStall = await idle.longest();
    return {
      suite: 'memory',
      machine: describeMachine(),
      tables: [...(quick ? [] : [targets(results, idleStall)]), table(results)],
      raw: results,
    };
  } finally {
    idle.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

async function measure(
  pods: number,
  backends: readonly MeasuredBackend[],
  rounds: number,
  bundle: string,
  directory: string,
): Promise<SizeResult> {
  const cluster: ClusterOptions = { pods, namespaces: pods / 10, policies: pods / 10, ...LOCAL };
  const api = await startApiProcess(cluster, directory);
  const agents = backends.map((backend) => ({ backend, runs: [] as Run[] }));
  const informer: Run[] = [];
  try {
    for (let round = 0; round < rounds; round++) {
      for (const { backend, runs } of agents)
        runs.push(await runAgent(bundle, api, backend, join(directory, 'stall.json')));
      informer.push(await runInformer(api));
    }
  } finally {
    api.stop();
  }
  return { pods, agents, informer };
}

async function runAgent(bundle: string, api: ApiProcess, backend: MeasuredBackend, stallFile: string): Promise<Run> {
  const process = startAgent(bundle, api, { backend, stallFile });
  let run: Run;
  try {
    const ms = await process.said(FIRST_SYNC);
    await sleep(SETTLE_MS);
    run = asRun(ms, process.memory());
  } finally {
    await process.stop();
  }
  return { ...run, stall: readStall(stallFile) };
}

async function runInformer(api: ApiProcess): Promise<Run> {
  const client = join(import.meta.dirname, 'informer-client.ts');
  const informer = new WatchedProcess([process.execPath, '--max-old-space-size=8000', client, api.kubeconfigFile]);
  try {
    const ms = await informer.said('synced');
    await sleep(SETTLE_MS);
    return asRun(ms, informer.memory());
  } finally {
    await informer.stop();
  }
}

function asRun(ms: number, { now, peak }: Memory): Run {
  return { seconds: ms / 1000, steady: now / 1e6, peak: peak / 1e6 };
}

function targets(results: readonly SizeResult[], idle: Stall): Table {
  const peaks = results.flatMap(({ pods, agents }) =>
    agents.map(({ backend, runs }): Target => {
      return {
        what: `peak RSS, ${pods.toLocaleString('en-US')} pods, ${backend}`,
        measured: Math.max(...runs.map(({ peak }) => peak)),
        limit: LIMITS[pods]!,
        kind: 'at-most',
        unit: 'MB',
      };
    }),
  );
  const stall = stallOf(results.flatMap(({ agents }) => agents.flatMap(({ runs }) => runs)));
  return targetsTable([...peaks, ...stallTargets('agent', stall, idle)]);
}

function stallOf(runs: readonly Run[]): Stall {
  return longestOf(runs.flatMap(({ stall }) => (stall ? [stall] : [])));
}

function table(results: readonly SizeResult[]): Table {
  const of = (runs: readonly Run[], pick: (run: Run) => number): number => median(runs.map(pick));
  const megabytes = (value: number): string => `${number(value)} MB`;
  return {
    title: 'memory',
    note: `The agent with its flags in the image (${IMAGE_FLAGS.join(' ')}), from TLS to the kernel, with a tenth as many namespaces and policies as pods; the informer holds pods only and may use 8 GB of heap. Medians; steady: ${SETTLE_MS / 1000} s after the list.`,
    columns: [
      'pods',
      'data plane',
      'agent: peak',
      'steady',
      'until enforced',
      'stall: CPU',
      'by the clock',
      'informer: peak',
      'steady',
      'until listed',
      'ratio of peaks',
    ],
    rows: results.flatMap(({ pods, agents, informer }) =>
      agents.map(({ backend, runs }) => [
        pods.toLocaleString('en-US'),
        backend,
        megabytes(of(runs, ({ peak }) => peak)),
        megabytes(of(runs, ({ steady }) => steady)),
        `${number(of(runs, ({ seconds }) => seconds))} s`,
        ...stallCells(stallOf(runs)),
        megabytes(of(informer, ({ peak }) => peak)),
        megabytes(of(informer, ({ steady }) => steady)),
        `${number(of(informer, ({ seconds }) => seconds))} s`,
        ratio(of(informer, ({ peak }) => peak) / of(runs, ({ peak }) => peak)),
      ]),
    ),
  };
}
