import assert from 'node:assert/strict';
import { chooseTimed, followedAt, timeEnforcement, type TimedNetwork } from '../../lab/enforcement-time.ts';
import type { Matrix } from '../../lab/matrix.ts';
import type { EndpointKey, RepeatRequest, RepeatStatus } from '../../lab/network/types.ts';
import { answer, endpoint, matrixOf } from './matrices.ts';

type Change = RepeatStatus['changes'][number];

function status(...changes: readonly [atMs: number, outcome: Change['outcome']][]): RepeatStatus {
  return {
    counts: { reached: 0, blocked: 0, refused: 0, error: 0 },
    changes: changes.map(([atMs, outcome]) => ({ atMs, outcome })),
  };
}

describe('followedAt', () => {
  it('is when the first lost packet of a cell now denied was sent', () => {
    assert.equal(followedAt(status([0, 'reached'], [143, 'blocked']), false, 100), 143);
    assert.equal(followedAt(status([0, 'reached']), false, 100), undefined);
    assert.equal(followedAt(status(), false, 100), undefined);
  });

  it('is when the first answered packet of a cell now allowed was sent, though older silences are known later', () => {
    const seen = status([0, 'blocked'], [150, 'reached'], [149, 'blocked'], [230, 'reached']);
    assert.equal(followedAt(seen, true, 100), 150);
    assert.equal(followedAt(status([0, 'blocked'], [150, 'refused']), true, 100), 150);
    assert.equal(followedAt(status([0, 'blocked'], [150, 'error']), true, 100), undefined);
  });

  it('counts the last turn of a cell that came and went', () => {
    assert.equal(followedAt(status([0, 'reached'], [110, 'blocked'], [120, 'reached']), false, 100), undefined);
    assert.equal(
      followedAt(status([0, 'reached'], [110, 'blocked'], [120, 'reached'], [130, 'blocked']), false, 100),
      130,
    );
  });

  it('is never before the change', () => {
    assert.equal(followedAt(status([95, 'blocked']), false, 100), 100);
  });
});

describe('chooseTimed', () => {
  it('takes one cell of each pair of nodes, family and verdict', () => {
    const matrix = matrixOf(['x/a', 'x/b', 'x/c', 'x/d'], { families: [4, 6], denied: (from) => from === 'x/a' });
    const onNodes: Matrix = {
      ...matrix,
      endpoints: [
        endpoint('x/a', 1, 'node-1'),
        endpoint('x/b', 2, 'node-1'),
        endpoint('x/c', 3, 'node-2'),
        endpoint('x/d', 4, 'node-2'),
      ],
    };
    // Two nodes to two nodes, two families; from a, on node-1, also denied ones.
    assert.equal(chooseTimed(onNodes, matrix.cells).length, 4 * 2 + 2 * 2);
  });

  it('takes at most 16, from all over', () => {
    const labels = Array.from({ length: 10 }, (_, index) => `x/${index}`);
    const matrix = matrixOf(labels);
    const spread = { ...matrix, endpoints: labels.map((label, index) => endpoint(label, index, `node-${index}`)) };
    const chosen = chooseTimed(spread, matrix.cells);
    assert.equal(chosen.length, 16);
    assert.ok(new Set(chosen.map(({ from }) => from)).size > 7);
  });
});

/** A network that follows a change after `afterMs`; `others`: cells that nobody times need longer. */
function network(afterMs: number, others = afterMs) {
  const state = {
    nowMs: 1000,
    appliedAt: Number.POSITIVE_INFINITY,
    repeats: 0,
    stopped: 0,
    requests: [] as RepeatRequest[],
  };
  const door: TimedNetwork = {
    repeatProbe: async (_from: EndpointKey, request: RepeatRequest) => {
      state.repeats += 1;
      state.requests.push(request);
      const seen = (): RepeatStatus => {
        const at = state.appliedAt + afterMs;
        return state.nowMs < at ? status([1000, 'reached']) : status([1000, 'reached'], [at, 'blocked']);
      };
      return {
        status: async () => seen(),
        timesOf: async () => [],
        stop: async () => {
          state.stopped += 1;
          return seen();
        },
      };
    },
    probeMatrix: async (probes) => {
      state.nowMs += 1;
      return probes.map(() => answer(state.nowMs > state.appliedAt + others ? 'blocked' : 'reached'));
    },
  };
  const timing = {
    now: () => state.nowMs,
    sleep: async (ms: number): Promise<void> => {
      state.nowMs += ms;
    },
    apply: (): void => {
      state.appliedAt = state.nowMs;
    },
    timeoutMs: 2000,
  };
  return { state, door, timing };
}

const DENIED = matrixOf(['x/a', 'x/b'], { denied: () => true });

describe('timeEnforcement', () => {
  it('probes before the change is made, and stops when all follow', async () => {
    const { state, door, timing } = network(42);
    const apply = (): void => {
      assert.equal(state.repeats, 1);
      timing.apply();
    };
    assert.equal(await timeEnforcement(door, { ...timing, apply, matrix: DENIED, changed: DENIED.cells }), 42);
    assert.equal(state.stopped, 1);
    assert.equal(state.requests[0]!.intervalMs, 2);
    assert.equal(state.requests[0]!.attempts, 1);
  });

  it('waits for the cells that were not timed', async () => {
    const { door, timing } = network(42, 300);
    const ms = await timeEnforcement(door, { ...timing, matrix: DENIED, changed: DENIED.cells });
    assert.ok(ms !== undefined && ms >= 299 && ms <= 301, `${ms}`);
  });

  it('gives up after the timeout, and ends its probes', async () => {
    const { state, door, timing } = network(5000);
    assert.equal(await timeEnforcement(door, { ...timing, matrix: DENIED, changed: DENIED.cells }), undefined);
    assert.equal(state.stopped, 1);
  });

  it('only makes the change when no cell is concerned', async () => {
    const { state, door, timing } = network(1);
    assert.equal(await timeEnforcement(door, { ...timing, matrix: DENIED, changed: [] }), 0);
    assert.deepEqual([state.repeats, state.appliedAt], [0, 1000]);
  });

  it('counts from a change that somebody else has made', async () => {
    const { state, door, timing } = network(30);
    state.appliedAt = 990;
    const { apply: _, ...rest } = timing;
    const changed = { ...rest, matrix: DENIED, changed: DENIED.cells, startedAt: 990 };
    assert.equal(await timeEnforcement(door, changed), 30);
  });

  it('ends its probes when the change cannot be made', async () => {
    const { state, door, timing } = network(1);
    const apply = (): void => {
      throw new Error('refused');
    };
    await assert.rejects(timeEnforcement(door, { ...timing, apply, matrix: DENIED, changed: DENIED.cells }), /refused/);
    assert.equal(state.stopped, 1);
  });
});
