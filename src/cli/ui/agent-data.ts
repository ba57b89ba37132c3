/** What the page shows of agents: nodes with what is in force on them, denied flows with what would allow them, counts of policies. */
import { stringify } from 'yaml';
import type { Inventory } from '../../cluster/inventory.ts';
import type { RecentDenial } from '../../telemetry/denial-log.ts';
import type { AskOptions } from '../ask-nodes.ts';

import { PROTOCOL_NUMBER } from '../../core/vocabulary.ts';
import { addressOwners } from '../../policy/address-owners.ts';
import { connectionOf } from '../../policy/connection.ts';
import { explainFlow } from '../../policy/explain-flow.ts';
import { denialText } from '../../telemetry/denial-record.ts';
import { askNodes, type AgentPage, readPages, readWanted } from '../ask-nodes.ts';
import { judgeNodes } from '../judge-nodes.ts';
import { type PolicyCounts, readPolicyCounts } from '../source/policy-counts.ts';

export interface AgentFacts {
  readonly nodes: readonly object[];
  /** The latest first. */
  readonly drops: readonly object[];
  readonly counts: PolicyCounts;
  readonly problems: readonly string[];
}

/** More than anybody reads. */
const MAX_DROPS = 300;

/** Rejects with CannotAsk. */
export async function askAgents(options: AskOptions, inventory: Inventory): Promise<AgentFacts> {
  const wanted = await readWanted(options, undefined);
  const [answers, denials, metrics] = await Promise.all([
    askNodes(options, wanted),
    readPages(options, '/denials'),
    readPages(options, '/metrics'),
  ]);
  const { nodes } = judgeNodes(answers, wanted);
  const pages = new Map(
    answers.flatMap(({ node, answer }) => ('page' in answer ? [[node, answer.page] as const] : [])),
  );
  return {
    nodes: nodes.map(({ node, pod, ok, why, mode, revision }) => {
      const page = pages.get(node);
      const staleMs = Math.max(0, ...(page?.kinds ?? []).map((kind) => kind.staleMs));
      return { node, pod, ok, why, mode, revision, since: page?.revision.since, version: page?.agent.version, staleMs };
    }),
    drops: textsOf(denials)
      .flatMap((text) => (JSON.parse(text) as { readonly denials: readonly RecentDenial[] }).denials)
      .sort((a, b) => (a.time < b.time ? 1 : -1))
      .slice(0, MAX_DROPS)
      .map((denial) => dropData(denial, inventory)),
    counts: readPolicyCounts(textsOf(metrics)),
    problems: [...problemsOf(denials), ...problemsOf(metrics)],
  };
}

function textsOf(pages: readonly AgentPage[]): readonly string[] {
  return pages.flatMap(({ answer }) => ('body' in answer ? [answer.body.toString('utf8')] : []));
}

/** Those with the same trouble together. */
function problemsOf(pages: readonly AgentPage[]): readonly string[] {
  const silent = pages.flatMap(({ node, answer }) => ('problem' in answer ? [{ node, why: answer.problem }] : []));
  return [...Map.groupBy(silent, ({ why }) => why)].map(([why, [first, ...others]]) => {
    return `${first!.node}${others.length > 0 ? ` and ${others.length} more` : ''}: ${why}`;
  });
}

const NUMBERS: Readonly<Record<string, number>> = PROTOCOL_NUMBER;

function dropData(denial: RecentDenial, inventory: Inventory): object {
  const remedy = remedyOf(denial, inventory);
  return { ...denial, text: denialText(denial), ...(remedy ? { remedy } : {}) };
}

/** By the policies that there are now; undefined: it would pass, or no addition helps. */
function remedyOf(
  { direction, source, destination, protocol, port = 0 }: RecentDenial,
  { snapshot }: Inventory,
): object | undefined {
  const number = Object.hasOwn(NUMBERS, protocol) ? NUMBERS[protocol]! : undefined;
  if (number === undefined || direction === undefined) return undefined;
  const flow = { source: source.address, destination: destination.address, protocol: number, port };
  const connection = connectionOf(addressOwners(snapshot.pods.values()), flow);
  const remedy = explainFlow({ ...snapshot, enforcesAudited: true }, connection).directions.find(
    (each) => each.direction === direction,
  )?.remedy;
  if (!remedy) return undefined;
  return remedy.kind === 'add'
    ? {
        head: `add to ${remedy.policy.namespace}/${remedy.policy.name}, ${remedy.field}`,
        yaml: stringify([remedy.entry]),
      }
    : { head: 'apply', yaml: stringify(remedy.manifest) };
}
