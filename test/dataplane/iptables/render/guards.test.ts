import assert from 'node:assert/strict';
import { SnapshotSync } from '../../../support/snapshot-sync.ts';
import type { Backend } from '../../../../src/core/vocabulary.ts';
import { readEpoch } from '../../../../src/dataplane/iptables/plan/epoch.ts';
import type { Policy } from '../../../../src/policy/model.ts';
import { MAX_PORTS, guardChains } from '../../../../src/dataplane/iptables/render/guards.ts';
import type { PortGuard } from '../../../../src/dataplane/iptables/rules/ruleset.ts';
import { NO_INTERFACES, type PodInterface } from '../../../../src/host/pod-interfaces.ts';
import { ruleText } from '../../../../src/dataplane/iptables/rules/write-text.ts';
import { MAX_CHAIN_NAME } from '../../../../src/dataplane/iptables/rules/names.ts';
import {
  BACK,
  BRIDGED,
  isolated,
  itHoldsForBridgedPods,
  packetOf,
  PODS,
  PORTS,
  type ProbePacket,
} from '../../../support/bridged-ports.ts';
import { snapshot } from '../../../support/builders.ts';
import { LAYOUT } from '../../../support/fake-cluster.ts';
import { createFakeKernel } from '../../../support/fake-kernel.ts';
import { type Packet, traceRules } from '../../../support/tracer.ts';

function bench(backend: Backend = 'iptables-nft') {
  const kernel = createFakeKernel({ backend });
  let interfaces: readonly PodInterface[] = PORTS;
  const reconciler = new SnapshotSync({
    nodeName: 'node-1',
    kernel,
    now: () => 0,
    firstEpoch: 5,
    interfaces: () => ({ ...NO_INTERFACES, pods: interfaces }),
  });
  return {
    kernel,
    attach: (list: readonly PodInterface[]) => {
      interfaces = list;
    },
    pass: (...policies: readonly Policy[]) =>
      reconciler.sync(snapshot({ pods: PODS, policies }), 'enforce', LAYOUT, false),
    verdict: (packet: ProbePacket) => traceRules(kernel.state(), packetOf(packet)).verdict,
    epoch: () => readEpoch(kernel.state().families[4]!, LAYOUT.marks!),
  };
}

describe("fault: bridge neighbours: what is at no listed address is still the pod's (S-56)", () => {
  itHoldsForBridgedPods(bench);

  it('pods that no policy selects have no chain, and no flow is judged again for that', async () => {
    const t = bench();
    await t.pass(isolated('a'));
    const epoch = t.epoch();
    await t.pass();
    assert.equal(t.epoch(), epoch);
    assert.ok(![...t.kernel.state().families[6]!.chains.keys()].some((name) => name.startsWith('PCL-P')));
  });

  it("a second interface is the pod's in both directions; on the first only what the pod sends", async () => {
    const t = bench();
    t.attach([
      { name: 'eni1', via: 'route', pod: 'x/a' },
      { name: 'veth9', via: 'second', pod: 'x/a' },
    ]);
    await t.pass(isolated('a'));
    const second = { source: '169.254.172.5', destination: '203.0.113.1' };
    assert.equal(t.verdict({ ...second, inInterface: 'veth9' }), 'dropped');
    assert.equal(t.verdict({ ...second, inInterface: 'eni1' }), 'dropped');
    assert.equal(t.verdict({ ...second, inInterface: 'eni2' }), 'passed');
    assert.equal(t.verdict({ source: '203.0.113.1', destination: '169.254.172.5', outInterface: 'veth9' }), 'dropped');
  });

  it('a live flow, and its answers, are denied once the interface is known', async () => {
    const t = bench();
    t.attach([]);
    await t.pass(isolated('a', { policyTypes: ['Ingress'] }));
    const live = { source: 'fe80::b', destination: 'fe80::a', ...BRIDGED, state: 'ESTABLISHED' } as const;
    const connection = { mark: (t.epoch()! * 2) << 24 };
    assert.equal(t.verdict({ ...live, connection }), 'passed', 'not known yet');
    t.attach(PORTS);
    await t.pass(isolated('a', { policyTypes: ['Ingress'] }));
    assert.equal(t.verdict({ ...live, connection }), 'dropped');
    const reply = { ...live, source: 'fe80::a', destination: 'fe80::b', ...BACK, direction: 'REPLY' } as const;
    assert.equal(t.verdict({ ...reply, connection: { mark: 0 } }), 'dropped', 'its answers');
  });

  it('an interface whose endpoint chain the kernel refuses is closed', async () => {
    const t = bench();
    t.kernel.faults.refuse = (line) => line.includes('--dport 80 ');
    const outcome = await t.pass(isolated('a', { ingress: [{ ports: [{ port: 80 }] }] }));
    assert.equal(outcome.partial, true);
    assert.equal(
      t.verdict({ source: 'fe80::b', destination: 'fe80::a', ...BRIDGED, protocol: 6, port: 80 }),
      'dropped',
    );
    assert.equal(t.verdict({ source: 'fe80::b', destination: 'fe80::c', ...BRIDGED, outPort: 'veth-c' }), 'passed');
  });

  for (const backend of ['iptables-nft', 'iptables-legacy'] as const) {
    it(`a kernel that cannot match bridge ports takes all other rules, and the fault is told (${backend})`, async () => {
      const t = bench(backend);
      const refuses = (line: string): boolean => line.includes('physdev');
      if (backend === 'iptables-nft') t.kernel.faults.refuse = refuses;
      else t.kernel.faults.refuseAtCommit = refuses;
      const outcome = await t.pass(isolated('a'));
      assert.equal(outcome.partial, true);
      assert.match(outcome.failures[0]!.object!, /^PCL-P[EI]/);
      assert.equal(t.verdict({ source: '10.0.0.2', destination: '10.0.0.1', ...BRIDGED }), 'dropped');
      assert.equal(t.verdict({ source: 'fe80::b', destination: 'fe80::a', ...BRIDGED }), 'passed');
      t.kernel.faults.refuse = undefined;
      t.kernel.faults.refuseAtCommit = undefined;
      assert.deepEqual((await t.pass(isolated('a'))).failures, []);
      assert.equal(t.verdict({ source: 'fe80::b', destination: 'fe80::a', ...BRIDGED }), 'dropped');
    });
  }
});

describe('render: chains that find a pod by its interface', () => {
  const guards = Array.from({ length: 300 }, (_, index): PortGuard => {
    const name = `veth${((index * 2654435761) >>> 0).toString(16).padStart(8, '0')}`;
    return {
      name,
      via: index % 7 === 0 ? 'second' : 'bridge',
      addresses: [],
      targets: { egress: 'PCL-E-x', ingress: 'PCL-I-x' },
    };
  });

  it('are divided by the names, and each interface is found in one of them', () => {
    const chains = guardChains(guards, { ...LAYOUT, mode: 'enforce' });
    const byName = new Map(chains.map((chain) => [chain.name, chain]));
    assert.equal(byName.size, chains.length);
    for (const { name } of chains) assert.ok(name.length <= MAX_CHAIN_NAME, name);
    for (const chain of chains)
      assert.ok(chain.rules.length <= 2 * MAX_PORTS + 1, `${chain.name} ${chain.rules.length}`);
    const ends = chains.flatMap(({ rules }) =>
      rules.filter(({ target }) => 'chain' in target && !byName.has(target.chain)),
    );
    assert.equal(ends.length, 4 * guards.length);
  });

  it('on a routed node what comes by another interface is compared once, and each pod is found', () => {
    const routed = guards.map((guard): PortGuard => ({ ...guard, via: 'second', addresses: ['10.0.0.1'] }));
    const chains = guardChains(routed, { ...LAYOUT, mode: 'enforce' });
    const closed = { name: 'PCL-E-x', rules: [{ matches: [], target: { kind: 'drop' } as const }] };
    const text = new Map(
      [...chains, closed].map(({ name, rules }) => [
        name,
        rules.map((rule) => ruleText(rule, { family: 4, epoch: 1 })),
      ]),
    );
    const rules = { chains: text, hooks: { FORWARD: ['-j PCL-PE'], INPUT: [] } };
    const run = (inInterface: string, source: string): ReturnType<typeof traceRules> => {
      const packet: Packet = { family: 4, source, destination: '203.0.113.1', protocol: 6, port: 80, inInterface };
      return traceRules({ families: { 4: rules }, sets: new Map() }, packet);
    };
    assert.deepEqual(run('eth0', '10.9.9.9').matched.length, 2);
    for (const { name } of routed) {
      assert.equal(run(name, '10.9.9.9').verdict, 'dropped', name);
      assert.equal(run(name, '10.0.0.1').verdict, 'passed', name);
    }
    assert.equal(run(`${routed[0]!.name}x`, '10.9.9.9').verdict, 'passed');
  });

  it('hold everything, whatever the names', () => {
    const names = [
      'v',
      've',
      'vet',
      ...Array.from({ length: 40 }, (_, index) => `veth${'x'.repeat(index % 11)}${index}`),
    ];
    const odd = [...new Set(names)].map(
      (name): PortGuard => ({ name, via: 'bridge', addresses: [], targets: { egress: 'PCL-E-x' } }),
    );
    const chains = guardChains(odd, { ...LAYOUT, mode: 'audit' });
    const own = new Set(chains.map(({ name }) => name));
    const ends = chains.flatMap(({ rules }) =>
      rules.filter(({ target }) => 'chain' in target && !own.has(target.chain)),
    );
    assert.equal(ends.length, odd.length);
  });
});
