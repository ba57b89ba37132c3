/** Whose commit it was that was told of: ours are those by our socket, and those that we waited for, whichever program of ours made them. */
import assert from 'node:assert/strict';
import type { CommitListenerOptions } from '../../../src/host/commit-listener.ts';
import { NftFailed, type NftKernel } from '../../../src/dataplane/nftables/kernel/kernel.ts';
import { TableMonitor } from '../../../src/dataplane/nftables/kernel/table-monitor.ts';
import { EventReader } from '../../../src/dataplane/nftables/table/read-events.ts';
import { committedBy, FLUSH, message, NEW_CHAIN, NEW_ELEMENT } from '../../support/commit-messages.ts';
import { createFakeNft } from '../../support/nft-fake.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';

const [OWN_PORT, OTHER_PORT] = [0xffff_f001, 4_711];
const [INET, BRIDGE, IP] = [1, 7, 2];
const STARTED_MS = 1_000;

/** `by`: what tells of commits. */
async function bench(by: 'socket' | 'program', kernel: NftKernel = createFakeNft()) {
  const clock = new VirtualClock();
  const foreign: string[] = [];
  const told: string[] = [];
  let socket: CommitListenerOptions | undefined;
  let onLine = (_line: string): void => {};
  let end = (_complaint: string): void => {};
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
      return { kill: () => {}, hasBegun: true, port: 1, ask: () => {} };
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
  const commits = (program: string, port = OTHER_PORT): void => {
    if (socket) {
      socket.onMessages(message(12, INET, [[1, 't']], { port }));
      socket.onMessages(committedBy(program, port));
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
    end: (text: string) => end(text),
  };
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
