import assert from 'node:assert/strict';
import { CommandFailed, type CommandRequest, type RunCommand } from '../../src/host/command.ts';
import { findInterfaces, type HostFacts, type KnownPort } from '../../src/host/pod-interfaces.ts';
import { askNeighbours, readHostFacts } from '../../src/host/read-interfaces.ts';

type Answers = Readonly<Record<string, unknown>>;

const BRIDGE: Answers = {
  'ip -j -d link show': [
    { ifindex: 1, ifname: 'lo' },
    { ifindex: 2, ifname: 'eth0' },
    { ifindex: 3, ifname: 'cni0', linkinfo: { info_kind: 'bridge' } },
    { ifindex: 4, ifname: 'vetha', master: 'cni0', link_netnsid: 0 },
    { ifindex: 5, ifname: 'vethb', master: 'cni0', link_netnsid: 1 },
  ],
  'ip -4 -j route show table all': [
    { dst: 'default', gateway: '192.0.2.1', dev: 'eth0' },
    { dst: '10.1.0.0/24', dev: 'cni0', scope: 'link' },
    { type: 'broadcast', dst: '10.1.0.255', dev: 'cni0', table: 'local' },
  ],
  'ip -6 -j route show table all': [{ dst: 'fd00:1::/64', dev: 'cni0' }],
  'ip -j neigh show': [
    { dst: '10.1.0.2', dev: 'cni0', lladdr: '02:00:00:00:00:0a', state: ['STALE'] },
    { dst: '10.1.0.9', dev: 'cni0', state: ['FAILED'] },
    { dst: '10.1.0.3', dev: 'eth0', lladdr: '02:00:00:00:00:0b', state: ['REACHABLE'] },
  ],
  'bridge -j fdb show': [
    { mac: '02:00:00:00:00:0a', ifname: 'vetha', master: 'cni0', state: '' },
    { mac: '02:00:00:00:00:0b', ifname: 'vethb', master: 'cni0', state: '' },
    { mac: '02:00:00:00:00:0a', ifname: 'vethb', master: 'cni0', state: 'permanent' },
  ],
};

const ROUTED: Answers = {
  'ip -j -d link show': [
    { ifindex: 2, ifname: 'eth0' },
    { ifindex: 4, ifname: 'eni1', link_netns: 'cni-1' },
    { ifindex: 5, ifname: 'veth1', link_netns: 'cni-1' },
    { ifindex: 6, ifname: 'vlan.eth.7' },
    { ifindex: 7, ifname: 'vlanx', link_netnsid: 3 },
    { ifindex: 8, ifname: 'veth2', link_netnsid: 9 },
  ],
  'ip -4 -j route show table all': [
    { dst: '10.1.0.9', dev: 'vlanx', table: '107', scope: 'link' },
    { dst: '10.1.0.8', dev: 'vlan.eth.7', table: '107', scope: 'link' },
    { dst: '169.254.172.2', dev: 'veth1', scope: 'host' },
  ],
  'ip -6 -j route show table all': [{ dst: '2001:db8:0::1', dev: 'eni1', metric: 1024 }],
};

/** `refused`: these fail, by themselves or in a shell. */
function answering(answers: Answers, asked: CommandRequest[] = [], refused: readonly string[] = []): RunCommand {
  const print = (text: string): string => (text in answers ? `${JSON.stringify(answers[text])}\n` : '');
  return async (request) => {
    asked.push(request);
    const [program, , script] = request.argv;
    const commands = program === 'sh' ? script!.split(' && echo @@ && ') : [request.argv.join(' ')];
    const failed = [program!, ...commands].find((each) => refused.includes(each));
    if (failed !== undefined) throw new CommandFailed(request, 'exit', 1, `${failed} is refused`);
    return { stdout: commands.map(print).join('@@\n'), stderr: '', durationMs: 1 };
  };
}

async function find(
  answers: Answers | HostFacts,
  pods: Record<string, string>,
  known: ReadonlyMap<string, KnownPort> = new Map(),
) {
  const facts = 'links' in answers ? (answers as HostFacts) : await readHostFacts(answering(answers));
  const localAddresses = new Map(Object.entries(pods));
  return findInterfaces({ facts, localAddresses, prefixes: ['eni', 'vlan', 'veth'], trunkPrefix: 'vlan.eth.', known });
}

describe("kernel: which interface is which pod's", () => {
  it('on a bridge by neighbour and port; who is not known is asked for', async () => {
    const found = await find(BRIDGE, { '10.1.0.2': 'x/a', '10.1.0.3': 'x/b', 'fd00:1::3': 'x/b', '10.9.0.1': 'x/c' });
    assert.deepEqual(found.interfaces.pods, [{ name: 'vetha', via: 'bridge', pod: 'x/a' }]);
    assert.deepEqual(found.unknown, [
      { address: '10.1.0.3', pod: 'x/b', bridge: 'cni0' },
      { address: 'fd00:1::3', pod: 'x/b', bridge: 'cni0' },
      { address: '10.9.0.1', pod: 'x/c' },
    ]);
    assert.deepEqual(found.nobodys, ['vethb']);
  });

  it("routed by the route to the address alone, in any table; a trunk is nobody's", async () => {
    const found = await find(ROUTED, { '2001:db8::1': 'x/a', '10.1.0.9': 'x/s', '10.1.0.8': 'x/t' });
    assert.deepEqual(found.interfaces.pods, [
      { name: 'eni1', via: 'route', pod: 'x/a' },
      { name: 'veth1', via: 'second', pod: 'x/a' },
      { name: 'vlanx', via: 'route', pod: 'x/s' },
    ]);
    assert.deepEqual(found.nobodys, ['veth2']);
    assert.deepEqual(found.unknown, [{ address: '10.1.0.8', pod: 'x/t' }]);
  });

  it('what was found on a bridge stays while the interface and the pod are there, whatever a neighbour claims', async () => {
    const pods = { '10.1.0.2': 'x/a', '10.1.0.3': 'x/b' };
    const { ports } = await find(BRIDGE, pods);
    const aged = { ...BRIDGE, 'ip -j neigh show': [], 'bridge -j fdb show': [] };
    assert.deepEqual((await find(aged, pods, ports)).interfaces.pods, [{ name: 'vetha', via: 'bridge', pod: 'x/a' }]);
    const forged = {
      ...BRIDGE,
      'ip -j neigh show': [{ dst: '10.1.0.2', dev: 'cni0', lladdr: '02:00:00:00:00:0b', state: ['STALE'] }],
    };
    assert.deepEqual((await find(forged, pods, ports)).interfaces.pods, [{ name: 'vetha', via: 'bridge', pod: 'x/a' }]);
    assert.deepEqual((await find(aged, { '10.1.0.3': 'x/b' }, ports)).interfaces.pods, [], 'the pod is gone');
    const other = JSON.parse(JSON.stringify(aged).replace('"ifindex":4', '"ifindex":14')) as Answers;
    assert.deepEqual((await find(other, pods, ports)).interfaces.pods, [], 'another interface of this name');
  });

  it('an answer that is none is an error', async () => {
    await assert.rejects(
      readHostFacts(answering({ ...BRIDGE, 'ip -j -d link show': { error: 1 } })),
      /printed no list/,
    );
  });

  it('what is read together is read by one shell', async () => {
    const asked: CommandRequest[] = [];
    await readHostFacts(answering(BRIDGE, asked));
    assert.deepEqual(
      asked.map(({ argv }) => argv[0]),
      ['sh', 'sh'],
    );
  });

  it('fault: there is no shell for what is read together: each is read by itself', async () => {
    const facts = await readHostFacts(answering(BRIDGE, [], ['sh']));
    assert.deepEqual(facts, await readHostFacts(answering(BRIDGE)));
    assert.equal(facts.links.length, 5);
    assert.equal(facts.stations.size, 2);
  });

  it('fault: a tool that fails among others is told by its own words', async () => {
    const refused = 'ip -6 -j route show table all';
    await assert.rejects(readHostFacts(answering(BRIDGE, [], [refused])), {
      message: `${refused}: exit code 1: ${refused} is refused`,
    });
  });

  it('asks in one command', async () => {
    const asked: CommandRequest[] = [];
    await askNeighbours(answering({}, asked), [
      { address: '10.1.0.3', bridge: 'cni0' },
      { address: 'fd00:1::3', bridge: 'cni0' },
    ]);
    assert.deepEqual(asked[0]?.argv, ['ip', '-force', '-batch', '-']);
    assert.equal(asked[0]?.stdin, 'neigh replace 10.1.0.3 dev cni0 use\nneigh replace fd00:1::3 dev cni0 use\n');
  });
});
