import assert from 'node:assert/strict';
import { DeniedFlows, type FlowReport } from '../../src/telemetry/denied-flows.ts';
import { VirtualClock } from '../support/virtual-clock.ts';

function made() {
  const clock = new VirtualClock();
  const reports: FlowReport<string>[] = [];
  const leftOut = { rate: 0, flows: 0, lost: 0 };
  const flows = new DeniedFlows<string>({
    clock,
    onReport: (report) => reports.push(report),
    onLeftOut: (reason, packets) => (leftOut[reason] += packets),
  });
  const told = (): number => reports.reduce((sum, { packets }) => sum + packets, 0);
  return { clock, reports, leftOut, flows, told };
}

describe('which denied packets get a line', () => {
  it('the first of a flow at once, then one line a minute with how many came', () => {
    const { clock, reports, flows } = made();
    flows.packet('a', 'a1');
    assert.deepEqual(reports, [{ latest: 'a1', packets: 1, seconds: 0 }]);
    for (let second = 1; second <= 90; second++) {
      clock.advance(1000);
      flows.packet('a', `a${second + 1}`);
    }
    assert.deepEqual(reports.slice(1), [{ latest: 'a60', packets: 59, seconds: 60 }]);
    clock.advance(60_000);
    assert.deepEqual(reports.slice(2), [{ latest: 'a91', packets: 31, seconds: 60 }]);
  });

  it('one that was quiet for a minute begins anew', () => {
    const { clock, reports, flows } = made();
    flows.packet('a', 'x');
    clock.advance(62_000);
    assert.equal(reports.length, 1);
    flows.packet('a', 'y');
    assert.deepEqual(reports[1], { latest: 'y', packets: 1, seconds: 0 });
  });

  it('each flow by itself', () => {
    const { reports, flows } = made();
    for (const key of ['a', 'b', 'a', 'c', 'b']) flows.packet(key, key);
    assert.deepEqual(
      reports.map(({ latest }) => latest),
      ['a', 'b', 'c'],
    );
  });

  it('a hundred lines at once, then ten a second; what waits for more than a minute is counted', () => {
    const { clock, reports, leftOut, flows, told } = made();
    for (let port = 0; port < 2_000; port++) {
      flows.packet(`p${port}`, 'x');
      flows.packet(`p${port}`, 'x');
    }
    assert.equal(reports.length, 100);
    clock.advance(10_000);
    assert.deepEqual([reports.length, reports.at(-1)], [200, { latest: 'x', packets: 2, seconds: 10 }]);
    clock.advance(60_000);
    assert.ok(reports.length > 600 && reports.length <= 100 + 70 * 10, String(reports.length));
    assert.equal(told() + leftOut.rate, 4_000);
    assert.ok(leftOut.rate > 1000);
    assert.equal(leftOut.flows, 0);
    // Nothing is left of them a minute later.
    clock.advance(130_000);
    const lines = reports.length;
    flows.packet('p0', 'again');
    assert.deepEqual(reports[lines], { latest: 'again', packets: 1, seconds: 0 });
  });

  it('a hundred lines at once also after a long quiet time', () => {
    const { clock, reports, flows } = made();
    clock.advance(3_600_000);
    for (let port = 0; port < 300; port++) flows.packet(`p${port}`, 'x');
    assert.equal(reports.length, 100);
  });

  it('never more lines than ten a second over any time', () => {
    const { clock, reports, flows } = made();
    for (let second = 0; second < 300; second++) {
      for (let n = 0; n < 50; n++) flows.packet(`${second}-${n}`, 'x');
      clock.advance(1000);
    }
    assert.ok(reports.length <= 100 + 300 * 10, String(reports.length));
    assert.ok(reports.length > 2_500, String(reports.length));
  });

  it('no more flows than there is memory for: what comes beyond is counted', () => {
    const { flows, leftOut, told, clock } = made();
    for (let n = 0; n < 10_000; n++) flows.packet(`p${n}`, 'x');
    assert.equal(leftOut.flows, 10_000 - 4_096);
    clock.advance(61_000);
    assert.equal(told() + leftOut.rate + leftOut.flows, 10_000);
    flows.packet('after', 'x');
    assert.equal(leftOut.flows, 10_000 - 4_096);
  });

  it('the end tells what is not told yet', () => {
    const { flows, reports, clock } = made();
    flows.packet('a', 'x');
    flows.packet('a', 'y');
    clock.advance(5_000);
    flows.stop();
    assert.deepEqual(reports[1], { latest: 'y', packets: 1, seconds: 5 });
    clock.advance(120_000);
    assert.equal(reports.length, 2);
  });
});
