/** Pods that come, go and move, the node itself, and the packets that no policy may stop. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { ADDRESSES_ANNOTATION } from '../../lab/kubelet.ts';
import type { Wiring } from '../../lab/network/types.ts';
import type { Backend } from '../../src/core/vocabulary.ts';
import { AgentLab, skipUnlessRoot, until } from '../support/agent-lab.ts';

/** Between them every backend and wiring. */
const VARIANTS: readonly (readonly [Backend, Wiring])[] = [
  ['iptables-nft', 'bridge'],
  ['iptables-legacy', 'routed'],
];
const SERVER = { podSelector: { matchLabels: { app: 'server' } } };
const FROM_FRIENDS = { ...SERVER, ingress: [{ from: [{ podSelector: { matchLabels: { app: 'friend' } } }] }] };
/** What is there on a node on which no pod is isolated. */
const EMPTY = ['EG', 'EGR', 'FWD', 'FWD-RECHECK', 'IN', 'INP', 'INP-RECHECK', 'INR', 'RPL'].map(
  (name) => `:PCL-${name} -`,
);

for (const [backend, wiring] of VARIANTS) {
  describe(`pods and their node: ${backend}, ${wiring}`, function () {
    this.timeout(60_000);
    let t: AgentLab;

    before(async function () {
      skipUnlessRoot.call(this);
      t = await AgentLab.create({ backend, wiring, nodes: ['node-1', 'node-2'] });
      await t.pods({
        'x/server': { labels: { app: 'server' } },
        'x/a': { labels: { app: 'a' } },
        'x/far': { node: 'node-2', labels: { app: 'far' } },
        'x/host': { hostNetwork: true, labels: { app: 'server' } },
      });
      await Promise.all([t.start('node-1'), t.start('node-2')]);
    });
    after(() => t?.close());

    afterEach(async () => {
      for (const { metadata } of t.lab.store.list('networkpolicies')) t.deletePolicy(`x/${metadata.name}`);
      await t.expect(['x/a -> x/server', 'x/server -> x/a', 'x/far -> x/server']);
    });

    function addressesOf(pod: string): readonly string[] {
      return [t.address(pod, 4), t.address(pod, 6)];
    }

    for (const restarted of [false, true]) {
      it(`an address is used again by a pod of another kind${restarted ? ', the agent being away meanwhile' : ''}`, async () => {
        t.policy('x/p', FROM_FRIENDS);
        await t.pods({ 'x/friend': { labels: { app: 'friend' } }, 'x/server2': { labels: { app: 'server' } } });
        await t.expect(['x/friend -> x/server', 'x/friend -> x/server2', 'x/a -x x/server', 'x/a -x x/server2']);
        const [friend, server2] = [addressesOf('x/friend'), addressesOf('x/server2')];
        if (restarted) await t.agents.get('node-1')!.end('SIGKILL');
        t.deletePod('x/friend');
        t.deletePod('x/server2');
        await t.lab.settle();
        await t.pods({
          'x/new': { labels: { app: 'new' }, addresses: friend },
          'x/open': { labels: { app: 'open' }, addresses: server2 },
        });
        assert.deepEqual([addressesOf('x/new'), addressesOf('x/open')], [friend, server2]);
        if (restarted) await t.start('node-1');
        await t.expect(['x/new -x x/server', 'x/a -> x/new', 'x/a -> x/open', 'x/new -> x/open', 'x/far -> x/open']);
        t.deletePod('x/new');
        t.deletePod('x/open');
        await t.lab.settle();
      });
    }

    it('a pod comes back with other addresses', async () => {
      t.policy('x/p', FROM_FRIENDS);
      await t.pods({ 'x/friend': { labels: { app: 'friend' } } });
      await t.expect(['x/friend -> x/server', 'x/a -x x/server']);
      const wanted = addressesOf('x/friend').map((address) => address.replace(/[0-9a-f]+$/, '77'));
      const annotations = { [ADDRESSES_ANNOTATION]: wanted.join(',') };
      t.lab.store.patch('pods', { namespace: 'x', name: 'friend' }, 'merge', { metadata: { annotations } });
      await until(() => t.address('x/friend') === wanted[0], 'the pod has moved');
      await t.lab.settle();
      await t.expect(['x/friend -> x/server', 'x/a -x x/server']);
      const sets = await t.ipset('save');
      assert.ok(sets.includes(` ${wanted[0]}`) && sets.includes(` ${wanted[1]}`), sets);
      t.deletePod('x/friend');
      await t.lab.settle();
    });

    // Making them takes longer than all the rest, and the wiring is nothing to them.
    const onlyOnce = wiring === 'routed' ? it : (): void => {};
    onlyOnce('fifty pods come and go: nothing of theirs is left', async () => {
      t.policy('x/p', FROM_FRIENDS);
      t.policy('x/groups', {
        podSelector: { matchExpressions: [{ key: 'group', operator: 'Exists' }] },
        policyTypes: ['Ingress', 'Egress'],
        ingress: [{ from: [{ podSelector: { matchLabels: { group: '1' } } }], ports: [{ port: 80 }] }],
        egress: [
          {
            to: [
              { ipBlock: { cidr: '203.0.113.0/24', except: ['203.0.113.128/25'] } },
              { ipBlock: { cidr: '2001:db8::/32' } },
            ],
          },
        ],
      });
      const pods = Array.from({ length: 50 }, (_, index) => `x/churn-${index}`);
      for (const [index, pod] of pods.entries())
        t.createPod(pod, { labels: { app: index % 3 === 0 ? 'server' : 'friend', group: `${index % 4}` } });
      await t.lab.settle();
      await t.expect(['x/churn-1 -x x/server', 'x/churn-1 -x x/churn-2', 'x/a -x x/churn-3', 'x/churn-1 -> world']);
      for (const pod of pods) t.deletePod(pod);
      await t.lab.settle();
      t.deletePolicy('x/p');
      t.deletePolicy('x/groups');
      // The sign that addresses were released stays until the next epoch (dataplane/iptables/plan/released.ts), and is empty.
      const isLeft = (line: string): boolean => /^:PCL-|^(create|add) PCL(?![46]-released hash:ip )/.test(line);
      let left: string[] = [];
      await until(
        async () => {
          left = (await t.leftovers()).filter(isLeft);
          return [...new Set(left)].sort().join() === EMPTY.join();
        },
        () => left.join('\n'),
      );
    });

    it('egress denied: neither the own node nor its host-network pods are reached; the node reaches the pod', async () => {
      t.policy('x/p', { ...SERVER, policyTypes: ['Egress'] });
      await t.expect(['x/server -x node-1', 'x/server -x x/host', 'x/server -x node-2', 'x/server -x world']);
      assert.deepEqual(await t.wrong(['x/server -x node-1', 'x/server -x x/a'], ['ICMP']), []);
      await t.expect([
        'node-1 -> x/server',
        'x/host -> x/server',
        'node-2 -> x/server',
        'x/a -> node-1',
        'x/host -> x/a',
      ]);
      t.policy('x/p', { ...SERVER, policyTypes: ['Ingress', 'Egress'] });
      await t.expect(['node-1 -> x/server', 'x/host -> x/server', 'node-2 -x x/server', 'x/a -x x/server']);
      await t.expect(['x/a -> x/host', 'x/far -> x/host'], 2000);
    });

    it('IPv6 neighbours find each other, whatever is denied', async () => {
      t.policy('x/p', { ...SERVER, policyTypes: ['Ingress', 'Egress'] });
      await t.expect(['x/a -x x/server', 'x/server -x node-1']);
      for (let turn = 0; turn < 2; turn++) {
        await t.inside('x/server', ['ip', '-6', 'neigh', 'flush', 'all']);
        await t.on('node-1', ['ip', '-6', 'neigh', 'flush', 'all']);
        assert.deepEqual(await t.wrongIn(6, ['node-1 -> x/server']), []);
      }
      t.policy('x/p', {
        ...FROM_FRIENDS,
        policyTypes: ['Ingress', 'Egress'],
        ingress: [{ from: [{ podSelector: {} }] }],
      });
      await t.expect(['x/a -> x/server']);
      await t.inside('x/server', ['ip', '-6', 'neigh', 'flush', 'all']);
      await t.inside('x/a', ['ip', '-6', 'neigh', 'flush', 'all']);
      await t.on('node-1', ['ip', '-6', 'neigh', 'flush', 'all']);
      assert.deepEqual(await t.wrongIn(6, ['x/a -> x/server']), []);
    });

    it('what is wrong with an allowed flow is told: port unreachable, packet too big', async () => {
      // Neither side may begin anything, so that only errors of allowed flows can pass.
      t.policy('x/p', {
        podSelector: { matchLabels: { app: 'server' } },
        policyTypes: ['Ingress', 'Egress'],
        ingress: [{ from: [{ podSelector: { matchLabels: { app: 'far' } } }] }],
      });
      t.policy('x/q', { podSelector: { matchLabels: { app: 'far' } }, policyTypes: ['Ingress'] });
      await t.expect(['x/a -x x/server', 'x/server -x x/far', 'x/far -> x/server']);
      const closed = await t.lab.network.probeMatrix(
        [4, 6].flatMap((family) =>
          ['x/far', 'x/a'].map((from) => ({
            from: t.endpoint(from),
            address: t.address('x/server', family as 4 | 6),
            protocol: 'UDP' as const,
            port: 999,
            timeoutMs: 300,
          })),
        ),
      );
      assert.deepEqual(
        closed.map(({ outcome }) => outcome),
        ['refused', 'blocked', 'refused', 'blocked'],
      );
      const pod = t.lab.network.pods().find(({ key }) => key === 'pod/x/server')!;
      await t.on('node-1', ['ip', 'link', 'set', pod.hostInterface!, 'mtu', '1300']);
      if (wiring === 'bridge') await t.on('node-1', ['ip', 'link', 'set', 'cni0', 'mtu', '1300']);
      for (const family of [4, 6] as const)
        assert.equal(await pathMtu(t, 'x/far', t.address('x/server', family)), 1300);
      await t.on('node-1', ['ip', 'link', 'set', pod.hostInterface!, 'mtu', '1500']);
    });
  });
}

/** What the kernel of `from` has learned about the path, after a datagram too large for it. */
async function pathMtu(t: AgentLab, from: string, address: string): Promise<number> {
  // IP_MTU_DISCOVER 10, IP_MTU 14; IPV6_MTU_DISCOVER 23, IPV6_MTU 24; 2 sets "do not fragment".
  const script =
    'use IO::Socket::IP; my $socket = IO::Socket::IP->new(PeerHost => $ARGV[0], PeerPort => 80, Proto => "udp") or die;' +
    'my ($level, $discover, $mtu) = $ARGV[0] =~ /:/ ? (41, 23, 24) : (0, 10, 14);' +
    'setsockopt $socket, $level, $discover, pack("i", 2) or die; syswrite $socket, "x" x 1400;' +
    'select undef, undef, undef, 0.2; print unpack "i", getsockopt($socket, $level, $mtu);';
  return Number(await t.inside(from, ['perl', '-e', script, address]));
}

describe('fault: two pods show one address', function () {
  this.timeout(40_000);
  let t: AgentLab;

  before(async function () {
    skipUnlessRoot.call(this);
    t = await AgentLab.create({ backend: 'iptables-nft', families: [4] });
    await t.pods({ 'x/ledger': { labels: { app: 'ledger' } } });
    await t.pods({ 'x/kiosk': { labels: { app: 'kiosk' } }, 'x/client': { labels: { app: 'client' } } });
    t.policy('x/deny', { podSelector: { matchLabels: { app: 'ledger' } }, policyTypes: ['Ingress'] });
    await t.start();
  });
  after(() => t?.close());

  function show(name: string, address: string | null, changedAt: string): void {
    const conditions = [{ type: 'Ready', status: 'True', lastTransitionTime: changedAt }];
    const podIPs = address === null ? null : [{ ip: address }];
    t.lab.store.setStatus('pods', { namespace: 'x', name }, { phase: 'Running', podIP: address, podIPs, conditions });
  }

  it('the one that showed it last has it, also for an agent that knows the list only; in a tie both do (S-73)', async () => {
    const [own, shared] = [t.address('x/ledger'), t.address('x/kiosk')];
    await t.expect(['x/client -> x/kiosk', 'x/client -x x/ledger']);
    // The older object, and the older conditions: it is the event that tells.
    show('ledger', shared, '2026-11-01T10:00:00Z');
    await t.expect(['x/client -x x/kiosk']);
    show('kiosk', null, '2026-11-01T10:00:00Z');
    show('kiosk', shared, '2026-11-01T10:00:05Z');
    await t.expect(['x/client -> x/kiosk']);
    await t.agents.get('node-1')!.end('SIGKILL');
    show('ledger', shared, '2026-11-01T10:00:09Z');
    await t.start();
    await t.expect(['x/client -x x/kiosk']);
    await t.agents.get('node-1')!.end('SIGKILL');
    show('kiosk', shared, '2026-11-01T10:00:09Z');
    const agent = await t.start();
    await t.expect(['x/client -x x/kiosk']);
    const line = await agent.logged(({ message }) => message.includes('x/kiosk and x/ledger'), 'who shows the address');
    assert.ok(line.message.includes(shared), line.message);
    show('ledger', own, '2026-11-01T10:00:10Z');
    await t.expect(['x/client -> x/kiosk', 'x/client -x x/ledger']);
  });
});

describe('pods on a bridge whose packets nobody filters', function () {
  this.timeout(30_000);
  before(skipUnlessRoot);

  it('readiness and log say so; it is seen when it is repaired', async () => {
    const t = await AgentLab.create({ wiring: 'bridge' });
    try {
      await t.pods({ 'x/server': {}, 'x/a': {} });
      t.policy('x/deny', { podSelector: { matchLabels: { pod: 'server' } }, policyTypes: ['Ingress'] });
      const set = async (value: string): Promise<void> => {
        for (const name of ['bridge-nf-call-iptables', 'bridge-nf-call-ip6tables'])
          await t.on('node-1', ['sysctl', '-q', '-w', `net.bridge.${name}=${value}`]);
      };
      await set('0');
      const agent = t.launch();
      const line = await agent.logged(({ message }) => /cni0/.test(message), 'bridge', 0, 8000);
      assert.equal(line.level, 'error');
      assert.match(
        line.message,
        /NOT enforced: set net\.bridge\.bridge-nf-call-iptables=1 and net\.bridge\.bridge-nf-call-ip6tables=1/,
      );
      const missingNow = async (): Promise<string> => Object.keys((await agent.readiness()).missing).join(' ');
      await until(
        async () => (await missingNow()) === 'bridge-netfilter',
        'the first sync, and a look at all else',
        5000,
      );
      const { status, missing } = await agent.readiness();
      assert.equal(status, 503);
      assert.equal(missing['bridge-netfilter'], line.message);
      await t.expect(['x/a -> x/server']);
      await set('1');
      await t.expect(['x/a -x x/server']);
      await agent.ready(3000);
      await sleep(100);
      assert.equal(agent.log.filter(({ level }) => level === 'error').length, 1);
    } finally {
      await t.close();
    }
  });
});
