/** Sets that no rule refers to are filled in portions, and nothing is open or closed for good by it. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { compileNode, renderNode } from '../../../support/stages.ts';
import { diff } from '../../../../src/dataplane/iptables/plan/diff.ts';
import type { ObservedState, Plan } from '../../../../src/dataplane/iptables/plan/plan.ts';
import { portionsOf, type ToFill } from '../../../../src/dataplane/iptables/plan/portion.ts';
import type { ClusterSnapshot, Flow } from '../../../../src/policy/model.ts';
import type { Ruleset } from '../../../../src/dataplane/iptables/rules/ruleset.ts';
import { crowdedPair, flowsAtEdges, NODE } from '../../../property/clusters.ts';
import { packetOf } from '../../../property/expected.ts';
import { runs } from '../../../property/runs.ts';
import { pod, policy, snapshot } from '../../../support/builders.ts';
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
  for (let count = 0; ; count++) {
    const plan = diff(desired, observed, { remembered: true, portion });
    yield plan;
    observed = plan.after;
    if (plan.waiting.length === 0) return;
    assert.ok(count < 3000 && plan.steps.length > 0, 'it does not come to an end');
  }
}

/** Rules and sets but for the epoch, which may have advanced more often. */
function essence({ families, sets }: ObservedState): unknown {
  const text = (line: string): string => line.replace(/0x[0-9a-f]+\/0xff000000/, 'GENERATION');
  const rules = Object.values(families).map(({ chains }) =>
    [...chains].map(([name, lines]) => [name, lines.map(text)] as const).sort(([a], [b]) => (a < b ? -1 : 1)),
  );
  const members = [...sets].map(
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
        let last = old;
        for (const plan of inPortions(desired, old, portion)) {
          last = plan.after;
          if (plan.waiting.length === 0) break;
          seen.waited++;
          for (const flow of flows.filter((each) => isWithinOne([before, after], each))) {
            const verdict = trace(last, packetOf(after, flow));
            if (verdict === 'dropped') continue;
            const either = [old, whole].map((state) => trace(state, packetOf(after, flow)));
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
