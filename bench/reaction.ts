/** The rows of suite *event* that count from the API write to the packets, for one version or two side by side. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Version } from './against/version.ts';
import { backendsOf, isIptables, type MeasuredBackend } from './backends.ts';
import type { ReactionSize } from './reaction/cluster.ts';
import { type Cell, type Effort, measureCell } from './reaction/measure.ts';
import type { SuiteOptions } from './types.ts';

const SMALL: ReactionSize = { localPods: 10, policies: 100 };
const LARGE: ReactionSize = { localPods: 250, policies: 1_000 };
const FEW_POLICIES: ReactionSize = { localPods: 250, policies: 100 };
const MORE: readonly ReactionSize[] = [{ localPods: 10, policies: 1_000 }, FEW_POLICIES];
const QUICK: Effort = { idleRounds: 1, churnRounds: 1, cpuEvents: 0, cpuEdits: 0 };
const NO_CPU = { cpuEvents: 0, cpuEdits: 0 };

/** `versions` makes them in the folder it is given, which goes at the end. */
export async function measureReactions(
  versions: (directory: string) => readonly Version[],
  options: SuiteOptions,
): Promise<readonly Cell[]> {
  const { quick, full = false, rounds = full ? 20 : 8 } = options;
  const directory = mkdtempSync(join(tmpdir(), 'portcullis-reaction-'));
  const effort: Effort = { idleRounds: rounds, churnRounds: Math.ceil(rounds / 2), cpuEvents: 1_000, cpuEdits: 100 };
  try {
    const measured = versions(directory);
    const cells: Cell[] = [];
    for (const backend of backendsOf(options)) {
      for (const size of sizes(backend, quick, full)) {
        const hasCpu = size === LARGE && (full || backend !== 'iptables-legacy');
        const own = quick ? QUICK : { ...effort, ...(hasCpu ? {} : NO_CPU) };
        cells.push(await measureCell(measured, backend, size, own, directory));
      }
    }
    return cells;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function sizes(backend: MeasuredBackend, quick: boolean, full: boolean): readonly ReactionSize[] {
  if (quick) return [SMALL];
  if (full) return [SMALL, ...MORE, LARGE];
  return isIptables(backend) ? [SMALL, LARGE] : [SMALL, FEW_POLICIES, LARGE];
}
