/** Tells of rules that cannot be read: when it begins, once a minute, and when it is over. */
import type { Logger } from './log.ts';
import type { SyncFailure, SyncOutcome } from '../dataplane/dataplane.ts';

const AGAIN_MS = 60_000;

/** Whether the failure is that the kernel could not be read; each sync has it anew. */
export function isUnread({ unread }: SyncOutcome, { tool }: SyncFailure): boolean {
  return unread.some((each) => !each.isKnown && each.tool === tool);
}

/** To be called with the outcome of each sync. */
export function createUnreadLog(
  log: Pick<Logger, 'info' | 'error'>,
  now: () => number,
): (outcome: SyncOutcome) => void {
  /** By message. */
  const told = new Map<string, number>();
  let isUnknown = false;
  return (outcome) => {
    const failures = outcome.failures.filter((failure) => isUnread(outcome, failure));
    for (const { message, tool } of failures) {
      isUnknown = true;
      const before = told.get(message);
      if (before !== undefined && now() - before < AGAIN_MS) continue;
      told.set(message, now());
      log.error(`${message}; reading again`, { tool });
    }
    if (failures.length > 0 || outcome.failures.length > 0 || !isUnknown) return;
    isUnknown = false;
    told.clear();
    log.info('all rules can be read again');
  };
}
