import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import type { HostSurvey } from '../../src/host/host-findings.ts';
import type { Logger } from '../../src/telemetry/log.ts';
import { systemClock } from '../../src/core/clock.ts';
import { watchHost } from '../../src/telemetry/host-conditions.ts';

const BARE: HostSurvey = {
  interfaces: ['eth0'],
  rules: [],
  nftTables: [],
  flowtables: [],
  bpfPins: [],
  ipvsServices: undefined,
};

/** One look at the host. */
async function look(survey: HostSurvey, isIpvsAllowed = false) {
  const told: string[] = [];
  const counted: (readonly string[])[] = [];
  const say = (level: string) => (message: string) => void told.push(`${level}: ${message}`);
  const log = { info: say('info'), warn: say('warn'), error: say('error') } as unknown as Logger;
  const watch = watchHost({
    metrics: { otherEnforcers: (found) => void counted.push(found) },
    log: { child: () => log } as unknown as Logger,
    isIpvsAllowed,
    survey: () => Promise.resolve(survey),
    clock: systemClock,
  });
  await turn();
  watch.stop();
  const conditions = Object.fromEntries(watch.conditions.map(({ name, state }) => [name, state()]));
  return { told, counted, conditions };
}

describe('fault: what is found on the host is told', () => {
  it('nothing to tell: not a word, all is ok', async () => {
    const { told, counted, conditions } = await look(BARE);
    assert.deepEqual([told, counted], [[], [[]]]);
    assert.deepEqual(Object.keys(conditions), ['other-enforcers', 'kube-proxy-mode', 'traffic-seen']);
    assert.ok(Object.values(conditions).every(({ ok }) => ok));
  });

  it('another engine: a warning, a metric, the reason; ready all the same', async () => {
    const { told, counted, conditions } = await look({ ...BARE, interfaces: ['cilium_host'] });
    assert.match(told[0]!, /^warn: another engine enforces .*cilium \(interface cilium_host\); both must allow/);
    assert.deepEqual(counted, [['cilium']]);
    assert.ok(conditions['other-enforcers']!.ok);
    assert.match(conditions['other-enforcers']!.reason, /both must allow/);
  });

  it('kube-proxy in IPVS mode: not ready with the reason, unless that is allowed', async () => {
    const found = { ...BARE, interfaces: ['kube-ipvs0'], ipvsServices: 4 };
    const { told, conditions } = await look(found);
    assert.match(told[0]!, /^error: kube-proxy runs in IPVS mode/);
    assert.ok(!conditions['kube-proxy-mode']!.ok);
    assert.match(conditions['kube-proxy-mode']!.reason, /--allow-kube-proxy-ipvs=true/);
    const allowed = await look(found, true);
    assert.match(allowed.told[0]!, /^info: kube-proxy runs in IPVS mode/);
    assert.ok(allowed.conditions['kube-proxy-mode']!.ok);
  });

  it('flowtables: ready, with the reason', async () => {
    const { told, conditions } = await look({ ...BARE, flowtables: ['t/f on eth0'] });
    assert.match(told[0]!, /^warn: not judged as policies mean it: flows that go through a flowtable/);
    assert.ok(conditions['traffic-seen']!.ok);
    assert.match(conditions['traffic-seen']!.reason, /flowtable/);
  });
});
