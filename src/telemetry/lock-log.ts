/** Tells of an xtables lock that others hold for long: when it begins to matter, once a minute, and when it is over. */
import type { Logger } from './log.ts';
import type { SyncOutcome } from '../dataplane/dataplane.ts';

const AGAIN_MS = 60_000;

/** To be called with the failures of each sync. */
export function createLockLog(
  log: Pick<Logger, 'info' | 'error'>,
  now: () => number,
): (failures: SyncOutcome['failures']) => void {
  let heldSinceMs: number | undefined;
  let toldMs = 0;
  return (failures) => {
    const failure = failures.find(({ reason }) => reason === 'lock');
    const nowMs = now();
    if (failure) {
      const { tool, reason, message } = failure;
      heldSinceMs ??= nowMs;
      if (toldMs > 0 && nowMs - toldMs < AGAIN_MS) return;
      toldMs = nowMs;
      log.error(
        `not written, trying again at once: ${message}; \`fuser -v /run/xtables.lock\` on the node shows who holds it`,
        {
          tool,
          reason,
          seconds: Math.round((nowMs - heldSinceMs) / 1000),
        },
      );
    } else if (heldSinceMs !== undefined && failures.length === 0) {
      log.info('the xtables lock is free again, and what waited for it is written', {
        seconds: Math.round((nowMs - heldSinceMs) / 1000),
      });
      heldSinceMs = undefined;
      toldMs = 0;
    }
  };
}
