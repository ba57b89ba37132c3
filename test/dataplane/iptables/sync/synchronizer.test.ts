import assert from 'node:assert/strict';
import type { NodeIntent } from '../../../../src/compile/intent.ts';
import { NodeCompiler, loadSnapshot } from '../../../../src/compile/compile-node.ts';
import type { Backend, Mode } from '../../../../src/core/vocabulary.ts';
import type { SyncResult } from '../../../../src/dataplane/iptables/sync/one-sync.ts';
import { SnapshotSync } from '../../../support/snapshot-sync.ts';
import type { ObservedFamily, ObservedState } from '../../../../src/dataplane/iptables/plan/plan.ts';
import type { ClusterSnapshot, Pod, Policy } from '../../../../src/policy/model.ts';
import { planText } from '../../../../src/dataplane/iptables/plan/plan.ts';
import { readEpoch } from '../../../../src/dataplane/iptables/plan/epoch.ts';
import { EVERY_PACKET } from '../../../../src/dataplane/mark-bits.ts';
import { pod, policy, snapshot } from '../../../support/builders.ts';
import { LAYOUT, createFakeNode, enforce, epochsInTurn } from '../../../support/fake-cluster.ts';
import { type FakeKernel, createFakeKernel } from '../../../support/fake-kernel.ts';
import { type Packet, trace, traceRules } from '../../../support/tracer.ts';

const A = pod('x/a', { addresses: ['10.0.0.1', 'fd00::1'] });
const B = pod('x/b', { addresses: ['10.0.0.2', 'fd00::2'] });
const C = pod('y/c', { addresses: ['10.0.1.3', 'fd00::1:3'], nodeName: 'node-2' });
const D = pod('y/d', { addresses: ['10.0.1.4', 'fd00::1:4'], nodeName: 'node-2' });

const fromPod = (name: string) => ({ from: [{ podSelector: { matchLabels: { pod: name } } }] });

/** Ingress of x/a: from x/b, on any port. */
const ONLY_B = policy('x/only-b', { podSelector: { matchLabels: { pod: 'a' } }, ingress: [fromPod('b')] });
/** Ingress of x/b: from a block with a hole, on port 80. */
const BLOCK = policy('x/block', {
  podSelector: { matchLabels: { pod: 'b' } },
  ingress: [
    { from: [{ ipBlock: { cidr: '203.0.113.0/24', except: ['203.0.113.64/26'] } }], ports: [{ port: 80 }] },
    { from: [{ namespaceSelector: {} }], ports: [{ port: 81 }] },
  ],
});
const cluster = (policies: readonly Policy[] = [ONLY_B, BLOCK], pods: readonly Pod[] = [A, B, C, D]): ClusterSnapshot =>
  snapshot({ pods, policies });

interface Bench {
  readonly kernel: FakeKernel;
  reconciler: SnapshotSync;
  readonly pass: (to: ClusterSnapshot, options?: { mode?: Mode; readBack?: boolean }) => Promise<SyncResult>;
  /** As `pass`, and nothing may fail. */
  readonly enforce: Bench['pass'];
  readonly restart: () => void;
}

function bench(backend: Backend = 'iptables-nft', firstEpoch = 5): Bench {
  const kernel = createFakeKernel({ backend });
  const create = () => new SnapshotSync({ nodeName: 'node-1', kernel, now: () => 0, firstEpoch });
  const made: Bench = {
    kernel,
    reconciler: create(),
    pass: (to, { mode = 'enforce', readBack = false } = {}) => made.reconciler.sync(to, mode, LAYOUT, readBack),
    enforce: async (to, options) => {
      const outcome = await made.pass(to, options);
      assert.deepEqual(outcome.failures, []);
      return outcome;
    },
    restart: () => {
      kernel.revive();
      made.reconciler = create();
    },
  };
  return made;
}

/** As in the agent: the compiler is told change by change, and tells what changed. */
function follow(snapshotAtStart: ClusterSnapshot = cluster()) {
  const kernel = createFakeKernel({ backend: 'iptables-nft' });
  const compiler = new NodeCompiler('node-1');
  loadSnapshot(compiler, snapshotAtStart);
  const compile = (): NodeIntent => compiler.intent();
  const reconciler = new SnapshotSync({ nodeName: 'node-1', kernel, now: () => 0, firstEpoch: 5, compile });
  return { kernel, compiler, enforce: () => reconciler.sync(snapshotAtStart, 'enforce', LAYOUT, false) };
}

const packet = (source: string, destination: string, port = 80): Packet => ({
  family: source.includes(':') ? 6 : 4,
  source,
  destination,
  protocol: 6,
  port,
});
const passes = (kernel: FakeKernel, from: Pod, to: Pod, port = 80): boolean[] =>
  [0, 1].map(
    (family) => trace(kernel.state(), packet(from.addresses[family]!, to.addresses[family]!, port)) === 'passed',
  );

const epochOf = (kernel: FakeKernel): (number | undefined)[] =>
  ([4, 6] as const).map((family) => readEpoch(kernel.state().families[family]!, LAYOUT.marks!));

const writes = (kernel: FakeKernel): string[] => kernel.commands.filter((command) => command.includes('restore'));

describe('reconcile: what is there already', () => {
  it('a restart over an unchanged cluster reads once and writes nothing', async () => {
    const { kernel, ...made } = bench();
    await made.enforce(cluster());
    const saved = [kernel.savedRules(4), kernel.savedRules(6), kernel.savedSets()];
    const count = writes(kernel).length;
    made.restart();
    const again = new SnapshotSync({ nodeName: 'node-1', kernel, now: () => 0, firstEpoch: 77 });
    const outcome = await again.sync(cluster(), 'enforce', LAYOUT, true);
    assert.deepEqual([outcome.plan?.steps, outcome.drift, outcome.failures], [[], [], []]);
    assert.equal(writes(kernel).length, count);
    assert.deepEqual([kernel.savedRules(4), kernel.savedRules(6), kernel.savedSets()], saved);
  });

  it('a repeated pass runs no command at all', async () => {
    const { kernel, enforce } = bench();
    await enforce(cluster());
    const count = kernel.commands.length;
    const { plan } = await enforce(cluster());
    assert.deepEqual(plan?.steps, []);
    assert.equal(kernel.commands.length, count);
  });

  it('does not touch what belongs to others', async () => {
    const { kernel, enforce } = bench();
    const foreign = kernel.foreign();
    await enforce(cluster());
    await enforce(cluster([]));
    await enforce(cluster(), { mode: 'off' });
    assert.equal(kernel.foreign(), foreign);
    assert.doesNotMatch([kernel.savedRules(4), kernel.savedRules(6), kernel.savedSets()].join(), /PCL/);
  });
});

/** The kernel's rules and sets without the epoch, which a repair may bump. */
function essence(state: ObservedState): unknown {
  const text = (line: string): string => line.replace(/0x[0-9a-f]+\/0xff000000/, 'GENERATION');
  const rules = ([4, 6] as const).map((family) => {
    const { chains, hooks } = state.families[family]!;
    return {
      chains: new Map([...chains].map(([name, lines]) => [name, lines.map(text)])),
      hooks: { FORWARD: hooks.FORWARD.map(text), INPUT: hooks.INPUT.map(text) },
    };
  });
  return { rules, sets: state.sets };
}

function essenceOfHook(state: ObservedState, hook: 'FORWARD' | 'INPUT'): readonly string[] {
  return (essence(state) as { rules: { hooks: ObservedFamily['hooks'] }[] }).rules[0]!.hooks[hook];
}

const NEW_ENTERS = '-m conntrack ! --ctstate RELATED,ESTABLISHED -j PCL-FWD';

describe('reconcile: drift', () => {
  interface Case {
    readonly name: string;
    readonly kind: string;
    readonly object: (state: ObservedState) => string;
    readonly edit: (kernel: FakeKernel, object: string) => void;
    /** Live flows may have passed meanwhile that must not. */
    readonly bumps: boolean;
  }
  const chainOf = (prefix: string) => (state: ObservedState) =>
    [...state.families[4]!.chains.keys()].find((name) => name.startsWith(prefix))!;
  const setOf = (type: string) => (state: ObservedState) =>
    [...state.sets.values()].find((set) => set.family === 4 && set.type === type)!.name;
  const chainCase = (
    name: string,
    prefix: string,
    edits: (chain: string, lines: readonly string[]) => string[],
    bumps: boolean,
  ): Case => ({
    name,
    kind: 'chain',
    object: chainOf(prefix),
    edit: (kernel, chain) => kernel.editRules(4, ...edits(chain, kernel.state().families[4]!.chains.get(chain)!)),
    bumps,
  });
  const cases: readonly Case[] = [
    chainCase('a verdict taken out', 'PCL-I-', (chain) => [`-D ${chain} -j DROP`], true),
    chainCase(
      'a RETURN taken out',
      'PCL-I-',
      (chain, lines) => [`-D ${chain} ${lines.find((l) => l.endsWith('RETURN'))}`],
      false,
    ),
    chainCase('a RETURN put in', 'PCL-I-', (chain) => [`-I ${chain} 1 -s 10.0.1.3/32 -j RETURN`], true),
    chainCase('a rule edited', 'PCL-I-', (chain, [first]) => [`-D ${chain} ${first}`, `-I ${chain} 1 -j RETURN`], true),
    chainCase('a rule moved', 'PCL-FWD', (chain, [first]) => [`-D ${chain} ${first}`, `-A ${chain} ${first}`], true),
    chainCase('a rule repeated', 'PCL-I-', (chain, lines) => [`-A ${chain} ${lines.at(-1)}`], false),
    chainCase('a chain emptied', 'PCL-I-', (chain) => [`:${chain} - [0:0]`], true),
    chainCase('the entry chain emptied', 'PCL-FWD', (chain) => [`:${chain} - [0:0]`], true),
    chainCase('a bucket emptied', 'PCL-IN-1', (chain) => [`:${chain} - [0:0]`], true),
    chainCase('a way past the dispatch', 'PCL-IN', (chain) => [`-I ${chain} 1 -j RETURN`], true),
    chainCase('a way past a bucket', 'PCL-IN-1', (chain) => [`-I ${chain} 1 -p tcp -j RETURN`], true),
    {
      name: 'a bucket not reached',
      kind: 'chain',
      object: () => 'PCL-IN',
      edit: (kernel) => kernel.editRules(4, '-D PCL-IN -d 0.0.0.1/0.0.0.15 -g PCL-IN-1'),
      bumps: true,
    },
    {
      name: 'a chain of ours that we did not make',
      kind: 'chain',
      object: () => 'PCL-X',
      edit: (kernel) => kernel.editRules(4, ':PCL-X - [0:0]', '-A PCL-X -j DROP'),
      bumps: false,
    },
    {
      name: 'a jump taken out',
      kind: 'jump',
      object: () => 'FORWARD',
      edit: (kernel) => kernel.editRules(4, `-D FORWARD ${NEW_ENTERS}`),
      bumps: true,
    },
    {
      name: 'the jump of live flows taken out',
      kind: 'jump',
      object: () => 'INPUT',
      edit: (kernel) => kernel.editRules(4, `-D INPUT ${kernel.state().families[4]!.hooks.INPUT[1]}`),
      bumps: true,
    },
    {
      name: 'a jump of an earlier version',
      kind: 'jump',
      object: () => 'FORWARD',
      edit: (kernel) => kernel.editRules(4, '-I FORWARD 1 -j PCL-FWD'),
      bumps: true,
    },
    {
      name: 'a jump no longer first',
      kind: 'jump',
      object: () => 'INPUT',
      edit: (kernel) => kernel.editRules(4, '-I INPUT 1 -p tcp -j RETURN'),
      bumps: true,
    },
    {
      name: 'a jump twice',
      kind: 'jump',
      object: () => 'FORWARD',
      edit: (kernel) => kernel.editRules(4, `-A FORWARD ${NEW_ENTERS}`),
      bumps: true,
    },
    {
      name: 'a member taken out',
      kind: 'member',
      object: setOf('hash:ip'),
      edit: (kernel, set) => kernel.editSets(`del ${set} 10.0.0.2`),
      bumps: false,
    },
    {
      name: 'a member put in',
      kind: 'member',
      object: setOf('hash:ip'),
      edit: (kernel, set) => kernel.editSets(`add ${set} 203.0.113.99`),
      bumps: true,
    },
    {
      name: 'a block put in',
      kind: 'member',
      object: setOf('hash:net'),
      edit: (kernel, set) => kernel.editSets(`add ${set} 10.0.0.0/8`),
      bumps: true,
    },
    {
      name: 'an exception taken out',
      kind: 'member',
      object: setOf('hash:net'),
      edit: (kernel, set) => kernel.editSets(`del ${set} 203.0.113.64/26`),
      bumps: true,
    },
    {
      name: 'an exception put in',
      kind: 'member',
      object: setOf('hash:net'),
      edit: (kernel, set) => kernel.editSets(`add ${set} 203.0.113.0/28 nomatch`),
      bumps: false,
    },
    {
      name: 'a set of ours that we did not make',
      kind: 'set',
      object: () => 'PCL4-x',
      edit: (kernel) => kernel.editSets('create PCL4-x hash:ip family inet', 'add PCL4-x 10.0.0.1'),
      bumps: false,
    },
  ];
  for (const { name, kind, object, edit, bumps } of cases) {
    it(`${name}: found, counted once, repaired${bumps ? ', and live flows are judged again' : ''}`, async () => {
      const { kernel, enforce } = bench();
      await enforce(cluster());
      const good = kernel.state();
      const what = object(good);
      edit(kernel, what);
      assert.notDeepEqual(essence(kernel.state()), essence(good), 'the edit changed nothing');
      const { drift } = await enforce(cluster(), { readBack: true });
      assert.deepEqual(
        drift.map((each) => [each.kind, each.object]),
        [[kind, what]],
      );
      const repaired = kernel.state();
      if (kind === 'jump') {
        for (const hook of ['FORWARD', 'INPUT'] as const) {
          const jumps = essenceOfHook(good, hook).slice(0, 2);
          const now = essenceOfHook(repaired, hook);
          assert.deepEqual(now.slice(0, 2), jumps);
          assert.equal(now.filter((line) => line.includes('PCL-')).length, 2);
        }
      } else assert.deepEqual(essence(repaired), essence(good));
      assert.equal(epochOf(kernel)[0] !== 5, bumps);
      const { plan } = await enforce(cluster(), { readBack: true });
      assert.deepEqual(plan?.steps, []);
    });
  }

  it('is not looked for while nobody reads back', async () => {
    const { kernel, enforce } = bench();
    await enforce(cluster());
    kernel.editRules(4, `-D FORWARD ${NEW_ENTERS}`);
    const { drift, plan } = await enforce(cluster());
    assert.deepEqual([drift, plan?.steps], [[], []]);
  });

  it('is found when a change is refused for it, and the change goes in all the same', async () => {
    const { kernel, enforce } = bench();
    await enforce(cluster([ONLY_B]));
    const { FORWARD } = kernel.state().families[6]!.hooks;
    kernel.editRules(6, `-D FORWARD ${FORWARD[0]}`, `-D FORWARD ${FORWARD[1]}`);
    const { drift, failures } = await enforce(cluster([ONLY_B, BLOCK]));
    assert.deepEqual(
      drift.map(({ object, what }) => [object, what]),
      [['FORWARD', 'IPv6: our jump is gone; found 2 rules, first: -s 2001:db8:ffff::/48 -j ACCEPT']],
    );
    assert.deepEqual(failures, []);
    const { kernel: other, enforce: enforceThere } = bench();
    await enforceThere(cluster([ONLY_B, BLOCK]));
    assert.deepEqual(essence(kernel.state()), essence(other.state()));
  });
});

describe('reconcile: refusals', () => {
  const refusesSet = (kernel: FakeKernel, type: string) => {
    kernel.faults.refuse = (line) => line.startsWith('create ') && line.includes(` ${type} `);
  };

  it('a refused set closes what depends on it, and everything else goes in', async () => {
    const { kernel, pass, enforce } = bench();
    refusesSet(kernel, 'hash:net');
    const outcome = await pass(cluster());
    assert.equal(outcome.partial, true);
    assert.ok(outcome.failures.length > 0);
    for (const failure of outcome.failures) {
      assert.equal(failure.reason, 'refused');
      assert.deepEqual(failure.policies, ['x/block']);
      assert.match(failure.message, /hash:net/);
    }
    assert.deepEqual(passes(kernel, B, A), [true, true]);
    assert.deepEqual(passes(kernel, C, A), [false, false]);
    assert.deepEqual(passes(kernel, C, B, 81), [false, true], 'IPv6 has no block, so no set of prefixes');
    assert.equal(outcome.plan?.degraded.length, 1);
    kernel.faults.refuse = undefined;
    await enforce(cluster());
    assert.deepEqual(passes(kernel, C, B, 81), [true, true]);
    assert.doesNotMatch(kernel.savedRules(4), /closed/);
  });

  it('a refused set leaves the old chain in place where there is one', async () => {
    const { kernel, pass } = bench();
    const before = policy('x/block', {
      podSelector: { matchLabels: { pod: 'b' } },
      ingress: [{ ports: [{ port: 82 }] }],
    });
    await pass(cluster([ONLY_B, before]));
    refusesSet(kernel, 'hash:net');
    const outcome = await pass(cluster([BLOCK]));
    assert.equal(outcome.partial, true);
    assert.deepEqual(passes(kernel, C, B, 82), [true, false]);
    assert.deepEqual(passes(kernel, C, B, 81), [false, true]);
    assert.deepEqual(passes(kernel, C, A), [true, true], 'the other change went in');
    assert.deepEqual(
      outcome.plan?.degraded.map(({ address, actual, desired }) => [address, actual === desired]),
      [['10.0.0.2', false]],
    );
  });

  it('a refused member holds back its set alone, and leaves no stale member behind', async () => {
    const { kernel, pass, enforce } = bench();
    const sameNamespace = policy('x/same', { podSelector: {}, ingress: [{ from: [{ podSelector: {} }] }] });
    const pods = (...addresses: string[]) => [
      A,
      ...addresses.map((address, i) => pod(`x/p${i}`, { addresses: [address], nodeName: 'node-2' })),
    ];
    kernel.faults.refuse = (line) => line.endsWith(' 10.0.5.3');
    const refused = await pass(cluster([sameNamespace], pods('10.0.5.1', '10.0.5.2', '10.0.5.3')));
    assert.equal(refused.partial, true);
    kernel.faults.refuse = undefined;
    await enforce(cluster([sameNamespace], pods('10.0.5.9', '10.0.5.2', '10.0.5.3')));
    const members = [...kernel.state().sets.values()].find(({ family }) => family === 4)!.members;
    assert.deepEqual([...members.keys()].sort(), ['10.0.0.1', '10.0.5.2', '10.0.5.3', '10.0.5.9']);
  });

  it('a refused chain closes its pods, and everything else goes in', async () => {
    const { kernel, pass, enforce } = bench();
    kernel.faults.refuse = (line) => line.includes('--dport 80 ');
    const outcome = await pass(cluster());
    assert.equal(outcome.partial, true);
    assert.deepEqual(
      outcome.failures.map(({ policies }) => policies),
      [['x/block']],
    );
    assert.match(outcome.failures[0]!.object!, /^PCL-I-/);
    assert.deepEqual(passes(kernel, B, A), [true, true]);
    assert.deepEqual(passes(kernel, C, B, 81), [false, true]);
    kernel.faults.refuse = undefined;
    await enforce(cluster());
    assert.deepEqual(passes(kernel, C, B, 81), [true, true]);
  });

  it('many refused chains are left out in one pass', async () => {
    const pods = Array.from({ length: 30 }, (_, i) => pod(`x/p${i}`, { addresses: [`10.0.2.${i}`] }));
    const policies = pods.map((each, i) =>
      policy(`x/${each.name}`, {
        podSelector: { matchLabels: { pod: each.name } },
        ingress: [{ ports: [{ port: 1000 + i }] }],
      }),
    );
    const { kernel, pass } = bench();
    kernel.faults.refuse = (line) => /--dport 10[12][02468] /.test(line);
    const outcome = await pass(cluster(policies, [C, ...pods]));
    assert.equal(outcome.partial, true);
    assert.equal(outcome.failures.length, 10);
    assert.deepEqual(
      pods.map((each, i) => trace(kernel.state(), packet('10.0.1.3', each.addresses[0]!, 1000 + i)) === 'passed'),
      pods.map((_, i) => !(i >= 10 && i % 2 === 0)),
    );
  });

  it('what the legacy variant refuses at COMMIT is found by trying', async () => {
    const { kernel, pass, enforce } = bench('iptables-legacy');
    kernel.faults.refuseAtCommit = (line) => line.includes('--dport 80 ');
    const outcome = await pass(cluster());
    assert.equal(outcome.partial, true);
    assert.deepEqual(
      outcome.failures.map(({ policies }) => policies),
      [['x/block']],
    );
    assert.deepEqual(passes(kernel, B, A), [true, true]);
    assert.deepEqual(passes(kernel, C, B, 81), [false, true]);
    kernel.faults.refuseAtCommit = undefined;
    await enforce(cluster());
  });

  it('rules of one family that cannot go in keep nothing from the other', async () => {
    const { kernel, pass, enforce } = bench();
    await enforce(cluster([ONLY_B]));
    kernel.faults.refuse = (line) => line.includes('-p ipv6-icmp -m bpf');
    const nobody = policy('x/nobody', { podSelector: {}, ingress: [] });
    const outcome = await pass(cluster([ONLY_B, nobody], [A, { ...B, labels: {} }, C, D]));
    assert.deepEqual([outcome.partial, outcome.failures.length], [false, 1]);
    assert.equal(passes(kernel, B, A)[0], false);
    const members = [...kernel.state().sets.values()].flatMap((set) =>
      set.type === 'hash:ip' ? [...set.members.keys()] : [],
    );
    assert.ok(!members.includes('10.0.0.2'));
    assert.ok(members.includes('fd00::2'));
    kernel.faults.refuse = undefined;
    await enforce(cluster([]));
    assert.deepEqual(passes(kernel, C, A), [true, true]);
    assert.equal(kernel.state().sets.size, 0);
  });

  it('fault: a chain that a rule of others refers to is left alone, holds up nothing and is no failure', async () => {
    const { kernel, pass, enforce } = bench();
    await pass(cluster());
    const [chain] = [...kernel.state().families[4]!.chains.keys()].filter((name) => name.startsWith('PCL-I-'));
    kernel.editRules(4, ':OTHERS - [0:0]', `-A OTHERS -j ${chain}`);
    const outcome = await enforce(cluster([]));
    assert.deepEqual(outcome.busyChains, [chain]);
    assert.deepEqual(passes(kernel, C, A), [true, true]);
    const count = writes(kernel).length;
    assert.deepEqual((await enforce(cluster([BLOCK]))).busyChains, [chain]);
    assert.equal(writes(kernel).length, count + 3, 'an event does not try it again');
    assert.deepEqual((await enforce(cluster([]), { readBack: true })).busyChains, [chain]);
    kernel.editRules(4, `-D OTHERS -j ${chain}`);
    assert.deepEqual((await enforce(cluster([]), { readBack: true })).busyChains, []);
    assert.ok(!kernel.state().families[4]!.chains.has(chain!));
  });

  it('fault: a rule in any built-in chain that leads to ours is ours, and goes with a layout that has none there', async () => {
    const { kernel, pass, enforce } = bench();
    await pass(cluster());
    kernel.editRules(4, ':PCL-LATER - [0:0]', '-A PCL-LATER -j RETURN', '-A OUTPUT -j PCL-LATER');
    kernel.editRules(6, '-A PREROUTING -s fd00::1/128 -g PCL-FWD', '-I FORWARD 1 -g PCL-FWD');
    await enforce(cluster(), { readBack: true });
    for (const family of [4, 6] as const) {
      assert.doesNotMatch(kernel.savedRules(family), /^-A (OUTPUT|PREROUTING) .*PCL-|PCL-LATER|^-A FORWARD -g/m);
      assert.equal(kernel.savedRules(family).match(/^-A FORWARD .*PCL-/gm)?.length, 2);
    }
    assert.deepEqual((await enforce(cluster(), { readBack: true })).plan?.steps, []);
  });

  it('while the lock is held nothing changes, and later all is well', async () => {
    const { kernel, pass, enforce } = bench();
    await enforce(cluster());
    const before = [kernel.savedRules(4), kernel.savedRules(6)];
    kernel.faults.lockHeld = true;
    const count = writes(kernel).length;
    const outcome = await pass(cluster([{ ...ONLY_B, ingress: [] }]));
    assert.equal(writes(kernel).length, count + 1, 'waited for the lock once');
    assert.equal(outcome.partial, false);
    assert.deepEqual(
      outcome.failures.map(({ reason }) => reason),
      ['lock'],
    );
    assert.deepEqual([kernel.savedRules(4), kernel.savedRules(6)], before);
    kernel.faults.lockHeld = false;
    await enforce(cluster([]));
    assert.deepEqual(passes(kernel, C, A), [true, true]);
  });

  it('a kernel that cannot be read, or a tool that cannot be started, is reported and tried again', async () => {
    for (const fault of ['unavailableReads', 'unavailableWrites'] as const) {
      const { kernel, pass, enforce } = bench();
      kernel.faults[fault] = 1;
      const outcome = await pass(cluster());
      assert.deepEqual([outcome.partial, outcome.failures.map(({ reason }) => reason)], [false, ['unavailable']]);
      await enforce(cluster());
      assert.deepEqual(passes(kernel, C, A), [false, false]);
    }
  });

  it('a set that was refused is tried again when another changes', async () => {
    const { kernel, compiler, enforce } = follow();
    refusesSet(kernel, 'hash:net');
    assert.equal((await enforce()).partial, true);
    kernel.faults.refuse = undefined;
    compiler.pod('x/more', pod('x/more', { nodeName: 'node-2', labels: { pod: 'b' }, addresses: ['10.0.9.9'] }));
    const saves = (): number => kernel.commands.filter((command) => command.includes('save')).length;
    const before = saves();
    assert.deepEqual((await enforce()).plan?.degraded, []);
    assert.equal(saves(), before, 'what is in the kernel was known');
    assert.ok([...kernel.state().sets.values()].some(({ type }) => type === 'hash:net'));
  });

  it('a set that is still in use is not forgotten while other sets change', async () => {
    const { kernel, compiler, enforce } = follow();
    await enforce();
    const set = [...kernel.state().sets.values()].find(({ type, family }) => type === 'hash:net' && family === 4)!.name;
    kernel.editRules(4, `-A OUTPUT -m set --match-set ${set} src -j RETURN`);
    compiler.policy('x/block', undefined);
    assert.deepEqual((await enforce()).busySets, [set]);
    compiler.pod('x/more', pod('x/more', { nodeName: 'node-2', labels: { pod: 'b' }, addresses: ['10.0.9.9'] }));
    assert.deepEqual((await enforce()).busySets, [set]);
    kernel.editRules(4, `-D OUTPUT -m set --match-set ${set} src -j RETURN`);
    await enforce();
    assert.ok(!kernel.state().sets.has(set));
  });

  it('a set that is still in use is destroyed in a later pass', async () => {
    const { kernel, enforce } = bench();
    await enforce(cluster());
    const set = [...kernel.state().sets.keys()].find((name) => name.startsWith('PCL4'))!;
    const dimensions = 'src';
    kernel.editRules(4, `-A OUTPUT -m set --match-set ${set} ${dimensions} -j RETURN`);
    const outcome = await enforce(cluster([]));
    assert.deepEqual(outcome.busySets, [set]);
    assert.deepEqual([...kernel.state().sets.keys()], [set]);
    assert.deepEqual((await enforce(cluster([]))).busySets, [set]);
    kernel.editRules(4, `-D OUTPUT -m set --match-set ${set} ${dimensions} -j RETURN`);
    assert.deepEqual((await enforce(cluster([]))).busySets, []);
    assert.equal(kernel.state().sets.size, 0);
    assert.deepEqual((await enforce(cluster([]))).plan?.steps, []);
  });

  it('what a killed process left beside a set that had to grow is not taken for its contents', async () => {
    const { kernel, enforce, ...made } = bench();
    const sameNamespace = policy('x/same', { podSelector: {}, ingress: [{ from: [{ podSelector: {} }] }] });
    await enforce(cluster([sameNamespace], [A]));
    const set = [...kernel.state().sets.keys()].find((name) => name.startsWith('PCL4'))!;
    kernel.editSets(`create small hash:ip family inet maxelem 1`, `swap ${set} small`, 'destroy small');
    kernel.editSets(`create ${set}+ hash:ip family inet maxelem 1048576`, `add ${set}+ 203.0.113.1`);
    made.restart();
    const again = new SnapshotSync({ nodeName: 'node-1', kernel, now: () => 0, firstEpoch: 1 });
    await again.sync(cluster([sameNamespace], [A, B]), 'enforce', LAYOUT, true);
    const { sets } = kernel.state();
    assert.deepEqual([...sets.get(set)!.members.keys()].sort(), ['10.0.0.1', '10.0.0.2']);
    assert.ok(!sets.has(`${set}+`));
  });
});

describe('reconcile: killed at any line', () => {
  const moved = { ...B, labels: { pod: 'z' } };
  const before = cluster([ONLY_B], [A, B, C]);
  const after = cluster(
    [BLOCK, policy('x/z', { podSelector: { matchLabels: { pod: 'z' } }, policyTypes: ['Egress'] })],
    [A, moved, D],
  );

  it('the next process finishes the work', async () => {
    const whole = bench();
    await whole.enforce(before);
    const start = whole.kernel.linesRead;
    await whole.enforce(after);
    const lines = whole.kernel.linesRead - start;
    assert.ok(lines > 50);
    for (let line = 0; line < lines; line++) {
      const made = bench();
      await made.enforce(before);
      made.kernel.faults.diesAfterLines = line;
      const { failures } = await made.pass(after);
      assert.equal(failures.length, 1, `line ${line}`);
      made.restart();
      await made.enforce(after, { readBack: true });
      assert.deepEqual(essence(made.kernel.state()), essence(whole.kernel.state()), `line ${line}`);
      assert.deepEqual((await made.enforce(after, { readBack: true })).plan?.steps, []);
    }
  });
});

describe('reconcile: modes', () => {
  it('audit logs each new connection that would be denied, and drops nothing', async () => {
    const { kernel, enforce } = bench();
    await enforce(cluster(), { mode: 'audit' });
    const denied = packet('10.0.1.3', '10.0.0.1');
    const walked = traceRules(kernel.state(), denied);
    assert.equal(walked.verdict, 'passed');
    assert.equal(walked.logged.length, 1);
    assert.match(walked.logged[0]!, /^would-deny ingress PCL-I-\w+$/);
    assert.deepEqual(traceRules(kernel.state(), packet('10.0.0.2', '10.0.0.1')).logged, []);
    assert.deepEqual(traceRules(kernel.state(), { ...denied, state: 'ESTABLISHED' }).logged, []);
    assert.doesNotMatch(kernel.savedRules(4) + kernel.savedRules(6), /DROP|-j CONNMARK --set-xmark 0x[0-9a-f]+\/0xff/);
  });

  it('changes from any mode to any other leave what the other alone would', async () => {
    const modes = ['enforce', 'audit', 'off'] as const;
    for (const from of modes) {
      for (const to of modes) {
        const { kernel, enforce } = bench();
        await enforce(cluster(), { mode: from });
        await enforce(cluster(), { mode: to });
        const alone = bench();
        await alone.enforce(cluster(), { mode: to });
        assert.deepEqual(essence(kernel.state()), essence(alone.kernel.state()), `${from} to ${to}`);
        assert.deepEqual((await enforce(cluster(), { mode: to, readBack: true })).plan?.steps, []);
      }
    }
  });

  it('dry-run shows the plan and writes nothing of it', async () => {
    const { kernel, enforce } = bench();
    const planned = await enforce(cluster(), { mode: 'dry-run' });
    assert.ok(planned.plan!.steps.length > 0);
    assert.deepEqual([writes(kernel), planned.stepsApplied], [[], 0]);
    const text = planText(planned.plan!);
    const alone = bench();
    const { plan } = await alone.enforce(cluster());
    assert.equal(text, planText(plan!), 'what enforcing writes');
  });

  for (const mode of ['enforce', 'audit'] as const) {
    it(`dry-run after ${mode} takes everything of ours out, and shows what enforcing would write anew`, async () => {
      const { kernel, enforce } = bench();
      await enforce(cluster(), { mode });
      const { plan, stepsApplied, held } = await enforce(cluster(), { mode: 'dry-run' });
      assert.ok(stepsApplied > 0);
      assert.deepEqual(essence(kernel.state()), essence(bench().kernel.state()));
      assert.deepEqual([held!.sets.size, held!.families[4]!.chains.size], [0, 0]);
      assert.match(planText(plan!), /-j DROP/);
      const before = writes(kernel).length;
      const again = await enforce(cluster(), { mode: 'dry-run', readBack: true });
      assert.deepEqual([again.stepsApplied, writes(kernel).length], [0, before]);
      assert.equal(planText(again.plan!), planText(plan!));
      await enforce(cluster());
      const alone = bench();
      await alone.enforce(cluster());
      assert.deepEqual(essence(kernel.state()), essence(alone.kernel.state()));
    });
  }

  it('fault: dry-run while the lock is held: tried again, and told that it failed', async () => {
    const { kernel, enforce, pass } = bench();
    await enforce(cluster());
    kernel.faults.lockHeld = true;
    const { failures, held } = await pass(cluster(), { mode: 'dry-run' });
    assert.ok(failures.length > 0);
    assert.equal(held, undefined);
    kernel.faults.lockHeld = false;
    await enforce(cluster(), { mode: 'dry-run' });
    assert.deepEqual(essence(kernel.state()), essence(bench().kernel.state()));
  });
});

describe('reconcile: policies that are audited', () => {
  const PEER = { podSelector: { matchLabels: { pod: 'b' } } };
  const only = (name: string, port: number, mode?: 'audit' | 'enforce'): Policy =>
    policy(
      `x/${name}`,
      { podSelector: { matchLabels: { pod: 'a' } }, ingress: [{ from: [PEER], ports: [{ port }] }] },
      mode,
    );
  const epochs = async (made: Bench, ...steps: readonly (readonly Policy[])[]): Promise<boolean[]> => {
    const advanced: boolean[] = [];
    for (const policies of steps) {
      const before = made.kernel.commands.length > 0 ? epochOf(made.kernel)[0] : undefined;
      await made.enforce(cluster(policies));
      advanced.push(before !== undefined && epochOf(made.kernel)[0] !== before);
    }
    return advanced;
  };

  it('isolate nobody, beside others that do', async () => {
    const { kernel, enforce } = bench();
    await enforce(cluster([only('p', 80, 'audit')]));
    assert.deepEqual(passes(kernel, C, A), [true, true]);
    await enforce(cluster([only('p', 80, 'audit'), only('q', 81)]));
    assert.deepEqual(
      [passes(kernel, B, A, 80), passes(kernel, B, A, 81)],
      [
        [false, false],
        [true, true],
      ],
    );
    await enforce(cluster([only('p', 80), only('q', 81)]));
    assert.deepEqual(passes(kernel, B, A, 80), [true, true]);
  });

  it('live flows are judged again when one is enforced from now on, not when it is audited from now on', async () => {
    const audited = only('p', 80, 'audit');
    const enforced = only('p', 80);
    assert.deepEqual(await epochs(bench(), [enforced, only('z', 1)], [audited], [enforced], [audited], []), [
      false,
      // Of the two that isolated the pod nothing is left in force.
      false,
      true,
      false,
      false,
    ]);
  });

  it('beside one in force: auditing a policy takes away what it allowed, enforcing it gives that', async () => {
    const other = only('q', 81);
    const steps = [[other, only('p', 80)], [other, only('p', 80, 'audit')], [other, only('p', 80)], [other]];
    assert.deepEqual(await epochs(bench(), ...steps), [false, true, false, true]);
  });

  it('several that are audited take nothing away, and one of them enforced does', async () => {
    const both = [only('p', 80, 'audit'), only('r', 82, 'audit')];
    const steps = [[only('z', 1, 'audit')], both, [], both, [only('p', 80), both[1]!]];
    assert.deepEqual(await epochs(bench(), ...steps), [false, false, false, false, true]);
  });

  it('a chain that counts for one of several, and that the kernel refuses, leaves all verdicts as they are', async () => {
    for (const others of [[], [only('q', 81)]]) {
      const { kernel, pass } = bench();
      kernel.faults.refuse = (line) => /PCL-I[a-h]-/.test(line);
      const { failures } = await pass(cluster([only('p', 80, 'audit'), only('r', 82, 'audit'), ...others]));
      assert.ok(failures.length > 0);
      const open = others.length === 0;
      assert.deepEqual(passes(kernel, C, A), [open, open]);
      assert.deepEqual(passes(kernel, B, A, 81), [true, true]);
      assert.deepEqual(passes(kernel, B, A, 80), [open, open]);
    }
  });

  it('a set of theirs that the kernel refuses leaves all verdicts as they are, and is named', async () => {
    for (const others of [[], [only('q', 81)]]) {
      const { kernel, pass, enforce } = bench();
      const blocks = Array.from({ length: 3 }, (_, index) => ({ ipBlock: { cidr: `203.0.113.${index * 64}/26` } }));
      const audited = policy('x/p', { podSelector: {}, ingress: [{ from: blocks }] }, 'audit');
      kernel.faults.refuse = (line) => line.includes('hash:net');
      const { failures } = await pass(cluster([audited, ...others]));
      assert.ok(failures.length > 0);
      assert.ok(
        failures.every(({ policies }) => policies.includes('x/p')),
        JSON.stringify(failures),
      );
      const open = others.length === 0;
      assert.deepEqual(passes(kernel, C, A), [open, open]);
      assert.deepEqual(passes(kernel, B, A, 81), [true, true]);
      assert.deepEqual(passes(kernel, A, C), [true, true]);
      kernel.faults.refuse = () => false;
      await enforce(cluster([audited, ...others]), { readBack: true });
      const alone = bench();
      await alone.enforce(cluster([audited, ...others]));
      assert.deepEqual(essence(kernel.state()), essence(alone.kernel.state()));
    }
  });

  it('a chain of theirs that the kernel refuses leaves all verdicts as they are', async () => {
    const { kernel, pass } = bench();
    kernel.faults.refuse = (line) => line.includes('--dport 80 ') && line.includes('PCL-I-');
    const { failures } = await pass(cluster([only('p', 80, 'audit'), only('q', 81)]));
    assert.ok(failures.length > 0);
    assert.deepEqual(
      [passes(kernel, B, A, 81), passes(kernel, C, A, 81), passes(kernel, B, A, 80)],
      [
        [true, true],
        [false, false],
        [false, false],
      ],
    );
  });
});

describe('reconcile: live flows', () => {
  const live = (connection: { mark: number }, direction: 'ORIGINAL' | 'REPLY', from: Pod = B): Packet => ({
    ...(direction === 'ORIGINAL'
      ? packet(from.addresses[0]!, '10.0.0.1')
      : { ...packet('10.0.0.1', from.addresses[0]!, 40_000), sourcePort: packet('10.0.0.2', '10.0.0.1').port }),
    state: 'ESTABLISHED',
    direction,
    connection,
  });
  const isLive = (kernel: FakeKernel, connection: { mark: number }, direction: 'ORIGINAL' | 'REPLY'): boolean =>
    trace(kernel.state(), live(connection, direction)) === 'passed';

  it('the epoch is bumped by what tightens, not by what only allows', async () => {
    const { kernel, enforce } = bench();
    const onlyB80 = policy('x/only-b', {
      podSelector: { matchLabels: { pod: 'a' } },
      ingress: [{ ...fromPod('b'), ports: [{ port: 80 }] }],
    });
    const onlyB = policy('x/only-b', {
      podSelector: { matchLabels: { pod: 'a' } },
      ingress: [{ ...fromPod('b'), ports: [{ port: 80 }] }, fromPod('c')],
    });
    const steps: readonly (readonly [what: string, to: ClusterSnapshot, bumped: boolean])[] = [
      ['first rules', cluster([onlyB80]), false],
      [
        'a peer comes',
        cluster(
          [onlyB80],
          [A, B, pod('x/b2', { addresses: ['10.0.1.9', 'fd00::9'], nodeName: 'node-2', labels: { pod: 'b' } })],
        ),
        false,
      ],
      ['a peer is deleted', cluster([onlyB80], [A, B]), false],
      ['a rule comes', cluster([onlyB], [A, B]), false],
      ['a rule goes', cluster([onlyB80], [A, B]), true],
      ['a peer loses its label', cluster([onlyB80], [A, { ...B, labels: {} }]), true],
      ['it gets it back', cluster([onlyB80], [A, B]), false],
      ['a pod is isolated', cluster([onlyB80, BLOCK], [A, B]), true],
      ['and is not any more', cluster([onlyB80], [A, B]), false],
      ['nothing is isolated', cluster([], [A, B]), false],
    ];
    let due = 5;
    for (const [what, to, bumped] of steps) {
      await enforce(to);
      if (bumped) due++;
      assert.deepEqual(epochOf(kernel), [due, due], what);
    }
  });

  it('a flow that is denied now stops in both directions, and goes on when it is allowed again', async () => {
    const { kernel, enforce } = bench();
    await enforce(cluster([ONLY_B]));
    const connection = { mark: 0x55 };
    assert.equal(trace(kernel.state(), { ...packet('10.0.0.2', '10.0.0.1'), connection }), 'passed');
    assert.ok(isLive(kernel, connection, 'REPLY') && isLive(kernel, connection, 'ORIGINAL'));
    // In any order: where only one side talks, only its packets come.
    for (const [first, second] of [
      ['ORIGINAL', 'REPLY'],
      ['REPLY', 'ORIGINAL'],
    ] as const) {
      await enforce(cluster([ONLY_B], [A, { ...B, labels: {} }]));
      assert.ok(!isLive(kernel, connection, first), `${first} of a denied flow`);
      assert.ok(!isLive(kernel, connection, second), `${second} of a denied flow`);
      await enforce(cluster([ONLY_B], [A, B]));
      assert.ok(isLive(kernel, connection, first), `${first} of a flow allowed again`);
      assert.ok(isLive(kernel, connection, second), `${second} of a flow allowed again`);
    }
    assert.equal(connection.mark & 0x00ffffff, 0x55, 'bits of others');
  });

  it('a flow that outlives its pod is not taken over by the next pod of that address', async () => {
    const { kernel, enforce } = bench();
    const remote = pod('x/b', { addresses: ['10.0.1.2'], nodeName: 'node-2' });
    const other = pod('y/e', { addresses: ['10.0.1.2'], nodeName: 'node-2' });
    await enforce(cluster([ONLY_B], [A, remote]));
    const connection = { mark: 0 };
    assert.equal(trace(kernel.state(), { ...packet('10.0.1.2', '10.0.0.1'), connection }), 'passed');
    await enforce(cluster([ONLY_B], [A]));
    await enforce(cluster([ONLY_B], [A, C]));
    assert.deepEqual(epochOf(kernel), [5, 5], 'its flows died with it');
    await enforce(cluster([ONLY_B], [A, other]));
    assert.deepEqual(epochOf(kernel), [6, 5]);
    assert.equal(trace(kernel.state(), live(connection, 'ORIGINAL', other)), 'dropped');
    await enforce(cluster([ONLY_B], [A]));
    await enforce(cluster([ONLY_B], [A, other]));
    assert.deepEqual(epochOf(kernel), [6, 5], 'it was in no set');
  });

  it('nor where the compiler tells what changed', async () => {
    const remote = pod('x/b', { addresses: ['10.0.1.2'], nodeName: 'node-2' });
    const other = pod('y/e', { addresses: ['10.0.1.2'], nodeName: 'node-2' });
    const { kernel, compiler, enforce } = follow(cluster([ONLY_B], [A, remote]));
    await enforce();
    compiler.pod('x/b', undefined);
    await enforce();
    compiler.pod('y/c', C);
    compiler.pod('x/again', pod('x/again', { addresses: ['10.0.1.3'], nodeName: 'node-2' }));
    await enforce();
    assert.deepEqual(epochOf(kernel), [5, 5], 'its flows died with it');
    compiler.pod('y/e', other);
    await enforce();
    assert.deepEqual(epochOf(kernel), [6, 5]);
    compiler.pod('y/e', undefined);
    compiler.pod('y/e', other);
    await enforce();
    assert.deepEqual(epochOf(kernel), [6, 5], 'it is remembered until then');
  });

  describe('fault: an address changes hands while the agent is away', () => {
    const gone = [
      ['remote', pod('x/b', { addresses: ['10.0.1.2', 'fd00::1:2'], nodeName: 'node-2' })],
      ['local', B],
    ] as const;
    for (const [where, old] of gone) {
      const heir = (labels = { pod: 'e' }): Pod => ({ ...pod('x/e', { ...old, labels }), uid: 'another' });
      /** The flows of `old` to x/a, one per family, while the agent knows it. */
      const began = async () => {
        const made = bench();
        await made.enforce(cluster([ONLY_B], [A, old]));
        const flows = old.addresses.map((address, index) => ({
          connection: { mark: 0 },
          packet: packet(address, A.addresses[index]!),
        }));
        for (const { packet: first, connection } of flows)
          assert.equal(trace(made.kernel.state(), { ...first, connection }), 'passed');
        const restart = (): void => {
          made.kernel.revive();
          made.reconciler = new SnapshotSync({
            nodeName: 'node-1',
            kernel: made.kernel,
            now: () => 0,
            firstEpoch: 5,
          });
        };
        const alive = (): number =>
          flows.filter(({ packet: next, connection }) => {
            const again = {
              ...next,
              state: 'ESTABLISHED',
              direction: 'ORIGINAL',
              connection: { ...connection },
            } as const;
            return trace(made.kernel.state(), again) === 'passed';
          }).length;
        return { ...made, enforce: made.enforce, restart, alive };
      };

      it(`${where}: it went before, and has another pod after`, async () => {
        const { enforce, restart, alive } = await began();
        await enforce(cluster([ONLY_B], [A]));
        restart();
        await enforce(cluster([ONLY_B], [A]), { readBack: true });
        await enforce(cluster([ONLY_B], [A, heir()]));
        assert.equal(alive(), 0);
      });

      it(`${where}: it went before, and has another pod when the next agent starts`, async () => {
        const { enforce, restart, alive } = await began();
        await enforce(cluster([ONLY_B], [A]));
        restart();
        await enforce(cluster([ONLY_B], [A, heir()]), { readBack: true });
        assert.equal(alive(), 0);
      });

      it(`${where}: it went, and another pod came, while nobody watched`, async () => {
        const { enforce, restart, alive } = await began();
        restart();
        await enforce(cluster([ONLY_B], [A, heir()]), { readBack: true });
        assert.equal(alive(), 0);
      });

      it(`${where}: it went while nobody watched, and has another pod later`, async () => {
        const { enforce, restart, alive } = await began();
        restart();
        await enforce(cluster([ONLY_B], [A]), { readBack: true });
        await enforce(cluster([ONLY_B], [A, heir()]));
        assert.equal(alive(), 0);
      });

      it(`${where}: the other pod has the same labels, and so the same permission`, async () => {
        const { enforce, restart, alive } = await began();
        restart();
        await enforce(cluster([ONLY_B], [A, heir({ pod: 'b' })]), { readBack: true });
        assert.equal(alive(), 2);
      });

      it(`${where}: killed at any line of taking it out`, async () => {
        for (let lines = 0; lines < 6; lines++) {
          const { enforce, pass, kernel, restart, alive } = await began();
          kernel.faults.diesAfterLines = lines;
          await pass(cluster([ONLY_B], [A]));
          restart();
          await enforce(cluster([ONLY_B], [A, heir()]), { readBack: true });
          assert.equal(alive(), 0, `${lines} lines`);
        }
      });
    }

    it('nothing is judged again, and nothing written, where no address was released since the last epoch', async () => {
      const { kernel, enforce, restart } = bench();
      const remote = pod('x/b', { addresses: ['10.0.1.2', 'fd00::1:2'], nodeName: 'node-2' });
      await enforce(cluster([ONLY_B], [A, remote]));
      await enforce(cluster([ONLY_B], [A]));
      assert.deepEqual(epochOf(kernel), [5, 5]);
      restart();
      await enforce(cluster([ONLY_B], [A]), { readBack: true });
      assert.deepEqual(epochOf(kernel), [6, 6], 'which ones were released the next process does not know');
      assert.ok(![...kernel.state().sets.keys()].some((name) => name.endsWith('-released')));
      restart();
      const { plan } = await enforce(cluster([ONLY_B], [A]), { readBack: true });
      assert.deepEqual(plan?.steps, []);
    });

    it('the sign is made once, survives what others do to it, and is no drift', async () => {
      const { kernel, enforce } = bench();
      const remote = (n: number): Pod =>
        pod(`x/b${n}`, { labels: { pod: 'b' }, addresses: [`10.0.1.${n}`], nodeName: 'node-2' });
      await enforce(cluster([ONLY_B], [A, remote(2), remote(3), remote(4)]));
      await enforce(cluster([ONLY_B], [A, remote(3), remote(4)]));
      const first = kernel.commands.length;
      const { plan } = await enforce(cluster([ONLY_B], [A, remote(4)]));
      assert.deepEqual(
        plan?.steps.map(({ kind, lines }) => [kind, lines.length]),
        [['remove-members', 1]],
      );
      assert.equal(kernel.commands.length, first + 1);
      assert.deepEqual((await enforce(cluster([ONLY_B], [A, remote(4)]), { readBack: true })).drift, []);
      kernel.editSets('destroy PCL4-released');
      await enforce(cluster([ONLY_B], [A, remote(4)]), { readBack: true });
      assert.ok(kernel.state().sets.has('PCL4-released'));
    });
  });

  it('a flow that is still allowed is stamped again by its next packet', async () => {
    const { kernel, enforce } = bench();
    await enforce(cluster([ONLY_B]));
    const connection = { mark: 0 };
    trace(kernel.state(), { ...packet('10.0.0.2', '10.0.0.1'), connection });
    const stamped = connection.mark;
    await enforce(cluster([ONLY_B, BLOCK]));
    for (const direction of ['ORIGINAL', 'REPLY'] as const) {
      const copy = { ...connection };
      assert.ok(isLive(kernel, copy, direction));
      assert.notEqual(copy.mark, stamped, direction);
    }
    assert.ok(isLive(kernel, connection, 'ORIGINAL'));
    const before = connection.mark;
    assert.ok(isLive(kernel, connection, 'ORIGINAL'));
    assert.equal(connection.mark, before);
  });

  it('an ICMP error of a live flow passes while the flow waits to be judged, not once it is denied', async () => {
    const { kernel, enforce } = bench();
    await enforce(cluster([ONLY_B]));
    const connection = { mark: 0 };
    trace(kernel.state(), { ...packet('10.0.0.2', '10.0.0.1'), connection });
    await enforce(cluster([ONLY_B], [A, { ...B, labels: {} }]));
    const error: Packet = { ...packet('10.0.0.2', '10.0.0.1', 3), protocol: 1, state: 'RELATED', connection };
    assert.equal(trace(kernel.state(), error), 'passed');
    trace(kernel.state(), live(connection, 'ORIGINAL'));
    assert.equal(trace(kernel.state(), error), 'dropped');
  });

  it('the epoch goes on after a restart, wraps, and is found by any of its rules', async () => {
    const { kernel, enforce, ...made } = bench('iptables-nft', 126);
    await enforce(cluster([ONLY_B]));
    const isolated = cluster([ONLY_B, BLOCK]);
    await enforce(isolated);
    assert.deepEqual(epochOf(kernel), [127, 127]);
    const again = new SnapshotSync({ nodeName: 'node-1', kernel, now: () => 0, firstEpoch: 60 });
    await again.sync(cluster([ONLY_B]), 'enforce', LAYOUT, true);
    await again.sync(isolated, 'enforce', LAYOUT, false);
    assert.deepEqual(epochOf(kernel), [1, 1]);
    const last = kernel.state().families[4]!.chains.get('PCL-FWD-RECHECK')!.at(-1)!;
    const without = [`-D FORWARD ${NEW_ENTERS}`, `-D PCL-FWD-RECHECK ${last}`, ':PCL-FWD - [0:0]', '-X PCL-FWD'];
    kernel.editRules(4, ...without);
    made.restart();
    const third = new SnapshotSync({ nodeName: 'node-1', kernel, now: () => 0, firstEpoch: 60 });
    await third.sync(isolated, 'enforce', LAYOUT, true);
    assert.deepEqual(epochOf(kernel), [2, 1]);
  });

  it('fault: no epoch is free: every packet of live flows is judged, until one is', async () => {
    const kernel = createFakeKernel({ backend: 'iptables-nft' });
    let free = 5;
    const told: (number | undefined)[] = [];
    const freeEpochs = {
      ...epochsInTurn(0),
      next: () => free,
      inForce: (family: 4 | 6, epoch: number | undefined) => void (family === 4 && told.push(epoch)),
    };
    const reconciler = new SnapshotSync({ nodeName: 'node-1', kernel, now: () => 0, firstEpoch: 1, freeEpochs });
    const pass = async (to: ClusterSnapshot, readBack = false): Promise<number> => {
      const { failures, plan } = await reconciler.sync(to, 'enforce', LAYOUT, readBack);
      assert.deepEqual(failures, []);
      return plan!.summary.epochsAdvanced;
    };
    assert.equal(await pass(cluster()), 0);
    assert.deepEqual(epochOf(kernel), [5, 5]);
    const idle = { mark: 0 };
    const toA = packet(B.addresses[0]!, A.addresses[0]!);
    assert.equal(trace(kernel.state(), { ...toA, connection: idle }), 'passed');
    const second = () => kernel.state().families[4]!.hooks.FORWARD[1];
    free = EVERY_PACKET;
    const tighter = cluster([policy('x/only-b', { podSelector: { matchLabels: { pod: 'a' } } }), BLOCK]);
    assert.equal(await pass(tighter), 2);
    assert.deepEqual(epochOf(kernel), [0, 0]);
    assert.equal(second(), '-m conntrack --ctstate RELATED,ESTABLISHED -j PCL-FWD-RECHECK');
    const live = { ...toA, state: 'ESTABLISHED', direction: 'ORIGINAL' } as const;
    assert.equal(trace(kernel.state(), { ...live, connection: { ...idle } }), 'dropped');
    // Still none: nothing is written twice, each further change is judged at once.
    assert.equal(await pass(tighter), 0);
    assert.equal(await pass(tighter, true), 0);
    assert.equal(await pass(cluster()), 0);
    const allowed = { ...idle };
    assert.equal(trace(kernel.state(), { ...live, connection: allowed }), 'passed');
    assert.equal(await pass(tighter), 0);
    assert.equal(trace(kernel.state(), { ...live, connection: allowed }), 'dropped');
    assert.deepEqual(epochOf(kernel), [0, 0]);
    // One is found: nothing else changed, and the rules go to it.
    free = 9;
    assert.equal(await pass(tighter), 2);
    assert.deepEqual(epochOf(kernel), [9, 9]);
    assert.match(second()!, /^-m connmark ! --mark 0x12000000\/0xff000000 /);
    assert.equal(trace(kernel.state(), { ...live, connection: { ...idle } }), 'dropped');
    assert.equal(told.at(-1), 9);
  });

  it('the epoch in force is never gone to again, whoever calls it free', async () => {
    const node = createFakeNode('node-1', createFakeKernel(), { freeEpochs: epochsInTurn(5) });
    await enforce(node, cluster());
    await enforce(node, cluster([policy('x/only-b', { podSelector: { matchLabels: { pod: 'a' } } }), BLOCK]));
    assert.deepEqual(epochOf(node.kernel), [EVERY_PACKET, EVERY_PACKET]);
  });

  it('the epoch goes on though the rules were gone in between', async () => {
    for (const between of ['off', 'audit'] as const) {
      const { kernel, enforce } = bench();
      await enforce(cluster([ONLY_B]));
      await enforce(cluster([ONLY_B, BLOCK]));
      await enforce(cluster([ONLY_B, BLOCK]), { mode: between });
      await enforce(cluster([ONLY_B, BLOCK]));
      assert.deepEqual(epochOf(kernel), [7, 7], between);
    }
  });

  it('without marks, what is established passes', async () => {
    const { kernel, reconciler } = bench();
    const { marks: _, ...layout } = LAYOUT;
    await reconciler.sync(cluster([ONLY_B]), 'enforce', layout, true);
    await reconciler.sync(cluster([ONLY_B], [A, { ...B, labels: {} }]), 'enforce', layout, false);
    assert.ok(isLive(kernel, { mark: 0 }, 'ORIGINAL'));
    assert.deepEqual(passes(kernel, B, A), [false, false]);
    assert.doesNotMatch(kernel.savedRules(4), /PCL.*CONNMARK/);
  });
});
