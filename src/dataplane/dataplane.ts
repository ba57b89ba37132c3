/**
 * The door of a data plane: what a node has to enforce goes in, what became of it in the kernel comes out. Types only. The words of one
 * data plane (chains, sets, tables, tools) pass it as printable text and nothing else.
 *
 *   NodeIntent, SyncRequest --> sync --> SyncOutcome      desired state against what the kernel holds, made equal without a gap (S-09)
 *                               counters                  what the rules have counted, by policies
 *                               trace                     what the rules do with a flow, as the kernel holds them now
 *                               remove                    nothing of ours is left
 */
import type { Direction, Family, Mode, Protocol } from '../core/vocabulary.ts';
import type { NodeIntent } from '../compile/intent.ts';
import type { PodInterfaces } from '../host/pod-interfaces.ts';
import type { PolicyRef, RuleRef } from '../policy/model.ts';

export interface Dataplane {
  /** Brings the kernel to the intent. One at a time. Never rejects for what the kernel or a tool does: the outcome tells. */
  sync(intent: NodeIntent, request: SyncRequest): Promise<SyncOutcome>;
  /**
   * What the rules have counted, as of a moment ago; empty where nothing is counted. Beside a sync, and never in its way: what cannot be
   * read in time is as it was read last. Never rejects.
   */
  counters(): Promise<readonly RuleCounter[]>;
  /**
   * What the rules in the kernel, as read back now, do with the first packet of each flow. Beside a sync, and never in its way. Never
   * rejects: what cannot be read or followed is `unknown`.
   */
  trace(flows: readonly TracedFlow[], place: TracePlace): Promise<readonly TracedVerdict[]>;
  /** Takes everything of ours out of the kernel. */
  remove(request: Pick<SyncRequest, 'resync'>): Promise<SyncOutcome>;
  /**
   * Before the first sync: lets no pod pass until then, as with a cluster without pods. Where rules of ours stand, they stay. Rejects for
   * what the kernel or a tool does.
   */
  closeToNewPods(interfaces: PodInterfaces): Promise<'rules stand' | 'closed'>;
  /** The first sync will be in this mode: what it has to ask the kernel is asked meanwhile, which changes nothing that packets meet. */
  prepare(mode: Mode): void;
  /** Calls back when a sync would find something to do that no intent tells. */
  onWork(callback: (reason: string) => void): void;
}

/** The reason of a sync that is asked for to take out rules that were replaced; what is enforced stays the same. */
export const TIDYING = 'tidying';

export interface SyncRequest {
  readonly mode: Exclude<Mode, 'off'>;
  /** Compare what the kernel holds with what was written, before anything else. */
  readonly resync: boolean;
  /** Where the pods of the intent are attached, as far as that is known. */
  readonly interfaces: PodInterfaces;
}

export const SYNC_PHASES = ['render', 'observe', 'plan', 'apply'] as const;
export type SyncPhase = (typeof SYNC_PHASES)[number];

export interface SyncOutcome {
  readonly mode: Mode;
  /** Of the intent that is whole in the kernel now; absent where a part of it is not: refused, still to be filled, or only planned. */
  readonly revision: number | undefined;
  /** What was done (in dry-run: would be done), last attempt; absent if it is not known what the kernel holds. */
  readonly change: PlannedChange | undefined;
  /** What the kernel holds now; absent if that is not known. */
  readonly size?: () => DataplaneSize;
  /** Steps that the kernel took, over all attempts. */
  readonly stepsApplied: number;
  /** What others had changed; empty where nothing was compared. */
  readonly drift: readonly Drift[];
  readonly failures: readonly SyncFailure[];
  /** There were failures, but everything that does not depend on what was refused went in. */
  readonly partial: boolean;
  /** Sets that wait for the kernel to let go of them. */
  readonly busySets: readonly string[];
  /** Chains nothing of ours leads to any more, which cannot go while a rule of others leads there. */
  readonly busyChains: readonly string[];
  readonly seconds: Readonly<Partial<Record<SyncPhase, number>>>;
  /** What the rules had to do without. */
  readonly lacks: readonly Lack[];
  /** Families whose rules could not be read when the kernel was read last. */
  readonly unread: readonly Unread[];
}

/** Why something did not go in. */
export interface SyncFailure {
  /** What the kernel refused; absent if the whole step failed. */
  readonly object: string | undefined;
  readonly tool: string;
  /** `lock`: another program held the xtables lock for the whole wait. */
  readonly reason: 'refused' | 'lock' | 'unavailable';
  readonly message: string;
  /** The policies whose rules this keeps out of the kernel, `namespace/name`. */
  readonly policies: readonly string[];
}

/** A plan as others may look at it. */
export interface PlannedChange {
  readonly counts: ChangeCounts;
  readonly isEmpty: boolean;
  /** All that is left is to destroy sets that the kernel does not let go of yet. */
  readonly onlyWaits: boolean;
  readonly steps: readonly PrintedStep[];
  /** The very lines that the tools get, step by step. */
  text(): string;
  /** Addresses that stay under other rules than they should, because the kernel refused theirs. */
  readonly degraded: readonly Degraded[];
  /** How many sets are filled further by the next syncs. */
  readonly setsToFill: number;
  /** The epoch in force afterwards; absent where live flows are not marked. */
  readonly epoch: number | undefined;
}

interface PrintedStep {
  readonly kind: string;
  readonly lines: readonly { readonly text: string; readonly object: string }[];
}

/** Counts of what a plan does. */
export interface ChangeCounts {
  readonly chainsWritten: number;
  readonly chainsDeleted: number;
  readonly jumpsRepaired: number;
  readonly setsCreated: number;
  readonly setsDestroyed: number;
  readonly membersAdded: number;
  readonly membersDeleted: number;
  readonly epochsAdvanced: number;
}

export interface Degraded {
  readonly address: string;
  readonly desired: string;
  readonly actual: string;
}

export interface DataplaneSize {
  readonly rules: number;
  readonly chains: number;
  readonly sets: number;
  readonly setEntries: number;
}

/** What somebody else changed. */
export interface Drift {
  readonly kind: 'chain' | 'jump' | 'set' | 'member';
  readonly object: string;
  /** Of a chain or jump. */
  readonly family?: Family;
  /** What was found, in words. */
  readonly what: string;
}

/** A feature that the kernel lacks. */
export interface Lack {
  /** What, for which family, and what it means. */
  readonly text: string;
  /** What is not enforced as written without it. */
  readonly neededFor: 'policies' | 'IPv6 pods' | 'nothing';
  /** What helps; absent: a module of the kernel. */
  readonly remedy?: string;
}

/** A family whose rules could not be read. */
export interface Unread {
  readonly family: Family;
  readonly tool: string;
  /** This host cannot filter the family; else it is not known what its rules are. */
  readonly isKnown: boolean;
  readonly why: string;
}

export const COUNTED_ACTIONS = ['allow', 'deny', 'would-deny', 'would-deny-alone', 'would-allow'] as const;
/**
 * `would-deny`: in audit mode, let through; or by all audited policies of the pod together. `would-deny-alone`: by one of them, were it
 * the only one. `would-allow`: by audited policies, denied by those in force.
 */
export type CountedAction = (typeof COUNTED_ACTIONS)[number];

/**
 * `new`: of a flow that was not let through before. `live`: of one that was. `invalid`: of none, as connection tracking sees it. Packets
 * that are allowed are not told apart: all of them count as `new`.
 */
export const COUNTED_FLOWS = ['new', 'live', 'invalid'] as const;
export type CountedFlow = (typeof COUNTED_FLOWS)[number];

/** One count of packets. It never falls while its series is there, and begins at 0 with its rules. */
export interface RuleCounter {
  readonly action: CountedAction;
  readonly direction: Direction;
  readonly flow: CountedFlow;
  readonly of: CountedFor;
  readonly packets: number;
  readonly bytes: number;
}

/** Whose count it is, in the order of the policies. */
export type CountedFor =
  /** `allow`, `would-allow`: the policies that ask for the rule, several where it stands for rules of each. `would-deny-alone`: one. Otherwise: all that isolate the pod, or would. */
  | { readonly kind: 'policies'; readonly policies: readonly PolicyRef[] }
  /** Pods that let nothing through because the kernel refused what their policies need. */
  | { readonly kind: 'closed' }
  /** Those that came when as many were counted as there is room for. */
  | { readonly kind: 'other' };

/** As a pod would begin it, between canonical addresses of one family. */
export interface TracedFlow {
  readonly source: string;
  readonly destination: string;
  readonly protocol: Protocol;
  /** At the destination. */
  readonly port: number;
}

/** What a node knows of the ends of flows. */
export interface TracePlace {
  /** Canonical. */
  readonly nodeAddresses: readonly string[];
  /** Address of a local pod -> `namespace/name`. */
  readonly localAddresses: ReadonlyMap<string, string>;
  readonly interfaces: PodInterfaces;
}

export interface TracedVerdict {
  readonly kind: 'passes' | 'dropped' | 'unknown';
  /** Why it is not known, or why no rule was asked. */
  readonly why?: string;
  /** The rules that it met and that matched, in order, as this data plane prints them. */
  readonly path: readonly string[];
  /** Rules of others on the way, which were not followed. */
  readonly others: readonly string[];
  /** What rules of ours on the way decided, and for whom; `would-` ones decide nothing, and count. */
  readonly decided: readonly TracedDecision[];
}

export interface TracedDecision {
  readonly direction: Direction;
  readonly action: CountedAction;
  /** Whose rule it is: all that isolate the pod, or the policies that ask for it. Empty: of none in particular. */
  readonly policies: readonly PolicyRef[];
  /** What of these policies it stands for, where that is known. */
  readonly rules: readonly RuleRef[];
}
