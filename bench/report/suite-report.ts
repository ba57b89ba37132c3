/** What the report shows of a suite besides its tables. */
import type { Summary } from '../statistics.ts';
import type { SuiteResult } from '../types.ts';

/** A measured value as it is kept: JSON has null where there was no number. */
export type Middle = Pick<Summary, 'median' | 'quartiles'>;

export interface Plot {
  /** File name without its ending. */
  readonly name: string;
  /** What it shows, for those who do not see it. */
  readonly alt: string;
  readonly svg: string;
}

/** `Data` is what the plots need; it replaces `raw`. */
export interface SuiteReport<Data> {
  readonly reduce: (result: SuiteResult) => Data;
  readonly plots: (data: Data) => readonly Plot[];
}

export function middleOf({ median, quartiles }: Summary): Middle {
  return { median, quartiles };
}

const NANOSECONDS_PER_SECOND = 1e9;

/** Seconds as a chart shows them; a missing value stays missing. */
export function inUnit(seconds: number | null | undefined, unit: 's' | 'ms' | 'µs' | 'ns'): number | undefined {
  if (typeof seconds !== 'number') return undefined;
  const nanoseconds = { s: NANOSECONDS_PER_SECOND, ms: 1e6, µs: 1e3, ns: 1 }[unit];
  return (seconds * NANOSECONDS_PER_SECOND) / nanoseconds;
}
