import assert from 'node:assert/strict';
import type { NetfilterChange } from '../../../../src/dataplane/iptables/drift/read-events.ts';
import type { LineProgramOptions } from '../../../../src/host/line-program.ts';
import { NetfilterMonitor } from '../../../../src/dataplane/iptables/drift/netfilter-monitor.ts';
import { VirtualClock } from '../../../support/virtual-clock.ts';

function bench() {
  const clock = new VirtualClock();
  const started: (LineProgramOptions & { killed: boolean })[] = [];
  const told: string[] = [];
  const changes: NetfilterChange[] = [];
  const monitor = new NetfilterMonitor({
    family: 4,
    onChange: (change) => changes.push(change),
    onLoss: (loss) => told.push(loss),
    onListening: () => told.push('listening'),
    onMissing: () => told.push('missing'),
    clock,
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
  return { clock, started, told, changes, monitor, end };
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
});
