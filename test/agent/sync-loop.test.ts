import assert from 'node:assert/strict';
import { BURST_MS, LONGEST_PAUSE_MS } from '../../src/agent/pace.ts';
import { TIDYING } from '../../src/dataplane/dataplane.ts';
import { type LoopRequest, type LoopVerdict, SyncLoop, type Want } from '../../src/agent/sync-loop.ts';
import { VirtualClock } from '../support/virtual-clock.ts';

interface Sync extends LoopRequest {
  readonly atMs: number;
}

const START_MS = 1_000_000;
const RESYNC_MS = 100_000;

interface Bench {
  /** How long a sync takes, and what it uses of a core; what is used is 0 unless given. */
  readonly syncMs?: number;
  readonly used?: (request: LoopRequest) => number;
  readonly minGapMs?: number;
  readonly share?: number;
  readonly random?: number;
}

/** `verdicts`: of the syncs in order, then 'done'. */
function bench(
  verdicts: readonly LoopVerdict[] = [],
  { syncMs = 0, used = () => 0, minGapMs = 200, share = 0.2, random = 1 }: Bench = {},
) {
  const clock = new VirtualClock(START_MS);
  const syncs: Sync[] = [];
  const left = [...verdicts];
  let cpuMs = 0;
  const loop = new SyncLoop({
    sync: async (request) => {
      syncs.push({ atMs: clock.now() - START_MS, ...request });
      cpuMs += used(request);
      if (syncMs > 0) await new Promise<void>((resolve) => void clock.after(syncMs, resolve));
      return left.shift() ?? 'done';
    },
    clock,
    random: () => random,
    minGapMs,
    share,
    cpuMs: () => cpuMs,
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
    assert.deepEqual(syncs, [{ atMs: 0, resync: true, lane: 'rules', reasons: ['pods'] }]);
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
    const reasons = ['namespaces', 'nodes', 'pods'];
    assert.deepEqual(syncs.slice(1), [{ atMs: 200, resync: false, lane: 'rules', reasons }]);
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
    loop.request('drift suspected', 'compare');
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
    assert.deepEqual(syncs[1], { atMs: 1_000, resync: false, lane: 'rules', reasons: ['retry'] });
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

describe('pauses for what syncs cost', () => {
  /** Requests by time (milliseconds after the first sync), against the times of all syncs that follow. */
  interface Row {
    readonly name: string;
    /** Of one core, in ms. */
    readonly used: Partial<Record<Want, number>>;
    readonly share?: number;
    readonly minGapMs?: number;
    readonly syncMs?: number;
    readonly asked: readonly (readonly [Want, number])[];
    readonly syncs: readonly (readonly [Want, number])[];
  }
  const every = (want: Want, gapMs: number, count: number, fromMs = 10): (readonly [Want, number])[] =>
    Array.from({ length: count }, (_, index) => [want, fromMs + index * gapMs] as const);

  const rows: readonly Row[] = [
    {
      name: 'none on a quiet node',
      used: { rules: 40 },
      asked: every('rules', 200, 8),
      syncs: every('rules', 200, 8),
    },
    {
      name: 'none while a burst lasts, then what keeps the share: 40 ms of a fifth is 200 ms',
      used: { rules: 40 },
      asked: every('rules', 10, 100),
      syncs: [
        ['rules', 10],
        ['rules', 20],
        ['rules', 30],
        ['rules', 110],
        ['rules', 310],
        ['rules', 510],
        ['rules', 710],
        ['rules', 910],
      ],
    },
    {
      name: 'shorter ones for a larger share',
      used: { rules: 50 },
      share: 0.5,
      asked: every('rules', 10, 50),
      syncs: [
        ['rules', 10],
        ['rules', 20],
        ['rules', 30],
        ['rules', 110],
        ['rules', 210],
        ['rules', 310],
        ['rules', 410],
        ['rules', 510],
      ],
    },
    {
      name: 'none for a share of a whole core',
      used: { rules: 10 },
      share: 1,
      asked: every('rules', 10, 20),
      syncs: every('rules', 10, 20),
    },
    {
      name: 'a quarter of a second at most, however much one cost; what is beyond is let go',
      used: { rules: 10_000 },
      asked: every('rules', 10, 100),
      syncs: [
        ['rules', 10],
        ['rules', 260],
        ['rules', 510],
        ['rules', 760],
        ['rules', 1_010],
      ],
    },
    {
      name: 'a sync that found nothing to do costs what it cost',
      used: { rules: 1 },
      asked: every('rules', 10, 50),
      syncs: every('rules', 10, 50),
    },
    {
      name: 'comparisons with the kernel wait for none and cost none',
      used: { rules: 200, compare: 5_000 },
      asked: [
        ['rules', 10],
        ['compare', 20],
        ['compare', 30],
        ['rules', 40],
        ['rules', 270],
        ['compare', 400],
        ['rules', 410],
      ],
      syncs: [
        ['rules', 10],
        ['compare', 20],
        ['compare', 30],
        ['rules', 260],
        ['compare', 400],
        ['rules', 510],
      ],
    },
    {
      name: 'a comparison takes along what waits for a pause',
      used: { rules: 300 },
      asked: [
        ['rules', 10],
        ['rules', 20],
        ['members', 20],
        ['compare', 30],
      ],
      syncs: [
        ['rules', 10],
        ['members', 20],
        ['compare', 30],
      ],
    },
    {
      name: 'members wait for no debts of rules',
      used: { rules: 300, members: 1 },
      asked: [['rules', 10], ['rules', 20], ...every('members', 10, 20, 20)],
      syncs: [['rules', 10], ...every('members', 10, 20, 20), ['rules', 260]],
    },
    {
      name: 'rules wait for no debts of members',
      used: { rules: 40, members: 300 },
      asked: [
        ['members', 10],
        ['members', 20],
        ['rules', 30],
        ['rules', 90],
      ],
      syncs: [
        ['members', 10],
        ['rules', 30],
        ['rules', 90],
      ],
    },
    {
      name: 'none shorter than the least, whatever it cost',
      used: { rules: 1, members: 1 },
      minGapMs: 100,
      asked: [
        ['rules', 110],
        ['members', 120],
        ['compare', 130],
      ],
      syncs: [
        ['rules', 110],
        ['compare', 210],
      ],
    },
    {
      name: 'the time a sync takes pays for it as well, and a wait costs nothing',
      used: { rules: 50 },
      syncMs: 250,
      asked: every('rules', 10, 80, 260),
      syncs: [
        ['rules', 260],
        ['rules', 510],
        ['rules', 760],
        ['rules', 1_010],
      ],
    },
  ];
  const wantOf = ({ resync, lane }: LoopRequest): Want => (resync ? 'compare' : lane);
  const run = async (row: Omit<Row, 'name' | 'syncs'>): Promise<readonly Sync[]> => {
    const used = (request: LoopRequest): number => row.used[wantOf(request)] ?? 0;
    const { share = 0.2, minGapMs = 0, syncMs = 0 } = row;
    const { clock, loop, syncs } = bench([], {
      used: (request) => (isFirst ? 1e6 : used(request)),
      share,
      minGapMs,
      syncMs,
    });
    let isFirst = true;
    loop.request('first');
    await clock.pass(syncMs);
    isFirst = false;
    let now = syncMs;
    for (const [want, atMs] of row.asked) {
      await clock.pass(Math.max(0, atMs - now));
      now = Math.max(now, atMs);
      loop.request(want, want);
    }
    await clock.pass(1_100 - Math.min(1_100, now));
    return syncs.slice(1);
  };

  for (const row of rows) {
    it(row.name, async () => {
      const found = (await run(row)).filter(({ atMs }) => atMs <= 1_010);
      assert.deepEqual(
        found.map((sync) => [wantOf(sync), Math.round(sync.atMs)]),
        row.syncs.filter(([, atMs]) => atMs <= 1_010),
      );
    });
  }

  it('both lanes together keep the share', async () => {
    const asked = [...every('rules', 10, 260), ...every('members', 10, 260)].sort(([, a], [, b]) => a - b);
    const found = await run({ used: { rules: 10, members: 10 }, asked });
    const of = (lane: string): Sync[] => found.filter((sync) => sync.lane === lane);
    const usedMs = 10 * found.length;
    assert.ok(usedMs <= 2_600 * 0.2 + 2 * (BURST_MS + 10), `${usedMs} ms of 2,600`);
    assert.ok(usedMs >= 2_600 * 0.2, `${usedMs} ms of 2,600`);
    assert.ok(Math.abs(of('members').length - of('rules').length) <= 4, 'neither is starved');
  });

  it('what concerns rules alone stays out of a sync of members, and is told why it waits', async () => {
    const { clock, loop, syncs } = bench([], { used: ({ lane }) => (lane === 'rules' ? 300 : 1), minGapMs: 0 });
    loop.request('first');
    await clock.pass(10);
    loop.request('edit', 'rules');
    await clock.pass(10);
    loop.request('edit', 'rules');
    loop.request('pod', 'members');
    await clock.pass(2 * LONGEST_PAUSE_MS);
    assert.deepEqual(
      syncs.slice(1).map(({ lane, reasons }) => [lane, reasons]),
      [
        ['rules', ['edit']],
        ['members', ['pod']],
        ['rules', ['edit']],
      ],
    );
  });

  it('what one costs is forgotten after the longest pause: cheap ones after it start at once', async () => {
    let used = 10_000;
    const { clock, loop, times } = bench([], { used: () => used, minGapMs: 0 });
    loop.request('first');
    await clock.pass(10);
    loop.request('edit');
    await clock.pass(0);
    used = 1;
    loop.request('edit');
    await clock.pass(LONGEST_PAUSE_MS + 30);
    loop.request('edit');
    await clock.pass(30);
    assert.deepEqual(times(), [0, 10, 260, 290]);
  });

  it('what waits for a pause waits for no more than the longest, however often members change', async () => {
    const used = ({ lane }: LoopRequest): number => (lane === 'rules' ? 5_000 : 50);
    const { clock, loop, syncs } = bench([], { used, minGapMs: 0 });
    loop.request('first');
    await clock.pass(10);
    for (let at = 0; at < 5_000; at += 5) {
      loop.request('edit', 'rules');
      loop.request('pod', 'members');
      await clock.pass(5);
    }
    const times = syncs.filter(({ lane, resync }) => lane === 'rules' && !resync).map(({ atMs }) => atMs);
    const gaps = times.slice(1).map((atMs, index) => atMs - times[index]!);
    assert.ok(gaps.length >= 9 && gaps.every((gap) => gap <= LONGEST_PAUSE_MS + 5), gaps.join(' '));
  });

  it('what only tidies waits for its turn and is paid for, but no change waits longer as it ended later', async () => {
    const { clock, loop, syncs } = bench([], { used: ({ resync }) => (resync ? 0 : 4 * BURST_MS), minGapMs: 0 });
    loop.request('pods');
    await clock.pass(1_000);
    loop.request('policies');
    await clock.pass(100);
    loop.request(TIDYING);
    await clock.pass(LONGEST_PAUSE_MS - 50);
    loop.request('policies');
    await clock.pass(1);
    loop.request('policies');
    await clock.pass(1_000);
    assert.deepEqual(
      syncs.slice(1).map(({ atMs, reasons }) => [atMs - 1_000, ...reasons]),
      [
        [0, 'policies'],
        [LONGEST_PAUSE_MS, TIDYING],
        [LONGEST_PAUSE_MS + 50, 'policies'],
        [2 * LONGEST_PAUSE_MS + 50, 'policies'],
      ],
    );
  });

  it('a failure holds up every lane', async () => {
    const { clock, loop, times } = bench(['done', 'failed'], { minGapMs: 0 });
    loop.request('first');
    await clock.pass(10);
    loop.request('edit');
    await clock.pass(10);
    loop.request('pod', 'members');
    await clock.pass(400);
    assert.deepEqual(times(), [0, 10]);
    await clock.pass(200);
    assert.deepEqual(times(), [0, 10, 510]);
  });
});
