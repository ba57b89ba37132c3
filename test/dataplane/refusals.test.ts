/** Refusals by kernels in memory. The same of a real one: test/netns/nft-refusals.test.ts. */
import { createFakeNode, LAYOUT } from '../support/fake-cluster.ts';
import { createFakeKernel } from '../support/fake-kernel.ts';
import { createFakeNft } from '../support/nft-fake.ts';
import { createNftNode } from '../support/nft-node.ts';
import { isRefusedByNft, type Plane, refusalTests } from '../support/refusals.ts';

function iptables(): Plane {
  const kernel = createFakeKernel();
  let node = createFakeNode('node-1', kernel);
  return {
    sync: async (to, { resync = false, mode = 'enforce' } = {}) => {
      const { failures, partial, plan } = await node.reconciler.sync(to, mode, LAYOUT, resync);
      return { failures, partial, degraded: plan!.degraded };
    },
    refuse: (what) => {
      if (what === undefined) kernel.faults.refuse = undefined;
      else if (what === 'blocks') kernel.faults.refuse = (line) => /^create .* hash:net /.test(line);
      else kernel.faults.refuse = (line) => line.startsWith('add ') && line.endsWith(` ${what.address}`);
    },
    restart: () => {
      node = createFakeNode('node-1', kernel);
    },
    walk: (packet) => node.walk(packet, packet).verdict,
  };
}

function nftables(): Plane {
  const kernel = createFakeNft();
  let node = createNftNode('node-1', { kernel });
  return {
    sync: async (to, { resync, mode } = {}) => {
      const { failures, partial, change } = await node.sync(to, resync, mode);
      return { failures, partial, degraded: change!.degraded };
    },
    refuse: (what) => {
      kernel.faults.refuse = isRefusedByNft(what);
    },
    restart: () => {
      node = createNftNode('node-1', { kernel });
    },
    walk: (packet) => node.walk(packet, packet).verdict,
  };
}

describe('fault: refusals, iptables', () => refusalTests(iptables));
describe('fault: refusals, nftables', () => refusalTests(nftables));
