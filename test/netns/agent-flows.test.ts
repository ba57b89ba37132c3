/** Live connections when policies change: exactly those that are denied now stop, at once and in both directions (S-67, S-68). */
import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Family } from '../../src/core/vocabulary.ts';
import { NFT_TABLE } from '../../src/dataplane/nftables/table/names.ts';
import type { FlowMode, FlowStatus, LabFlow, Wiring } from '../../lab/network/types.ts';
import { AgentLab, enforcedBy, type Engine, ENGINES, skipUnlessRoot, until } from '../support/agent-lab.ts';
import { withoutFfi } from '../support/without-ffi.ts';

/** Between them every backend and wiring, and nftables where it sees all of it. */
const VARIANTS: readonly (readonly [Engine, Wiring])[] = [
  ['iptables-nft', 'routed'],
  ['iptables-legacy', 'bridge'],
  ['nftables', 'routed'],
];
const KINDS: readonly (readonly ['TCP' | 'UDP', FlowMode, Family])[] = [
  ['TCP', 'talk', 4],
  ['TCP', 'push-server', 6],
  ['TCP', 'push-client', 4],
  ['UDP', 'talk', 6],
  ['UDP', 'push-server', 4],
];
/** The specification's second, and a shared machine's breath. */
const STOP_MS = 1_000;
const GRACE_MS = 500;
const CLUSTER_IPS = ['10.96.7.7', 'fd00:10:96::7:7'];

/** Flows of every kind from one client to one server. */
class Bundle {
  readonly name: string;
  readonly #flows: readonly LabFlow[];

  static async open(t: AgentLab, from: string, to: string, clusterIPs?: readonly string[]): Promise<Bundle> {
    const flows = KINDS.map(([protocol, mode, family]) => {
      const address = clusterIPs?.find((each) => each.includes(':') === (family === 6)) ?? t.address(to, family);
      return t.flow(from, to, { protocol, mode, family, address });
    });
    return new Bundle(`${from} to ${to}${clusterIPs ? ' by its Service' : ''}`, await Promise.all(flows));
  }

  private constructor(name: string, flows: readonly LabFlow[]) {
    this.name = name;
    this.#flows = flows;
  }

  statuses(): Promise<readonly FlowStatus[]> {
    return Promise.all(this.#flows.map((flow) => flow.status()));
  }

  /** Those for which `test` does not hold, in words. */
  async without(test: (status: FlowStatus) => boolean): Promise<readonly string[]> {
    return (await this.statuses()).flatMap((status, index) =>
      test(status) ? [] : [`${this.name}, ${KINDS[index]!.join(' ')}: ${JSON.stringify(status)}`],
    );
  }

  async close(): Promise<void> {
    await Promise.all(this.#flows.map((flow) => flow.close()));
  }
}

for (const [engine, wiring] of VARIANTS) {
  describe(`live connections: ${engine}, ${wiring}`, function () {
    this.timeout(30_000);
    let t: AgentLab;
    const open: Bundle[] = [];

    before(async function () {
      skipUnlessRoot.call(this);
      t = await AgentLab.create({ ...enforcedBy(engine), wiring, nodes: ['node-1', 'node-2'] });
      await t.pods({
        'x/server': {},
        'x/friend': { labels: { pod: 'friend', team: 'blue' } },
        'x/stranger': { labels: { pod: 'stranger', team: 'blue' } },
        'y/remote': { node: 'node-2', labels: { pod: 'remote', team: 'blue' } },
      });
      t.labelNamespace('y', { zone: 'inner' });
      await Promise.all([t.start('node-1'), t.start('node-2')]);
    });
    after(() => t?.close());

    afterEach(async () => {
      await Promise.all(open.splice(0).map((bundle) => bundle.close()));
      for (const { metadata } of t.lab.store.list('networkpolicies')) t.deletePolicy(`x/${metadata.name}`);
      for (const pod of ['x/friend', 'x/stranger', 'y/remote']) t.labelPod(pod, { team: 'blue' });
      t.labelNamespace('y', { zone: 'inner' });
      await t.expect(['x/stranger -> x/server', 'x/server -> x/stranger', 'y/remote -> x/server']);
    });

    async function bundle(from: string, to = 'x/server', clusterIPs?: readonly string[]): Promise<Bundle> {
      const made = await Bundle.open(t, from, to, clusterIPs);
      open.push(made);
      return made;
    }

    /** After the change just made: `denied` stop within a second and stay so, `allowed` go on without a gap. */
    async function expectCut(denied: readonly Bundle[], allowed: readonly Bundle[]): Promise<void> {
      const changed = performance.now();
      await sleep(STOP_MS + GRACE_MS);
      // What was silent for the last half second stopped within the first.
      const late = await every(denied, ({ silentMs }) => silentMs > performance.now() - changed - STOP_MS);
      assert.deepEqual(late, [], 'stopped within a second and stay so');
      const gaps = await every(allowed, ({ longestSilenceMs }) => longestSilenceMs < 500);
      assert.deepEqual(gaps, [], 'no gap');
    }

    async function every(
      bundles: readonly Bundle[],
      test: (status: FlowStatus) => boolean,
    ): Promise<readonly string[]> {
      return (await Promise.all(bundles.map((each) => each.without(test)))).flat();
    }

    const BLUE = { podSelector: { matchLabels: { team: 'blue' } } };
    const SERVER = { podSelector: { matchLabels: { pod: 'server' } } };

    it('a policy added, ingress: what it denies stops, also through a Service; the rest goes on', async () => {
      const targets = [t.address('x/server', 4), t.address('x/server', 6)].map((address) => ({ address, port: 80 }));
      const port = { port: 80, targets };
      await t.lab.network.setServices([
        {
          key: 'x/server',
          clusterIPs: CLUSTER_IPS,
          externalTrafficPolicy: 'Cluster',
          ports: [
            { protocol: 'TCP', ...port },
            { protocol: 'UDP', ...port },
          ],
        },
      ]);
      const denied = [
        await bundle('x/stranger'),
        await bundle('y/remote'),
        await bundle('x/stranger', 'x/server', CLUSTER_IPS),
      ];
      const allowed = [
        await bundle('x/friend'),
        await bundle('x/friend', 'x/server', CLUSTER_IPS),
        await bundle('x/stranger', 'x/friend'),
      ];
      t.policy('x/p', { ...SERVER, ingress: [{ from: [{ podSelector: { matchLabels: { pod: 'friend' } } }] }] });
      await expectCut(denied, allowed);
      await t.lab.network.setServices([]);
    });

    it('a policy added, egress: flows of that client stop, flows toward it go on', async () => {
      const denied = [await bundle('x/stranger'), await bundle('x/stranger', 'y/remote')];
      const allowed = [
        await bundle('x/friend', 'x/stranger'),
        await bundle('y/remote', 'x/stranger'),
        await bundle('x/friend'),
      ];
      t.policy('x/p', { podSelector: { matchLabels: { pod: 'stranger' } }, policyTypes: ['Egress'] });
      await expectCut(denied, allowed);
    });

    it('a peer loses its label: its flows stop; when it has it again they go on', async () => {
      t.policy('x/p', { ...SERVER, ingress: [{ from: [BLUE, { namespaceSelector: {}, ...BLUE }] }] });
      await t.expect(['x/stranger -> x/server', 'y/remote -> x/server', 'x/server -> x/friend']);
      const [denied, remote, allowed] = [
        await bundle('x/stranger'),
        await bundle('y/remote'),
        await bundle('x/friend'),
      ];
      t.labelPod('x/stranger', { team: null });
      t.labelPod('y/remote', { team: 'red' });
      await expectCut([denied, remote], [allowed]);
      t.labelPod('x/stranger', { team: 'blue' });
      t.labelPod('y/remote', { team: 'blue' });
      // TCP waits ever longer before it repeats itself.
      let waiting: readonly string[] = [];
      await until(
        async () => {
          waiting = await every([denied, remote, allowed], ({ silentMs }) => silentMs < 300);
          return waiting.length === 0;
        },
        () => `go on: ${waiting.join('\n')}`,
        8000,
      );
    });

    it('a namespace loses its label', async () => {
      t.policy('x/p', {
        ...SERVER,
        ingress: [{ from: [{ namespaceSelector: { matchLabels: { zone: 'inner' } } }, { podSelector: {} }] }],
      });
      await t.expect(['y/remote -> x/server']);
      const [denied, allowed] = [await bundle('y/remote'), await bundle('x/friend')];
      t.labelNamespace('y', { zone: null });
      await expectCut([denied], [allowed]);
    });

    it('a policy is narrowed from all peers to one, and from all ports to others', async () => {
      t.policy('x/p', { ...SERVER, ingress: [{}] });
      await t.expect(['x/stranger -> x/server']);
      const [denied, allowed] = [await bundle('x/stranger'), await bundle('x/friend')];
      t.policy('x/p', {
        ...SERVER,
        ingress: [
          {
            from: [{ podSelector: { matchLabels: { pod: 'friend' } } }],
            ports: [{ port: 80 }, { port: 80, protocol: 'UDP' }],
          },
          { from: [BLUE], ports: [{ port: 81 }] },
        ],
      });
      await expectCut([denied], [allowed]);
    });

    it('many policies with ports of their own: what their shared set holds goes on, whoever talks; the rest stops', async () => {
      const denied = [await bundle('x/stranger'), await bundle('y/remote')];
      const allowed = [await bundle('x/friend'), await bundle('x/stranger', 'x/friend')];
      for (let n = 0; n < 12; n++) {
        const numbers = ['TCP', 'UDP'].map((protocol) => ({ protocol, port: n === 0 ? 80 : 9000 + n }));
        const words = { matchExpressions: [{ key: `word-${n}`, operator: 'DoesNotExist' }] };
        const friend = { podSelector: { matchLabels: { pod: 'friend' }, ...words } };
        const blue = { podSelector: { ...BLUE.podSelector, ...words } };
        t.policy(`x/in-${n}`, { ...SERVER, ingress: [{ from: [n === 0 ? friend : blue], ports: numbers }] });
        const server = { podSelector: { ...SERVER.podSelector, ...words } };
        t.policy(`x/out-${n}`, { ...friend, policyTypes: ['Egress'], egress: [{ to: [server], ports: numbers }] });
      }
      await expectCut(denied, allowed);
      const rules = (await t.kernelText()).split('\n');
      for (const shared of sharedSetMatches(engine))
        assert.ok(
          rules.some((line) => shared.test(line)),
          String(shared),
        );
      t.labelPod('x/friend', { 'word-0': '' });
      await expectCut([allowed[0]!], [allowed[1]!]);
      t.labelPod('x/friend', { 'word-0': null });
    });

    it('a rule more, and every policy deleted: no flow notices', async () => {
      t.policy('x/p', { ...SERVER, ingress: [{ from: [BLUE] }] });
      await t.expect(['x/stranger -> x/server', 'y/remote -x x/server']);
      const allowed = [await bundle('x/stranger'), await bundle('x/friend')];
      const generation = await t.agents.get('node-1')!.metric('portcullis_generation');
      t.policy('x/p', { ...SERVER, ingress: [{ from: [BLUE] }, { from: [{ namespaceSelector: {} }] }] });
      await t.expect(['y/remote -> x/server']);
      t.deletePolicy('x/p');
      await expectCut([], allowed);
      assert.equal(
        await t.agents.get('node-1')!.metric('portcullis_generation'),
        generation,
        'nobody was judged again',
      );
    });
  });
}

/** How rules ask shared sets of addresses and ports, of packets in both directions. */
function sharedSetMatches(engine: Engine): readonly RegExp[] {
  if (engine !== 'nftables')
    return ['src,dst', 'dst,src', 'dst,dst', 'src,src'].map((dimensions) => new RegExp(`${dimensions} -j RETURN$`));
  const ends = ['saddr . meta l4proto . th dport', 'daddr . meta l4proto . th sport'];
  return [...ends, 'daddr . meta l4proto . th dport', 'saddr . meta l4proto . th sport'].map(
    (words) => new RegExp(`ip6? ${words} @\\S+ .*return`),
  );
}

/** Three bits: a denied flag and three generations. */
const SMALL_MASK = '--connmark-mask=0x70000000';

for (const engine of ENGINES) {
  describe(`fault: live connections, when the epochs are used up: ${engine}`, function () {
    this.timeout(90_000);
    let t: AgentLab;

    before(async function () {
      skipUnlessRoot.call(this);
      t = await AgentLab.create(enforcedBy(engine));
      await t.pods({ 'x/server': {}, 'x/idle': {}, 'x/other': {} });
    });
    after(() => t?.close());
    afterEach(async () => {
      for (const { metadata } of t.lab.store.list('networkpolicies')) t.deletePolicy(`x/${metadata.name}`);
      await t.agents.get('node-1')!.end('SIGTERM');
    });

    const deny = (pod: string) => ({ podSelector: { matchLabels: { pod } }, policyTypes: ['Ingress'] });
    const allow = (from: string) => ({
      ...deny('server'),
      ingress: [{ from: [{ podSelector: { matchLabels: { pod: from } } }] }],
    });

    /** Takes something away from somebody else, `times` times: another epoch each time, or every packet is judged. */
    async function tighten(times: number): Promise<void> {
      for (let time = 0; time < times; time++) {
        const ports = [1000 + time, 2000 + time].map((port) => ({ port }));
        t.policy('x/other', { ...deny('other'), ingress: [{ ports }] });
        const [first, second] = ports.map(({ port }) => port);
        const wide = engine === 'nftables' ? `dport { ${first}, ${second} } ` : `dports ${first},${second} `;
        const narrow = `dport ${first} `;
        // Chains that were replaced are deleted a little later.
        await until(() => sees(wide, narrow), 'the policy is in force');
        const before = await stamp();
        t.policy('x/other', { ...deny('other'), ingress: [{ ports: ports.slice(0, 1) }] });
        await until(() => sees(narrow, wide), 'and is narrowed');
        const now = await stamp();
        assert.ok(now !== before || now === EVERY_PACKET, `epoch ${before} -> ${now}`);
      }
    }

    async function sees(text: string, notThis: string): Promise<boolean> {
      const rules = await t.kernelText();
      return rules.includes(text) && !rules.includes(notThis);
    }
    const EVERY_PACKET = '0x0';

    /** What IPv6 flows are stamped with now. */
    async function stamp(): Promise<string> {
      if (engine !== 'nftables') return /--set-xmark (0x[0-7]+)/.exec(await t.iptables(6, '-S', 'PCL-FWD'))![1]!;
      const chain = await t.nft('list', 'chain', 'inet', NFT_TABLE, 'stamp');
      return /ct mark set .* \| (0x\w+)$/m.exec(chain)?.[1] ?? EVERY_PACKET;
    }

    /** The next packet of a flow that otherwise says nothing: conntrack knows it by its ports. */
    async function speaks(sourcePort: number, family: Family = 6): Promise<boolean> {
      const address = t.address('x/server', family);
      const probe = { from: t.endpoint('x/idle'), protocol: 'UDP', address, port: 80, sourcePort } as const;
      const [result] = await t.lab.network.probeMatrix([probe]);
      return result!.outcome === 'reached';
    }

    /** Whether a flow goes on that was denied while it was silent, when the epochs have gone round. */
    async function revived(): Promise<boolean> {
      t.policy('x/server', allow('idle'));
      await t.expect(['x/idle -> x/server', 'x/other -x x/server']);
      assert.ok(await speaks(40_001));
      t.policy('x/server', allow('nobody'));
      await t.expect(['x/idle -x x/server']);
      for (let round = 0; round < 4; round++) {
        await tighten(1);
        if (await speaks(40_001)) return true;
      }
      return false;
    }

    /** What does not depend on the variant. */
    const once = engine === 'iptables-legacy' ? (): void => {} : it;

    once('a flow that was idle meanwhile is not taken for one judged today', async () => {
      await t.start('node-1', { flags: [SMALL_MASK] });
      assert.equal(await revived(), false);
    });

    it('nor where idle flows carry all of them, however fast the changes come; those still allowed go on', async () => {
      const agent = await t.start('node-1', { flags: [SMALL_MASK] });
      t.policy('x/server', allow('idle'));
      await t.expect(['x/idle -> x/server', 'x/other -x x/server']);
      const ports = Array.from({ length: 12 }, (_, n) => 40_011 + n);
      for (const port of ports) {
        for (const family of [4, 6] as const) assert.ok(await speaks(port, family));
        if (port % 2 === 0) await tighten(1);
      }
      t.policy('x/server', allow('nobody'));
      await t.expect(['x/idle -x x/server']);
      const kept = ports.pop()!;
      for (const port of ports) {
        assert.equal(await speaks(port), false, `port ${port}`);
        if (port % 3 === 0) await tighten(1);
      }
      t.policy('x/server', allow('idle'));
      await t.expect(['x/idle -> x/server']);
      assert.ok(await speaks(kept));
      // Every packet is judged no longer than it takes to find a free epoch, and that is told.
      await until(async () => (await agent.metric('portcullis_generation')) > 0, 'an epoch in force', 15_000);
      const began = agent.log.filter(({ message }) =>
        message.includes(': every packet of live flows is judged, which'),
      );
      const ended = agent.log.filter(({ message }) => message.includes('live flows are judged once again'));
      assert.ok(Math.abs(began.length - ended.length) < 2, agent.tail(30));
    });

    once(
      'without the conntrack tool and the library for netlink every packet is judged: exact, ready, and said',
      async () => {
        const path = join(t.lab.dir, 'bin');
        mkdirSync(path);
        const tools = ['iptables', 'ip6tables'].flatMap((tool) => [`${tool}-nft-save`, `${tool}-nft-restore`]);
        for (const tool of [...tools, 'ipset', 'nft']) symlinkSync(`/usr/sbin/${tool}`, join(path, tool));
        for (const tool of ['sh', 'stdbuf']) symlinkSync(`/usr/bin/${tool}`, join(path, tool));
        const agent = await t.start('node-1', {
          flags: [SMALL_MASK],
          env: { PATH: path, NODE_OPTIONS: `--require=${withoutFfi(t.lab.dir)}` },
        });
        const line = await agent.logged(
          ({ message }) => /conntrack: command not found; install/.test(message),
          'warning',
        );
        assert.equal(line.level, 'warn');
        assert.equal(await revived(), false);
        assert.equal(await stamp(), EVERY_PACKET);
        const { status, body } = await agent.get('/readyz');
        assert.equal(status, 200);
        assert.match(body, /every packet of live flows is judged, no epoch is free \(conntrack: command not found/);
        // Flows in both directions go on, and stop, as ever.
        t.policy('x/server', allow('other'));
        await t.expect(['x/other -> x/server', 'x/idle -x x/server']);
        const flow = await t.flow('x/other', 'x/server', { family: 6 });
        const streamed = await t.flow('x/other', 'x/server', { mode: 'push-server' });
        await sleep(500);
        for (const each of [flow, streamed]) assert.ok((await each.status()).longestSilenceMs < 400);
        t.policy('x/server', allow('nobody'));
        await until(
          async () => (await flow.status()).silentMs > 600 && (await streamed.status()).silentMs > 600,
          'stop',
        );
        await Promise.all([flow.close(), streamed.close()]);
        // Once for each family; of one that was in that state when the agent started, there is no more to say.
        const told = agent.log.map(({ message }) => message).filter((message) => message.includes('not found'));
        assert.ok(told.length >= 2 && told.length === new Set(told).size, agent.tail(30));
      },
    );

    once('a restarted agent finds out which are free before it uses one', async () => {
      await t.start('node-1', { flags: [SMALL_MASK] });
      t.policy('x/server', allow('idle'));
      await t.expect(['x/idle -> x/server', 'x/other -x x/server']);
      for (const port of [40_031, 40_032, 40_033]) {
        assert.ok(await speaks(port));
        await tighten(1);
      }
      for (let round = 0; round < 3; round++) {
        await t.agents.get('node-1')!.end('SIGKILL');
        t.policy('x/server', allow(round === 0 ? 'nobody' : `nobody-${round}`));
        await t.start('node-1', { flags: [SMALL_MASK] });
        await t.expect(['x/idle -x x/server']);
        for (const port of [40_031, 40_032, 40_033]) assert.equal(await speaks(port), false, `port ${port}`);
        t.policy('x/server', allow('idle'));
        await t.expect(['x/idle -> x/server']);
      }
    });

    once('--connmark-mask=none: a change reaches new connections only', async () => {
      await t.start('node-1', { flags: ['--connmark-mask=none'] });
      t.policy('x/server', allow('idle'));
      await t.expect(['x/idle -> x/server', 'x/other -x x/server']);
      const flow = await t.flow('x/idle', 'x/server');
      t.policy('x/server', allow('nobody'));
      await t.expect(['x/idle -x x/server']);
      await sleep(300);
      const { received } = await flow.status();
      await until(async () => (await flow.status()).received > received, 'the flow goes on');
      await flow.close();
      assert.doesNotMatch(await t.kernelText(), /PCL.*mark|mark.*PCL|ct mark/);
    });
  });
}
