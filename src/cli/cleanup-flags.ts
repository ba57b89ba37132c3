/** The flags of `portcullis cleanup`; those of the agent mean the same, with the same variables. */
import type { ListenAddress } from '../telemetry/health.ts';

import { AGENT_FLAGS } from './config.ts';
import { type Environment, type Flag, type Given, optionalValue, requiredValue } from './flags.ts';
import { readBoolean } from './read-value.ts';

export interface CleanupFlags {
  readonly force: boolean;
  /** Null: no agent is looked for. */
  readonly httpAddress: ListenAddress | null;
  readonly lockWaitSeconds: number;
  readonly endpointsFile: string | null;
  readonly countersFile: string | null;
}

const FORCE = {
  name: 'force',
  help: 'although an agent runs on this node, which writes its rules again',
  read: readBoolean,
} as const satisfies Flag<boolean>;

export const CLEANUP_FLAGS: readonly Flag<unknown>[] = [
  FORCE,
  { ...AGENT_FLAGS.httpAddress, help: 'where an agent of this node would answer, or off' },
  AGENT_FLAGS.xtablesLockWait,
  { ...AGENT_FLAGS.apiServerEndpointsFile, help: 'file of the agent to remove, or off' },
  { ...AGENT_FLAGS.policyCountersFile, help: 'file of the agent to remove, or off' },
];

/** Throws `UsageProblem`. */
export function readCleanupFlags(given: Given, env: Environment): CleanupFlags {
  return {
    force: optionalValue(FORCE, given, env) ?? false,
    httpAddress: requiredValue(AGENT_FLAGS.httpAddress, given, env),
    lockWaitSeconds: requiredValue(AGENT_FLAGS.xtablesLockWait, given, env),
    endpointsFile: requiredValue(AGENT_FLAGS.apiServerEndpointsFile, given, env),
    countersFile: requiredValue(AGENT_FLAGS.policyCountersFile, given, env),
  };
}
