/** Whose commit it was that `nft monitor` told of: ours are those that we waited for, whichever program of ours made them. */
import assert from 'node:assert/strict';
import { TableMonitor } from '../../../src/dataplane/nftables/kernel/table-monitor.ts';
import { createFakeNft } from '../../support/nft-fake.ts';

describe('nftables: commits that are told of', () => {
  it('by nft or by the thread that sends netlink messages are ours as often as we wrote, and somebody else’s beyond that', async () => {
    const foreign: string[] = [];
    let tell = (_line: string): void => {};
    const monitor = new TableMonitor({
      table: 't',
      onForeign: (program) => foreign.push(program),
      onLoss: () => {},
      onListening: () => {},
      clock: {
        now: () => 0,
        after: (_ms, action) => {
          action();
          return () => {};
        },
      },
      start: ({ onLine }) => {
        tell = onLine;
        return { write: () => Promise.resolve(), endInput: () => {}, kill: () => {} };
      },
    });
    monitor.start();
    const kernel = monitor.watched(createFakeNft());
    const told = (program: string): void => {
      tell('add element inet t pods { 10.0.0.1 }');
      tell(`# new generation 2 by process 3 (${program})`);
    };
    for (const program of ['nft', 'libuv-worker']) {
      await kernel.write([]);
      told(program);
    }
    assert.deepEqual(foreign, []);
    told('libuv-worker');
    await kernel.write([]);
    told('firewalld');
    told('nft');
    assert.deepEqual(foreign, ['libuv-worker', 'firewalld']);
    monitor.stop();
  });
});
