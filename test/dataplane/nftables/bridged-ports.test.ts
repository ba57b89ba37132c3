/** What comes or goes by a port of a bridge is judged as its pod's (S-56), by a second table that tags packets. */
import assert from 'node:assert/strict';
import type { Policy } from '../../../src/policy/model.ts';
import { createNftablesDataplane } from '../../../src/dataplane/nftables/nftables-dataplane.ts';
import { probe, probeBridges } from '../../../src/dataplane/nftables/sync/probe.ts';
import { readEpoch } from '../../../src/dataplane/nftables/plan/epochs.ts';
import { NEW_POD_TAGS, tagsOf } from '../../../src/dataplane/nftables/table/tags.ts';
import { NodeCompiler } from '../../../src/compile/compile-node.ts';
import { NO_INTERFACES, type PodInterface, type PodInterfaces } from '../../../src/host/pod-interfaces.ts';
import {
  BACK,
  BRIDGED,
  FROM_A,
  isolated,
  itHoldsForBridgedPods,
  packetOf,
  PODS,
  PORTS,
  type ProbePacket,
  TO_A,
} from '../../support/bridged-ports.ts';
import { snapshot } from '../../support/builders.ts';
import { feed, LAYOUT } from '../../support/fake-cluster.ts';
import { createFakeNft } from '../../support/nft-fake.ts';
import { createNftNode } from '../../support/nft-node.ts';
import { traceTable } from '../../support/nft-tracer.ts';
import type { Packet } from '../../support/tracer.ts';

const CNI0 = { bridges: [{ name: 'cni0', isOnlyPods: true }], broadcasts: ['10.0.0.255'] };

function bench(layout = LAYOUT) {
  let interfaces: PodInterfaces = { ...NO_INTERFACES, ...CNI0, pods: PORTS };
  const node = createNftNode('node-1', { interfaces: () => interfaces, layout });
  const shot = (policies: readonly Policy[]) => snapshot({ pods: PODS, policies });
  return {
    node,
    kernel: node.kernel,
    attach: (pods: readonly PodInterface[]) => {
      interfaces = { ...interfaces, pods };
    },
    pass: (...policies: readonly Policy[]) => node.bring(shot(policies)),
    readBack: (...policies: readonly Policy[]) => node.bring(shot(policies), true),
    try: (...policies: readonly Policy[]) => node.sync(shot(policies)),
    verdict: (packet: ProbePacket) => traceTable(node.kernel.table()!, packetOf(packet)).verdict,
    /** Of the last transaction that went in. */
    last: () => node.kernel.transactions.at(-1)!,
    epoch: () => readEpoch(node.kernel.table()!, LAYOUT.marks!),
  };
}

/** From a's port through the node. */
const ROUTED = { inPort: 'veth-a', inInterface: 'cni0', outInterface: 'eth0' } as const;

describe("fault: bridge neighbours under nftables: what is at no listed address is still the pod's (S-56)", () => {
  itHoldsForBridgedPods(bench);

  it('neighbour discovery passes as long as it stays on the link, or is for the node (S-58)', async () => {
    const t = bench();
    await t.pass(isolated('a'));
    const solicitation = { source: 'fe80::a', protocol: 58, port: 135, hopLimit: 255 };
    const data = { ...solicitation, port: 128 };
    const toNode = { inPort: 'veth-a', inInterface: 'cni0', hook: 'INPUT' } as const;
    for (const near of [
      { destination: 'ff02::1:ff00:2', ...BACK },
      { destination: 'fd00::2', ...BACK },
      { destination: 'fe80::1', ...toNode },
      { destination: 'fd00::ff', ...toNode, destinationIsLocal: true },
    ]) {
      assert.equal(t.verdict({ ...solicitation, ...near }), 'passed', JSON.stringify(near));
      assert.equal(t.verdict({ ...data, ...near }), 'dropped', JSON.stringify(near));
    }
    // Its hop limit is one less behind this hook.
    assert.equal(t.verdict({ ...solicitation, destination: '2001:db8::1', ...ROUTED }), 'dropped');
  });

  it('replies are judged by the rules of their flows, and those to the node are not (S-60)', async () => {
    const t = bench();
    await t.pass(isolated('a', { policyTypes: ['Ingress'] }));
    const live = { state: 'ESTABLISHED', connection: { mark: 0 } } as const;
    const reply = { ...live, direction: 'REPLY' } as const;
    assert.equal(t.verdict({ source: 'fe80::b', destination: 'fe80::a', ...BRIDGED, ...live }), 'dropped');
    assert.equal(t.verdict({ source: 'fe80::a', destination: 'fe80::b', ...BACK, ...reply }), 'dropped');
    const toNode = { source: 'fe80::a', destination: 'fe80::1', ...BACK, hook: 'INPUT', ...reply } as const;
    assert.equal(t.verdict({ ...toNode, destinationIsLocal: true }), 'passed');
    await t.pass(isolated('a', { policyTypes: ['Egress'] }));
    assert.equal(t.verdict({ source: 'fe80::a', destination: 'fe80::b', ...BACK, ...live }), 'dropped');
    assert.equal(t.verdict({ source: 'fe80::b', destination: 'fe80::a', ...BRIDGED, ...reply }), 'dropped');
  });

  it('a port whose endpoint chain the kernel refuses is closed', async () => {
    const t = bench();
    t.kernel.faults.refuse = (line) => line.includes('dport 80 ');
    const outcome = await t.try(isolated('a', { ingress: [{ ports: [{ port: 80 }] }] }));
    assert.equal(outcome.partial, true);
    const http = { source: 'fe80::b', destination: 'fe80::a', ...BRIDGED, protocol: 6, port: 80 };
    assert.equal(t.verdict(http), 'dropped');
    assert.equal(t.verdict({ ...http, destination: 'fe80::c', outPort: 'veth-c' }), 'passed');
  });

  it('a packet that was let through leaves without a tag by a port of no isolated pod', async () => {
    const t = bench();
    await t.pass(isolated('a', { egress: [{}], policyTypes: ['Egress'] }));
    const packet: Packet = { family: 6, protocol: 17, port: 9999, ...FROM_A[0]! };
    const { verdict, matched } = traceTable(t.kernel.table()!, packet);
    const tags = matched.flatMap((rule) => /"tag":("[^"]*"|null)/.exec(rule)?.[1] ?? []);
    assert.deepEqual([verdict, tags.at(-1)], ['passed', 'null']);
  });

  it('in audit mode nothing is dropped, and what would be is counted and logged', async () => {
    const t = bench({ ...LAYOUT, log: { group: 7, perSecond: 10, burst: 20 } });
    const audited = snapshot({ pods: PODS, policies: [isolated('a')] });
    await t.node.sync(audited, true, 'audit');
    const { verdict, logged } = traceTable(t.kernel.table()!, {
      ...{ family: 6, protocol: 17, port: 9999 },
      ...TO_A[0]!,
    });
    assert.equal(verdict, 'passed');
    assert.equal(logged.length, 1);
  });
});

describe('nftables: the table of family bridge', () => {
  const hasBridge = (t: ReturnType<typeof bench>): boolean => t.kernel.table()!.chains.has('bridge prerouting');

  it('comes with the first isolated pod at a port and goes with the last, each in one transaction with what it needs', async () => {
    const t = bench();
    await t.pass();
    assert.equal(hasBridge(t), false);
    await t.pass(isolated('a'));
    const made = t.kernel.transactions.filter((lines) => lines.some((line) => line.includes(' bridge ')));
    assert.equal(made.length, 1);
    assert.ok(made[0]!.includes('add table bridge portcullis'));
    assert.ok(made[0]!.some((line) => line.startsWith('add chain inet portcullis prerouting { type filter hook')));
    const others = t.kernel.transactions.length;
    await t.pass();
    const gone = t.kernel.transactions.slice(others);
    assert.ok(gone[0]!.includes('delete table bridge portcullis'));
    assert.ok(gone[0]!.includes('delete chain inet portcullis prerouting'));
    assert.equal(hasBridge(t), false);
    assert.deepEqual([(await t.readBack()).drift, (await t.readBack()).steps], [[], 0]);
  });

  it('a second agent finds both tables as they should be, and writes nothing', async () => {
    const t = bench();
    await t.pass(isolated('a'));
    const interfaces = { ...NO_INTERFACES, ...CNI0, pods: PORTS };
    const next = createNftNode('node-1', { kernel: t.kernel, interfaces });
    assert.equal((await next.bring(snapshot({ pods: PODS, policies: [isolated('a')] }))).steps, 0);
  });

  for (const [what, edit] of Object.entries({
    'the table is gone': 'delete table bridge portcullis',
    'the other table is gone': 'delete table inet portcullis',
    'a hook is emptied': 'flush chain bridge portcullis forward',
    'an object of theirs is in it': 'add chain bridge portcullis theirs',
    'a port is taken out': 'delete element bridge portcullis leaving { "veth-a" }',
  }))
    it(`fault: ${what}: a comparison tells and repairs it`, async () => {
      const t = bench();
      await t.pass(isolated('a'));
      t.kernel.edit(edit);
      assert.notEqual((await t.readBack(isolated('a'))).drift.length, 0);
      for (const packet of TO_A) assert.equal(t.verdict(packet), 'dropped');
      const again = await t.readBack(isolated('a'));
      assert.deepEqual([again.drift, again.steps], [[], 0]);
    });

  it('fault: a set of another kind has its name: both tables are made anew', async () => {
    const t = bench();
    await t.pass();
    t.kernel.edit('add table bridge portcullis', 'add set bridge portcullis listed4 { type mark; }');
    await t.readBack(isolated('a'));
    for (const packet of TO_A) assert.equal(t.verdict(packet), 'dropped');
  });

  it('mode off takes both out', async () => {
    const t = bench();
    await t.pass(isolated('a'));
    assert.deepEqual((await t.node.synchronizer.remove({ resync: true })).failures, []);
    assert.equal(t.kernel.table(), undefined);
  });

  it('closed to new pods: what has no programmed address passes no port (S-75)', async () => {
    const t = bench({ ...LAYOUT, newPods: { interfacePrefixes: ['veth'] } });
    await t.pass(isolated('a', { ingress: [{}], egress: [{}] }));
    const late = { source: '10.0.0.7', destination: '10.0.0.2', ...BRIDGED, inPort: 'veth-late' };
    assert.equal(t.verdict(late), 'dropped');
    assert.equal(t.verdict({ ...late, outPort: undefined, ...ROUTED, inPort: 'veth-late' } as never), 'dropped');
    const toLate = { source: '10.0.0.2', destination: '10.0.0.7', ...BRIDGED, outPort: 'veth-late' };
    assert.equal(t.verdict(toLate), 'dropped');
    assert.equal(t.verdict({ ...toLate, state: 'ESTABLISHED', direction: 'REPLY' }), 'passed', 'first packets alone');
    assert.equal(t.verdict({ source: '10.0.0.2', destination: '10.0.0.1', ...BRIDGED }), 'passed');
    assert.equal(t.verdict({ source: '10.0.0.2', destination: '10.0.0.255', ...BRIDGED }), 'passed', 'broadcast');
    assert.equal(t.verdict({ source: 'fe80::7', destination: 'fe80::2', ...BRIDGED, inPort: 'veth-late' }), 'passed');
    const routed = { source: '203.0.113.1', inInterface: 'eth0', outInterface: 'cni0' };
    assert.equal(t.verdict({ ...routed, destination: '10.0.0.7' }), 'dropped');
    assert.equal(t.verdict({ ...routed, destination: '10.0.0.2' }), 'passed');
  });
});

describe('nftables: tags of ports', () => {
  it('are one for each name and end, the same whatever else there is, and none is that of new pods', () => {
    const names = Array.from({ length: 2_000 }, (_, index) => `veth${index.toString(16).padStart(8, '0')}`);
    const all = new Set<string>();
    for (const end of ['source', 'destination'] as const) {
      const tags = tagsOf(end, names);
      for (const [name, tag] of tags) {
        all.add(tag);
        assert.equal(tagsOf(end, [name]).get(name), tag);
        const [major = 0, minor = 0] = tag.split(':').map((text) => Number.parseInt(text, 16));
        const from = end === 'source' ? 0x8000 : 0xa000;
        assert.ok(major >= from && major < from + 0x2000 && minor < 0x10000, tag);
      }
    }
    for (const tag of Object.values(NEW_POD_TAGS)) all.add(tag);
    assert.equal(all.size, 2 * names.length + 2);
  });
});

describe('nftables: a kernel without tables of family bridge', () => {
  const refuses = (text: string): boolean => text.includes(' bridge ');

  it('fault: takes all the rest, and which it is tells the probe', async () => {
    const kernel = createFakeNft();
    const layout = { ...LAYOUT, mode: 'enforce' } as const;
    assert.equal(await probe(kernel, 'portcullis-probe', layout), undefined);
    assert.equal(await probeBridges(kernel, 'portcullis-probe', layout), undefined);
    assert.equal(kernel.table(), undefined);
    kernel.faults.refuse = refuses;
    assert.equal(await probe(kernel, 'portcullis-probe', layout), undefined);
    await assert.rejects(probeBridges(kernel, 'portcullis-probe', layout));
  });

  it('fault: ports are left alone there, and policies lack them', async () => {
    const kernel = createFakeNft();
    kernel.faults.refuse = refuses;
    let problem: string | undefined = 'add table bridge: Operation not supported';
    const options = {
      kernel,
      table: 'portcullis',
      layout: { trunkInterfacePrefix: '' },
      now: () => 0,
      bridgeProblem: () => problem,
    };
    const dataplane = createNftablesDataplane(options);
    const compiler = new NodeCompiler('node-1');
    feed(compiler, undefined, snapshot({ pods: PODS, policies: [isolated('a')] }));
    const interfaces = { ...NO_INTERFACES, ...CNI0, pods: PORTS };
    const request = { mode: 'enforce', resync: true, interfaces } as const;
    const { failures, lacks } = await dataplane.sync(compiler.intent(), request);
    assert.deepEqual(failures, []);
    assert.match(lacks[0]!.text, /^sight of a bridge's ports \(add table bridge.*\): what pods at cni0/);
    kernel.faults.refuse = undefined;
    problem = undefined;
    assert.deepEqual((await dataplane.sync(compiler.intent(), request)).lacks, []);
    assert.ok(kernel.table()!.chains.has('bridge prerouting'));
  });
});
