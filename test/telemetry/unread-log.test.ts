import assert from 'node:assert/strict';
import type { SyncFailure, SyncOutcome } from '../../src/dataplane/dataplane.ts';
import { createUnreadLog } from '../../src/telemetry/unread-log.ts';

const FAILURE: SyncFailure = {
  object: undefined,
  tool: 'ip6tables-nft-save',
  reason: 'unavailable',
  message: 'IPv6 rules cannot be read: no memory',
  policies: [],
};
const outcome = (failures: readonly SyncFailure[]): SyncOutcome =>
  ({
    failures,
    unread: failures.length > 0 ? [{ family: 6, tool: FAILURE.tool, isKnown: false, why: 'no memory' }] : [],
  }) as unknown as SyncOutcome;

describe('fault: rules that cannot be read fill the log', () => {
  it('told when it begins, once a minute however many syncs there are, and when it is over', () => {
    const lines: string[] = [];
    let ms = 0;
    const log = { error: (text: string) => lines.push(`error ${text}`), info: (text: string) => lines.push(text) };
    const tell = createUnreadLog(log, () => ms);
    tell(outcome([]));
    for (; ms < 100_000; ms += 500) tell(outcome([FAILURE]));
    assert.deepEqual(lines, Array(2).fill(`error ${FAILURE.message}; reading again`));
    tell(outcome([]));
    tell(outcome([]));
    assert.deepEqual(lines.slice(2), ['all rules can be read again']);
    tell(outcome([FAILURE]));
    assert.equal(lines.length, 4);
  });
});
