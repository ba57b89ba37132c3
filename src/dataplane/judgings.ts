/** Which programs judge the pods of a node, for data planes that give each of them a chain. */
import type { Direction } from '../core/vocabulary.ts';
import type { LocalEndpoint, NodeIntent, Program } from '../compile/intent.ts';
import type { Sliced } from '../core/sliced.ts';

import { compareText } from '../core/compare.ts';

/** A packet's egress is judged ahead of its ingress, and chains are made in the same order. */
export const JUDGING_ORDER = ['egress', 'ingress'] as const satisfies readonly Direction[];

/** What applies to pods in one direction; at least one of both. */
export interface Judging {
  readonly program: Program | undefined;
  readonly audit: Program | undefined;
}

/** Undefined: nothing judges the pod in that direction. */
export type JudgingOf = (endpoint: LocalEndpoint, direction: Direction) => Judging | undefined;

/** By program, then by audit. */
export class ByJudging<T> {
  readonly #values = new Map<Program | undefined, Map<Program | undefined, T>>();

  of(program: Program | undefined, audit: Program | undefined): T | undefined {
    return this.#values.get(program)?.get(audit);
  }

  set({ program, audit }: Judging, value: T): T {
    const values = this.#values.get(program) ?? new Map<Program | undefined, T>();
    this.#values.set(program, values.set(audit, value));
    return value;
  }
}

/** The same object for pods that are judged alike. */
export function judgingIn({ programs, audits }: NodeIntent): JudgingOf {
  const programOf = new Map(programs.map((program) => [program.key, program]));
  const auditOf = new Map(audits.map((audit) => [audit.key, audit]));
  const known = new ByJudging<Judging>();
  return (endpoint, direction) => {
    const program = programOf.get(endpoint.programs[direction] ?? '');
    const audit = auditOf.get(endpoint.audits[direction] ?? '');
    if (!program && !audit) return undefined;
    const same = known.of(program, audit);
    if (same) return same;
    const judging = { program, audit };
    return known.set(judging, judging);
  };
}

export function judgingKey(program: string | undefined, audit: string | undefined): string {
  return `${program ?? ''} ${audit ?? ''}`;
}

/** All that pods are judged by, by key; of those that are audited also what judges them without that. */
export function* judgingsOf({ endpoints, programs, audits }: NodeIntent): Sliced<ReadonlyMap<string, Judging>> {
  const found = new Map<string, Judging>();
  for (const program of programs) found.set(judgingKey(program.key, undefined), { program, audit: undefined });
  if (audits.length === 0) return found;
  const programOf = new Map(programs.map((program) => [program.key, program]));
  const auditOf = new Map(audits.map((audit) => [audit.key, audit]));
  for (const endpoint of endpoints) {
    for (const direction of JUDGING_ORDER) {
      const [key, auditKey] = [endpoint.programs[direction], endpoint.audits[direction]];
      if (auditKey === undefined) continue;
      const program = key === undefined ? undefined : programOf.get(key);
      found.set(judgingKey(key, auditKey), { program, audit: auditOf.get(auditKey) });
    }
    yield;
  }
  return new Map([...found].sort(([a], [b]) => compareText(a, b)));
}
