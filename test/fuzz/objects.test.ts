/** Objects of any content, from the wire to the kernel's tools: nothing falls over, nothing opens, nothing is smuggled in. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { isEligible } from '../../src/policy/address-owners.ts';
import { createEvaluator } from '../../src/policy/evaluate.ts';
import type { Direction } from '../../src/core/vocabulary.ts';
import type { ClusterSnapshot, Flow } from '../../src/policy/model.ts';
import type { Kernel } from '../../src/dataplane/iptables/kernel/kernel.ts';
import type { Step } from '../../src/dataplane/iptables/plan/plan.ts';
import { createFakeNode, enforce } from '../support/fake-cluster.ts';
import { type FakeKernel, createFakeKernel } from '../support/fake-kernel.ts';
import { traceRules } from '../support/tracer.ts';
import { expectedHere, packetOf } from '../property/expected.ts';
import { runs } from '../property/runs.ts';
import { faultOf } from './grammar.ts';
import { type HostileObjects, badText, hostileObjects } from './hostile.ts';
import { snapshotOfObjects } from './snapshot.ts';

const NODE = 'node-1';
const OUTSIDE = ['203.0.113.9', '2001:db8::9'];

/** A kernel that notes every line on its way. */
function listening(kernel: FakeKernel, lines: { kind: 'rules' | 'sets'; text: string }[]): FakeKernel {
  const apply: Kernel['apply'] = (step: Step) => {
    const kind = 'family' in step ? 'rules' : 'sets';
    for (const { text } of step.lines) lines.push({ kind, text });
    return kernel.apply(step);
  };
  return Object.create(kernel, { apply: { value: apply } }) as FakeKernel;
}

/** From and to every pod of this node: other pods, the outside, the node itself. */
function flowsOf(snapshot: ClusterSnapshot): Flow[] {
  // What a pod's status claims of the node's own addresses is reported and not believed (S-64).
  const own = new Set(snapshot.nodes.get(NODE)?.addresses ?? []);
  const pods = [...snapshot.pods.values()].map((pod) => ({
    ...pod,
    addresses: pod.addresses.filter((address) => !own.has(address)),
  }));
  const others = [...pods.flatMap(({ addresses }) => addresses), ...OUTSIDE];
  const local = pods.filter((pod) => isEligible(pod) && pod.nodeName === NODE).flatMap(({ addresses }) => addresses);
  return local.flatMap((address) =>
    others
      .filter((other) => other.includes(':') === address.includes(':'))
      .flatMap((other) =>
        [
          { protocol: 6, port: 80 },
          { protocol: 17, port: 53 },
          { protocol: 47, port: 0 },
        ].flatMap((of) => [
          { source: address, destination: other, ...of },
          { source: other, destination: address, ...of },
        ]),
      ),
  );
}

function assertGrammar(lines: readonly { readonly kind: 'rules' | 'sets'; readonly text: string }[]): void {
  for (const { kind, text } of lines) assert.equal(faultOf(kind, text), undefined);
}

describe('fuzz: objects of any content', () => {
  it('are enforced as the evaluator says, in lines of the known grammar only', async () => {
    const seen = { passed: 0, dropped: 0, lines: 0, comments: 0, problems: 0 };
    await fc.assert(
      fc.asyncProperty(hostileObjects, async (objects) => {
        const snapshot = snapshotOfObjects(objects);
        const lines: { kind: 'rules' | 'sets'; text: string }[] = [];
        const node = createFakeNode(NODE, listening(createFakeKernel(), lines));
        // Throws for anything the tools refuse.
        await enforce(node, snapshot);
        assertGrammar(lines);
        const state = node.kernel.state();
        const expected = expectedHere(snapshot);
        for (const flow of flowsOf(snapshot)) {
          const { passes, why } = expected(flow);
          const { verdict, matched } = traceRules(state, packetOf(snapshot, flow));
          seen[verdict]++;
          assert.equal(
            verdict,
            passes ? 'passed' : 'dropped',
            `${JSON.stringify(flow)}\n${why}\n${matched.join('\n')}`,
          );
        }
        const again = await enforce(createFakeNode(NODE, node.kernel), snapshot, true);
        assert.deepEqual(again.plan?.steps, [], 'a second agent finds nothing to do');
        seen.lines += lines.length;
        seen.comments += lines.filter(({ text }) => text.includes('--comment')).length;
        seen.problems += snapshot.problems.length;
      }),
      runs(150),
    );
    const enough = seen.passed > 500 && seen.dropped > 100 && seen.comments > 20 && seen.problems > 300;
    assert.ok(enough, `not much was tried: ${JSON.stringify(seen)}`);
  });

  it('a policy that selects a pod isolates it, however mangled the rest of it is', () => {
    let isolated = 0;
    fc.assert(
      fc.property(hostileObjects, (objects) => {
        const snapshot = snapshotOfObjects(objects);
        const evaluator = createEvaluator(snapshot);
        for (const { namespace, direction } of isolatedNamespaces(objects)) {
          for (const pod of snapshot.pods.values()) {
            if (pod.namespace !== namespace || pod.nodeName === undefined || !isEligible(pod)) continue;
            for (const address of pod.addresses) {
              const outside = OUTSIDE.find((other) => other.includes(':') === address.includes(':'))!;
              const [source, destination] = direction === 'egress' ? [address, outside] : [outside, address];
              const verdict = evaluator.evaluate({ source, destination, protocol: 6, port: 80 })[direction];
              // The address is another's, or the node's own.
              if (isClaimedTwice(snapshot, address)) continue;
              assert.notEqual(verdict.kind, 'not-isolated', `${namespace}/${pod.name} ${direction}`);
              isolated++;
            }
          }
        }
      }),
      runs(250),
    );
    assert.ok(isolated > 20, `${isolated} isolated`);
  });

  it('texts stay inside of one quoted word of a comment', async () => {
    const name = badText.map((text) => text.replace(/[\s/\p{Cc}]/gu, '') || 'x').map((text) => text.slice(0, 253));
    await fc.assert(
      fc.asyncProperty(name, name, async (namespace, policy) => {
        const lines: { kind: 'rules' | 'sets'; text: string }[] = [];
        const node = createFakeNode(NODE, listening(createFakeKernel(), lines));
        const metadata = { namespace, name: policy };
        const status = { podIPs: [{ ip: '10.0.0.1' }, { ip: 'fd00::1' }] };
        const objects = {
          pods: [{ metadata: { namespace, name: 'a' }, spec: { nodeName: NODE }, status }],
          namespaces: [{ metadata: { name: namespace } }],
          policies: [{ metadata, spec: { podSelector: {}, policyTypes: ['Ingress', 'Egress'] } }],
          nodes: [],
        };
        await enforce(node, snapshotOfObjects(JSON.parse(JSON.stringify(objects)) as HostileObjects));
        assertGrammar(lines);
        const comments = lines.filter(({ text }) => text.includes('--comment'));
        assert.equal(comments.length, 4, 'one for each direction and family');
        for (const { text } of comments)
          assert.match(text, /^-A PCL-[EI]-\S+ -m comment --comment "[^"]*(no rule|\.\.\.)"$/);
      }),
      runs(80),
    );
  });
});

/** Namespaces in which some policy, read by its words alone, selects every pod in a direction. */
function isolatedNamespaces(objects: HostileObjects): { readonly namespace: string; readonly direction: Direction }[] {
  // Of two objects of one name the later is the present one.
  const present = new Map<string, Record<string, unknown>>();
  for (const policy of objects.policies) {
    const { metadata, spec } = (policy ?? {}) as { metadata?: Record<string, unknown>; spec?: unknown };
    const { namespace, name } = (metadata ?? {}) as { namespace?: unknown; name?: unknown };
    // Longer names than the API's, blanks and control characters are no names: such objects have no place anywhere.
    if (typeof namespace !== 'string' || typeof name !== 'string') continue;
    if ([namespace, name].some((text) => text === '' || text.length > 253 || /[\s/\p{Cc}]/u.test(text))) continue;
    present.set(`${namespace}/${name}`, { namespace, spec });
  }
  return [...present.values()].flatMap(({ namespace, spec }) => {
    const isRecord = typeof spec === 'object' && spec !== null && !Array.isArray(spec);
    const { podSelector, policyTypes } = (isRecord ? spec : {}) as Record<string, unknown>;
    const selectsAll =
      podSelector === undefined ||
      podSelector === null ||
      typeof podSelector !== 'object' ||
      Array.isArray(podSelector) ||
      Object.keys(podSelector).length === 0;
    if (!selectsAll) return [];
    const types = Array.isArray(policyTypes) && policyTypes.length > 0 ? policyTypes : ['Ingress'];
    return (['ingress', 'egress'] as const)
      .filter((direction) => types.includes(direction === 'ingress' ? 'Ingress' : 'Egress'))
      .map((direction) => ({ namespace: namespace as string, direction }));
  });
}

function isClaimedTwice(snapshot: ClusterSnapshot, address: string): boolean {
  return [...snapshot.pods.values()].filter(({ addresses }) => addresses.includes(address)).length > 1;
}
