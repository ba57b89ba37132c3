/** Suite *hostile*: an agent that is streamed 500 MB of hostile policies and pods, beside one that is not: peak memory, and commits. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundleAgent, FIRST_SYNC } from './agent-process.ts';
import { LOCAL_NODE } from './cluster-model.ts';
import { HostileServer } from './hostile-server.ts';
import { describeMachine } from './machine.ts';
import { MemoryLimit } from './memory-limit.ts';
import { sleep } from './stalls.ts';
import { median, number, ratio } from './statistics.ts';
import { IMAGE_ENV, IMAGE_FLAGS } from './suites.ts';
import { targetsTable } from './targets.ts';
import type { SuiteOptions, SuiteResult } from './types.ts';
import { WatchedProcess } from './watched-process.ts';

const CLUSTER = { pods: 5_000, namespaces: 500, policies: 1_500, localPods: 100, localNamespaces: 60 };
const QUICK_CLUSTER = { pods: 500, namespaces: 50, policies: 150, localPods: 30, localNamespaces: 20 };
/** manifests/base/daemonset.yaml: 256Mi. */
const MEMORY_LIMIT = 256 * 1024 * 1024;
const EDITS = 40;
/** Longer than the agent's minimum gap. */
const EDIT_MS = 250;
const COMMITTED = 'changed the kernel';
const MAX_RATIO = 1.5;

interface Run {
  readonly hostileMB: number;
  /** Until the first rules were in the kernel. */
  readonly seconds: number;
  readonly peakMB: number;
  readonly steadyMB: number;
  /** What counted against the limit at most: without the program's text, which others use as well; undefined: it was not limited. */
  readonly chargedMB: number | undefined;
  /** From the arrival of an edit to its commit, in ms. */
  readonly commitMs: readonly number[];
}

export async function run({ quick, rounds = quick ? 1 : 3 }: SuiteOptions): Promise<SuiteResult> {
  const directory = mkdtempSync(join(tmpdir(), 'portcullis-hostile-'));
  const hostileMB = quick ? 20 : 500;
  try {
    const bundle = bundleAgent(directory);
    const runs: Run[] = [];
    for (let round = 0; round < rounds; round++)
      for (const megabytes of [0, hostileMB]) runs.push(await measure(bundle, directory, megabytes, quick));
    return result(runs, hostileMB, quick);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function measure(bundle: string, directory: string, hostileMB: number, quick: boolean): Promise<Run> {
  const server = await HostileServer.start({ cluster: quick ? QUICK_CLUSTER : CLUSTER, hostileMB }, directory);
  const flags = ['--node-name', LOCAL_NODE, '--kubeconfig', server.kubeconfigFile, '--http-address', 'off'];
  const limit = MemoryLimit.create(MEMORY_LIMIT);
  const agent = new WatchedProcess(
    [
      process.execPath,
      ...IMAGE_FLAGS,
      bundle,
      'agent',
      ...flags,
      '--dataplane',
      'iptables',
      '--backend',
      'iptables-nft',
    ],
    IMAGE_ENV,
  );
  limit?.take(agent.pid);
  try {
    const ms = await agent.said(FIRST_SYNC);
    const before = agent.count(COMMITTED);
    for (let edit = 0; edit < (quick ? 5 : EDITS); edit++) {
      server.edit();
      await sleep(EDIT_MS);
    }
    await sleep(2_000);
    const commitMs = agent.linesWith(COMMITTED).slice(before).flatMap(sinceChange);
    const { now, peak } = agent.memory();
    const chargedMB = limit && limit.peak / 1e6;
    return { hostileMB, seconds: ms / 1000, peakMB: peak / 1e6, steadyMB: now / 1e6, chargedMB, commitMs };
  } finally {
    await agent.stop();
    await limit?.remove();
    server.stop();
  }
}

function charged(side: readonly Run[]): string {
  const all = side.flatMap(({ chargedMB }) => chargedMB ?? []);
  return all.length === 0 ? '-' : `${number(Math.max(...all))} MB`;
}

function sinceChange(line: string): number[] {
  const { sinceChangeMs } = JSON.parse(line) as { readonly sinceChangeMs?: number };
  return sinceChangeMs === undefined ? [] : [sinceChangeMs];
}

function result(runs: readonly Run[], hostileMB: number, quick: boolean): SuiteResult {
  const sides = [0, hostileMB].map((megabytes) => runs.filter((each) => each.hostileMB === megabytes));
  const [usual, hostile] = sides.map((side) => median(side.flatMap(({ commitMs }) => commitMs))) as [number, number];
  const peak = Math.max(...sides[1]!.map(({ peakMB }) => peakMB));
  const targets = targetsTable([
    {
      what: `peak RSS, ${hostileMB} MB of hostile objects`,
      measured: peak,
      limit: MEMORY_LIMIT / 1e6,
      kind: 'at-most',
      unit: 'MB',
    },
    {
      what: 'commit of an edit against the same cluster without them',
      measured: hostile / usual,
      limit: MAX_RATIO,
      kind: 'at-most',
      unit: 'x',
    },
  ]);
  const row = (side: readonly Run[]): string[] => [
    `${side[0]!.hostileMB} MB`,
    `${number(median(side.map(({ seconds }) => seconds)))} s`,
    `${number(Math.max(...side.map(({ peakMB }) => peakMB)))} MB`,
    `${number(median(side.map(({ steadyMB }) => steadyMB)))} MB`,
    charged(side),
    `${number(median(side.flatMap(({ commitMs }) => commitMs)))} ms`,
    `${Math.min(...side.map(({ commitMs }) => commitMs.length))}`,
  ];
  return {
    suite: 'hostile',
    machine: describeMachine(),
    tables: [
      ...(quick ? [] : [targets]),
      {
        title: 'hostile',
        note:
          `The agent with its flags in the image (${IMAGE_FLAGS.join(' ')}), in a control group with the manifest's limit of memory where the machine lets one, a cluster of ${(quick ? QUICK_CLUSTER : CLUSTER).pods} pods, and the ` +
          'hostile objects of bench/hostile-objects.ts made as they are sent; while commits are measured, a hostile policy is changed with each edit.',
        columns: [
          'hostile objects',
          'until enforced',
          'peak RSS',
          'steady',
          'charged at most',
          'edit to commit',
          'edits seen',
        ],
        rows: sides.map(row),
      },
      {
        title: 'ratio',
        columns: ['commit with : without hostile objects'],
        rows: [[ratio(hostile / usual)]],
      },
    ],
    raw: runs,
  };
}
