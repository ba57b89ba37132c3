/** One suite as the report needs it: its tables, and of its numbers only what the plots show. */
import { SUITES } from '../suites.ts';
import type { Machine, SuiteResult, Table } from '../types.ts';
import { cidrReport } from './cidr.ts';
import { compileReport } from './compile.ts';
import { eventReport } from './event.ts';
import { memoryReport } from './memory.ts';
import { packetReport } from './packet.ts';
import { startReport } from './start.ts';
import type { Plot } from './suite-report.ts';

export interface Reduced {
  readonly suite: string;
  readonly machine: Machine;
  readonly tables: readonly Table[];
  /** Absent for suites that have no plots. */
  readonly data?: unknown;
}

/** A report reads only data it has reduced itself, so its type matters to nobody else. */
type AnyReport = {
  readonly reduce: (result: SuiteResult) => unknown;
  readonly plots: (data: never) => readonly Plot[];
};

const REPORTS: ReadonlyMap<string, AnyReport> = new Map<string, AnyReport>([
  ['cidr', cidrReport],
  ['compile', compileReport],
  ['event', eventReport],
  ['memory', memoryReport],
  ['packet', packetReport],
  ['start', startReport],
]);

/** Throws if the numbers are not those of the suite. */
export function reduce(result: SuiteResult): Reduced {
  const { suite, machine, tables } = result;
  const report = REPORTS.get(suite);
  return { suite, machine, tables, ...(report ? { data: report.reduce(result) } : {}) };
}

/** Throws if the data is not what the plots of the suite need. */
export function plotsOf({ suite, data }: Reduced): readonly Plot[] {
  return REPORTS.get(suite)?.plots(data as never) ?? [];
}

/** In the order of the suites, those nobody knows at the end by name. */
export function inOrder(suites: readonly Reduced[]): readonly Reduced[] {
  const place = ({ suite }: Reduced): number => {
    const index = SUITES.findIndex(({ name }) => name === suite);
    return index < 0 ? SUITES.length : index;
  };
  return [...suites].sort((a, b) => place(a) - place(b) || (a.suite < b.suite ? -1 : 1));
}
