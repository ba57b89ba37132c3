/** The agent's process of two versions in turn: time to the first commit, cold and again, CPU and resident memory. */
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { runCommand } from '../../src/host/command.ts';
import { FIRST_SYNC, startAgent } from '../agent-process.ts';
import { type ApiProcess, startApiProcess } from '../api-process.ts';
import { describeMachine } from '../machine.ts';
import { sleep } from '../stalls.ts';
import { median, number, ratio } from '../statistics.ts';
import type { SuiteOptions, SuiteResult, Table } from '../types.ts';
import { type Both, inTurn, withBoth } from './both.ts';

const LOCAL = { localPods: 100, localNamespaces: 60 };
const SETTLE_MS = 3_000;
const MEASURES = [
  ['first commit, empty kernel', 's'],
  ['first pass after a restart', 's'],
  ['CPU until the first commit', 's'],
  ['peak RSS', 'MB'],
  ['steady RSS', 'MB'],
] as const;
/** In the order of MEASURES. */
type Measured = readonly [number, number, number, number, number];

export async function measureProcesses(suite: string, options: SuiteOptions): Promise<SuiteResult> {
  const { quick, full, against, rounds = quick ? 1 : 5 } = options;
  return await withBoth(against!, async (both, directory) => {
    const tables: Table[] = [];
    for (const pods of quick ? [1_000] : full ? [1_000, 5_000, 20_000, 100_000] : [1_000, 5_000]) {
      const folder = mkdtempSync(join(directory, 'size-'));
      tables.push(await measureSize(both, pods, rounds, folder));
    }
    return { suite, machine: describeMachine(), tables, raw: undefined };
  });
}

async function measureSize(both: Both, pods: number, rounds: number, folder: string): Promise<Table> {
  const api = await startApiProcess({ pods, namespaces: pods / 10, policies: pods / 10, ...LOCAL }, folder);
  const samples = new Map(both.map((version) => [version, [] as Measured[]]));
  try {
    // The first round makes the server's texts and is not counted.
    for (let round = -1; round < rounds; round++) {
      for (const version of inTurn(both, round)) {
        const measured = await measureOnce(version.bundle, api);
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
    note: `Medians of ${rounds} runs each, in turn, over TLS, iptables-nft.`,
    columns: ['what', both[0].name, both[1].name, 'ratio'],
    rows: MEASURES.map(([what, unit], index) => [
      what,
      `${number(other![index]!)} ${unit}`,
      `${number(own![index]!)} ${unit}`,
      ratio(own![index]! / other![index]!),
    ]),
  };
}

async function measureOnce(bundle: string, api: ApiProcess): Promise<Measured> {
  await clearKernel();
  const agent = startAgent(bundle, api, {});
  try {
    const coldMs = await agent.said(FIRST_SYNC);
    const cpuMs = agent.cpuMs();
    await sleep(SETTLE_MS);
    const { now, peak } = agent.memory();
    await agent.stop();
    return [coldMs / 1000, (await restartMs(bundle, api)) / 1000, cpuMs / 1000, peak / 1e6, now / 1e6];
  } finally {
    await agent.stop();
  }
}

async function restartMs(bundle: string, api: ApiProcess): Promise<number> {
  const agent = startAgent(bundle, api, {});
  try {
    return await agent.said(FIRST_SYNC);
  } finally {
    await agent.stop();
  }
}

/** Of all rules and sets in this namespace, whoever made them: no version need know what the other one writes. */
async function clearKernel(): Promise<void> {
  for (const tool of ['iptables-nft-restore', 'ip6tables-nft-restore'] as const)
    await runCommand({ argv: [tool], stdin: '*mangle\nCOMMIT\n', timeoutMs: 30_000 });
  await runCommand({ argv: ['ipset', 'destroy'], timeoutMs: 30_000 });
}
