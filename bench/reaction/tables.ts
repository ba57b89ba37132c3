/** Samples -> the rows of suite *event*, and the ratios of two versions. */
import { median, number, ratio } from '../statistics.ts';
import type { Table } from '../types.ts';
import { type Kind, KINDS } from './cluster.ts';
import { type Cell, CHURN_RATE, type Load, LOADS, type Samples, type Side } from './measure.ts';

/** Times bare that a change of each kind may take: idle with few or many local pods, and under load. */
const LOAD_LIMIT = 4;
const MANY_PODS = 250;

export function limitOf(kind: Kind, load: Load, localPods: number): number {
  if (load === 'churn') return LOAD_LIMIT;
  if (kind === 'remote pod relabelled') return 2;
  if (kind === 'remote pod comes or goes') return 1.5;
  return localPods >= MANY_PODS ? 2 : 1.5;
}

/** Milliseconds of the bare side: the write's arrival, and the command. */
export function bareMs({ arrival, command }: Samples): number {
  return median(arrival) + median(command);
}

/** Mean of the two medians. */
export function packetsMs({ allowed, denied }: Samples): number {
  return (median(allowed) + median(denied)) / 2;
}

/** The first version of each cell is the one it is about; with a second one, its ratio to that. */
export function reactionTables(cells: readonly Cell[]): readonly Table[] {
  return [...cells.map(cellTable), ...cpuTables(cells)];
}

function cellTable({ backend, size, sides }: Cell): Table {
  const compared = sides.length > 1;
  return {
    title: `${backend}, ${size.localPods} local pods, ${size.policies} policies: from the API write to the packets`,
    note: `Medians in ms; load: ${CHURN_RATE} pod events/s. Bare: arrival at a bare watcher plus the bare command that adds what the change needs. Commit: from event to commit as the agent counts it (under load of all events).`,
    columns: [
      'change',
      'version',
      'allowed',
      'denied',
      'commit',
      'bare',
      'to bare',
      'limit',
      ...(compared ? [`to ${sides[0]!.version}`] : []),
    ],
    rows: LOADS.flatMap((load) =>
      KINDS.flatMap((kind) =>
        sides
          .filter(({ samples }) => samples[load][kind].allowed.length > 0)
          .map((side) => row(side, sides[0]!, load, kind, size.localPods, compared)),
      ),
    ),
  };
}

function row(side: Side, first: Side, load: Load, kind: Kind, localPods: number, compared: boolean): string[] {
  const samples = side.samples[load][kind];
  return [
    `${kind}, ${load === 'idle' ? 'idle' : 'under load'}`,
    side.version,
    number(median(samples.allowed)),
    number(median(samples.denied)),
    number(median(samples.committed)),
    number(bareMs(samples)),
    ratio(packetsMs(samples) / bareMs(samples)),
    `<= ${ratio(limitOf(kind, load, localPods))}`,
    ...(compared ? [ratio(packetsMs(samples) / packetsMs(first.samples[load][kind]))] : []),
  ];
}

function cpuTables(cells: readonly Cell[]): readonly Table[] {
  const measured = cells.filter(({ sides }) => sides[0]!.cpu.event.agent.length + sides[0]!.cpu.edit.agent.length > 0);
  if (measured.length === 0) return [];
  const text = (ms: readonly number[], count: number): string =>
    ms.length === 0 ? '-' : `${number((median(ms) * count) / 1000)} s`;
  const rows = measured.flatMap(({ backend, size, sides }) =>
    sides.map(({ version, cpu }) => [
      `${backend}, ${size.localPods} local pods, ${size.policies} policies`,
      version,
      text(cpu.event.agent, 1_000),
      text(cpu.event.watcher, 1_000),
      text(cpu.edit.agent, 100),
      text(cpu.edit.watcher, 100),
      ratio(median(cpu.event.agent) / median(sides[0]!.cpu.event.agent)),
      ratio(median(cpu.edit.agent) / median(sides[0]!.cpu.edit.agent)),
    ]),
  );
  return [
    {
      title: 'CPU of all processes',
      note: `Of the agent and every command it started, beside a bare watcher; pod events at ${CHURN_RATE}/s, edits at 10/s.`,
      columns: [
        'node',
        'version',
        '1,000 pod events',
        'watcher',
        '100 policy edits',
        'watcher',
        'events: ratio',
        'edits: ratio',
      ],
      rows,
    },
  ];
}
