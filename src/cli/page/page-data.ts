/** What a page knows of a matrix: the same tables, so that pairs are put together where they are looked at. */
import type { DirectionVerdict } from '../../policy/model.ts';
import { letsPass } from '../../policy/evaluate.ts';
import { ruleText } from '../../policy/explain-verdict.ts';
import type { DirectionTable, Program } from '../../policy/matrix/programs.ts';
import type { PortClass } from '../../policy/matrix/ports.ts';
import type { MatrixView } from '../matrix/view.ts';

import { portText } from '../../policy/matrix/ports.ts';
import { titleOf } from '../matrix/view.ts';

export function pageData(
  { matrix, groups, sources, destinations, ports }: MatrixView,
  title: string,
  summary: string,
): object {
  const [from, to] = [new Set(sources), new Set(destinations)];
  const [rows, programs] = [new Ids<readonly number[]>(), new Ids<Program>()];
  const worlds = matrix.tables.map(({ egress, ingress }) => ({
    egress: programsOf(egress, programs),
    ingress: programsOf(ingress, programs),
  }));
  return {
    title,
    summary,
    ports: matrix.ports.map((port) => ({ name: portText(port), isRest: port.isRest, ask: askText(port) })),
    shown: ports,
    families: matrix.classes.map(({ family }) => family),
    groups: groups.map((group) => ({
      type: group.type,
      kind: group.kind,
      namespace: group.type === 'pod' ? group.namespace : '',
      name: group.name,
      title: titleOf(group),
      members: group.members,
      parts: group.parts.map(({ index, count }) => [index, count]),
      isSource: from.has(group),
      isDestination: to.has(group),
    })),
    verdicts: matrix.verdicts.map(verdictData),
    worlds,
    programs: programs.list.map((program) => ({
      rows: program.rows.map((row) => rows.of(row)),
      others: [...program.rowOf].flat(),
    })),
    rows: rows.list,
  };
}

/** As `--port` takes it. */
function askText({ port, protocol }: PortClass): string {
  return protocol === 'TCP' ? `${port}` : `${port}/${protocol}`;
}

/** What is equal is one object, and is written once. */
class Ids<T> {
  readonly list: T[] = [];
  readonly #ids = new Map<T, number>();

  of(value: T): number {
    const id = this.#ids.get(value) ?? this.list.push(value) - 1;
    this.#ids.set(value, id);
    return id;
  }
}

/** By class; -1: it is not there. */
function programsOf({ programOf, programs }: DirectionTable, ids: Ids<Program>): readonly number[] {
  return programOf.map((index) => (index < 0 ? -1 : ids.of(programs[index]!)));
}

/** `by`, `passedBy`: in words. */
function verdictData(verdict: DirectionVerdict): object {
  const passedBy = verdict.passedBy?.map(ruleText) ?? [];
  return { ...decisionData(verdict), passes: letsPass(verdict), ...(passedBy.length > 0 ? { passedBy } : {}) };
}

function decisionData(verdict: DirectionVerdict): object {
  switch (verdict.kind) {
    case 'allowed':
      return {
        kind: verdict.kind,
        by: verdict.by.map(
          ({ policy, direction, index }) => `${policy.namespace}/${policy.name} ${direction}[${index}]`,
        ),
      };
    case 'denied':
      return { kind: verdict.kind, by: verdict.isolatedBy.map(({ namespace, name }) => `${namespace}/${name}`) };
    case 'exempt':
      return { kind: verdict.kind, reason: verdict.reason };
    case 'tier-rule':
      return { kind: verdict.kind, by: [ruleText(verdict.by)] };
    case 'not-isolated':
      return { kind: verdict.kind };
  }
}
