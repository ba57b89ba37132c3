import assert from 'node:assert/strict';
import { type LoopVerdict, ReconcileLoop } from '../../src/agent/reconcile-loop.ts';
import { VirtualClock } from '../support/virtual-clock.ts';

interface Pass {
  readonly atMs: number;
  readonly readBack: boolean;
  readonly reasons: readonly string[];
}

const START_MS = 1_000_000;
const RESYNC_MS = 100_000;

/** `verdicts`: of the passes in order, then 'done'. A pass takes `passMs`. */
function bench(verdicts: readonly LoopVerdict[] = [], { passMs = 0, minGapMs = 200, random = 1 } = {}) {
  const clock = new VirtualClock(START_MS);
  const passes: Pass[] = [];
  const left = [...verdicts];
  const loop = new ReconcileLoop({
    pass: async (request) => {
      passes.push({ atMs: clock.now() - START_MS, ...request });
      if (passMs > 0) await new Promise<void>((resolve) => void clock.after(passMs, resolve));
      return left.shift() ?? 'done';
    },
    clock,
    random: () => random,
    minGapMs,
    resyncIntervalMs: RESYNC_MS,
  });
  const times = () => passes.map(({ atMs }) => atMs);
  return { clock, loop, passes, times };
}

describe('reconcile loop', () => {
  it('starts at once when idle, and reads the kernel first', async () => {
    const { clock, loop, passes } = bench();
    loop.nudge('pods');
    await clock.pass(0);
    assert.deepEqual(passes, [{ atMs: 0, readBack: true, reasons: ['pods'] }]);
  });

  it('does nothing unasked', async () => {
    const { clock, passes } = bench();
    await clock.pass(10 * RESYNC_MS);
    assert.deepEqual(passes, []);
  });

  it('makes one pass of all that is asked before it starts', async () => {
    const { clock, loop, passes } = bench();
    loop.nudge('pods');
    await clock.pass(0);
    for (const reason of ['pods', 'nodes', 'pods', 'namespaces']) loop.nudge(reason);
    await clock.pass(1_000);
    assert.deepEqual(passes.slice(1), [{ atMs: 200, readBack: false, reasons: ['namespaces', 'nodes', 'pods'] }]);
  });

  it('runs one pass at a time, and one more for what came meanwhile, a gap after it ended', async () => {
    const { clock, loop, times } = bench([], { passMs: 50 });
    loop.nudge('pods');
    await clock.pass(10);
    loop.nudge('pods');
    loop.nudge('nodes');
    await clock.pass(5_000);
    assert.deepEqual(times(), [0, 250]);
  });

  it('waits for no gap after a rest', async () => {
    const { clock, loop, times } = bench();
    loop.nudge('pods');
    await clock.pass(5_000);
    loop.nudge('pods');
    await clock.pass(0);
    assert.deepEqual(times(), [0, 5_000]);
  });

  it('keeps a wish to read back until a pass does', async () => {
    const { clock, loop, passes } = bench();
    loop.nudge('pods');
    await clock.pass(0);
    loop.nudge('drift suspected', true);
    loop.nudge('pods');
    await clock.pass(1_000);
    loop.nudge('pods');
    await clock.pass(1_000);
    assert.deepEqual(
      passes.map(({ readBack }) => readBack),
      [true, true, false],
    );
  });

  it('backs off after failures, doubling up to half a minute, and holds every pass back meanwhile', async () => {
    const { clock, loop, times, passes } = bench(Array<LoopVerdict>(9).fill('failed'));
    loop.nudge('pods');
    await clock.pass(100);
    loop.nudge('pods');
    await clock.pass(199_900);
    const gaps = times().map((atMs, index) => atMs - (times()[index - 1] ?? 0));
    assert.deepEqual(gaps.slice(0, 10), [0, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
    assert.ok(passes[1]!.readBack, 'after a failure nobody knows what the kernel holds');
    assert.equal(loop.failures, 0, 'a pass that goes well ends the count');
  });

  it('fault: after a lock was held it stands in the queue again at once, however long that goes on', async () => {
    const { clock, loop, times, passes } = bench(Array<LoopVerdict>(20).fill('locked'), { passMs: 5_000 });
    loop.nudge('pods');
    await clock.pass(101_000);
    const gaps = times().map((atMs, index) => atMs - (times()[index - 1] ?? -5_000) - 5_000);
    assert.ok(
      gaps.every((gap) => gap <= 200),
      gaps.join(' '),
    );
    assert.ok(passes.at(-1)!.readBack);
    assert.ok(loop.failures > 15, 'readiness tells of it');
  });

  it('spreads retries by jitter', async () => {
    const { clock, loop, times } = bench(['failed', 'failed'], { random: 0 });
    loop.nudge('pods');
    await clock.pass(5_000);
    assert.deepEqual(times(), [0, 250, 750]);
  });

  it('a pass that left something out holds up nobody else, and is tried again with back-off', async () => {
    const { clock, loop, passes } = bench(['partial', 'partial']);
    loop.nudge('pods');
    await clock.pass(100);
    assert.equal(loop.failures, 1);
    loop.nudge('pods');
    await clock.pass(5_000);
    assert.deepEqual(
      passes.map(({ atMs, reasons, readBack }) => [atMs, reasons[0], readBack]),
      [
        [0, 'pods', true],
        [200, 'pods', false],
        [1_200, 'retry', true],
      ],
    );
    assert.equal(loop.failures, 0);
  });

  it('comes back soon for what has to wait, and calls that no failure', async () => {
    const { clock, loop, passes } = bench(['later']);
    loop.nudge('pods');
    await clock.pass(999);
    assert.deepEqual([passes.length, loop.failures], [1, 0]);
    await clock.pass(1);
    assert.deepEqual(passes[1], { atMs: 1_000, readBack: false, reasons: ['retry'] });
  });

  it('comes back less and less often for what waits for long', async () => {
    const { clock, loop, passes } = bench(['later', 'later', 'later', 'done', 'later', 'later']);
    loop.nudge('pods');
    await clock.pass(20_000);
    assert.deepEqual(
      passes.map(({ atMs }) => atMs),
      [0, 1_000, 3_000, 7_000],
    );
    loop.nudge('pods');
    await clock.pass(1_000);
    assert.equal(passes.at(-1)!.atMs, 21_000, 'soon again after all was done');
  });

  it('reads back periodically, a tenth sooner or later', async () => {
    for (const [random, intervalMs] of [
      [0, 0.9 * RESYNC_MS],
      [0.5, RESYNC_MS],
      [1, 1.1 * RESYNC_MS],
    ] as const) {
      const { clock, loop, passes } = bench([], { random });
      loop.nudge('pods');
      await clock.pass(2.5 * intervalMs);
      assert.deepEqual(
        passes.slice(1).map(({ atMs, reasons, readBack }) => [Math.round(atMs), reasons, readBack]),
        [
          [Math.round(intervalMs), ['resync'], true],
          [Math.round(2 * intervalMs), ['resync'], true],
        ],
      );
    }
  });

  it('does not put the next read-back off for passes that do not read', async () => {
    const { clock, loop, passes } = bench([], { random: 0.5 });
    loop.nudge('pods');
    for (let at = 0; at < 1.2 * RESYNC_MS; at += 1_000) {
      await clock.pass(1_000);
      loop.nudge('pods');
    }
    assert.deepEqual(passes.filter(({ readBack }) => readBack).length, 2);
  });

  it('stops for good, after the pass under way', async () => {
    const { clock, loop, times } = bench(['failed'], { passMs: 50 });
    loop.nudge('pods');
    await clock.pass(10);
    loop.nudge('pods');
    let stopped = false;
    const stopping = loop.stop().then(() => {
      stopped = true;
    });
    await clock.pass(30);
    assert.equal(stopped, false);
    await clock.pass(10);
    await stopping;
    loop.nudge('pods');
    await clock.pass(10 * RESYNC_MS);
    assert.deepEqual(times(), [0]);
    assert.equal(clock.timers, 0);
  });

  it('shows when it last turned', async () => {
    const { clock, loop } = bench([], { passMs: 50 });
    assert.equal(loop.lastTurnMs, START_MS);
    await clock.pass(500);
    loop.nudge('pods');
    await clock.pass(20);
    assert.equal(loop.lastTurnMs, START_MS + 500);
    await clock.pass(100);
    assert.equal(loop.lastTurnMs, START_MS + 550);
  });
});
