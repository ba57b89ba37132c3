/** What the kernel refuses of one namespace costs a few attempts, however much of it there is, and keeps nothing of others out. */
import assert from 'node:assert/strict';
import type { SyncResult } from '../../../../src/dataplane/iptables/sync/one-sync.ts';
import { SnapshotSync } from '../../../support/snapshot-sync.ts';
import type { ClusterSnapshot, Policy } from '../../../../src/policy/model.ts';
import { pod, policy, snapshot } from '../../../support/builders.ts';
import { type FakeNode, LAYOUT } from '../../../support/fake-cluster.ts';
import { createFakeKernel, type FakeKernel } from '../../../support/fake-kernel.ts';
import { trace } from '../../../support/tracer.ts';

const COUNT = 60;
const numbers = Array.from({ length: COUNT }, (_, n) => n);

/** Evil has a class and a set of its own for each of its pods; x denies everything. */
function cluster(more: readonly Policy[] = []): ClusterSnapshot {
  const evil = numbers.map((n) => pod(`evil/a${n}`, { labels: { app: `a${n}` }, addresses: [`10.0.1.${n}`] }));
  const policies = numbers.map((n) =>
    policy(`evil/p${n}`, {
      podSelector: { matchLabels: { app: `a${n}` } },
      ingress: [
        { from: [{ ipBlock: { cidr: `11.${n}.0.0/16`, except: [`11.${n}.1.0/24`] } }], ports: [{ port: 1000 + n }] },
      ],
    }),
  );
  return snapshot({ pods: [...evil, pod('x/b', { addresses: ['10.0.0.2'] })], policies: [...policies, ...more] });
}

const DENY = policy('x/p', { podSelector: {}, ingress: [] });
const toX = { family: 4, source: '10.9.9.9', destination: '10.0.0.2', protocol: 6, port: 80 } as const;
const toEvil = { ...toX, source: '11.3.0.1', destination: '10.0.1.3', port: 1003 } as const;

/** Everything takes a while. */
function slowNode(kernel: FakeKernel = createFakeKernel()): Omit<FakeNode, 'walk'> {
  let ms = 0;
  const now = (): number => (ms += 50);
  return {
    name: 'node-1',
    kernel,
    reconciler: new SnapshotSync({ nodeName: 'node-1', kernel, now, firstEpoch: 1 }),
  };
}

async function sync(
  node: Omit<FakeNode, 'walk'>,
  of: ClusterSnapshot,
): Promise<{ outcome: SyncResult; commands: number }> {
  const before = node.kernel.commands.length;
  const outcome = await node.reconciler.sync(of, 'enforce', LAYOUT, false);
  return { outcome, commands: node.kernel.commands.length - before };
}

describe('fault: objects that the kernel refuses to one namespace hold up all others', () => {
  it('sets: some are tried one by one, then the rest of the namespace waits, closed', async () => {
    const node = slowNode();
    node.kernel.faults.refuse = (line) => /^create PCL4-\S+ hash:net /.test(line);
    const { outcome, commands } = await sync(node, cluster([DENY]));
    assert.ok(commands < 40, `${commands} commands`);
    assert.equal(outcome.partial, true);
    assert.ok(outcome.failures.length >= 3);
    assert.deepEqual(
      [toX, toEvil].map((packet) => trace(node.kernel.state(), packet)),
      ['dropped', 'dropped'],
    );
    node.kernel.faults.refuse = undefined;
    const again = await sync(node, cluster([DENY]));
    assert.deepEqual([again.outcome.failures, trace(node.kernel.state(), toEvil)], [[], 'passed']);
  });

  it('chains of the legacy variant, which says nothing of the line: namespaces are tried together, then some chains', async () => {
    const node = slowNode(createFakeKernel({ backend: 'iptables-legacy' }));
    node.kernel.faults.refuseAtCommit = (line) => /^-A PCL-I-\S+ .*--dport 10\d\d/.test(line);
    const { outcome, commands } = await sync(node, cluster([DENY]));
    assert.ok(commands < 40, `${commands} commands`);
    assert.equal(outcome.partial, true);
    assert.equal(trace(node.kernel.state(), toX), 'dropped');
    assert.equal(trace(node.kernel.state(), toEvil), 'dropped');
  });

  it('what stood before stays in force', async () => {
    const node = slowNode();
    await sync(node, cluster());
    assert.equal(trace(node.kernel.state(), toEvil), 'passed');
    node.kernel.faults.refuse = (line) => /--dport 2000 /.test(line);
    const edited = numbers.map((n) =>
      policy(`evil/p${n}`, { podSelector: { matchLabels: { app: `a${n}` } }, ingress: [{ ports: [{ port: 2000 }] }] }),
    );
    const { outcome } = await sync(node, cluster([...edited, DENY]));
    assert.equal(outcome.partial, true);
    assert.deepEqual(
      [toX, toEvil].map((packet) => trace(node.kernel.state(), packet)),
      ['dropped', 'passed'],
    );
  });
});
