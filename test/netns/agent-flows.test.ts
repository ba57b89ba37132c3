/** Live connections when policies change: exactly those that are denied now stop, at once and in both directions (S-67, S-68). */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Family } from '../../src/net/ip.ts';
import type { FlowMode, FlowStatus, LabFlow, Wiring } from '../../src/lab/network/types.ts';
import { AgentLab, type Backend, skipUnlessRoot, until } from '../support/agent-lab.ts';

/** Between them every backend and wiring. */
const VARIANTS: readonly (readonly [Backend, Wiring])[] = [
  ['iptables-nft', 'routed'],
  ['iptables-legacy', 'bridge'],
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

for (const [backend, wiring] of VARIANTS) {
  describe(`live connections: ${backend}, ${wiring}`, function () {
    this.timeout(30_000);
    let t: AgentLab;
    const open: Bundle[] = [];

    before(async function () {
      skipUnlessRoot.call(this);
      t = await AgentLab.create({ backend, wiring, nodes: ['node-1', 'node-2'] });
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
