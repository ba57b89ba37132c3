/**
 * /status: what of the cluster is in this node's kernel, and since when. For programs: the fields are in docs/status.schema.json, and a
 * change that is no mere addition counts `version` up.
 */
import type { AgentStatus } from '../agent/agent.ts';
import type { PolicyProgress } from '../agent/progress.ts';
import type { KindStatus } from '../cluster/watch-cluster.ts';

import { compareText } from '../core/compare.ts';
import { type PolicyState, policyJudge } from './policy-state.ts';

export const STATUS_VERSION = 1;

/** Moments are RFC 3339 in UTC, with milliseconds, by this node's clock; durations are milliseconds. */
export interface StatusPage {
  readonly version: typeof STATUS_VERSION;
  readonly agent: { readonly version: string; readonly node: string };
  readonly now: string;
  readonly ready: boolean;
  /** Conditions of /readyz that do not hold. */
  readonly unready: readonly { readonly name: string; readonly reason: string }[];
  readonly mode: { readonly inForce: string; readonly source: string };
  /** Null: none is open yet. Absent: an older agent. */
  readonly dataplane?: DataplanePage | null;
  readonly revision: { readonly inKernel: number | null; readonly since: string | null };
  /** When a change that concerns the node arrived last, and when a sync was carried out last. */
  readonly lastQueued: string | null;
  readonly lastSynced: string | null;
  readonly kinds: readonly KindPage[];
  readonly policies: readonly PolicyPage[];
}

export interface DataplanePage {
  readonly inUse: string;
  /** nftables, or the variant of iptables. */
  readonly backend: string;
  /** What --dataplane says. */
  readonly asked: string;
  readonly why: string;
}

export interface KindPage {
  readonly kind: string;
  /** The newest resource version up to which all is in the kernel. */
  readonly inKernel: string | null;
  /** The newest that was heard. */
  readonly heard: string | null;
  readonly connected: boolean;
  /** How long changes have not arrived. */
  readonly staleMs: number;
  readonly problem: string | null;
}

export interface PolicyPage {
  readonly namespace: string;
  readonly name: string;
  readonly generation: number;
  readonly state: PolicyState;
  readonly why: string | null;
  /** The API's own time stamp, in whole seconds; null where a list told. */
  readonly written: string | null;
  readonly arrived: string;
  /** In the kernel, as far as it took it. */
  readonly committed: string | null;
}

export interface StatusFacts {
  readonly agentVersion: string;
  readonly nodeName: string;
  /** Undefined: not begun. */
  readonly agent: AgentStatus | undefined;
  /** Undefined: none is open yet. */
  readonly dataplane?: DataplanePage | undefined;
  readonly kinds: readonly KindStatus[];
  readonly conditions: readonly { readonly name: string; readonly ok: boolean; readonly reason: string }[];
  /** Of the wall clock and of the monotonic one, at the same moment. */
  readonly wallMs: number;
  readonly nowMs: number;
}

/** Which policies to show. */
export interface PolicyFilter {
  /** `all`; `unsettled`: those that are neither `in-force` nor `no-pods`; `none`. */
  readonly which: 'all' | 'unsettled' | 'none';
  /** This one as well, `namespace/name`. */
  readonly also?: string;
}

export function statusPage(facts: StatusFacts, filter: PolicyFilter): StatusPage {
  const { agent, conditions, nodeName } = facts;
  const wall = (ms: number | undefined): string | null =>
    ms === undefined ? null : new Date(facts.wallMs - (facts.nowMs - ms)).toISOString();
  const inKernel = agent?.inKernel;
  return {
    version: STATUS_VERSION,
    agent: { version: facts.agentVersion, node: nodeName },
    now: new Date(facts.wallMs).toISOString(),
    ready: conditions.every(({ ok }) => ok),
    unready: conditions.filter(({ ok }) => !ok).map(({ name, reason }) => ({ name, reason })),
    mode: { inForce: agent?.lastOutcome ? agent.mode : 'unknown', source: agent?.modeSource ?? 'default' },
    dataplane: facts.dataplane ?? null,
    revision: { inKernel: inKernel?.revision ?? null, since: wall(inKernel?.sinceMs) },
    lastQueued: wall(agent?.lastQueuedMs),
    lastSynced: wall(agent?.lastSyncedMs),
    kinds: facts.kinds.map((kind) => ({
      kind: kind.kind,
      inKernel: agent?.versions[kind.kind] ?? null,
      heard: kind.version ?? null,
      connected: kind.connected,
      staleMs: Math.round(kind.staleMs),
      problem: kind.problem ?? null,
    })),
    policies: agent ? policiesOf(agent, filter, wall) : [],
  };
}

function policiesOf(
  agent: AgentStatus,
  { which, also }: PolicyFilter,
  wall: (ms: number | undefined) => string | null,
): readonly PolicyPage[] {
  const judge = policyJudge(agent);
  const pages: PolicyPage[] = [];
  const add = (key: string, progress: PolicyProgress): void => {
    const { state, why = null } = judge(key, progress);
    const isSettled = state === 'in-force' || state === 'no-pods';
    if (key !== also && which === 'unsettled' && isSettled) return;
    const [namespace, name] = key.split('/') as [string, string];
    const { generation, writtenAtMs, arrivedAtMs, committedAtMs } = progress;
    const written = writtenAtMs === undefined ? null : new Date(writtenAtMs).toISOString();
    const moments = { written, arrived: wall(arrivedAtMs)!, committed: wall(committedAtMs) };
    pages.push({ namespace, name, generation, state, why, ...moments });
  };
  const one = also === undefined ? undefined : agent.policies.get(also);
  if (which !== 'none') for (const [key, progress] of agent.policies) add(key, progress);
  else if (one) add(also!, one);
  return pages.sort((a, b) => compareText(`${a.namespace}/${a.name}`, `${b.namespace}/${b.name}`));
}
