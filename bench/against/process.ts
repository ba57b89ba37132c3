/** The agent's process of two versions in turn: time to the first commit, cold and again, CPU and resident memory. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { runCommand } from '../../src/host/command.ts';
import { FIRST_SYNC, startAgent } from '../agent-process.ts';
import { type ApiProcess, startApiProcess } from '../api-process.ts';
import { backendsOf, isIptables, type MeasuredBackend } from '../backends.ts';
import { describeMachine } from '../machine.ts';
import { sleep } from '../stalls.ts';
import { median, number, ratio } from '../statistics.ts';
import type { SuiteOptions, SuiteResult, Table } from '../types.ts';
import { type Both, inTurn, withBoth } from './both.ts';
import type { Version } from './version.ts';

const LOCAL = { localPods: 100, localNamespaces: 60 };
const SETTLE_MS = 3_000;
const MEASURES = [
  ['first commit, empty kernel', 's'],
  ['first pass after a restart', 's'],
  ['CPU until the first commit', 's'],
  ['the same, of the main thread', 's'],
  ['peak RSS', 'MB'],
  ['steady RSS', 'MB'],
] as const;
/** In the order of MEASURES. */
type Measured = readonly [number, number, number, number, number, number];

export async function measureProcesses(suite: string, options: SuiteOptions): Promise<SuiteResult> {
  const { quick, full, against, rounds = quick ? 1 : 5 } = options;
  return await withBoth(against!, async (both, directory) => {
    const tables: Table[] = [];
    const backends = backendsOf({ ...options, quick: false }, ['iptables-nft']);
    for (const pods of quick ? [1_000] : full ? [1_000, 5_000, 20_000, 100_000] : [1_000, 5_000]) {
      const folder = mkdtempSync(join(directory, 'size-'));
      for (const backend of backends) tables.push(await measureSize(both, { pods, rounds, backend }, folder));
    }
    return { suite, machine: describeMachine(), tables, raw: undefined };
  });
}

interface Wanted {
  readonly pods: number;
  readonly rounds: number;
  readonly backend: MeasuredBackend;
}

async function measureSize(both: Both, { pods, rounds, backend }: Wanted, folder: string): Promise<Table> {
  const api = await startApiProcess({ pods, namespaces: pods / 10, policies: pods / 10, ...LOCAL }, folder);
  const samples = new Map(both.map((version) => [version, [] as Measured[]]));
  try {
    // The first round makes the server's texts and is not counted.
    for (let round = -1; round < rounds; round++) {
      for (const version of inTurn(both, round)) {
        const measured = await measureOnce(version.bundle, backendOf(version, backend), api);
        if (round >= 0) samples.get(version)!.push(measured);
      }
    }
  } finally {
    api.stop();
  }
  const [other, own] = both.map((version) =>
    MEASURES.map((_, index) => median(samples.get(version)!.map((each) => each[index]!))),
  );
  return {
    title: `${pods.toLocaleString('en-US')} pods, ${(pods / 10).toLocaleString('en-US')} policies`,
    note: `Medians of ${rounds} runs each, in turn, over TLS, ${both.map((version) => `${version.name} ${backendOf(version, backend)}`).join(', ')}.`,
    columns: ['what', both[0].name, both[1].name, 'ratio'],
    rows: MEASURES.map(([what, unit], index) => [
      what,
      `${number(other![index]!)} ${unit}`,
      `${number(own![index]!)} ${unit}`,
      ratio(own![index]! / other![index]!),
    ]),
  };
}

/** A version that knows no nftables is measured with iptables-nft beside it. */
function backendOf({ bundle }: Version, backend: MeasuredBackend): MeasuredBackend {
  if (isIptables(backend)) return backend;
  const { stdout } = spawnSync(process.execPath, [bundle, 'agent', '--help'], { encoding: 'utf8' });
  return stdout.includes('--dataplane') ? backend : 'iptables-nft';
}

async function measureOnce(bundle: string, backend: MeasuredBackend, api: ApiProcess): Promise<Measured> {
  await clearKernel();
  const agent = startAgent(bundle, api, { backend });
  try {
    const coldMs = await agent.said(FIRST_SYNC);
    const [cpuMs, mainMs] = [agent.cpuMs(), agent.mainThreadMs()];
    await sleep(SETTLE_MS);
    const { now, peak } = agent.memory();
    await agent.stop();
    const againMs = await restartMs(bundle, backend, api);
    return [coldMs / 1000, againMs / 1000, cpuMs / 1000, mainMs / 1000, peak / 1e6, now / 1e6];
  } finally {
    await agent.stop();
  }
}

async function restartMs(bundle: string, backend: MeasuredBackend, api: ApiProcess): Promise<number> {
  const agent = startAgent(bundle, api, { backend });
  try {
    return await agent.said(FIRST_SYNC);
  } finally {
    await agent.stop();
  }
}

/** Of all rules and sets in this namespace, whoever made them: no version need know what the other one writes. */
async function clearKernel(): Promise<void> {
  await runCommand({ argv: ['nft', 'flush', 'ruleset'], timeoutMs: 30_000 });
  for (const tool of ['iptables-nft-restore', 'ip6tables-nft-restore'] as const)
    await runCommand({ argv: [tool], stdin: '*mangle\nCOMMIT\n', timeoutMs: 30_000 });
  await runCommand({ argv: ['ipset', 'destroy'], timeoutMs: 30_000 });
}
