/** Samples -> what is worth saying of them. */

export interface Summary {
  readonly count: number;
  readonly median: number;
  readonly p99: number;
  readonly max: number;
  /** Half of the samples lie between these. */
  readonly quartiles: readonly [number, number];
}

/** Of at least one sample. */
export function summarise(samples: readonly number[]): Summary {
  const sorted = Float64Array.from(samples).sort();
  const at = (share: number): number => quantile(sorted, share);
  return {
    count: sorted.length,
    median: at(0.5),
    p99: at(0.99),
    max: sorted[sorted.length - 1] ?? Number.NaN,
    quartiles: [at(0.25), at(0.75)],
  };
}

/** Nearest rank; `sorted` ascending. NaN if there is none. */
function quantile(sorted: Float64Array, share: number): number {
  if (sorted.length === 0) return Number.NaN;
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))]!;
}

export function median(samples: readonly number[]): number {
  return summarise(samples).median;
}

/** Three significant digits, thousands separated. */
export function number(value: number): string {
  if (!Number.isFinite(value)) return '-';
  const digits = value === 0 ? 0 : Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toLocaleString('en-US', {
    minimumFractionDigits: Math.min(digits, 2),
    maximumFractionDigits: Math.min(digits, 2),
  });
}

const UNITS = [
  ['s', 1],
  ['ms', 1e-3],
  ['µs', 1e-6],
  ['ns', 1e-9],
] as const;

/** Seconds in the unit that reads best. */
export function time(seconds: number): string {
  if (!Number.isFinite(seconds)) return '-';
  const [unit, size] = UNITS.find(([, unitSize]) => Math.abs(seconds) >= unitSize) ?? UNITS[3];
  return `${number(seconds / size)} ${unit}`;
}

export function ratio(value: number): string {
  return `${number(value)}x`;
}

/** CPU, then the time by the clock. */
export function stallCells({ ms, cpuMs }: { readonly ms: number; readonly cpuMs: number }): [string, string] {
  return [`${number(cpuMs)} ms`, `${number(ms)} ms`];
}

/** `4.20 ms (3.90 ms..5.10 ms)`: the median, and between what half of the samples lie. */
export function spread({ median: middle, quartiles: [low, high] }: Summary): string {
  return `${time(middle)} (${time(low)}..${time(high)})`;
}
