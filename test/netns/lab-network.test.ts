/** Real packets through a lab without any policy: whatever is blocked here would be blocked by the lab, not by an agent. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { connect, createServer, type Server } from 'node:net';
import { networkInterfaces } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { runCommand, stdinText } from '../../src/host/command.ts';
import { closeLabNetworksSync, LabNetwork } from '../../lab/network/lab-network.ts';
import { labNamespaces, sweep } from '../../lab/network/lab-state.ts';
import {
  type EndpointKey,
  type IptablesBackend,
  type LabPod,
  type LabService,
  type MatrixProbe,
  nodeKey,
  type ProbeProtocol,
  type ProbeResult,
  podKey,
  type Wiring,
} from '../../lab/network/types.ts';

const PROTOCOLS: readonly ProbeProtocol[] = ['TCP', 'UDP', 'SCTP', 'ICMP'];
const TRANSPORTS = ['TCP', 'UDP', 'SCTP'] as const;
const WORLD: EndpointKey = 'outside/world';

process.on('exit', closeLabNetworksSync);

function skipUnlessRoot(this: Mocha.Context): void {
  if (process.getuid?.() !== 0) this.skip();
}

/** Hundreds of probes at once, on a machine that others use as well: what is late must not look dropped. */
const PATIENCE_MS = 1_000;

/** One line per probe that did not end as wanted. */
function surprises(
  probes: readonly MatrixProbe[],
  results: readonly ProbeResult[],
  wanted: readonly string[],
): string[] {
  return results.flatMap((result, i) => {
    const { from, protocol, address, port } = probes[i]!;
    const found = result.outcome === 'reached' ? `reached ${result.server ?? '-'}` : result.outcome;
    const line = `${from} -> ${protocol} ${address}:${port}: ${found}, wanted ${wanted[i]} (${result.detail ?? ''})`;
    return found === wanted[i] ? [] : [line];
  });
}

describe('lab network', function () {
  this.timeout(20_000);
  before(skipUnlessRoot);

  const variants: [Wiring, IptablesBackend][] = [
    ['routed', 'nft'],
    ['bridge', 'legacy'],
  ];
  for (const [wiring, backend] of variants) {
    describe(`wiring ${wiring}, backend ${backend}, two nodes with three pods each, both families`, () => {
      let network: LabNetwork;
      let pods: readonly LabPod[];

      before(async () => {
        network = await LabNetwork.create({
          nodes: [{ name: 'a' }, { name: 'b' }],
          wiring,
          backend,
          families: [4, 6],
          run: runCommand,
        });
        const specs = ['a', 'b'].flatMap((node) =>
          [0, 1, 2].map((i) => ({ namespace: 'x', name: `${node}${i}`, node })),
        );
        pods = await network.addPods(specs);
      });
      after(() => network.close());
      afterEach(() => network.setServices([]));

      const pod = (name: string): LabPod => network.pods().find((found) => found.name === name)!;
      const key = (name: string): EndpointKey => podKey({ namespace: 'x', name });

      const probe = async (
        from: EndpointKey,
        protocol: ProbeProtocol,
        address: string,
        port = 80,
      ): Promise<ProbeResult> => (await network.probeMatrix([{ from, protocol, address, port }]))[0]!;

      async function runOnNode(node: string, ...argv: [string, ...string[]]): Promise<string> {
        const command = network.nodeCommand(node, argv);
        return (await runCommand({ ...command, timeoutMs: 5000 })).stdout;
      }

      const iptables = (node: string, ...args: string[]): Promise<string> =>
        runOnNode(node, `iptables-${backend}`, '-w', '5', ...args);

      /** Every endpoint to every other one's addresses, by every protocol. */
      function everything(): { probes: MatrixProbe[]; wanted: string[] } {
        const endpoints = [...network.pods(), ...network.nodes(), ...network.outsideHosts()];
        const probes: MatrixProbe[] = [];
        const wanted: string[] = [];
        for (const from of endpoints) {
          for (const to of endpoints.filter((other) => other !== from)) {
            for (const address of to.addresses) {
              for (const protocol of PROTOCOLS) {
                probes.push({ from: from.key, protocol, address, port: 80, timeoutMs: PATIENCE_MS });
                wanted.push(`reached ${protocol === 'ICMP' ? '-' : to.key}`);
              }
            }
          }
        }
        return { probes, wanted };
      }

      it('lets everyone reach everyone by TCP, UDP, SCTP and ICMP', async () => {
        const { probes, wanted } = everything();
        assert.equal(probes.length, 9 * 8 * 2 * 4);
        assert.deepEqual(surprises(probes, await network.probeMatrix(probes), wanted), []);
      });

      it('shows one DROP rule on one node as exactly one blocked cell', async () => {
        const { probes, wanted } = everything();
        const [from, to] = [pod('a0'), pod('a1')];
        const rule = [
          'FORWARD',
          '-s',
          from.addresses[0]!,
          '-d',
          to.addresses[0]!,
          '-p',
          'udp',
          '--dport',
          '80',
          '-j',
          'DROP',
        ];
        await iptables('a', '-t', 'mangle', '-I', ...rule);
        const results = await network.probeMatrix(probes);
        await iptables('a', '-t', 'mangle', '-D', ...rule);
        const lines = surprises(probes, results, wanted);
        assert.equal(lines.length, 1, lines.join('\n'));
        assert.match(lines[0]!, /^pod\/x\/a0 -> UDP 10\.244\.0\.\d+:80: blocked/);
      });

      it('tells a closed port from a dropped packet', async () => {
        const outcomes = TRANSPORTS.map(
          async (protocol) => (await probe(key('a0'), protocol, pod('b0').addresses[1]!, 81)).outcome,
        );
        assert.deepEqual(await Promise.all(outcomes), ['refused', 'refused', 'refused']);
        assert.equal((await probe(key('a0'), 'TCP', '10.244.1.250')).outcome, 'blocked');
      });

      it('changes listeners while it runs', async () => {
        await network.setListeners(key('b0'), [{ protocol: 'TCP', port: 8443 }]);
        assert.equal((await probe(key('a0'), 'TCP', pod('b0').addresses[0]!, 8443)).server, key('b0'));
        assert.equal((await probe(key('a0'), 'UDP', pod('b0').addresses[0]!)).outcome, 'refused');
        await network.setListeners(key('b0'), [
          { protocol: 'TCP', port: 80 },
          { protocol: 'UDP', port: 80 },
          { protocol: 'SCTP', port: 80 },
        ]);
      });

      it('sends pods outside with the address of their node for IPv4, their own for IPv6', async () => {
        const world = network.outsideHosts()[0]!;
        const seen = await Promise.all(world.addresses.map((address) => probe(key('b1'), 'TCP', address)));
        const expected = [network.nodes()[1]!.addresses[0], pod('b1').addresses[1]];
        assert.deepEqual(
          seen.map((result) => result.seenAddress),
          expected,
        );
      });

      describe('Services', () => {
        const service = (policy: LabService['externalTrafficPolicy'], targets: readonly string[]): LabService => ({
          key: 'x/web',
          clusterIPs: ['10.96.0.10', 'fd00:10:96::10'],
          externalTrafficPolicy: policy,
          ports: TRANSPORTS.map((protocol) => ({
            protocol,
            port: 8080,
            nodePort: 30080,
            targets: targets.flatMap((name) => pod(name).addresses.map((address) => ({ address, port: 80 }))),
          })),
        });

        it('lead from a ClusterIP to an endpoint, with the client unchanged', async () => {
          await network.setServices([service('Cluster', ['b0'])]);
          const probes = ['10.96.0.10', 'fd00:10:96::10'].flatMap((address) =>
            TRANSPORTS.map((protocol) => ({ from: key('a0'), protocol, address, port: 8080 })),
          );
          const results = await network.probeMatrix(probes);
          assert.deepEqual(
            surprises(
              probes,
              results,
              probes.map(() => 'reached pod/x/b0'),
            ),
            [],
          );
          assert.deepEqual([...new Set(results.map((result) => result.seenAddress))], pod('a0').addresses);
        });

        it('spread over their endpoints', async () => {
          await network.setServices([service('Cluster', ['a1', 'b0', 'b1'])]);
          const probes = Array.from({ length: 60 }, () => ({
            from: key('a0'),
            protocol: 'TCP' as const,
            address: '10.96.0.10',
            port: 8080,
          }));
          const servers = new Set((await network.probeMatrix(probes)).map((result) => result.server));
          assert.deepEqual(servers, new Set([key('a1'), key('b0'), key('b1')]));
        });

        it('bring a pod back to itself', async () => {
          await network.setServices([service('Cluster', ['a0'])]);
          for (const address of ['10.96.0.10', 'fd00:10:96::10']) {
            const result = await probe(key('a0'), 'TCP', address, 8080);
            assert.equal(result.server, key('a0'), result.detail);
            assert.notEqual(result.seenAddress, pod('a0').addresses[address.includes(':') ? 1 : 0]);
          }
        });

        it('take node port traffic on every node, hidden behind the node, with policy Cluster', async () => {
          await network.setServices([service('Cluster', ['b0'])]);
          for (const node of network.nodes()) {
            for (const address of node.addresses) {
              for (const protocol of TRANSPORTS) {
                const result = await probe(WORLD, protocol, address, 30080);
                assert.equal(result.server, key('b0'), `${protocol} ${address}: ${result.outcome}`);
                const v6 = address.includes(':');
                // The bridge has an address of its own, from which a node speaks to its pods.
                const local =
                  node.name === 'b' && wiring === 'bridge' ? (v6 ? 'fd00:10:244:1::1' : '10.244.1.1') : address;
                assert.equal(result.seenAddress, local);
              }
            }
          }
        });

        it('keep the client and use local endpoints only with policy Local', async () => {
          await network.setServices([service('Local', ['b0'])]);
          const world = network.outsideHosts()[0]!;
          for (const [i, address] of network.nodes()[1]!.addresses.entries()) {
            const result = await probe(WORLD, 'TCP', address, 30080);
            assert.equal(result.server, key('b0'));
            assert.equal(result.seenAddress, world.addresses[i]);
          }
          assert.equal((await probe(WORLD, 'TCP', network.nodes()[0]!.addresses[0]!, 30080)).outcome, 'blocked');
        });

        it('refuse without endpoints, and leave nothing behind', async () => {
          await network.setServices([service('Cluster', [])]);
          assert.equal((await probe(key('a0'), 'TCP', '10.96.0.10', 8080)).outcome, 'refused');
          await network.setServices([service('Local', ['a0', 'b0'])]);
          await network.setServices([]);
          assert.doesNotMatch(await runOnNode('a', `iptables-${backend}-save`), /KUBE-(SVC|SEP|SVL|EXT)-/);
        });
      });

      it("shows the nodes' backend by the chains of kubelet and kube-proxy, and the other one none", async () => {
        const other = backend === 'nft' ? 'legacy' : 'nft';
        for (const program of ['iptables', 'ip6tables']) {
          assert.match(await runOnNode('a', `${program}-${backend}-save`, '-t', 'mangle'), /:KUBE-IPTABLES-HINT/);
          assert.doesNotMatch(await runOnNode('a', `${program}-${other}-save`, '-t', 'mangle'), /KUBE-/);
        }
      });

      it('moves an address from one pod to another', async () => {
        const address = pod('a0').addresses[0]!;
        const from = [key('a2'), key('b0'), nodeKey('a'), nodeKey('b')];
        const ask = (): Promise<readonly ProbeResult[]> =>
          network.probeMatrix(from.map((source) => ({ from: source, protocol: 'TCP', address, port: 80 })));
        const before = pod('a0').addresses;
        const other = pod('a1').addresses;
        assert.deepEqual(new Set((await ask()).map((result) => result.server)), new Set([key('a0')]));
        await network.setPodAddresses(pod('a0'), []);
        await assert.rejects(network.setPodAddresses(pod('a2'), [other[0]!]), /held by pod\/x\/a1/);
        await network.setPodAddresses(pod('a1'), before);
        assert.deepEqual(new Set((await ask()).map((result) => result.server)), new Set([key('a1')]));
        await network.setPodAddresses(pod('a0'), other);
        const { probes, wanted } = everything();
        assert.deepEqual(surprises(probes, await network.probeMatrix(probes), wanted), []);
      });

      it('gives the address of a removed pod to the one that asks for it', async () => {
        const spec = { namespace: 'x', name: 'short', node: 'b' };
        const first = await network.addPod({ ...spec, listeners: [{ protocol: 'TCP', port: 9 }] });
        assert.equal((await probe(key('b0'), 'TCP', first.addresses[0]!, 9)).server, key('short'));
        await network.removePod(spec);
        const gone = await probe(key('b0'), 'TCP', first.addresses[0]!, 9);
        assert.equal(gone.outcome, 'blocked');
        const second = await network.addPod({ ...spec, name: 'next', addresses: [first.addresses[0]!] });
        assert.equal(second.addresses[0], first.addresses[0]);
        for (const from of [key('b0'), key('a0'), nodeKey('b')]) {
          assert.equal((await probe(from, 'TCP', first.addresses[0]!)).server, key('next'), from);
        }
        await network.removePod({ namespace: 'x', name: 'next' });
      });

      it('runs a host-network pod in its node', async () => {
        const spec = { namespace: 'x', name: 'host', node: 'a', hostNetwork: true };
        const host = await network.addPod({ ...spec, listeners: [{ protocol: 'UDP', port: 9100 }] });
        assert.deepEqual(host.addresses, network.nodes()[0]!.addresses);
        const answers = await Promise.all(host.addresses.map((address) => probe(key('a0'), 'UDP', address, 9100)));
        assert.deepEqual(
          answers.map((result) => result.server),
          [nodeKey('a'), nodeKey('a')],
        );
        assert.equal((await probe(host.key, 'TCP', pod('b0').addresses[0]!)).outcome, 'reached');
        await network.removePod(spec);
        assert.equal((await probe(key('a0'), 'UDP', host.addresses[0]!, 9100)).outcome, 'refused');
      });

      it('has as many outside hosts and addresses as wanted', async () => {
        const host = await network.addOutside({
          name: 'office',
          addresses: ['203.0.113.77', '203.0.113.78', '2001:db8::4d'],
        });
        const results = await network.probeMatrix([
          {
            from: host.key,
            protocol: 'TCP',
            address: pod('a0').addresses[0]!,
            port: 80,
            sourceAddress: '203.0.113.78',
          },
          { from: key('a0'), protocol: 'SCTP', address: '2001:db8::4d', port: 80 },
        ]);
        assert.equal(results[0]!.seenAddress, '203.0.113.78');
        assert.equal(results[1]!.server, host.key);
      });

      it('sends from the port it is told to', async () => {
        for (const protocol of TRANSPORTS) {
          for (let time = 0; time < 2; time++) {
            const [result] = await network.probeMatrix([
              { from: key('a0'), protocol, address: pod('b0').addresses[1]!, port: 80, sourcePort: 45_000 },
            ]);
            assert.equal(result!.seenPort, 45_000, `${protocol}: ${result!.outcome} ${result!.detail ?? ''}`);
          }
        }
      });

      it('keeps flows open, counts both ways, and shows a cut as silence', async () => {
        const target = { address: pod('b0').addresses[0]!, port: 80, intervalMs: 10 };
        const modes = ['push-server', 'push-client', 'talk'] as const;
        const flows = await Promise.all([
          ...modes.map((mode) => network.openFlow(key('a0'), { protocol: 'TCP', mode, ...target })),
          ...modes.map((mode) => network.openFlow(key('a0'), { protocol: 'UDP', mode, ...target })),
        ]);
        await sleep(150);
        const rule = ['FORWARD', '-s', pod('a0').addresses[0]!, '-j', 'DROP'];
        const running = await Promise.all(flows.map((flow) => flow.status()));
        assert.deepEqual(
          running.map(
            (status) =>
              `${status.state} ${status.server} ${status.sent > 3} ${status.delivered > 3} ${status.received > 3}`,
          ),
          [
            'false false true',
            'true true false',
            'true true true',
            'false false true',
            'true true false',
            'true true true',
          ].map((counts) => `open pod/x/b0 ${counts}`),
        );
        assert.ok(running[2]!.silentMs < 100, `silent for ${running[2]!.silentMs} ms`);
        await iptables('a', '-t', 'mangle', '-I', ...rule);
        await sleep(150);
        const cut = await Promise.all([flows[1]!.status(), flows[2]!.status()]);
        await iptables('a', '-t', 'mangle', '-D', ...rule);
        for (const status of cut) assert.ok(status.silentMs > 100, `silent for ${status.silentMs} ms`);
        await Promise.all(flows.map((flow) => flow.close()));
        await assert.rejects(
          network.openFlow(key('a0'), { protocol: 'TCP', mode: 'talk', ...target, port: 81 }),
          /Connection refused/,
        );
      });

      it('repeats a probe and keeps the moments at which the outcome changed', async () => {
        const rule = ['FORWARD', '-s', pod('a0').addresses[0]!, '-j', 'DROP'];
        const startMs = Date.now();
        const repeat = await network.repeatProbe(key('a0'), {
          protocol: 'TCP',
          address: pod('b0').addresses[0]!,
          port: 80,
          timeoutMs: 60,
          attempts: 1,
          intervalMs: 10,
        });
        await sleep(50);
        await iptables('a', '-t', 'mangle', '-I', ...rule);
        await sleep(120);
        await iptables('a', '-t', 'mangle', '-D', ...rule);
        await sleep(120);
        const { counts, changes } = await repeat.stop();
        assert.deepEqual([...new Set(changes.map((change) => change.outcome))], ['reached', 'blocked']);
        assert.equal(changes.at(-1)!.outcome, 'reached');
        assert.ok(counts.reached > 3 && counts.blocked > 3, JSON.stringify(counts));
        for (const { atMs } of changes) assert.ok(atMs >= startMs && atMs <= Date.now(), String(atMs));
      });

      describe('and the rest of the machine', () => {
        let server: Server;
        let port: number;

        before(async () => {
          // Greets as a prober does, so that a probe says whom it reached; then sends back what it hears.
          server = createServer((socket) => {
            socket.on('error', () => {});
            socket.write('node/root 127.0.0.1 1\n');
            socket.pipe(socket);
          });
          await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
          port = (server.address() as { port: number }).port;
        });
        after(() => void server.close());

        it('are not connected by any interface', async () => {
          const inside = JSON.parse(await runOnNode('a', 'ip', '-j', 'link')) as {
            ifname: string;
            link_netnsid?: number;
          }[];
          const names = inside.map((link) => link.ifname);
          assert.deepEqual(
            names.filter(
              (name) =>
                !/^(lo|eth0|cni0|eni\w+|veth\w+|ifb\d|tunl0|sit0|ip6tnl0|gre0|gretap0|erspan0|ip6gre0|ip_vti0|ip6_vti0)$/.test(
                  name,
                ),
            ),
            [],
          );
          const here = Object.keys(networkInterfaces()).filter(
            (name) => name.startsWith('eni') || name.startsWith('pcl'),
          );
          assert.deepEqual(here, []);
          assert.equal((await probe(nodeKey('a'), 'TCP', '127.0.0.1', port)).outcome, 'refused');
        });

        it('meet where the lab publishes something to its nodes, and pods do not', async () => {
          const { address, pause, resume } = await network.publishToNodes({
            target: { host: '127.0.0.1', port },
            port: 6443,
          });
          assert.equal(address, '127.0.0.1:6443');
          const fromNode = (node: string): Promise<ProbeResult> => probe(nodeKey(node), 'TCP', '127.0.0.1', 6443);
          assert.equal((await fromNode('a')).server, 'node/root');
          assert.equal((await fromNode('b')).server, 'node/root');
          const addresses = ['127.0.0.1', ...network.nodes()[0]!.addresses];
          for (const target of addresses)
            assert.equal((await probe(key('a0'), 'TCP', target, 6443)).outcome, 'refused');
          const flow = await network.openFlow(nodeKey('a'), {
            protocol: 'TCP',
            address: '127.0.0.1',
            port: 6443,
            mode: 'talk',
            intervalMs: 10,
          });
          await pause('a');
          await sleep(30);
          assert.notEqual((await flow.status()).state, 'open');
          await flow.close();
          assert.equal((await fromNode('a')).outcome, 'refused');
          assert.equal((await fromNode('b')).outcome, 'reached');
          await resume('a');
          assert.equal((await fromNode('a')).outcome, 'reached');
        });

        it('exchange any amount of bytes, unchanged, both ways', async () => {
          await network.publishToNodes({ target: { host: '127.0.0.1', port }, port: 6444 });
          const { path } = await network.reachNodePort('a', 6444);
          const sent = Buffer.alloc(3_000_000, 'portcullis ');
          const socket = connect({ path, allowHalfOpen: true });
          socket.end(sent);
          const received: Buffer[] = [];
          for await (const chunk of socket) received.push(chunk as Buffer);
          const bytes = Buffer.concat(received);
          const greeting = bytes.indexOf('\n') + 1;
          assert.equal(bytes.subarray(0, greeting).toString(), 'node/root 127.0.0.1 1\n');
          assert.ok(bytes.subarray(greeting).equals(sent), `${bytes.length} bytes came back`);
        });
      });

      if (wiring === 'bridge') {
        it('has bridge-nf-call-iptables per node, and needs it', async () => {
          const write = (value: number): Promise<string> =>
            runOnNode('a', 'sh', '-c', `echo ${value} > /proc/sys/net/bridge/bridge-nf-call-iptables`);
          const rule = ['FORWARD', '-d', pod('a1').addresses[0]!, '-j', 'DROP'];
          await iptables('a', '-t', 'mangle', '-I', ...rule);
          const caught = await probe(key('a0'), 'TCP', pod('a1').addresses[0]!);
          await write(0);
          const missed = await probe(key('a0'), 'TCP', pod('a1').addresses[0]!);
          assert.equal(await runOnNode('b', 'cat', '/proc/sys/net/bridge/bridge-nf-call-iptables'), '1\n');
          await write(1);
          await iptables('a', '-t', 'mangle', '-D', ...rule);
          assert.deepEqual([caught.outcome, missed.outcome], ['blocked', 'reached']);
        });
      } else {
        it('takes a pod address from anywhere, as secondary interfaces give them', async () => {
          const spec = { namespace: 'x', name: 'far', node: 'a' };
          const far = await network.addPod({ ...spec, addresses: ['10.244.1.99', 'fd00:10:244:1::99'] });
          const probes = [key('a0'), key('b0'), nodeKey('b')].flatMap((from) =>
            far.addresses.map((address) => ({ from, protocol: 'TCP' as const, address, port: 80 })),
          );
          assert.deepEqual(
            surprises(
              probes,
              await network.probeMatrix(probes),
              probes.map(() => `reached ${far.key}`),
            ),
            [],
          );
          await network.removePod(spec);
          assert.equal((await probe(key('b0'), 'TCP', '10.244.1.99')).outcome, 'blocked');
        });
      }

      it('says which prober ended, and works on without it', async () => {
        const spec = { namespace: 'x', name: 'doomed', node: 'a' };
        const doomed = await network.addPod(spec);
        const pending = probe(doomed.key, 'TCP', '10.244.1.250');
        process.kill(network.proberPid(doomed.key)!, 'SIGKILL');
        await assert.rejects(pending, /prober pod\/x\/doomed ended \(SIGKILL\)/);
        await assert.rejects(probe(doomed.key, 'TCP', pod('a0').addresses[0]!), /prober pod\/x\/doomed/);
        await network.removePod(spec);
        assert.equal((await probe(key('a0'), 'TCP', pod('b0').addresses[0]!)).outcome, 'reached');
      });

      it('refuses what it cannot build, and stays as it was', async () => {
        const count = labNamespaces(network.prefix).length;
        const spec = { namespace: 'x', name: 'new', node: 'a' };
        await assert.rejects(network.addPod({ ...spec, node: 'z' }), /no node z/);
        await assert.rejects(network.addPod({ ...spec, name: 'a0' }), /pod\/x\/a0: exists already/);
        await assert.rejects(network.addPod({ ...spec, name: '../etc' }), /not a DNS name/);
        await assert.rejects(
          network.addPods([spec, { ...spec, name: 'b', addresses: ['10.0.0'] }]),
          /pod\/x\/b: addresses/,
        );
        await assert.rejects(network.addPod({ ...spec, addresses: pods[0]!.addresses }), /held by/);
        await assert.rejects(
          network.probeMatrix([{ from: 'pod/x/none', protocol: 'TCP', address: '10.0.0.1', port: 1 }]),
          /no endpoint/,
        );
        assert.equal(labNamespaces(network.prefix).length, count);
        await network.addPod(spec);
        await network.removePod(spec);
      });
    });
  }

  for (const family of [4, 6] as const) {
    it(`with IPv${family} alone`, async () => {
      const nodes = [{ name: 'a' }, { name: 'b' }];
      const network = await LabNetwork.create({
        nodes,
        wiring: 'routed',
        backend: 'nft',
        families: [family],
        run: runCommand,
      });
      try {
        await network.addPods(nodes.map(({ name }) => ({ namespace: 'x', name, node: name })));
        const to = [...network.pods(), ...network.outsideHosts()];
        const probes = PROTOCOLS.flatMap((protocol) =>
          to.flatMap(({ addresses }) =>
            addresses.map((address) => ({ from: nodeKey('a'), protocol, address, port: 80 })),
          ),
        );
        const outcomes = (await network.probeMatrix(probes)).map((result) => result.outcome);
        assert.deepEqual(outcomes, new Array(3 * PROTOCOLS.length).fill('reached'));
        const interfaces = await runCommand({
          ...network.nodeCommand('a', ['ip', `-${family === 4 ? 6 : 4}`, 'addr', 'show', 'scope', 'global']),
          timeoutMs: 5000,
        });
        assert.equal(interfaces.stdout, '');
      } finally {
        await network.close();
      }
    });
  }

  it('refuses wrong options before it makes anything', async () => {
    const create = (change: object): Promise<LabNetwork> =>
      LabNetwork.create({
        nodes: [{ name: 'a' }],
        wiring: 'routed',
        backend: 'nft',
        families: [4],
        run: runCommand,
        ...change,
      });
    await assert.rejects(create({ nodes: [] }), /nodes: 0/);
    await assert.rejects(create({ nodes: [{ name: 'a' }, { name: 'a' }] }), /nodes: a name is there twice/);
    await assert.rejects(create({ nodes: [{ name: 'a b' }] }), /node: a b is not a DNS name/);
    await assert.rejects(create({ families: [] }), /families/);
    await assert.rejects(create({ prefix: 'x' }), /lab prefix: x/);
    await assert.rejects(create({ outside: [{ name: 'w', addresses: ['2001:db8::1'] }] }), /outside\/w: addresses/);
  });

  describe('end of a lab', () => {
    const options = {
      nodes: [{ name: 'a' }],
      wiring: 'routed',
      backend: 'nft',
      families: [4],
      run: runCommand,
    } as const;

    /** A process that builds a lab, prints its prefix, and then does `ending`. */
    async function labOfAnotherProcess(ending: string): Promise<{ prefix: string; kill(): Promise<void> }> {
      const door = fileURLToPath(new URL('../../lab/network/lab-network.ts', import.meta.url));
      const command = fileURLToPath(new URL('../../src/host/command.ts', import.meta.url));
      const program = `
        import { closeLabNetworksSync, LabNetwork } from ${JSON.stringify(door)};
        import { runCommand } from ${JSON.stringify(command)};
        const network = await LabNetwork.create({ ...${JSON.stringify(options)}, run: runCommand });
        await network.addPod({ namespace: 'x', name: 'a', node: 'a' });
        console.log(network.prefix);
        ${ending}`;
      const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const ended = new Promise<void>((resolve) => child.on('exit', () => resolve()));
      const prefix = await new Promise<string>((resolve) =>
        child.stdout.once('data', (text) => resolve(String(text).trim())),
      );
      assert.match(prefix, /^pcl-/);
      const kill = async (): Promise<void> => {
        child.kill('SIGKILL');
        await ended;
      };
      return { prefix, kill };
    }

    it('close() leaves nothing, twice', async () => {
      const network = await LabNetwork.create(options);
      await network.addPod({ namespace: 'x', name: 'a', node: 'a' });
      // Something else that runs in the lab, as an agent would.
      const { argv } = network.nodeCommand('a', ['sleep', '60']);
      const child = spawn(argv[0], argv.slice(1), { stdio: 'ignore' });
      const killed = new Promise((resolve) => child.on('exit', (_code, signal) => resolve(signal)));
      await sleep(50);
      assert.equal(labNamespaces(network.prefix).length, 4);
      await network.close();
      await network.close();
      network.closeSync();
      assert.deepEqual(labNamespaces(network.prefix), []);
      assert.equal(await killed, 'SIGKILL');
      await assert.rejects(network.addPod({ namespace: 'x', name: 'b', node: 'a' }), /is closed/);
    });

    it('a failure while building leaves nothing', async () => {
      let prefix = '';
      const failing = LabNetwork.create({
        ...options,
        run: async (request) => {
          prefix ||= /netns add (pcl-\w+-)/.exec(stdinText(request))?.[1] ?? '';
          if (request.argv.some((word) => word.endsWith('-restore'))) throw new Error('no iptables');
          return runCommand(request);
        },
      });
      await assert.rejects(failing, /no iptables/);
      assert.match(prefix, /^pcl-/);
      assert.deepEqual(labNamespaces(prefix), []);
    });

    it('process.exit() leaves nothing when the handler is in place', async () => {
      const other = await labOfAnotherProcess(`
        process.on('exit', closeLabNetworksSync);
        process.exit(0);`);
      for (let i = 0; i < 40 && labNamespaces(other.prefix).length > 0; i++) await sleep(25);
      assert.deepEqual(labNamespaces(other.prefix), []);
    });

    it('sweep() removes the lab of a killed process and no other', async () => {
      const mine = await LabNetwork.create(options);
      const other = await labOfAnotherProcess('setTimeout(() => {}, 30_000);');
      assert.ok(!sweep().includes(other.prefix));
      assert.equal(labNamespaces(other.prefix).length, 4);
      await other.kill();
      assert.equal(labNamespaces(other.prefix).length, 4);
      assert.ok(sweep().includes(other.prefix));
      assert.deepEqual(labNamespaces(other.prefix), []);
      assert.equal(labNamespaces(mine.prefix).length, 3);
      await mine.close();
    });
  });
});
