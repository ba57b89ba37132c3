/** Whose commit it was that was told of: ours are those by our socket, and those that we waited for, whichever program of ours made them. */
import assert from 'node:assert/strict';
import type { CommitListenerOptions } from '../../../src/host/commit-listener.ts';
import { NftFailed, type NftKernel } from '../../../src/dataplane/nftables/kernel/kernel.ts';
import { MAX_UNREAD_MS, TableMonitor } from '../../../src/dataplane/nftables/kernel/table-monitor.ts';
import { EventReader } from '../../../src/dataplane/nftables/table/read-events.ts';
import { committedBy, FLUSH, message, NEW_CHAIN, NEW_ELEMENT } from '../../support/commit-messages.ts';
import { createFakeNft } from '../../support/nft-fake.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';

const [OWN_PORT, OTHER_PORT] = [0xffff_f001, 4_711];
const [INET, BRIDGE, IP] = [1, 7, 2];
const LISTENER_PORT = 1;
const STARTED_MS = 1_000;

/** `by`: what tells of commits. */
async function bench(by: 'socket' | 'program', kernel: NftKernel = createFakeNft()) {
  const clock = new VirtualClock();
  const foreign: string[] = [];
  const told: string[] = [];
  let socket: CommitListenerOptions | undefined;
  let onLine = (_line: string): void => {};
  let end = (_complaint: string): void => {};
  /** The number of commits, as the kernel has it; undefined: it does not answer. */
  const count = { generation: 7 as number | undefined };
  const monitor = new TableMonitor({
    table: 't',
    onForeign: (program) => foreign.push(program),
    onLoss: (loss) => told.push(loss),
    onListening: () => told.push('listening'),
    clock,
    isOwnPort: (port) => port === OWN_PORT,
    listen: (options) => {
      if (by === 'program') return undefined;
      socket = options;
      end = (complaint) => options.ended({ isMissing: false, code: null, complaint });
      const ask = (): void => {
        if (count.generation !== undefined) setImmediate(() => options.onMessages(answered(count.generation!)));
      };
      return { kill: () => {}, hasBegun: true, port: LISTENER_PORT, ask };
    },
    start: (options) => {
      ({ onLine } = options);
      end = (complaint) => options.ended({ isMissing: false, code: 1, complaint });
      return { write: () => Promise.resolve(), endInput: () => {}, kill: () => {} };
    },
  });
  monitor.start();
  await clock.pass(STARTED_MS);
  /** Somebody commits to the table. */
  const commits = (program: string, port = OTHER_PORT, table = 't'): void => {
    if (socket) {
      if (count.generation !== undefined) count.generation++;
      socket.onMessages(message(12, INET, [[1, table]], { port }));
      socket.onMessages(committedBy(program, port, count.generation));
    } else {
      onLine('add element inet t pods { 10.0.0.1 }');
      onLine(`# new generation 2 by process 3 (${program})`);
    }
  };
  const watched = monitor.watched(kernel);
  return {
    clock,
    foreign,
    told,
    monitor,
    kernel: watched,
    write: () => watched.write([]),
    commits,
    count,
    end: (text: string) => end(text),
  };
}

function answered(generation: number): Uint8Array {
  return committedBy('agent', LISTENER_PORT, generation);
}

describe('nftables: commits that are told of', () => {
  for (const by of ['socket', 'program'] as const) {
    it(`by nft are ours as often as we wrote, and somebody else’s beyond that; told by a ${by}`, async () => {
      const { foreign, write, commits } = await bench(by);
      for (let count = 0; count < 3; count++) await write();
      for (let count = 0; count < 3; count++) commits('nft');
      assert.deepEqual(foreign, []);
      commits('nft');
      await write();
      commits('firewalld');
      commits('nft');
      assert.deepEqual(foreign, ['nft', 'firewalld']);
    });

    it(`which were told of long after they began are ours, long after they ended not; told by a ${by}`, async () => {
      const writing = Promise.withResolvers<void>();
      const { clock, foreign, write, commits } = await bench(by, {
        read: async () => undefined,
        write: () => writing.promise,
      });
      const first = write();
      await clock.pass(30_000);
      commits('nft');
      assert.deepEqual(foreign, []);
      const second = write();
      writing.resolve();
      await Promise.all([first, second]);
      await clock.pass(3_000);
      commits('nft');
      assert.deepEqual(foreign, ['nft']);
    });

    it(`fault: what was refused is waited for no more; told by a ${by}`, async () => {
      let reason: 'refused' | 'unavailable' = 'refused';
      const write = (): Promise<void> => Promise.reject(new NftFailed('no', reason));
      const { foreign, kernel, commits } = await bench(by, { read: async () => undefined, write });
      await assert.rejects(kernel.write([]));
      commits('nft');
      assert.deepEqual(foreign, ['nft']);
      // Whether it went in is not known.
      reason = 'unavailable';
      await assert.rejects(kernel.write([]));
      commits('nft');
      assert.deepEqual(foreign, ['nft']);
    });

    it(`fault: when ${by === 'socket' ? 'it is overrun' : 'nft monitor ends'}: what was read before may no longer be so`, async () => {
      const { clock, told, kernel, monitor, end } = await bench(by);
      // Nobody had read.
      assert.deepEqual([told, monitor.isListening], [[], true]);
      await kernel.read();
      end(by === 'socket' ? 'No buffer space available' : 'Segmentation fault');
      assert.ok(!monitor.isListening);
      await clock.pass(STARTED_MS);
      assert.deepEqual([told, monitor.isListening], [[by === 'socket' ? 'overrun' : 'ended', 'listening'], true]);
    });
  }

  it('by the thread that sends netlink messages: ours by their socket; without that, as often as we wrote', async () => {
    const exact = await bench('socket');
    exact.commits('libuv-worker', OWN_PORT);
    await exact.write();
    // Of another agent, say, while ours is on its way.
    exact.commits('libuv-worker');
    exact.commits('libuv-worker', OWN_PORT);
    exact.commits('nft');
    assert.deepEqual(exact.foreign, ['libuv-worker', 'nft']);
    const counted = await bench('program');
    await counted.write();
    counted.commits('libuv-worker');
    counted.commits('libuv-worker');
    assert.deepEqual(counted.foreign, ['libuv-worker']);
  });

  it('those of another table, or of another family’s of that name, are nobody’s', () => {
    const heard = (table: string, ...datagrams: readonly Uint8Array[]): readonly string[] => {
      const reader = new EventReader(table);
      return datagrams.flatMap((each) => reader.messages(each)).map(({ program, port }) => `${program} ${port}`);
    };
    assert.deepEqual(heard('portcullis', ...NEW_CHAIN, ...NEW_ELEMENT, ...FLUSH), ['nft 28919', 'nft 28925']);
    assert.deepEqual(heard('port', ...NEW_CHAIN, ...NEW_ELEMENT, ...FLUSH), []);
    for (const [family, isOurs] of [
      [INET, true],
      [BRIDGE, true],
      [IP, false],
    ] as const)
      assert.equal(heard('t', message(2, family, [[1, 't']]), committedBy('x')).length, isOurs ? 1 : 0, `${family}`);
    assert.deepEqual(heard('t', new Uint8Array(3), committedBy('x')), ['x 0']);
    const printed = new EventReader('t');
    for (const [line, isOurs] of [
      ['add table inet t', true],
      ['delete table bridge t', true],
      ['add table inet t-probe', false],
      ['add table inet other', false],
      ['add table ip t', false],
    ] as const) {
      printed.line(line);
      assert.equal(printed.line('# new generation 2 by process 3 (x)') !== undefined, isOurs, line);
    }
  });
});

describe('nftables: whether the table is as it was left', () => {
  /** A table that was read while commits are told of. */
  async function read(kernel?: NftKernel) {
    const made = await bench('socket', kernel);
    await made.kernel.read();
    return { ...made, isAsLeft: () => made.kernel.isAsLeft!() };
  }

  it('is certain after a reading, after commits of ours by netlink, and after those to other tables', async () => {
    const { isAsLeft, commits, write } = await read();
    assert.ok(await isAsLeft());
    await write();
    commits('libuv-worker', OWN_PORT);
    assert.ok(await isAsLeft());
    commits('iptables-nft-re', OTHER_PORT, 'filter');
    assert.ok(await isAsLeft());
  });

  it('is not certain before a reading, nor after anybody else’s commit, or one that is ours by its name alone', async () => {
    const before = await bench('socket');
    assert.ok(!(await before.kernel.isAsLeft!()));
    for (const program of ['firewalld', 'nft']) {
      const { isAsLeft, commits, write, kernel } = await read();
      await write();
      commits(program);
      assert.ok(!(await isAsLeft()), program);
      await kernel.read();
      assert.ok(await isAsLeft(), program);
    }
  });

  it('fault: is not certain where somebody wrote while it was read', async () => {
    const reading = Promise.withResolvers<undefined>();
    const { kernel, commits } = await bench('socket', { read: () => reading.promise, write: async () => {} });
    const whole = kernel.read();
    commits('firewalld');
    reading.resolve(undefined);
    await whole;
    assert.ok(!(await kernel.isAsLeft!()));
  });

  it('fault: is not certain where somebody wrote while the kernel was asked', async () => {
    const { isAsLeft, commits } = await read();
    const asked = isAsLeft();
    commits('firewalld');
    assert.ok(!(await asked));
  });

  it('fault: is not certain where a commit was not told of, or the kernel does not say how many there were', async () => {
    const { isAsLeft, count, clock } = await read();
    count.generation!++;
    assert.ok(!(await isAsLeft()));
    count.generation!--;
    assert.ok(await isAsLeft());
    count.generation = undefined;
    const asked = isAsLeft();
    await clock.pass(1_000);
    assert.ok(!(await asked));
  });

  it('fault: is not certain after a reading or a write that failed, unless it was refused', async () => {
    let failure: NftFailed | undefined;
    const fails = async (): Promise<undefined> => {
      if (failure) throw failure;
    };
    const { isAsLeft, kernel } = await read({ read: fails, write: fails });
    failure = new NftFailed('no', 'refused');
    await assert.rejects(kernel.write([]));
    assert.ok(await isAsLeft());
    failure = new NftFailed('lost', 'unavailable');
    await assert.rejects(kernel.write([]));
    assert.ok(!(await isAsLeft()));
    failure = undefined;
    await kernel.read();
    assert.ok(await isAsLeft());
    failure = new NftFailed('nft: cannot be started', 'unavailable');
    await assert.rejects(kernel.read());
    failure = undefined;
    assert.ok(!(await isAsLeft()));
  });

  it('fault: is not certain once the socket was overrun, nor where a program tells of commits', async () => {
    const { isAsLeft, end, clock, kernel } = await read();
    const asked = isAsLeft();
    end('No buffer space available');
    assert.ok(!(await asked));
    await clock.pass(STARTED_MS);
    assert.ok(!(await isAsLeft()));
    await kernel.read();
    assert.ok(await isAsLeft());
    const told = await bench('program');
    await told.kernel.read();
    assert.ok(!(await told.kernel.isAsLeft!()));
  });

  it('is believed for ten minutes at most', async () => {
    const { isAsLeft, clock, kernel } = await read();
    await clock.pass(MAX_UNREAD_MS - 1);
    assert.ok(await isAsLeft());
    await clock.pass(1);
    assert.ok(!(await isAsLeft()));
    await kernel.read();
    assert.ok(await isAsLeft());
  });
});
