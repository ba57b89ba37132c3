import { readFile } from 'node:fs/promises';
import { text as textOf } from 'node:stream/consumers';
import type { Inventory } from '../../cluster/inventory.ts';
import type { Cidr } from '../../net/cidr.ts';
import type { Pod } from '../../policy/model.ts';
import type { CommandContext } from '../command.ts';
import type { RecommendCommandOptions } from './options.ts';
import type { Recommendation } from '../../policy/recommend/recommend.ts';

import { podOwners } from '../../cluster/pod-owners.ts';
import { messageOf } from '../../core/error-text.ts';
import { parseCidr } from '../../net/cidr.ts';
import { objectKey } from '../../policy/model.ts';
import { isRecord } from '../../policy/raw-values.ts';
import { recommend } from '../../policy/recommend/recommend.ts';
import { readPages } from '../ask-nodes.ts';
import { EXIT_FAILURE, EXIT_OK } from '../exit-codes.ts';
import { UsageProblem } from '../flags.ts';
import { withAgents } from '../source/agents.ts';
import { readPolicyCounts } from '../source/policy-counts.ts';
import { readInventory } from '../source/read-objects.ts';
import { type FlowText, nothingRead, readFlowText } from './flow-lines.ts';
import { deniedText, policiesYaml, recommendationData, type ReportFacts } from './report.ts';
import { addressNames, LEFT_OUT, type LeftOut, resolveFlows } from './resolve-flows.ts';

/** Throws `UsageProblem` where nothing was seen. */
export async function runRecommend(options: RecommendCommandOptions, context: CommandContext): Promise<number> {
  const read = nothingRead();
  const problems = await readAll(options, context, read);
  const inventory = await readInventory(options, context);
  if (!inventory) return EXIT_FAILURE;
  const podBlocks = podBlocksOf(inventory);
  const { flows, leftOut } = resolveFlows(read.flows, inventory, podBlocks, options.includesDenied);
  const notes = [...problems, ...notesOf(read, leftOut)];
  if (flows.length === 0) throw new UsageProblem(['no flow was seen', ...notes].join('; '));
  const found = recommend(inventory.snapshot, flows, {
    groupOf: groupNames(inventory),
    isFor: options.isFor,
    directions: options.directions,
    limits: { most: options.maxBlocks, podBlocks },
    fromScratch: options.fromScratch,
  });
  const nameOf = addressNames(inventory.snapshot);
  const { audited, fromScratch } = options;
  const areSomeClusterWide = (inventory.snapshot.clusterPolicies?.size ?? 0) > 0;
  const counts = readPolicyCounts(read.counters);
  const facts = { found, nameOf, counts, audited, fromScratch, areSomeClusterWide };
  for (const note of [...notes, ...problemsOf(facts)]) context.err(`! ${note}\n`);
  if (options.output === 'yaml') context.out(policiesYaml(facts));
  else context.out(`${JSON.stringify(recommendationData(facts, notes), undefined, 2)}\n`);
  return isWhole(found) ? EXIT_OK : EXIT_FAILURE;
}

function groupNames(inventory: Inventory): (pod: Pod) => string {
  const owners = podOwners(inventory);
  return (pod) => {
    const { kind, name } = owners.get(objectKey(pod)) ?? { kind: 'Pod', name: pod.name };
    return `${kind.toLowerCase()}/${name}`;
  };
}

function isWhole({ withheld, denied }: Recommendation): boolean {
  return withheld.length + denied.length === 0;
}

// ------------------------------------------------------------------------------------------------------------- reading

/** What could not be read of the agents. Throws `UsageProblem` for files. */
async function readAll(
  { flows, asksAgents, agents, kubeconfig }: RecommendCommandOptions,
  context: CommandContext,
  into: FlowText,
): Promise<readonly string[]> {
  for (const file of flows) readFlowText(await readText(file), file === '-' ? 'stdin' : file, into);
  if (!asksAgents) return [];
  return withAgents(agents, kubeconfig, context, async (ask) => {
    const silent: { node: string; problem: string }[] = [];
    for (const page of ['/denials', '/metrics']) {
      for (const { node, answer } of await readPages(ask, page)) {
        if ('problem' in answer) silent.push({ node, problem: answer.problem });
        else readFlowText(answer.body.toString('utf8'), node, into);
      }
    }
    return [...Map.groupBy(silent, ({ problem }) => problem)].map(([problem, [first, ...others]]) => {
      return `node ${first!.node}${others.length > 0 ? ` and ${others.length} more` : ''}: ${problem}`;
    });
  });
}

async function readText(file: string): Promise<string> {
  try {
    return file === '-' ? await textOf(process.stdin) : await readFile(file, 'utf8');
  } catch (error) {
    throw new UsageProblem(`--flows: ${messageOf(error)}`);
  }
}

/** Of the nodes' pods, where Node objects tell. */
function podBlocksOf({ objects }: Inventory): readonly Cidr[] {
  return objects.flatMap(({ object }) => {
    if (!isRecord(object) || object.kind !== 'Node' || !isRecord(object.spec)) return [];
    const { podCIDRs, podCIDR } = object.spec;
    const all = Array.isArray(podCIDRs) ? podCIDRs : [podCIDR];
    return all.flatMap((each) => (typeof each === 'string' ? (parseCidr(each) ?? []) : []));
  });
}

// --------------------------------------------------------------------------------------------------------------- notes

function notesOf({ unread, unanswered }: FlowText, leftOut: ReadonlyMap<LeftOut, number>): readonly string[] {
  return [
    ...(unread.length > 0 ? [`${unread.length} lines tell of no flow, the first is ${unread[0]}`] : []),
    ...(unanswered > 0 ? [`${unanswered} connections had no answer: they are left out`] : []),
    ...[...leftOut].map(([why, count]) => `${count} flows ${LEFT_OUT[why]}: they are left out`),
  ];
}

const MAX_TOLD = 10;

function problemsOf({ found: { withheld, denied, unwritten }, nameOf }: ReportFacts): readonly string[] {
  const more = denied.length - MAX_TOLD;
  return [
    ...withheld.map(
      ({ policy: { group }, denied: flow }) =>
        `withheld: a policy for ${group.namespace}/${group.name}, under which this would be denied: ${deniedText(flow, nameOf)}`,
    ),
    ...unwritten.map(({ group, why }) => `no policy for ${group}: ${why}`),
    ...denied.slice(0, MAX_TOLD).map((flow) => `stays denied by policies that are there: ${deniedText(flow, nameOf)}`),
    ...(more > 0 ? [`and ${more} more`] : []),
  ];
}
