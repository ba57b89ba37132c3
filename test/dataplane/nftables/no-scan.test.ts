/** What a remote pod's event costs with nftables does not grow with the node: no map of sets, chains or elements is gone through. */
import assert from 'node:assert/strict';
import type { Command } from '../../../src/dataplane/nftables/table/write-table.ts';
import { loadSnapshot, NodeCompiler } from '../../../src/compile/compile-node.ts';
import { NftCounters } from '../../../src/dataplane/nftables/sync/counters.ts';
import { EpochKeeper } from '../../../src/dataplane/nftables/sync/epoch-keeper.ts';
import { NftSynchronizer } from '../../../src/dataplane/nftables/sync/synchronizer.ts';
import { NO_INTERFACES } from '../../../src/host/pod-interfaces.ts';
import { pod, policy, snapshot } from '../../support/builders.ts';
import { countListings } from '../../support/count-listings.ts';
import { LAYOUT } from '../../support/fake-cluster.ts';

const SETS = 60;

describe('nftables: an event of a remote pod', () => {
  it('goes through no map of the node, in no stage, and writes its element alone; so does a policy of one pod', async () => {
    const locals = Array.from({ length: SETS }, (_, n) =>
      pod(`x/s${n}`, { labels: { app: `s${n}` }, addresses: [`10.0.1.${n}`] }),
    );
    const policies = locals.map((_, n) =>
      policy(`x/p${n}`, {
        podSelector: { matchLabels: { app: `s${n}` } },
        ingress: [{ from: [{ podSelector: { matchLabels: { peer: `p${n}` } } }], ports: [{ port: 80 }] }],
      }),
    );
    const compiler = new NodeCompiler('node-1');
    loadSnapshot(compiler, snapshot({ pods: locals, policies }));
    const written: Command[] = [];
    const counters = new NftCounters({ read: async () => '', now: () => 0, onProblem: () => {} });
    const synchronizer = new NftSynchronizer({
      kernel: { read: async () => undefined, write: async (commands) => void written.push(...commands) },
      table: 'portcullis',
      layout: LAYOUT,
      now: () => 0,
      epochs: new EpochKeeper({ marks: LAYOUT.marks!, firstEpoch: 1, now: () => 0 }),
      tidy: { isDue: false, synced: () => {} },
      onRendered: (table) => counters.rendered(table),
    });
    const sync = async (resync: boolean): Promise<void> => {
      const request = { mode: 'enforce', resync, interfaces: NO_INTERFACES } as const;
      const { failures } = await synchronizer.sync(compiler.intent(), request);
      assert.deepEqual(failures, []);
    };
    const put = (name: string, address: string): Promise<void> => {
      compiler.pod(name, { ...pod(name, { nodeName: 'node-2', addresses: [address] }), labels: { peer: 'p1' } });
      return sync(false);
    };
    await sync(true);
    await put('x/first', '10.0.2.1');
    written.length = 0;
    assert.equal(await countListings(SETS / 2, () => put('x/second', '10.0.2.2')), 0);
    assert.match(written.map(({ text }) => text).join('\n'), /^add element inet portcullis pods4-\w+ { 10\.0\.2\.2 }$/);

    // Of the rules of one pod the same, once the intent is made: one chain for each way, and its elements.
    const edited = { ...policies[1]!, ingress: policies[2]!.ingress };
    compiler.policy('x/p1', edited);
    compiler.intent();
    written.length = 0;
    assert.equal(await countListings(SETS / 2, () => sync(false)), 0);
    assert.deepEqual([...new Set(written.map(({ text }) => text.split(' ').slice(0, 2).join(' ')))].sort(), [
      'add chain',
      'add element',
      'add rule',
      'delete element',
      'flush chain',
    ]);
    assert.equal(written.filter(({ text }) => text.startsWith('add chain inet portcullis PCL')).length, 2);
    assert.ok((await countListings(SETS / 2, () => sync(true))) > 0, 'the count sees nothing');
  });
});
