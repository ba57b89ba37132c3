/** What the data plane of iptables tells through its door. */
import assert from 'node:assert/strict';
import { NodeCompiler } from '../../../src/compile/compile-node.ts';
import { compileNode } from '../../support/stages.ts';
import { createIptablesDataplane } from '../../../src/dataplane/iptables/iptables-dataplane.ts';
import { NO_INTERFACES } from '../../../src/host/pod-interfaces.ts';
import { pod, policy, snapshot } from '../../support/builders.ts';
import { LAYOUT } from '../../support/fake-cluster.ts';
import { createFakeKernel } from '../../support/fake-kernel.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';

const INTENT = {
  ...compileNode(
    snapshot({
      pods: [pod('x/a', { addresses: ['10.0.0.1'] })],
      policies: [policy('x/deny', { podSelector: {}, policyTypes: ['Ingress'] })],
    }),
    'node-1',
  ),
  revision: 7,
};

function bench() {
  const kernel = createFakeKernel();
  const dataplane = createIptablesDataplane({ kernel, layout: LAYOUT, now: () => 0, firstEpoch: 5 });
  const sync = (mode: 'enforce' | 'audit' | 'dry-run' = 'enforce') =>
    dataplane.sync(INTENT, { mode, resync: true, interfaces: NO_INTERFACES });
  return { kernel, dataplane, sync };
}

describe('the revision that is in the kernel', () => {
  it('is that of the intent once all of it is written, also when there was nothing to write', async () => {
    const { sync } = bench();
    assert.equal((await sync()).revision, 7);
    assert.equal((await sync()).revision, 7);
    assert.equal((await sync('audit')).revision, 7);
  });

  it('is not told of a plan that is only shown, nor after all was removed', async () => {
    const { dataplane, sync } = bench();
    assert.equal((await sync('dry-run')).revision, undefined);
    await sync();
    assert.equal((await dataplane.remove({ resync: false })).revision, undefined);
  });

  it('fault: is not told while the lock is held', async () => {
    const { kernel, sync } = bench();
    kernel.faults.lockHeld = true;
    assert.equal((await sync()).revision, undefined);
    kernel.faults.lockHeld = false;
    assert.equal((await sync()).revision, 7);
  });

  it('fault: is not told while rules are refused', async () => {
    const { kernel, sync } = bench();
    kernel.faults.refuse = (line) => line.includes('-j DROP');
    const { revision, failures } = await sync();
    assert.equal(revision, undefined);
    assert.ok(failures.length > 0);
  });

  it('is not told while live flows wait to be judged again, and there is work once they have waited', async () => {
    const clock = new VirtualClock();
    const dataplane = createIptablesDataplane({
      kernel: createFakeKernel(),
      layout: LAYOUT,
      now: () => clock.now(),
      after: (ms, callback) => clock.after(ms, callback),
      firstEpoch: 5,
    });
    const work: string[] = [];
    dataplane.onWork((reason) => work.push(reason));
    const compiler = new NodeCompiler('node-1');
    const friend = (n: number, role: string) => {
      const labels = { role };
      compiler.pod(`x/r${n}`, pod(`x/r${n}`, { addresses: [`10.1.0.${n}`], labels, nodeName: 'node-2' }));
    };
    const sync = async () => {
      const intent = compiler.intent();
      const { revision } = await dataplane.sync(intent, { mode: 'enforce', resync: false, interfaces: NO_INTERFACES });
      return revision === undefined ? 'not told' : revision === intent.revision;
    };
    const peers = [{ podSelector: { matchLabels: { role: 'friend' } } }];
    compiler.namespace('x', { name: 'x', uid: 'x', labels: {} });
    compiler.pod('x/a', pod('x/a', { addresses: ['10.0.0.1'] }));
    compiler.policy('x/in', policy('x/in', { podSelector: {}, ingress: [{ from: peers }] }));
    for (const n of [1, 2, 3]) friend(n, 'friend');
    assert.equal(await sync(), true);
    friend(1, 'none');
    assert.equal(await sync(), true);
    friend(2, 'none');
    assert.equal(await sync(), 'not told');
    assert.deepEqual(work, []);
    clock.advance(250);
    assert.deepEqual(work, ['epoch due']);
    assert.equal(await sync(), true);
  });
});
