/** Commits that only add, and the one that takes out later what they replaced. */
import assert from 'node:assert/strict';
import type { EpochSource } from '../../../../src/dataplane/free-epochs.ts';
import type { Policy } from '../../../../src/policy/model.ts';
import type { Step } from '../../../../src/dataplane/iptables/plan/plan.ts';
import { compileNode } from '../../../support/stages.ts';
import { AddOnly, asInKernel, asItJudges } from '../../../../src/dataplane/iptables/plan/add-only.ts';
import { readingOf } from '../../../../src/dataplane/iptables/plan/chain-reading.ts';
import { createIptablesDataplane } from '../../../../src/dataplane/iptables/iptables-dataplane.ts';
import { findFamilyDrift } from '../../../../src/dataplane/iptables/drift/find-drift.ts';
import { MAX_DEAD_RULES, REST_MS, TidyTimer } from '../../../../src/dataplane/tidy-timer.ts';
import { NO_INTERFACES } from '../../../../src/host/pod-interfaces.ts';
import { EVERY_PACKET } from '../../../../src/dataplane/mark-bits.ts';
import { pod, policy, snapshot } from '../../../support/builders.ts';
import { type FakeNode, LAYOUT, createFakeNode, enforce, epochsInTurn } from '../../../support/fake-cluster.ts';
import { createFakeKernel } from '../../../support/fake-kernel.ts';
import { type Packet, traceRules } from '../../../support/tracer.ts';
import { VirtualClock } from '../../../support/virtual-clock.ts';

const PODS = [
  pod('x/a', { addresses: ['10.0.0.1', 'fd00::1'], labels: { app: 'a' } }),
  pod('x/b', { addresses: ['10.0.0.17', 'fd00::11'], labels: { app: 'b' } }),
  pod('x/r', { addresses: ['10.1.0.1', 'fd00:1::1'], labels: { team: 'red' }, nodeName: 'node-2' }),
  pod('x/g', { addresses: ['10.1.0.3', 'fd00:1::3'], labels: { team: 'green' }, nodeName: 'node-2' }),
  pod('x/s', { addresses: ['10.1.0.2', 'fd00:1::2'], labels: { team: 'blue' }, nodeName: 'node-2' }),
];
const from = (app: string, team: string, port: number): Policy =>
  policy(`x/${app}`, {
    podSelector: { matchLabels: { app } },
    policyTypes: ['Ingress'],
    ingress: [{ from: [{ podSelector: { matchLabels: { team } } }], ports: [{ port }] }],
  });
const clusterOf = (...policies: readonly Policy[]) => snapshot({ pods: PODS, policies });
const RED = clusterOf(from('a', 'red', 80), from('b', 'green', 80));
const BLUE = clusterOf(from('a', 'blue', 80), from('b', 'green', 80));

const FLOW: Packet = { family: 4, source: '10.1.0.2', destination: '10.0.0.1', protocol: 6, port: 80 };

function addingNode(freeEpochs?: EpochSource, kernel = createFakeKernel()) {
  const tidy = { isDue: false, synced: (): void => {} };
  const node = createFakeNode('node-1', kernel, { freeEpochs, tidy });
  return { node, tidy };
}

const linesOf = (steps: readonly Step[]): readonly string[] =>
  steps.flatMap((step) => ('family' in step && step.family === 4 ? step.lines.map(({ text }) => text) : []));
const deletes = (steps: readonly Step[], there: ReadonlySet<string>): readonly string[] =>
  linesOf(steps).filter(
    (line) => /^-[DXF] /.test(line) || (line[0] === ':' && there.has(line.slice(1).split(' ')[0]!)),
  );
const chainsOf = ({ kernel }: FakeNode) => kernel.state().families[4]!.chains;

/** What the kernel holds, the epoch aside. */
function held(node: FakeNode): unknown {
  const { families, sets } = node.kernel.state();
  const text = (lines: readonly string[]) => lines.map((line) => line.replace(/0x[0-9a-f]+\/0xff000000/, 'EPOCH'));
  const { chains, hooks } = families[4]!;
  return [
    new Map([...chains].map(([name, lines]) => [name, text(lines)])),
    text(hooks.FORWARD),
    new Map([...sets].map(([name, { members }]) => [name, members])),
  ];
}

describe('a commit that only adds', () => {
  it('deletes nothing, and judges as one that replaces would', async () => {
    const { node } = addingNode();
    await enforce(node, RED);
    assert.equal(traceRules(node.kernel.state(), FLOW).verdict, 'dropped');
    const there = new Set(chainsOf(node).keys());
    const { plan } = await enforce(node, BLUE);
    assert.deepEqual(deletes(plan!.steps, there), []);
    assert.ok(linesOf(plan!.steps).length > 0);
    assert.equal(traceRules(node.kernel.state(), FLOW).verdict, 'passed');
    assert.equal(traceRules(node.kernel.state(), { ...FLOW, source: '10.1.0.1' }).verdict, 'dropped');
    assert.deepEqual((await enforce(node, BLUE)).plan!.steps, []);
  });

  it('leaves what is read as it judges: as it is remembered', async () => {
    const { node } = addingNode();
    await enforce(node, RED);
    for (const cluster of [BLUE, RED, clusterOf(from('b', 'blue', 81)), BLUE]) {
      const { plan } = await enforce(node, cluster);
      const read = asItJudges(node.kernel.state().families[4]!, 4);
      for (const [name, lines] of plan!.after.families[4]!.chains) assert.deepEqual(read.chains.get(name), lines, name);
      assert.deepEqual(read.hooks, plan!.after.families[4]!.hooks);
      assert.deepEqual(findFamilyDrift(asInKernel(plan!.after.families[4]!), node.kernel.state().families[4]!, 4), []);
    }
  });

  it('is followed by one that leaves what a fresh start would', async () => {
    const { node, tidy } = addingNode();
    await enforce(node, RED);
    for (const cluster of [BLUE, RED, BLUE]) await enforce(node, cluster);
    tidy.isDue = true;
    const { plan } = await enforce(node, BLUE);
    assert.deepEqual(
      plan!.steps.map(({ kind }) => kind),
      ['final-rules', 'final-rules', 'destroy-sets'],
    );
    const fresh = createFakeNode('node-1');
    await enforce(fresh, BLUE);
    assert.deepEqual(held(node), held(fresh));
    assert.deepEqual((await enforce(node, BLUE)).plan!.steps, []);
    assert.deepEqual((await enforce(node, BLUE, true)).drift, []);
  });

  it('has a packet that carries the new epoch judged once, whatever epochs there were', async () => {
    const { node } = addingNode();
    await enforce(node, RED);
    for (const cluster of [BLUE, RED, BLUE]) {
      await enforce(node, cluster);
      const state = node.kernel.state();
      const source = cluster === BLUE ? '10.1.0.2' : '10.1.0.1';
      const connection = { mark: 0 };
      const judged = (packet: Partial<Packet>): number =>
        traceRules(state, { ...FLOW, source, connection, ...packet }).matched.filter((rule) =>
          rule.startsWith('PCL-I-'),
        ).length;
      assert.equal(judged({}), 1);
      assert.equal(judged({ state: 'ESTABLISHED', direction: 'ORIGINAL' }), 0);
      connection.mark = 0x01000000 | connection.mark;
      assert.equal(judged({ state: 'ESTABLISHED', direction: 'ORIGINAL' }), 1);
    }
  });

  it('writes no chain that is there still, or again', async () => {
    const { node } = addingNode();
    await enforce(node, RED);
    await enforce(node, BLUE);
    const { plan } = await enforce(node, RED);
    assert.deepEqual(
      linesOf(plan!.steps).filter((line) => line.startsWith(':PCL-I')),
      [],
    );
    assert.equal(traceRules(node.kernel.state(), { ...FLOW, source: '10.1.0.1' }).verdict, 'passed');
  });

  it('writes a chain that is dead in other words, and no overlay for it', () => {
    const [hooks, mine] = [{ FORWARD: [], INPUT: [] }, ['-j DROP']];
    const dead = { grown: new Map(), chains: new Map([['PCL-I-x', mine]]), hooks: {} };
    const linesFor = (lines: readonly string[]): readonly string[] => {
      const adding = new AddOnly({ chains: new Map(), hooks, dead }, { family: 4, epoch: 1 });
      return adding.commit({ chains: new Map([['PCL-I-x', { lines }]]), stale: [] })!.map(({ text }) => text);
    };
    assert.deepEqual(linesFor(mine), []);
    assert.deepEqual(linesFor(['-j RETURN']), ['*mangle', ':PCL-I-x - [0:0]', '-A PCL-I-x -j RETURN', 'COMMIT']);
  });

  it('is none after the kernel was read, nor with iptables-legacy, nor where it would not be all', async () => {
    const isReplacing = async (
      { node }: ReturnType<typeof addingNode>,
      resync = false,
      mode: 'enforce' | 'audit' = 'enforce',
    ) => {
      await enforce(node, RED);
      const { plan } = await node.reconciler.sync(BLUE, mode, LAYOUT, resync);
      return linesOf(plan!.steps).some((line) => /^-[DX] /.test(line));
    };
    assert.equal(await isReplacing(addingNode()), false);
    assert.equal(await isReplacing(addingNode(), true), true);
    assert.equal(await isReplacing(addingNode(undefined, createFakeKernel({ backend: 'iptables-legacy' }))), true);
    // Other jumps; no epoch for what is judged already.
    assert.equal(await isReplacing(addingNode(), false, 'audit'), true);
    let next = 3;
    const { node } = addingNode({ ...epochsInTurn(3), next: () => next });
    await enforce(node, RED);
    next = EVERY_PACKET;
    const { plan } = await enforce(node, BLUE);
    assert.ok(linesOf(plan!.steps).some((line) => line.startsWith('-D FORWARD ')));
  });

  it('fault: what it left is taken out by a process that comes after, with no epoch of its own', async () => {
    const { node } = addingNode();
    for (const cluster of [RED, BLUE, RED]) await enforce(node, cluster);
    const jumps = () => node.kernel.state().families[4]!.hooks.FORWARD;
    const [, current] = jumps();
    const next = createFakeNode('node-1', node.kernel);
    const { plan } = await enforce(next, RED, true);
    assert.equal(plan!.summary.epochsAdvanced, 0);
    assert.equal(jumps()[1], current);
    const fresh = createFakeNode('node-1');
    await enforce(fresh, RED);
    assert.deepEqual(held(next), held(fresh));
  });

  it('fault: a permission of the rules above is found by the next process, though those below never gave it', async () => {
    const { node } = addingNode();
    for (const cluster of [RED, BLUE]) await enforce(node, cluster);
    const connection = { mark: 0 };
    const live = { ...FLOW, state: 'ESTABLISHED', direction: 'ORIGINAL', connection } as const;
    assert.equal(traceRules(node.kernel.state(), { ...FLOW, connection }).verdict, 'passed');
    await enforce(createFakeNode('node-1', node.kernel), RED, true);
    assert.equal(traceRules(node.kernel.state(), live).verdict, 'dropped');
  });

  it('fault: refused, as somebody took out what it builds on: the kernel is read, and nothing dead is left', async () => {
    const { node } = addingNode();
    for (const cluster of [RED, BLUE]) await enforce(node, cluster);
    const [overlay] = [...chainsOf(node)].find(([, lines]) => lines[0]?.startsWith('-g PCL-O-'))!;
    node.kernel.editRules(
      4,
      `-D ${overlay} ${chainsOf(node).get(overlay)![0]}`,
      ...['FORWARD', 'INPUT'].map((hook) => `:${hook} ACCEPT [0:0]`),
    );
    await enforce(node, RED, true);
    const fresh = createFakeNode('node-1');
    await enforce(fresh, RED);
    assert.deepEqual([...chainsOf(node).keys()].sort(), [...chainsOf(fresh).keys()].sort());
  });

  it('fault: a dead chain that a rule of others leads to stays, and nothing else does', async () => {
    const { node, tidy } = addingNode();
    await enforce(node, RED);
    const there = [...chainsOf(node).keys()].filter((name) => name.startsWith('PCL-I-'));
    await enforce(node, BLUE);
    const judging = asItJudges(node.kernel.state().families[4]!, 4);
    const dead = there.find((name) => ![...readingOf(4, judging).targets('ingress').values()].includes(name))!;
    node.kernel.editRules(4, ':OTHERS - [0:0]', `-A OTHERS -j ${dead}`);
    tidy.isDue = true;
    const { busyChains } = await enforce(node, BLUE);
    assert.deepEqual(busyChains, [dead]);
    const fresh = createFakeNode('node-1');
    await enforce(fresh, BLUE);
    assert.deepEqual([...chainsOf(node).keys()].sort(), [...chainsOf(fresh).keys(), dead].sort());
  });

  it('is taken out with all the rest', async () => {
    const { node } = addingNode();
    for (const cluster of [RED, BLUE]) await enforce(node, cluster);
    const outcome = await node.reconciler.sync(BLUE, 'off', LAYOUT, false);
    assert.deepEqual(outcome.failures, []);
    assert.deepEqual([...chainsOf(node).keys()], []);
    assert.deepEqual(
      node.kernel.state().families[4]!.hooks.FORWARD.filter((line) => line.includes('PCL-')),
      [],
    );
    assert.deepEqual(
      [...node.kernel.state().sets.keys()].filter((name) => name.startsWith('PCL')),
      [],
    );
  });
});

describe('what commits that only add leave', () => {
  function bench() {
    const clock = new VirtualClock();
    const kernel = createFakeKernel();
    const tidy = new TidyTimer(clock);
    const dataplane = createIptablesDataplane({ kernel, layout: LAYOUT, now: () => 0, firstEpoch: 5, tidy });
    const asked: string[] = [];
    dataplane.onWork((reason) => asked.push(reason));
    const sync = async (cluster: typeof RED) => {
      const intent = { ...compileNode(cluster, 'node-1'), revision: 1 };
      const outcome = await dataplane.sync(intent, { mode: 'enforce', resync: false, interfaces: NO_INTERFACES });
      assert.deepEqual(outcome.failures, []);
      return outcome;
    };
    const overlays = () => [...kernel.state().families[4]!.chains.keys()].filter((name) => name.startsWith('PCL-O-'));
    return { clock, kernel, dataplane, asked, sync, overlays };
  }

  it('is taken out by the sync that is asked for when rules rest, and is no drift until then', async () => {
    const { clock, kernel, dataplane, asked, sync, overlays } = bench();
    await sync(RED);
    await sync(BLUE);
    const standing = dataplane.standing()!.written.families[4]!;
    assert.deepEqual(findFamilyDrift(standing, kernel.state().families[4]!, 4), []);
    assert.ok(overlays().length > 0);
    const { rules, chains } = (await sync(BLUE)).size!();
    await clock.pass(REST_MS);
    assert.deepEqual(asked, ['tidying']);
    const { change, size } = await sync(BLUE);
    const counts = change!.counts;
    assert.deepEqual([counts.chainsWritten, counts.jumpsRepaired, counts.epochsAdvanced], [0, 0, 0]);
    assert.ok(counts.chainsDeleted > 0 && counts.setsDestroyed > 0);
    assert.deepEqual([size!().rules, size!().chains], [rules, chains]);
    assert.deepEqual(overlays(), []);
    await clock.pass(10 * REST_MS);
    assert.equal(asked.length, 1);
  });

  it('is bounded: no more than a few jumps stand below those of the epoch in force', async () => {
    const { sync, kernel } = bench();
    let most = 0;
    for (let edit = 0; edit < 40; edit++) {
      await sync(edit % 2 === 0 ? RED : BLUE);
      most = Math.max(
        most,
        kernel.state().families[4]!.hooks.FORWARD.filter((line) => line.includes('RECHECK')).length,
      );
    }
    assert.ok(most > 2 && most < 9, `${most} jumps`);
  });

  it('is bounded: past so many dead rules the next commit leaves none', async () => {
    const { sync, kernel } = bench();
    let most = 0;
    const policies: Policy[] = [];
    for (let port = 1; port < 60; port++) {
      // Grants alone: no epoch begins.
      policies.push(policy(`x/${port}`, { podSelector: {}, ingress: [{ ports: [{ port: 2 * port }] }] }));
      await sync(clusterOf(...policies));
      const { chains } = kernel.state().families[4]!;
      most = Math.max(
        most,
        [...chains.values()].reduce((sum, lines) => sum + lines.length, 0),
      );
    }
    assert.ok(most > MAX_DEAD_RULES / 4 && most < MAX_DEAD_RULES, `${most} rules, jumps counted once`);
  });
});
