/** What does not fit into the limits of one namespace is closed and named; what fits is not touched by it. */
import assert from 'node:assert/strict';
import { loadSnapshot, NodeCompiler } from '../../src/compile/compile-node.ts';
import { acceptRules } from '../../src/compile/program.ts';
import type { NodeIntent } from '../../src/compile/intent.ts';
import { NAMESPACE_LIMITS, type NamespaceLimits } from '../../src/compile/limits.ts';
import type { ClusterSnapshot, Pod, Policy } from '../../src/policy/model.ts';
import { renderNode } from '../support/stages.ts';
import { pod, policy, snapshot } from '../support/builders.ts';
import { runSync } from '../../src/core/sliced.ts';
import { createFakeNode, enforce, LAYOUT } from '../support/fake-cluster.ts';
import { HOSTILE_SHAPES } from '../support/hostile-shapes.ts';
import { trace } from '../support/tracer.ts';

const numbers = (count: number): readonly number[] => Array.from({ length: count }, (_, n) => n);

/** Rules that nothing puts together: a wide range and pods of its own each. */
const wide = (n: number): object => ({
  from: [{ podSelector: { matchLabels: { peer: `p${n}` } } }],
  ports: [{ port: 1000 + n, endPort: 60_000 }],
});

const endpoint = (app: string, at: number): Pod => pod(`x/${app}`, { labels: { app }, addresses: [`10.0.0.${at}`] });
const ofApp = (app: string, name: string, rules: readonly object[]): Policy =>
  policy(`x/${name}`, { podSelector: { matchLabels: { app } }, policyTypes: ['Ingress'], ingress: rules });

const CLUSTER = snapshot({
  pods: [endpoint('big', 1), endpoint('small', 2), pod('y/other', { addresses: ['10.0.0.3'] })],
  policies: [
    ofApp('big', 'big', numbers(40).map(wide)),
    ofApp('small', 'small', numbers(3).map(wide)),
    policy('y/p', { podSelector: {}, ingress: numbers(3).map(wide) }),
  ],
});

function compiled(limits: Partial<NamespaceLimits>, cluster: ClusterSnapshot = CLUSTER): NodeIntent {
  const compiler = new NodeCompiler('node-1', undefined, { ...NAMESPACE_LIMITS, ...limits });
  loadSnapshot(compiler, cluster);
  return compiler.intent();
}

/** A namespace of that name whose programs need 10 sets each that nothing puts together. */
function greedy(namespace: string, programs: number): { readonly pods: Pod[]; readonly policies: Policy[] } {
  const { pods, policies } = HOSTILE_SHAPES['own pods, own wide range, a policy for each of ten classes']!(50);
  return {
    // Addresses are of no matter here: no two are the same.
    pods: pods
      .slice(0, 10)
      .map((each, n) => ({ ...each, namespace, addresses: [`10.${namespace.length}.${n}.${hostOf(namespace)}`] })),
    policies: policies.slice(0, programs).map(({ metadata, spec }) => policy(`${namespace}/${metadata.name}`, spec)),
  };
}

const hostOf = (namespace: string): number => namespace.charCodeAt(namespace.length - 1);

function node(...namespaces: readonly ReturnType<typeof greedy>[]): ClusterSnapshot {
  return snapshot({
    pods: namespaces.flatMap(({ pods }) => pods),
    policies: namespaces.flatMap(({ policies }) => policies),
  });
}

const closedOf = ({ programs }: NodeIntent): unknown[] =>
  programs.flatMap(({ policies, closed }) => (closed ? [[policies[0]!.name, closed]] : []));

describe('fault: a namespace takes the sets, rules and time of all others', () => {
  for (const [limits, why] of [
    [{ programRules: 20 }, 'rules'],
    [{ sets: 50 }, 'sets'],
    [{ work: 1500 }, 'work'],
    [{ rules: 20 }, 'rules'],
  ] as const) {
    it(`beyond its ${why} it lets nothing through, the smallest programs first, and the policies are named`, () => {
      const intent = compiled(limits);
      assert.deepEqual(closedOf(intent), [['big', why]]);
      assert.deepEqual(
        intent.endpoints.map(({ pod: name, programs }) => [name, Object.keys(programs)]),
        [
          ['x/big', ['ingress']],
          ['x/small', ['ingress']],
          ['y/other', ['ingress']],
        ],
      );
      assert.equal(intent.addressSets.size, 2 * 6);
      const [problem, ...others] = intent.problems;
      assert.deepEqual(others, []);
      assert.deepEqual(problem!.object, { kind: 'NetworkPolicy', namespace: 'x', name: 'big' });
      assert.match(problem!.message, new RegExp(`\\b${Object.values(limits)[0]}\\b.* isolated .* nothing is allowed`));
    });
  }

  it('beyond its entries: of blocks as they are written, of pods as there are; and beyond its comparisons', () => {
    const peers = numbers(20).map((n) =>
      pod(`y/p${n}`, { nodeName: 'node-2', addresses: [`10.0.2.${n}`], labels: { a: `v${n}` } }),
    );
    const everybody = { from: [{ namespaceSelector: {} }] };
    const cluster = (ofBig: object): ClusterSnapshot =>
      snapshot({
        pods: [endpoint('big', 1), endpoint('small', 2), ...peers],
        policies: [ofApp('big', 'big', [ofBig]), ofApp('small', 'small', numbers(3).map(wide))],
      });
    const blocks = { from: numbers(30).map((n) => ({ ipBlock: { cidr: `10.${2 * n}.0.0/16` } })) };
    for (const rule of [everybody, blocks]) {
      const intent = compiled({ entries: 20 }, cluster(rule));
      assert.deepEqual(closedOf(intent), [['big', 'entries']]);
      assert.equal(intent.addressSets.size, 2 * 3);
      assert.deepEqual(closedOf(compiled({ entries: 30 }, cluster(rule))), []);
    }
    assert.deepEqual(closedOf(compiled({ comparisons: 30 }, cluster(everybody))), [['big', 'entries']]);
    assert.deepEqual(closedOf(compiled({ comparisons: 60 }, cluster(everybody))), []);
  });

  it('audited policies have an eighth of their own: what is beyond is not counted, and named; what is enforced is as without them', () => {
    const audited = numbers(60).map((n) =>
      policy(`x/audited-${n}`, { podSelector: {}, policyTypes: ['Ingress'], ingress: [wide(n)] }, 'audit'),
    );
    const { pods, policies } = CLUSTER;
    const more = snapshot({ pods: [...pods.values()], policies: [...policies.values(), ...audited] });
    // Room for all that is enforced, and for ten of the audited ones' sixty rules.
    const [intent, without] = [compiled({ sets: 90 }, more), compiled({ sets: 90 })];
    assert.deepEqual([intent.programs, closedOf(intent)], [without.programs, []]);
    assert.deepEqual([intent.audits, intent.addressSets.size], [[], without.addressSets.size]);
    assert.deepEqual(
      intent.endpoints.map(({ audits }) => audits),
      [{}, {}, {}],
    );
    const [problem, ...others] = intent.problems;
    assert.deepEqual(others, []);
    assert.equal(problem!.object.kind, 'NetworkPolicy');
    assert.match(problem!.object.name, /^audited-0, audited-1, .* and 50 more$/);
    assert.match(problem!.message, /^audited together, .* nothing is counted/);
    const whole = compiled({}, more);
    assert.equal(whole.audits.length, 1);
    assert.equal(whole.audits[0]!.alone, undefined);
    assert.match(whole.problems[0]!.message, /^more than 8 audited policies select the same pods: /);
  });

  it('what each of several audited policies would do alone is compiled for eight; where there is no room for all, for none', () => {
    const audited = (count: number): ClusterSnapshot =>
      snapshot({
        pods: [endpoint('big', 1)],
        policies: numbers(count).map((n) =>
          policy(`x/p${n}`, { podSelector: {}, policyTypes: ['Ingress'], ingress: [wide(n)] }, 'audit'),
        ),
      });
    const aloneIn = ({ audits }: NodeIntent): (number | undefined)[] => audits.map(({ alone }) => alone?.length);
    assert.deepEqual(aloneIn(compiled({}, audited(1))), [undefined]);
    assert.deepEqual(aloneIn(compiled({}, audited(8))).filter(Boolean), [8]);
    assert.deepEqual(aloneIn(compiled({}, audited(9))), [undefined]);
    // An eighth: for the rules of all together, and for those of three of the four alone.
    const few = compiled({ rules: 8 * 7 }, audited(4));
    assert.equal(few.endpoints[0]!.audits.ingress, few.audits.find(({ policies }) => policies.length === 4)!.key);
    assert.deepEqual(aloneIn(few).filter(Boolean), []);
    assert.match(few.problems[0]!.message, /^the namespace's audited policies have more rules/);
    assert.deepEqual([few.problems.length, compiled({ rules: 8 * 8 }, audited(4)).problems], [1, []]);
    // Not even for all together.
    assert.match(compiled({ rules: 8 * 3 }, audited(4)).problems[0]!.message, /nothing is counted/);
  });

  it('is open again once it fits', () => {
    const compiler = new NodeCompiler('node-1', undefined, { ...NAMESPACE_LIMITS, sets: 50 });
    loadSnapshot(compiler, CLUSTER);
    assert.equal(closedOf(compiler.intent()).length, 1);
    const sets = compiler.intent().addressSets.size;
    compiler.policy('x/small', undefined);
    compiler.policy('x/big', ofApp('big', 'big', numbers(20).map(wide)));
    assert.deepEqual([closedOf(compiler.intent()), compiler.intent().problems], [[], []]);
    assert.equal(compiler.intent().addressSets.size, 2 * 20 + 6);
    compiler.policy('x/big', ofApp('big', 'big', numbers(40).map(wide)));
    compiler.policy('x/small', ofApp('small', 'small', numbers(3).map(wide)));
    assert.equal(closedOf(compiler.intent()).length, 1);
    assert.equal(compiler.intent().addressSets.size, sets);
  });

  it('whatever came first, the same is closed', () => {
    const bytes = (cluster: ClusterSnapshot): string => JSON.stringify(compiled({ sets: 50 }, cluster).programs);
    const policies = new Map([...CLUSTER.policies].reverse());
    assert.equal(bytes({ ...CLUSTER, policies, pods: new Map([...CLUSTER.pods].reverse()) }), bytes(CLUSTER));
  });

  it('rules that nothing but their policy group has in common are put together before it is closed', () => {
    // Each policy leaves out another pod, so that no two are co-selected.
    const others = numbers(40).map((n) =>
      pod(`x/s${n}`, { labels: { app: 'a', [`w${n}`]: '' }, addresses: [`10.0.1.${n}`] }),
    );
    const policies = numbers(40).map((n) =>
      policy(`x/p${n}`, {
        podSelector: { matchLabels: { app: 'a' }, matchExpressions: [{ key: `w${n}`, operator: 'DoesNotExist' }] },
        ingress: [{ from: [{ podSelector: { matchLabels: { peer: `p${n}` } } }], ports: [{ port: 80 + n }] }],
      }),
    );
    const intent = compiled({ programRules: 30 }, snapshot({ pods: others, policies }));
    assert.deepEqual(closedOf(intent), []);
    assert.deepEqual(new Set(intent.programs.map((program) => acceptRules(program).length)), new Set([1]));
    assert.deepEqual(new Set(intent.programs.map((program) => acceptRules(program)[0]!.by.length)), new Set([39]));
  });

  it('in the kernel: nobody gets in, and the chain says why', async () => {
    const policies = [ofApp('big', 'big', numbers(600).map(wide)), ofApp('small', 'small', numbers(3).map(wide))];
    const cluster = snapshot({
      pods: [
        endpoint('big', 1),
        endpoint('small', 2),
        pod('x/peer', { labels: { peer: 'p1' }, addresses: ['10.0.0.9'] }),
      ],
      policies,
    });
    const node = createFakeNode('node-1');
    const { intent } = await enforce(node, cluster);
    assert.equal(intent?.problems.length, 1);
    const packet = (destination: string) =>
      ({ family: 4, source: '10.0.0.9', destination, protocol: 6, port: 2000 }) as const;
    assert.equal(trace(node.kernel.state(), packet('10.0.0.1')), 'dropped');
    assert.equal(trace(node.kernel.state(), packet('10.0.0.2')), 'passed');
    assert.match(node.kernel.savedRules(4), /closed: these policies ask for more/);
  });

  it('a legend names no more than fifty policies', () => {
    const policies = numbers(70).map((n) => policy(`x/p${n}`, { podSelector: {}, ingress: [] }));
    const intent = compiled({}, snapshot({ pods: [endpoint('a', 1)], policies }));
    const [chain] = [...renderNode(intent, { ...LAYOUT, mode: 'enforce' }).families[4].endpointChains.values()];
    const legend = chain!.chain.rules.flatMap(({ matches }) =>
      matches.flatMap((match) => (match.kind === 'comment' ? [match.text] : [])),
    );
    assert.deepEqual([legend.length, legend.at(-1)], [51, 'and 20 more policies']);
  });
});

describe('fault: many namespaces, each within its limit, take the sets of all others', () => {
  const LIMITS: NamespaceLimits = { ...NAMESPACE_LIMITS, sets: 80, nodeSets: 200 };
  const CROWD = ['a', 'b', 'c', 'd'].map((name) => greedy(name, 8));
  const modest = greedy('modest', 2);
  const openOf = ({ programs }: NodeIntent): Record<string, number> => {
    const open: Record<string, number> = {};
    for (const { policies, closed } of programs) {
      const { namespace } = policies[0]!;
      open[namespace] = (open[namespace] ?? 0) + (closed ? 0 : 1);
    }
    return open;
  };

  it('while all fit, nobody is closed; then the limit of a namespace is halved, and those within it do not notice', () => {
    assert.deepEqual(openOf(compiled(LIMITS, node(...CROWD.slice(0, 2), modest))), { a: 8, b: 8, modest: 2 });
    const intent = compiled(LIMITS, node(...CROWD, modest));
    assert.deepEqual(openOf(intent), { a: 4, b: 4, c: 4, d: 4, modest: 2 });
    assert.equal(intent.addressSets.size, 4 * 40 + 20);
    assert.equal(intent.problems.length, 4 * 4);
    assert.deepEqual(new Set(intent.programs.flatMap(({ closed }) => closed ?? [])), new Set(['node-sets']));
    assert.match(intent.problems[0]!.message, /more than 40 IP sets, .* all together ask for more than 200/);
    const [first] = compiled({ sets: 35, nodeSets: 36 }, node(...CROWD)).problems;
    assert.match(first!.message, /more than 8 IP sets, /);
  });

  it('whoever came first, and whoever was there before: the same is closed', () => {
    const alone = (cluster: ClusterSnapshot): string => JSON.stringify(compiled(LIMITS, cluster).programs);
    const compiler = new NodeCompiler('node-1', undefined, LIMITS);
    for (const [at, each] of [modest, ...CROWD].entries()) {
      loadSnapshot(compiler, node(each));
      assert.equal(JSON.stringify(compiler.intent().programs), alone(node(modest, ...CROWD.slice(0, at))));
    }
    for (const { name } of CROWD[0]!.policies) compiler.policy(`a/${name}`, undefined);
    const rest = node({ ...CROWD[0]!, policies: [] }, ...CROWD.slice(1), modest);
    assert.equal(JSON.stringify(compiler.intent().programs), alone(rest));
    for (const { name } of CROWD[1]!.policies) compiler.policy(`b/${name}`, undefined);
    assert.deepEqual(openOf(compiler.intent()), { c: 8, d: 8, modest: 2 });
    assert.deepEqual(compiler.intent().problems, []);
  });

  it('of namespaces that wait, those are compiled first that have too many', () => {
    const compiler = new NodeCompiler('node-1', undefined, LIMITS);
    const most = 0;
    loadSnapshot(compiler, node(...CROWD));
    const sizes: number[] = [];
    for (let round = 0; round < 12; round++) {
      runSync(compiler.slowWork());
      runSync(compiler.work(most));
      sizes.push(compiler.current().addressSets.size);
    }
    // The third is over: it and the two before it shrink, then comes the fourth.
    assert.deepEqual(sizes.slice(0, 7), [80, 160, 240, 200, 160, 120, 160]);
    assert.deepEqual(openOf(compiler.current()), { a: 4, b: 4, c: 4, d: 4 });
  });
});
