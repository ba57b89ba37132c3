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

/** The same object for pods that are judged alike. Programs are looked up once a pod is asked about. */
export function judgingIn({ programs, audits }: NodeIntent): JudgingOf {
  let programOf: ReadonlyMap<string, Program> | undefined;
  let auditOf: ReadonlyMap<string, Program> | undefined;
  const known = new ByJudging<Judging>();
  return (endpoint, direction) => {
    programOf ??= new Map(programs.map((program) => [program.key, program]));
    auditOf ??= new Map(audits.map((audit) => [audit.key, audit]));
    const program = programOf.get(endpoint.programs[direction] ?? '');
    const audit = auditOf.get(endpoint.audits[direction] ?? '');
    if (!program && !audit) return undefined;
    const same = known.of(program, audit);
    if (same) return same;
    const judging = { program, audit };
    return known.set(judging, judging);
  };
}

/** Keys of the programs and audits that are others, or in one of the intents alone. Costs a look at each and nothing that is made for it. */
export function changedJudgings(before: Programs, after: Programs): ReadonlySet<string> {
  const changed = new Set<string>();
  for (const list of ['programs', 'audits'] as const) addChanged(before[list], after[list], changed);
  return changed;
}

type Programs = Pick<NodeIntent, 'programs' | 'audits'>;

/** Both are sorted by key, as all lists of an intent. */
function addChanged(before: readonly Program[], after: readonly Program[], changed: Set<string>): void {
  if (before === after) return;
  let [at, to] = [0, 0];
  while (at < before.length || to < after.length) {
    const [old, now] = [before[at], after[to]];
    const order = old && now ? compareText(old.key, now.key) : old ? -1 : 1;
    if (order <= 0) at++;
    if (order >= 0) to++;
    if (old !== now) changed.add(order <= 0 ? old!.key : now!.key);
  }
}

/** Whether one of the changed programs judges the pod. */
export function isJudgedBy({ programs, audits }: LocalEndpoint, changed: ReadonlySet<string>): boolean {
  if (changed.size === 0) return false;
  for (const direction of JUDGING_ORDER)
    if (changed.has(programs[direction] ?? '') || changed.has(audits[direction] ?? '')) return true;
  return false;
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
