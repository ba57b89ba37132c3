/** What a stall is made of: work of the thread, or the wait for something else. */
import assert from 'node:assert/strict';
import { IdleProcess, longestOf, type Stall, watchStalls } from '../../bench/stalls.ts';
import { stallTargets } from '../../bench/targets.ts';

const LONG_MS = 80;

async function stallOf(work: () => void): Promise<Stall> {
  const stalls = watchStalls();
  await new Promise((resolve) => setTimeout(resolve, 5));
  stalls.longest();
  work();
  await new Promise((resolve) => setTimeout(resolve, 5));
  const longest = stalls.longest();
  stalls.stop();
  return longest;
}

describe('bench: stalls', () => {
  it('work shows by the clock and in CPU', async () => {
    const { ms, cpuMs } = await stallOf(() => {
      const began = process.threadCpuUsage();
      for (let used = 0; used < LONG_MS * 1000; ) {
        const { user, system } = process.threadCpuUsage(began);
        used = user + system;
      }
    });
    assert.ok(ms > LONG_MS - 5 && cpuMs > LONG_MS - 5, `${ms} ms, ${cpuMs} ms of CPU`);
  });

  it('a wait shows by the clock alone', async () => {
    const wait = new Int32Array(new SharedArrayBuffer(4));
    const { ms, cpuMs } = await stallOf(() => void Atomics.wait(wait, 0, 0, LONG_MS));
    assert.ok(ms > LONG_MS - 5 && cpuMs < LONG_MS / 2, `${ms} ms, ${cpuMs} ms of CPU`);
  });

  it('the longest of each kind need not be of one stall', () => {
    assert.deepEqual(longestOf([]), { ms: 0, cpuMs: 0 });
    const both = [
      { ms: 9, cpuMs: 1 },
      { ms: 5, cpuMs: 4 },
    ];
    assert.deepEqual(longestOf(both), { ms: 9, cpuMs: 4 });
  });

  it('an idle process answers, again and again', async () => {
    const idle = new IdleProcess();
    try {
      for (let round = 0; round < 2; round++) assert.ok((await idle.longest()).ms >= 0);
    } finally {
      idle.stop();
    }
  });

  it('both are held to the promise', () => {
    const limits = stallTargets('x', { ms: 60, cpuMs: 20 }, { ms: 55, cpuMs: 1 });
    assert.deepEqual(
      limits.map(({ measured, limit }) => [measured, limit]),
      [
        [20, 50],
        [60, 50],
      ],
    );
    assert.match(limits[1]!.what, /55\.0 ms/);
  });
});
