/** Reads back what statistics.ts and targets.ts wrote into tables, where a suite keeps the number nowhere else. */
import type { SuiteResult, Table } from '../types.ts';

const SCALES: Readonly<Record<string, number>> = { s: 1, ms: 1e-3, µs: 1e-6, ns: 1e-9, MB: 1, x: 1 };

/** `1.15 µs` -> 0.00000115; times in seconds, all else as it is. Undefined for what is no number with a unit, such as `-`. */
export function readQuantity(text: string | number | undefined): number | undefined {
  const found = /^(-?[\d,.]+) ?(s|ms|µs|ns|MB|x)$/.exec(String(text));
  if (!found) return undefined;
  // Dividing keeps 50 µs from becoming 0.000049999999999999996.
  const value = Number(found[1]!.replaceAll(',', ''));
  return Number.isNaN(value) ? undefined : value / Math.round(1 / SCALES[found[2]!]!);
}

export function targetRows({ tables }: Pick<SuiteResult, 'tables'>): Table['rows'] {
  return tables.filter(isTargets).flatMap(({ rows }) => rows);
}

export function isTargets({ title }: Table): boolean {
  return title === 'targets';
}

/** The limit of the first target whose text matches; times in seconds. */
export function limitOf(result: Pick<SuiteResult, 'tables'>, what: RegExp): number | undefined {
  const row = targetRows(result).find(([text]) => what.test(String(text)));
  return readQuantity(String(row?.[2]).replace(/^[<>]= /, ''));
}
