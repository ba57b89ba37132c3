/** Sums of what rules have counted. They outlive the rules: whoever reads a rule's counter adds what was counted since the last reading. */
import type { RuleCounter } from './dataplane.ts';
import type { SavedTotal } from './saved-counts.ts';

import { objectKey } from '../policy/model.ts';

/** What a count is a count of. */
export type Counted = Omit<RuleCounter, 'packets' | 'bytes'>;

/** Counts kept one by one; what comes beyond them is counted together, as `other`. */
export const MAX_COUNTS = 10_000;
/** A count that no rule adds to any more is dropped after this long. */
export const KEEP_IDLE_MS = 3_600_000;

/** One count. */
export interface Total {
  readonly counted: Counted;
  packets: number;
  bytes: number;
  /** The most that was told: two rules that count the same packet are not read at the same moment. */
  toldPackets: number;
  toldBytes: number;
  usedMs: number;
}

export class CountTotals {
  readonly #max: number;
  /** By what is counted. */
  readonly #totals = new Map<string, Total>();

  constructor(max = MAX_COUNTS) {
    this.#max = max;
  }

  /** Begins at 0 with the first question. */
  of(counted: Counted, nowMs: number): Total {
    const key = countedKey(counted);
    const found = this.#totals.get(key);
    if (found) return found;
    if (this.#totals.size >= this.#max && counted.of.kind === 'policies')
      return this.of({ ...counted, of: { kind: 'other' } }, nowMs);
    const total = { counted, packets: 0, bytes: 0, toldPackets: 0, toldBytes: 0, usedMs: nowMs };
    this.#totals.set(key, total);
    return total;
  }

  dropIdle(nowMs: number): void {
    for (const [key, { usedMs }] of this.#totals) if (nowMs - usedMs > KEEP_IDLE_MS) this.#totals.delete(key);
  }

  counters(): readonly RuleCounter[] {
    return [...this.#totals.values()].map((total) => {
      total.toldPackets = Math.max(total.toldPackets, total.packets);
      total.toldBytes = Math.max(total.toldBytes, total.bytes);
      return { ...total.counted, packets: total.toldPackets, bytes: total.toldBytes };
    });
  }

  /** Counts that are not 0: the others are there again with their rules. */
  *saved(): Iterable<SavedTotal> {
    for (const { counted, packets, bytes, toldPackets, toldBytes } of this.#totals.values())
      if (packets !== 0 || toldPackets !== 0) yield { ...counted, packets, bytes, toldPackets, toldBytes };
  }

  /** Adds what an agent before this one counted. */
  restore(saved: Iterable<SavedTotal>, nowMs: number): void {
    for (const { packets, bytes, toldPackets, toldBytes, ...counted } of saved) {
      const total = this.of(counted, nowMs);
      total.packets += packets;
      total.bytes += bytes;
      total.toldPackets += toldPackets;
      total.toldBytes += toldBytes;
    }
  }
}

function countedKey({ action, direction, flow, of }: Counted): string {
  const whose = of.kind === 'policies' ? of.policies.map(objectKey) : of.kind;
  return JSON.stringify([action, direction, flow, whose]);
}
