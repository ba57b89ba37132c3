import { stringify } from 'yaml';
import type { Inventory } from '../../cluster/inventory.ts';
import type { ClusterSnapshot, Pod } from '../../policy/model.ts';
import type { CommandContext } from '../command.ts';
import type { RenderOptions } from './options.ts';

import { ASSUMED_NODE } from '../../cluster/inventory.ts';
import { FAMILIES } from '../../core/vocabulary.ts';
import { KernelUnreadable } from '../../dataplane/iptables/kernel/kernel.ts';
import { problemText } from '../../telemetry/problem-log.ts';
import { readPages } from '../ask-nodes.ts';
import { EXIT_FAILURE, EXIT_OK } from '../exit-codes.ts';
import { UsageProblem } from '../flags.ts';
import { withAgents } from '../source/agents.ts';
import { readInventory } from '../source/read-objects.ts';
import { type NodeRules, rulesOfNode } from './node-rules.ts';
import { type Observed, readObserved } from './observed.ts';
import { API_VERSION, rulesData, rulesText } from './text.ts';

/** Throws `UsageProblem` where no node is meant, or what is there cannot be told. */
export async function runRender(options: RenderOptions, context: CommandContext): Promise<number> {
  const { against, node: asked, plan } = options;
  if (plan && against.length === 0 && asked !== undefined) return showPlan(asked, options, context);
  const observed = against.length > 0 ? await observedIn(against) : undefined;
  const inventory = await readInventory(options, context);
  if (!inventory) return EXIT_FAILURE;
  const node = chooseNode(inventory, asked);
  const rules = await rulesIn(inventory, node, options, observed);
  for (const note of notesOf(rules, inventory, node, observed)) context.err(`! ${note}\n`);
  const { change } = rules.outcome;
  if (!change) throw new UsageProblem(`--against: ${rules.outcome.failures.map(({ message }) => message).join('; ')}`);
  const data = (): unknown => rulesData(node, options, rules, change);
  switch (options.output) {
    case 'text':
      context.out(rulesText(node, options, rules, change));
      break;
    case 'json':
      context.out(`${JSON.stringify(data(), undefined, 2)}\n`);
      break;
    case 'yaml':
      context.out(stringify(data()));
      break;
  }
  return plan && !change.isEmpty ? EXIT_FAILURE : EXIT_OK;
}

/** The last plan of the agent on the node. */
async function showPlan(node: string, options: RenderOptions, context: CommandContext): Promise<number> {
  const { agents, kubeconfig, output } = options;
  const page = `/plan?format=${output === 'text' ? 'text' : 'json'}`;
  const [found] = await withAgents(agents, kubeconfig, context, (ask) => readPages(ask, page, [node]));
  if (!found) throw new UsageProblem(`--node: no agent runs on ${node}`);
  if ('problem' in found.answer) throw new UsageProblem(`${node}: ${found.answer.problem}`);
  const text = found.answer.body.toString('utf8');
  if (output === 'text') {
    context.out(`# node ${node}\n${text}`);
    return EXIT_OK;
  }
  const data = { apiVersion: API_VERSION, kind: 'NodePlan', node, ...(JSON.parse(text) as object) };
  context.out(output === 'json' ? `${JSON.stringify(data, undefined, 2)}\n` : stringify(data));
  return EXIT_OK;
}

async function observedIn(files: readonly string[]): Promise<Observed> {
  const observed = await readObserved(files);
  if ('problem' in observed) throw new UsageProblem(`--against: ${observed.problem}`);
  return observed;
}

async function rulesIn(
  inventory: Inventory,
  node: string,
  options: RenderOptions,
  observed: Observed | undefined,
): Promise<NodeRules> {
  try {
    return await rulesOfNode(asTheyAre(inventory), node, options, observed);
  } catch (error) {
    if (!(error instanceof KernelUnreadable)) throw error;
    throw new UsageProblem(`--against: ${error.message}`);
  }
}

/** Where pods show addresses these are a cluster's, and one without has none on its node either. */
function asTheyAre({ snapshot, assumed }: Inventory): ClusterSnapshot {
  const shown = [...snapshot.pods].map(([key, pod]): [string, Pod] => {
    return [key, { ...pod, addresses: pod.addresses.filter((address) => !assumed.has(address)) }];
  });
  const isCluster = shown.some(([, { addresses, hostNetwork }]) => addresses.length > 0 && !hostNetwork);
  return isCluster ? { ...snapshot, pods: new Map(shown) } : snapshot;
}

/** Nodes by their objects, and by the pods on them. */
function chooseNode({ snapshot }: Inventory, asked: string | undefined): string {
  const { nodes, pods } = snapshot;
  const known = [...new Set([...nodes.keys(), ...[...pods.values()].flatMap(({ nodeName }) => nodeName ?? [])])];
  const there = known.length === 0 ? 'there is none' : `there are ${known.sort().slice(0, MAX_NAMED).join(', ')}`;
  const more = known.length > MAX_NAMED ? ` and ${known.length - MAX_NAMED} more` : '';
  if (asked !== undefined && !known.includes(asked))
    throw new UsageProblem(`--node: there is no node ${asked}; ${there}${more}`);
  const [only] = known;
  if (asked === undefined && (known.length > 1 || only === undefined))
    throw new UsageProblem(`--node: required, as ${there}${more}`);
  return asked ?? only!;
}

const MAX_NAMED = 5;

function notesOf(
  { intent, isAssumed, families, interfaces }: NodeRules,
  { snapshot }: Inventory,
  node: string,
  observed?: Observed,
): string[] {
  const adrift = [...snapshot.pods.values()].filter(({ nodeName }) => nodeName === ASSUMED_NODE).length;
  return [
    ...intent.problems.map(problemText),
    ...(adrift > 0 && node !== ASSUMED_NODE
      ? [`${adrift} pods are on no node yet and none of this one's; --node ${ASSUMED_NODE} is for them`]
      : []),
    ...(isAssumed
      ? ['for a node whose --dataplane=auto takes nftables; --dataplane=iptables is for one where it does not']
      : []),
    ...(observed && !interfaces
      ? [
          '--against does not tell where pods are attached, as a bundle does: rules that find pods by interface are left out',
        ]
      : []),
    ...FAMILIES.filter((family) => !families.includes(family)).map(
      (family) => `IPv${family} is left out: --against has no rules of ${family === 4 ? 'iptables' : 'ip6tables'}-save`,
    ),
  ];
}
