import assert from 'node:assert/strict';
import { StalenessReporter, type StaleKind, watchesReady } from '../../src/telemetry/watch-staleness.ts';

const kinds = (pods: number, policies = 0, problem = 'https://192.0.2.1: connection refused'): readonly StaleKind[] => [
  { kind: 'pods', staleMs: pods * 1_000, ...(pods > 0 ? { problem } : {}) },
  { kind: 'networkpolicies', staleMs: policies * 1_000, ...(policies > 0 ? { problem } : {}) },
];

describe('fault: blind and ready', () => {
  it('a line after half a minute, one a minute while it lasts, one when it is over', () => {
    const teller = new StalenessReporter();
    const told: string[] = [];
    const look = (second: number, stale: number): void => {
      const report = teller.look(kinds(stale, stale), second * 1_000);
      if (report) told.push(`${second} ${report.level} ${report.message}`);
    };
    for (let second = 0; second < 10; second++) look(second, 0);
    for (let second = 10; second < 200; second++) look(second, second - 9);
    for (let second = 200; second < 300; second++) look(second, 0);
    const stale = (seconds: number): string =>
      `pods for ${seconds} s, networkpolicies for ${seconds} s (https://192.0.2.1: connection refused)`;
    const text = 'changes do not arrive, the rules stand as they are: ';
    assert.deepEqual(told, [
      `39 warn ${text}${stale(30)}`,
      `99 warn ${text}${stale(90)}`,
      `159 warn ${text}${stale(150)}`,
      '200 info changes arrive again, after 191 s without',
    ]);
  });

  it('nothing for a watch that is back within half a minute', () => {
    const teller = new StalenessReporter();
    for (let second = 0; second < 29; second++) assert.equal(teller.look(kinds(second), second * 1_000), undefined);
    assert.equal(teller.look(kinds(0), 29_000), undefined);
  });

  it('is told in the condition at once, and fails it only past the limit', () => {
    assert.deepEqual(watchesReady(kinds(0), 60_000), { ok: true, reason: 'a watch is open for every kind' });
    assert.equal(watchesReady(kinds(0, 3_600), 0).ok, true);
    assert.match(watchesReady(kinds(0, 12), 0).reason, /networkpolicies for 12 s \(https:.*connection refused\)/);
    assert.equal(watchesReady(kinds(0, 60), 60_000).ok, true);
    assert.equal(watchesReady(kinds(0, 61), 60_000).ok, false);
    assert.equal(watchesReady(undefined, 60_000).ok, true);
  });
});
