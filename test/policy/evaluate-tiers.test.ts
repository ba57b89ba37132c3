/** What the upstream suite leaves out (test/policy/cluster-conformance.test.ts has the rest). */
import assert from 'node:assert/strict';
import { createEvaluator, letsPass } from '../../src/policy/evaluate.ts';
import {
  type ClusterPolicy,
  type Flow,
  type LabelledNode,
  type Pod,
  type Policy,
  UNKNOWN_LABELS,
  type Verdict,
} from '../../src/policy/model.ts';
import { parseClusterPolicy } from '../../src/policy/parse-cluster-policy.ts';
import { namespace, pod, policy, snapshot } from '../support/builders.ts';

const A = pod('x/a', { addresses: ['10.1.0.1'], namedPorts: [{ name: 'web', protocol: 'TCP', port: 8080 }] });
const B = pod('y/b', { addresses: ['10.1.0.2'], nodeName: 'node-2' });
const HOST = pod('y/host', { addresses: ['10.0.0.2'], hostNetwork: true, nodeName: 'node-2' });
const NODES: readonly LabelledNode[] = [
  { name: 'node-1', addresses: ['10.0.0.1'], labels: { zone: 'one' } },
  { name: 'node-2', addresses: ['10.0.0.2'], labels: { zone: 'two' } },
];
const ALL = { namespaces: {} };
const only = (app: string): object => ({ pods: { podSelector: { matchLabels: { pod: app } } } });

interface Given {
  readonly pods?: readonly Pod[];
  readonly policies?: readonly Policy[];
}

function cluster(name: string, tier: string, priority: number, subject: object, rules: object): ClusterPolicy {
  const parsed = parseClusterPolicy({ metadata: { name }, spec: { tier, priority, subject, ...rules } });
  return parsed.policy!;
}

function judge(flow: Partial<Flow>, clusterPolicies: readonly ClusterPolicy[], given: Given = {}): Verdict {
  const { pods = [A, B, HOST], policies = [] } = given;
  const namespaces = ['x', 'y'].map((name) => namespace(name, { team: name }));
  const evaluator = createEvaluator({
    ...snapshot({ pods, policies, namespaces }),
    clusterPolicies: new Map(clusterPolicies.map((each) => [each.name, each])),
    labelledNodes: new Map(NODES.map((node) => [node.name, node])),
  });
  return evaluator.evaluate({ source: '10.1.0.1', destination: '10.1.0.2', protocol: 6, port: 80, ...flow });
}

const allowed = (...args: Parameters<typeof judge>): boolean => judge(...args).allowed;

const egress = (action: string, to: object, more: object = {}): object => ({ egress: [{ action, to: [to], ...more }] });
const ingress = (action: string, from: object, more: object = {}): object => ({
  ingress: [{ action, from: [from], ...more }],
});

describe('evaluation with tiers', () => {
  it('N-73: Admin, then NetworkPolicy where it isolates, else Baseline, else allowed', () => {
    const isolating = {
      allows: [policy('x/p', { podSelector: {}, policyTypes: ['Egress'], egress: [{}] })],
      denies: [policy('x/p', { podSelector: {}, policyTypes: ['Egress'] })],
      none: [],
    } as const;
    for (const admin of ['Accept', 'Deny', 'Pass', 'none'])
      for (const np of ['allows', 'denies', 'none'] as const)
        for (const baseline of ['Accept', 'Deny', 'Pass', 'none']) {
          const policies = [
            ...(admin === 'none' ? [] : [cluster('admin', 'Admin', 1, ALL, egress(admin, ALL))]),
            ...(baseline === 'none' ? [] : [cluster('base', 'Baseline', 1, ALL, egress(baseline, ALL))]),
          ];
          const undecided = np === 'none' ? baseline !== 'Deny' : np === 'allows';
          const expected = admin === 'Accept' || (admin !== 'Deny' && undecided);
          assert.equal(allowed({}, policies, { policies: isolating[np] }), expected, `${admin} ${np} ${baseline}`);
        }
  });

  it('N-61, N-67: the first matching rule by priority, list and name decides, whatever the order of objects', () => {
    const deny = cluster('deny', 'Admin', 5, ALL, egress('Deny', ALL));
    const accept = (priority: number, name = 'accept') => cluster(name, 'Admin', priority, ALL, egress('Accept', ALL));
    for (const [policies, expected] of [
      [[deny, accept(4)], true],
      [[deny, accept(6)], false],
      [[deny, accept(5)], true],
      [[deny, accept(5, 'zaccept')], false],
    ] as const) {
      assert.equal(allowed({}, policies), expected);
      assert.equal(allowed({}, policies.toReversed()), expected);
    }
    const rules = {
      egress: [
        { action: 'Deny', to: [ALL], protocols: [{ tcp: { destinationPort: { range: { start: 80, end: 81 } } } }] },
        { action: 'Accept', to: [ALL] },
      ],
    };
    const ranged = [cluster('p', 'Admin', 0, ALL, rules), deny];
    assert.deepEqual(
      [80, 81, 82].map((port) => allowed({ port }, ranged)),
      [false, false, true],
    );
  });

  it('N-14: names who decided and who passed it on', () => {
    const { egress: verdict } = judge({}, [
      cluster('guard', 'Admin', 1, ALL, {
        egress: [
          { action: 'Deny', to: [only('nobody')] },
          { name: 'over', action: 'Pass', to: [ALL] },
        ],
      }),
      cluster('base', 'Baseline', 1, ALL, { egress: [{ name: 'no', action: 'Deny', to: [ALL] }] }),
    ]);
    assert.deepEqual(verdict, {
      kind: 'tier-rule',
      action: 'Deny',
      by: { policy: { namespace: '', name: 'base', tier: 'Baseline' }, direction: 'egress', index: 0, name: 'no' },
      passedBy: [
        { policy: { namespace: '', name: 'guard', tier: 'Admin' }, direction: 'egress', index: 1, name: 'over' },
      ],
    });
  });

  it('N-66: both directions are asked, each for its own pod', () => {
    const open = cluster('open', 'Admin', 1, ALL, egress('Accept', ALL));
    const shut = cluster('shut', 'Admin', 1, only('b'), ingress('Deny', only('a')));
    assert.equal(allowed({}, [open]), true);
    const verdicts = judge({}, [open, shut]);
    assert.deepEqual([verdicts.allowed, letsPass(verdicts.egress), letsPass(verdicts.ingress)], [false, true, false]);
  });

  it('N-56: a rule without protocols matches all of them, one with protocols no other', () => {
    const icmp = { protocol: 1, port: 0 };
    assert.equal(allowed(icmp, [cluster('p', 'Admin', 1, ALL, egress('Deny', ALL))]), false);
    const ports = { protocols: [{ tcp: {} }, { udp: {} }, { sctp: {} }, { destinationNamedPort: 'web' }] };
    assert.equal(allowed(icmp, [cluster('p', 'Admin', 1, ALL, egress('Deny', ALL, ports))]), true);
  });

  it('N-45: networks match addresses of pods and nodes, too; N-44: nodes those of nodes alone', () => {
    const network = cluster('p', 'Admin', 1, ALL, egress('Deny', { networks: ['10.1.0.2/32', '10.0.0.0/24'] }));
    const zone = cluster(
      'p',
      'Admin',
      1,
      ALL,
      egress('Deny', { nodes: { matchExpressions: [{ key: 'zone', operator: 'NotIn', values: ['one'] }] } }),
    );
    const to = (destination: string, of: ClusterPolicy) => allowed({ destination }, [of]);
    assert.deepEqual(
      ['10.1.0.2', '10.0.0.2', '192.0.2.1'].map((one) => to(one, network)),
      [false, false, true],
    );
    assert.deepEqual(
      ['10.1.0.2', '10.0.0.1', '10.0.0.2'].map((one) => to(one, zone)),
      [true, true, false],
    );
  });

  it('N-40, N-41: pods of the host network are neither subjects nor such peers', () => {
    const deny = cluster('p', 'Admin', 1, ALL, { ...egress('Deny', ALL), ...ingress('Deny', ALL) });
    assert.equal(allowed({ destination: '10.0.0.2' }, [deny]), true);
    assert.equal(allowed({ source: '10.0.0.2', destination: '10.1.0.1', fromNode: 'node-2' }, [deny]), true);
    assert.equal(allowed({}, [deny]), false);
  });

  it('N-42: nor are pods that have finished', () => {
    const deny = cluster('p', 'Admin', 1, ALL, egress('Deny', ALL));
    assert.equal(allowed({}, [deny], { pods: [A, { ...B, phase: 'Succeeded' }] }), true);
    assert.equal(allowed({}, [deny], { pods: [{ ...A, phase: 'Failed' }, B] }), true);
  });

  it('N-48, N-72: nothing that comes from a node or from outside can be selected', () => {
    const deny = cluster('p', 'Admin', 1, ALL, ingress('Deny', ALL));
    for (const source of ['10.0.0.1', '192.0.2.1']) {
      const { ingress: verdict } = judge({ source, destination: '10.1.0.1' }, [deny]);
      assert.equal(verdict.kind, 'not-isolated', source);
    }
    const closed = cluster('p', 'Admin', 1, ALL, { ingress: [{ action: 'Deny', from: [{ nodes: {} }] }] });
    assert.equal(allowed({ source: '10.0.0.1', destination: '10.1.0.1', fromNode: 'node-1' }, [closed]), true);
  });

  it('N-71: a pod reaches its own address, and is judged where a Service led it there', () => {
    const deny = cluster('p', 'Admin', 1, ALL, egress('Deny', ALL));
    const own = { source: '10.1.0.1', destination: '10.1.0.1' };
    assert.equal(allowed(own, [deny]), true);
    assert.equal(allowed({ ...own, viaService: true }, [deny]), false);
    const base = cluster('p', 'Baseline', 1, ALL, egress('Deny', ALL));
    const isolated = [policy('x/p', { podSelector: {}, policyTypes: ['Egress'] })];
    assert.equal(allowed({ ...own, viaService: true }, [base]), false);
    assert.equal(allowed({ ...own, viaService: true }, [base], { policies: isolated }), true);
  });

  it('N-53 to N-55: names are those of the destination pod, and of no network', () => {
    const named = { protocols: [{ destinationNamedPort: 'web' }] };
    const deny = (peer: object) => [
      cluster('p', 'Admin', 1, ALL, { egress: [{ action: 'Deny', to: [peer], ...named }] }),
    ];
    const toA = { source: '10.1.0.2', destination: '10.1.0.1' };
    assert.deepEqual(
      [8080, 80].map((port) => allowed({ ...toA, port }, deny(ALL))),
      [false, true],
    );
    assert.equal(allowed({ ...toA, port: 8080, protocol: 17 }, deny(ALL)), true);
    assert.equal(allowed({ port: 8080 }, deny(ALL)), true, 'b declares no such port');
    assert.equal(allowed({ ...toA, port: 8080 }, deny({ networks: ['0.0.0.0/0'] })), true);
  });

  it('fault: N-90: what cannot be understood accepts nothing and denies everything', () => {
    const deny = cluster('z', 'Admin', 9, ALL, egress('Deny', ALL));
    assert.equal(
      allowed({}, [cluster('p', 'Admin', 1, ALL, egress('Accept', { domainNames: ['a.example'] })), deny]),
      false,
    );
    for (const action of ['Deny', 'Pass', 'Whatever'])
      assert.equal(
        allowed({}, [cluster('p', 'Admin', 1, only('a'), egress(action, { domainNames: ['a.example'] }))]),
        false,
      );
    assert.equal(
      allowed({}, [cluster('p', 'Admin', 1, only('b'), egress('Pass', { domainNames: ['a.example'] }))]),
      true,
    );
  });

  it('fault: labels that are not known accept nothing, and are denied what they may be denied', () => {
    const unknown = { pods: [A, { ...B, labels: UNKNOWN_LABELS }] };
    const deny = cluster('z', 'Admin', 9, ALL, egress('Deny', ALL));
    const rule = (action: string) => cluster('p', 'Admin', 1, ALL, egress(action, only('b')));
    assert.equal(allowed({}, [rule('Accept'), deny], unknown), false);
    assert.equal(allowed({}, [rule('Deny')], unknown), false);
    const accept = cluster('y', 'Admin', 8, ALL, egress('Accept', ALL));
    assert.equal(allowed({}, [rule('Pass'), accept], unknown), false);
    assert.equal(allowed({}, [rule('Pass'), accept]), true);
  });

  it('fault: of an address that several pods claim, each is asked', () => {
    const pods = [A, B, pod('y/c', { addresses: ['10.1.0.2'], nodeName: 'node-2' })];
    for (const app of ['b', 'c'])
      assert.equal(allowed({}, [cluster('p', 'Admin', 1, only(app), ingress('Deny', ALL))], { pods }), false, app);
    assert.equal(allowed({}, [cluster('p', 'Admin', 1, ALL, egress('Deny', only('c')))], { pods }), false);
    const accept = cluster('p', 'Admin', 1, ALL, egress('Accept', only('c')));
    assert.equal(allowed({}, [accept, cluster('q', 'Admin', 2, ALL, egress('Deny', ALL))], { pods }), false);
    const { nodeName: _node, ...nowhere } = pods[2]!;
    const denyC = cluster('p', 'Admin', 1, only('c'), ingress('Deny', ALL));
    assert.equal(
      allowed({}, [denyC], { pods: [A, B, nowhere] }),
      true,
      'nobody enforces anything for a pod without a node',
    );
  });

  it('fault: a port that only one of several claimants declares is denied by its name, and not accepted', () => {
    const web = { name: 'web', protocol: 'TCP', port: 80 } as const;
    const pods = [A, B, pod('y/c', { addresses: ['10.1.0.2'], nodeName: 'node-2', namedPorts: [web] })];
    const named = { protocols: [{ destinationNamedPort: 'web' }] };
    const rule = (action: string) => cluster('p', 'Admin', 1, ALL, egress(action, ALL, named));
    assert.equal(allowed({}, [rule('Deny')], { pods }), false);
    assert.equal(allowed({}, [rule('Accept'), cluster('q', 'Admin', 2, ALL, egress('Deny', ALL))], { pods }), false);
  });

  it('is not asked for what a node sends, whatever address it sends from', () => {
    const deny = cluster('p', 'Admin', 1, ALL, egress('Deny', ALL));
    assert.equal(allowed({ fromNode: 'node-1' }, [deny]), true);
  });
});
