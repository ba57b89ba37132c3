/** A data plane with the parts of it that look at the host. */
import type { Family } from '../core/vocabulary.ts';
import type { SyncInfo } from '../agent/agent.ts';
import type { Dataplane, SyncOutcome } from '../dataplane/dataplane.ts';
import type { Denial } from '../dataplane/denial.ts';
import type { Condition } from '../telemetry/condition.ts';
import type { Logger } from '../telemetry/log.ts';
import type { AgentMetrics } from '../telemetry/metrics.ts';
import type { AgentConfig } from './config.ts';
import type { NodeWatches } from './watch-node.ts';

export interface TellingDataplane extends Dataplane {
  /** What our rules say of a packet that they logged with this prefix; undefined: it was not ours. */
  denial(prefix: string, family: Family): Denial | undefined;
}

export interface NodeDataplane {
  readonly dataplane: TellingDataplane;
  readonly conditions: readonly Condition[];
  /** What is written to now, in a word. */
  backend(): string;
  /** Waits until the tools of the host answer; false: told to stop meanwhile. */
  open(waiting: { readonly onProblem: (problem: string) => void; readonly signal: AbortSignal }): Promise<boolean>;
  /** Begins to look at what others do. */
  follow(resync: (reason: string) => void): void;
  synced(outcome: SyncOutcome, info: SyncInfo): void;
  stop(): Promise<void>;
}

export interface DataplaneParts {
  readonly config: AgentConfig;
  readonly watches: NodeWatches;
  readonly metrics: AgentMetrics;
  readonly log: Logger;
}
