import assert from 'node:assert/strict';
import { SnapshotSync } from '../../../support/snapshot-sync.ts';
import { type Backend, FAMILIES } from '../../../../src/core/vocabulary.ts';
import { toolName } from '../../../../src/dataplane/iptables/kernel/linux-kernel.ts';
import { FeatureWatch } from '../../../../src/dataplane/iptables/kernel/probe-features.ts';
import { expressible, lacksOf } from '../../../../src/dataplane/iptables/rules/features.ts';
import { FEATURES, type Feature } from '../../../../src/dataplane/iptables/rules/kernel-features.ts';
import { NodeCompiler } from '../../../../src/compile/compile-node.ts';
import { Synchronizer } from '../../../../src/dataplane/iptables/sync/synchronizer.ts';
import { NO_INTERFACES } from '../../../../src/host/pod-interfaces.ts';
import type { Rule } from '../../../../src/dataplane/iptables/rules/rule.ts';
import { ruleText } from '../../../../src/dataplane/iptables/rules/write-text.ts';
import { pod, policy, snapshot } from '../../../support/builders.ts';
import { LAYOUT } from '../../../support/fake-cluster.ts';
import { type FakeKernel, createFakeKernel } from '../../../support/fake-kernel.ts';
import { everyRule } from '../../../support/rule-samples.ts';
import { type Packet, trace } from '../../../support/tracer.ts';

/** What a kernel without the feature refuses, as iptables and ipset write it. */
const SPOKEN: Readonly<Record<Feature, RegExp>> = {
  conntrack: /-m conntrack /,
  set: /-m set /,
  'hash:ip': /^create \S+ hash:ip /,
  'hash:net': /^create \S+ hash:net /,
  'hash:ip,port': /^create \S+ hash:ip,port /,
  'hash:net,port': /^create \S+ hash:net,port /,
  tcp: /-m tcp /,
  udp: /-m udp /,
  sctp: /-m sctp /,
  multiport: /-m multiport /,
  connmark: /-m connmark |-j CONNMARK /,
  bpf: /-m bpf /,
  limit: /-m limit /,
  NFLOG: /-j NFLOG /,
  comment: /-m comment /,
  addrtype: /-m addrtype /,
};

const PODS = [
  pod('x/open', { addresses: ['10.0.0.1', 'fd00::1'], namedPorts: [{ name: 'web', protocol: 'TCP', port: 8080 }] }),
  pod('x/guarded', { addresses: ['10.0.0.2', 'fd00::2'], namedPorts: [{ name: 'web', protocol: 'TCP', port: 8080 }] }),
  pod('x/locked', { addresses: ['10.0.0.3', 'fd00::3'] }),
  pod('x/friend', { addresses: ['10.0.0.4', 'fd00::4'] }),
];
const from = (name: string) => [{ podSelector: { matchLabels: { pod: name } } }];
const CLUSTER = snapshot({
  pods: PODS,
  policies: [
    policy('x/locked', { podSelector: { matchLabels: { pod: 'locked' } }, policyTypes: ['Ingress', 'Egress'] }),
    policy('x/guarded', {
      podSelector: { matchLabels: { pod: 'guarded' } },
      ingress: [
        { from: from('friend'), ports: [{ port: 80 }, { port: 443 }, { protocol: 'SCTP', port: 7 }, { port: 'web' }] },
        { from: [{ ipBlock: { cidr: '203.0.113.0/24' } }], ports: [{ port: 80 }] },
        { from: [{ ipBlock: { cidr: '198.51.100.0/25' } }, { ipBlock: { cidr: '192.0.2.0/25' } }] },
        ...Array.from({ length: 20 }, (_, index) => 81 + index).map((port) => ({
          from: [{ ipBlock: { cidr: `198.51.${port}.0/24` } }, { ipBlock: { cidr: `2001:db8:${port}::/48` } }],
          ports: [{ port }],
        })),
        { ports: [{ protocol: 'UDP', port: 53 }] },
      ],
    }),
  ],
});

const PROTOCOLS = { TCP: 6, UDP: 17, SCTP: 132 };

function packets(): Packet[] {
  const outside = ['203.0.113.5', '2001:db8::5'];
  const all = [...PODS.map(({ addresses }) => addresses), outside];
  return all.flatMap((sources) =>
    all.flatMap((destinations) =>
      ([4, 6] as const).flatMap((family) =>
        Object.values(PROTOCOLS).flatMap((protocol) =>
          [7, 53, 80, 443, 8080, 9].map((port) => ({
            family,
            source: sources[family === 4 ? 0 : 1]!,
            destination: destinations[family === 4 ? 0 : 1]!,
            protocol,
            port,
          })),
        ),
      ),
    ),
  );
}

interface Node {
  readonly kernel: FakeKernel;
  readonly lack: (feature: Feature | undefined) => void;
  readonly pass: (readBack?: boolean) => ReturnType<SnapshotSync['sync']>;
  readonly unknown: string[];
}

function node(backend: Backend): Node {
  const kernel = createFakeKernel({ backend });
  const unknown: string[] = [];
  const watch = new FeatureWatch({
    run: kernel.run,
    lockWaitSeconds: 5,
    onUnknown: ({ message }) => unknown.push(message),
  });
  const target = {
    families: kernel.families,
    restoreOf: (family: 4 | 6) => toolName(kernel.backend, family, 'restore'),
  };
  const reconciler = new SnapshotSync({
    nodeName: 'node-1',
    kernel,
    now: () => 0,
    firstEpoch: 5,
    missingFeatures: (question) => watch.missing(target, question),
  });
  return {
    kernel,
    unknown,
    lack: (feature) => {
      const refuse = feature && ((line: string): boolean => SPOKEN[feature].test(line));
      if (backend === 'iptables-nft') kernel.faults.refuse = refuse;
      else {
        kernel.faults.refuseAtCommit = refuse;
        // ipset commits each line by itself.
        kernel.faults.refuse = refuse && ((line) => line.startsWith('create ') && refuse(line));
      }
    },
    pass: (readBack = false) => reconciler.sync(CLUSTER, 'enforce', LAYOUT, readBack),
  };
}

async function enforced(): Promise<{ whole: readonly boolean[]; sets: string }> {
  const { kernel, pass } = node('iptables-nft');
  assert.deepEqual((await pass(true)).failures, []);
  const state = kernel.state();
  return { whole: packets().map((packet) => trace(state, packet) === 'passed'), sets: kernel.savedSets() };
}

/** Judged as on a kernel that has everything. */
const SAME: readonly Feature[] = [
  'tcp',
  'udp',
  'sctp',
  'multiport',
  'connmark',
  'limit',
  'NFLOG',
  'comment',
  'addrtype',
];

describe('rules as a kernel without some feature takes them', () => {
  for (const feature of FEATURES)
    it(`${feature}: no text asks for it, and what never did is written as before`, () => {
      for (const family of FAMILIES) {
        const texts = (rules: readonly Rule[]): readonly string[] =>
          rules.map((rule) => ruleText(rule, { family, marks: { mask: 0xff000000 }, epoch: 7 }));
        for (const rule of everyRule(family)) {
          const written = texts(
            expressible([rule], family, { ...LAYOUT, mode: 'enforce', missing: { [family]: [feature] } }),
          );
          const [before = ''] = texts([rule]);
          if (SPOKEN[feature].test(before)) assert.ok(!written.some((text) => SPOKEN[feature].test(text)), before);
          else assert.deepEqual(written, [before]);
        }
      }
    });
});

for (const backend of ['iptables-nft', 'iptables-legacy'] as const) {
  describe(`fault: the kernel lacks what rules use (${backend})`, () => {
    let whole: readonly boolean[];
    let sets: string;
    before(async () => {
      ({ whole, sets } = await enforced());
      for (const type of ['hash:ip', 'hash:net', 'hash:ip,port']) assert.ok(sets.includes(` ${type} `), type);
      assert.ok(whole.some((passed) => passed) && whole.some((passed) => !passed));
    });

    for (const feature of FEATURES) {
      it(`${feature}: found by name; nothing passes that did not pass before`, async () => {
        const { kernel, lack, pass, unknown } = node(backend);
        lack(feature);
        const outcome = await pass(true);
        assert.deepEqual(unknown, []);
        assert.deepEqual(outcome.missing, { 4: [feature], 6: [feature] });
        const lacks = lacksOf(outcome.missing);
        const isNeeded = lacks.some(({ neededFor }) => neededFor === 'policies');
        assert.deepEqual(!isNeeded, SAME.includes(feature) || feature === 'bpf');
        assert.match(lacks.map(({ text }) => text).join('\n'), /^\S+ \(IPv[46](, IPv6)?; module \S+/);
        const isUsed = feature.startsWith('hash:') && sets.includes(` ${feature} `);
        assert.equal(outcome.failures.length > 0, isUsed, JSON.stringify(outcome.failures));
        assert.ok(!isUsed || outcome.partial);
        const state = kernel.state();
        for (const [index, packet] of packets().entries()) {
          const passed = trace(state, packet) === 'passed';
          const hairpin = packet.source === packet.destination;
          if (SAME.includes(feature)) assert.equal(passed, whole[index], JSON.stringify(packet));
          else if (feature === 'bpf' && !hairpin) assert.equal(passed, whole[index], JSON.stringify(packet));
          else assert.ok(!passed || whole[index], JSON.stringify(packet));
        }
        assert.doesNotMatch(`${kernel.savedRules(4)}${kernel.savedRules(6)}`, /PCL-PROBE/);
        assert.doesNotMatch(kernel.savedSets(), /probe/);
      });
    }

    it('what was missing is asked for again at the next read-back, and used when it is there', async () => {
      const { kernel, lack, pass } = node(backend);
      lack('NFLOG');
      assert.deepEqual((await pass(true)).missing, { 4: ['NFLOG'], 6: ['NFLOG'] });
      assert.doesNotMatch(kernel.savedRules(4), /NFLOG/);
      lack(undefined);
      assert.deepEqual((await pass()).missing, { 4: ['NFLOG'], 6: ['NFLOG'] }, 'an event asks nothing');
      const outcome = await pass(true);
      assert.deepEqual([outcome.missing, outcome.failures], [{}, []]);
      assert.match(kernel.savedRules(4), /NFLOG/);
      const before = kernel.commands.length;
      await pass(true);
      assert.ok(!kernel.commands.slice(before).some((command) => command.includes('restore')), 'nothing left to ask');
    });

    it('what goes missing later is found after the first refusal', async () => {
      const { kernel, lack, pass } = node(backend);
      assert.deepEqual((await pass(true)).missing, {});
      const chains = [...kernel.state().families[4]!.chains.keys()].filter((name) => /^PCL-[EI]R?-/.test(name));
      assert.ok(chains.length > 0);
      kernel.editRules(4, ...chains.map((name) => `:${name} - [0:0]`));
      lack('limit');
      const refused = await pass(true);
      assert.ok(refused.failures.some(({ reason }) => reason === 'refused'));
      const outcome = await pass(true);
      assert.deepEqual([outcome.missing, outcome.failures], [{ 4: ['limit'], 6: ['limit'] }, []]);
    });

    it('a lock that is held says nothing about features', async () => {
      const { kernel, pass, unknown } = node(backend);
      kernel.faults.lockHeld = true;
      const held = await pass(true);
      assert.deepEqual(held.missing, {});
      assert.match(unknown.join('\n'), /xtables lock/);
      kernel.faults.lockHeld = false;
      const outcome = await pass(true);
      assert.deepEqual([outcome.missing, outcome.failures], [{}, []]);
    });

    it('where nothing may be written, nothing is asked', async () => {
      const kernel = createFakeKernel({ backend });
      const questions: string[] = [];
      const reconciler = new SnapshotSync({
        nodeName: 'node-1',
        kernel,
        now: () => 0,
        firstEpoch: 5,
        missingFeatures: async (question) => {
          questions.push(question);
          return {};
        },
      });
      for (const mode of ['dry-run', 'off', 'audit'] as const) await reconciler.sync(CLUSTER, mode, LAYOUT, true);
      assert.deepEqual(questions, ['missing']);
    });
  });

  describe(`fault: the closed chain needs what may be missing (${backend})`, () => {
    it('is DROP and nothing else, whatever else the kernel refuses', async () => {
      const kernel = createFakeKernel({ backend });
      const reconciler = new SnapshotSync({ nodeName: 'node-1', kernel, now: () => 0, firstEpoch: 5 });
      // Refused without being asked for by name: the endpoint chains fail one by one.
      const refuse = (line: string): boolean => / -m (limit|comment) /.test(line);
      if (backend === 'iptables-nft') kernel.faults.refuse = refuse;
      else kernel.faults.refuseAtCommit = refuse;
      const outcome = await reconciler.sync(CLUSTER, 'enforce', LAYOUT, true);
      assert.ok(outcome.partial);
      for (const family of [4, 6] as const) {
        const { chains } = kernel.state().families[family]!;
        for (const name of ['PCL-I-closed', 'PCL-E-closed', 'PCL-IR-closed', 'PCL-ER-closed'])
          assert.deepEqual(chains.get(name), ['-j DROP'], name);
      }
      const [open, guarded, locked] = PODS.map(({ addresses }) => addresses[0]!);
      const packet = (source: string, destination: string): Packet => ({
        family: 4,
        source,
        destination,
        protocol: 6,
        port: 80,
      });
      assert.equal(trace(kernel.state(), packet(open!, guarded!)), 'dropped');
      assert.equal(trace(kernel.state(), packet(locked!, open!)), 'dropped');
      assert.equal(trace(kernel.state(), packet(guarded!, open!)), 'passed');
    });
  });
}

describe('what is asked ahead of the first sync', () => {
  const asking = () => {
    const asked: string[] = [];
    const synchronizer = new Synchronizer({
      kernel: createFakeKernel(),
      layout: LAYOUT,
      now: () => 0,
      firstEpoch: 5,
      missingFeatures: async (question) => {
        asked.push(question);
        return {};
      },
    });
    return { asked, synchronizer };
  };
  const request = { mode: 'enforce', resync: true, interfaces: NO_INTERFACES } as const;

  it('is asked once, and the first sync takes the answer', async () => {
    const { asked, synchronizer } = asking();
    synchronizer.prepare('enforce');
    synchronizer.prepare('enforce');
    const { failures } = await synchronizer.sync(new NodeCompiler('node-1').intent(), request);
    assert.deepEqual([failures, asked], [[], ['missing']]);
    await synchronizer.sync(new NodeCompiler('node-1').intent(), request);
    assert.deepEqual(asked, ['missing', 'missing']);
  });

  it('is not asked where nothing may be written', () => {
    const { asked, synchronizer } = asking();
    synchronizer.prepare('dry-run');
    synchronizer.prepare('off');
    assert.deepEqual(asked, []);
  });

  it('fault: an answer that fails is a failure of the sync that needs it, and of no other', async () => {
    let isFailing = true;
    const synchronizer = new Synchronizer({
      kernel: createFakeKernel(),
      layout: LAYOUT,
      now: () => 0,
      firstEpoch: 5,
      missingFeatures: async () => {
        if (isFailing) throw new Error('no answer');
        return {};
      },
    });
    synchronizer.prepare('enforce');
    isFailing = false;
    const first = await synchronizer.sync(new NodeCompiler('node-1').intent(), request);
    const second = await synchronizer.sync(new NodeCompiler('node-1').intent(), request);
    assert.deepEqual([first.failures.map(({ message }) => message), second.failures], [['no answer'], []]);
  });
});
