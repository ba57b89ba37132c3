import assert from 'node:assert/strict';
import type { Drift } from '../../src/dataplane/dataplane.ts';
import type { Kernel } from '../../src/dataplane/iptables/kernel/kernel.ts';
import type { Logger } from '../../src/telemetry/log.ts';
import type { SyncOutcome } from '../../src/dataplane/dataplane.ts';
import { systemClock } from '../../src/core/clock.ts';
import { createDriftLog, jumpsPresent } from '../../src/telemetry/drift-log.ts';
import { NeighbourWatch } from '../../src/dataplane/iptables/drift/neighbour-watch.ts';

const JUMP: Drift = {
  kind: 'jump',
  object: 'FORWARD',
  family: 4,
  what: 'IPv4: 1 rule stands before ours, first: -j ACCEPT',
};

/** Whatever nobody calls is not there. */
function bench() {
  const told: string[] = [];
  const counted: string[] = [];
  const say = (level: string) => (message: string) => void told.push(`${level}: ${message}`);
  const log = { debug: say('debug'), info: say('info'), warn: say('warn'), error: say('error') };
  const driftLog = createDriftLog(
    {
      driftRepaired: (kind, by, count) => void counted.push(`${kind} ${by} ${count ?? 1}`),
      monitorLost: () => {},
    },
    log as unknown as Logger,
  );
  const watch = new NeighbourWatch(
    { backend: 'iptables-legacy', families: [4] } as unknown as Kernel,
    driftLog,
    systemClock,
  );
  const pass = (drift: readonly Drift[], { failures = [] as unknown[], mode = 'enforce' } = {}): void =>
    watch.synced({ drift, mode, failures } as unknown as SyncOutcome, true);
  return { told, counted, pass, jumps: () => jumpsPresent(watch.jumps()) };
}

describe('fault: what was repaired is told, once for what is alike', () => {
  it('the first of each kind with how many more, jumps first', () => {
    const { told, counted, pass } = bench();
    const chains = ['A', 'B', 'C', 'D', 'E', 'F', 'G'].map((name): Drift => {
      return { kind: 'chain', object: `PCL-${name}`, family: 4, what: 'IPv4: chain is gone' };
    });
    pass([...chains, JUMP]);
    assert.deepEqual(told, [
      'warn: repaired: FORWARD, IPv4: 1 rule stands before ours, first: -j ACCEPT',
      'warn: repaired: PCL-A, IPv4: chain is gone (and 6 more: PCL-B, PCL-C, PCL-D, PCL-E, PCL-F, ...)',
    ]);
    assert.deepEqual(counted, ['jump unknown 1', 'chain unknown 7']);
  });

  it('not counted as repaired before it is', () => {
    const { told, counted, pass } = bench();
    pass([JUMP], { failures: [{}] });
    assert.match(told[0]!, /^warn: not repaired yet: FORWARD/);
    assert.deepEqual(counted, []);
    pass([], { failures: [{}] });
    pass([]);
    assert.match(told[1]!, /^warn: repaired: FORWARD/);
    assert.deepEqual(counted, ['jump unknown 1']);
    pass([]);
    assert.equal(told.length, 2);
  });

  it('a fight is told once as an error, counted each time, and the node is not ready meanwhile', () => {
    const { jumps, told, counted, pass } = bench();
    assert.ok(jumps().ok);
    for (let i = 0; i < 9; i++) pass([JUMP]);
    const levels = told.map((line) => line.split(':', 1)[0]);
    assert.deepEqual(levels, ['warn', 'warn', 'warn', 'warn', 'error', 'debug', 'debug', 'debug', 'debug']);
    assert.match(told[4]!, /-j ACCEPT; somebody undoes our rules again and again/);
    assert.equal(counted.length, 9);
    assert.ok(!jumps().ok);
    assert.match(jumps().reason, /again and again: FORWARD, .*-j ACCEPT/);
  });
});
