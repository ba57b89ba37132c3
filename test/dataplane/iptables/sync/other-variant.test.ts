import assert from 'node:assert/strict';
import { SnapshotSync } from '../../../support/snapshot-sync.ts';
import { type Kernel, StepFailed } from '../../../../src/dataplane/iptables/kernel/kernel.ts';
import { readEpoch } from '../../../../src/dataplane/iptables/plan/epoch.ts';
import type { Unread } from '../../../../src/dataplane/dataplane.ts';
import type { ObservedState, Step } from '../../../../src/dataplane/iptables/plan/plan.ts';
import type { Policy } from '../../../../src/policy/model.ts';
import { pod, policy, snapshot } from '../../../support/builders.ts';
import { LAYOUT } from '../../../support/fake-cluster.ts';
import { type FakeKernel, createFakeKernel } from '../../../support/fake-kernel.ts';

const PODS = [
  pod('x/a', { addresses: ['10.0.0.1', 'fd00::1'] }),
  pod('x/b', { addresses: ['10.0.0.2', 'fd00::2'], labels: { team: 'red' } }),
  pod('x/c', { addresses: ['10.0.0.3', 'fd00::3'], labels: { team: 'red' } }),
];
const RED = policy('x/red', {
  podSelector: { matchLabels: { pod: 'a' } },
  ingress: [{ from: [{ podSelector: { matchLabels: { team: 'red' } } }] }],
});
const cluster = (pods = PODS, policies: readonly Policy[] = [RED]) => snapshot({ pods, policies });
const MARKS = { mask: 0xff000000 };

/** The fake kernel as one variant, with more to see than it holds itself. */
function host(kernel: FakeKernel, more: () => Partial<ObservedState>, cannotRemove = false, now = () => 0) {
  const steps: Step[] = [];
  const seen: Kernel = {
    backend: 'iptables-nft',
    families: [4, 6],
    readBack: async () => {
      const state = await kernel.readBack();
      const added = more();
      const unread = added.unread?.map(({ family }) => family) ?? [];
      const families = Object.fromEntries(
        Object.entries(state.families).filter(([family]) => !unread.includes(Number(family) as 4 | 6)),
      );
      return { ...state, variant: 'iptables-nft', ...added, families };
    },
    apply: (step) => {
      steps.push(step);
      if (step.kind !== 'leftovers') return kernel.apply(step);
      const failed = (): StepFailed =>
        new StepFailed(step, 'iptables-legacy-restore', 'unavailable', undefined, new Error('command not found'));
      return cannotRemove ? Promise.reject(failed()) : Promise.resolve([]);
    },
  };
  const reconciler = new SnapshotSync({ nodeName: 'node-1', kernel: seen, now, firstEpoch: 5 });
  return { steps, reconciler };
}

/** The rules of a cluster as they stand in legacy, with the sets they refer to in the common kernel. */
async function legacyOf(kernel: FakeKernel, epoch: number): Promise<ObservedState> {
  const legacy = createFakeKernel({ backend: 'iptables-legacy' });
  const reconciler = new SnapshotSync({
    nodeName: 'node-1',
    kernel: legacy,
    now: () => 0,
    firstEpoch: epoch,
  });
  await reconciler.sync(cluster(), 'enforce', LAYOUT, true);
  const sets = legacy.savedSets().replaceAll(/ (bucketsize|initval) \S+/g, '');
  kernel.editSets(...sets.split('\n').filter((line) => line.includes(' PCL')));
  return legacy.state();
}

describe('fault: our rules in the other iptables variant', () => {
  it('go right after the new ones stand, and no set they look at changes before', async () => {
    const kernel = createFakeKernel();
    const { families } = await legacyOf(kernel, 5);
    const other = { variant: 'iptables-legacy', families } as const;
    const { steps, reconciler } = host(kernel, () => ({ other }));
    // Meanwhile x/c left.
    const outcome = await reconciler.sync(cluster(PODS.slice(0, 2)), 'enforce', LAYOUT, true);
    assert.deepEqual(outcome.failures, []);
    const kinds = steps.map(({ kind }) => kind);
    const at = kinds.indexOf('leftovers');
    assert.equal(kinds.filter((kind) => kind === 'leftovers').length, 2);
    assert.ok(kinds.lastIndexOf('rules') < at && at < kinds.indexOf('remove-members'), kinds.join(' '));
    const old = [...kernel.state().sets.keys()];
    const before = steps.slice(0, at).flatMap(({ kind, lines }) => (kind === 'add-members' ? lines : []));
    for (const { text } of before) {
      const [verb, name] = text.split(' ');
      assert.ok(verb === 'create' || !old.includes(name!), `${text} before the old rules are gone`);
    }
    const text = steps[at]!.lines.map((line) => line.text);
    assert.ok(text.some((line) => line.startsWith('-D FORWARD ')) && text.includes('-X PCL-FWD'), text.join('\n'));
  });

  for (const epoch of [5, 6, 127]) {
    it(`the new rules never begin with the epoch the old ones stamp (${epoch})`, async () => {
      const kernel = createFakeKernel();
      const { families } = await legacyOf(kernel, epoch);
      const { reconciler } = host(kernel, () => ({ other: { variant: 'iptables-legacy', families } }));
      await reconciler.sync(cluster(), 'enforce', LAYOUT, true);
      for (const family of [4, 6] as const) {
        const [ours, theirs] = [kernel.state().families[family]!, families[family]!];
        assert.equal(readEpoch(theirs, MARKS), epoch);
        assert.notEqual(readEpoch(ours, MARKS), epoch);
      }
    });
  }

  it('that cannot be removed hold up nothing, and are a failure', async () => {
    const kernel = createFakeKernel();
    const { families } = await legacyOf(kernel, 5);
    const { reconciler } = host(kernel, () => ({ other: { variant: 'iptables-legacy', families } }), true);
    const outcome = await reconciler.sync(cluster(PODS.slice(0, 2)), 'enforce', LAYOUT, true);
    assert.equal(outcome.partial, true);
    assert.match(outcome.failures[0]!.message, /^leftovers: command not found/);
    const sets = [...kernel.state().sets.values()].map(({ members }) => [...members.keys()].join(' '));
    assert.deepEqual(sets.sort(), ['10.0.0.2', 'fd00::2'], 'what comes behind them is done all the same');
  });

  it('go in mode off as well', async () => {
    const kernel = createFakeKernel();
    const { families } = await legacyOf(kernel, 5);
    const { steps, reconciler } = host(kernel, () => ({ other: { variant: 'iptables-legacy', families } }));
    assert.deepEqual((await reconciler.sync(cluster(), 'off', LAYOUT, true)).failures, []);
    assert.equal(steps.filter(({ kind }) => kind === 'leftovers').length, 2);
  });
});

describe('fault: a family that cannot be read', () => {
  const unread = (isKnown: boolean): readonly Unread[] => [
    { family: 6, tool: 'ip6tables-nft-save', isKnown, why: 'no memory' },
  ];

  it('at start: nothing is written there, the other one is enforced, and it is tried again', async () => {
    const kernel = createFakeKernel();
    let now: readonly Unread[] = unread(false);
    const { reconciler } = host(kernel, () => ({ unread: now }));
    const outcome = await reconciler.sync(cluster(), 'enforce', LAYOUT, true);
    assert.equal(outcome.partial, true);
    assert.match(outcome.failures[0]!.message, /IPv6 rules cannot be read.*nothing is written there: no memory/);
    assert.equal(kernel.state().families[6]!.chains.size, 0);
    assert.ok(kernel.state().families[4]!.chains.size > 0);
    now = [];
    assert.deepEqual((await reconciler.sync(cluster(), 'enforce', LAYOUT, true)).failures, []);
    assert.ok(kernel.state().families[6]!.chains.size > 0);
  });

  it('later: nothing is repaired, and changes go on from what was written', async () => {
    const kernel = createFakeKernel();
    let now: readonly Unread[] = [];
    const { reconciler } = host(kernel, () => ({ unread: now }));
    assert.deepEqual((await reconciler.sync(cluster(), 'enforce', LAYOUT, true)).failures, []);
    const before = kernel.savedRules(6);
    now = unread(false);
    for (let resync = 0; resync < 3; resync++) {
      const outcome = await reconciler.sync(cluster(), 'enforce', LAYOUT, true);
      assert.deepEqual([outcome.drift, outcome.plan?.steps, outcome.partial], [[], [], true]);
      assert.deepEqual(outcome.unread, now);
    }
    assert.equal(kernel.savedRules(6), before);
    const closed = { ...RED, ingress: [] };
    const event = await reconciler.sync(cluster(PODS, [closed]), 'enforce', LAYOUT, false);
    assert.deepEqual([event.failures.length, event.partial], [1, true], 'an event does not make it forgotten');
    assert.match(event.failures[0]!.message, /changes are written on top of what was written last/);
    assert.doesNotMatch(kernel.savedRules(6), /--match-set/);
    assert.equal(kernel.savedRules(6).match(/^-A FORWARD .*PCL/gm)?.length, 2);
  });

  it('is asked for again by an event as well, some seconds later', async () => {
    const kernel = createFakeKernel();
    let now: readonly Unread[] = unread(false);
    let ms = 0;
    const { reconciler } = host(
      kernel,
      () => ({ unread: now }),
      false,
      () => ms,
    );
    await reconciler.sync(cluster(), 'enforce', LAYOUT, true);
    now = [];
    assert.equal((await reconciler.sync(cluster(), 'enforce', LAYOUT, false)).partial, true);
    ms = 2_500;
    assert.deepEqual((await reconciler.sync(cluster(), 'enforce', LAYOUT, false)).failures, []);
    assert.ok(kernel.state().families[6]!.chains.size > 0);
  });

  it('known not to be there: no failure', async () => {
    const kernel = createFakeKernel();
    const { reconciler } = host(kernel, () => ({ unread: unread(true) }));
    const outcome = await reconciler.sync(cluster(), 'enforce', LAYOUT, true);
    assert.deepEqual([outcome.failures, outcome.unread], [[], unread(true)]);
  });
});

describe('reconcile: a set that is still in use', () => {
  it('makes nobody forget which variant the rules were written to: what others change is told and repaired', async () => {
    const kernel = createFakeKernel();
    const { reconciler } = host(kernel, () => ({}));
    await reconciler.sync(cluster(), 'enforce', LAYOUT, true);
    const set = [...kernel.state().sets.keys()].find((name) => name.startsWith('PCL4'))!;
    kernel.editRules(4, `-A OUTPUT -m set --match-set ${set} src -j RETURN`);
    const closed = cluster(PODS, [{ ...RED, ingress: [] }]);
    assert.deepEqual((await reconciler.sync(closed, 'enforce', LAYOUT, false)).busySets, [set]);
    const chain = [...kernel.state().families[4]!.chains.keys()].find((name) => name.startsWith('PCL-I-'))!;
    kernel.editRules(4, `-D ${chain} -j DROP`);
    const { drift } = await reconciler.sync(closed, 'enforce', LAYOUT, true);
    assert.deepEqual(
      drift.map(({ object }) => object),
      [chain],
    );
    assert.ok(kernel.state().families[4]!.chains.get(chain)!.includes('-j DROP'));
  });
});
