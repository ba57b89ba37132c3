/** Short slices of each kind of traffic, over all variants in turn, in a new order every time. */
import { median } from '../statistics.ts';
import type { Rules, Variant } from './variants.ts';

export const TRAFFIC = ['rr', 'udp', 'bulk', 'crr', 'dns', 'new'] as const;
/** `denied` is not let through, so there is nothing to measure without rules. */
export type Traffic = (typeof TRAFFIC)[number] | 'denied';

/** Nanoseconds per operation (for `bulk`: per MiB), one per round; all arrays of a run are equally long, or empty if not measured. */
export type Samples = Readonly<Record<Traffic, readonly number[]>>;

export interface Measured {
  readonly rules: Rules;
  readonly backend: Variant['backend'];
  readonly ruleCount: number;
  readonly loadSeconds: number;
  readonly samples: Samples;
}

export interface MeasureOptions {
  readonly rounds: number;
  readonly traffic: readonly Traffic[];
  /** A slice is this many parts of this long; the fastest counts. */
  readonly parts: number;
  readonly partMs: number;
}

export async function measure(variants: readonly Variant[], options: MeasureOptions): Promise<readonly Measured[]> {
  const counts = await calibrate(variants[0]!, options);
  const collected = variants.map(() => emptySamples());
  // The first round warms caches, opens every chain once and is not counted.
  for (let round = -1; round < options.rounds; round++) {
    for (const traffic of options.traffic) {
      for (const index of shuffled(variants.length)) {
        const nanoseconds = await slice(variants[index]!, traffic, counts.get(traffic)!, options.parts);
        if (round >= 0) collected[index]![traffic].push(nanoseconds);
      }
    }
  }
  return variants.map(({ rules, backend, ruleCount, loadSeconds }, index) => ({
    rules,
    backend,
    ruleCount,
    loadSeconds,
    samples: collected[index]!,
  }));
}

function emptySamples(): Record<Traffic, number[]> {
  return { rr: [], udp: [], bulk: [], crr: [], dns: [], new: [], denied: [] };
}

async function slice(variant: Variant, traffic: Traffic, count: number, parts: number): Promise<number> {
  const answer = await variant.client.ask(`${traffic} ${count} ${parts}`);
  return Math.round(Number(answer) / count);
}

/** How many operations fill a part in the first variant. */
async function calibrate(variant: Variant, { traffic, partMs }: MeasureOptions): Promise<ReadonlyMap<Traffic, number>> {
  const counts = new Map<Traffic, number>();
  for (const each of traffic) {
    const took: number[] = [];
    for (let round = 0; round < 3; round++) took.push(await slice(variant, each, 20, 1));
    counts.set(each, Math.max(4, Math.round((partMs * 1e6) / median(took))));
  }
  return counts;
}

function shuffled(count: number): number[] {
  const order = Array.from({ length: count }, (_, index) => index);
  for (let index = count - 1; index > 0; index--) {
    const other = Math.floor(Math.random() * (index + 1));
    [order[index], order[other]] = [order[other]!, order[index]!];
  }
  return order;
}
