/** A data plane with the parts of it that look at the host. */
import type { Family } from '../core/vocabulary.ts';
import type { SyncInfo } from '../agent/agent.ts';
import type { Dataplane, SyncOutcome } from '../dataplane/dataplane.ts';
import type { DataplaneName } from '../dataplane/dataplane-chooser.ts';
import type { Denial } from '../dataplane/denial.ts';
import type { Condition } from '../telemetry/condition.ts';
import type { Logger } from '../telemetry/log.ts';
import type { AgentMetrics } from '../telemetry/metrics.ts';
import type { AgentConfig } from './config.ts';
import type { RuleCounts } from './count-rules.ts';
import type { NodeWatches } from './watch-node.ts';

export interface TellingDataplane extends Dataplane {
  /** What our rules say of a packet that they logged with this prefix; undefined: it was not ours. */
  denial(prefix: string, family: Family): Denial | undefined;
}

/** The one in use, with what runs beside it. */
export interface NodeDataplane {
  readonly dataplane: TellingDataplane;
  readonly conditions: readonly Condition[];
  /** What is written to now, in a word. */
  backend(): string;
  /** Waits until the tools of the host answer; false: told to stop meanwhile. */
  open(waiting: Waiting): Promise<boolean>;
  /** Begins to look at what others do. */
  follow(resync: (reason: string) => void): void;
  synced(outcome: SyncOutcome, info: SyncInfo): void;
  stop(): Promise<void>;
  /** Undefined: not open yet. */
  inUse(): DataplaneInUse | undefined;
}

export interface Waiting {
  readonly onProblem: (problem: string) => void;
  readonly signal: AbortSignal;
}

/** See StatusPage. */
export interface DataplaneInUse {
  readonly inUse: DataplaneName;
  /** nftables, or the variant of iptables. */
  readonly backend: string;
  /** What --dataplane says. */
  readonly asked: DataplaneName | 'auto';
  readonly why: string;
}

/** One of them on this host. */
export interface HostDataplane extends Pick<NodeDataplane, 'dataplane' | 'conditions' | 'backend' | 'synced' | 'stop'> {
  /** One try: undefined once it can be used, else why it cannot. Changes nothing that packets meet. */
  tryOpen(): Promise<string | undefined>;
  /** Why it does not see ports of bridges on this host, as far as it was tried; undefined, or absent: it does. */
  bridgeProblem?(): string | undefined;
  /** What its rules have counted is read, as they are about to go. Resolves soon, and never rejects. */
  lastReading(): Promise<void>;
  /** It is in use, from now until `stop`. */
  follow(resync: (reason: string) => void): void;
}

export interface DataplaneParts {
  readonly config: AgentConfig;
  readonly watches: NodeWatches;
  /** Undefined: nothing is counted. */
  readonly counts: RuleCounts | undefined;
  readonly metrics: AgentMetrics;
  readonly log: Logger;
}
