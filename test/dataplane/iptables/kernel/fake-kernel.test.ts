import { createFakeKernel } from '../../../support/fake-kernel.ts';
import { kernelSuite } from './kernel-suite.ts';

for (const backend of ['iptables-nft', 'iptables-legacy'] as const) {
  kernelSuite(`in memory, ${backend}`, () => {
    const kernel = createFakeKernel({ backend });
    return Promise.resolve({ kernel, run: kernel.run, close: () => Promise.resolve() });
  });
}
