/** Says on what the numbers were measured. */
import { execFileSync } from 'node:child_process';
import { cpus, release, totalmem } from 'node:os';
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
    startedAt: Math.round(Date.now() / 1000),
  };
}

/** First line of `--version`; undefined if the tool is not there. */
function versionOf(tool: string): string | undefined {
  try {
    return execFileSync(tool, ['--version'], { encoding: 'utf8', stdio: 'pipe' }).split('\n', 1)[0]?.replace(/,.*/, '');
  } catch {
    return undefined;
  }
}
