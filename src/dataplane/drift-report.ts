/** What syncs found that others had changed, told by kind once it is repaired, or that it is not. */
import type { Drift, SyncOutcome } from './dataplane.ts';
import type { Alike, NeighbourListener, Repair } from './listener.ts';

import { Fights } from './fights.ts';

const MAX_UNREPAIRED = 1_000;

export interface DriftReportOptions {
  readonly listener: Pick<NeighbourListener, 'onDrift'>;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** The program that did it, as far as that is known. */
  readonly authorOf: (drift: Drift) => string | undefined;
}

export class DriftReport {
  readonly #options: DriftReportOptions;
  readonly #fights: Fights;
  #unrepaired: readonly Drift[] = [];

  constructor(options: DriftReportOptions) {
    this.#options = options;
    this.#fights = new Fights(options.now);
  }

  /** What is repaired again and again. */
  get fought(): string | undefined {
    return this.#fights.current[0];
  }

  synced({ drift, failures }: Pick<SyncOutcome, 'drift' | 'failures'>): void {
    const isRepaired = failures.length === 0;
    const found = isRepaired ? [...this.#unrepaired, ...drift] : drift;
    this.#unrepaired = isRepaired ? [] : [...this.#unrepaired, ...drift].slice(0, MAX_UNREPAIRED);
    for (const alike of byKind(found)) this.#options.listener.onDrift(alike, this.#repairOf(alike, isRepaired));
  }

  #repairOf([first]: Alike, isRepaired: boolean): Repair {
    if (!isRepaired) return { kind: 'pending' };
    return { kind: 'repaired', by: this.#options.authorOf(first), fight: this.#fights.repaired(first) };
  }
}

/** Jumps first. */
function byKind(drift: readonly Drift[]): readonly Alike[] {
  const groups = Map.groupBy(drift, ({ kind, family }) => `${kind} ${family}`);
  return ([...groups.values()] as [Drift, ...Drift[]][]).sort(
    ([a], [b]) => Number(b.kind === 'jump') - Number(a.kind === 'jump'),
  );
}
