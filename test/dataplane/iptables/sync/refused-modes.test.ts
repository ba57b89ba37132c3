/** A mode is followed by pods whose rules the kernel refuses as well: audit drops nothing, and enforce lets nothing through. */
import assert from 'node:assert/strict';
import type { ClusterSnapshot, Policy } from '../../../../src/policy/model.ts';
import { pod, policy, snapshot } from '../../../support/builders.ts';
import { LAYOUT } from '../../../support/fake-cluster.ts';
import { createFakeKernel } from '../../../support/fake-kernel.ts';
import { SnapshotSync } from '../../../support/snapshot-sync.ts';
import { trace } from '../../../support/tracer.ts';

const allows = (port: number): Policy => policy('x/p', { podSelector: {}, ingress: [{ ports: [{ port }] }] });
const cluster = (port: number): ClusterSnapshot =>
  snapshot({ pods: [pod('x/a', { addresses: ['10.0.0.1'] })], policies: [allows(port)] });
const DENIED = { family: 4, source: '10.9.9.9', destination: '10.0.0.1', protocol: 6, port: 9 } as const;

describe('fault: the mode changes while the kernel refuses rules', () => {
  for (const [from, to] of [
    ['enforce', 'audit'],
    ['audit', 'enforce'],
  ] as const) {
    const verdicts = { enforce: 'dropped', audit: 'passed' } as const;
    for (const isRefusedBefore of [true, false])
      it(`${from} -> ${to}, ${isRefusedBefore ? 'refused all along' : 'refused from then on'}`, async () => {
        const kernel = createFakeKernel({ families: [4] });
        const reconciler = new SnapshotSync({ nodeName: 'node-1', kernel, now: () => 0, firstEpoch: 5 });
        const refuse = (line: string): boolean => line.includes('--dport 80');
        kernel.faults.refuse = isRefusedBefore ? refuse : undefined;
        await reconciler.sync(cluster(80), from, LAYOUT, true);
        assert.equal(trace(kernel.state(), DENIED), verdicts[from]);
        kernel.faults.refuse = refuse;
        await reconciler.sync(cluster(80), to, LAYOUT, true);
        assert.equal(trace(kernel.state(), DENIED), verdicts[to]);
      });
  }
});
