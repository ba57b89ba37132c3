/** What the agents' pages say together: on how many nodes policies are in force, how late the last of them was, and who lags behind. Pure. */
import type { DataplanePage, PolicyPage, StatusPage } from '../telemetry/status-page.ts';

import { compareText } from '../core/compare.ts';
import { isOlderVersion } from '../cluster/relist.ts';

/** What came of asking one node. */
export interface NodeAnswer {
  readonly node: string;
  /** Name of the agent's pod; absent: none is there. */
  readonly pod?: string;
  readonly answer: { readonly page: StatusPage } | { readonly problem: string };
}

/** What the API server has. */
export interface Wanted {
  /** The policy that is asked about, else the one that was written last; absent: there are none. */
  readonly policy?: { readonly key: string; readonly generation: number };
  /** True: nothing else is asked about. */
  readonly only: boolean;
  /** The newest resourceVersion of a policy. */
  readonly version?: string;
}

export interface NodeVerdict {
  readonly node: string;
  readonly pod: string | null;
  readonly ok: boolean;
  /** Null where it is as it should be. */
  readonly why: string | null;
  /** Null where the node did not answer. */
  readonly mode: string | null;
  readonly revision: number | null;
  /** Null where the node did not answer, or does not tell. */
  readonly dataplane: DataplanePage | null;
  readonly policy: PolicyPage | null;
}

export interface ClusterVerdict {
  readonly version: 1;
  readonly ok: boolean;
  readonly policy: { readonly name: string; readonly generation: number } | null;
  /** From the moment the first node heard of the policy to its commit on the last; null where not all have it. */
  readonly slowest: { readonly node: string; readonly ms: number } | null;
  readonly nodes: readonly NodeVerdict[];
}

export function judgeNodes(answers: readonly NodeAnswer[], wanted: Wanted): ClusterVerdict {
  const nodes = answers.map((each) => judgeNode(each, wanted)).sort((a, b) => compareText(a.node, b.node));
  const ok = nodes.every((node) => node.ok);
  const { policy } = wanted;
  return {
    version: 1,
    ok,
    policy: policy ? { name: policy.key, generation: policy.generation } : null,
    slowest: ok ? slowestOf(nodes) : null,
    nodes,
  };
}

function judgeNode({ node, pod: podName, answer }: NodeAnswer, wanted: Wanted): NodeVerdict {
  const pod = podName ?? null;
  if ('problem' in answer)
    return { node, pod, ok: false, why: answer.problem, mode: null, revision: null, dataplane: null, policy: null };
  const { page } = answer;
  const policy = page.policies.find(({ namespace, name }) => `${namespace}/${name}` === wanted.policy?.key) ?? null;
  const why = whyNot(page, policy, wanted) ?? null;
  const { mode, revision, dataplane = null } = page;
  return { node, pod, ok: why === null, why, mode: mode.inForce, revision: revision.inKernel, dataplane, policy };
}

/** The causes first, then what follows from them. Undefined: as it should be. */
function whyNot(page: StatusPage, policy: PolicyPage | null, wanted: Wanted): string | undefined {
  const { mode, kinds } = page;
  if (mode.inForce === 'unknown') return firstReason(page) ?? 'the agent has not begun yet';
  if (mode.inForce === 'dry-run' || mode.inForce === 'off')
    return `mode ${mode.inForce}, by ${sourceText(mode.source)}: nothing is enforced`;
  const away = kinds.find(({ staleMs }) => staleMs > 0);
  if (away)
    return `cut off from the API server for ${secondsText(away.staleMs)}${away.problem ? `: ${away.problem}` : ''}`;
  const behind = whyBehind(page, policy, wanted);
  if (behind !== undefined) return behind;
  if (mode.inForce === 'audit') return `mode audit, by ${sourceText(mode.source)}: counted, and nothing is dropped`;
  if (!wanted.only) return firstReason(page);
  return policy?.state === 'audited' ? 'only audited: counted, and nothing is dropped' : undefined;
}

function whyBehind({ policies, kinds }: StatusPage, policy: PolicyPage | null, wanted: Wanted): string | undefined {
  if (wanted.policy) {
    const { key, generation } = wanted.policy;
    if (!policy) return `has not heard of ${key}`;
    if (policy.generation < generation)
      return `has heard of generation ${policy.generation} of ${key}, the API server has ${generation}`;
  }
  const unsettled = (wanted.only ? [policy] : policies).find((each) => each !== null && !isSettled(each));
  if (unsettled) {
    const { namespace, name, state, why } = unsettled;
    return `${namespace}/${name}: ${state}${why === null ? '' : `: ${why}`}`;
  }
  const version = kinds.find(({ kind }) => kind === 'networkpolicies')?.inKernel;
  if (!wanted.only && wanted.version !== undefined && version != null && isOlderVersion(version, wanted.version))
    return `has policies up to resourceVersion ${version} in its kernel, the API server has ${wanted.version}`;
  return undefined;
}

/** `audited` is for the mode to tell. */
function isSettled({ state }: PolicyPage): boolean {
  return state === 'in-force' || state === 'no-pods' || state === 'audited';
}

function firstReason({ unready }: StatusPage): string | undefined {
  const [first] = unready;
  return first && `not ready: ${first.name}: ${first.reason}`;
}

function sourceText(source: string): string {
  return source === 'default' ? '--mode' : `the node's ${source}`;
}

function secondsText(ms: number): string {
  return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
}

function slowestOf(nodes: readonly NodeVerdict[]): ClusterVerdict['slowest'] {
  const heard = nodes.flatMap(({ policy }) => (policy ? [Date.parse(policy.arrived)] : []));
  const done = nodes.flatMap(({ node, policy }) =>
    policy?.committed ? [{ node, atMs: Date.parse(policy.committed) }] : [],
  );
  const last = done.reduce<(typeof done)[number] | undefined>((a, b) => (a && a.atMs >= b.atMs ? a : b), undefined);
  return last ? { node: last.node, ms: Math.max(0, last.atMs - Math.min(...heard)) } : null;
}

/** For people. */
export function verdictText(verdict: ClusterVerdict): string {
  const { nodes, policy, slowest } = verdict;
  const right = nodes.filter(({ ok }) => ok);
  const lines: string[] = [];
  const written = nodes.find((node) => node.policy?.written)?.policy?.written;
  if (policy)
    lines.push(
      `${policy.name}, generation ${policy.generation}${written ? `, written ${written.replace('.000', '')}` : ''}`,
    );
  const empty = right.filter((node) => node.policy?.state === 'no-pods').length;
  const idle = empty > 0 ? `, ${empty} of them without a pod that it selects` : '';
  const late = slowest ? `, slowest ${slowest.ms} ms after the first of them heard of it (${slowest.node})` : '';
  lines.push(`${right.length} of ${nodes.length} nodes${idle}${late}`);
  const wrong = nodes.filter(({ ok }) => !ok);
  const width = Math.max(0, ...wrong.map(({ node }) => node.length));
  for (const { node, why } of wrong) lines.push(`  ${node.padEnd(width)}  ${why}`);
  return `${[...lines, ...dataplaneLines(nodes)].join('\n')}\n`;
}

/** Of names in one line. */
const MAX_NAMED = 5;

/** What enforces, by how many nodes have it and why; nothing where no node tells. */
function dataplaneLines(nodes: readonly NodeVerdict[]): readonly string[] {
  const groups = new Map<string, string[]>();
  for (const { node, dataplane } of nodes) {
    if (!dataplane) continue;
    const { backend, asked, why } = dataplane;
    const words = asked === 'auto' ? `${backend}, by --dataplane=auto: ${why}` : `${backend}, by --dataplane`;
    groups.set(words, [...(groups.get(words) ?? []), node]);
  }
  const bySize = [...groups].sort(([a, ofA], [b, ofB]) => ofB.length - ofA.length || compareText(a, b));
  return bySize.map(([words, names]) => {
    const more = names.length > MAX_NAMED ? ', ...' : '';
    const where = groups.size === 1 ? '' : ` (${names.slice(0, MAX_NAMED).join(', ')}${more})`;
    return `data plane of ${names.length}${where}: ${words}`;
  });
}
