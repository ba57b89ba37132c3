/**
 * /trace: what this node's rules, as the kernel holds them now, do with flows. For programs; a change that is no mere addition counts
 * `version` up. It reads the kernel, so it answers seldom: one question at a time, of so many flows, and no two within a second.
 */
import type { AgentStatus } from '../agent/agent.ts';
import type { Direction } from '../core/vocabulary.ts';
import type { CountedAction, TracedFlow, TracedVerdict } from '../dataplane/dataplane.ts';
import type { RuleRef } from '../policy/model.ts';

import { PROTOCOLS } from '../core/vocabulary.ts';
import { canonicalAddress, familyOf } from '../net/ip.ts';
import { objectKey } from '../policy/model.ts';

export const TRACE_VERSION = 1;
export const MAX_TRACED = 64;
const GAP_MS = 1_000;

export interface TracePage {
  readonly version: typeof TRACE_VERSION;
  readonly node: string;
  readonly mode: { readonly inForce: string; readonly source: string };
  /** Nothing that concerns this node was waiting to be written when it was asked. */
  readonly settled: boolean;
  /** In the order of the question. */
  readonly flows: readonly TracedFlowPage[];
}

export interface TracedFlowPage extends TracedFlow {
  readonly verdict: TracedVerdict['kind'];
  readonly why: string | null;
  readonly path: readonly string[];
  readonly others: readonly string[];
  readonly decided: readonly {
    readonly direction: Direction;
    readonly action: CountedAction;
    /** `namespace/name`. */
    readonly policies: readonly string[];
    /** `namespace/name spec.ingress[0]`; empty where it is not known which. */
    readonly rules: readonly string[];
  }[];
}

export interface TraceFacts {
  readonly nodeName: string;
  /** Undefined: not begun. */
  readonly agent: AgentStatus | undefined;
  readonly verdicts: readonly TracedVerdict[];
}

export function tracePage(flows: readonly TracedFlow[], { nodeName, agent, verdicts }: TraceFacts): TracePage {
  return {
    version: TRACE_VERSION,
    node: nodeName,
    mode: { inForce: agent?.lastOutcome ? agent.mode : 'unknown', source: agent?.modeSource ?? 'default' },
    settled: agent !== undefined && isSettled(agent),
    flows: flows.map((flow, index) => flowPage(flow, verdicts[index]!)),
  };
}

function isSettled({ inSync, lastQueuedMs, lastSyncedMs }: AgentStatus): boolean {
  if (!inSync || lastSyncedMs === undefined) return false;
  return lastQueuedMs === undefined || lastQueuedMs <= lastSyncedMs;
}

function flowPage(flow: TracedFlow, { kind, why, path, others, decided }: TracedVerdict): TracedFlowPage {
  const { source, destination, protocol, port } = flow;
  const told = decided.map(({ direction, action, policies, rules }) => ({
    direction,
    action,
    policies: policies.map(objectKey),
    rules: rules.map(ruleText),
  }));
  return { source, destination, protocol, port, verdict: kind, why: why ?? null, path, others, decided: told };
}

function ruleText({ policy, direction, index }: RuleRef): string {
  return `${objectKey(policy)} spec.${direction}[${index}]`;
}

/** `?flow=TCP,10.0.0.1,10.0.0.2,80`, up to 64 of them; or what is wrong with it. */
export function readTracedFlows(query: URLSearchParams): readonly TracedFlow[] | string {
  const texts = query.getAll('flow');
  if (texts.length === 0 || texts.length > MAX_TRACED)
    return `needs 1 to ${MAX_TRACED} of flow=PROTOCOL,SOURCE,DESTINATION,PORT, as in flow=TCP,10.0.0.1,10.0.0.2,80`;
  const flows: TracedFlow[] = [];
  for (const text of texts) {
    const flow = readFlow(text);
    if (!flow)
      return `flow=${text.slice(0, 200)} is not PROTOCOL,SOURCE,DESTINATION,PORT, as in TCP,10.0.0.1,10.0.0.2,80`;
    flows.push(flow);
  }
  return flows;
}

export function tracedFlowText({ protocol, source, destination, port }: TracedFlow): string {
  return [protocol, source, destination, port].join();
}

function readFlow(text: string): TracedFlow | undefined {
  const [word, from, to, digits, ...rest] = text.split(',');
  const protocol = PROTOCOLS.find((each) => each === word);
  const [source, destination] = [canonicalAddress(from ?? ''), canonicalAddress(to ?? '')];
  const port = /^\d{1,5}$/.test(digits ?? '') ? Number(digits) : 0;
  if (!protocol || source === undefined || destination === undefined || rest.length > 0) return undefined;
  if (port < 1 || port > 65_535 || familyOf(source) !== familyOf(destination)) return undefined;
  return { source, destination, protocol, port };
}

/** Lets one question in at a time, and the next a second after the one before has begun; undefined: not now. */
export class TraceGate {
  readonly #now: () => number;
  #isBusy = false;
  #lastMs = Number.NEGATIVE_INFINITY;

  constructor(now: () => number) {
    this.#now = now;
  }

  async run<T>(work: () => Promise<T>): Promise<T | undefined> {
    if (this.#isBusy || this.#now() - this.#lastMs < GAP_MS) return undefined;
    this.#isBusy = true;
    this.#lastMs = this.#now();
    try {
      return await work();
    } finally {
      this.#isBusy = false;
    }
  }
}
