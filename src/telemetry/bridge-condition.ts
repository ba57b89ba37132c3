/** Whether bridges let pods past the rules, as a condition. */
import type { BridgeFilter } from '../host/bridge-filter.ts';
import type { MonotonicClock } from '../core/clock.ts';
import type { Logger } from './log.ts';

import { readBridgeFilter } from '../host/bridge-filter.ts';
import { type ConditionWatch, type Finding, watchConditions } from './condition.ts';

/** Bridges come and go with pods; some file reads each. */
const INTERVAL_MS = 4_000;
/** While pods bypass us, whoever repairs that wants to see it. */
const REPAIR_INTERVAL_MS = 1_000;

export function watchBridges(log: Logger, clock: Pick<MonotonicClock, 'after'>): ConditionWatch {
  return watchConditions({
    look: () => readBridgeFilter(),
    conditions: [
      { name: 'bridge-netfilter', judge: judgeBridges, usual: judgeBridges({ bridges: [], missing: [] }).reason },
    ],
    intervalMs: ({ missing }) => (missing.length > 0 ? REPAIR_INTERVAL_MS : INTERVAL_MS),
    log,
    clock,
  });
}

function judgeBridges({ bridges, missing }: BridgeFilter): Finding {
  if (bridges.length === 0) return { ok: true, level: 'info', reason: 'no bridge with pods' };
  if (missing.length === 0) return { ok: true, level: 'info', reason: `traffic on ${bridges.join(', ')} is seen` };
  return {
    ok: false,
    level: 'error',
    reason:
      `pods on ${bridges.join(', ')} reach each other unseen, so policies between them are NOT enforced: ` +
      `set ${missing.map((name) => `${name}=1`).join(' and ')} (module br_netfilter)`,
  };
}
