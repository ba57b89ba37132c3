/** Members that leave ahead of the epoch that has live flows judged again, with no chain written for it. */
import assert from 'node:assert/strict';
import { pod, policy, snapshot } from '../../../support/builders.ts';
import { LAYOUT, type FakeNode, createFakeNode, enforce } from '../../../support/fake-cluster.ts';
import { type Packet, trace } from '../../../support/tracer.ts';
import { VirtualClock } from '../../../support/virtual-clock.ts';

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
async function withLiveFlows(node = createFakeNode('node-1')) {
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

  it('leaves no dead rules, as nobody waits for it', async () => {
    const tidy = { isDue: false, synced: (): void => {} };
    const { node } = await withLiveFlows(createFakeNode('node-1', undefined, { tidy }));
    const { plan } = await enforce(node, AFTER);
    assert.equal(plan!.summary.epochsAdvanced, 2);
    assert.deepEqual([plan!.after.families[4]!.dead, plan!.after.families[6]!.dead], [undefined, undefined]);
  });

  it('takes out dead rules that are due, among them the jump that the epoch replaces', async () => {
    const tidy = { isDue: false, synced: (): void => {} };
    const { node, flows } = await withLiveFlows(createFakeNode('node-1', undefined, { tidy }));
    const denied = policy('x/deny', { podSelector: {}, policyTypes: ['Egress'] });
    await enforce(node, snapshot({ pods: [LOCAL, FRIEND], policies: [FROM_FRIENDS, denied] }));
    await enforce(node, BEFORE);
    assert.equal(node.kernel.state().families[4]!.hooks.FORWARD.filter((line) => line.includes('RECHECK')).length, 2);
    tidy.isDue = true;
    const { plan, stepsApplied } = await enforce(node, AFTER);
    // None was refused and planned anew.
    assert.equal(stepsApplied, plan!.steps.length);
    assert.equal(node.kernel.state().families[4]!.hooks.FORWARD.filter((line) => line.includes('RECHECK')).length, 1);
    assert.deepEqual(
      verdicts(
        node,
        flows.map(({ live }) => live),
      ),
      ['dropped', 'dropped'],
    );
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

describe('an epoch that waits', () => {
  let clock: VirtualClock;
  let due: number;
  beforeEach(() => {
    clock = new VirtualClock();
    due = 0;
  });

  /** Flows that go on, a moment after the epoch advanced for a member that left. */
  async function afterAnEpoch() {
    const node = createFakeNode('node-1', undefined, { clock });
    node.reconciler.onEpochDue(() => due++);
    await enforce(node, BEFORE);
    assert.equal((await enforce(node, AFTER)).plan!.summary.epochsAdvanced, 2);
    clock.advance(100);
    return await withLiveFlows(node);
  }
  const live = (flows: Awaited<ReturnType<typeof withLiveFlows>>['flows']) => flows.map((flow) => flow.live);
  const signs = (node: FakeNode) => [...node.kernel.state().sets.keys()].filter((name) => name.endsWith('-released'));
  const kinds = ({ plan }: Awaited<ReturnType<typeof enforce>>) => plan!.steps.map(({ kind }) => kind);

  it('no rule is written for a member that leaves, and what begins is judged without it; then live flows are cut', async () => {
    const { node, flows } = await afterAnEpoch();
    const left = await enforce(node, AFTER);
    assert.deepEqual(kinds(left), ['remove-members']);
    assert.deepEqual([left.plan!.revokesNext, left.plan!.summary.epochsAdvanced], [[4, 6], 0]);
    assert.deepEqual(verdicts(node, FIRST), ['dropped', 'dropped']);
    assert.deepEqual(verdicts(node, live(flows)), ['passed', 'passed']);
    assert.equal(signs(node).length, 2);
    clock.advance(149);
    assert.equal(due, 0);
    clock.advance(1);
    assert.equal(due, 1);
    const again = await enforce(node, AFTER);
    assert.deepEqual([again.plan!.revokesNext, again.plan!.summary.epochsAdvanced], [[], 2]);
    assert.deepEqual(verdicts(node, live(flows)), ['dropped', 'dropped']);
    assert.deepEqual(signs(node), []);
    clock.advance(10_000);
    assert.equal(due, 1);
    assert.deepEqual(kinds(await enforce(node, AFTER)), []);
  });

  it('members that come and go while it waits need no chain; it does not wait for longer than from the epoch before', async () => {
    const { node, flows } = await afterAnEpoch();
    const withOther = (last: number) => {
      const addresses = [`10.1.0.${last}`, `fd00::1:${last}`];
      const other = pod(`x/s${last}`, { addresses, labels: { role: 'friend' }, nodeName: 'node-2' });
      return snapshot({ pods: [LOCAL, { ...FRIEND, labels: {} }, other], policies: [FROM_FRIENDS] });
    };
    await enforce(node, AFTER);
    clock.advance(50);
    assert.deepEqual(kinds(await enforce(node, withOther(2))), ['add-members']);
    clock.advance(50);
    assert.deepEqual(kinds(await enforce(node, AFTER)), ['remove-members']);
    clock.advance(50);
    // Due, and just now another one comes: it goes in first, and no chain but those that hold the epoch is written.
    const both = await enforce(node, withOther(3));
    assert.deepEqual(kinds(both), ['add-members', 'final-rules', 'final-rules', 'destroy-sets']);
    assert.deepEqual(verdicts(node, live(flows)), ['dropped', 'dropped']);
    assert.deepEqual(verdicts(node, FIRST), ['dropped', 'dropped']);
  });

  it('a change of rules that revokes something takes it along', async () => {
    const { node, flows } = await afterAnEpoch();
    await enforce(node, AFTER);
    const denied = policy('x/deny', { podSelector: {}, policyTypes: ['Egress'] });
    await enforce(node, snapshot({ pods: [LOCAL, { ...FRIEND, labels: {} }], policies: [FROM_FRIENDS, denied] }));
    assert.deepEqual(verdicts(node, live(flows)), ['dropped', 'dropped']);
    clock.advance(1_000);
    assert.equal(due, 0);
  });

  it('does not wait where an address passes to another pod: that may not have the flows of the first', async () => {
    const { node, flows } = await afterAnEpoch();
    await enforce(node, AFTER);
    const heir = { ...FRIEND, name: 'heir', uid: 'heir' };
    const { plan } = await enforce(node, snapshot({ pods: [LOCAL, heir], policies: [FROM_FRIENDS] }));
    assert.deepEqual([plan!.revokesNext, plan!.summary.epochsAdvanced], [[], 2]);
    assert.deepEqual(verdicts(node, live(flows)), ['passed', 'passed'], 'judged again, as flows of the new pod');
    assert.deepEqual(signs(node), []);
  });

  it('does not wait in a sync that compares with the kernel', async () => {
    const { node, flows } = await afterAnEpoch();
    await enforce(node, AFTER, true);
    assert.deepEqual(verdicts(node, live(flows)), ['dropped', 'dropped']);
  });

  it('fault: the process is killed while it waits: the next one has live flows judged again at once', async () => {
    const { node, flows } = await afterAnEpoch();
    await enforce(node, AFTER);
    await enforce(createFakeNode('node-1', node.kernel, { clock }), AFTER, true);
    assert.deepEqual(verdicts(node, live(flows)), ['dropped', 'dropped']);
    assert.deepEqual(signs(node), []);
  });

  it('fault: the commit fails when it is due: it is made up for', async () => {
    const { node, flows } = await afterAnEpoch();
    await enforce(node, AFTER);
    clock.advance(150);
    node.kernel.faults.lockHeld = true;
    assert.ok((await node.reconciler.sync(AFTER, 'enforce', LAYOUT, false)).failures.length > 0);
    node.kernel.faults.lockHeld = false;
    await enforce(node, AFTER, true);
    assert.deepEqual(verdicts(node, live(flows)), ['dropped', 'dropped']);
  });
});
