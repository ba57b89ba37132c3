import assert from 'node:assert/strict';
import { SnapshotSync } from '../../../support/snapshot-sync.ts';
import type { Pod, Policy } from '../../../../src/policy/model.ts';
import { NO_INTERFACES, type PodInterfaces } from '../../../../src/host/pod-interfaces.ts';
import { pod, policy, snapshot } from '../../../support/builders.ts';
import { LAYOUT } from '../../../support/fake-cluster.ts';
import { createFakeKernel } from '../../../support/fake-kernel.ts';
import { type Packet, traceRules } from '../../../support/tracer.ts';

const CLOSED = { ...LAYOUT, newPods: { interfacePrefixes: ['eni', 'vlan', 'veth'] } };
const A = pod('x/a', { addresses: ['10.0.0.1', 'fd00::1'] });
const B = pod('x/b', { addresses: ['10.0.0.2', 'fd00::2'] });
const DENY_B = policy('x/deny', { podSelector: { matchLabels: { pod: 'b' } }, policyTypes: ['Ingress', 'Egress'] });
const BRIDGE: PodInterfaces = {
  ...NO_INTERFACES,
  bridges: [{ name: 'cni0', isOnlyPods: true }],
  broadcasts: ['10.0.0.255'],
};

function bench(interfaces = NO_INTERFACES) {
  const kernel = createFakeKernel({ backend: 'iptables-nft' });
  const create = () =>
    new SnapshotSync({ nodeName: 'node-1', kernel, now: () => 0, firstEpoch: 5, interfaces: () => interfaces });
  let reconciler = create();
  return {
    kernel,
    restart: () => {
      reconciler = create();
    },
    gate: () => reconciler.closeToNewPods(CLOSED),
    pass: async (pods: readonly Pod[], policies: readonly Policy[] = [], layout = CLOSED) => {
      const outcome = await reconciler.sync(snapshot({ pods, policies }), 'enforce', layout, false);
      assert.deepEqual(outcome.failures, []);
    },
    verdict: (packet: Partial<Packet> & Pick<Packet, 'source' | 'destination'>) =>
      traceRules(kernel.state(), {
        ...{ family: packet.source.includes(':') ? 6 : 4, protocol: 6, port: 80, sourcePort: 40_000 },
        ...packet,
      } as Packet).verdict,
  };
}

const OUT = { source: '10.0.0.1', destination: '203.0.113.1', inInterface: 'eni1', outInterface: 'eth0' } as const;
const IN = { source: '203.0.113.1', destination: '10.0.0.1', inInterface: 'eth0', outInterface: 'eni1' } as const;

describe('fault: new pods: closed until programmed (S-75)', () => {
  it('a pod passes nothing before it was handled; one that no policy selects passes everything then', async () => {
    const t = bench();
    await t.pass([B]);
    for (const packet of [OUT, IN, { ...OUT, hook: 'INPUT' } as const]) assert.equal(t.verdict(packet), 'dropped');
    assert.equal(t.verdict({ ...OUT, source: 'fd00::1', destination: '2001:db8::1' }), 'dropped');
    assert.equal(t.verdict({ ...OUT, source: '10.0.0.2' }), 'passed');
    await t.pass([A, B]);
    for (const packet of [OUT, IN, { ...OUT, hook: 'INPUT' } as const]) assert.equal(t.verdict(packet), 'passed');
    await t.pass([B]);
    assert.equal(t.verdict(OUT), 'dropped', 'it is gone');
  });

  it('nothing else is touched: other interfaces, live flows, the node over a trunk, link-local and multicast addresses', async () => {
    const t = bench();
    await t.pass([B]);
    assert.equal(t.verdict({ ...OUT, inInterface: 'eth1' }), 'passed');
    assert.equal(t.verdict({ ...IN, outInterface: 'eth1' }), 'passed');
    const connection = { mark: (5 * 2) << 24 };
    assert.equal(
      t.verdict({ ...OUT, state: 'ESTABLISHED', direction: 'REPLY', connection }),
      'passed',
      'a probe answered',
    );
    const trunk = { source: '172.18.0.2', destination: '10.0.0.1', inInterface: 'vlan.eth.7', outInterface: 'vlanx' };
    assert.equal(t.verdict({ ...trunk, sourceIsLocal: true }), 'passed', 'the kubelet');
    assert.equal(t.verdict(trunk), 'dropped');
    assert.equal(t.verdict({ ...trunk, destination: '10.0.0.2' }), 'passed', 'from elsewhere to a programmed pod');
    assert.equal(t.verdict({ ...IN, destination: '10.0.0.2', outInterface: 'vlan.eth.7' }), 'passed', 'out by a trunk');
    assert.equal(t.verdict({ ...OUT, source: '10.0.0.2', destination: '169.254.20.10', hook: 'INPUT' }), 'passed');
    assert.equal(t.verdict({ ...IN, source: '10.0.0.2', destination: '224.0.0.251' }), 'passed');
    assert.equal(t.verdict({ ...OUT, source: 'fe80::1', destination: 'ff02::2' }), 'passed');
  });

  it('on a bridge by its ports, and by the bridge where a packet is routed to it', async () => {
    const t = bench(BRIDGE);
    await t.pass([B]);
    const bridged = { source: '10.0.0.2', destination: '10.0.0.1', inInterface: 'cni0', outInterface: 'cni0' };
    assert.equal(t.verdict({ ...bridged, inPort: 'vethb', outPort: 'vetha' }), 'dropped');
    assert.equal(
      t.verdict({ ...bridged, source: '10.0.0.1', destination: '10.0.0.2', inPort: 'vetha', outPort: 'vethb' }),
      'dropped',
    );
    assert.equal(t.verdict({ ...bridged, destination: '10.0.0.255', inPort: 'vethb', outPort: 'vetha' }), 'passed');
    assert.equal(t.verdict({ ...IN, outInterface: 'cni0' }), 'dropped');
    assert.equal(t.verdict({ ...OUT, inInterface: 'cni0', inPort: 'vetha' }), 'dropped');
    await t.pass([A, B]);
    assert.equal(t.verdict({ ...bridged, inPort: 'vethb', outPort: 'vetha' }), 'passed');
    assert.equal(t.verdict({ ...IN, outInterface: 'cni0' }), 'passed');
  });

  it('at start a node without rules is closed; where rules stand, all stay as they are', async () => {
    const t = bench();
    assert.equal(await t.gate(), 'closed');
    assert.equal(t.verdict(OUT), 'dropped');
    assert.equal(t.verdict({ ...OUT, inInterface: 'eth1' }), 'passed');
    await t.pass([A]);
    assert.equal(t.verdict(OUT), 'passed');
    t.restart();
    const before = [t.kernel.savedRules(4), t.kernel.savedRules(6), t.kernel.savedSets()];
    assert.equal(await t.gate(), 'rules stand');
    assert.deepEqual([t.kernel.savedRules(4), t.kernel.savedRules(6), t.kernel.savedSets()], before);
    await t.pass([A]);
    assert.equal(t.verdict(OUT), 'passed');
  });

  it('opened again, and in audit, there is no gate and nothing of it is left', async () => {
    const t = bench();
    await t.pass([B]);
    await t.pass([B], [], LAYOUT as typeof CLOSED);
    assert.equal(t.verdict(OUT), 'passed');
    assert.ok(!/NEW|programmed/.test(t.kernel.savedRules(4) + t.kernel.savedSets()));
  });

  it('live flows are not judged again because a pod comes or goes that no policy selects', async () => {
    const t = bench();
    await t.pass([B], [DENY_B]);
    const stamp = (text: string): string => /--set-xmark (\S+)/.exec(text)![1]!;
    const before = stamp(t.kernel.savedRules(4));
    await t.pass([A, B], [DENY_B]);
    await t.pass([B], [DENY_B]);
    assert.equal(stamp(t.kernel.savedRules(4)), before);
  });

  it('5,000 pods in a row: at no commit does a packet of an isolated pod pass, nor one of a pod that is gone', async function () {
    this.timeout(60_000);
    const t = bench();
    const perPass = 50;
    const selected = { podSelector: { matchLabels: { app: 'isolated' } }, policyTypes: ['Ingress', 'Egress'] };
    const isolated = policy('x/p', selected);
    let outside: readonly string[] = [];
    let looked = 0;
    let lines = 0;
    const check = (): void => {
      const state = t.kernel.state();
      const passes = (packet: Partial<Packet>): boolean =>
        traceRules(state, { ...OUT, family: 4, protocol: 6, port: 80, sourcePort: 40_000, ...packet }).verdict ===
        'passed';
      const open = outside.filter((address) => passes({ source: address }) || passes({ ...IN, destination: address }));
      looked++;
      assert.deepEqual(open, []);
    };
    await t.pass([], [isolated]);
    // Each commit, and the lines of sets now and then: reading the whole kernel takes its time.
    t.kernel.onLine = (text) => void ((text === 'COMMIT' || ++lines % 40 === 0) && check());
    let alive: readonly Pod[] = [];
    for (let turn = 0; turn < 100; turn++) {
      const leaving = alive.slice(0, perPass);
      const staying = alive.slice(perPass);
      // Addresses come again after three turns; the pods that had them were not isolated, or were.
      const made = Array.from({ length: perPass }, (_, index) => {
        const app = turn % 2 === 0 || index === 0 ? 'isolated' : 'open';
        return pod(`x/p${turn}-${index}`, { addresses: [`10.7.${turn % 3}.${index}`], labels: { app } });
      });
      outside = made.slice(0, 1).map(({ addresses }) => addresses[0]!);
      check();
      alive = [...staying, ...made];
      await t.pass(alive, [isolated]);
      outside = [...outside, ...leaving.slice(-1).map(({ addresses }) => addresses[0]!)];
      check();
    }
    t.kernel.onLine = undefined;
    assert.ok(looked > 400, `${looked}`);
    const open = alive.find(({ labels }) => labels.app === 'open')!;
    assert.equal(t.verdict({ ...OUT, source: open.addresses[0]! }), 'passed');
  });
});
