/** Rounds in labs, one lab after the other, until the time is over or a difference is found. */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DataplaneName } from '../../../src/dataplane/dataplane-chooser.ts';
import type { Wiring } from '../../../lab/network/types.ts';
import type { Backend } from '../../../src/core/vocabulary.ts';
import { engineOf } from '../../../lab/command/options.ts';
import type { Lab } from '../../../lab/lab.ts';
import { createTestLab } from '../../support/test-lab.ts';
import { NODES } from './objects.ts';
import { Difference, emptyStats, Round, type TortureStats } from './round.ts';

export interface LabKind {
  readonly dataplane: DataplaneName;
  readonly backend: Backend;
  readonly wiring: Wiring;
}

/** Every way to enforce policies, with every wiring. */
export const LAB_KINDS: readonly LabKind[] = [
  { dataplane: 'iptables', backend: 'iptables-nft', wiring: 'routed' },
  { dataplane: 'iptables', backend: 'iptables-nft', wiring: 'bridge' },
  { dataplane: 'iptables', backend: 'iptables-legacy', wiring: 'routed' },
  { dataplane: 'iptables', backend: 'iptables-legacy', wiring: 'bridge' },
  { dataplane: 'nftables', backend: 'iptables-nft', wiring: 'routed' },
  { dataplane: 'nftables', backend: 'iptables-nft', wiring: 'bridge' },
];

/** Those that arguments ask for, as `--dataplane`, `--backend` and `--wiring` say it; with one that is not said, all of it. */
export function labKinds(asked: Partial<Record<keyof LabKind, string | undefined>>): readonly LabKind[] {
  const keys = ['dataplane', 'backend', 'wiring'] as const;
  return LAB_KINDS.filter((kind) => keys.every((key) => kind[key] === (asked[key] ?? kind[key])));
}

/** In words. */
export function kindText({ dataplane, backend, wiring }: LabKind): string {
  return `${engineOf({ dataplane, backend })}, ${wiring}`;
}

export interface TortureOptions {
  /** Of all labs together; each gets its share. A round that has begun is finished. */
  readonly seconds: number;
  readonly seed: string;
  /** Only this round, once in each lab. */
  readonly round?: number;
  /** In each round. */
  readonly storms: number;
  /** Whether rounds have cluster-wide policies; absent: some have. */
  readonly tiers?: boolean;
  readonly labs: readonly LabKind[];
  readonly print: (line: string) => void;
  /** Where the evidence of a difference is kept; the directory's name is printed with it. */
  readonly evidenceDir?: string;
}

const READY_MS = 30_000;

/** Returns the story of the first difference, printed already; undefined if there was none. */
export async function runTorture(options: TortureOptions): Promise<string | undefined> {
  const { seed, labs, print } = options;
  print(`seed ${seed}`);
  let next = options.round ?? 1;
  const evidenceDir = options.evidenceDir ?? join(tmpdir(), `portcullis-torture-${process.pid}`);
  for (const kind of labs) {
    const stats = emptyStats();
    const story = await inLab(kind, async (lab, nextSecond) => {
      const until = performance.now() + (options.seconds * 1000) / labs.length;
      do {
        const round = options.round ?? next++;
        const tiers = options.tiers === undefined ? {} : { tiers: options.tiers };
        const asked = { lab, seed, round, storms: options.storms, ...tiers, nextSecond, evidenceDir };
        const told = await playRound(asked, stats);
        if (told !== undefined) {
          const kinds = tiers.tiers === undefined ? '' : ` --tiers ${tiers.tiers ? 'yes' : 'no'}`;
          const again = `--seed ${seed} --round ${round} --storms ${options.storms}${kinds}`;
          const { dataplane, backend, wiring } = kind;
          const same = `--dataplane ${dataplane} --backend ${backend} --wiring ${wiring}`;
          return `round ${round} of seed ${seed}, ${kindText(kind)}:\n${told}\n--- again: npm run torture -- ${again} ${same}`;
        }
      } while (options.round === undefined && performance.now() < until);
      return undefined;
    });
    print(`${kindText(kind)}: ${summary(stats)}`);
    if (story === undefined) continue;
    print(story);
    return story;
  }
  return undefined;
}

async function playRound(
  options: ConstructorParameters<typeof Round>[0],
  stats: TortureStats,
): Promise<string | undefined> {
  try {
    await new Round(options, stats).run();
    return undefined;
  } catch (error) {
    return error instanceof Difference ? error.message : `the round could not be played: ${String(error)}`;
  }
}

async function inLab<T>(kind: LabKind, work: (lab: Lab, nextSecond: () => void) => Promise<T>): Promise<T> {
  const outside = [{ name: 'world' }, { name: 'moon' }];
  const { lab, problems, nextSecond } = await createTestLab({ ...kind, nodes: NODES, outside });
  try {
    await lab.agents.ready(READY_MS);
    const result = await work(lab, nextSecond);
    if (problems.length > 0) throw new Error(`the lab complains:\n${problems.join('\n')}`);
    return result;
  } finally {
    await lab.close();
  }
}

function summary(stats: TortureStats): string {
  const sorted = stats.followedMs.toSorted((a, b) => a - b);
  const at = (share: number): number =>
    Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0);
  const { rounds, storms, events, cells, denied, restarts, outages, faults, watched, flowsKept, flowsCut } = stats;
  const { wrong, starved, unresolved } = stats;
  return (
    `${rounds} rounds, ${storms} storms, ${events} events, ${restarts} restarts, ${outages} outages, ${faults} API faults; ` +
    `${cells} probes, ${denied} denied, ${wrong} wrong, ${starved} starved (${unresolved} never answered); ${watched} watched throughout, ${flowsKept} flows kept, ${flowsCut} cut; ` +
    `followed after median ${at(0.5)} ms, p95 ${at(0.95)} ms, most ${at(1)} ms`
  );
}
