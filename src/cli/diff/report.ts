/** What a change of manifests does to flows: in words for people, and as data for programs. */
import type { Paint } from '../paint.ts';
import type { EndGroup } from '../../policy/matrix/groups.ts';
import type { FlowVerdict } from '../../policy/matrix/matrix.ts';
import type { MatrixView } from '../matrix/view.ts';
import type { LiveConnections } from './live-connections.ts';
import type { FlowChange } from '../../policy/matrix/changes.ts';
import type { DirectionVerdict } from '../../policy/model.ts';

import { DIRECTIONS } from '../../core/vocabulary.ts';
import { explainDirection } from '../../policy/explain-verdict.ts';
import { CHANGES } from '../../policy/matrix/changes.ts';
import { portText } from '../../policy/matrix/ports.ts';
import { titleOf } from '../matrix/view.ts';
import { type MergedChange, mergeChanges } from './merge-changes.ts';

export interface DiffFacts {
  readonly view: MatrixView;
  readonly changes: readonly FlowChange[];
  /** Groups that are there on one side only. */
  readonly added: readonly EndGroup[];
  readonly removed: readonly EndGroup[];
  readonly connections: LiveConnections | undefined;
  /** Of --fail-on, in words. */
  readonly failed: readonly string[];
}

const WORDS = { 'newly-allowed': 'newly allowed', 'newly-denied': 'newly denied' } as const;

export function summaryOf({ changes }: DiffFacts): string {
  if (changes.length === 0) return 'no flow changes';
  const counts = CHANGES.flatMap((change) => {
    const ours = changes.filter((each) => each.change === change);
    const rows = new Set(ours.map(({ from, to }) => `${titleOf(from)} ${titleOf(to)}`)).size;
    return rows === 0 ? [] : [`${WORDS[change]} between ${rows} ${rows === 1 ? 'pair' : 'pairs'} of ends`];
  });
  return counts.join(', ');
}

/** More are told by `json` and `html`. */
const MAX_TOLD = 25;
const MAX_NAMED = 6;

export function diffText(facts: DiffFacts, paint: Paint): string {
  const { view, changes, added, removed, connections, failed } = facts;
  const merged = mergeChanges(changes);
  const parts = [paint('bold', summaryOf(facts))];
  for (const change of CHANGES) {
    const ours = merged.filter((each) => each.change === change);
    const told = ours.slice(0, MAX_TOLD).map((each) => changeText(each, view, paint));
    if (ours.length > MAX_TOLD)
      told.push(`  and ${ours.length - MAX_TOLD} more: --from and --to narrow, -o json tells all`);
    if (told.length > 0)
      parts.push([paint(change === 'newly-allowed' ? 'yellow' : 'red', WORDS[change]), ...told].join('\n'));
  }
  const gone = [
    ...(added.length > 0 ? [`new: ${someOf(added)}`] : []),
    ...(removed.length > 0 ? [`gone: ${someOf(removed)}`] : []),
    ...(isNobodyLeft(facts) ? ['no pod is left: --as apply adds what is given to what is there'] : []),
  ];
  if (gone.length > 0) parts.push(gone.join('\n'));
  if (connections) parts.push(connectionsText(connections, view, paint));
  for (const failure of failed) parts.push(paint('red', `fails: ${failure}`));
  return `${parts.join('\n\n')}\n`;
}

function isNobodyLeft({ view, removed }: DiffFacts): boolean {
  return removed.length > 0 && removed.length === view.groups.filter(({ type }) => type === 'pod').length;
}

function changeText(
  { from, to, pairs, example, isVaried }: MergedChange,
  { matrix }: MatrixView,
  paint: Paint,
): string {
  const ports = example.ports.map((port) => portText(matrix.ports[port]!)).join(' ');
  const head = `  ${paint('bold', `${someOf(from)} -> ${someOf(to)}`)}: ${portsWords(example, matrix.ports.length, ports)}`;
  const count = pairs > 1 ? paint('dim', ` (${pairs} pairs of pods)`) : '';
  return [`${head}${count}`, ...reasonLines(example, isVaried)].join('\n');
}

function portsWords({ ports }: FlowChange, all: number, text: string): string {
  return ports.length === all ? 'all ports' : text;
}

/** Of directions whose answer is another one. */
function reasonLines({ before, after }: FlowChange, isVaried: boolean): string[] {
  return DIRECTIONS.toReversed().flatMap((direction) => {
    const [was, is] = [
      before && explainDirection(direction, before[direction]),
      explainDirection(direction, after[direction]),
    ];
    if (was === is) return [];
    const others = (verdict: DirectionVerdict | undefined): string =>
      isVaried && verdict && 'tier-rule' !== verdict.kind ? ', of others by their own policies' : '';
    return [
      `    ${direction} before: ${was ?? 'it was not there'}${others(before?.[direction])}`,
      `    ${direction} after:  ${is}${others(after[direction])}`,
    ];
  });
}

function someOf(groups: readonly EndGroup[]): string {
  if (groups.length <= MAX_NAMED) return groups.map(titleOf).join(', ');
  const namespaces = new Set(groups.map(({ namespace }) => namespace)).size;
  const where = namespaces > 1 ? ` in ${namespaces} namespaces` : '';
  const named = groups.slice(0, MAX_NAMED / 2).map(titleOf);
  return `${named.join(', ')} and ${groups.length - named.length} more${where}`;
}

function connectionsText({ total, cut, cuts, leftOut }: LiveConnections, { matrix }: MatrixView, paint: Paint): string {
  const lines = cuts.slice(0, MAX_TOLD).map(({ from, to, port, count }) => {
    return `  ${titleOf(from)} -> ${titleOf(to)}: ${portText(matrix.ports[port]!)}, ${count}`;
  });
  const more = cuts.length > MAX_TOLD ? [`  and ${cuts.length - MAX_TOLD} more`] : [];
  const left = leftOut > 0 ? `; ${leftOut} more could not be judged: their ends are not there` : '';
  const head = `live connections that would be cut: ${cut} of ${total}`;
  return [`${cut > 0 ? paint('red', head) : head}${left}`, ...lines, ...more].join('\n');
}

/** A table of all changes, merged. */
export function diffMarkdown(facts: DiffFacts): string {
  const rows = mergeChanges(facts.changes).map(({ change, from, to, example, isVaried }) => {
    const ports = example.ports.map((port) => portText(facts.view.matrix.ports[port]!)).join(' ');
    const why = reasonLines(example, isVaried)
      .map((line) => line.trim())
      .join('<br>');
    return [WORDS[change], someOf(from), someOf(to), portsWords(example, facts.view.matrix.ports.length, ports), why];
  });
  const line = (fields: readonly string[]): string =>
    `| ${fields.map((each) => each.replaceAll('|', '\\|')).join(' | ')} |\n`;
  const { connections, failed } = facts;
  return [
    `**${summaryOf(facts)}**\n\n`,
    ...(rows.length > 0
      ? [line(['change', 'from', 'to', 'ports', 'why']), line(['---', '---', '---', '---', '---'])]
      : []),
    ...rows.map(line),
    ...(connections ? [`\nlive connections that would be cut: ${connections.cut} of ${connections.total}\n`] : []),
    ...failed.map((failure) => `\n**fails: ${failure}**\n`),
  ].join('');
}

/** Stable: fields are added, and keep their meaning, within one `apiVersion`. */
export function diffData({ view, changes, added, removed, connections, failed }: DiffFacts): object {
  const { matrix } = view;
  const verdictsOf = (verdicts: FlowVerdict): unknown => ({ egress: verdicts.egress, ingress: verdicts.ingress });
  const portsOf = (ports: readonly number[]): string[] => ports.map((port) => portText(matrix.ports[port]!));
  return {
    apiVersion: 'portcullis.dev/v1alpha1',
    kind: 'FlowDiff',
    changes: changes.map(({ change, from, to, ports, pairs, before, after }) => ({
      change,
      source: endData(from),
      destination: endData(to),
      ports: portsOf(ports),
      pairs,
      ...(before ? { before: verdictsOf(before) } : {}),
      after: verdictsOf(after),
    })),
    added: added.map(endData),
    removed: removed.map(endData),
    ...(connections
      ? {
          connections: {
            total: connections.total,
            cut: connections.cut,
            leftOut: connections.leftOut,
            cuts: connections.cuts.map(({ from, to, port, count }) => ({
              source: endData(from),
              destination: endData(to),
              port: portText(matrix.ports[port]!),
              count,
            })),
          },
        }
      : {}),
    failed,
  };
}

function endData({ type, kind, namespace, name }: EndGroup): unknown {
  return { type, kind, ...(namespace === '' ? {} : { namespace }), name };
}
