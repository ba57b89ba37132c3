/** Reads table mangle with the counters of its rules. */
import type { Backend, Family } from '../../../core/vocabulary.ts';
import type { RunCommand } from '../../../host/command.ts';

import { toolName } from './linux-kernel.ts';

const TIMEOUT_MS = 10_000;
/** The kernel hands out a table as a whole: to read it no version of the tools needs the host's lock, and none shall hold up a writer. */
export const WITHOUT_LOCK = { XTABLES_LOCKFILE: '/dev/null' };

/** What `iptables-save -c` prints. `isUrgent`: does not wait for a processor that others want. Rejects with CommandFailed. */
export async function listCounters(
  run: RunCommand,
  variant: Backend,
  family: Family,
  isUrgent: boolean,
): Promise<string> {
  const argv = [toolName(variant, family, 'save'), '-c', '-t', 'mangle'] as const;
  const { stdout } = await run({
    argv,
    timeoutMs: TIMEOUT_MS,
    env: WITHOUT_LOCK,
    ...(isUrgent ? {} : { background: true }),
  });
  return stdout;
}
