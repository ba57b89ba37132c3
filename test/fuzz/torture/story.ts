/** What somebody needs to know to understand a difference: the flow, the objects at its ends, and what the nodes make of them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import type { Lab } from '../../../lab/lab.ts';
import type { ProbeResult } from '../../../lab/network/types.ts';
import type { ObservedState } from '../../../src/dataplane/iptables/plan/plan.ts';
import { explainVerdict } from '../../../src/policy/explain-verdict.ts';
import { matches } from '../../../src/policy/selector.ts';
import { type Cell, describeCell } from './cells.ts';
import type { Table } from '../../../src/dataplane/nftables/table/table.ts';
import { observeNode, readNftTable } from './nodes.ts';

const MAX_CELLS = 3;
const LOG_LINES = 12;
const MAX_PLAN = 1500;

export interface Wrong {
  readonly cell: Cell;
  readonly result: ProbeResult;
  readonly what: string;
}

export async function tellStory(lab: Lab, wrong: readonly Wrong[]): Promise<string> {
  const shown = wrong.slice(0, MAX_CELLS);
  const cells = shown.map(({ cell, result, what }) => {
    const answer = `${result.outcome}${result.server ? ` by ${result.server}` : ''}${result.detail ? ` (${result.detail})` : ''}`;
    return `${describeCell(cell)}\n  packets: ${what}: ${answer}\n  evaluator: ${explainVerdict(cell.verdict)}`;
  });
  const rest = wrong.slice(MAX_CELLS, 40).map(({ cell, result }) => `${describeCell(cell)}: ${result.outcome}`);
  const nodes = [...new Set(shown.flatMap(({ cell }) => [cell.from.node, cell.to.node]))].filter(
    (node) => node !== undefined,
  );
  const tellNodes = await Promise.all(nodes.map((node) => tellNode(lab, node, shown)));
  return [
    `${wrong.length} cells differ`,
    ...cells,
    ...(rest.length > 0 ? ['also:', ...rest] : []),
    '--- objects',
    objectsOf(lab, shown),
    ...tellNodes,
  ].join('\n');
}

/** The pods at the ends, their namespaces, and the policies that select one of them; all namespaces' labels. */
function objectsOf(lab: Lab, wrong: readonly Wrong[]): string {
  const { store } = lab;
  const snapshot = lab.snapshot();
  const ends = new Set(wrong.flatMap(({ cell }) => [cell.flow.source, cell.flow.destination]));
  const pods = [...snapshot.pods.values()].filter(({ addresses }) => addresses.some((address) => ends.has(address)));
  const selected = [...snapshot.policies.values()].filter((policy) =>
    pods.some((pod) => pod.namespace === policy.namespace && matches(policy.podSelector, pod.labels)),
  );
  const policies = selected.map(({ namespace, name }) => {
    const { metadata, spec } = store.get('networkpolicies', { namespace, name })!;
    const { annotations } = metadata;
    return stringify({ kind: 'NetworkPolicy', namespace: metadata.namespace, name, annotations, spec });
  });
  return [
    ...[...snapshot.namespaces.values()].map(({ name, labels, mode = 'enforce' }) => {
      return `namespace ${name} ${mode} ${JSON.stringify(labels)}`;
    }),
    ...[...snapshot.pods.values()].map((pod) => `pod ${JSON.stringify(pod)}`),
    ...policies,
    ...store.list('clusternetworkpolicies').map(({ metadata: { name }, spec }) => {
      return stringify({ kind: 'ClusterNetworkPolicy', name, spec });
    }),
    ...store.list('nodes').map(({ metadata: { name, labels } }) => `node ${name} ${JSON.stringify(labels ?? {})}`),
  ].join('\n');
}

async function tellNode(lab: Lab, node: string, wrong: readonly Wrong[]): Promise<string> {
  const addresses = [...new Set(wrong.flatMap(({ cell }) => [cell.flow.source, cell.flow.destination]))];
  const kernel = await tellKernel(lab, node, addresses).catch((error: Error) => error.message);
  const log = readFileSync(join(lab.dir, `${node}.log`), 'utf8')
    .trimEnd()
    .split('\n')
    .slice(-LOG_LINES);
  const plan = await lab.agents.get(node, '/plan').catch((error: Error) => ({ body: error.message }));
  return [
    `--- ${node}: agent ${lab.agents.pid(node) ?? 'does not run'}`,
    ...log.map((line) => line.slice(0, 600)),
    `--- ${node}: last plan`,
    plan.body.slice(0, MAX_PLAN),
    `--- ${node}: kernel, as far as it is about ${addresses.join(', ')}`,
    kernel,
  ].join('\n');
}

async function tellKernel(lab: Lab, node: string, addresses: readonly string[]): Promise<string> {
  if (lab.options.dataplane !== 'nftables') return kernelLines(await observeNode(lab, node), addresses);
  const table = await readNftTable(lab, node);
  return table ? tableLines(table, addresses) : 'there is no table';
}

/** The verdict maps' elements of these addresses, the chains that they lead to, and the sets those ask. */
function tableLines({ chains, sets }: Table, addresses: readonly string[]): string {
  const lines: string[] = [];
  const shown = new Set<string>();
  const show = (name: string): void => {
    if (shown.has(name)) return;
    shown.add(name);
    for (const rule of chains.get(name)?.lines ?? []) {
      lines.push(`${name} ${rule}`);
      for (const [, set = ''] of rule.matchAll(/ @(\S+)/g)) {
        const elements = [...(sets.get(set)?.elements.keys() ?? [])];
        lines.push(`${set}: ${elements.join(' ').slice(0, 1500)}`);
      }
      for (const [, chain = ''] of rule.matchAll(/(?:goto|jump) (\S+)/g)) show(chain);
    }
  };
  show('forward');
  for (const { name, elements } of sets.values())
    for (const address of addresses) {
      const verdict = elements.get(address);
      if (typeof verdict !== 'string') continue;
      lines.push(`${name} ${address} ${verdict}`);
      show(verdict.split(' ')[1]!);
    }
  return [...new Set(lines)].join('\n');
}

/** The entry chains, the rules that send these addresses to an endpoint chain, those chains, and the sets they ask. */
function kernelLines(state: ObservedState, addresses: readonly string[]): string {
  const lines: string[] = [];
  const sets = new Set<string>();
  for (const [family, observed] of Object.entries(state.families)) {
    if (!addresses.some((address) => address.includes(':') === (family === '6'))) continue;
    const show = (name: string): void => {
      for (const rule of observed.chains.get(name) ?? []) {
        lines.push(`IPv${family} ${name} ${rule}`);
        for (const [, set] of rule.matchAll(/--match-set (\S+)/g)) sets.add(set!);
      }
    };
    show('PCL-FWD');
    show('PCL-INP');
    for (const [name, rules] of observed.chains) {
      for (const rule of rules) {
        const found = /^-[sd] ([^ /]+)\/\d+ -g (\S+)$/.exec(rule);
        if (!found || !addresses.includes(found[1]!)) continue;
        lines.push(`IPv${family} ${name} ${rule}`);
        show(found[2]!);
      }
    }
  }
  for (const name of sets) {
    const set = state.sets.get(name);
    const members = [...(set?.members ?? [])].map(([member, match]) => `${match ? '' : '!'}${member}`);
    lines.push(`${name} ${set?.type}: ${members.join(' ').slice(0, 1500)}`);
  }
  return [...new Set(lines)].join('\n');
}
