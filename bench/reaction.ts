/** The rows of suite *event* that count from the API write to the packets, for one version or two side by side. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Backend } from '../src/core/vocabulary.ts';
import type { Version } from './against/version.ts';
import type { ReactionSize } from './reaction/cluster.ts';
import { type Cell, type Effort, measureCell } from './reaction/measure.ts';
import type { SuiteOptions } from './types.ts';

const BACKENDS: readonly Backend[] = ['iptables-nft', 'iptables-legacy'];
const SMALL: ReactionSize = { localPods: 10, policies: 100 };
const LARGE: ReactionSize = { localPods: 250, policies: 1_000 };
const MORE: readonly ReactionSize[] = [
  { localPods: 10, policies: 1_000 },
  { localPods: 250, policies: 100 },
];
const QUICK: Effort = { idleRounds: 1, churnRounds: 1, cpuEvents: 0, cpuEdits: 0 };
const NO_CPU = { cpuEvents: 0, cpuEdits: 0 };

/** `versions` makes them in the folder it is given, which goes at the end. */
export async function measureReactions(
  versions: (directory: string) => readonly Version[],
  { quick, full = false, rounds = full ? 20 : 8 }: SuiteOptions,
): Promise<readonly Cell[]> {
  const directory = mkdtempSync(join(tmpdir(), 'portcullis-reaction-'));
  const effort: Effort = { idleRounds: rounds, churnRounds: Math.ceil(rounds / 2), cpuEvents: 1_000, cpuEdits: 100 };
  try {
    const measured = versions(directory);
    const cells: Cell[] = [];
    for (const backend of quick ? BACKENDS.slice(0, 1) : BACKENDS) {
      for (const size of sizes(quick, full)) {
        const hasCpu = size === LARGE && (full || backend === 'iptables-nft');
        const own = quick ? QUICK : { ...effort, ...(hasCpu ? {} : NO_CPU) };
        cells.push(await measureCell(measured, backend, size, own, directory));
      }
    }
    return cells;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function sizes(quick: boolean, full: boolean): readonly ReactionSize[] {
  if (quick) return [SMALL];
  return full ? [SMALL, ...MORE, LARGE] : [SMALL, LARGE];
}
