/** Recommendations as YAML to apply, with what they are for as comments, and as data for programs. */
import { Document, isSeq, type Node } from 'yaml';
import type { RuleRef } from '../../policy/model.ts';
import type { Evidence } from '../../policy/recommend/observed.ts';
import type { DeniedFlow, Recommendation, RecommendedPolicy } from '../../policy/recommend/recommend.ts';
import type { PolicyCounts } from '../source/policy-counts.ts';

import { MODE_KEY } from '../../core/vocabulary.ts';
import { protocolName } from '../../policy/explain-denial.ts';
import { ruleText } from '../../policy/explain-verdict.ts';
import { objectKey } from '../../policy/model.ts';

export interface ReportFacts {
  readonly found: Recommendation;
  /** Of an address, for people. */
  readonly nameOf: (address: string) => string;
  readonly counts: PolicyCounts;
  readonly audited: boolean;
  /** As if there were no NetworkPolicy yet. */
  readonly fromScratch: boolean;
  readonly areSomeClusterWide: boolean;
}

export function policiesYaml(facts: ReportFacts): string {
  const { found } = facts;
  const head = headLines(facts).map((line) => `# ${line}\n`);
  const policies = found.policies.map((policy) => `---\n${policyYaml(policy, facts)}`);
  const unused = unusedLines(facts).map((line) => `# ${line}\n`);
  return [...head, ...policies, ...(unused.length > 0 ? ['---\n', ...unused] : [])].join('');
}

function headLines({ found, fromScratch, areSomeClusterWide }: ReportFacts): readonly string[] {
  const { flows, policies, withheld, denied } = found;
  const count = `${policies.length} ${policies.length === 1 ? 'policy' : 'policies'}`;
  const problems = withheld.length + denied.length;
  const others = fromScratch
    ? areSomeClusterWide
      ? 'and the cluster-wide ones'
      : 'and no others'
    : 'and those that are there';
  const all = problems === 0 ? `every one passes with these policies ${others}` : 'not all of them pass';
  const seen = flows === 1 ? '1 flow that was seen' : `${flows} flows that were seen`;
  return [`${count} from ${seen}. Judged again, ${all}.`];
}

function policyYaml({ manifest, group, rules, notes }: RecommendedPolicy, facts: ReportFacts): string {
  const document = new Document(facts.audited ? withMode(manifest) : manifest);
  const count = `${group.pods.length} ${group.pods.length === 1 ? 'pod' : 'pods'}`;
  document.contents!.commentBefore = [`${group.namespace}/${group.name}, ${count}`, ...notes]
    .map((line) => ` ${line}`)
    .join('\n');
  for (const { direction, index, evidence, notes: own } of rules) {
    const rule = document.getIn(['spec', direction, index], true) as Node;
    rule.commentBefore = [evidenceText(evidence, facts.nameOf), ...own].map((line) => ` ${line}`).join('\n');
  }
  for (const direction of ['ingress', 'egress']) {
    const list = document.getIn(['spec', direction], true);
    if (!isSeq(list) || list.items.length > 0) continue;
    list.flow = true;
    list.comment = ` nothing was seen: no ${direction} at all`;
  }
  return document.toString({ lineWidth: 0 });
}

function withMode(manifest: RecommendedPolicy['manifest']): object {
  return { ...manifest, metadata: { ...(manifest.metadata as object), annotations: { [MODE_KEY]: 'audit' } } };
}

export function evidenceText(
  { flows, count, firstMs, lastMs, example }: Evidence,
  nameOf: ReportFacts['nameOf'],
): string {
  const times = firstMs === undefined || lastMs === undefined ? '' : `, ${timeText(firstMs)} to ${timeText(lastMs)}`;
  const several =
    flows === 1 ? `seen ${count} ${count === 1 ? 'time' : 'times'}` : `${flows} flows, seen ${count} times`;
  const { source, destination, protocol, port } = example.flow;
  const to = `${protocolName(protocol)}${port === 0 ? '' : ` ${port}`}`;
  const flow = `${nameOf(source)} to ${nameOf(destination)}, ${to}`;
  return `${several}${times}; ${flow} (${example.from})`;
}

function timeText(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 16).replace('T', ' ')} UTC`;
}

export function deniedText(
  { seen: { flow, from }, direction, verdict }: DeniedFlow,
  nameOf: ReportFacts['nameOf'],
): string {
  const to = `${protocolName(flow.protocol)}${flow.port === 0 ? '' : ` ${flow.port}`}`;
  const why = verdict.kind === 'tier-rule' ? ` by ${ruleText(verdict.by)}` : '';
  return `${nameOf(flow.source)} to ${nameOf(flow.destination)}, ${to}, ${direction}${why} (${from})`;
}

function unusedLines({ found: { uses }, counts }: ReportFacts): readonly string[] {
  const unused = uses.filter(({ flows }) => flows === 0);
  if (unused.length === 0) return [];
  const lines = unused.map(({ rule }) => {
    const allowed = allowedBy(rule, counts) ?? 0;
    const but = allowed > 0 ? `, but its policy let ${allowed} connections through by the agents' counters` : '';
    return `  ${ruleName(rule)}${but}`;
  });
  return [`Rules that nothing of what was seen needed, ${unused.length} of ${uses.length}:`, ...lines];
}

/** Connections that rules of its policy let through; undefined: no agent told. */
function allowedBy({ policy, direction }: RuleRef, counts: PolicyCounts): number | undefined {
  return counts[`${objectKey(policy)} ${direction}`]?.allowed;
}

function ruleName({ policy, direction, index }: RuleRef): string {
  return `${objectKey(policy)} spec.${direction}[${index}]`;
}

/** Stable: fields are added, and keep their meaning, within one `apiVersion`. */
export function recommendationData({ found, nameOf, counts, audited }: ReportFacts, notes: readonly string[]): object {
  const policyData = ({ manifest, group, rules, notes: own }: RecommendedPolicy): object => ({
    policy: audited ? withMode(manifest) : manifest,
    for: {
      namespace: group.namespace,
      group: group.name,
      pods: group.pods.map(objectKey),
      alsoSelects: group.alsoSelects,
    },
    rules: rules.map(({ direction, index, evidence, notes: of }) => ({
      direction,
      index,
      evidence: evidenceData(evidence),
      notes: of,
    })),
    notes: own,
  });
  return {
    apiVersion: 'portcullis.dev/v1alpha1',
    kind: 'PolicyRecommendation',
    flows: found.flows,
    policies: found.policies.map(policyData),
    withheld: found.withheld.map(({ policy, denied }) => ({
      ...policyData(policy),
      denied: deniedText(denied, nameOf),
    })),
    denied: found.denied.map((each) => deniedText(each, nameOf)),
    unwritten: found.unwritten,
    ruleUse: found.uses.map(({ rule, flows }) => {
      const allowed = allowedBy(rule, counts);
      return { ...rule, flows, ...(allowed === undefined ? {} : { policyAllowedConnections: allowed }) };
    }),
    notes,
  };
}

function evidenceData({ flows, count, firstMs, lastMs, example }: Evidence): unknown {
  return {
    flows,
    count,
    ...(firstMs === undefined ? {} : { first: new Date(firstMs).toISOString() }),
    ...(lastMs === undefined ? {} : { last: new Date(lastMs).toISOString() }),
    example: { ...example.flow, protocol: protocolName(example.flow.protocol), from: example.from },
  };
}
