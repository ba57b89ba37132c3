/** Members that leave ahead of the epoch that has live flows judged again, with no chain written for it. */
import assert from 'node:assert/strict';
import { pod, policy, snapshot } from '../../../support/builders.ts';
import { LAYOUT, type FakeNode, createFakeNode, enforce } from '../../../support/fake-cluster.ts';
import { type Packet, trace } from '../../../support/tracer.ts';

const LOCAL = pod('x/a', { addresses: ['10.0.0.1', 'fd00::1'], labels: { role: 'open' } });
const FRIEND = pod('x/r', { addresses: ['10.1.0.1', 'fd00::1:1'], labels: { role: 'friend' }, nodeName: 'node-2' });
const FROM_FRIENDS = policy('x/open', {
  podSelector: { matchLabels: { role: 'open' } },
  ingress: [{ from: [{ podSelector: { matchLabels: { role: 'friend' } } }], ports: [{ port: 80 }] }],
});
const BEFORE = snapshot({ pods: [LOCAL, FRIEND], policies: [FROM_FRIENDS] });
const AFTER = snapshot({ pods: [LOCAL, { ...FRIEND, labels: {} }], policies: [FROM_FRIENDS] });

const FIRST: readonly Packet[] = ([4, 6] as const).map((family, index) => ({
  family,
  source: FRIEND.addresses[index]!,
  destination: LOCAL.addresses[index]!,
  protocol: 6,
  port: 80,
}));

/** A node on which a flow of each family goes on. */
async function withLiveFlows() {
  const node = createFakeNode('node-1');
  await enforce(node, BEFORE);
  const flows = FIRST.map((first) => {
    const connection = { mark: 0 };
    assert.equal(trace(node.kernel.state(), { ...first, connection }), 'passed');
    return { first, live: { ...first, state: 'ESTABLISHED', connection } as const };
  });
  return { node, flows };
}

const verdicts = (node: FakeNode, packets: readonly Packet[]): string[] =>
  packets.map((packet) => trace(node.kernel.state(), packet));

describe('a late epoch', () => {
  it('has no chain written but those that hold the epoch, and cuts the flows', async () => {
    const { node, flows } = await withLiveFlows();
    const { plan } = await enforce(node, AFTER);
    const written = plan!.steps.flatMap(({ lines }) => lines.filter(({ text }) => text.startsWith(':')));
    assert.deepEqual([...new Set(written.map(({ object }) => object))].sort(), ['PCL-FWD', 'PCL-INP', 'PCL-RPL']);
    assert.deepEqual(
      verdicts(
        node,
        flows.map(({ live }) => live),
      ),
      ['dropped', 'dropped'],
    );
    assert.ok(![...node.kernel.state().sets.keys()].some((name) => name.endsWith('-released')));
  });

  it('fault: killed at any line, the next process makes up for it', async () => {
    for (let line = 0; line < 60; line++) {
      const { node, flows } = await withLiveFlows();
      node.kernel.faults.diesAfterLines = line;
      await node.reconciler.sync(AFTER, 'enforce', LAYOUT, false);
      node.kernel.revive();
      await enforce(createFakeNode('node-1', node.kernel), AFTER, true);
      assert.deepEqual(
        verdicts(
          node,
          flows.map(({ live }) => live),
        ),
        ['dropped', 'dropped'],
        `line ${line}`,
      );
    }
  });

  it('fault: the lock is held for the commit: members are not held up, and the same process makes up for it', async () => {
    const { node, flows } = await withLiveFlows();
    // A pod that goes leaves the sign as well, and this process knows why: it alone is no reason to judge flows again.
    const gone = pod('x/gone', {
      addresses: ['10.1.0.9', 'fd00::1:9'],
      labels: { role: 'friend' },
      nodeName: 'node-2',
    });
    await enforce(node, snapshot({ pods: [LOCAL, FRIEND, gone], policies: [FROM_FRIENDS] }));
    await enforce(node, BEFORE);
    assert.deepEqual(
      verdicts(
        node,
        flows.map(({ live }) => live),
      ),
      ['passed', 'passed'],
    );
    node.kernel.faults.lockHeld = true;
    assert.ok((await node.reconciler.sync(AFTER, 'enforce', LAYOUT, false)).failures.length > 0);
    assert.deepEqual(verdicts(node, FIRST), ['dropped', 'dropped']);
    node.kernel.faults.lockHeld = false;
    await enforce(node, AFTER);
    assert.deepEqual(
      verdicts(
        node,
        flows.map(({ live }) => live),
      ),
      ['dropped', 'dropped'],
    );
  });
});
