/** Reasons, exemptions and edges; who reaches whom in general is what the scenario tables ask. */
import assert from 'node:assert/strict';
import { auditOutcome, createEvaluator, evaluate } from '../../src/policy/evaluate.ts';
import { explainVerdict } from '../../src/policy/explain-verdict.ts';
import type { ClusterSnapshot, Flow, Verdict } from '../../src/policy/model.ts';
import { pod, policy, snapshot } from '../support/builders.ts';

const A = '10.244.1.2';
const B = '10.244.2.2';
const OUTSIDE = '203.0.113.10';
const NODE_1 = '172.18.0.2';
const ICMP = 1;
const TCP = 6;
const GRE = 47;

const a = pod('x/a', { addresses: [A, 'fd00::2'], namedPorts: [{ name: 'web', protocol: 'TCP', port: 8080 }] });
const b = pod('x/b', { addresses: [B], nodeName: 'node-2' });

function flow(source: string, destination: string, more: Partial<Flow> = {}): Flow {
  return { source, destination, protocol: TCP, port: 80, ...more };
}

const podIs = (name: string) => ({ matchLabels: { pod: name } });
const denyAll = policy('x/deny-all', { policyTypes: ['Ingress', 'Egress'] });
const cluster = (...policies: ClusterSnapshot['policies'] extends ReadonlyMap<string, infer P> ? P[] : never) =>
  snapshot({ pods: [a, b], policies });

describe('evaluate: exemptions', () => {
  const verdictOf = (of: Flow): Verdict => evaluate(cluster(denyAll), of);

  it('self: both directions (S-62)', () => {
    const self = { kind: 'exempt', reason: 'self' };
    assert.deepEqual(verdictOf(flow(A, A)), { allowed: true, egress: self, ingress: self });
  });

  it('one pod over two of its addresses is not self: there is no such packet, and nothing to be gained by one', () => {
    const twice = snapshot({ pods: [pod('x/a', { addresses: [A, '10.244.1.3'] })], policies: [denyAll] });
    assert.equal(evaluate(twice, flow(A, '10.244.1.3')).allowed, false);
  });

  it('own node: ingress only, by origin and not by address (S-60)', () => {
    const own = verdictOf(flow(NODE_1, A, { fromNode: 'node-1' }));
    assert.deepEqual(own.ingress, { kind: 'exempt', reason: 'own-node' });
    assert.equal(own.allowed, true);
    assert.equal(verdictOf(flow(NODE_1, A)).allowed, false);
    assert.equal(verdictOf(flow(NODE_1, B, { fromNode: 'node-1' })).allowed, false);
    assert.equal(verdictOf(flow(A, NODE_1)).allowed, false);
  });

  it('what a node sends is node traffic, even with the address of a pod (S-60)', () => {
    const verdict = verdictOf(flow(A, OUTSIDE, { fromNode: 'node-1' }));
    assert.deepEqual(verdict.egress, { kind: 'exempt', reason: 'not-a-subject' });
  });

  it('not a subject: outside, host network, finished, not yet on a node (S-01, S-64, S-70)', () => {
    const none = { kind: 'exempt', reason: 'not-a-subject' };
    assert.deepEqual(verdictOf(flow(OUTSIDE, NODE_1)), { allowed: true, egress: none, ingress: none });
    const odd = [
      pod('x/h', { addresses: ['10.244.1.9'], hostNetwork: true }),
      pod('x/s', { addresses: ['10.244.1.9'], phase: 'Succeeded' }),
      { ...pod('x/u', { addresses: ['10.244.1.9'] }), nodeName: undefined },
    ] as const;
    for (const each of odd) {
      const { nodeName, ...rest } = each;
      const subject = nodeName === undefined ? rest : { ...rest, nodeName };
      assert.deepEqual(
        evaluate(snapshot({ pods: [subject], policies: [denyAll] }), flow('10.244.1.9', OUTSIDE)).egress,
        none,
      );
    }
  });

  it('protocols without ports are judged like others (S-66)', () => {
    const ported = policy('x/ported', { ingress: [{ ports: [{}] }] });
    const open = policy('x/open', { podSelector: podIs('b'), ingress: [{ from: [{ podSelector: {} }] }] });
    for (const protocol of [ICMP, GRE]) {
      assert.equal(evaluate(cluster(ported), flow(A, B, { protocol, port: 0 })).allowed, false);
      assert.equal(evaluate(cluster(ported, open), flow(A, B, { protocol, port: 0 })).allowed, true);
    }
  });
});

describe('evaluate: reasons', () => {
  it('not isolated, without a policy in the namespace of the pod (S-02, S-03)', () => {
    const elsewhere = policy('y/deny', {});
    assert.deepEqual(evaluate(cluster(elsewhere), flow(A, B)), {
      allowed: true,
      egress: { kind: 'not-isolated' },
      ingress: { kind: 'not-isolated' },
    });
  });

  it('allowed: every rule of every policy that allows, by position; policies in order of name', () => {
    const z = policy('x/z', { ingress: [{ ports: [{ port: 81 }] }, {}, { from: [{ podSelector: podIs('a') }] }] });
    const y = policy('x/y', { ingress: [{ ports: [{ port: 80 }] }] });
    const idle = policy('x/idle', {});
    const by = [
      { policy: { namespace: 'x', name: 'y' }, direction: 'ingress', index: 0 },
      { policy: { namespace: 'x', name: 'z' }, direction: 'ingress', index: 1 },
      { policy: { namespace: 'x', name: 'z' }, direction: 'ingress', index: 2 },
    ];
    assert.deepEqual(evaluate(cluster(z, idle, y), flow(A, B)).ingress, { kind: 'allowed', by });
    assert.deepEqual(evaluate(cluster(y, z, idle), flow(A, B)).ingress, { kind: 'allowed', by });
  });

  it('denied: all policies that isolate; the other direction keeps its own verdict (S-06)', () => {
    const verdict = evaluate(
      cluster(
        denyAll,
        policy('x/more', { podSelector: podIs('b') }),
        policy('x/out', { egress: [{}], policyTypes: ['Egress'] }),
      ),
      flow(A, B),
    );
    assert.equal(verdict.allowed, false);
    assert.equal(verdict.egress.kind, 'allowed');
    assert.deepEqual(verdict.ingress, {
      kind: 'denied',
      isolatedBy: [
        { namespace: 'x', name: 'deny-all' },
        { namespace: 'x', name: 'more' },
      ],
    });
  });
});

describe('evaluate: what the snapshot does not know', () => {
  const peers = (namespaceSelector: object) =>
    policy('x/peers', { podSelector: podIs('a'), ingress: [{ from: [{ namespaceSelector }] }] });
  const verdictOf = (namespaceSelector: object) => {
    const known = snapshot({
      pods: [a, pod('y/c', { addresses: ['10.244.2.9'] })],
      policies: [peers(namespaceSelector)],
    });
    const namespaces = new Map(known.namespaces);
    namespaces.delete('y');
    return evaluate({ ...known, namespaces }, flow('10.244.2.9', A)).allowed;
  };

  it('a namespace that is not known matches only {} (S-22)', () => {
    assert.equal(verdictOf({}), true);
    assert.equal(verdictOf({ matchLabels: { 'kubernetes.io/metadata.name': 'y' } }), false);
    assert.equal(verdictOf({ matchExpressions: [{ key: 'env', operator: 'DoesNotExist' }] }), false);
    assert.equal(verdictOf({ matchExpressions: [{ key: 'env', operator: 'NotIn', values: ['x'] }] }), false);
  });

  it('an address that is none is the mistake of the caller', () => {
    const open = policy('x/open', { ingress: [{}] });
    assert.throws(() => evaluate(cluster(open), flow('nobody', A)), /flow: "nobody" is not an IP address/);
  });

  it('the evaluator does not need the pods in any order (S-73)', () => {
    const old = pod('x/old', { addresses: [B], addressesSince: 1 });
    const young = pod('x/young', { addresses: [B], addressesSince: 2 });
    const open = policy('x/open', { podSelector: podIs('a'), ingress: [{ from: [{ podSelector: podIs('old') }] }] });
    for (const pods of [
      [a, old, young],
      [young, old, a],
    ]) {
      assert.equal(createEvaluator(snapshot({ pods, policies: [open] })).evaluate(flow(B, A)).allowed, false);
    }
  });
});

describe('evaluate: policies that are only audited', () => {
  const fromA = policy(
    'x/from-a',
    { podSelector: podIs('b'), ingress: [{ from: [{ podSelector: podIs('a') }] }] },
    'audit',
  );
  const none = policy('x/none', { podSelector: podIs('b') });

  it('says nothing more where none is', () => {
    assert.equal(evaluate(cluster(none), flow(A, B)).ifEnforced, undefined);
  });

  it('isolate nobody, and what they would deny is the other verdict', () => {
    const verdict = evaluate(cluster(fromA), flow(OUTSIDE, B));
    assert.deepEqual([verdict.allowed, verdict.ingress], [true, { kind: 'not-isolated' }]);
    const isolatedBy = [{ namespace: 'x', name: 'from-a' }];
    assert.deepEqual(
      [verdict.ifEnforced!.allowed, verdict.ifEnforced!.ingress],
      [false, { kind: 'denied', isolatedBy }],
    );
    assert.deepEqual([auditOutcome(verdict, 'ingress'), auditOutcome(verdict, 'egress')], ['would-deny', undefined]);
    assert.equal(auditOutcome(evaluate(cluster(fromA), flow(A, B)), 'ingress'), undefined);
  });

  it('allow nothing beside one in force, and what they would allow is the other verdict', () => {
    const verdict = evaluate(cluster(fromA, none), flow(A, B));
    assert.deepEqual(verdict.ingress, { kind: 'denied', isolatedBy: [{ namespace: 'x', name: 'none' }] });
    assert.equal(auditOutcome(verdict, 'ingress'), 'would-allow');
    assert.equal(auditOutcome(evaluate(cluster(fromA, none), flow(OUTSIDE, B)), 'ingress'), undefined);
    assert.equal(
      explainVerdict(verdict),
      [
        'denied',
        '  egress:  open: no policy isolates the source for egress',
        '  ingress: denied: the destination is isolated by x/none, and no rule there allows this',
        'if audited policies were enforced: allowed',
        '  egress:  open: no policy isolates the source for egress',
        '  ingress: allowed by x/from-a spec.ingress[0]',
      ].join('\n'),
    );
  });

  it('of an audited namespace all are, but for those that ask to be enforced', () => {
    const { policies, ...rest } = cluster(policy('x/q', { podSelector: podIs('a') }, 'enforce'), none);
    const namespaces = new Map([['x', { ...rest.namespaces.get('x')!, mode: 'audit' as const }]]);
    const { ingress, ifEnforced } = evaluate({ ...rest, policies, namespaces }, flow(OUTSIDE, B));
    assert.deepEqual([ingress.kind, ifEnforced!.ingress.kind], ['not-isolated', 'denied']);
    assert.equal(evaluate({ ...rest, policies, namespaces }, flow(OUTSIDE, A)).ingress.kind, 'denied');
  });
});

describe('explain a verdict', () => {
  it('in plain words', () => {
    const some = cluster(
      policy('x/in', { podSelector: podIs('b'), ingress: [] }),
      policy('x/out', { podSelector: podIs('a'), policyTypes: ['Egress'], egress: [{ ports: [{ port: 81 }] }, {}] }),
    );
    assert.equal(
      explainVerdict(evaluate(some, flow(A, B))),
      [
        'denied',
        '  egress:  allowed by x/out spec.egress[1]',
        '  ingress: denied: the destination is isolated by x/in, and no rule there allows this',
      ].join('\n'),
    );
    assert.equal(
      explainVerdict(evaluate(some, flow(OUTSIDE, A))),
      [
        'allowed',
        '  egress:  open: the source is not a pod that policies apply to (outside, a node, host network, or finished)',
        '  ingress: open: no policy isolates the destination for ingress',
      ].join('\n'),
    );
    assert.match(explainVerdict(evaluate(some, flow(A, A))), /a pod always reaches its own address/);
    const fromNode = flow('172.18.0.3', B, { fromNode: 'node-2' });
    assert.match(explainVerdict(evaluate(some, fromNode)), /a node always reaches its own pods/);
  });
});
