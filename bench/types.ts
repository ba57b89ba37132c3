/** What a suite is given and what it gives back. */
import type { MeasuredBackend } from './backends.ts';

export interface SuiteOptions {
  /** A few seconds, to see that it works; the numbers mean little. */
  readonly quick: boolean;
  /** How often each side of a comparison is measured; absent: the suite's own choice. */
  readonly rounds?: number;
  /** Every combination a suite has; it takes as long as it takes. */
  readonly full?: boolean;
  /** Absent: the suite's own choice. Suites that have none pass over it. */
  readonly backends?: readonly MeasuredBackend[];
  /** A git ref or a folder: that version of the product is measured beside this one. */
  readonly against?: string;
}

/** Where the numbers come from. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly kernel: string;
  readonly node: string;
  /** Absent where the tools are not installed. */
  readonly iptables?: string;
  readonly ipset?: string;
  /** How fast it was just then: milliseconds to read and write 300 KB of JSON. Absent in older results. */
  readonly yardstickMs?: number;
  /** Seconds since the epoch. */
  readonly startedAt: number;
}

export interface Table {
  readonly title: string;
  /** What the rows mean, in a sentence or two. */
  readonly note?: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | number)[])[];
}

export interface SuiteResult {
  readonly suite: string;
  readonly machine: Machine;
  readonly tables: readonly Table[];
  /** Numbers behind the tables, for plots and for later comparison. */
  readonly raw: unknown;
}

/** A suite is a module `bench/<name>.ts` that exports this as `run`. */
export type RunSuite = (options: SuiteOptions) => Promise<SuiteResult>;
