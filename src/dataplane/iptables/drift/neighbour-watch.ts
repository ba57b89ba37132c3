/** Watches what other programs do to our rules and sets: wires monitors, looks and the watch that decides, and says what came of it. */
import { FAMILIES, type Family } from '../../../core/vocabulary.ts';
import type { MonotonicClock } from '../../../core/clock.ts';
import type { Kernel } from '../kernel/kernel.ts';
import type { Drift, SyncOutcome } from '../../dataplane.ts';
import type { DriftWatchOptions } from './drift-watch.ts';
import type { JumpState, MonitorLoss, NeighbourListener } from '../../listener.ts';
import type { NetfilterChange } from './read-events.ts';

import { DriftWatch } from './drift-watch.ts';
import { DriftReport } from '../../drift-report.ts';
import { createLooks } from './looks.ts';
import { NetfilterMonitor } from './netfilter-monitor.ts';
import { watchWrites } from './watched-kernel.ts';

/** A change is somebody's if it was told of so shortly before its traces were found. */
const AUTHOR_MS = 5_000;
/** One may have been started without memory, or at a bad moment. */
const MANY_STILLBORN = 3;

/** What the watch asks of the agent. */
type Watched = Pick<DriftWatchOptions, 'standing' | 'resync'>;

export class NeighbourWatch {
  /** To be used instead of the one given: what goes through it is known to be ours. */
  readonly kernel: Kernel;
  readonly #kernel: Kernel;
  readonly #listener: NeighbourListener;
  readonly #clock: MonotonicClock;
  readonly #looks = createLooks();
  readonly #report: DriftReport;
  readonly #monitors: Readonly<Record<Family, NetfilterMonitor>>;
  #drift: DriftWatch | undefined;
  #watched: Watched | undefined;
  readonly #useless = new Set<'missing' | 'stillborn'>();
  /** Monitors in a row that ended before they listened. */
  readonly #stillborn: Record<Family, number> = { 4: 0, 6: 0 };
  #lastOther: { readonly change: NetfilterChange; readonly atMs: number } | undefined;

  constructor(kernel: Kernel, listener: NeighbourListener, clock: MonotonicClock) {
    this.#kernel = kernel;
    this.#listener = listener;
    this.#clock = clock;
    this.#report = new DriftReport({ listener, now: () => clock.now(), authorOf: (drift) => this.#authorOf(drift) });
    this.kernel = watchWrites(kernel, {
      began: (step) => this.#drift?.began(step),
      ended: (step, isDone) => this.#drift?.ended(step, isDone),
    });
    this.#monitors = { 4: this.#createMonitor(4), 6: this.#createMonitor(6) };
  }

  #createMonitor(family: Family): NetfilterMonitor {
    return new NetfilterMonitor({
      family,
      onChange: (change) => this.#changed(change),
      onLoss: (loss, complaint) => this.#lost(family, loss, complaint),
      onListening: () => this.#drift?.listening(family),
      onMissing: () => this.#giveUp('missing', ''),
      clock: this.#clock,
    });
  }

  /** Begins to look. */
  follow(watched: Watched): void {
    this.#watched = watched;
    this.#drift = new DriftWatch({
      looks: this.#looks,
      clock: this.#clock,
      backend: () => this.#kernel.backend,
      standing: () => watched.standing(),
      resync: (reason) => watched.resync(reason),
      isListening: (family) => this.#monitors[family].listening,
      isToldOfAll: (family) => this.#monitors[family].isToldOfAll(),
      onDeaf: (family) => this.#monitors[family].replace(),
    });
    this.#startMonitors();
  }

  stop(): void {
    this.#drift?.stop();
    for (const family of FAMILIES) this.#monitors[family].stop();
    this.#looks.stop();
  }

  /** To be told of each sync. */
  synced(outcome: SyncOutcome, resync: boolean): void {
    this.#drift?.synced(outcome, resync);
    this.#report.synced(outcome);
    if (resync) this.#startMonitors();
  }

  jumps(): JumpState {
    const away = this.#drift?.away;
    if (away !== undefined) return { kind: 'away', what: away };
    const fight = this.#report.fought;
    if (fight !== undefined) return { kind: 'fought', what: fight };
    if (!this.#watched?.standing()) return { kind: 'not-watched' };
    return { kind: 'first', isTold: this.#kernel.families.every((family) => this.#monitors[family].listening) };
  }

  /** Legacy tables tell nobody anything. The backend may change while the agent runs. */
  #startMonitors(): void {
    const { backend, families } = this.#kernel;
    for (const family of FAMILIES) {
      const isTold = backend === 'iptables-nft' && families.includes(family) && !this.#useless.has('missing');
      if (isTold) this.#monitors[family].start();
      else this.#monitors[family].stop();
    }
  }

  #changed(change: NetfilterChange): void {
    if (!this.#drift?.changed(change)) return;
    this.#lastOther = { change, atMs: this.#clock.now() };
    this.#listener.onForeignWrite(change.program);
  }

  #lost(family: Family, loss: MonitorLoss, complaint: string): void {
    this.#listener.onMonitorLost(family, loss, complaint);
    this.#drift?.lost(family);
    this.#stillborn[family] = loss === 'stillborn' ? this.#stillborn[family] + 1 : 0;
    if (this.#stillborn[family] >= MANY_STILLBORN) this.#giveUp('stillborn', complaint);
  }

  #giveUp(why: 'missing' | 'stillborn', complaint: string): void {
    if (this.#useless.has(why)) return;
    this.#useless.add(why);
    this.#listener.onMonitorUseless(why, complaint);
  }

  #authorOf({ family }: Drift): string | undefined {
    const last = this.#lastOther;
    if (!last || last.change.family !== family) return undefined;
    return this.#clock.now() - last.atMs < AUTHOR_MS ? last.change.program : undefined;
  }
}
