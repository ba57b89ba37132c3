import assert from 'node:assert/strict';
import type { SyncFailure } from '../../src/dataplane/dataplane.ts';
import { createLockLog } from '../../src/telemetry/lock-log.ts';

const LOCKED: SyncFailure = {
  object: undefined,
  tool: 'iptables-legacy-restore',
  reason: 'lock',
  message: 'held',
  policies: [],
};

describe('fault: a lock held for long is told without a line for each try', () => {
  it('at the beginning, each minute, and when it is over', () => {
    let nowMs = 1_000_000;
    const told: string[] = [];
    const log = createLockLog(
      {
        info: (message, fields) => told.push(`info ${message.slice(0, 30)} ${String(fields?.seconds)}`),
        error: (message, fields) => told.push(`error ${message.slice(0, 30)} ${String(fields?.seconds)}`),
      },
      () => nowMs,
    );
    log([]);
    for (let i = 0; i < 15; i++) {
      log([LOCKED]);
      nowMs += 5_000;
    }
    log([]);
    log([]);
    assert.deepEqual(told, [
      'error not written, trying again at o 0',
      'error not written, trying again at o 60',
      'info the xtables lock is free again 75',
    ]);
  });
});
