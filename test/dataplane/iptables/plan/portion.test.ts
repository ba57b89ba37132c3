/** Sets that no rule refers to are filled in portions, and nothing is open or closed for good by it. */
import { isReleasedSign } from '../../../../src/dataplane/iptables/plan/released.ts';
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { compileNode, renderNode } from '../../../support/stages.ts';
import { diff } from '../../../../src/dataplane/iptables/plan/diff.ts';
import type { ObservedState, Plan } from '../../../../src/dataplane/iptables/plan/plan.ts';
import { portionsOf, type ToFill } from '../../../../src/dataplane/iptables/plan/portion.ts';
import type { ClusterSnapshot, Flow, Pod } from '../../../../src/policy/model.ts';
import type { Ruleset } from '../../../../src/dataplane/iptables/rules/ruleset.ts';
import { isSameList } from '../../../../src/core/compare.ts';
import { crowdedPair, flowsAtEdges, NODE } from '../../../property/clusters.ts';
import { packetOf } from '../../../property/expected.ts';
import { runs } from '../../../property/runs.ts';
import { NodeCompiler } from '../../../../src/compile/compile-node.ts';
import { type PolicySpec, namespace, pod, policy, snapshot } from '../../../support/builders.ts';
import { LAYOUT } from '../../../support/fake-cluster.ts';
import { trace } from '../../../support/tracer.ts';

const set = (name: string, missing: number, isBegun = false): ToFill => ({ name, missing, isBegun });
const portions = (most: number, ...sets: readonly ToFill[]): Record<string, number> =>
  Object.fromEntries(portionsOf(sets, most));

const NOTHING: ObservedState = {
  families: {
    4: { chains: new Map(), hooks: { FORWARD: [], INPUT: [] } },
    6: { chains: new Map(), hooks: { FORWARD: [], INPUT: [] } },
  },
  sets: new Map(),
};

const rulesetOf = (cluster: ClusterSnapshot, nodeName: string = NODE): Ruleset =>
  renderNode(compileNode(cluster, nodeName), { ...LAYOUT, mode: 'enforce' });

/** Plans until nothing waits. */
function* inPortions(desired: Ruleset, before: ObservedState, portion: number): Generator<Plan> {
  let observed = before;
  let released: Plan['released'] = {};
  for (let count = 0; ; count++) {
    const plan = diff(desired, observed, { remembered: true, portion, released });
    yield plan;
    observed = plan.after;
    released = plan.released;
    if (plan.waiting.length === 0) return;
    assert.ok(count < 3000 && plan.steps.length > 0, 'it does not come to an end');
  }
}

/** Rules and sets but for the epoch, which may have advanced more often, and the sign that goes with it. */
function essence({ families, sets }: ObservedState): unknown {
  const text = (line: string): string => line.replace(/0x[0-9a-f]+\/0xff000000/, 'GENERATION');
  const rules = Object.values(families).map(({ chains }) =>
    [...chains].map(([name, lines]) => [name, lines.map(text)] as const).sort(([a], [b]) => (a < b ? -1 : 1)),
  );
  const own = [...sets].filter(([name]) => !isReleasedSign(name));
  const members = own.map(
    ([name, { type, members: all }]) =>
      [name, type, [...all].map(([member, match]) => `${member} ${match}`).sort()] as const,
  );
  return [rules, members.sort(([a], [b]) => (a < b ? -1 : 1))];
}

/** Not between pods of two namespaces, which may change one after the other. */
function isWithinOne(clusters: readonly ClusterSnapshot[], { source, destination }: Flow): boolean {
  const namespaces = clusters
    .flatMap(({ pods }) => [...pods.values()])
    .filter(({ addresses }) => addresses.includes(source) || addresses.includes(destination))
    .map(({ namespace }) => namespace);
  return new Set(namespaces).size <= 1;
}

/** As if pods that are gone, or have other addresses, had gone first: what is held back is judged by the policies and labels of before. */
function withoutGone(before: ClusterSnapshot, after: ClusterSnapshot): ClusterSnapshot {
  const stays = ([key, { addresses }]: readonly [string, Pod]): boolean =>
    isSameList(addresses, after.pods.get(key)?.addresses ?? []);
  return { ...before, pods: new Map([...before.pods].filter(stays)) };
}

describe('fault: sets of one namespace that take long to fill hold up all others', () => {
  it('all of them while they are few, then the smallest first and a part of the next', () => {
    assert.deepEqual(portions(100, set('a', 60), set('b', 40)), { a: 60, b: 40 });
    assert.deepEqual(portions(100, set('a', 80), set('b', 40)), { b: 40, a: 60 });
    assert.deepEqual(portions(100, set('a', 500), set('b', 500), set('c', 1)), { c: 1, a: 99 });
  });

  it('what is begun comes to an end, and what is huge is begun, whatever else is asked for', () => {
    const small = Array.from({ length: 10 }, (_, n) => set(`s${n}`, 10));
    const { a, ...rest } = portions(100, set('a', 500, true), ...small);
    assert.deepEqual([a, Object.keys(rest).length], [50, 5 + 1]);
    assert.equal(portions(100, set('a', 500), ...small).a, 5);
  });

  it('another namespace is in force with the first plan, and pods whose sets are not full are closed until they are', () => {
    const blocks = (first: number): object => ({
      from: Array.from({ length: 30 }, (_, n) => ({ ipBlock: { cidr: `10.${first}.${2 * n}.0/24` } })),
    });
    const pods = [pod('evil/a', { addresses: ['10.0.0.1'] }), pod('x/b', { addresses: ['10.0.0.2'] })];
    const ofX = policy('x/p', { podSelector: {}, ingress: [{ from: [{ namespaceSelector: {} }] }] });
    const cluster = (first: number): ClusterSnapshot =>
      snapshot({ pods, policies: [policy('evil/p', { podSelector: {}, ingress: [blocks(first)] }), ofX] });
    const may = (state: ObservedState, source: string, destination: string): string =>
      trace(state, { family: 4, source, destination, protocol: 6, port: 80 });
    const desired = rulesetOf(cluster(1), 'node-1');
    const plans = [...inPortions(desired, NOTHING, 8)];
    assert.ok(plans.length >= 4);
    assert.ok(plans.every(({ summary }) => summary.membersAdded <= 8));
    for (const [at, { after }] of plans.entries()) {
      const isLast = at === plans.length - 1;
      assert.equal(may(after, '10.0.0.1', '10.0.0.2'), 'passed', `plan ${at}`);
      assert.equal(may(after, '10.9.9.9', '10.0.0.2'), 'dropped', `plan ${at}`);
      assert.equal(may(after, '10.1.0.1', '10.0.0.1'), isLast ? 'passed' : 'dropped', `plan ${at}`);
    }
    assert.deepEqual(essence(plans.at(-1)!.after), essence(diff(desired, NOTHING).after));
    // What is in force stays until what takes its place is full.
    for (const { after, waiting } of inPortions(rulesetOf(cluster(2), 'node-1'), plans.at(-1)!.after, 8)) {
      assert.equal(may(after, '10.1.0.1', '10.0.0.1'), waiting.length > 0 ? 'passed' : 'dropped');
      assert.equal(may(after, '10.2.0.1', '10.0.0.1'), waiting.length > 0 ? 'dropped' : 'passed');
    }
  });

  it('in whatever portions: each verdict on the way is the old one, the new one or no, and the end is the same', () => {
    const seen = { waited: 0 };
    const withFlows = crowdedPair.chain((pair) =>
      fc.tuple(fc.constant(pair), flowsAtEdges(pair, 12), fc.integer({ min: 1, max: 12 })),
    );
    fc.assert(
      fc.property(withFlows, ([[before, after], flows, portion]) => {
        const old = diff(rulesetOf(before), NOTHING).after;
        const desired = rulesetOf(after);
        const whole = diff(desired, old, { remembered: true }).after;
        const between = diff(rulesetOf(withoutGone(before, after)), old, { remembered: true }).after;
        let last = old;
        for (const plan of inPortions(desired, old, portion)) {
          last = plan.after;
          if (plan.waiting.length === 0) break;
          seen.waited++;
          for (const flow of flows.filter((each) => isWithinOne([before, after], each))) {
            const verdict = trace(last, packetOf(after, flow));
            if (verdict === 'dropped') continue;
            const either = [old, between, whole].map((state) => trace(state, packetOf(after, flow)));
            assert.ok(either.includes('passed'), JSON.stringify(flow));
          }
        }
        assert.deepEqual(essence(last), essence(whole));
      }),
      runs(80),
    );
    assert.ok(seen.waited > 40, JSON.stringify(seen));
  });
});

describe('endpoint chains that stay in force because others are refused', () => {
  const [A, B, DB] = ['10.0.0.1', '10.0.0.2', '10.0.1.5'];
  const to = (app: string): PolicySpec => ({
    podSelector: { matchLabels: { pod: 'a' } },
    policyTypes: ['Egress'],
    egress: [{ to: [{ podSelector: { matchLabels: { app } } }] }],
  });

  /** Egress of `a` to the pods `app: db`, then to others, which the kernel refuses. */
  function setUp() {
    const pods = new Map([['x/a', pod('x/a', { addresses: [A] })]]);
    let compiler = new NodeCompiler('node-1');
    const put = (key: string, is: Pod | undefined): void => {
      if (is) pods.set(key, is);
      else pods.delete(key);
      compiler.pod(key, is);
    };
    const begin = (app: string): void => {
      compiler = new NodeCompiler('node-1');
      compiler.namespace('x', namespace('x'));
      for (const [key, each] of pods) compiler.pod(key, each);
      compiler.policy('x/p', policy('x/p', to(app)));
    };
    const elsewhere = (name: string, address: string, app: string): void =>
      put(`x/${name}`, pod(`x/${name}`, { nodeName: 'node-2', addresses: [address], labels: { app } }));
    elsewhere('db-0', DB, 'db');
    elsewhere('db-1', B, 'db');
    begin('db');
    const ruleset = (): Ruleset => renderNode(compiler.intent(), { ...LAYOUT, mode: 'enforce' });
    let plan = diff(ruleset(), NOTHING, { remembered: true });
    const held = new Set(plan.after.families[4]!.chains.keys());
    compiler.policy('x/p', policy('x/p', to('cache')));
    const next = (memory: Parameters<typeof diff>[2]): number => {
      const desired = ruleset();
      const rejected = new Set([...desired.families[4].endpointChains.keys()].filter((name) => !held.has(name)));
      plan = diff(desired, plan.after, { ...memory, rejected });
      assert.equal(plan.degraded.length, 1);
      return plan.summary.membersDeleted;
    };
    return {
      put,
      elsewhere,
      /** Plans with all new endpoint chains refused. How many members leave. */
      refused: (): number => next({ remembered: true, released: plan.released }),
      /** The same by another process, which finds what this one wrote. */
      refusedAfterRestart: (): number => {
        begin('cache');
        return next({});
      },
      may: (destination: string): string =>
        trace(plan.after, { family: 4, source: A, destination, protocol: 6, port: 80 }),
    };
  }

  it('let through what they did before', () => {
    const { refused, may } = setUp();
    assert.deepEqual([refused(), may(DB), may(B), may('10.9.9.9')], [0, 'passed', 'passed', 'dropped']);
  });

  it('let nothing through to an address whose pod is gone (S-70)', () => {
    const { put, refused, may } = setUp();
    refused();
    put('x/db-0', undefined);
    assert.deepEqual([refused(), may(DB), may(B)], [1, 'dropped', 'passed']);
    assert.equal(refused(), 0);
  });

  it('let nothing through to an address whose pod went while no agent ran', () => {
    const { put, refused, refusedAfterRestart, may } = setUp();
    refused();
    put('x/db-0', undefined);
    assert.deepEqual([refusedAfterRestart(), may(DB), may(B)], [1, 'dropped', 'passed']);
  });

  it('let nothing through to the next pod at the address (S-73)', () => {
    const { put, elsewhere, refused, may } = setUp();
    refused();
    put('x/db-0', undefined);
    elsewhere('other', DB, 'other');
    assert.deepEqual([refused(), may(DB), may(B)], [1, 'dropped', 'passed']);
  });

  it('go on to let through a pod that lost its label: the policy of before is what there is', () => {
    const { elsewhere, refused, may } = setUp();
    refused();
    elsewhere('db-0', DB, 'web');
    assert.deepEqual([refused(), may(DB)], [0, 'passed']);
  });
});
