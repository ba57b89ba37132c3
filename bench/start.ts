/** Suite *start*: from the start of the process to the first commit, beside the least that could be done with the same bytes. */
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCommand } from '../src/host/command.ts';
import { createOneVariantKernel } from '../test/support/one-variant-kernel.ts';
import { teardown } from '../src/dataplane/iptables/plan/teardown.ts';
import { bundleAgent, FIRST_SYNC, readStall, startAgent } from './agent-process.ts';
import { type ApiProcess, startApiProcess } from './api-process.ts';
import { describeMachine } from './machine.ts';
import { IdleProcess, longestOf, type Stall } from './stalls.ts';
import { median, number, ratio, type Summary, spread, summarise } from './statistics.ts';
import { stallTargets, targetsTable } from './targets.ts';
import type { SuiteOptions, SuiteResult } from './types.ts';
import { WatchedProcess } from './watched-process.ts';

const CLUSTER = { pods: 100_000, namespaces: 10_000, policies: 10_000, localPods: 100, localNamespaces: 60 };
const QUICK_CLUSTER = { pods: 1_000, namespaces: 100, policies: 100, localPods: 30, localNamespaces: 20 };
const SIDES = ['file', 'tls', 'cold', 'restart'] as const;
type SideName = (typeof SIDES)[number];
const TEXT: Readonly<Record<SideName, string>> = {
  file: 'read the same bytes from a file, JSON.parse each line',
  tls: 'read them over TLS from the same server, JSON.parse each line',
  cold: 'agent: to the first commit, on an empty kernel',
  restart: 'agent: to the end of the first pass, nothing changed meanwhile',
};

export async function run({ quick, rounds = quick ? 1 : 5 }: SuiteOptions): Promise<SuiteResult> {
  const directory = mkdtempSync(join(tmpdir(), 'portcullis-start-'));
  const cluster = quick ? QUICK_CLUSTER : CLUSTER;
  const api = await startApiProcess(cluster, directory);
  const idle = new IdleProcess();
  try {
    const runs = new Runs(bundleAgent(directory), api, directory);
    await idle.longest();
    for (let round = 0; round < rounds; round++) await runs.round();
    const megabytes = statSync(join(directory, 'bytes')).size / 1e6;
    return result(quick, runs, cluster, megabytes, await idle.longest());
  } finally {
    idle.stop();
    api.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

class Runs {
  readonly seconds: Readonly<Record<SideName, number[]>> = { file: [], tls: [], cold: [], restart: [] };
  readonly stalls: Stall[] = [];
  /** What the pass after a restart wrote; empty if nothing. */
  readonly restartWrites = new Set<string>();
  readonly #bundle: string;
  readonly #api: ApiProcess;
  readonly #file: string;
  readonly #stallFile: string;

  constructor(bundle: string, api: ApiProcess, directory: string) {
    this.#bundle = bundle;
    this.#api = api;
    this.#file = join(directory, 'bytes');
    this.#stallFile = join(directory, 'stall.json');
  }

  async round(): Promise<void> {
    const tls = ['tls', String(this.#api.port), this.#api.serviceAccountDir];
    // The first run makes the file; it also lets the server make the text of each object, which it then keeps.
    if (this.seconds.file.length === 0) await this.#parse(...tls, this.#file);
    this.seconds.file.push(await this.#parse('file', this.#file));
    this.seconds.tls.push(await this.#parse(...tls));
    this.seconds.cold.push(await this.#agent('cold'));
    this.seconds.restart.push(await this.#agent('restart'));
    await clear();
  }

  async #parse(...args: readonly string[]): Promise<number> {
    const client = new WatchedProcess([process.execPath, join(import.meta.dirname, 'parse-client.ts'), ...args]);
    return (await client.said('parsed')) / 1000;
  }

  async #agent(side: 'cold' | 'restart'): Promise<number> {
    const agent = startAgent(this.#bundle, this.#api, { stallFile: this.#stallFile });
    try {
      const ms = await agent.said(FIRST_SYNC);
      if (side === 'restart') for (const what of written(agent.lineWith(FIRST_SYNC)!)) this.restartWrites.add(what);
      return ms / 1000;
    } finally {
      await agent.stop();
      this.stalls.push(readStall(this.#stallFile));
    }
  }
}

/** The counts in the log line of a pass: the agent leaves out those that are 0. */
function written(line: string): string[] {
  const fields = JSON.parse(line) as Record<string, unknown>;
  return Object.keys(fields).filter((field) => /Written|Deleted|Created|Destroyed|Added|Bumps|Repaired/.test(field));
}

async function clear(): Promise<void> {
  const kernel = createOneVariantKernel({
    backend: 'iptables-nft',
    families: [4, 6],
    run: runCommand,
    lockWaitSeconds: 5,
  });
  for (const step of teardown(await kernel.readBack()).steps) await kernel.apply(step);
}

function result(quick: boolean, runs: Runs, cluster: typeof CLUSTER, megabytes: number, idle: Stall): SuiteResult {
  const summaries = Object.fromEntries(SIDES.map((side) => [side, summarise(runs.seconds[side])])) as Record<
    SideName,
    Summary
  >;
  const base = summaries.file.median;
  const count = (value: number): string => value.toLocaleString('en-US');
  const targets = targetsTable([
    {
      what: 'cold start against reading and JSON.parse of the same bytes from a file',
      measured: median(runs.seconds.cold.map((seconds, index) => seconds / runs.seconds.file[index]!)),
      limit: 3,
      kind: 'at-most',
      unit: 'x',
    },
    ...stallTargets('starting agent', longestOf(runs.stalls), idle),
  ]);
  const writes = runs.restartWrites.size === 0 ? 'nothing' : [...runs.restartWrites].join(', ');
  return {
    suite: 'start',
    machine: describeMachine(),
    tables: [
      ...(quick ? [] : [targets]),
      {
        title: 'start',
        note: `${count(cluster.pods)} pods, ${count(cluster.namespaces)} namespaces, ${count(cluster.policies)} policies, ${number(megabytes)} MB; each run is a process of its own, its start included. Median and middle half. A restart wrote ${writes}.`,
        columns: ['what', 'time', 'ratio'],
        rows: SIDES.map((side) => [TEXT[side], spread(summaries[side]), ratio(summaries[side].median / base)]),
      },
    ],
    raw: { summaries, stalls: runs.stalls, megabytes, restartWrites: [...runs.restartWrites] },
  };
}
