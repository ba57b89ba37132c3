/** The matrix for people: a grid where it fits, else what each source reaches. */
import type { MatrixView } from './view.ts';
import type { Paint } from '../paint.ts';

import { cellBetween, type EndGroup } from '../../policy/matrix/groups.ts';
import { cellText, NOTHING } from './cell-text.ts';
import { titleOf } from './view.ts';

const LEGEND =
  'Rows send, columns receive. all: any port; -: nothing; ~: some of the pods; a blank: no policy is asked.';

export function matrixText(view: MatrixView, width: number, paint: Paint): string {
  const texts = textsOf(view);
  return `${paint('bold', summaryOf(view))}\n\n${gridText(view, texts, width, paint) ?? listText(view, texts, paint)}\n`;
}

/** Undefined: no policy is asked. */
type Texts = readonly (readonly (string | undefined)[])[];

function textsOf({ matrix, sources, destinations, ports }: MatrixView): Texts {
  return sources.map((from) =>
    destinations.map((to) => {
      const cell = cellBetween(matrix, 0, from, to);
      return cell && cellText(cell, ports, matrix.ports);
    }),
  );
}

export function summaryOf({ matrix, groups }: MatrixView): string {
  const pods = new Set(groups.flatMap(({ type, members }) => (type === 'pod' ? members : [])));
  const rows = groups.filter(({ type }) => type === 'pod').length;
  const { egress, ingress } = matrix.tables[0]!;
  const isolated = [egress, ingress].map(({ isolates }) => podsOf(matrix, isolates).size);
  const counts = `${pods.size} ${pods.size === 1 ? 'pod' : 'pods'} in ${rows} ${rows === 1 ? 'group' : 'groups'}`;
  const subjects = new Set([egress, ingress].flatMap(({ isSubject }) => [...podsOf(matrix, isSubject)])).size;
  const tiers = subjects > 0 ? `; under cluster-wide policies: ${subjects}` : '';
  return `${counts}; isolated for egress: ${isolated[0]}, for ingress: ${isolated[1]}${tiers}`;
}

function podsOf({ classes }: MatrixView['matrix'], isAmong: readonly boolean[]): ReadonlySet<string> {
  return new Set(classes.flatMap(({ kind, members }, index) => (kind === 'pod' && isAmong[index] ? members : [])));
}

// ---------------------------------------------------------------------------------------------------------------- grid

const GAP = '  ';

/** Undefined: it is wider than `width`. Columns are numbered as rows are. */
function gridText(
  { groups, sources, destinations }: MatrixView,
  texts: Texts,
  width: number,
  paint: Paint,
): string | undefined {
  const numberOf = new Map(groups.map((group, index) => [group, `${index + 1}`]));
  const names = sources.map((group) => `${numberOf.get(group)!.padStart(3)} ${nameWithCount(group)}`);
  const first = Math.max(...names.map(({ length }) => length));
  const columns = destinations.map((to, index) =>
    Math.max(numberOf.get(to)!.length, ...texts.map((row) => row[index]?.length ?? 0)),
  );
  if (first + columns.reduce((sum, each) => sum + each + GAP.length, 0) > width) return undefined;
  const lines = [
    paint(
      'dim',
      [''.padEnd(first), ...destinations.map((to, index) => numberOf.get(to)!.padEnd(columns[index]!))]
        .join(GAP)
        .trimEnd(),
    ),
    ...texts.map((row, at) =>
      [names[at]!.padEnd(first), ...row.map((text, index) => painted(text ?? '', columns[index]!, paint))]
        .join(GAP)
        .trimEnd(),
    ),
  ];
  const elsewhere = destinations.filter((group) => !sources.includes(group));
  const legend = elsewhere.map((group) => `${numberOf.get(group)!.padStart(3)} ${nameWithCount(group)}`);
  return [...lines, ...(legend.length > 0 ? ['', ...legend] : []), '', paint('dim', LEGEND)].join('\n');
}

function painted(text: string, width: number, paint: Paint): string {
  const padded = text.padEnd(width);
  if (text === '') return padded;
  if (text === NOTHING) return paint('red', padded);
  return text === 'all' ? paint('green', padded) : paint('yellow', padded);
}

function nameWithCount(group: EndGroup): string {
  const count = group.members.length;
  return group.type === 'outside' || (count === 1 && group.kind !== 'nodes')
    ? titleOf(group)
    : `${titleOf(group)} (${count})`;
}

// ---------------------------------------------------------------------------------------------------------------- list

const MAX_NAMED = 8;

/** Sources that reach the same are told together; what they do not reach is not told. */
function listText({ sources, destinations }: MatrixView, texts: Texts, paint: Paint): string {
  const bySame = Map.groupBy(sources.keys(), (index) => JSON.stringify(reached(texts[index]!, destinations)));
  const blocks = [...bySame].map(([key, indexes]) => {
    const found = JSON.parse(key) as [ports: string, to: string[]][];
    const head = paint('bold', someOf(indexes.map((index) => nameWithCount(sources[index]!))));
    return [head, ...found.map(([ports, to]) => `  ${ports}: ${someOf(to)}`)].join('\n');
  });
  return `${blocks.join('\n')}\n\n${paint('dim', 'What is not listed is denied, or no policy is asked. ~: some of the pods.')}`;
}

/** By ports, those with the most first. */
function reached(row: Texts[number], destinations: readonly EndGroup[]): [ports: string, to: string[]][] {
  const found = new Map<string, string[]>();
  for (const [index, text] of row.entries()) {
    if (text === undefined || text === NOTHING) continue;
    const name = titleOf(destinations[index]!);
    const known = found.get(text);
    if (known) known.push(name);
    else found.set(text, [name]);
  }
  return found.size === 0 ? [['reaches', ['nobody']]] : [...found].sort(([, a], [, b]) => b.length - a.length);
}

function someOf(names: readonly string[]): string {
  const more = names.length - MAX_NAMED;
  return `${names.slice(0, MAX_NAMED).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}
