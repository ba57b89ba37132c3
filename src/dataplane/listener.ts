/** What a data plane tells besides the outcomes of syncs: what others do to it, and how live flows are marked. */
import type { Family } from '../core/vocabulary.ts';
import type { Drift } from './dataplane.ts';

// ---------------------------------------------------------------------------------------------------------- neighbours

export interface NeighbourListener {
  onDrift(found: Alike, repair: Repair): void;
  /** Somebody else committed to a table that holds rules of ours. `program`: cut to 15 characters by the kernel. */
  onForeignWrite(program: string): void;
  onMonitorLost(family: Family, loss: MonitorLoss, complaint: string): void;
  /** Changes are noticed by looks alone from here on. Once for each reason. */
  onMonitorUseless(why: 'missing' | 'stillborn', complaint: string): void;
}

/** Of one kind and family, at least one: a flushed table is one event to people, however many chains it held. */
export type Alike = readonly [Drift, ...Drift[]];

/** `pending`: what repairs it did not go in. `by`: the program, as far as the kernel told. */
export type Repair =
  | { readonly kind: 'pending' }
  | { readonly kind: 'repaired'; readonly by: string | undefined; readonly fight: FightState };

/** Whether the same was repaired again and again: `begins` the first time that it counts as a fight. */
export type FightState = 'single' | 'begins' | 'goes-on';

/**
 * Why commits of others may have been missed. `overrun`: more was written than the monitor could read; `ended`: it died; `stillborn`:
 * before it listened; `deaf`: it does not tell of what was certainly written.
 */
export const MONITOR_LOSSES = ['overrun', 'ended', 'stillborn', 'deaf'] as const;
export type MonitorLoss = (typeof MONITOR_LOSSES)[number];

/** `away`: our jumps are missing or not first; `fought`: what is repaired is undone again and again. */
export type JumpState =
  | { readonly kind: 'away' | 'fought'; readonly what: string }
  /** A sync is under way, or no rules are wanted. */
  | { readonly kind: 'not-watched' }
  /** `isTold`: the kernel tells of changes; else looks find them within seconds. */
  | { readonly kind: 'first'; readonly isTold: boolean };

// -------------------------------------------------------------------------------------------------------------- epochs

export interface EpochListener {
  /** Something of it changed. */
  onEpochs(family: Family, state: EpochState): void;
  /** Flows carry an epoch that was free and was not used since: somebody else writes to these bits of the mark. */
  onForeignMark(family: Family, epoch: number): void;
}

/** Of the epochs that the connection mark tells apart, in one family. */
export interface EpochState {
  /** In force; `none`: every packet of live flows is judged. Undefined before the first rules. */
  readonly current: number | 'none' | undefined;
  readonly total: number;
  /** Known to be on no live flow. */
  readonly free: number;
  /** Why no more could be found out, if so. */
  readonly problem: string | undefined;
}
