/** What a page knows of a matrix: the same tables, so that pairs are put together where they are looked at. */
import type { DirectionVerdict } from '../../policy/model.ts';
import type { DirectionTable } from '../../policy/matrix/programs.ts';
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
    worlds: matrix.tables.map(({ egress, ingress }) => ({ egress: tableData(egress), ingress: tableData(ingress) })),
  };
}

/** As `--port` takes it. */
function askText({ port, protocol }: PortClass): string {
  return protocol === 'TCP' ? `${port}` : `${port}/${protocol}`;
}

function tableData({ programOf, programs }: DirectionTable): object {
  return { programOf, programs: programs.map(({ rows, rowOf }) => ({ rows, others: [...rowOf].flat() })) };
}

function verdictData(verdict: DirectionVerdict): object {
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
    case 'not-isolated':
      return { kind: verdict.kind };
  }
}
