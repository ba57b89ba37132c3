/** Counts of rules through the door of the data plane, on a kernel in memory. */
import assert from 'node:assert/strict';
import type { NodeIntent } from '../../../../src/compile/intent.ts';
import type { Backend } from '../../../../src/core/vocabulary.ts';
import type { RuleCounter } from '../../../../src/dataplane/dataplane.ts';
import type { Pod, Policy } from '../../../../src/policy/model.ts';
import { CountBook } from '../../../../src/dataplane/count-book.ts';
import { CountTotals, KEEP_IDLE_MS } from '../../../../src/dataplane/count-totals.ts';
import { compileNode } from '../../../support/stages.ts';
import { CounterWatch, READ_INTERVAL_MS } from '../../../../src/dataplane/iptables/counters/counter-watch.ts';
import { createIptablesDataplane } from '../../../../src/dataplane/iptables/iptables-dataplane.ts';
import { listCounters } from '../../../../src/dataplane/iptables/kernel/list-counters.ts';
import { objectKey } from '../../../../src/policy/model.ts';
import { parseClusterPolicy } from '../../../../src/policy/parse-cluster-policy.ts';
import { NO_INTERFACES } from '../../../../src/host/pod-interfaces.ts';
import { pod, policy, snapshot } from '../../../support/builders.ts';
import { LAYOUT } from '../../../support/fake-cluster.ts';
import { type FakeKernel, createFakeKernel } from '../../../support/fake-kernel.ts';
import { VirtualClock } from '../../../support/virtual-clock.ts';

const A = pod('x/a', { addresses: ['10.0.0.1'] });
const web = (name: string, ...ports: number[]): Policy =>
  policy(`x/${name}`, { podSelector: {}, ingress: ports.map((number) => ({ ports: [{ port: number }] })) });
/** Of a peer whose own rules change with its label, so that rules have to look past the set it leaves. */
const OUT = policy('x/out', { podSelector: { matchLabels: { team: 'blue' } }, policyTypes: ['Egress'], egress: [{}] });
const port = (number: number): string => `-p tcp -m tcp --dport ${number} -j RETURN`;

function intentOf(policies: readonly Policy[], pods: readonly Pod[] = [A]): NodeIntent {
  return { ...compileNode(snapshot({ pods, policies }), 'node-1'), revision: 1 };
}

interface BenchOptions {
  readonly kernel?: FakeKernel;
  readonly backend?: Backend;
  readonly read?: (text: string) => string | Promise<string>;
  /** By netlink, not by a tool. */
  readonly isDumped?: boolean;
  readonly totals?: CountTotals;
}

function bench(options: BenchOptions = {}) {
  const { backend = 'iptables-nft', read = (text) => text } = options;
  const kernel = options.kernel ?? createFakeKernel({ backend, families: [4] });
  const clock = new VirtualClock();
  const problems: (string | undefined)[] = [];
  let readings = 0;
  const dumped = new Set<string>();
  const counters = new CounterWatch({
    target: () => ({ variant: backend, families: [4] }),
    read: async (family, isUrgent) => {
      if (!options.isDumped) readings++;
      return read(await listCounters(kernel.run, backend, family, isUrgent));
    },
    ...(options.isDumped
      ? {
          dump: async (family, chains) => {
            readings++;
            for (const chain of chains) dumped.add(chain);
            return kernel.dump(family, chains);
          },
        }
      : {}),
    clock,
    ...(options.totals ? { book: new CountBook({ totals: options.totals }) } : {}),
    onProblem: (problem) => problems.push(problem),
  });
  const dataplane = createIptablesDataplane({ kernel, layout: LAYOUT, now: () => 0, firstEpoch: 5, counters });
  const sync = async (
    policies: readonly Policy[],
    mode: 'enforce' | 'audit' = 'enforce',
    resync = false,
    pods = [A],
  ) => {
    const outcome = await dataplane.sync(intentOf(policies, pods), { mode, resync, interfaces: NO_INTERFACES });
    assert.deepEqual(outcome.failures, []);
    return outcome;
  };
  return {
    kernel,
    clock,
    problems,
    counters,
    dataplane,
    sync,
    /** So many so far. */
    readings: () => readings,
    /** Chains that the kernel was asked about. */
    dumped,
    /** Packets meet a rule of the chain for new ingress connections, or for replies. */
    hit: (rule: string, packets: number, chain = /^PCL-I-(?!closed)/) =>
      kernel.count(4, chainOf(kernel.savedRules(4), chain), rule, packets),
    /** As one line per count that is not 0, in order. */
    counted: async (all = false): Promise<readonly string[]> => {
      clock.advance(5_000);
      let found: readonly RuleCounter[] | undefined;
      void dataplane.counters().then((counters) => (found = counters));
      for (let turn = 0; !found; turn++) await clock.pass(turn < 20 ? 0 : 5);
      return found
        .filter(({ packets }) => all || packets > 0)
        .map(words)
        .sort();
    },
  };
}

/** The last that was made. */
function chainOf(saved: string, name: RegExp): string {
  const names = [...saved.matchAll(/^:(\S+) /gm)].map(([, each]) => each!);
  return names.findLast((each) => name.test(each))!;
}

function words({ action, direction, flow, of, packets, bytes }: RuleCounter): string {
  assert.equal(bytes, packets * 100);
  const whose = of.kind === 'policies' ? of.policies.map(objectKey).join(',') : of.kind;
  return `${action} ${direction} ${flow} ${whose} ${packets}`;
}

const FLAG = '-m conntrack --ctstate RELATED,ESTABLISHED -j CONNMARK --set-xmark 0x1000000/0x1000000';

const WAYS: readonly Pick<BenchOptions, 'backend' | 'isDumped'>[] = [
  { backend: 'iptables-nft' },
  { backend: 'iptables-nft', isDumped: true },
  { backend: 'iptables-legacy' },
];

for (const way of WAYS) {
  const { backend = 'iptables-nft', isDumped = false } = way;
  describe(`counts of rules, ${backend}${isDumped ? ' by netlink' : ''}`, () => {
    it('are there at 0 with the rules', async () => {
      const { sync, counted } = bench(way);
      assert.deepEqual(await counted(true), []);
      await sync([web('web', 80)]);
      assert.deepEqual(await counted(true), [
        'allow ingress new x/web 0',
        'deny ingress invalid x/web 0',
        'deny ingress live x/web 0',
        'deny ingress new x/web 0',
      ]);
    });

    it('belong to the policy that asks for the rule, or to all that do, and denials to all that isolate', async () => {
      const { sync, hit, counted } = bench(way);
      await sync([web('a', 80, 81), web('b', 81, 82)]);
      hit(port(80), 2);
      hit(port(81), 3);
      hit(port(82), 4);
      hit('-j DROP', 9);
      hit(FLAG, 2);
      hit('-m conntrack --ctstate INVALID -j DROP', 1);
      assert.deepEqual(await counted(), [
        'allow ingress new x/a 2',
        'allow ingress new x/a,x/b 3',
        'allow ingress new x/b 4',
        'deny ingress invalid x/a,x/b 1',
        'deny ingress live x/a,x/b 2',
        'deny ingress new x/a,x/b 7',
      ]);
    });

    it('of tiers belong to the policy whose rule denies, and live flows that end are told from new ones (N-62, N-70)', async () => {
      const { dataplane, hit, counted } = bench(way);
      const denying = (name: string, port: number) => {
        const protocols = [{ tcp: { destinationPort: { number: port } } }];
        const ingress = [{ action: 'Deny', from: [{ namespaces: {} }], protocols }];
        const spec = { tier: 'Admin', priority: port, subject: { namespaces: {} }, ingress };
        return parseClusterPolicy({ metadata: { name }, spec }).policy!;
      };
      const cluster = {
        ...snapshot({ pods: [A], policies: [web('web', 443)] }),
        clusterPolicies: new Map([denying('one', 80), denying('two', 81)].map((each) => [each.name, each])),
      };
      // Rules next to each other with the same action are merged where they ask the same; these ask for ports of their own.
      const intent = { ...compileNode(cluster, 'node-1'), revision: 1 };
      const request = { mode: 'enforce', resync: false, interfaces: NO_INTERFACES } as const;
      assert.deepEqual((await dataplane.sync(intent, request)).failures, []);
      const [one, two] = [/^PCL-IX-[^-]*$/, /^PCL-IX-.*-1$/];
      hit('-j DROP', 5, one);
      hit(FLAG, 2, one);
      hit('-j DROP', 7, two);
      hit('-j DROP', 3, /^PCL-I-/);
      assert.deepEqual(await counted(), [
        'deny ingress live /one 2',
        'deny ingress new /one 3',
        'deny ingress new /one,/two,x/web 3',
        'deny ingress new /two 7',
      ]);
    });

    it('tell live flows that are judged again by their answers from new ones', async () => {
      const { sync, hit, counted } = bench(way);
      await sync([web('a', 80)]);
      hit('-p tcp -m tcp --sport 80 -j RETURN', 5, /^PCL-IR-/);
      hit(FLAG, 2, /^PCL-IR-/);
      hit('-j DROP', 2, /^PCL-IR-/);
      assert.deepEqual(await counted(), ['deny ingress live x/a 2']);
    });

    it('tell what everything is allowed from what would be denied', async () => {
      const { sync, hit, counted } = bench(way);
      const all = policy('x/all', { podSelector: {}, ingress: [{}] });
      await sync([all]);
      hit('-j RETURN', 4);
      assert.deepEqual(await counted(), ['allow ingress new x/all 4']);
      await sync([web('a', 80)], 'audit');
      hit('-j RETURN', 6);
      hit(port(80), 1);
      assert.deepEqual(await counted(), [
        'allow ingress new x/a 1',
        'allow ingress new x/all 4',
        'would-deny ingress new x/a 6',
      ]);
    });

    it('go on when the chain is replaced, and nothing that comes before the change is missed', async () => {
      const { sync, hit, counted, kernel } = bench(way);
      await sync([web('a', 80)]);
      hit(port(80), 3);
      let commits = 0;
      kernel.onLine = (text) => {
        // A packet that was on its way while the first commit went in.
        if (text === 'COMMIT' && ++commits === 1) hit('-j DROP', 1, new RegExp(`^${old}$`));
      };
      const old = chainOf(kernel.savedRules(4), /^PCL-I-/);
      await sync([web('a', 80, 90)]);
      kernel.onLine = undefined;
      assert.ok(commits > 0 && !kernel.savedRules(4).includes(`:${old} `), 'the old chain is gone');
      hit(port(80), 2);
      assert.deepEqual(await counted(), ['allow ingress new x/a 5', 'deny ingress new x/a 1']);
    });

    it('go on when all rules are taken out', async () => {
      const { sync, hit, counted, dataplane } = bench(way);
      await sync([web('a', 80)]);
      hit(port(80), 3);
      assert.deepEqual(await counted(), ['allow ingress new x/a 3']);
      hit(port(80), 2);
      await dataplane.remove({ resync: false });
      assert.deepEqual(await counted(), ['allow ingress new x/a 5']);
    });

    it('count nothing twice when a chain is written anew, or has a rule more', async () => {
      const { sync, hit, counted, kernel } = bench(way);
      const policies = [web('a', 80)];
      await sync(policies);
      hit(port(80), 3);
      assert.deepEqual(await counted(), ['allow ingress new x/a 3']);
      kernel.editRules(4, `-I ${chainOf(kernel.savedRules(4), /^PCL-I-/)} 1 -s 192.0.2.1/32 -j RETURN`);
      hit(port(80), 1);
      assert.deepEqual(await counted(), ['allow ingress new x/a 4']);
      const { drift } = await sync(policies, 'enforce', true);
      assert.equal(drift.length, 1);
      hit(port(80), 2);
      assert.deepEqual(await counted(), ['allow ingress new x/a 6']);
    });

    it('go on for each policy in a chain that stands in for one of ours, and in ours when it is gone', async () => {
      const { sync, hit, counted, kernel } = bench(way);
      await sync([web('a', 80), web('b', 81)]);
      hit(port(80), 3);
      hit('-j DROP', 2);
      const ours = chainOf(kernel.savedRules(4), /^PCL-I-/);
      const rules = [port(80), '-s 192.0.2.1/32 -p tcp -m tcp --dport 81 -j RETURN', '-j DROP'];
      const filled = rules.map((rule) => `-A PCL-O-x ${rule}`);
      kernel.editRules(4, ':PCL-O-x - [0:0]', ...filled, `-I ${ours} 1 -g PCL-O-x`);
      const inIt = /^PCL-O-/;
      hit(port(80), 1, inIt);
      hit('-s 192.0.2.1/32 -p tcp -m tcp --dport 81 -j RETURN', 4, inIt);
      hit('-j DROP', 5, inIt);
      // What is in no policy's words is counted for all of them.
      const all = ['allow ingress new x/a 4', 'allow ingress new x/a,x/b 4', 'deny ingress new x/a,x/b 7'];
      assert.deepEqual(await counted(), all);
      kernel.editRules(4, `-D ${ours} -g PCL-O-x`, ':PCL-O-x - [0:0]', '-X PCL-O-x');
      hit(port(81), 1);
      assert.deepEqual(await counted(), [...all.slice(0, 2), 'allow ingress new x/b 1', all[2]]);
    });

    it('of a chain that was there before its policies were known go to the policies once they are', async () => {
      const { kernel, sync: syncBefore } = bench(way);
      const policies = [web('a', 80), web('b', 81)];
      await syncBefore(policies);
      const name = chainOf(kernel.savedRules(4), /^PCL-I-/);
      const chain = kernel.savedRules(4).match(new RegExp(`^(:|-A )${name} .*$`, 'gm'))!;
      const { sync, hit, counted } = bench({ ...way, kernel });
      await sync([]);
      kernel.editRules(4, ...chain);
      hit(port(80), 2);
      assert.deepEqual(await counted(), ['allow ingress new x/a,x/b 2']);
      await sync(policies);
      hit(port(80), 1);
      assert.deepEqual(await counted(), ['allow ingress new x/a 1', 'allow ingress new x/a,x/b 2']);
    });

    for (const mode of ['enforce', 'audit'] as const)
      it(`fault: of pods whose rules the kernel refuses are counted by themselves, ${mode}`, async () => {
        const { hit, counted, kernel, dataplane } = bench(way);
        kernel.faults.refuse = (line) => line.includes('--dport 80');
        await dataplane.sync(intentOf([web('a', 80)]), { mode, resync: true, interfaces: NO_INTERFACES });
        hit(mode === 'audit' ? '-j RETURN' : '-j DROP', 3, /^PCL-I-closed/);
        if (mode === 'enforce') hit('-j DROP', 2, /^PCL-IR-closed/);
        const expected = {
          enforce: ['deny ingress live closed 2', 'deny ingress new closed 3'],
          audit: ['would-deny ingress new closed 3'],
        };
        assert.deepEqual(await counted(), expected[mode]);
      });

    it('follow a rule that stays and becomes the rule of other policies', async () => {
      const { sync, hit, counted, kernel } = bench(way);
      await sync([web('a', 80, 81), web('b', 80)]);
      hit(port(80), 1);
      hit(port(81), 2);
      assert.deepEqual(await counted(), ['allow ingress new x/a 2', 'allow ingress new x/a,x/b 1']);
      const before = kernel.savedRules(4);
      await sync([web('a', 80, 81), web('b', 81)]);
      assert.equal(kernel.savedRules(4), before, 'no rule changes');
      hit(port(80), 10);
      hit(port(81), 20);
      assert.deepEqual(await counted(), ['allow ingress new x/a 12', 'allow ingress new x/a,x/b 21']);
    });

    it('lose no more than came since the last reading where a chain is written anew for its sets', async () => {
      const { sync, hit, counted, kernel } = bench(way);
      const blue = policy('x/a', {
        podSelector: { matchLabels: { pod: 'a' } },
        ingress: [{ from: [{ podSelector: { matchLabels: { team: 'blue' } } }] }],
      });
      const peer = (team: string) => pod('x/r', { addresses: ['10.0.9.9'], labels: { team } });
      const rule = () => /^-A PCL-I-\S{16} (-m set --match-set \S+ src -j RETURN)$/m.exec(kernel.savedRules(4))![1]!;
      let sent = 0;
      for (let round = 0; round < 6; round++) {
        await sync([blue, OUT], 'enforce', false, [A, peer(round % 2 === 0 ? 'blue' : 'red')]);
        hit(rule(), 2);
        sent += 2;
        assert.deepEqual(await counted(), [`allow ingress new x/a ${sent}`]);
      }
      hit(rule(), 1);
      await sync([blue, OUT], 'enforce', false, [A, peer('blue')]);
      await sync([blue, OUT], 'enforce', false, [A, peer('red')]);
      hit(rule(), 2);
      assert.deepEqual(await counted(), [`allow ingress new x/a ${sent + 2}`]);
    });

    it('are read every 15 s though nobody asks', async () => {
      const { sync, clock, readings } = bench(way);
      await sync([web('a', 80)]);
      assert.equal(readings(), 0);
      for (let count = 1; count <= 3; count++) {
        await clock.pass(READ_INTERVAL_MS);
        await clock.pass(0);
        assert.equal(readings(), count);
      }
    });

    it('are read once a second at most, whoever asks', async () => {
      const { sync, clock, dataplane, readings } = bench(way);
      await sync([web('a', 80)]);
      for (let count = 0; count < 5; count++) await dataplane.counters();
      await Promise.all([dataplane.counters(), dataplane.counters()]);
      assert.equal(readings(), 1);
      clock.advance(1_000);
      await Promise.all([dataplane.counters(), dataplane.counters()]);
      assert.equal(readings(), 2);
    });

    it('are bounded: what comes beyond is counted together, until others are long gone', async () => {
      const [each, max] = [4, 200];
      const { sync, hit, counted, clock } = bench({ ...way, totals: new CountTotals(max) });
      for (let count = 0; count < max / each + 5; count++) {
        await sync([web(`p${count}`, 80)]);
        hit(port(80), 1);
      }
      const found = await counted();
      assert.equal(found.length, max / each + 1);
      assert.ok(found.includes('allow ingress new other 5'), found.join('\n'));
      assert.ok((await counted(true)).length <= max + each);
      await sync([web('late', 80)]);
      assert.ok((await counted()).includes('allow ingress new other 5'));
      clock.advance(KEEP_IDLE_MS);
      await counted();
      await sync([web('later', 80)]);
      hit(port(80), 1);
      assert.deepEqual(await counted(), ['allow ingress new other 5', 'allow ingress new x/later 1']);
    });
  });
}

describe('counts of rules, when reading goes wrong', () => {
  it('are asked of a tool once, and of chains that go or count alone, where the kernel tells them', async () => {
    const { sync, hit, counted, kernel, dumped } = bench({ isDumped: true });
    for (const number of [80, 81, 82, 83]) {
      await sync([web('a', number)]);
      hit('-j DROP', 1);
      assert.deepEqual(await counted(), [`deny ingress new x/a ${number - 79}`]);
    }
    assert.equal(kernel.commands.filter((each) => each.includes('-save -c')).length, 1);
    assert.ok(dumped.size > 4);
    for (const chain of dumped) assert.match(chain, /^PCL-[EI]R?-/);
  });

  it('fault: a reading that began before a chain was written anew counts nothing of it twice', async () => {
    let gate: Promise<void> | undefined;
    const { sync, hit, counted, dataplane, kernel, clock } = bench({
      read: async (text) => {
        await gate;
        return text;
      },
    });
    const blue = policy('x/a', {
      podSelector: { matchLabels: { pod: 'a' } },
      ingress: [{ from: [{ podSelector: { matchLabels: { team: 'blue' } } }] }],
    });
    const peer = (team: string) => pod('x/r', { addresses: ['10.0.9.9'], labels: { team } });
    // Judged by the same chains, which stay.
    const like = pod('x/s', { addresses: ['10.0.9.25'], labels: { team: 'blue' } });
    const rule = () => /^-A PCL-I-\S{16} (-m set --match-set \S+ src -j RETURN)$/m.exec(kernel.savedRules(4))![1]!;
    await sync([blue, OUT], 'enforce', false, [A, peer('blue'), like]);
    hit(rule(), 7);
    assert.deepEqual(await counted(), ['allow ingress new x/a 7']);
    hit(rule(), 1);
    clock.advance(5_000);
    let open: () => void = () => {};
    gate = new Promise((resolve) => (open = resolve));
    const asked = dataplane.counters();
    await clock.pass(0);
    await sync([blue, OUT], 'enforce', false, [A, peer('red'), like]);
    hit(rule(), 3);
    open();
    await asked;
    gate = undefined;
    assert.deepEqual(await counted(), ['allow ingress new x/a 10']);
  });

  it('fault: a table that is read while iptables-legacy has not put its counts back is read again', async () => {
    let isRacing = false;
    const { sync, hit, dataplane, clock } = bench({
      backend: 'iptables-legacy',
      read: (text) => {
        const found = isRacing ? text.replaceAll(/^\[\d+:\d+\]/gm, '[0:0]') : text;
        isRacing = false;
        return found;
      },
    });
    await sync([web('a', 80)]);
    hit(port(80), 3);
    await dataplane.counters();
    clock.advance(5_000);
    isRacing = true;
    const later = dataplane.counters();
    await clock.pass(50);
    assert.deepEqual((await later).filter(({ packets }) => packets > 0).map(words), ['allow ingress new x/a 3']);
    hit(port(80), 1);
    clock.advance(5_000);
    assert.deepEqual((await dataplane.counters()).filter(({ packets }) => packets > 0).map(words), [
      'allow ingress new x/a 4',
    ]);
  });

  it('fault: what cannot be read stays as it was, is told once, and is made up for', async () => {
    let isBroken = false;
    const { sync, hit, counted, problems } = bench({
      read: (text) => {
        if (isBroken) throw new Error('iptables-nft-save: no such thing');
        return text;
      },
    });
    await sync([web('a', 80)]);
    hit(port(80), 3);
    assert.deepEqual(await counted(), ['allow ingress new x/a 3']);
    isBroken = true;
    hit(port(80), 2);
    assert.deepEqual(await counted(), ['allow ingress new x/a 3']);
    assert.deepEqual(await counted(), ['allow ingress new x/a 3']);
    isBroken = false;
    assert.deepEqual(await counted(), ['allow ingress new x/a 5']);
    assert.deepEqual(problems, ['iptables-nft-save: no such thing', undefined]);
  });

  it('fault: output that makes no sense counts nothing', async () => {
    let cut = false;
    const { sync, hit, counted, problems } = bench({ read: (text) => (cut ? text.slice(0, 300) : text) });
    await sync([web('a', 80)]);
    hit(port(80), 3);
    assert.deepEqual(await counted(), ['allow ingress new x/a 3']);
    cut = true;
    assert.deepEqual(await counted(), ['allow ingress new x/a 3']);
    assert.match(problems[0]!, /makes no sense/);
  });

  it('fault: a reading that hangs holds up the deletion of chains for a second, and nothing else', async () => {
    let hangs = false;
    const { sync, kernel, clock } = bench({
      read: (text) => (hangs ? new Promise<string>(() => {}) : text),
    });
    await sync([web('a', 80)]);
    const old = chainOf(kernel.savedRules(4), /^PCL-I-/);
    hangs = true;
    let isDone = false;
    const edit = sync([web('a', 90)]).then(() => (isDone = true));
    for (let turn = 0; turn < 20; turn++) await clock.pass(0);
    assert.ok(kernel.savedRules(4).includes('--dport 90'), 'the new rules are in');
    assert.ok(kernel.savedRules(4).includes(`:${old} `) && !isDone);
    await clock.pass(1_000);
    await edit;
    assert.ok(!kernel.savedRules(4).includes(`:${old} `));
  });

  it('what was read ahead of a deletion is not read again for it, though rules of the other family are written', async () => {
    let reads = 0;
    const counters = new CounterWatch({
      target: () => ({ variant: 'iptables-nft', families: [4, 6] }),
      read: async () => {
        reads++;
        return '*mangle\nCOMMIT\n';
      },
      clock: new VirtualClock(),
      onProblem: (problem) => assert.fail(problem),
    });
    counters.began(6, ['PCL-I-aaaaaaaaaaaaaaaa']);
    counters.ended(6, ['PCL-I-aaaaaaaaaaaaaaaa'], true);
    await counters.aheadOfDeletion();
    assert.equal(reads, 2);
    counters.began(4, ['PCL-I-bbbbbbbbbbbbbbbb']);
    counters.ended(4, ['PCL-I-bbbbbbbbbbbbbbbb'], true);
    await counters.beforeDeletion(6, ['PCL-I-aaaaaaaaaaaaaaaa'], false);
    assert.equal(reads, 2);
    await counters.beforeDeletion(4, ['PCL-I-bbbbbbbbbbbbbbbb'], false);
    await counters.beforeDeletion(6, ['PCL-I-aaaaaaaaaaaaaaaa'], true);
    assert.equal(reads, 4);
    await counters.stop();
  });

  it('a chain that nobody knew of is read before it goes, though those known were read', async () => {
    const [old, other] = ['PCL-I-aaaaaaaaaaaaaaaa', 'PCL-IN-3'];
    const asked: (readonly string[])[] = [];
    const counters = new CounterWatch({
      target: () => ({ variant: 'iptables-nft', families: [4] }),
      read: async () => assert.fail('no tool is asked'),
      dump: async (_family, chains) => {
        asked.push(chains);
        return new Map();
      },
      clock: new VirtualClock(),
      onProblem: (problem) => assert.fail(problem),
    });
    counters.began(4, [other]);
    counters.ended(4, [other], true);
    await counters.aheadOfDeletion();
    await counters.beforeDeletion(4, [other], false);
    assert.deepEqual(asked, [[]]);
    await counters.beforeDeletion(4, [old, other], false);
    assert.deepEqual(asked, [[], [old]]);
    await counters.beforeDeletion(4, [old], false);
    assert.equal(asked.length, 2);
    await counters.stop();
  });

  it('fault: a reading that hangs holds up the end of the agent for a second', async () => {
    let hangs = false;
    const { sync, dataplane, counters, clock } = bench({
      read: (text) => (hangs ? new Promise<string>(() => {}) : text),
    });
    await sync([web('a', 80)]);
    hangs = true;
    void dataplane.counters();
    await clock.pass(0);
    let isDone = false;
    void counters.stop().then(() => (isDone = true));
    await clock.pass(900);
    assert.equal(isDone, false);
    await clock.pass(100);
    assert.equal(isDone, true);
    const { timers } = clock;
    await clock.pass(READ_INTERVAL_MS);
    assert.equal(clock.timers, timers, 'nothing begins any more');
  });

  it('fault: whoever asks while a reading hangs is told what was read before', async () => {
    let hangs = false;
    const { sync, hit, counted } = bench({ read: (text) => (hangs ? new Promise<string>(() => {}) : text) });
    await sync([web('a', 80)]);
    hit(port(80), 3);
    assert.deepEqual(await counted(), ['allow ingress new x/a 3']);
    hangs = true;
    hit(port(80), 1);
    assert.deepEqual(await counted(), ['allow ingress new x/a 3']);
  });

  it('fault: one family is read although the other cannot be', async () => {
    const kernel = createFakeKernel();
    const counters = new CounterWatch({
      target: () => ({ variant: 'iptables-nft', families: [4, 6] }),
      read: async (family, isUrgent) => {
        if (family === 4) throw new Error('no IPv4 today');
        return await listCounters(kernel.run, 'iptables-nft', family, isUrgent);
      },
      clock: new VirtualClock(),
      onProblem: () => {},
    });
    const dataplane = createIptablesDataplane({ kernel, layout: LAYOUT, now: () => 0, firstEpoch: 5, counters });
    const pods = [pod('x/a', { addresses: ['10.0.0.1', 'fd00::1'] })];
    const intent = { ...compileNode(snapshot({ pods, policies: [web('a', 80)] }), 'node-1'), revision: 1 };
    await dataplane.sync(intent, { mode: 'enforce', resync: true, interfaces: NO_INTERFACES });
    kernel.count(6, chainOf(kernel.savedRules(6), /^PCL-I-/), port(80), 4);
    const found = await dataplane.counters();
    assert.deepEqual(found.filter(({ packets }) => packets > 0).map(words), ['allow ingress new x/a 4']);
  });

  it('fault: whatever goes wrong with keeping counts is told, and stops nothing', async () => {
    const kernel = createFakeKernel({ families: [4] });
    const problems: (string | undefined)[] = [];
    const counters = new CounterWatch({
      target: () => ({ variant: 'iptables-nft', families: [4] }),
      read: (family, isUrgent) => listCounters(kernel.run, 'iptables-nft', family, isUrgent),
      clock: new VirtualClock(),
      book: new CountBook({
        store: { load: () => Promise.reject(new Error('out of order')), save: () => Promise.resolve() },
      }),
      onProblem: (problem) => problems.push(problem),
    });
    const dataplane = createIptablesDataplane({ kernel, layout: LAYOUT, now: () => 0, firstEpoch: 5, counters });
    const request = { mode: 'enforce', resync: false, interfaces: NO_INTERFACES } as const;
    for (const each of [web('a', 80), web('a', 90)])
      assert.deepEqual((await dataplane.sync(intentOf([each]), request)).failures, []);
    assert.deepEqual(await dataplane.counters(), []);
    assert.deepEqual(problems, ['out of order']);
  });
});
