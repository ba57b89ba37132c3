/** Says on what the numbers were measured. */
import { execFileSync } from 'node:child_process';
import { cpus, release, totalmem } from 'node:os';
import { median } from './statistics.ts';
import type { Machine } from './types.ts';

export function describeMachine(): Machine {
  const [iptables, ipset] = [versionOf('iptables'), versionOf('ipset')];
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    ...(iptables === undefined ? {} : { iptables }),
    ...(ipset === undefined ? {} : { ipset }),
    yardstickMs: measureYardstick(),
    startedAt: Math.round(Date.now() / 1000),
  };
}

const YARDSTICK = JSON.stringify(
  Array.from({ length: 5_000 }, (_, index) => ({ name: `pod-${index}`, labels: { app: `a${index % 7}` }, index })),
);
const YARDSTICK_ROUNDS = 31;

/** The same work every time, so that times of two machines, or of one on two days, can be told apart from times of two programs. */
function measureYardstick(): number {
  const times = Array.from({ length: YARDSTICK_ROUNDS }, () => {
    const began = performance.now();
    JSON.stringify(JSON.parse(YARDSTICK));
    return performance.now() - began;
  });
  return median(times);
}

/** First line of `--version`; undefined if the tool is not there. */
function versionOf(tool: string): string | undefined {
  try {
    return execFileSync(tool, ['--version'], { encoding: 'utf8', stdio: 'pipe' }).split('\n', 1)[0]?.replace(/,.*/, '');
  } catch {
    return undefined;
  }
}
