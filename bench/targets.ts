/** What was promised against what was measured. */
import type { Stall } from './stalls.ts';
import type { Table } from './types.ts';
import { number } from './statistics.ts';

export interface Target {
  readonly what: string;
  readonly measured: number;
  readonly limit: number;
  /** `at-least`: more is better. */
  readonly kind: 'at-most' | 'at-least';
  /** `x`, `ms`, `MB`, `µs`, `s`. */
  readonly unit: string;
}

/** Milliseconds promised between two turns of the event loop. */
const MAX_STALL_MS = 50;

/** `idle`: of a process that did nothing, at the same time on the same machine. */
export function stallTargets(what: string, own: Stall, idle: Stall): Target[] {
  const promise = { limit: MAX_STALL_MS, kind: 'at-most', unit: 'ms' } as const;
  return [
    { ...promise, what: `${what}: most CPU between two turns of the event loop`, measured: own.cpuMs },
    {
      ...promise,
      what: `${what}: longest between two turns by the clock (an idle process meanwhile: ${number(idle.ms)} ms)`,
      measured: own.ms,
    },
  ];
}

export function targetsTable(targets: readonly Target[]): Table {
  const withUnit = (value: number, unit: string): string =>
    unit === 'x' ? `${number(value)}x` : `${number(value)} ${unit}`;
  return {
    title: 'targets',
    columns: ['what', 'measured', 'target', 'met'],
    rows: targets.map(({ what, measured, limit, kind, unit }) => [
      what,
      withUnit(measured, unit),
      `${kind === 'at-most' ? '<=' : '>='} ${withUnit(limit, unit)}`,
      isMet(measured, limit, kind) ? 'yes' : 'NO',
    ]),
  };
}

function isMet(measured: number, limit: number, kind: Target['kind']): boolean {
  return kind === 'at-most' ? measured <= limit : measured >= limit;
}
