/** A pod's second interface (S-56), as VPC CNI gives IPv6 pods one for IPv4: no API object lists what it sends from. */
import assert from 'node:assert/strict';
import { AgentLab, skipUnlessRoot, until } from '../support/agent-lab.ts';
import { Arrivals, sendDatagram } from '../support/crafted-packets.ts';

describe("fault: second interface: what it sends is the pod's", function () {
  this.timeout(60_000);
  let t: AgentLab;

  before(async function () {
    skipUnlessRoot.call(this);
    t = await AgentLab.create({ families: [4, 6] });
    await t.pods({ 'x/server': { labels: { app: 'server' } }, 'x/a': { labels: { app: 'a' } } });
    await attach('x/server', 2);
    await attach('x/a', 3);
    await t.start();
  });
  after(() => t?.close());

  /** Of the pod's own making. In IPv6, where no reverse path filter finds it odd. */
  function own(number: number): string {
    return `fd77::${number}`;
  }

  /** What egress-cni does, and an address of its own on the first interface besides. */
  async function attach(pod: string, number: number): Promise<void> {
    const [node] = t.lab.network.nodes();
    const name = `veth9${number}`;
    await t.inside(pod, ['ip', 'link', 'add', 'v4if0', 'type', 'veth', 'peer', 'name', name, 'netns', node!.netns]);
    await t.inside(pod, ['ip', 'address', 'add', `169.254.172.${number}/22`, 'dev', 'v4if0']);
    await t.inside(pod, ['ip', 'address', 'add', own(number), 'dev', 'eth0', 'nodad']);
    await t.inside(pod, ['ip', 'link', 'set', 'v4if0', 'up']);
    await t.on('node-1', ['ip', 'address', 'add', '169.254.172.1/32', 'dev', name]);
    await t.on('node-1', ['ip', 'link', 'set', name, 'up']);
    await t.on('node-1', ['ip', 'route', 'add', `169.254.172.${number}/32`, 'dev', name]);
    const world = `${t.address('world')}/32`;
    await t.inside(pod, ['ip', 'route', 'add', world, 'via', '169.254.172.1', 'dev', 'v4if0', 'onlink', 'metric', '9']);
  }

  /** How many datagrams reach the world: sent by the first interface from an address of the pod's own making, and by the second. */
  async function leaving(pod: string, number: number): Promise<readonly number[]> {
    const six = await Arrivals.at(t, 'world', 6, `-s ${own(number)}`);
    const four = await Arrivals.at(t, 'world', 4, `-s 169.254.172.${number}`);
    await sendDatagram(t, pod, { destination: t.address('world', 6), port: 9, source: own(number) });
    const source = `169.254.172.${number}`;
    await sendDatagram(t, pod, { destination: t.address('world'), port: 9, source, device: 'v4if0' });
    return [...(await six.counts()), ...(await four.counts())];
  }

  it('an open pod sends by both, an isolated one by neither', async () => {
    assert.deepEqual(await leaving('x/server', 2), [1, 1]);
    t.policy('x/p', { podSelector: { matchLabels: { app: 'server' } }, policyTypes: ['Egress'] });
    await t.expect(['x/server -x x/a', 'x/a -> x/server']);
    await until(async () => (await t.iptables(4, '-S')).includes('-i veth92'), 'the second interface is guarded');
    assert.deepEqual(await leaving('x/server', 2), [0, 0]);
    assert.deepEqual(await leaving('x/a', 3), [1, 1]);
  });
});
