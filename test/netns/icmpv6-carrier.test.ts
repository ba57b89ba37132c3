/** Neighbour discovery is let through for isolated pods; data dressed up as such is not (S-58). */
import assert from 'node:assert/strict';
import type { Wiring } from '../../lab/network/types.ts';
import type { Backend } from '../../src/core/vocabulary.ts';
import { AgentLab, skipUnlessRoot } from '../support/agent-lab.ts';
import { Arrivals, type CraftedIcmp, icmpMatch, sendIcmp } from '../support/crafted-packets.ts';

const VARIANTS: readonly (readonly [Backend, Wiring])[] = [
  ['iptables-nft', 'bridge'],
  ['iptables-legacy', 'routed'],
];
const NEIGHBOURS = [133, 134, 135, 136, 137];
const LISTENERS = [130, 131, 132, 143];

for (const [backend, wiring] of VARIANTS) {
  describe(`fault: ICMPv6 carrier: data as neighbour discovery, ${backend}, ${wiring}`, function () {
    this.timeout(60_000);
    let t: AgentLab;

    before(async function () {
      skipUnlessRoot.call(this);
      t = await AgentLab.create({ backend, wiring, families: [6] });
      await t.pods({ 'x/server': { labels: { app: 'server' } }, 'x/a': { labels: { app: 'a' } } });
      await t.start();
      t.policy('x/p', { podSelector: { matchLabels: { app: 'server' } }, policyTypes: ['Ingress', 'Egress'] });
      await t.expect(['x/a -x x/server', 'x/server -x x/a', 'x/server -x world', 'x/server -x node-1']);
    });
    after(() => t?.close());

    type Message = Pick<CraftedIcmp, 'type' | 'hopLimit' | 'routerAlert'>;

    async function arrived(from: string, to: string, messages: readonly Message[]): Promise<readonly string[]> {
      const [source, destination] = [t.address(from, 6), t.address(to, 6)];
      const matches = messages.map(({ type, routerAlert }) => icmpMatch(type, routerAlert));
      const arrivals = await Arrivals.at(t, to, 6, ...matches);
      for (const message of messages) await sendIcmp(t, from, { source, destination, ...message });
      const counts = await arrivals.counts();
      return messages.flatMap(({ type, hopLimit }, index) => (counts[index]! > 0 ? [`${type} at ${hopLimit}`] : []));
    }

    const far = [...NEIGHBOURS, ...LISTENERS].map((type) => ({ type, hopLimit: 64 }));
    /** The most that a sender can claim, and what has hop limit 1 in FORWARD because it was routed. */
    const nearly = [
      ...NEIGHBOURS.map((type) => ({ type, hopLimit: 255 })),
      { type: 143, hopLimit: 2 },
      { type: 130, hopLimit: 2, routerAlert: true },
    ];

    it('nothing is routed out of the pod, or into it', async () => {
      for (const messages of [far, nearly]) {
        assert.deepEqual(await arrived('x/server', 'world', messages), []);
        assert.deepEqual(await arrived('world', 'x/server', messages), []);
        assert.ok((await arrived('x/a', 'world', messages)).length > 0, 'what arrives from an open pod');
      }
    });

    it('between pods of a node only what neighbours say to each other', async () => {
      for (const [from, to] of [['x/server', 'x/a'] as const, ['x/a', 'x/server'] as const]) {
        assert.deepEqual(await arrived(from, to, far), []);
        // conntrack finds a redirect INVALID, and kube-proxy drops what is.
        const real = wiring === 'bridge' ? [133, 134, 135, 136].map((type) => `${type} at 255`) : [];
        assert.deepEqual(await arrived(from, to, nearly), real);
      }
    });

    it('the pod and its node find each other, and it joins multicast groups', async () => {
      for (let turn = 0; turn < 2; turn++) {
        await t.inside('x/server', ['ip', '-6', 'neigh', 'flush', 'all']);
        await t.on('node-1', ['ip', '-6', 'neigh', 'flush', 'all']);
        await t.expect(['node-1 -> x/server', 'x/server -x node-1']);
      }
      const linkLocal = /inet6 (fe80:\S+)\//.exec(
        await t.inside('x/server', ['ip', '-6', 'addr', 'show', 'dev', 'eth0']),
      )![1]!;
      const before = await dropped();
      const report = { source: linkLocal, destination: 'ff02::16', type: 143, hopLimit: 1 };
      await sendIcmp(t, 'x/server', report);
      await sendIcmp(t, 'x/server', { ...report, routerAlert: true });
      assert.equal(await dropped(), before);
    });

    async function dropped(): Promise<number> {
      const rules = (await t.iptables(6, '-vnxL')).split('\n').filter((line) => / DROP /.test(line));
      return rules.reduce((sum, line) => sum + Number(line.trim().split(/\s+/)[0]), 0);
    }
  });
}
