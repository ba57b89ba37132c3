import assert from 'node:assert/strict';
import type { NetfilterChange } from '../../../../src/dataplane/iptables/drift/read-events.ts';
import type { LineProgramOptions } from '../../../../src/host/line-program.ts';
import type { CommitListenerOptions } from '../../../../src/host/commit-listener.ts';
import { NetfilterMonitor } from '../../../../src/dataplane/iptables/drift/netfilter-monitor.ts';
import { committedBy, joined, NEW_RULE } from '../../../support/commit-messages.ts';
import { VirtualClock } from '../../../support/virtual-clock.ts';

const OWN_PORT = 77;

/** `sockets`: how many can be opened. */
function bench({ sockets = 0 } = {}) {
  const clock = new VirtualClock();
  const opened: (CommitListenerOptions & { closed: boolean; asked: number })[] = [];
  const started: (LineProgramOptions & { killed: boolean })[] = [];
  const told: string[] = [];
  const changes: NetfilterChange[] = [];
  const monitor = new NetfilterMonitor({
    family: sockets === 0 ? 4 : 6,
    onChange: (change) => changes.push(change),
    onLoss: (loss) => told.push(loss),
    onListening: () => told.push('listening'),
    onMissing: () => told.push('missing'),
    clock,
    listen: (options) => {
      if (opened.length === sockets) return undefined;
      const socket = { ...options, closed: false, asked: 0 };
      opened.push(socket);
      return {
        hasBegun: true,
        port: OWN_PORT,
        ask: () => void socket.asked++,
        kill: () => {
          socket.closed = true;
        },
      };
    },
    start: (options) => {
      const program = { ...options, killed: false };
      started.push(program);
      return {
        write: () => Promise.resolve(),
        endInput: () => {},
        kill: () => {
          program.killed = true;
        },
      };
    },
  });
  const end = (complaint: string): void => started.at(-1)!.ended({ isMissing: false, code: 1, complaint });
  return { clock, opened, started, told, changes, monitor, end };
}

const OVERRUN = 'cannot receive from nfnetlink socket: No buffer space available';

describe('fault: whoever follows nf_tables is kept alive', () => {
  it('listens a moment after it was started, once, and passes on what it hears', async () => {
    const { clock, started, told, changes, monitor } = bench();
    monitor.start();
    monitor.start();
    assert.ok(!monitor.listening);
    await clock.pass(1_000);
    assert.deepEqual([started.length, told, monitor.listening], [1, ['listening'], true]);
    started[0]!.onLine(' EVENT: -4 -t mangle -A FORWARD -j ACCEPT');
    started[0]!.onLine('NEWGEN: GENID=4 PID=21651 NAME=nft');
    assert.deepEqual(changes, [{ family: 4, touched: 'hooks', program: 'nft' }]);
  });

  it('ends at a rule it cannot print before it is known to listen: it listened, and is started again soon', async () => {
    const { clock, started, told, monitor, end } = bench();
    monitor.start();
    for (let n = 0; n < 6; n++) {
      await clock.pass(100);
      end(
        'Error: unsupported layer 4 protocol value\nxtables-monitor v1.8.9 (nf_tables): Parsing nftables rule failed',
      );
      await clock.pass(1_000);
    }
    assert.deepEqual([...new Set(told)], ['ended', 'listening']);
    assert.equal(started.length, 7);
  });

  it('ends by too much at once: told, and started again soon', async () => {
    const { clock, started, told, monitor, end } = bench();
    monitor.start();
    await clock.pass(5_000);
    end(OVERRUN);
    assert.ok(!monitor.listening);
    await clock.pass(1_000);
    assert.deepEqual(told, ['listening', 'overrun', 'listening']);
    assert.equal(started.length, 2);
  });

  it('one that dies again and again is started ever less often', async () => {
    const { clock, started, told, monitor, end } = bench();
    monitor.start();
    let ends = 0;
    for (let i = 0; i < 300; i++) {
      await clock.pass(100);
      if (started.length > ends) {
        ends++;
        end('Segmentation fault');
      }
    }
    assert.ok(started.length >= 6 && started.length <= 9, `${started.length} in 30 s`);
    assert.ok(told.every((what) => what === 'stillborn'));
  });

  it('one that ends at rules it cannot print is back within a second or so', async () => {
    const { clock, started, told, monitor, end } = bench();
    monitor.start();
    for (let i = 0; i < 30; i++) {
      await clock.pass(1_500);
      end("Set with index 1 in kernel doesn't exist.");
    }
    assert.ok(started.length >= 25, `${started.length} in 45 s`);
    assert.ok(!told.includes('stillborn'));
  });

  it('one that does not hear is replaced', async () => {
    const { clock, started, told, monitor, end } = bench();
    monitor.start();
    await clock.pass(1_000);
    monitor.replace();
    assert.ok(started[0]!.killed);
    end('');
    await clock.pass(1_000);
    assert.deepEqual(told, ['listening', 'deaf', 'listening']);
  });

  it('where it is not installed it is told once and not tried again', async () => {
    const { clock, started, told, monitor } = bench();
    monitor.start();
    started[0]!.ended({ isMissing: true, code: 127, complaint: '' });
    await clock.pass(60_000);
    assert.deepEqual([started.length, told, monitor.listening], [1, ['missing'], false]);
  });

  it('stopped, it stays stopped, and what the old one still says is not heard', async () => {
    const { clock, started, told, changes, monitor } = bench();
    monitor.start();
    await clock.pass(1_000);
    monitor.stop();
    started[0]!.onLine(' EVENT: -4 -t mangle -A FORWARD -j ACCEPT');
    started[0]!.onLine('NEWGEN: GENID=4 PID=21651 NAME=nft');
    started[0]!.ended({ isMissing: false, code: 1, complaint: '' });
    await clock.pass(60_000);
    assert.deepEqual([started.length, told, changes], [1, ['listening'], []]);
    monitor.start();
    assert.equal(started.length, 2);
  });

  it('by a socket: listens at once, passes on what it hears, and starts no program', () => {
    const { opened, started, told, changes, monitor } = bench({ sockets: 1 });
    monitor.start();
    monitor.start();
    assert.deepEqual([opened.length, started.length, told, monitor.listening], [1, 0, ['listening'], true]);
    for (const messages of NEW_RULE) opened[0]!.onMessages(messages);
    assert.deepEqual(changes, [{ family: 6, touched: 'hooks', program: 'ip6tables-nft' }]);
    monitor.stop();
    assert.ok(opened[0]!.closed && !monitor.listening);
    for (const messages of NEW_RULE) opened[0]!.onMessages(messages);
    assert.equal(changes.length, 1);
  });

  it('by a socket that more was written to than it holds: told, and another one follows, later where that goes on', async () => {
    const { clock, opened, started, told, changes, monitor } = bench({ sockets: 10 });
    monitor.start();
    opened[0]!.onMessages(NEW_RULE[0]!);
    for (let count = 1; count <= 5; count++) {
      opened.at(-1)!.ended({ isMissing: false, code: null, complaint: 'No buffer space available' });
      assert.ok(!monitor.listening);
      await clock.pass(count === 1 ? 200 : 1_000);
      assert.equal(opened.length, count + 1);
    }
    assert.deepEqual(told.slice(0, 4), ['listening', 'overrun', 'listening', 'overrun']);
    assert.ok(!told.includes('stillborn') && started.length === 0);
    // What was read of a transaction before is none of the next one's.
    opened.at(-1)!.onMessages(NEW_RULE[1]!);
    assert.deepEqual(changes, []);
  });

  it('by a socket that does not hear: replaced; where no other can be opened the program follows', async () => {
    const { clock, opened, started, told, changes, monitor } = bench({ sockets: 1 });
    monitor.start();
    monitor.replace();
    assert.ok(opened[0]!.closed);
    opened[0]!.ended({ isMissing: false, code: null, complaint: '' });
    await clock.pass(1_000);
    assert.deepEqual([told, started.length, monitor.listening], [['listening', 'deaf', 'listening'], 1, true]);
    started[0]!.onLine(' EVENT: -6 -t mangle -A FORWARD -j ACCEPT');
    started[0]!.onLine('NEWGEN: GENID=4 PID=21651 NAME=nft');
    assert.deepEqual(changes, [{ family: 6, touched: 'hooks', program: 'nft' }]);
  });

  it('by a socket: whether all was told of is seen by the number of commits', async () => {
    const { clock, opened, changes, monitor } = bench({ sockets: 2 });
    assert.equal(await monitor.isToldOfAll(), false);
    monitor.start();
    const [socket] = opened;
    const generation = (number: number, ...behind: readonly Uint8Array[]): void =>
      socket!.onMessages(joined(committedBy('node', OWN_PORT, number), ...behind));
    /** `arrive`: before the answer does. */
    const isToldOfAll = (arrive: () => void): Promise<boolean> => {
      const answer = monitor.isToldOfAll();
      arrive();
      return answer;
    };
    assert.equal(socket!.asked, 1);
    generation(7);
    assert.equal(await isToldOfAll(() => generation(7)), true);
    assert.equal(socket!.asked, 2);
    assert.equal(await isToldOfAll(() => generation(8)), false, 'one was not told of');
    socket!.onMessages(committedBy('others', 1, 8));
    assert.equal(await isToldOfAll(() => generation(8)), true);
    // An answer amid a transaction ends none, and is no commit.
    socket!.onMessages(NEW_RULE[0]!);
    assert.equal(await isToldOfAll(() => generation(9)), false);
    assert.deepEqual(changes, []);
    socket!.onMessages(committedBy('nft', 1, 9));
    assert.deepEqual(changes, [{ family: 6, touched: 'hooks', program: 'nft' }]);
    // No answer.
    const unanswered = monitor.isToldOfAll();
    await clock.pass(2_000);
    assert.equal(await unanswered, false);
    const overrun = monitor.isToldOfAll();
    socket!.ended({ isMissing: false, code: null, complaint: 'No buffer space available' });
    assert.deepEqual([await overrun, await monitor.isToldOfAll()], [false, false]);
    await clock.pass(1_000);
    // Another socket knows nothing of what the first one heard.
    const answer = monitor.isToldOfAll();
    opened[1]!.onMessages(committedBy('node', OWN_PORT, 12));
    assert.equal(await answer, true);
    assert.equal(opened[1]!.asked, 2);
    const stopped = monitor.isToldOfAll();
    monitor.stop();
    assert.equal(await stopped, false);
  });

  it('by a program it is never certain', async () => {
    const { clock, monitor } = bench();
    monitor.start();
    await clock.pass(1_000);
    assert.deepEqual([monitor.listening, await monitor.isToldOfAll()], [true, false]);
  });
});
