/** What holds for any way from one cluster to the next (S-09). */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { compileNode, renderNode } from '../support/stages.ts';
import { diff } from '../../src/dataplane/iptables/plan/diff.ts';
import { isReleasedSign } from '../../src/dataplane/iptables/plan/released.ts';
import { type ObservedState, planText } from '../../src/dataplane/iptables/plan/plan.ts';
import type { ClusterSnapshot, Flow } from '../../src/policy/model.ts';
import type { Layout } from '../../src/dataplane/iptables/rules/ruleset.ts';
import { EVERY_PACKET } from '../../src/dataplane/mark-bits.ts';
import type { FakeKernel } from '../support/fake-kernel.ts';
import {
  createFakeNode,
  enforce,
  epochsInTurn,
  type FakeNode,
  LAYOUT,
  WITHOUT_MARKS,
} from '../support/fake-cluster.ts';
import { pod, policy, snapshot } from '../support/builders.ts';
import { sharedSets } from '../support/shared-sets.ts';
import { type Packet, trace } from '../support/tracer.ts';
import { VirtualClock } from '../support/virtual-clock.ts';
import {
  cluster,
  type ClusterParts,
  clusterPair,
  clusterParts,
  crowdedCluster,
  crowdedPair,
  flowsAtEdges,
  NODE,
  snapshotOf,
  tieredCluster,
  tieredPair,
} from './clusters.ts';
import { goneBetween, packetOf } from './expected.ts';
import { runs } from './runs.ts';

const EMPTY: ClusterParts = { pods: [], namespaces: [], policies: [] };

describe('property: order of objects', () => {
  it('does not matter: the same bytes', () => {
    const reordered = clusterParts.chain((parts) => {
      const unique = (each: { namespace?: string; name: string }): string => `${each.namespace}/${each.name}`;
      const once = {
        pods: [...new Map(parts.pods.map((each) => [unique(each), each])).values()],
        namespaces: [...new Map(parts.namespaces.map((each) => [unique(each), each])).values()],
        policies: [...new Map(parts.policies.map((each) => [unique(each), each])).values()],
      };
      const shuffled = <T>(all: readonly T[]) => fc.shuffledSubarray([...all], { minLength: all.length });
      return fc.tuple(
        fc.constant(once),
        fc.record({
          pods: shuffled(once.pods),
          namespaces: shuffled(once.namespaces),
          policies: shuffled(once.policies),
        }),
      );
    });
    const bytes = (parts: ClusterParts): string => {
      const intent = compileNode(snapshotOf(parts), NODE);
      const ruleset = renderNode(intent, { ...LAYOUT, mode: 'enforce' });
      const empty = { chains: new Map(), hooks: { FORWARD: [], INPUT: [] } };
      return planText(diff(ruleset, { families: { 4: empty, 6: empty }, sets: new Map() }));
    };
    fc.assert(
      fc.property(reordered, ([one, other]) => assert.equal(bytes(other), bytes(one))),
      runs(100),
    );
  });
});

/** Everything of ours in the kernel but what may depend on the way there: epoch, room and order. */
function essence(kernel: FakeKernel): unknown {
  const { families, sets } = kernel.state();
  const rules = ([4, 6] as const).map((family) => {
    const { chains, hooks } = families[family]!;
    const text = (lines: readonly string[]): string[] =>
      lines.map((line) => line.replace(/0x[0-9a-f]+\/0xff000000/, 'GENERATION'));
    return {
      chains: new Map([...chains].map(([name, lines]) => [name, text(lines)])),
      hooks: { FORWARD: text(hooks.FORWARD), INPUT: text(hooks.INPUT) },
    };
  });
  // A sign of what went before is no part of it.
  const own = [...sets].filter(([name]) => !isReleasedSign(name));
  return { rules, sets: new Map(own.map(([name, { type, members }]) => [name, { type, members }])) };
}

describe('property: any sequence of snapshots', () => {
  it('ends where the last alone would, plans nothing more, and touches nothing of others', async () => {
    const sequence = fc.array(
      fc.oneof(
        { weight: 5, arbitrary: cluster },
        { weight: 2, arbitrary: tieredCluster },
        { weight: 1, arbitrary: crowdedCluster.map(({ crowded }) => crowded) },
        { weight: 1, arbitrary: fc.constant(snapshotOf(EMPTY)) },
      ),
      { minLength: 2, maxLength: 5 },
    );
    await fc.assert(
      fc.asyncProperty(sequence, fc.boolean(), async (snapshots, readBack) => {
        const node = createFakeNode(NODE);
        const foreign = node.kernel.foreign();
        for (const snapshot of snapshots) {
          const { drift } = await enforce(node, snapshot, readBack);
          assert.deepEqual(drift, []);
        }
        const last = snapshots.at(-1)!;
        const alone = createFakeNode(NODE);
        await enforce(alone, last);
        assert.deepEqual(essence(node.kernel), essence(alone.kernel));
        const next = createFakeNode(NODE, node.kernel);
        for (const again of [node, next, createFakeNode(NODE, node.kernel)]) {
          // It may have to judge again what went on before it.
          const isSigned = [...node.kernel.state().sets.keys()].some(isReleasedSign);
          if (again === next && isSigned) await enforce(next, last, true);
          const { plan, drift } = await enforce(again, last, true);
          assert.deepEqual(drift, []);
          assert.deepEqual(plan?.steps, []);
        }
        assert.equal(node.kernel.foreign(), foreign);
      }),
      runs(60),
    );
  });
});

const CLIENT_PORT = 40_000;

/** A connection under way, with what conntrack keeps of it on this node. */
interface Flowing {
  readonly packet: Packet;
  readonly connection: { mark: number };
}

/** How many of the next packets, one of each direction, pass; answers to what came in by INPUT leave by OUTPUT. */
function passing(state: ObservedState, flowing: Flowing): 'all' | 'some' | 'none' {
  const { packet, connection } = flowing;
  const live = { ...packet, state: 'ESTABLISHED' } as const;
  // Either may be the first to be judged again, and one of them may never come.
  const [forwardOnly, backOnly] = [{ ...connection }, { ...connection }];
  const answer = { ...live, ...answerTo(packet), direction: 'REPLY' } as const;
  const verdicts = [trace(state, { ...live, direction: 'ORIGINAL', connection: forwardOnly })];
  if (packet.hook !== 'INPUT') {
    verdicts.push(trace(state, { ...answer, connection: backOnly }));
    verdicts.push(trace(state, { ...answer, connection: forwardOnly }));
  }
  connection.mark = forwardOnly.mark;
  if (verdicts.every((verdict) => verdict === 'passed')) return 'all';
  return verdicts.includes('passed') ? 'some' : 'none';
}

function answerTo(packet: Packet): Pick<Packet, 'source' | 'destination' | 'port' | 'sourcePort'> {
  return { source: packet.destination, destination: packet.source, port: CLIENT_PORT, sourcePort: packet.port };
}

/** A node on its way from one snapshot to the next, and all that can be seen of it by packets. */
class Update {
  readonly node: FakeNode;
  readonly #after: ClusterSnapshot;
  readonly #layout: Omit<Layout, 'mode'>;
  readonly #tidy: { isDue: boolean; synced(): void };
  readonly #lines: string[] = [];
  #wrong: string | undefined;
  /** Packets with which a connection would begin, and the verdict they meet before and after. */
  readonly #fixed: { readonly packet: Packet; readonly verdict: string }[] = [];
  /** Connections that go on, and those that have to stop; of the latter some say nothing before the end. */
  readonly #allowed: Flowing[] = [];
  readonly #denied: Flowing[] = [];
  readonly #silent: Flowing[] = [];

  private constructor(
    node: FakeNode,
    after: ClusterSnapshot,
    layout: Omit<Layout, 'mode'>,
    tidy: { isDue: boolean; synced(): void },
  ) {
    this.node = node;
    this.#tidy = tidy;
    this.#after = after;
    this.#layout = layout;
  }

  static async between(
    [before, after]: readonly [ClusterSnapshot, ClusterSnapshot],
    flows: readonly Flow[],
    { marks, way, epochs = [], clock }: Circumstances,
  ): Promise<Update> {
    const layout = marks ? LAYOUT : WITHOUT_MARKS;
    const freeEpochs = epochs.length > 0 ? epochsInTurn(...epochs) : undefined;
    const tidy = { isDue: way === 'replaces', synced: (): void => {} };
    const update = new Update(createFakeNode(NODE, undefined, { freeEpochs, tidy, clock }), after, layout, tidy);
    await enforce(update.node, before, false, layout);
    // What is dead lies in layers, and some of it comes to life again. With a clock epochs began a moment ago, if these updates advance them.
    for (const between of way === 'adds to dead rules' || clock ? [after, before] : [])
      await enforce(update.node, between, false, layout);
    const target = createFakeNode(NODE);
    await enforce(target, after, false, layout);
    const [old, future] = [update.node.kernel.state(), target.kernel.state()];
    const isGone = goneBetween(before, after);
    for (const flow of flows) {
      const packet = packetOf(after, flow);
      const connection = { mark: 0 };
      const [verdict, next] = [trace(old, { ...packet, connection }), trace(future, packet)];
      if (verdict === next) update.#fixed.push({ packet, verdict });
      if (verdict === 'passed' && next === 'passed') update.#allowed.push({ packet, connection });
      if (marks && verdict === 'passed' && next === 'dropped' && !isGone(flow)) {
        update.#denied.push({ packet, connection });
        update.#silent.push({ packet, connection: { ...connection } });
      }
    }
    update.node.kernel.onLine = (line) => update.#look(line);
    return update;
  }

  /** Kept for the end: whoever applies the lines takes what is thrown at him for a failure of the kernel. */
  #fail(what: string, packet: Packet): void {
    this.#wrong ??= `${what} after:\n${this.#lines.join('\n')}\n${JSON.stringify(packet)}`;
  }

  #look(line: string): void {
    this.#lines.push(line);
    const state = this.node.kernel.state();
    for (const { packet, verdict } of this.#fixed) {
      if (trace(state, packet) !== verdict) this.#fail(`a new connection is not ${verdict}`, packet);
    }
    for (const flowing of this.#allowed) {
      if (passing(state, flowing) !== 'all') this.#fail('a live connection is dropped', flowing.packet);
    }
    for (const flowing of this.#denied) passing(state, flowing);
  }

  async run(): Promise<void> {
    await enforce(this.node, this.#after, false, this.#layout);
    this.#lookAtEnd();
    this.#tidy.isDue = true;
    await enforce(this.node, this.#after, false, this.#layout);
  }

  /** The process may be killed after so many lines; then for as long as an epoch waits nothing happens. Returns whether one waited. */
  async runSoon(clock: VirtualClock, lines: number): Promise<boolean> {
    let died = false;
    this.node.kernel.faults.diesAfterLines = lines;
    const { plan, failures } = await this.node.reconciler.sync(this.#after, 'enforce', this.#layout, false);
    if (failures.length > 0) died = true;
    this.node.kernel.revive();
    clock.advance(1_000);
    const next = died ? createFakeNode(NODE, this.node.kernel, { clock }) : this.node;
    await enforce(next, this.#after, died, this.#layout);
    this.#tidy.isDue = true;
    await enforce(next, this.#after, false, this.#layout);
    return plan!.revokesNext.length > 0;
  }

  /** The process is killed so many lines later; a new one, which knows nothing, goes on. */
  async runKilledAfter(lines: number): Promise<void> {
    this.node.kernel.faults.diesAfterLines = lines;
    await this.node.reconciler.sync(this.#after, 'enforce', this.#layout, false);
    this.#tidy.isDue = true;
    await this.node.reconciler.sync(this.#after, 'enforce', this.#layout, false);
    this.node.kernel.revive();
    await enforce(createFakeNode(NODE, this.node.kernel), this.#after, true, this.#layout);
  }

  assertDone(): void {
    this.#lookAtEnd();
    assert.equal(this.#wrong, undefined, this.#wrong);
  }

  #lookAtEnd(): void {
    const state = this.node.kernel.state();
    for (const flowing of [...this.#denied, ...this.#silent]) {
      if (passing(state, flowing) !== 'none') this.#fail('a live connection goes on that is denied', flowing.packet);
    }
    for (const flowing of this.#allowed) {
      if (passing(state, flowing) !== 'all') this.#fail('a live connection is dropped', flowing.packet);
    }
  }
}

/** How rules are changed: in place, or by commits that only add, of which there may have been some before. */
const WAYS = ['replaces', 'adds', 'adds to dead rules'] as const;

interface Circumstances {
  readonly marks: boolean;
  readonly way: (typeof WAYS)[number];
  readonly epochs?: readonly number[];
  readonly clock?: VirtualClock;
}

const circumstances: fc.Arbitrary<Circumstances> = fc.record({ marks: fc.boolean(), way: fc.constantFrom(...WAYS) });

const withFlows = (pairs: typeof clusterPair) =>
  pairs.chain((pair) => fc.tuple(fc.constant(pair), flowsAtEdges(pair, 40)));
const updates = withFlows(fc.oneof({ weight: 3, arbitrary: clusterPair }, { weight: 2, arbitrary: tieredPair }));
/** Only pods of other nodes change: come, go, have another role. */
const remoteUpdates = withFlows(
  fc
    .tuple(...Array.from({ length: 5 }, () => fc.tuple(roleOrNone(), roleOrNone())))
    .map((roles) => [clusterOf(roles.map(([role]) => role)), clusterOf(roles.map(([, role]) => role))] as const),
);

function roleOrNone(): fc.Arbitrary<string | undefined> {
  return fc.constantFrom('client', 'server', 'neither', undefined);
}

function clusterOf(roles: readonly (string | undefined)[]): ClusterSnapshot {
  const local = ['a', 'b'].map((name, index) =>
    pod(`x/${name}`, { addresses: [`10.0.0.${index}`, `fd00::${index}`], labels: { name }, nodeName: NODE }),
  );
  const remote = roles.flatMap((role, index) => {
    if (role === undefined) return [];
    return [
      pod(`x/r${index}`, { addresses: [`10.1.0.${index}`, `fd00::1:${index}`], labels: { role }, nodeName: 'node-2' }),
    ];
  });
  const peers = (role: string) => [{ podSelector: { matchLabels: { role } } }];
  const ports = [{ port: 80 }];
  const policies = [
    policy('x/in', { podSelector: {}, ingress: [{ from: peers('client'), ports }] }),
    policy('x/out', { podSelector: { matchLabels: { name: 'a' } }, egress: [{ to: peers('server'), ports }] }),
  ];
  return snapshot({ pods: [...local, ...remote], policies });
}

const crowdedUpdates = withFlows(crowdedPair);

describe('property: in the middle of an update', function () {
  // Each update is looked at line by line, and its end once more.
  this.timeout(60_000);

  it('no packet meets a verdict that is neither the old nor the new one', async () => {
    await fc.assert(
      fc.asyncProperty(updates, circumstances, async ([pair, flows], how) => {
        const update = await Update.between(pair, flows, how);
        await update.run();
        update.assertDone();
      }),
      runs(100),
    );
  });

  it('nor where no epoch is free, before, while or after: every packet is judged', async () => {
    const epochs = fc.array(fc.constantFrom(EVERY_PACKET, EVERY_PACKET, 3, 5, 7), { minLength: 1, maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(updates, epochs, fc.constantFrom(...WAYS), async ([pair, flows], free, way) => {
        const update = await Update.between(pair, flows, { marks: true, way, epochs: free });
        await update.run();
        update.assertDone();
      }),
      runs(100),
    );
  });

  it('nor where policies that shared a set are parted, or put together', async () => {
    let regrouped = 0;
    await fc.assert(
      fc.asyncProperty(crowdedUpdates, circumstances, async ([pair, flows], how) => {
        const [before, after] = pair.map((each) => sharedSets(compileNode(each, NODE)));
        if (before!.size > 0 && [...after!].some((key) => !before!.has(key))) regrouped++;
        const update = await Update.between(pair, flows, how);
        await update.run();
        update.assertDone();
      }),
      runs(80),
    );
    assert.ok(regrouped > 2, `${regrouped} updates changed what is shared`);
  });

  it('nor where epochs follow each other so soon that one waits, and the process may be killed', async () => {
    let waited = 0;
    await fc.assert(
      fc.asyncProperty(remoteUpdates, circumstances, fc.nat({ max: 60 }), async ([pair, flows], how, lines) => {
        const clock = new VirtualClock();
        const update = await Update.between(pair, flows, { ...how, marks: true, clock });
        if (await update.runSoon(clock, lines)) waited++;
        update.assertDone();
        const alone = createFakeNode(NODE);
        await enforce(alone, pair[1]);
        assert.deepEqual(essence(update.node.kernel), essence(alone.kernel));
      }),
      runs(150),
    );
    assert.ok(waited > 2, `${waited} epochs waited`);
  });

  it('a process may be killed at any line, and the next one ends where it would have', async () => {
    await fc.assert(
      fc.asyncProperty(updates, circumstances, fc.nat({ max: 120 }), async ([pair, flows], how, lines) => {
        const update = await Update.between(pair, flows, how);
        await update.runKilledAfter(lines);
        update.assertDone();
        const alone = createFakeNode(NODE);
        await enforce(alone, pair[1], false, how.marks ? LAYOUT : WITHOUT_MARKS);
        assert.deepEqual(essence(update.node.kernel), essence(alone.kernel));
      }),
      runs(80),
    );
  });
});
