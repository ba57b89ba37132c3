/** Values -> places along an axis, and where its ticks are. */

export type ScaleKind = 'linear' | 'log';

export interface Scale {
  /** Undefined: the axis has no place for it (not a number, or not above 0 on a logarithmic one). */
  readonly place: (value: number | null | undefined) => number | undefined;
  /** Ascending, at least two. */
  readonly ticks: readonly number[];
}

const LINEAR_TICKS = 6;
const MAX_LOG_TICKS = 8;
/** Far from any measurement, and from where numbers lose their digits. */
const TINY = 1e-100;

/** An axis from place `from` to place `to` with room for all of `values`. A linear one has 0 on it. */
export function makeScale(
  kind: ScaleKind,
  values: readonly (number | null | undefined)[],
  [from, to]: readonly [number, number],
): Scale {
  const fits = (value: number | null | undefined): value is number =>
    typeof value === 'number' && Math.abs(value) < 1 / TINY && (kind === 'linear' || value > TINY);
  const shown = values.filter(fits);
  const bounds = kind === 'linear' ? linearTicks(shown) : logTicks(shown);
  const along = kind === 'linear' ? (value: number): number => value : Math.log10;
  const [low, high] = [along(bounds[0]!), along(bounds.at(-1)!)];
  return {
    ticks: kind === 'linear' ? bounds : thinned(bounds),
    // The ends of the axis may lie just beyond what fits.
    place: (value) =>
      fits(value) || bounds.includes(value!) ? from + ((along(value!) - low) / (high - low)) * (to - from) : undefined,
  };
}

function linearTicks(values: readonly number[]): readonly number[] {
  const [min, max] = [Math.min(0, ...values), Math.max(0, ...values)];
  const rough = (max - min > TINY ? max - min : 1) / LINEAR_TICKS;
  const exponent = Math.floor(Math.log10(rough));
  const digit = [1, 2, 2.5, 5, 10].find((each) => each >= rough / 10 ** exponent) ?? 10;
  const step = Number(`${digit}e${exponent}`);
  const [first, last] = [Math.floor(min / step), Math.max(1, Math.ceil(max / step))];
  // Multiplying brings tails such as 0.30000000000000004.
  return Array.from({ length: last - first + 1 }, (_, index) => Number(((first + index) * step).toPrecision(12)));
}

/** 1, 2, 5, 10, 20, ...: from one below the least, so that its bar can be seen, to one not below the greatest. */
function logTicks(values: readonly number[]): readonly number[] {
  const [min, max] = values.length === 0 ? [1, 10] : [Math.min(...values), Math.max(...values)];
  const ladder: number[] = [];
  for (let exponent = Math.floor(Math.log10(min)) - 1; exponent <= Math.ceil(Math.log10(max)); exponent++)
    ladder.push(...[1, 2, 5].map((digit) => Number(`${digit}e${exponent}`)));
  const first = ladder.findLastIndex((tick) => tick < min);
  const last = ladder.findIndex((tick) => tick >= max);
  return ladder.slice(first, last + 1);
}

/** Powers of ten alone, where there would be too many. */
function thinned(ticks: readonly number[]): readonly number[] {
  if (ticks.length <= MAX_LOG_TICKS) return ticks;
  return ticks.filter((tick) => Number.isInteger(Math.log10(tick)));
}
