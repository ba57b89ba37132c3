/** Rules that always apply together share a set once there are many of them, and let in what they let in one by one. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { compileNode } from '../../src/compile/compile-node.ts';
import { MAX_OWN_SETS } from '../../src/compile/shared-peers.ts';
import type { NodeIntent } from '../../src/compile/intent.ts';
import type { ClusterSnapshot, Policy, Rule } from '../../src/policy/model.ts';
import { objectKey } from '../../src/policy/model.ts';
import { cluster, flowsAtEdges, NODE } from '../property/clusters.ts';
import { expectedHere, packetOf } from '../property/expected.ts';
import { runs } from '../property/runs.ts';
import { pod, policy, snapshot } from '../support/builders.ts';
import { createFakeNode, enforce } from '../support/fake-cluster.ts';
import { traceRules } from '../support/tracer.ts';

const MANY = MAX_OWN_SETS + 1;
const SELECTOR = { matchLabels: { app: 'subject' } };
const HTTP = [{ port: 80 }];

/** Selects what SELECTOR does, but for pods with the label `word-<n>`. */
function inOwnWords(n: number): object {
  return { ...SELECTOR, matchExpressions: [{ key: `word-${n}`, operator: 'DoesNotExist' }] };
}

/** Policy number n lets peer number n in. */
function compiled(count: number, spec: (n: number) => object): NodeIntent {
  const subject = pod('x/subject', { labels: { app: 'subject' }, addresses: ['10.0.0.1'] });
  const peers = Array.from({ length: count }, (_, n) =>
    pod(`x/peer-${n}`, { nodeName: 'node-2', labels: { peer: `p${n}` }, addresses: [`10.0.1.${n}`] }),
  );
  const policies = peers.map((_, n) => policy(`x/p${n}`, { podSelector: SELECTOR, ...spec(n) }));
  return compileNode(snapshot({ pods: [subject, ...peers], policies }), 'node-1');
}

const from = (n: number): object[] => [{ podSelector: { matchLabels: { peer: `p${n}` } } }];
const sizes = (intent: NodeIntent): number[] =>
  [...intent.addressSets.values()].filter(({ family }) => family === 4).map(({ members }) => members.size);

describe('rules that share a set', () => {
  it('few rules keep their own', () => {
    const intent = compiled(MAX_OWN_SETS, (n) => ({ ingress: [{ from: from(n), ports: HTTP }] }));
    assert.deepEqual(sizes(intent), Array(MAX_OWN_SETS).fill(1));
  });

  it('many rules for the same ports share one, and each clause still names its policy', () => {
    const intent = compiled(MANY, (n) => ({ ingress: [{ from: from(n), ports: HTTP }] }));
    assert.deepEqual(sizes(intent), [MANY]);
    const clauses = intent.classes.flatMap((each) => each.clauses);
    assert.deepEqual(
      clauses.map(({ ref }) => ref.policy.name),
      Array.from({ length: MANY }, (_, n) => `p${n}`),
    );
  });

  it('rules for other ports do not', () => {
    const intent = compiled(MANY, (n) => ({ ingress: [{ from: from(n), ports: [{ port: 80 + n }] }] }));
    assert.deepEqual(sizes(intent), Array(MANY).fill(1));
  });

  it('policies that select the same local pods in many words share one, few keep their own', () => {
    const inWords = (count: number): NodeIntent =>
      compiled(count, (n) => ({ podSelector: inOwnWords(n), ingress: [{ from: from(n), ports: HTTP }] }));
    assert.deepEqual(sizes(inWords(MANY)), [MANY]);
    assert.deepEqual(sizes(inWords(MAX_OWN_SETS)), Array(MAX_OWN_SETS).fill(1));
  });

  it('what equal words put together counts as one', () => {
    const twoSelectors = compiled(2 * MANY, (n) => ({
      podSelector: inOwnWords(n % 2),
      ingress: [{ from: from(n), ports: HTTP }],
    }));
    assert.deepEqual(sizes(twoSelectors), [MANY, MANY]);
  });

  it('one rule that lets anybody in makes the set needless', () => {
    const intent = compiled(MANY, (n) => ({ ingress: [{ ...(n === 2 ? {} : { from: from(n) }), ports: HTTP }] }));
    assert.deepEqual(sizes(intent), []);
  });

  it('whatever the rules say, the verdicts are those of the evaluator', async () => {
    const seen = { passed: 0, dropped: 0, shared: 0 };
    const crowded = fc.array(cluster, { minLength: 7, maxLength: 7 }).map(([one, ...others]) => crowd(one!, others));
    const withFlows = crowded.chain((each) => fc.tuple(fc.constant(each), flowsAtEdges([each], 40)));
    await fc.assert(
      fc.asyncProperty(withFlows, async ([each, flows]) => {
        const node = createFakeNode(NODE);
        await enforce(node, each);
        const expected = expectedHere(each);
        seen.shared += compileNode(each, NODE).classes.some(({ clauses }) => sharesSet(clauses)) ? 1 : 0;
        for (const flow of flows) {
          const { passes, why } = expected(flow);
          const { verdict, matched } = traceRules(node.kernel.state(), packetOf(each, flow));
          seen[verdict]++;
          assert.equal(
            verdict,
            passes ? 'passed' : 'dropped',
            `${JSON.stringify(flow)}\n${why}\n${matched.join('\n')}`,
          );
        }
      }),
      runs(80),
    );
    assert.ok(seen.shared > 2 && seen.passed > 300 && seen.dropped > 60, `not much was tried: ${JSON.stringify(seen)}`);
  });
});

function sharesSet(clauses: NodeIntent['classes'][number]['clauses']): boolean {
  const keys = clauses.flatMap(({ peers }) => (peers[4].kind === 'set' ? [peers[4].key] : []));
  return keys.length > MAX_OWN_SETS && new Set(keys).size < keys.length;
}

/** The cluster with the rules of the others' policies as well, and with the same selector and ports in all of a namespace. */
function crowd(one: ClusterSnapshot, others: readonly ClusterSnapshot[]): ClusterSnapshot {
  const policies = [...one.policies.values()].map((each): Policy => {
    const first = [...one.policies.values()].find(({ namespace }) => namespace === each.namespace)!;
    const more = others.flatMap((other) => [...other.policies.values()]);
    return {
      ...each,
      podSelector: first.podSelector,
      ingress: each.isolates.ingress ? samePorts([each, ...more].flatMap(({ ingress }) => ingress)) : [],
      egress: each.isolates.egress ? samePorts([each, ...more].flatMap(({ egress }) => egress)) : [],
    };
  });
  return { ...one, policies: new Map(policies.map((each) => [objectKey(each), each])) };
}

/** A rule that lets everybody in would say nothing about the others. */
function samePorts(rules: readonly Rule[]): Rule[] {
  return rules.filter(({ peers }) => peers !== 'any').map((each) => ({ ...each, ports: rules[0]!.ports }));
}
