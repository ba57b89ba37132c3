/** Connections that are there, and which of them a change would cut. */
import { readFile } from 'node:fs/promises';
import { text as textOf } from 'node:stream/consumers';
import type { Inventory } from '../../cluster/inventory.ts';
import type { EndGroup } from '../../policy/matrix/groups.ts';
import type { Flow } from '../../policy/model.ts';
import type { MatrixView } from '../matrix/view.ts';

import { messageOf } from '../../core/error-text.ts';
import { addressOwners } from '../../policy/address-owners.ts';
import { createEvaluator, type Evaluator, letsPass } from '../../policy/evaluate.ts';
import { objectKey } from '../../policy/model.ts';
import { distinctFlows } from '../../policy/recommend/observed.ts';
import { UsageProblem } from '../flags.ts';
import { readPages } from '../ask-nodes.ts';
import type { CommandContext } from '../command.ts';
import { type FlowText, nothingRead, readFlowText } from '../recommend/flow-lines.ts';
import { withAgents } from '../source/agents.ts';
import type { DiffOptions } from './options.ts';
import { resolveFlows } from '../recommend/resolve-flows.ts';

export interface CutConnections {
  readonly from: EndGroup;
  readonly to: EndGroup;
  /** Of `matrix.ports`. */
  readonly port: number;
  readonly count: number;
}

export interface LiveConnections {
  /** That could be judged. */
  readonly total: number;
  readonly cut: number;
  /** Most first. */
  readonly cuts: readonly CutConnections[];
  /** What could not be read, or has an end that is gone. */
  readonly leftOut: number;
}

/** Throws `UsageProblem`. Says what of the agents could not be read. */
export async function readConnections(
  { connections, agents, base }: Pick<DiffOptions, 'connections' | 'agents' | 'base'>,
  context: CommandContext,
): Promise<FlowText> {
  const read = nothingRead();
  for (const file of connections) readFlowText(await readText(file), file === '-' ? 'stdin' : file, read);
  if (!agents) return read;
  const pages = await withAgents(agents, base.kubeconfig, context, (ask) => readPages(ask, '/flows'));
  for (const { node, answer } of pages) {
    if ('problem' in answer) context.err(`! node ${node}: its live connections are not counted: ${answer.problem}\n`);
    else readFlowText(answer.body.toString('utf8'), node, read);
  }
  return read;
}

/** `inventories`: before and after. */
export function judgeConnections(
  read: FlowText,
  view: MatrixView,
  [before, after]: readonly [Inventory, Inventory],
): LiveConnections {
  const { flows, leftOut } = resolveFlows(read.flows, before, [], false);
  const evaluators = [createEvaluator(before.snapshot), createEvaluator(after.snapshot)] as const;
  const cuts = new Map<string, { readonly cut: Omit<CutConnections, 'count'>; count: number }>();
  const groupOf = groupFinder(view, before);
  const count = { total: 0, cut: 0, gone: 0 };
  for (const { flow, count: times } of distinctFlows(flows)) {
    const [was, is] = [allowed(view, evaluators[0], 0, flow), allowed(view, evaluators[1], 1, flow)];
    if (was === undefined || is === undefined) count.gone += times;
    else count.total += times;
    if (was !== true || is !== false) continue;
    count.cut += times;
    const [from, to] = [groupOf(flow.source, flow.fromNode !== undefined), groupOf(flow.destination, false)];
    const cut = { from, to, port: view.matrix.portOf(flow.protocol, flow.port) };
    const key = [view.groups.indexOf(from), view.groups.indexOf(to), cut.port].join(' ');
    const known = cuts.get(key) ?? { cut, count: 0 };
    known.count += times;
    cuts.set(key, known);
  }
  const gone = [...leftOut.values()].reduce((sum, each) => sum + each, count.gone);
  return {
    total: count.total,
    cut: count.cut,
    cuts: [...cuts.values()]
      .map(({ cut, count: times }) => ({ ...cut, count: times }))
      .sort((a, b) => b.count - a.count),
    leftOut: read.unread.length + gone,
  };
}

/** Not told by the matrix: a node and its own pods, a pod and itself by way of a Service. */
function allowed({ matrix }: MatrixView, evaluator: Evaluator, world: number, flow: Flow): boolean | undefined {
  if (flow.fromNode !== undefined || flow.viaService) return evaluator.evaluate(flow).allowed;
  const verdict = matrix.judge(world, flow);
  return verdict && letsPass(verdict.egress) && letsPass(verdict.ingress);
}

/** Of an address before the change: the group that it is in. */
function groupFinder(
  { matrix, groups }: MatrixView,
  { snapshot }: Inventory,
): (address: string, isNode: boolean) => EndGroup {
  const owners = addressOwners(snapshot.pods.values());
  const byMember = new Map(
    groups.flatMap((group) => group.members.map((member) => [`${group.type} ${member}`, group])),
  );
  const byClass = new Map(groups.flatMap((group) => group.parts.map(({ index }) => [index, group])));
  return (address, isNode) => {
    const owner = owners.get(address);
    const known = owner && byMember.get(`pod ${objectKey(owner)}`);
    return known ?? byClass.get(matrix.endOf(0, address, isNode)!)!;
  };
}

async function readText(file: string): Promise<string> {
  try {
    return file === '-' ? await textOf(process.stdin) : await readFile(file, 'utf8');
  } catch (error) {
    throw new UsageProblem(`--connections: ${messageOf(error)}`);
  }
}
