/** A sync that has to read the kernel renders meanwhile. */
import assert from 'node:assert/strict';
import { NO_INTERFACES } from '../../src/host/pod-interfaces.ts';
import { Synchronizer } from '../../src/dataplane/iptables/sync/synchronizer.ts';
import { NftSynchronizer } from '../../src/dataplane/nftables/sync/synchronizer.ts';
import { pod, snapshot } from '../support/builders.ts';
import { LAYOUT } from '../support/fake-cluster.ts';
import { createFakeKernel } from '../support/fake-kernel.ts';
import { createFakeNft } from '../support/nft-fake.ts';
import { compileNode } from '../support/stages.ts';

const INTENT = compileNode(snapshot({ pods: [pod('x/a', { addresses: ['10.0.0.1'] })] }), 'node-1');
const SYNC = { mode: 'enforce', resync: true, interfaces: NO_INTERFACES } as const;
const BOTH = ['iptables', 'nftables'] as const;
const { marks: _, ...UNMARKED } = LAYOUT;

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Of which reads wait until they are let go. */
function synchronizer(name: (typeof BOTH)[number]) {
  const done: string[] = [];
  const [reads, asked] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const slowly = async <T>(read: () => Promise<T>): Promise<T> => {
    done.push('read');
    await reads.promise;
    return read();
  };
  const common = { layout: UNMARKED, now: () => 0 };
  if (name === 'nftables') {
    const kernel = createFakeNft();
    const sync = new NftSynchronizer({
      ...common,
      kernel: { read: () => slowly(() => kernel.read()), write: (commands) => kernel.write(commands) },
      table: 'portcullis',
      // Asked as the phases `observe` and `render` begin and end.
      now: () => done.push('clock'),
    });
    return { done, reads, asked, sync: () => sync.sync(INTENT, SYNC) };
  }
  const kernel = createFakeKernel();
  const sync = new Synchronizer({
    ...common,
    kernel: {
      backend: kernel.backend,
      families: kernel.families,
      readBack: () => slowly(() => kernel.readBack()),
      apply: (step) => kernel.apply(step),
    },
    firstEpoch: 1,
    counters: { rendered: () => done.push('rendered') },
    missingFeatures: async () => {
      done.push('asked');
      await asked.promise;
      return {};
    },
  });
  return { done, reads, asked, sync: () => sync.sync(INTENT, SYNC) };
}

describe('a sync that has to read the kernel', () => {
  it('of iptables renders meanwhile, but asks what the kernel can do before', async () => {
    const { done, reads, asked, sync } = synchronizer('iptables');
    const synced = sync();
    await turn();
    assert.deepEqual(done, ['asked']);
    asked.resolve();
    await turn();
    assert.deepEqual(done, ['asked', 'read', 'rendered']);
    reads.resolve();
    assert.deepEqual((await synced).failures, []);
    assert.deepEqual(done, ['asked', 'read', 'rendered'], 'it is read once');
  });

  it('of nftables renders meanwhile', async () => {
    const { done, reads, sync } = synchronizer('nftables');
    const synced = sync();
    await turn();
    assert.deepEqual(done, ['clock', 'read', 'clock', 'clock']);
    reads.resolve();
    assert.deepEqual((await synced).failures, []);
    assert.equal(done.filter((what) => what === 'read').length, 1);
  });

  for (const name of BOTH)
    it(`fault: ${name} cannot be read: that is told, and nothing is written`, async () => {
      const { reads, asked, sync } = synchronizer(name);
      asked.resolve();
      const synced = sync();
      await turn();
      reads.reject(new Error('no answer'));
      const { failures, stepsApplied } = await synced;
      assert.match(failures[0]!.message, /no answer/);
      assert.equal(stepsApplied, 0);
    });
});
