/** The matrix for programs: JSON and YAML, CSV, and Markdown for documents. */
import type { DirectionVerdict } from '../../policy/model.ts';
import type { Cell, EndGroup, Reason } from '../../policy/matrix/groups.ts';
import type { MatrixView } from './view.ts';

import { explainDirection } from '../../policy/explain-verdict.ts';
import { cellBetween, reasonsBetween } from '../../policy/matrix/groups.ts';
import { portText } from '../../policy/matrix/ports.ts';
import { cellText, stateAt } from './cell-text.ts';
import { titleOf } from './view.ts';

interface Judged {
  readonly from: EndGroup;
  readonly to: EndGroup;
  readonly cell: Cell;
}

export function* cellsOf({ matrix, sources, destinations }: MatrixView): Generator<Judged> {
  for (const from of sources) {
    for (const to of destinations) {
      const cell = cellBetween(matrix, 0, from, to);
      if (cell) yield { from, to, cell };
    }
  }
}

/** Stable: fields are added, and keep their meaning, within one `apiVersion`. */
export function matrixData(view: MatrixView): object {
  const { matrix, groups, ports } = view;
  const idOf = new Map(groups.map((group, index) => [group, index]));
  return {
    apiVersion: 'portcullis.dev/v1alpha1',
    kind: 'FlowMatrix',
    groups: groups.map((group, id) => groupData(group, id)),
    ports: ports.map((port) => ({ id: port, ...portData(view, port) })),
    verdicts: matrix.verdicts.map((verdict, id) => ({ id, ...verdictData(verdict) })),
    cells: [...cellsOf(view)].map(({ from, to, cell }) => ({
      source: idOf.get(from),
      destination: idOf.get(to),
      pairs: cell.total,
      ports: decisionsOf(view, from, to, cell),
    })),
  };
}

function groupData({ type, kind, namespace, name, members }: EndGroup, id: number): unknown {
  return { id, type, kind, ...(namespace === '' ? {} : { namespace }), name, members };
}

function portData({ matrix }: MatrixView, port: number): object {
  const { protocol, ranges, isRest } = matrix.ports[port]!;
  return { name: portText(matrix.ports[port]!), protocol, ranges, rest: isRest };
}

/** `passedBy`: rules of cluster-wide policies that handed the flow on. */
function verdictData(verdict: DirectionVerdict): object {
  const { passedBy } = verdict;
  return { ...decisionData(verdict), ...(passedBy?.length ? { passedBy } : {}) };
}

function decisionData(verdict: DirectionVerdict): object {
  switch (verdict.kind) {
    case 'allowed':
      return { verdict: verdict.kind, by: verdict.by };
    case 'denied':
      return { verdict: verdict.kind, isolatedBy: verdict.isolatedBy };
    case 'exempt':
      return { verdict: verdict.kind, reason: verdict.reason };
    case 'tier-rule':
      return { verdict: verdict.kind, action: verdict.action, by: [verdict.by] };
    case 'not-isolated':
      return { verdict: verdict.kind };
  }
}

/** Ports with the same answer and reasons together. */
function decisionsOf({ matrix, ports }: MatrixView, from: EndGroup, to: EndGroup, cell: Cell): unknown[] {
  const found = new Map<string, { ids: number[]; because: readonly Reason[] }>();
  for (const port of ports) {
    const because = reasonsBetween(matrix, 0, from, to, port);
    const key = JSON.stringify(because);
    const known = found.get(key);
    if (known) known.ids.push(port);
    else found.set(key, { ids: [port], because });
  }
  return [...found.values()].map(({ ids, because }) => ({ ids, allowed: stateAt(cell, ids[0]!), because }));
}

const CSV_HEAD = [
  ...['source_kind', 'source_namespace', 'source', 'source_ends'],
  ...['destination_kind', 'destination_namespace', 'destination', 'destination_ends'],
  ...['port', 'protocol', 'allowed', 'pairs', 'pairs_allowed', 'egress', 'ingress'],
];

/** A line for each cell and port; of the reasons that of most pairs. */
export function* matrixCsv(view: MatrixView): Generator<string> {
  yield csvLine(CSV_HEAD);
  const { matrix, ports } = view;
  for (const { from, to, cell } of cellsOf(view)) {
    for (const port of ports) {
      const [reason] = reasonsBetween(matrix, 0, from, to, port);
      const { protocol } = matrix.ports[port]!;
      yield csvLine([
        ...endFields(from),
        ...endFields(to),
        portText(matrix.ports[port]!).replace(/\/.*/, ''),
        protocol,
        stateAt(cell, port),
        cell.total,
        cell.allowed[port]!,
        reason ? explainDirection('egress', matrix.verdicts[reason.egress]!) : '',
        reason ? explainDirection('ingress', matrix.verdicts[reason.ingress]!) : '',
      ]);
    }
  }
}

function endFields({ kind, namespace, name, members }: EndGroup): (string | number)[] {
  return [kind, namespace, name, members.length];
}

/** RFC 4180. What a spreadsheet would take for a formula is text. */
function csvLine(fields: readonly (string | number)[]): string {
  const text = fields.map((field) => {
    const shown = /^[=+@]/.test(`${field}`) ? `'${field}` : `${field}`;
    return /[",\r\n]/.test(shown) ? `"${shown.replaceAll('"', '""')}"` : shown;
  });
  return `${text.join(',')}\r\n`;
}

const MAX_COLUMNS = 12;

/** A grid with names, or where that is too wide a line for each pair of which something is allowed. */
export function* matrixMarkdown(view: MatrixView): Generator<string> {
  const { matrix, sources, destinations, ports } = view;
  const textOf = (from: EndGroup, to: EndGroup): string => {
    const cell = cellBetween(matrix, 0, from, to);
    return cell ? cellText(cell, ports, matrix.ports) : '';
  };
  if (destinations.length <= MAX_COLUMNS) {
    yield markdownRow(['from \\ to', ...destinations.map(titleOf)]);
    yield markdownRow(['---', ...destinations.map(() => '---')]);
    for (const from of sources) yield markdownRow([titleOf(from), ...destinations.map((to) => textOf(from, to))]);
    return;
  }
  yield markdownRow(['from', 'to', 'ports']);
  yield markdownRow(['---', '---', '---']);
  for (const { from, to, cell } of cellsOf(view))
    if (cell.allowed.some((count) => count > 0)) yield markdownRow([titleOf(from), titleOf(to), textOf(from, to)]);
}

function markdownRow(fields: readonly string[]): string {
  return `| ${fields.map((field) => field.replaceAll('|', '\\|')).join(' | ')} |\n`;
}
