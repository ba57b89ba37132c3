/** Looks again and again whether bridges let pods past the rules. */
import type { BridgeFilter } from '../host/bridge-filter.ts';
import type { Logger } from './log.ts';
import type { ConditionState } from './health.ts';

import { readBridgeFilter } from '../host/bridge-filter.ts';
import { after } from '../core/clock.ts';

/** Bridges come and go with pods; some file reads each. */
const BRIDGE_CHECK_INTERVAL_MS = 4_000;
/** While pods bypass us, whoever repairs that wants to see it. */
const BRIDGE_RECHECK_INTERVAL_MS = 1_000;

export interface BridgeWatch {
  readonly condition: () => ConditionState;
  stop(): void;
}

export function watchBridges(log: Logger): BridgeWatch {
  let last: BridgeFilter | undefined;
  let reported = '';
  let cancel = (): void => {};
  let stopped = false;
  const check = async (): Promise<void> => {
    const found = await readBridgeFilter();
    if (stopped) return;
    last = found;
    const isMissing = found.missing.length > 0;
    cancel = after(isMissing ? BRIDGE_RECHECK_INTERVAL_MS : BRIDGE_CHECK_INTERVAL_MS, () => void check());
    const text = bridgeReason(found);
    if (text === reported) return;
    reported = text;
    if (isMissing) log.error(text);
    else if (found.bridges.length > 0) log.info(text);
  };
  void check();
  return {
    condition: () => ({
      ok: last === undefined || last.missing.length === 0,
      reason: last === undefined ? 'not looked at yet' : bridgeReason(last),
    }),
    stop: () => {
      stopped = true;
      cancel();
    },
  };
}

function bridgeReason({ bridges, missing }: BridgeFilter): string {
  if (bridges.length === 0) return 'no bridge with pods';
  if (missing.length === 0) return `traffic on ${bridges.join(', ')} is seen`;
  return (
    `pods on ${bridges.join(', ')} reach each other unseen, so policies between them are NOT enforced: ` +
    `set ${missing.map((name) => `${name}=1`).join(' and ')} (module br_netfilter)`
  );
}
