import assert from 'node:assert/strict';
import { type LoopVerdict, SyncLoop } from '../../src/agent/sync-loop.ts';
import { VirtualClock } from '../support/virtual-clock.ts';

interface Sync {
  readonly atMs: number;
  readonly resync: boolean;
  readonly reasons: readonly string[];
}

const START_MS = 1_000_000;
const RESYNC_MS = 100_000;

/** `verdicts`: of the syncs in order, then 'done'. A sync takes `syncMs`. */
function bench(verdicts: readonly LoopVerdict[] = [], { syncMs = 0, minGapMs = 200, random = 1 } = {}) {
  const clock = new VirtualClock(START_MS);
  const syncs: Sync[] = [];
  const left = [...verdicts];
  const loop = new SyncLoop({
    sync: async (request) => {
      syncs.push({ atMs: clock.now() - START_MS, ...request });
      if (syncMs > 0) await new Promise<void>((resolve) => void clock.after(syncMs, resolve));
      return left.shift() ?? 'done';
    },
    clock,
    random: () => random,
    minGapMs,
    resyncIntervalMs: RESYNC_MS,
  });
  const times = () => syncs.map(({ atMs }) => atMs);
  return { clock, loop, syncs, times };
}

describe('sync loop', () => {
  it('starts at once when idle, and reads the kernel first', async () => {
    const { clock, loop, syncs } = bench();
    loop.request('pods');
    await clock.pass(0);
    assert.deepEqual(syncs, [{ atMs: 0, resync: true, reasons: ['pods'] }]);
  });

  it('does nothing unasked', async () => {
    const { clock, syncs } = bench();
    await clock.pass(10 * RESYNC_MS);
    assert.deepEqual(syncs, []);
  });

  it('makes one sync of all that is asked before it starts', async () => {
    const { clock, loop, syncs } = bench();
    loop.request('pods');
    await clock.pass(0);
    for (const reason of ['pods', 'nodes', 'pods', 'namespaces']) loop.request(reason);
    await clock.pass(1_000);
    assert.deepEqual(syncs.slice(1), [{ atMs: 200, resync: false, reasons: ['namespaces', 'nodes', 'pods'] }]);
  });

  it('runs one sync at a time, and one more for what came meanwhile, a gap after it ended', async () => {
    const { clock, loop, times } = bench([], { syncMs: 50 });
    loop.request('pods');
    await clock.pass(10);
    loop.request('pods');
    loop.request('nodes');
    await clock.pass(5_000);
    assert.deepEqual(times(), [0, 250]);
  });

  it('waits for no gap after a rest', async () => {
    const { clock, loop, times } = bench();
    loop.request('pods');
    await clock.pass(5_000);
    loop.request('pods');
    await clock.pass(0);
    assert.deepEqual(times(), [0, 5_000]);
  });

  it('keeps a wish to read back until a sync does', async () => {
    const { clock, loop, syncs } = bench();
    loop.request('pods');
    await clock.pass(0);
    loop.request('drift suspected', true);
    loop.request('pods');
    await clock.pass(1_000);
    loop.request('pods');
    await clock.pass(1_000);
    assert.deepEqual(
      syncs.map(({ resync }) => resync),
      [true, true, false],
    );
  });

  it('backs off after failures, doubling up to half a minute, and holds every sync back meanwhile', async () => {
    const { clock, loop, times, syncs } = bench(Array<LoopVerdict>(9).fill('failed'));
    loop.request('pods');
    await clock.pass(100);
    loop.request('pods');
    await clock.pass(199_900);
    const gaps = times().map((atMs, index) => atMs - (times()[index - 1] ?? 0));
    assert.deepEqual(gaps.slice(0, 10), [0, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
    assert.ok(syncs[1]!.resync, 'after a failure nobody knows what the kernel holds');
    assert.equal(loop.failures, 0, 'a sync that goes well ends the count');
  });

  it('fault: after a lock was held it stands in the queue again at once, however long that goes on', async () => {
    const { clock, loop, times, syncs } = bench(Array<LoopVerdict>(20).fill('locked'), { syncMs: 5_000 });
    loop.request('pods');
    await clock.pass(101_000);
    const gaps = times().map((atMs, index) => atMs - (times()[index - 1] ?? -5_000) - 5_000);
    assert.ok(
      gaps.every((gap) => gap <= 200),
      gaps.join(' '),
    );
    assert.ok(syncs.at(-1)!.resync);
    assert.ok(loop.failures > 15, 'readiness tells of it');
  });

  it('spreads retries by jitter', async () => {
    const { clock, loop, times } = bench(['failed', 'failed'], { random: 0 });
    loop.request('pods');
    await clock.pass(5_000);
    assert.deepEqual(times(), [0, 250, 750]);
  });

  it('a sync that left something out holds up nobody else, and is tried again with back-off', async () => {
    const { clock, loop, syncs } = bench(['partial', 'partial']);
    loop.request('pods');
    await clock.pass(100);
    assert.equal(loop.failures, 1);
    loop.request('pods');
    await clock.pass(5_000);
    assert.deepEqual(
      syncs.map(({ atMs, reasons, resync }) => [atMs, reasons[0], resync]),
      [
        [0, 'pods', true],
        [200, 'pods', false],
        [1_200, 'retry', true],
      ],
    );
    assert.equal(loop.failures, 0);
  });

  it('comes back soon for what has to wait, and calls that no failure', async () => {
    const { clock, loop, syncs } = bench(['later']);
    loop.request('pods');
    await clock.pass(999);
    assert.deepEqual([syncs.length, loop.failures], [1, 0]);
    await clock.pass(1);
    assert.deepEqual(syncs[1], { atMs: 1_000, resync: false, reasons: ['retry'] });
  });

  it('comes back less and less often for what waits for long', async () => {
    const { clock, loop, syncs } = bench(['later', 'later', 'later', 'done', 'later', 'later']);
    loop.request('pods');
    await clock.pass(20_000);
    assert.deepEqual(
      syncs.map(({ atMs }) => atMs),
      [0, 1_000, 3_000, 7_000],
    );
    loop.request('pods');
    await clock.pass(1_000);
    assert.equal(syncs.at(-1)!.atMs, 21_000, 'soon again after all was done');
  });

  it('reads back periodically, a tenth sooner or later', async () => {
    for (const [random, intervalMs] of [
      [0, 0.9 * RESYNC_MS],
      [0.5, RESYNC_MS],
      [1, 1.1 * RESYNC_MS],
    ] as const) {
      const { clock, loop, syncs } = bench([], { random });
      loop.request('pods');
      await clock.pass(2.5 * intervalMs);
      assert.deepEqual(
        syncs.slice(1).map(({ atMs, reasons, resync }) => [Math.round(atMs), reasons, resync]),
        [
          [Math.round(intervalMs), ['resync'], true],
          [Math.round(2 * intervalMs), ['resync'], true],
        ],
      );
    }
  });

  it('does not put the next read-back off for syncs that do not read', async () => {
    const { clock, loop, syncs } = bench([], { random: 0.5 });
    loop.request('pods');
    for (let at = 0; at < 1.2 * RESYNC_MS; at += 1_000) {
      await clock.pass(1_000);
      loop.request('pods');
    }
    assert.deepEqual(syncs.filter(({ resync }) => resync).length, 2);
  });

  it('stops for good, after the sync under way', async () => {
    const { clock, loop, times } = bench(['failed'], { syncMs: 50 });
    loop.request('pods');
    await clock.pass(10);
    loop.request('pods');
    let stopped = false;
    const stopping = loop.stop().then(() => {
      stopped = true;
    });
    await clock.pass(30);
    assert.equal(stopped, false);
    await clock.pass(10);
    await stopping;
    loop.request('pods');
    await clock.pass(10 * RESYNC_MS);
    assert.deepEqual(times(), [0]);
    assert.equal(clock.timers, 0);
  });

  it('shows when it last turned', async () => {
    const { clock, loop } = bench([], { syncMs: 50 });
    assert.equal(loop.lastTurnMs, START_MS);
    await clock.pass(500);
    loop.request('pods');
    await clock.pass(20);
    assert.equal(loop.lastTurnMs, START_MS + 500);
    await clock.pass(100);
    assert.equal(loop.lastTurnMs, START_MS + 550);
  });
});
