/** Samples -> the rows of suite *event*, and the ratios of two versions. */
import { median, number, ratio } from '../statistics.ts';
import { isIptables, type MeasuredBackend } from '../backends.ts';
import type { Table } from '../types.ts';
import { type Kind, KINDS } from './cluster.ts';
import { type Cell, CHURN_RATE, type Load, LOADS, type Samples, type Side } from './measure.ts';

/** Times bare that a change of each kind may take: with nftables, and with iptables by kind and local pods; idle, and under load. */
const NFTABLES_LIMIT = { idle: 1.5, churn: 3 } as const;
const LOAD_LIMIT = 4;
const MANY_PODS = 250;

export function limitOf(backend: MeasuredBackend, kind: Kind, load: Load, localPods: number): number {
  if (!isIptables(backend)) return NFTABLES_LIMIT[load];
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
  const kept = isIptables(backend) ? [] : ['nft -f'];
  return {
    title: `${backend}, ${size.localPods} local pods, ${size.policies} policies: from the API write to the packets`,
    note: `Medians in ms; load: ${CHURN_RATE} pod events/s. Bare: arrival at a bare watcher plus the bare command that adds what the change needs${isIptables(backend) ? '' : ', over an nft -i that is kept open; nft -f: the same by a new process'}. Commit: from event to commit as the agent counts it (under load of all events).`,
    columns: [
      'change',
      'version',
      'allowed',
      'denied',
      'commit',
      'bare',
      ...kept,
      'to bare',
      'limit',
      ...(compared ? [`to ${sides[0]!.version}`] : []),
    ],
    rows: LOADS.flatMap((load) =>
      KINDS.flatMap((kind) =>
        sides
          .filter(({ samples }) => samples[load][kind].allowed.length > 0)
          .map((side) => row({ backend, side, first: sides[0]!, load, kind, localPods: size.localPods, compared })),
      ),
    ),
  };
}

interface RowParts {
  readonly backend: MeasuredBackend;
  readonly side: Side;
  readonly first: Side;
  readonly load: Load;
  readonly kind: Kind;
  readonly localPods: number;
  readonly compared: boolean;
}

function row({ backend, side, first, load, kind, localPods, compared }: RowParts): string[] {
  const samples = side.samples[load][kind];
  return [
    `${kind}, ${load === 'idle' ? 'idle' : 'under load'}`,
    side.version,
    number(median(samples.allowed)),
    number(median(samples.denied)),
    number(median(samples.committed)),
    number(bareMs(samples)),
    ...(isIptables(backend) ? [] : [number(median(samples.process))]),
    ratio(packetsMs(samples) / bareMs(samples)),
    `<= ${ratio(limitOf(backend, kind, load, localPods))}`,
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
