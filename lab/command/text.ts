/** The sentences of `portcullis lab`. Pure. */
import type { AuditCount } from '../audit-counts.ts';
import type { Matrix, MatrixCell, MatrixChange } from '../matrix.ts';
import type { Measurement } from '../measure.ts';
import type { Paint } from '../../src/cli/paint.ts';
import type { ClusterNetworkPolicyObject, NetworkPolicyObject } from '../api/objects.ts';

import { describeCell } from '../matrix.ts';
import { LEGEND, matrixText, portsText, shorten } from '../matrix-text.ts';

export interface TextOptions {
  readonly width: number;
  readonly paint: Paint;
}

/** One policy brought in: what changed for whom, and how fast. */
export interface StepReport {
  /** `namespace/name`. */
  readonly policy: string;
  readonly change: MatrixChange;
  readonly cells: number;
  /** Undefined: the packets did not follow in time. */
  readonly millisecondsToEnforced: number | undefined;
}

const MAX_LISTED = 20;
const MAX_PAIRS = 3;
const MAX_PAIR_LABEL = 32;

export function stepText(matrix: Matrix, report: StepReport, options: TextOptions): string {
  const { paint } = options;
  const { change, cells, millisecondsToEnforced } = report;
  const changed = change.nowDenied.length + change.nowAllowed.length;
  const time =
    changed === 0
      ? 'changes nothing here'
      : millisecondsToEnforced === undefined
        ? paint('red', 'packets did not follow in time')
        : `enforced after ${paint('bold', `${Math.round(millisecondsToEnforced)} ms`)}, ${changed} of ${cells} cells change`;
  return [`  ${paint('bold', `+ ${report.policy}`)}  ${time}`, ...changeLines(matrix, change, options)].join('\n');
}

/** `now denied   a -> b, c -> d (TCP 80) and 7 more`, one line a direction. */
export function changeLines(matrix: Matrix, change: MatrixChange, { paint, width }: TextOptions): string[] {
  const lines: string[] = [];
  const add = (verb: string, color: 'red' | 'green', cells: readonly MatrixCell[]): void => {
    if (cells.length === 0) return;
    const head = `      ${verb.padEnd(11)}  `;
    lines.push(`      ${paint(color, verb.padEnd(11))}  ${pairsText(matrix, cells, width - head.length)}`);
  };
  add('now denied', 'red', change.nowDenied);
  add('now allowed', 'green', change.nowAllowed);
  return lines;
}

/** As many pairs as fit, at least one and at most `MAX_PAIRS`. */
function pairsText(matrix: Matrix, cells: readonly MatrixCell[], width: number): string {
  const pairs = [...Map.groupBy(cells, ({ from, to }) => `${from} ${to}`).values()];
  const more = (shown: number): string => (shown < pairs.length ? ` and ${pairs.length - shown} more` : '');
  let text = pairText(matrix, pairs[0]!);
  let shown = 1;
  for (const pair of pairs.slice(1, MAX_PAIRS)) {
    const longer = `${text}, ${pairText(matrix, pair)}`;
    if (longer.length + more(shown + 1).length > width) break;
    text = longer;
    shown += 1;
  }
  return text + more(shown);
}

/** Ports and families are named when not all of them are meant. */
function pairText({ endpoints, ports, cells }: Matrix, same: readonly MatrixCell[]): string {
  const { from, to } = same[0]!;
  const label = (index: number): string => shorten(endpoints[index]!.label, MAX_PAIR_LABEL);
  const all = cells.filter((cell) => cell.from === from && cell.to === to);
  const text = `${label(from)} -> ${label(to)}`;
  if (all.length === same.length) return text;
  const keys = new Set(same.map(({ port }) => `${port.protocol} ${port.port}`));
  const which = ports.filter(({ protocol, port }) => keys.has(`${protocol} ${port}`));
  const families = new Set(same.map(({ family }) => family));
  const parts = [
    ...(which.length === ports.length ? [] : [portsText(which)]),
    ...(families.size === new Set(all.map(({ family }) => family)).size ? [] : [`IPv${[...families].join('')}`]),
  ];
  return parts.length === 0 ? text : `${text} (${parts.join(', ')})`;
}

export function policyList(
  policies: readonly NetworkPolicyObject[],
  clusterPolicies: readonly ClusterNetworkPolicyObject[],
  { paint }: TextOptions,
): string {
  const shown = [
    ...clusterPolicies.map(({ metadata, spec }) => ({ name: metadata.name, text: clusterPolicyText(spec) })),
    ...policies.map(({ metadata, spec }) => ({
      name: `${metadata.namespace}/${metadata.name}`,
      text: policyText(spec),
    })),
  ];
  if (shown.length === 0) return 'No policy in force: everything may reach everything.';
  const longest = Math.max(...shown.map(({ name }) => name.length));
  const lines = shown.map(({ name, text }) => `  ${name.padEnd(longest)}  ${paint('dim', text)}`);
  return [`${counted(shown.length, 'policy', 'policies')} in force:`, ...lines].join('\n');
}

/** `cluster-wide, tier Admin, priority 10`. */
function clusterPolicyText({ tier, priority }: ClusterNetworkPolicyObject['spec']): string {
  return `cluster-wide, tier ${String(tier)}, priority ${String(priority)}`;
}

/** `Ingress, Egress for app=web`. */
function policyText({ policyTypes = [], podSelector }: NetworkPolicyObject['spec']): string {
  const labels = Object.entries(podSelector.matchLabels ?? {}).map(([key, value]) => `${key}=${value}`);
  const expressions = (podSelector.matchExpressions ?? []).map(({ key, operator, values = [] }) =>
    values.length === 0 ? `${key} ${operator}` : `${key} ${operator} (${values.join(', ')})`,
  );
  const selected = [...labels, ...expressions].join(', ');
  return `${policyTypes.join(' and ')} of ${selected === '' ? 'every pod' : selected}`;
}

export function resultText(matrix: Matrix, measurement: Measurement, mode: string, options: TextOptions): string {
  const { paint } = options;
  const verdicts = measurement.cells.map(({ verdict }) => verdict);
  const total = counted(matrix.cells.length, 'cell', 'cells');
  const wrong = measurement.cells.flatMap((measured, index) =>
    measured.verdict === 'agrees' ? [] : [{ ...measured, cell: matrix.cells[index]! }],
  );
  const lines = [matrixText(matrix, verdicts, options).trimEnd(), '', paint('dim', LEGEND)];
  if (matrix.cells.length === 0) return `${lines.at(-1)}\nNothing to compare: there is no pod.`;
  if (wrong.length === 0)
    return [...lines, paint('green', `Predicted and measured agree in all of ${total}, asked twice.`)].join('\n');
  lines.push(paint('red', `${wrong.length} of ${total} ${wrong.length === 1 ? 'is' : 'are'} not as predicted:`));
  for (const { cell, verdict, result } of wrong.slice(0, MAX_LISTED)) {
    const expected = cell.predicted ? 'should arrive' : 'should be dropped';
    const detail = result.detail === undefined ? '' : ` (${result.detail})`;
    const was = verdict === 'flaps' ? `answers changed, one was ${result.outcome}` : `was ${result.outcome}`;
    lines.push(`  ${describeCell(matrix, cell)}: ${expected}, ${was}${detail}`);
  }
  if (wrong.length > MAX_LISTED) lines.push(`  and ${wrong.length - MAX_LISTED} more`);
  if (mode !== 'enforce')
    lines.push(`The agents run in mode ${mode}, which drops nothing: what differs is what enforcing would stop.`);
  return lines.join('\n');
}

/** What the agents themselves say, beside what was measured. */
export function auditText(counts: readonly AuditCount[], { paint }: TextOptions): string {
  if (counts.length === 0) return 'The agents counted no connection that enforcing would have denied.';
  const byPolicies = Map.groupBy(counts, ({ namespace, policies }) => `${namespace}/${policies}`);
  const longest = Math.max(...[...byPolicies.keys()].map((name) => name.length));
  const lines = [...byPolicies].map(([name, both]) => {
    const directions = both.map(({ direction, connections }) => `${direction} ${connections}`);
    return `  ${paint('bold', name.padEnd(longest))}  ${directions.join(', ')}`;
  });
  const metric = paint('dim', '(portcullis_audit_denied_connections_total of all nodes)');
  return ['Connections that enforcing would have denied, as the agents counted them:', ...lines, metric].join('\n');
}

export function counted(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}
