/**
 * Suite *matrix*: who may reach whom, and what an edit of policies changes, by classes of ends. Beside it the evaluator, which is asked about
 * every pair of pods and every class of ports, as analyzers do that judge pair by pair; both must find the same.
 */
import type { ClusterSnapshot, Policy } from '../src/policy/model.ts';

import { addressOwners } from '../src/policy/address-owners.ts';
import { createEvaluator } from '../src/policy/evaluate.ts';
import { changesBetween } from '../src/policy/matrix/changes.ts';
import { cellBetween, groupEnds } from '../src/policy/matrix/groups.ts';
import { FlowMatrix } from '../src/policy/matrix/matrix.ts';
import { ClusterModel } from './cluster-model.ts';
import { loadModel } from './load-model.ts';
import { describeMachine } from './machine.ts';
import { number, ratio, type Summary, summarise, time } from './statistics.ts';
import type { SuiteOptions, SuiteResult, Table } from './types.ts';

interface Size {
  readonly pods: number;
  readonly namespaces: number;
  readonly policies: number;
  /** Pair by pair it can be waited for. */
  readonly isPairwise: boolean;
}

const SIZES: readonly Size[] = [
  { pods: 100, namespaces: 10, policies: 20, isPairwise: true },
  { pods: 200, namespaces: 20, policies: 40, isPairwise: true },
  { pods: 400, namespaces: 40, policies: 80, isPairwise: true },
  { pods: 10_000, namespaces: 100, policies: 1_000, isPairwise: false },
  { pods: 10_000, namespaces: 1_000, policies: 1_000, isPairwise: false },
];
/** One policy of so many is edited for the diff. */
const EDITED = 50;

interface Measured extends Size {
  readonly classes: number;
  readonly matrix: Summary;
  readonly diff: Summary;
  readonly pairwise: Summary | undefined;
  /** Flows that are allowed between pods, of all. */
  readonly allowed: number;
  readonly flows: number;
}

export async function run({ quick, rounds = quick ? 1 : 3 }: SuiteOptions): Promise<SuiteResult> {
  const measured = (quick ? SIZES.slice(0, 1) : SIZES).map((size) => measure(size, rounds));
  return { suite: 'matrix', machine: describeMachine(), tables: [table(measured)], raw: measured };
}

function measure(size: Size, rounds: number): Measured {
  const local = { localPods: Math.min(100, size.pods), localNamespaces: Math.min(60, size.namespaces) };
  const { snapshot } = loadModel(new ClusterModel({ ...size, ...local }));
  const edited = editedOf(snapshot);
  const seconds = { matrix: [] as number[], diff: [] as number[], pairwise: [] as number[] };
  let count = { allowed: 0, flows: 0 };
  let classes = 0;
  for (let round = 0; round < rounds; round++) {
    const matrix = timed(seconds.matrix, () => new FlowMatrix([snapshot]));
    classes = matrix.classes.length;
    timed(seconds.diff, () => changesOf(snapshot, edited));
    count = countAllowed(matrix);
    if (!size.isPairwise) continue;
    const pairwise = timed(seconds.pairwise, () => pairByPair(snapshot, matrix));
    if (pairwise.allowed !== count.allowed || pairwise.flows !== count.flows)
      throw new Error(`pair by pair ${JSON.stringify(pairwise)} differs from ${JSON.stringify(count)}`);
  }
  return {
    ...size,
    ...count,
    classes,
    matrix: summarise(seconds.matrix),
    diff: summarise(seconds.diff),
    pairwise: size.isPairwise ? summarise(seconds.pairwise) : undefined,
  };
}

/** CPU of this process: the machine may be shared. */
function timed<T>(into: number[], run: () => T): T {
  const began = process.cpuUsage();
  const result = run();
  const { user, system } = process.cpuUsage(began);
  into.push((user + system) / 1e6);
  return result;
}

function editedOf(snapshot: ClusterSnapshot): ClusterSnapshot {
  const policies = [...snapshot.policies].map(([key, policy], index): readonly [string, Policy] => {
    const { namespace, name, uid, podSelector, isolates, egress } = policy;
    const open = { namespace, name, uid, podSelector, isolates, egress, ingress: [] };
    return [key, index % EDITED === 0 && isolates.ingress ? open : policy];
  });
  return { ...snapshot, policies: new Map(policies) };
}

function podGroups(matrix: FlowMatrix) {
  const groups = groupEnds(matrix, (kind, member) => ({ kind, namespace: '', name: kind === 'pod' ? 'pods' : member }));
  return groups.filter(({ type }) => type === 'pod');
}

/** Rows as the command has them by namespace. */
function changesOf(before: ClusterSnapshot, after: ClusterSnapshot): number {
  const matrix = new FlowMatrix([before, after]);
  const groups = groupEnds(matrix, (kind, member) => ({ kind, namespace: '', name: member.split('/')[0]! }));
  return [...changesBetween(matrix, groups, groups, [...matrix.ports.keys()])].length;
}

function countAllowed(matrix: FlowMatrix): { readonly allowed: number; readonly flows: number } {
  const [pods] = podGroups(matrix);
  const { total, allowed } = cellBetween(matrix, 0, pods!, pods!)!;
  return { allowed: allowed.reduce((sum, each) => sum + each, 0), flows: total * matrix.ports.length };
}

function pairByPair(
  snapshot: ClusterSnapshot,
  { ports }: FlowMatrix,
): { readonly allowed: number; readonly flows: number } {
  const evaluator = createEvaluator(snapshot);
  const addresses = [...addressOwners(snapshot.pods.values()).keys()];
  const count = { allowed: 0, flows: 0 };
  for (const source of addresses) {
    for (const destination of addresses) {
      if (source === destination) continue;
      for (const { number: protocol, port } of ports) {
        count.flows++;
        if (evaluator.evaluate({ source, destination, protocol, port }).allowed) count.allowed++;
      }
    }
  }
  return count;
}

function table(measured: readonly Measured[]): Table {
  return {
    title: 'Who may reach whom, and what an edit of one policy of fifty changes',
    note: 'CPU. Pair by pair: the evaluator is asked about every pair of pods at every class of ports; both found the same number of allowed flows.',
    columns: [
      'pods',
      'namespaces',
      'policies',
      'flows',
      'allowed',
      'classes',
      'matrix',
      'diff',
      'pair by pair',
      'ratio',
    ],
    rows: measured.map(({ pods, namespaces, policies, flows, allowed, classes, matrix, diff, pairwise }) => [
      number(pods),
      number(namespaces),
      number(policies),
      number(flows),
      number(allowed),
      number(classes),
      time(matrix.median),
      time(diff.median),
      pairwise ? time(pairwise.median) : '-',
      pairwise ? ratio(pairwise.median / matrix.median) : '-',
    ]),
  };
}
