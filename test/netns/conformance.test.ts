/** Clauses of the semantics that no scenario table can show, with real packets (docs/conformance.md). */
import assert from 'node:assert/strict';
import type { LabService, ProbeProtocol, ProbeResult } from '../../lab/network/types.ts';
import { AgentLab, BACKENDS, skipUnlessRoot, until } from '../support/agent-lab.ts';

const SERVICE = '10.96.3.1';

for (const backend of BACKENDS) {
  describe(`conformance, real packets: ${backend}`, function () {
    this.timeout(30_000);
    let t: AgentLab;

    before(async function () {
      skipUnlessRoot.call(this);
      t = await AgentLab.create({ backend, nodes: ['node-1', 'node-2'] });
      await t.pods({ 'x/a': {}, 'x/b': { node: 'node-2' } });
      await Promise.all([t.start('node-1'), t.start('node-2')]);
    });
    after(() => t?.close());
    afterEach(async () => {
      for (const { metadata } of t?.lab.store.list('networkpolicies') ?? []) t.deletePolicy(`x/${metadata.name}`);
      await t?.lab.network.setServices([]);
    });

    async function probe(
      from: string,
      address: string,
      port: number,
      protocol: ProbeProtocol = 'TCP',
    ): Promise<ProbeResult> {
      const request = { from: t.endpoint(from), address, port, protocol, timeoutMs: 300 };
      return (await t.lab.network.probeMatrix([request]))[0]!;
    }

    /** Waits until each of the probes has the outcome that stands before it. */
    async function expect(
      ...wanted: readonly (readonly [outcome: ProbeResult['outcome'], ...Parameters<typeof probe>])[]
    ): Promise<void> {
      let wrong = '';
      await until(
        async () => {
          const found = await Promise.all(wanted.map(([, ...request]) => probe(...request)));
          wrong = found.map(({ outcome }, index) => `${wanted[index]!.join(' ')}: ${outcome}`).join('\n');
          return found.every(({ outcome }, index) => outcome === wanted[index]![0]);
        },
        () => wrong,
      );
    }

    const service = (target: { address: string; port: number }): LabService => ({
      key: 'x/service',
      clusterIPs: [SERVICE],
      externalTrafficPolicy: 'Cluster',
      ports: [{ protocol: 'TCP', port: 8080, targets: [target] }],
    });

    it('S-01: nodes and outside hosts reach each other whatever pods may do', async () => {
      t.policy('x/deny', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] });
      await t.expect([
        'world -x x/a',
        'x/a -x world',
        'x/b -x node-1',
        'world -> node-1',
        'node-1 -> world',
        'node-2 -> node-1',
      ]);
    });

    it('S-10: what is denied gets no answer at all, what is allowed and closed is refused', async () => {
      t.policy('x/only-80', {
        podSelector: { matchLabels: { pod: 'b' } },
        ingress: [{ ports: [{ port: 80 }, { port: 81 }] }],
      });
      const b = t.address('x/b');
      await expect(
        ['reached', 'x/a', b, 80],
        ['refused', 'x/a', b, 81],
        ['blocked', 'x/a', b, 82],
        ['blocked', 'x/a', b, 80, 'UDP'],
        ['blocked', 'x/a', b, 80, 'SCTP'],
        ['blocked', 'x/a', b, 0, 'ICMP'],
      );
    });

    it("S-35: the port that counts is the container's, in both directions", async () => {
      const b = t.address('x/b');
      await t.lab.network.setServices([service({ address: b, port: 80 })]);
      const ends = { to: 'egress', from: 'ingress' } as const;
      for (const peers of ['to', 'from'] as const) {
        const podSelector = { matchLabels: { pod: peers === 'to' ? 'a' : 'b' } };
        const rule = (port: number) => ({
          podSelector,
          policyTypes: [peers === 'to' ? 'Egress' : 'Ingress'],
          [ends[peers]]: [{ ports: [{ port }] }],
        });
        t.policy('x/ports', rule(8080));
        await expect(['blocked', 'x/a', SERVICE, 8080], ['blocked', 'x/a', b, 80]);
        t.policy('x/ports', rule(80));
        await expect(['reached', 'x/a', SERVICE, 8080], ['reached', 'x/a', b, 80]);
      }
    });

    it('S-52: a Service in front of a node is the node: selectors do not allow it, blocks do', async () => {
      const node = t.address('node-2');
      await t.lab.network.setServices([service({ address: node, port: 80 })]);
      const egress = (...to: readonly object[]) => ({
        podSelector: { matchLabels: { pod: 'a' } },
        policyTypes: ['Egress'],
        egress: [{ to }],
      });
      t.policy('x/all-pods', egress({ namespaceSelector: {} }, { ipBlock: { cidr: '10.96.0.0/16' } }));
      await expect(['blocked', 'x/a', SERVICE, 8080], ['reached', 'x/a', t.address('x/b'), 80]);
      t.policy('x/node', egress({ ipBlock: { cidr: `${node}/32` } }));
      await expect(['reached', 'x/a', SERVICE, 8080]);
    });

    it("S-54: a hostPort is a way into the pod like others, under the container's port", async () => {
      const nat = (verb: string) => [
        ...[backend, '-w', '5', '-t', 'nat', verb, 'PREROUTING', '-d', t.address('node-1')],
        ...['-p', 'tcp', '--dport', '8099', '-j', 'DNAT', '--to-destination', `${t.address('x/a')}:80`],
      ];
      const [program, ...args] = nat('-A') as [string, ...string[]];
      await t.on('node-1', [program, ...args]);
      try {
        t.policy('x/deny', { podSelector: {} });
        await expect(['blocked', 'world', t.address('node-1'), 8099]);
        t.policy('x/deny', {
          podSelector: {},
          ingress: [{ from: [{ ipBlock: { cidr: '203.0.113.0/24' } }], ports: [{ port: 8099 }] }],
        });
        await expect(['blocked', 'world', t.address('node-1'), 8099]);
        t.policy('x/deny', {
          podSelector: {},
          ingress: [{ from: [{ ipBlock: { cidr: '203.0.113.0/24' } }], ports: [{ port: 80 }] }],
        });
        await expect(['reached', 'world', t.address('node-1'), 8099]);
      } finally {
        await t.on('node-1', nat('-D') as [string, ...string[]]);
      }
    });

    it('S-59: a datagram in fragments is judged as a whole', async () => {
      const send = async (port: number): Promise<string> => {
        const server =
          'use IO::Socket::IP; my $s = IO::Socket::IP->new(LocalHost => "0.0.0.0", LocalPort => shift, Proto => "udp") or die;' +
          '$| = 1; my $r = ""; vec($r, fileno $s, 1) = 1; print select($r, undef, undef, 0.8) ? do { recv $s, my $d, 65535, 0; length $d } : "nothing"';
        const received = t.inside('x/b', ['perl', '-e', server, String(port)]);
        const client =
          'use IO::Socket::IP; my $s = IO::Socket::IP->new(PeerHost => shift, PeerPort => shift, Proto => "udp") or die;' +
          'for (1 .. 10) { syswrite $s, "x" x 9000; select undef, undef, undef, 0.05 }';
        await t.inside('x/a', ['perl', '-e', client, t.address('x/b'), String(port)]).catch(() => {});
        return await received;
      };
      t.policy('x/udp', {
        podSelector: { matchLabels: { pod: 'b' } },
        ingress: [{ ports: [{ protocol: 'UDP', port: 7001 }] }],
      });
      await expect(['blocked', 'x/a', t.address('x/b'), 80]);
      assert.equal(await send(7001), '9000');
      assert.equal(await send(7002), 'nothing');
    });
  });
}
