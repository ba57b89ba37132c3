/**
 * When the state we hold is doubted though nothing failed: pure arithmetic, no clock of its own.
 *
 * A watch tells changes, never that it is the right history. The store behind the API server may be restored from a backup: the
 * resource version goes back, and a watch from our version, which is now in the future, is accepted and stays silent. Two things
 * find that: a *question* (one small request: "are you at least at this version?") and a *look* (a whole new list in the place of a
 * resumed watch). See docs/decisions/doubting-the-watch.md.
 */

/** Silence after which the first question is asked; each further one waits twice as long, up to the second value. */
const FIRST_QUESTION_MS = 60_000;
const MAX_QUESTION_MS = 240_000;

/** A look costs a list: so many objects a second, and no more, are read again on average. */
const LOOK_MS_PER_OBJECT = 250;
/** However many objects there are, they are looked at again after this long. */
const MAX_LOOK_MS = 3_600_000;
/** Least time between a list and a look, by how the watch before it ended. */
const MIN_LOOK_MS = { asked: 300_000, early: 1_000 } as const;
/** After an outage of this length much may have happened, the restoration of a backup included. */
const LONG_OUTAGE_MS = 60_000;
/** Watches in a row that ended at once and said nothing: what ends them may also swallow what they would have said. */
const MAX_SHORT_WATCHES = 2;
/** An empty list where objects are known is asked for so many times before it is believed. */
export const EMPTY_LISTS = 3;
const EMPTY_AGAIN_MS = 2_000;
const MAX_EMPTY_AGAIN_MS = 60_000;
/** From an unreadable line to the list that tells what it may have said; doubles while that goes on. */
const FIRST_LOST_MS = 1_000;
const MAX_LOST_MS = 60_000;

/** Silence before question number `asked + 1`, spread by a quarter to both sides. `random` is in [0, 1). */
export function questionDelayMs(asked: number, random: number): number {
  const middle = Math.min(MAX_QUESTION_MS, FIRST_QUESTION_MS * 2 ** Math.min(asked, 10));
  return Math.round(middle * (0.75 + random / 2));
}

export interface WatchEnd {
  /** Since the last complete list. */
  readonly sinceListMs: number;
  /** How many objects we hold of this kind. */
  readonly objects: number;
  /** `asked`: the server closed the watch when we had asked for it; `early`: it ended before, whatever ended it. */
  readonly end: 'asked' | 'early';
  /** How long no watch was open; 0 when one has just ended. */
  readonly outageMs: number;
  /** Watches in a row, this one included, that ended at once and said nothing. */
  readonly shortWatches: number;
}

/** Whether the next request is a list in the place of a watch that resumes. */
export function isRelistDue(watch: WatchEnd): boolean {
  if (watch.shortWatches >= MAX_SHORT_WATCHES) return true;
  if (watch.outageMs >= LONG_OUTAGE_MS) return true;
  const gapMs = Math.min(MAX_LOOK_MS, watch.objects * LOOK_MS_PER_OBJECT);
  return watch.sinceListMs >= Math.max(MIN_LOOK_MS[watch.end], gapMs);
}

/** From an unreadable line to the next list. `before`: lists in a row that were made for this reason already. */
export function lostDelayMs(before: number, random: number): number {
  return Math.round(Math.min(MAX_LOST_MS, FIRST_LOST_MS * 2 ** Math.min(before, 10)) * (1 + random / 4));
}

const VERSION = /^\d{1,20}$/;

/**
 * Whether resource version `a` is older than `b`. They are numbers to every server there is; of anything else nothing is
 * concluded.
 */
export function isOlderVersion(a: string, b: string): boolean {
  if (!VERSION.test(a) || !VERSION.test(b)) return false;
  return a.length === b.length ? a < b : BigInt(a) < BigInt(b);
}

/** From an empty list that is not believed to the next one. `times`: empty lists in a row. */
export function emptyAgainMs(times: number): number {
  return Math.min(MAX_EMPTY_AGAIN_MS, EMPTY_AGAIN_MS * 2 ** Math.max(0, Math.min(times, 10) - EMPTY_LISTS + 1));
}
