import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { Family } from '../../src/core/vocabulary.ts';
import type { EpochState } from '../../src/dataplane/listener.ts';
import { FreeEpochs } from '../../src/dataplane/free-epochs.ts';
import { EVERY_PACKET, deniedBit, epochCount, markOf } from '../../src/dataplane/mark-bits.ts';
import { VirtualClock } from '../support/virtual-clock.ts';

const THREE = { mask: 0x70000000 };
const MANY = { mask: 0xff000000 | 0 };

interface Flow {
  readonly family: Family;
  mark: number;
}

/** A table of flows that takes its time, changes while it is asked, and may be out of order. */
class FakeTable {
  readonly flows: Flow[] = [];
  readonly asked: string[] = [];
  commands = 0;
  busyMs = 0;
  latencyMs = 1;
  failing: string | undefined;
  /** So many flows one go clears. */
  clears = Number.POSITIVE_INFINITY;
  readonly #clock: VirtualClock;
  readonly #marks: { readonly mask: number };

  constructor(clock: VirtualClock, marks: { readonly mask: number }) {
    this.#clock = clock;
    this.#marks = marks;
  }

  add(mark: number, family: Family = 4): Flow {
    const flow = { family, mark };
    this.flows.push(flow);
    return flow;
  }

  carriers(family: Family, value: number, mask: number): Flow[] {
    return this.flows.filter((flow) => flow.family === family && (flow.mark & mask) >>> 0 === value);
  }

  async count(family: Family, { value, mask }: { readonly value: number; readonly mask: number }): Promise<number> {
    const unit = deniedBit(this.#marks) * 2;
    const size = (((~mask & this.#marks.mask) >>> 0) + unit) / unit;
    this.asked.push(`IPv${family} ${value / unit}${size > 1 ? `+${size - 1}` : ''}`);
    // A walk sees each flow at some moment.
    const before = this.carriers(family, value, mask).length;
    await this.#work();
    return Math.max(before, this.carriers(family, value, mask).length);
  }

  async clearSome(
    family: Family,
    { value, mask }: { readonly value: number; readonly mask: number },
    bits: number,
  ): Promise<void> {
    await this.#work();
    for (const flow of this.carriers(family, value, mask).slice(0, this.clears)) flow.mark = (flow.mark & ~bits) >>> 0;
  }

  async #work(): Promise<void> {
    this.commands++;
    this.busyMs += this.latencyMs;
    await new Promise<void>((resolve) => void this.#clock.after(this.latencyMs, resolve));
    if (this.failing !== undefined) throw new Error(this.failing);
  }
}

function bench(marks: { readonly mask: number }) {
  const clock = new VirtualClock();
  const table = new FakeTable(clock, marks);
  const states: EpochState[] = [];
  const told: Family[] = [];
  const foreign: number[] = [];
  let found = 0;
  const epochs = new FreeEpochs({
    marks,
    flows: table,
    now: () => clock.now(),
    after: (ms, callback) => clock.after(ms, callback),
    onEpochs: (family, state) => {
      told.push(family);
      states.push(state);
    },
    onForeignMark: (_family, epoch) => foreign.push(epoch),
  });
  epochs.onFound(() => found++);
  /** As a pass does that takes something away. */
  const advance = (family: Family = 4): number => {
    const next = epochs.next(family);
    epochs.inForce(family, next);
    return next;
  };
  return { clock, table, epochs, states, told, foreign, advance, found: () => found };
}

describe('free epochs', () => {
  it('the oldest that no flow carries is next, going round', async () => {
    const { clock, table, epochs, advance } = bench(THREE);
    table.add(markOf(3, THREE));
    epochs.inForce(4, 2);
    await clock.pass(50);
    assert.equal(epochs.next(4), 1);
    assert.equal(advance(), 1);
    table.flows.length = 0;
    await clock.pass(2_000);
    assert.equal(epochs.next(4), 2);
  });

  it('fault: what was found is forgotten where other rules have stamped flows meanwhile', async () => {
    const { clock, table, epochs } = bench(MANY);
    epochs.inForce(4, 63);
    await clock.pass(1_000);
    assert.equal(epochs.next(4), 64);
    table.add(markOf(64, MANY));
    epochs.forget();
    assert.equal(epochs.next(4), EVERY_PACKET);
    epochs.inForce(4, 63);
    await clock.pass(1_000);
    assert.equal(epochs.next(4), 65);
  });

  it('one question answers for many epochs; it is asked again only when few are left', async () => {
    const { clock, table, epochs, advance } = bench(MANY);
    epochs.inForce(4, 63);
    await clock.pass(1_000);
    assert.deepEqual(table.asked, ['IPv4 64+63']);
    assert.equal(epochs.state(4).free, 64);
    for (let epoch = 64; epoch < 120; epoch++) {
      assert.equal(advance(), epoch);
      await clock.pass(1);
    }
    assert.equal(table.asked.length, 1);
    for (let epoch = 120; epoch < 160; epoch++) {
      assert.equal(advance(), epoch <= 127 ? epoch : epoch - 127);
      await clock.pass(100);
    }
    assert.ok(table.asked.length < 20, table.asked.join());
  });

  it('a part of which some is carried is looked at in halves', async () => {
    const { clock, table, epochs } = bench(MANY);
    table.add(markOf(66, MANY));
    epochs.inForce(4, 63);
    await clock.pass(1_000);
    assert.deepEqual(table.asked, [
      'IPv4 64+63',
      'IPv4 64+31',
      'IPv4 64+15',
      'IPv4 64+7',
      'IPv4 64+3',
      'IPv4 64+1',
      'IPv4 66+1',
      'IPv4 66',
      'IPv4 67',
      'IPv4 68+3',
      'IPv4 72+7',
      'IPv4 80+15',
    ]);
    assert.equal(epochs.state(4).free, 31);
  });

  it('a flow that was denied does not count: it is judged whatever epoch comes', async () => {
    const { clock, table, epochs } = bench(THREE);
    table.add(markOf(1, THREE) + deniedBit(THREE));
    epochs.inForce(4, 3);
    await clock.pass(100);
    assert.equal(epochs.next(4), 1);
  });

  it('families are told apart', async () => {
    const { clock, table, epochs } = bench(THREE);
    table.add(markOf(1, THREE), 4);
    table.add(markOf(2, THREE), 6);
    for (const family of [4, 6] as const) epochs.inForce(family, 3);
    await clock.pass(100);
    assert.deepEqual([epochs.next(4), epochs.next(6)], [2, 1]);
  });

  it('where families have their epochs in common, one is free that no flow of either carries, and both are told of it', async () => {
    const { clock, table, epochs, told } = bench(THREE);
    table.add(markOf(1, THREE), 4);
    table.add(markOf(2, THREE), 6);
    table.clears = 0;
    epochs.inForce('both', 3);
    await clock.pass(50);
    assert.equal(epochs.next('both'), EVERY_PACKET);
    table.clears = 1;
    await clock.pass(3_000);
    assert.notEqual(epochs.next('both'), EVERY_PACKET, 'one is made free, in both families');
    assert.deepEqual(new Set(told), new Set([4, 6]));
  });

  it('where all are carried: every packet is judged, the oldest is made free, and that is told', async () => {
    const { clock, table, epochs, states, advance, found } = bench(THREE);
    for (const epoch of [1, 1, 1, 2, 2, 3]) table.add(markOf(epoch, THREE) + 0x80);
    table.clears = 1;
    epochs.inForce(4, 3);
    assert.equal(advance(), EVERY_PACKET);
    await clock.pass(2_000);
    assert.ok(found() > 0);
    assert.equal(advance(), 1);
    assert.ok(
      table.flows.every(({ mark }) => mark % 0x100 === 0x80),
      'bits of others stay',
    );
    assert.equal(states.find(({ current }) => current === 'none')?.free, 0);
  });

  it('the search waits for nobody, and nobody for the search', async () => {
    const { table, epochs, advance } = bench(THREE);
    table.latencyMs = 60_000;
    epochs.inForce(4, 3);
    assert.equal(advance(), EVERY_PACKET);
    const { clock, epochs: other, table: slow } = bench(THREE);
    slow.latencyMs = 60_000;
    other.inForce(4, 3);
    let isOver = false;
    void other.firstLook([4]).then(() => {
      isOver = true;
    });
    await clock.pass(499);
    assert.equal(isOver, false);
    await clock.pass(2);
    assert.equal(isOver, true);
  });

  it('the first look ends with its answer', async () => {
    const { clock, epochs } = bench(THREE);
    epochs.inForce(4, undefined);
    const look = epochs.firstLook([4]).then(() => epochs.next(4));
    await clock.pass(10);
    assert.equal(await look, 1);
  });

  it('a look ahead of the first sync asks for many at once; what it found holds if the same rules stand then', async () => {
    const { clock, table, epochs } = bench(MANY);
    epochs.lookAhead(new Map([[4, undefined]]));
    await clock.pass(10);
    assert.deepEqual(table.asked, ['IPv4 64+63']);
    epochs.inForce(4, undefined);
    await epochs.firstLook([4]);
    assert.equal(epochs.next(4), 64);
    epochs.inForce(4, 70);
    assert.equal(epochs.next(4), EVERY_PACKET);
  });

  it('a look ahead passes on to the next largest where some are carried', async () => {
    const { clock, table, epochs } = bench(MANY);
    table.add(markOf(64, MANY));
    epochs.lookAhead(new Map([[4, undefined]]));
    const look = epochs.firstLook([4]);
    await clock.pass(10);
    await look;
    assert.deepEqual(table.asked, ['IPv4 64+63', 'IPv4 32+31']);
  });

  it('takes a third of the time at most, and no processor time from others', async () => {
    const { clock, table, epochs } = bench(MANY);
    table.latencyMs = 200;
    table.clears = 0;
    for (let epoch = 1; epoch < 128; epoch++) table.add(markOf(epoch, MANY));
    epochs.inForce(4, 100);
    await clock.pass(60_000);
    const [before, started] = [table.busyMs, clock.now()];
    await clock.pass(600_000);
    const share = (table.busyMs - before) / (clock.now() - started);
    assert.ok(share > 0 && share < 0.34, String(share));
  });

  it('a tool that fails: no epoch counts as free, which is told once with the reason, and it is tried again', async () => {
    const { clock, table, epochs, states, advance } = bench(THREE);
    table.failing = 'conntrack: command not found';
    epochs.inForce(4, 2);
    await clock.pass(200);
    assert.equal(advance(), EVERY_PACKET);
    await clock.pass(300_000);
    assert.ok(table.commands < 100, `${table.commands} commands`);
    const told = states.filter(({ problem }) => problem === table.failing);
    assert.ok(told.length > 0 && told.length < 4, JSON.stringify(states));
    table.failing = undefined;
    await clock.pass(6_000);
    assert.equal(advance(), 3);
    assert.equal(epochs.state(4).problem, undefined);
  });

  it('an epoch in force that is none of ours: what was known is forgotten', async () => {
    const { clock, table, epochs } = bench(MANY);
    epochs.inForce(4, 10);
    await clock.pass(100);
    assert.equal(epochs.next(4), 11);
    epochs.inForce(4, 70);
    table.add(markOf(71, MANY));
    assert.equal(epochs.next(4), EVERY_PACKET);
    await clock.pass(2_000);
    assert.equal(epochs.next(4), 72);
  });

  it('an answer counts no more when such an epoch came into force meanwhile', async () => {
    const { clock, table, epochs } = bench(MANY);
    table.latencyMs = 50;
    epochs.inForce(4, 10);
    await clock.pass(20);
    epochs.inForce(4, 70);
    await clock.pass(40);
    assert.equal(epochs.state(4).free, 0);
    await clock.pass(1_000);
    assert.equal(epochs.next(4), 71);
  });

  it('one that is found just before every packet is judged is told of then', async () => {
    const { clock, epochs, found } = bench(MANY);
    epochs.inForce(4, 10);
    assert.equal(epochs.next(4), EVERY_PACKET);
    await clock.pass(1_000);
    assert.equal(found(), 0);
    epochs.inForce(4, EVERY_PACKET);
    assert.equal(found(), 1);
  });

  it('a free epoch that flows carry all the same: somebody else writes to these bits', async () => {
    for (const scope of [4, 'both'] as const) {
      const { clock, table, epochs, foreign } = bench(MANY);
      epochs.inForce(scope, 10);
      await clock.pass(100);
      table.add(markOf(11, MANY));
      const asked = table.asked.length;
      epochs.recheck(scope);
      assert.equal(table.asked.length, asked, 'asked a moment ago');
      await clock.pass(1_000);
      epochs.recheck(scope);
      await clock.pass(2_000);
      assert.deepEqual(foreign, [11]);
      assert.equal(epochs.next(scope), 12);
    }
  });

  it('fault: going once round the epochs revives no idle flow', async () => {
    const { clock, table, epochs, advance } = bench(MANY);
    epochs.inForce(4, 1);
    await clock.pass(100);
    // One idle connection is stamped in each epoch; all stay.
    for (let turn = 0; turn < 400; turn++) {
      const epoch = advance();
      assert.deepEqual(
        table.carriers(4, markOf(epoch, MANY), MANY.mask),
        epoch === EVERY_PACKET ? table.carriers(4, 0, MANY.mask) : [],
      );
      table.add(markOf(epoch, MANY));
      await clock.pass(turn % 3 === 0 ? 5 : 300);
    }
  });

  it('whatever flows and changes do meanwhile, no epoch comes into force that a flow carries', async () => {
    const action = fc.oneof(
      { weight: 4, arbitrary: fc.record({ kind: fc.constant('talk' as const), who: fc.nat(200) }) },
      { weight: 3, arbitrary: fc.record({ kind: fc.constant('new' as const) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('end' as const), who: fc.nat(200) }) },
      { weight: 4, arbitrary: fc.record({ kind: fc.constant('advance' as const) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('fail' as const), on: fc.boolean() }) },
      { weight: 4, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.nat(400) }) },
    );
    const play = fc.asyncProperty(
      fc.constantFrom(THREE, MANY, { mask: 0x3c0 }),
      fc.array(action, { maxLength: 150 }),
      fc.nat(20),
      fc.integer({ min: 1, max: 5 }),
      async (marks, actions, latencyMs, clears) => {
        const { clock, table, epochs, advance } = bench(marks);
        Object.assign(table, { latencyMs, clears });
        let current: number | undefined;
        for (let n = 0; n < 30; n++) table.add(markOf(1 + (n % epochCount(marks)), marks));
        epochs.inForce(4, undefined);
        for (const each of actions) {
          const flow = 'who' in each ? table.flows[each.who % Math.max(1, table.flows.length)] : undefined;
          if (each.kind === 'talk' && flow && current !== undefined) flow.mark = markOf(current, marks);
          if (each.kind === 'new' && current !== undefined) table.add(markOf(current, marks));
          if (each.kind === 'end' && flow) table.flows.splice(table.flows.indexOf(flow), 1);
          if (each.kind === 'fail') table.failing = each.on ? 'broken' : undefined;
          if (each.kind === 'wait') await clock.pass(each.ms);
          if (each.kind !== 'advance') continue;
          const next = advance();
          if (next !== EVERY_PACKET && next !== current)
            assert.deepEqual(table.carriers(4, markOf(next, marks), marks.mask), [], `epoch ${next}`);
          assert.ok(next === EVERY_PACKET || next !== current);
          current = next;
        }
        // Left alone, it finds one.
        Object.assign(table, { failing: undefined });
        await clock.pass(600_000);
        assert.ok(epochs.state(4).free > 0);
      },
    );
    await fc.assert(play, { numRuns: 150 });
  });
});
