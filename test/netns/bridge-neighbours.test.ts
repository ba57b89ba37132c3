/** Pods of one bridge, and the addresses that no API object lists (S-56): link-local, broadcast, multicast, and what a pod gives itself. */
import assert from 'node:assert/strict';
import type { Family } from '../../src/core/vocabulary.ts';
import { AgentLab, ENGINES, enforcedBy, skipUnlessRoot, until } from '../support/agent-lab.ts';
import { Arrivals, sendDatagram } from '../support/crafted-packets.ts';

const PORT = 9999;

interface Way {
  readonly name: string;
  readonly family: Family;
  readonly source?: string;
  readonly destination: string;
}

for (const engine of ENGINES) {
  describe(`fault: bridge neighbours at addresses that nobody lists, ${engine}`, function () {
    this.timeout(90_000);
    let t: AgentLab;
    let toServer: readonly Way[];
    let toClient: readonly Way[];

    before(async function () {
      skipUnlessRoot.call(this);
      t = await AgentLab.create({ ...enforcedBy(engine), wiring: 'bridge' });
      await t.pods({ 'x/server': { labels: { app: 'server' } }, 'x/client': { labels: { app: 'client' } } });
      for (const [pod, number] of [['x/server', '201'] as const, ['x/client', '202'] as const]) {
        for (const address of [own(pod, number), `169.254.7.${number}/16`])
          await t.inside(pod, ['ip', 'address', 'add', address, 'brd', '+', 'dev', 'eth0']);
      }
      await t.start();
      await interfacesKnown();
      toServer = await waysTo('x/server', '201', 'x/client', '202');
      toClient = await waysTo('x/client', '202', 'x/server', '201');
    });
    after(() => t?.close());

    /** An address that the pod takes on its own, in the bridge's network. */
    function own(pod: string, number: string): string {
      return `${t.address(pod).replace(/\d+$/, number)}/24`;
    }

    async function interfacesKnown(): Promise<void> {
      await until(
        async () => (await t.agents.get('node-1')!.get('/readyz')).body.includes('interfaces of all pods are known'),
        'the interfaces of all pods are known',
        15_000,
      );
    }

    async function linkLocal(pod: string): Promise<string> {
      return /inet6 (fe80:\S+)\//.exec(await t.inside(pod, ['ip', '-6', 'address', 'show', 'dev', 'eth0']))![1]!;
    }

    async function waysTo(to: string, number: string, from: string, fromNumber: string): Promise<readonly Way[]> {
      const bare = (text: string): string => text.split('/')[0]!;
      return [
        { name: 'fe80 to fe80', family: 6, destination: await linkLocal(to) },
        { name: 'all nodes', family: 6, destination: 'ff02::1' },
        { name: 'an IPv6 group', family: 6, destination: 'ff05::1234' },
        { name: '169.254 to 169.254', family: 4, destination: `169.254.7.${number}` },
        { name: 'limited broadcast', family: 4, destination: '255.255.255.255' },
        { name: 'broadcast of the network', family: 4, destination: bare(own(to, '255')) },
        { name: 'mDNS', family: 4, destination: '224.0.0.251' },
        { name: 'a group', family: 4, destination: '239.1.2.3' },
        { name: 'from an own address', family: 4, destination: t.address(to), source: bare(own(from, fromNumber)) },
        { name: 'to an own address', family: 4, destination: bare(own(to, number)) },
        {
          name: 'between own addresses',
          family: 4,
          destination: bare(own(to, number)),
          source: bare(own(from, fromNumber)),
        },
      ];
    }

    /** Names of the ways on which a datagram arrives. */
    async function arriving(from: string, to: string, ways: readonly Way[]): Promise<readonly string[]> {
      const portOf = (way: Way): number => PORT + ways.indexOf(way);
      const found = new Set<string>();
      for (const family of [4, 6] as const) {
        const own = ways.filter((way) => way.family === family);
        const arrivals = await Arrivals.at(t, to, family, ...own.map((way) => `-p udp --dport ${portOf(way)}`));
        for (const way of own) await sendDatagram(t, from, { ...way, port: portOf(way) });
        const counts = await arrivals.counts();
        for (const [index, { name }] of own.entries()) if (counts[index]! > 0) found.add(name);
      }
      return ways.flatMap(({ name }) => (found.has(name) ? [name] : []));
    }

    async function expectWays(to: 'x/server' | 'x/client', expected: 'all' | 'none'): Promise<void> {
      const [from, ways] = to === 'x/server' ? (['x/client', toServer] as const) : (['x/server', toClient] as const);
      const wanted = expected === 'all' ? ways.map(({ name }) => name) : [];
      assert.deepEqual(await arriving(from, to, ways), wanted, `${from} to ${to}`);
    }

    const server = { podSelector: { matchLabels: { app: 'server' } } };

    it('pods that no policy selects reach each other by all of them', async () => {
      // Once for the neighbours to find each other.
      await arriving('x/client', 'x/server', toServer);
      await expectWays('x/server', 'all');
    });

    it('none reaches a pod isolated for ingress; what it sends leaves', async () => {
      t.policy('x/p', { ...server, policyTypes: ['Ingress'] });
      await t.expect(['x/client -x x/server', 'x/server -> x/client']);
      await expectWays('x/server', 'none');
      await expectWays('x/client', 'all');
    });

    it('none leaves a pod isolated for egress, to a neighbour or to the node; what is sent to it arrives', async () => {
      t.policy('x/p', { ...server, policyTypes: ['Egress'] });
      await t.expect(['x/client -> x/server', 'x/server -x x/client', 'x/server -x node-1']);
      await expectWays('x/client', 'none');
      await expectWays('x/server', 'all');
      // A chain begins at 0 when it takes the place of the one that was put above it.
      await t.restingText();
      const before = await dropped();
      const [gateway] = /fe80:\S+(?=\/)/.exec(await t.on('node-1', ['ip', '-6', 'address', 'show', 'dev', 'cni0']))!;
      await sendDatagram(t, 'x/server', { destination: gateway, port: PORT });
      await sendDatagram(t, 'x/server', {
        destination: '203.0.113.1',
        port: PORT,
        source: own('x/server', '201').split('/')[0]!,
      });
      assert.deepEqual(
        (await dropped()).map((count, index) => count - before[index]!),
        [1, 1],
      );
    });

    it('a rule that allows everything allows them', async () => {
      t.policy('x/p', { ...server, policyTypes: ['Ingress', 'Egress'], ingress: [{}], egress: [{}] });
      await t.expect(['x/client -> x/server', 'x/server -> x/client']);
      await expectWays('x/server', 'all');
      await expectWays('x/client', 'all');
    });

    it('a live flow between link-local addresses stops when it is denied, in both directions', async () => {
      const flow = await t.flow('x/client', 'x/server', { address: '169.254.7.201' });
      await until(async () => (await flow.status()).received > 3, 'the flow runs');
      t.policy('x/p', { ...server, policyTypes: ['Ingress'] });
      await until(async () => (await flow.status()).silentMs > 800, 'the flow is silent');
      t.deletePolicy('x/p');
      await until(async () => (await flow.status()).silentMs < 200, 'the flow goes on', 15_000);
      await flow.close();
    });

    it('an isolated pod asks a DHCP server, and is answered', async () => {
      t.policy('x/p', { ...server, policyTypes: ['Ingress', 'Egress'] });
      await t.expect(['x/client -x x/server', 'x/server -x x/client']);
      const broadcast = '255.255.255.255';
      const asked = await Arrivals.at(t, 'x/client', 4, '-p udp --sport 68 --dport 67');
      await sendDatagram(t, 'x/server', { destination: broadcast, port: 67, source: '0.0.0.0', sourcePort: 68 });
      const answered = await Arrivals.at(t, 'x/server', 4, '-p udp --sport 67 --dport 68', '-p udp --dport 67');
      await sendDatagram(t, 'x/client', {
        destination: broadcast,
        port: 68,
        source: t.address('x/client'),
        sourcePort: 67,
      });
      await sendDatagram(t, 'x/client', {
        destination: broadcast,
        port: 67,
        source: t.address('x/client'),
        sourcePort: 67,
      });
      assert.deepEqual([await asked.counts(), await answered.counts()], [[0], [1, 0]]);
    });

    it('a pod that comes is judged as soon as it answers who it is; one that goes leaves nothing', async () => {
      t.policy('x/p', { podSelector: { matchLabels: { app: 'late' } }, policyTypes: ['Ingress'] });
      await t.pods({ 'x/late': { labels: { app: 'late' } } });
      await t.expect(['x/client -x x/late', 'x/client -> x/server']);
      await interfacesKnown();
      await until(isGuarded, 'its port is guarded');
      const ways = (await waysTo('x/late', '203', 'x/client', '202')).slice(0, 2);
      assert.deepEqual(await arriving('x/client', 'x/late', ways), []);
      t.deletePod('x/late');
      await t.lab.settle();
      await until(async () => !(await isGuarded()), 'no port is guarded');
    });

    async function isGuarded(): Promise<boolean> {
      if (engine === 'nftables')
        return (await t.on('node-1', ['nft', 'list', 'tables'])).includes('table bridge portcullis\n');
      return (await t.iptables(6, '-S')).includes('-N PCL-PI');
    }

    /** By the chain of its family that its egress is judged by. */
    async function droppedFrom(pod: string, family: Family): Promise<number> {
      const map = await t.on('node-1', ['nft', 'list', 'map', 'inet', 'portcullis', `egress${family}`]);
      const [, chain = ''] = map.replace(/\s+/g, ' ').match(`${t.address(pod, family)} : goto (\\S+)`) ?? [];
      const rules = await t.on('node-1', ['nft', 'list', 'chain', 'inet', 'portcullis', chain]);
      return [...rules.matchAll(/counter packets (\d+) bytes \d+ drop/g)].reduce(
        (sum, [, count]) => sum + Number(count),
        0,
      );
    }

    /** By family. */
    async function dropped(): Promise<readonly number[]> {
      const count = async (family: Family): Promise<number> => {
        if (engine === 'nftables') return await droppedFrom('x/server', family);
        const rules = (await t.iptables(family, '-vnxL')).split('\n').filter((line) => / DROP /.test(line));
        return rules.reduce((sum, line) => sum + Number(line.trim().split(/\s+/)[0]), 0);
      };
      return [await count(4), await count(6)];
    }
  });
}
