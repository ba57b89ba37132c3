/** Syncs of a table of nftables in memory: what is written, what is refused, what live flows keep. */
import assert from 'node:assert/strict';
import { TidyTimer } from '../../../src/dataplane/tidy-timer.ts';
import type { ClusterSnapshot } from '../../../src/policy/model.ts';
import { namespace, pod, policy, snapshot } from '../../support/builders.ts';
import { epochsInTurn, LAYOUT } from '../../support/fake-cluster.ts';
import { EVERY_PACKET, markOf } from '../../../src/dataplane/mark-bits.ts';
import { createFakeNft, type FakeNft } from '../../support/nft-fake.ts';
import { createNftNode, type NftNode } from '../../support/nft-node.ts';
import type { Packet } from '../../support/tracer.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';

const [SERVER, CLIENT] = ['10.0.0.2', '10.9.0.1'];
const FLOW = { source: CLIENT, destination: SERVER, protocol: 6, port: 80 } as const;
const NEW: Packet = { ...FLOW, family: 4 };
const LIVE: Packet = { ...NEW, state: 'ESTABLISHED' };
const REPLY: Packet = {
  ...LIVE,
  source: SERVER,
  destination: CLIENT,
  port: 40_001,
  sourcePort: 80,
  direction: 'REPLY',
};

/** Of a pod that no policy selects. */
const SIX = pod('x/six', { labels: { app: 'free' }, addresses: ['fd00::9'] });
const NEW_SIX: Packet = { ...NEW, family: 6, source: 'fd00::1', destination: 'fd00::9' };

const ALLOW = policy('x/allow', {
  podSelector: { matchLabels: { app: 'server' } },
  ingress: [{ from: [{ podSelector: { matchLabels: { role: 'client' } } }], ports: [{ port: 80 }] }],
});

interface Parts {
  readonly role?: string | undefined;
  readonly policies?: ClusterSnapshot['policies'];
  readonly others?: Parameters<typeof snapshot>[0]['pods'];
}

function clusterOf({ role = 'client', policies, others = [] }: Parts = {}): ClusterSnapshot {
  const client = pod('x/client', { labels: { role }, nodeName: 'node-2', addresses: [CLIENT] });
  const server = pod('x/server', { labels: { app: 'server' }, addresses: [SERVER] });
  const made = snapshot({ namespaces: [namespace('x')], pods: [server, client, ...others], policies: [ALLOW] });
  return policies ? { ...made, policies } : made;
}

function without(cluster: ClusterSnapshot, ...keys: readonly string[]): ClusterSnapshot {
  const pods = new Map(cluster.pods);
  for (const key of keys) pods.delete(key);
  return { ...cluster, pods };
}

/** A connection that was let through. */
function begin(node: NftNode) {
  const connection = { mark: 0 };
  assert.equal(node.walk({ ...NEW, connection }, FLOW).verdict, 'passed');
  return connection;
}

const verdict = (node: NftNode, packet: Packet, connection = { mark: 0 }) =>
  node.walk({ ...packet, connection: { ...connection } }, FLOW).verdict;

describe('syncs of a table of nftables', () => {
  it('an address that leaves a set and is still a pod cuts live flows, both ways, in the same transaction', async () => {
    const node = createNftNode('node-1');
    await node.bring(clusterOf());
    const live = begin(node);
    assert.deepEqual([verdict(node, LIVE, live), verdict(node, REPLY, live)], ['passed', 'passed']);
    const before = node.kernel.transactions.length;
    await node.bring(clusterOf({ role: 'none' }));
    assert.deepEqual([verdict(node, LIVE, live), verdict(node, REPLY, live)], ['dropped', 'dropped']);
    const [commit = []] = node.kernel.transactions.slice(before);
    assert.ok(commit.some((text) => text.startsWith('delete element') && text.includes(CLIENT)));
    const flushed = commit.filter((text) => text.startsWith('flush')).map((text) => text.split(' ').at(-1));
    assert.deepEqual(flushed, ['forward', 'input', 'stamp'], 'no other chain is written again');
  });

  it('another epoch is one of both families, and repairs nothing: flows that are allowed still pass', async () => {
    const node = createNftNode('node-1');
    const both = (role?: string) => clusterOf({ ...(role ? { role } : {}), others: [SIX] });
    await node.bring(both());
    const live = { mark: 0 };
    node.walk({ ...NEW_SIX, connection: live }, FLOW);
    const judgedIn = live.mark;
    const { change } = await node.bring(both('none'));
    assert.deepEqual([change!.counts.epochsAdvanced, change!.counts.jumpsRepaired], [1, 0]);
    assert.equal(node.walk({ ...NEW_SIX, state: 'ESTABLISHED', connection: live }, FLOW).verdict, 'passed');
    assert.notEqual(live.mark, judgedIn);
    node.kernel.edit('flush chain inet portcullis forward');
    assert.equal((await node.bring(both('none'), true)).change!.counts.jumpsRepaired, 1);
  });

  it('a pod that goes needs no epoch; another pod that gets its address begins one, also after a restart', async () => {
    for (const isRestarted of [false, true]) {
      const kernel = createFakeNft();
      const node = createNftNode('node-1', { kernel });
      await node.bring(clusterOf());
      const live = begin(node);
      const { change } = await node.bring(without(clusterOf(), 'x/client'));
      assert.equal(change!.counts.epochsAdvanced, 0);
      const other = pod('x/other', { labels: { role: 'none' }, nodeName: 'node-2', addresses: [CLIENT] });
      const next = isRestarted ? createNftNode('node-1', { kernel }) : node;
      await next.bring(without(clusterOf({ others: [other] }), 'x/client'));
      assert.equal(verdict(next, LIVE, live), 'dropped', isRestarted ? 'restarted' : 'the same agent');
    }
  });

  it('allowing more begins no epoch, and writes no chain again', async () => {
    const node = createNftNode('node-1');
    await node.bring(clusterOf({ role: 'none' }));
    const { change } = await node.bring(clusterOf());
    assert.deepEqual([change!.counts.epochsAdvanced, change!.counts.chainsWritten], [0, 0]);
    assert.equal(verdict(node, NEW), 'passed');
  });

  it('where no epoch is free every packet of a live flow is judged, and passes if it is allowed', async () => {
    const node = createNftNode('node-1', { freeEpochs: epochsInTurn(0) });
    await node.bring(clusterOf());
    const connection = { mark: 0 };
    node.walk({ ...NEW, connection }, FLOW);
    await node.bring(clusterOf({ role: 'none' }));
    assert.equal(verdict(node, LIVE, connection), 'dropped');
    await node.bring(clusterOf());
    assert.equal(verdict(node, LIVE, connection), 'passed');
  });

  it('once one is free again, rules go to it though nothing else changed, and flows that it judged meet no other rule', async () => {
    let free = EVERY_PACKET;
    const node = createNftNode('node-1', { freeEpochs: { ...epochsInTurn(), next: () => free } });
    await node.bring(clusterOf());
    assert.equal((await node.bring(clusterOf())).change!.counts.epochsAdvanced, 0);
    free = 9;
    const { change } = await node.bring(clusterOf());
    assert.deepEqual([change!.counts.epochsAdvanced, change!.epoch], [1, 9]);
    assert.equal((await node.bring(clusterOf())).change!.isEmpty, true);
    assert.equal(verdict(node, LIVE, begin(node)), 'passed');
    assert.equal(verdict(node, LIVE, { mark: markOf(9, LAYOUT.marks!) }), 'passed');
    assert.match(node.kernel.text(), /ct mark \| 0x00ffffff != 0x12ffffff jump forward-recheck/);
  });

  it('fault: the first epoch is one that no flow carries: rules of another data plane stamped flows before (S-67)', async () => {
    const node = createNftNode('node-1', { freeEpochs: epochsInTurn(5) });
    await node.bring(clusterOf({ role: 'none' }));
    for (const epoch of [1, 2, 4, 6])
      assert.equal(verdict(node, LIVE, { mark: markOf(epoch, LAYOUT.marks!) }), 'dropped', `epoch ${epoch}`);
    assert.equal(verdict(node, LIVE, { mark: markOf(5, LAYOUT.marks!) }), 'passed', 'the one in force');
  });

  it('epochs of addresses that left are 250 ms apart, and the next one is asked for', async () => {
    const clock = new VirtualClock();
    const node = createNftNode('node-1', { clock });
    await node.bring(clusterOf());
    const live = begin(node);
    await node.bring(clusterOf({ role: 'none' }));
    await node.bring(clusterOf());
    const again = begin(node);
    const { change } = await node.bring(clusterOf({ role: 'none' }));
    assert.equal(change!.counts.epochsAdvanced, 0);
    assert.equal(verdict(node, LIVE, live), 'dropped');
    assert.equal(verdict(node, LIVE, again), 'passed', 'not judged yet');
    clock.advance(300);
    await node.bring(clusterOf({ role: 'none' }));
    assert.equal(verdict(node, LIVE, again), 'dropped');
  });

  it('what nothing leads to goes when the timer says so, in a transaction of its own', async () => {
    const clock = new VirtualClock();
    const node = createNftNode('node-1', { tidy: new TidyTimer(clock) });
    await node.bring(clusterOf());
    const more = { ...ALLOW, ingress: [] };
    const edited = clusterOf({ policies: new Map([['x/allow', more]]) });
    await node.bring(edited);
    const chains = node.kernel.table()!.chains.size;
    clock.advance(2_000);
    const before = node.kernel.transactions.length;
    await node.bring(edited);
    const [tidied = [], ...none] = node.kernel.transactions.slice(before);
    assert.ok(tidied.every((text) => /^(flush|delete) /.test(text)) && tidied.length > 0, tidied.join('\n'));
    assert.deepEqual(none, []);
    assert.ok(node.kernel.table()!.chains.size < chains);
  });

  it('dry-run takes the table out and shows the one there would be; audit drops nothing', async () => {
    const node = createNftNode('node-1');
    await node.bring(clusterOf({ role: 'none' }));
    const { change } = await node.sync(clusterOf({ role: 'none' }), false, 'dry-run');
    assert.equal(node.kernel.table(), undefined);
    assert.match(change!.text(), /^# commit\nadd table inet portcullis\n/);
    await node.sync(clusterOf({ role: 'none' }), false, 'audit');
    assert.equal(verdict(node, NEW), 'passed');
    assert.match(node.walk(NEW, FLOW).logged.join(), /^would-deny ingress PCL-I-/);
    await node.bring(clusterOf({ role: 'none' }));
    assert.equal(verdict(node, NEW), 'dropped');
  });

  it('fault: the kernel refuses a chain: the pods it is for are closed, all others are not, and it is told whose policies', async () => {
    const node = createNftNode('node-1');
    node.kernel.faults.refuse = (text) => /^add chain \S+ \S+ PCL-I-(?!closed)/.test(text);
    const free = pod('x/free', { labels: { app: 'free' }, addresses: ['10.0.0.9'] });
    const edited = { ...ALLOW, ingress: [{ ...ALLOW.ingress![0]!, ports: 'any' as const }] };
    const cluster = clusterOf({ policies: new Map([['x/allow', edited]]), others: [free] });
    const { failures, partial } = await node.sync(cluster);
    assert.deepEqual(failures.map(({ policies, reason }) => [policies, reason]).slice(0, 1), [
      [['x/allow'], 'refused'],
    ]);
    assert.ok(partial);
    assert.equal(verdict(node, NEW), 'dropped');
    assert.equal(node.walk({ ...NEW, destination: '10.0.0.9' }, FLOW).verdict, 'passed');
    node.kernel.faults.refuse = undefined;
    await node.bring(cluster, true);
    assert.equal(verdict(node, NEW), 'passed');
  });

  it('fault: the kernel refuses what counts for audited policies: what is enforced is, and nobody is closed', async () => {
    const node = createNftNode('node-1');
    const audited = ['one', 'two'].map((name) => policy(`x/${name}`, { podSelector: {}, ingress: [] }, 'audit'));
    const free = pod('x/free', { labels: { app: 'free' }, addresses: ['10.0.0.9'] });
    const policies = new Map([ALLOW, ...audited].map((each) => [`x/${each.name}`, each]));
    for (const role of ['client', 'none']) {
      // The chain that judges as well, and the one that counts for a single policy.
      for (const refused of [/^add chain \S+ \S+ PCL-I[a-h]-/, /^add rule \S+ \S+ PCL-I-\S+ jump PCL-I[a-h]-/]) {
        node.kernel.faults.refuse = (text) => refused.test(text);
        const { failures } = await node.sync(clusterOf({ role, policies, others: [free] }), true);
        assert.ok(failures.length > 0);
        assert.equal(verdict(node, NEW), role === 'client' ? 'passed' : 'dropped');
        assert.equal(node.walk({ ...NEW, destination: '10.0.0.9' }, FLOW).verdict, 'passed');
      }
    }
    node.kernel.faults.refuse = undefined;
    await node.bring(clusterOf({ policies, others: [free] }), true);
  });

  it('fault: nft ends before it says that it is done: the table is read, and the sync goes on', async () => {
    const node = createNftNode('node-1');
    await node.bring(clusterOf({ role: 'none' }));
    node.kernel.faults.lostAnswers = 1;
    await node.bring(clusterOf());
    assert.equal(verdict(node, NEW), 'passed');
    assert.equal((await node.bring(clusterOf(), true)).steps, 0);
  });

  it('fault: the table cannot be read: nothing is written, and the next sync reads again', async () => {
    const kernel = createFakeNft();
    await createNftNode('node-1', { kernel }).bring(clusterOf());
    const next = createNftNode('node-1', { kernel });
    kernel.faults.failedReads = 1;
    const before = kernel.transactions.length;
    const { failures } = await next.sync(clusterOf({ role: 'none' }));
    assert.deepEqual(
      failures.map(({ reason }) => reason),
      ['unavailable'],
    );
    assert.equal(kernel.transactions.length, before);
    await next.bring(clusterOf({ role: 'none' }));
    assert.equal(verdict(next, NEW), 'dropped');
  });

  it('a resync reads the table, unless the kernel is certain that nobody wrote to it; a first sync does in any case', async () => {
    const fake = createFakeNft();
    let [reads, isAsLeft] = [0, true];
    const kernel: FakeNft = {
      ...fake,
      read: (known) => {
        reads++;
        return fake.read(known);
      },
      isAsLeft: async () => isAsLeft,
    };
    const node = createNftNode('node-1', { kernel });
    await node.bring(clusterOf(), true);
    assert.equal(reads, 1);
    await node.bring(clusterOf({ role: 'none' }), true);
    assert.deepEqual([reads, verdict(node, NEW)], [1, 'dropped']);
    fake.edit('flush chain inet portcullis forward');
    isAsLeft = false;
    const { drift } = await node.bring(clusterOf({ role: 'none' }), true);
    assert.deepEqual([reads, drift.length, verdict(node, NEW)], [2, 1, 'dropped']);
    // What it holds is not known to another agent.
    isAsLeft = true;
    await createNftNode('node-1', { kernel }).bring(clusterOf({ role: 'none' }), true);
    assert.equal(reads, 3);
    fake.faults.lostAnswers = 1;
    await node.bring(clusterOf(), true);
    assert.deepEqual([reads, verdict(node, NEW)], [4, 'passed']);
  });

  for (const [what, edit] of Object.entries({
    'a rule of ours is gone': ['flush chain inet portcullis ingress'],
    'a rule lets everything pass': ['flush chain inet portcullis forward'],
    'a pod is put into a set': ['add element inet portcullis ingress4 { 10.0.0.77 : goto ingress }'],
    'the table is gone': ['delete table inet portcullis'],
    'an object of theirs is in our table': ['add chain inet portcullis theirs'],
  }))
    it(`fault: ${what}: a comparison tells and repairs it`, async () => {
      const node = createNftNode('node-1');
      await node.bring(clusterOf({ role: 'none' }));
      node.kernel.edit(...edit);
      const { drift } = await node.bring(clusterOf({ role: 'none' }), true);
      assert.notEqual(drift.length, 0);
      assert.equal(verdict(node, NEW), 'dropped');
      const again = await node.bring(clusterOf({ role: 'none' }), true);
      assert.deepEqual([again.drift, again.steps], [[], 0]);
    });

  it('pods that are not programmed yet are kept out until their rules are in, where that is asked for', async () => {
    const layout = { trunkInterfacePrefix: '', newPods: { interfacePrefixes: ['eni'] }, marks: { mask: 0xff000000 } };
    const kernel = createFakeNft();
    const node = createNftNode('node-1', { kernel, layout });
    const at = { inInterface: 'eth0', outInterface: 'eni1' };
    const late = pod('x/late', { addresses: ['10.0.0.5'] });
    const toLate: Packet = { ...NEW, ...at, destination: '10.0.0.5' };
    assert.equal(await node.synchronizer.closeToNewPods({ pods: [], bridges: [], broadcasts: [] }), 'closed');
    assert.equal(node.walk(toLate, FLOW).verdict, 'dropped');
    await node.bring(clusterOf());
    assert.equal(node.walk({ ...NEW, ...at }, FLOW).verdict, 'passed');
    assert.equal(node.walk(toLate, FLOW).verdict, 'dropped');
    await node.bring(clusterOf({ others: [late] }));
    assert.equal(node.walk(toLate, FLOW).verdict, 'passed');
    const next = createNftNode('node-1', { kernel, layout });
    assert.equal(await next.synchronizer.closeToNewPods({ pods: [], bridges: [], broadcasts: [] }), 'rules stand');
  });

  it('what a pod sends from an address that is not its own is judged as its own', async () => {
    const deny = policy('x/deny', {
      podSelector: { matchLabels: { app: 'server' } },
      policyTypes: ['Egress'],
      egress: [],
    });
    const interfaces = {
      pods: [{ name: 'eni1', via: 'route', pod: 'x/server' }],
      bridges: [],
      broadcasts: [],
    } as const;
    const node = createNftNode('node-1', { interfaces });
    await node.bring(clusterOf({ policies: new Map([['x/deny', deny]]) }));
    const forged: Packet = { ...NEW, source: '169.254.7.7', destination: CLIENT, inInterface: 'eni1' };
    assert.equal(node.walk(forged, FLOW).verdict, 'dropped');
    assert.equal(node.walk({ ...forged, inInterface: 'eni2' }, FLOW).verdict, 'passed');
    const dhcp: Packet = {
      family: 4,
      source: '0.0.0.0',
      destination: '255.255.255.255',
      protocol: 17,
      port: 67,
      sourcePort: 68,
    };
    assert.equal(node.walk({ ...dhcp, inInterface: 'eni1' }, FLOW).verdict, 'passed');
  });
});
