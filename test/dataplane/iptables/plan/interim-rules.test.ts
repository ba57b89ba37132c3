/** Updates in which a packet could meet half of the old and half of the new; each of them once was, or would be, a hole. */
import assert from 'node:assert/strict';
import type { ClusterSnapshot, Pod, Policy } from '../../../../src/policy/model.ts';
import type { Layout } from '../../../../src/dataplane/iptables/rules/ruleset.ts';
import { pod, policy, snapshot } from '../../../support/builders.ts';
import { createFakeNode, enforce, LAYOUT, WITHOUT_MARKS } from '../../../support/fake-cluster.ts';
import { type Packet, trace } from '../../../support/tracer.ts';

const local = (key: string, address: string, labels: Pod['labels'], fields: Partial<Pod> = {}): Pod =>
  pod(key, { addresses: [address], labels, ...fields });
const remote = (key: string, address: string, labels: Pod['labels']): Pod =>
  local(key, address, labels, { nodeName: 'node-2' });
const cluster = (pods: readonly Pod[], policies: readonly Policy[]): ClusterSnapshot => snapshot({ pods, policies });
const packet = (source: string, destination: string): Packet => ({
  family: 4,
  source,
  destination,
  protocol: 6,
  port: 80,
});

/** The verdicts a first packet meets: before, after each line, and afterwards. */
async function verdicts(
  before: ClusterSnapshot,
  after: ClusterSnapshot,
  of: Packet,
  layout: Omit<Layout, 'mode'>,
): Promise<{ readonly seen: readonly string[]; readonly steps: readonly string[] }> {
  const node = createFakeNode('node-1');
  await enforce(node, before, false, layout);
  const seen = [trace(node.kernel.state(), of)];
  node.kernel.onLine = () => seen.push(trace(node.kernel.state(), of));
  const { plan } = await enforce(node, after, false, layout);
  return { seen, steps: plan!.steps.map(({ kind }) => kind) };
}

async function assertAlways(
  verdict: string,
  before: ClusterSnapshot,
  after: ClusterSnapshot,
  of: Packet,
): Promise<void> {
  for (const layout of [LAYOUT, WITHOUT_MARKS]) {
    const { seen } = await verdicts(before, after, of, layout);
    assert.ok(seen.length > 3, 'nothing happened');
    assert.deepEqual(new Set(seen), new Set([verdict]));
  }
}

describe('interim rules', () => {
  it('a pod leaves the class that denied it everything, and the peers of the pod it reaches then', async () => {
    const policies = [
      policy('x/silent', { podSelector: { matchLabels: { role: 'a' } }, policyTypes: ['Egress'] }),
      policy('x/from-a', {
        podSelector: { matchLabels: { pod: 'y' } },
        ingress: [{ from: [{ podSelector: { matchLabels: { role: 'a' } } }] }],
      }),
    ];
    const y = local('x/y', '10.0.0.2', { pod: 'y' });
    const changes = [local('x/p', '10.0.0.1', { role: 'a' }), local('x/p', '10.0.0.1', { role: 'b' })];
    const [was, is] = changes.map((p) => cluster([p, y], policies));
    await assertAlways('dropped', was!, is!, packet('10.0.0.1', '10.0.0.2'));
    await assertAlways('dropped', is!, was!, packet('10.0.0.1', '10.0.0.2'));
  });

  it('a pod moves to a class that does not ask about the set another pod joins', async () => {
    const policies = [
      policy('x/one', {
        podSelector: { matchLabels: { k: '1' } },
        ingress: [{ from: [{ podSelector: { matchLabels: { r: 'peer' } } }] }],
      }),
      policy('x/two', { podSelector: { matchLabels: { k: '2' } }, ingress: [] }),
    ];
    const z = local('x/z', '10.0.0.9', { k: '1' });
    const was = cluster([local('x/a', '10.0.0.1', { k: '1' }), z, remote('x/p', '10.0.1.1', {})], policies);
    const is = cluster([local('x/a', '10.0.0.1', { k: '2' }), z, remote('x/p', '10.0.1.1', { r: 'peer' })], policies);
    await assertAlways('dropped', was, is, packet('10.0.1.1', '10.0.0.1'));
    await assertAlways('dropped', is, was, packet('10.0.1.1', '10.0.0.1'));
  });

  it('one end joins a set of egress while the other leaves a set of ingress', async () => {
    const policies = [
      policy('x/out', {
        podSelector: { matchLabels: { role: 'p' } },
        policyTypes: ['Egress'],
        egress: [{ to: [{ podSelector: { matchLabels: { t: '1' } } }] }],
      }),
      policy('x/in', {
        podSelector: { matchLabels: { role: 'y' } },
        ingress: [{ from: [{ podSelector: { matchLabels: { s: '1' } } }] }],
      }),
    ];
    const pods = (p: Pod['labels'], y: Pod['labels']): Pod[] => [
      local('x/p', '10.0.0.1', { role: 'p', ...p }),
      local('x/y', '10.0.0.2', { role: 'y', ...y }),
    ];
    const was = cluster(pods({ s: '1' }, {}), policies);
    const is = cluster(pods({}, { t: '1' }), policies);
    await assertAlways('dropped', was, is, packet('10.0.0.1', '10.0.0.2'));
    await assertAlways('dropped', is, was, packet('10.0.0.1', '10.0.0.2'));
  });

  it('a rule asks about two sets, and one gains what the other loses', async () => {
    const policies = [
      policy('x/named', {
        podSelector: { matchLabels: { app: 's' } },
        ingress: [{ from: [{ podSelector: { matchLabels: { b: '1' } } }], ports: [{ port: 'web' }] }],
      }),
    ];
    const silent = local('x/s1', '10.0.0.1', { app: 's' });
    const web = [{ name: 'web', protocol: 'TCP', port: 80 } as const];
    const serving = local('x/s2', '10.0.0.1', { app: 's' }, { namedPorts: web });
    const was = cluster([silent, remote('x/p', '10.0.1.1', { b: '1' })], policies);
    const is = cluster([serving, remote('x/p', '10.0.1.1', {})], policies);
    await assertAlways('dropped', was, is, packet('10.0.1.1', '10.0.0.1'));
    await assertAlways('dropped', is, was, packet('10.0.1.1', '10.0.0.1'));
  });

  it('what stays allowed is never dropped: another set, another class, another policy', async () => {
    const from = (name: string, label: string): Policy =>
      policy(`x/${name}`, {
        podSelector: { matchLabels: { pod: 'y' } },
        ingress: [{ from: [{ podSelector: { matchLabels: { [label]: '1' } } }] }],
      });
    const y = local('x/y', '10.0.0.2', { pod: 'y' });
    const was = cluster([local('x/p', '10.0.0.1', { a: '1' }), y], [from('one', 'a'), from('two', 'b')]);
    const is = cluster([local('x/p', '10.0.0.1', { b: '1' }), y], [from('two', 'b'), from('three', 'a')]);
    await assertAlways('passed', was, is, packet('10.0.0.1', '10.0.0.2'));
    await assertAlways('passed', is, was, packet('10.0.0.1', '10.0.0.2'));
  });

  it('pods of other nodes come and go without a commit', async () => {
    const policies = [
      policy('x/from-b', {
        podSelector: { matchLabels: { pod: 'y' } },
        ingress: [{ from: [{ podSelector: { matchLabels: { b: '1' } } }] }],
      }),
    ];
    const y = local('x/y', '10.0.0.2', { pod: 'y' });
    const was = cluster([y, remote('x/p', '10.0.1.1', { b: '1' })], policies);
    const is = cluster([y, remote('x/q', '10.0.1.2', { b: '1' })], policies);
    assert.deepEqual((await verdicts(was, is, packet('10.0.1.2', '10.0.0.2'), LAYOUT)).steps, [
      'add-members',
      'remove-members',
    ]);
  });

  it('a live flow that is cut cannot save itself by a packet in the middle', async () => {
    const policies = [
      policy('x/from-b', {
        podSelector: { matchLabels: { pod: 'y' } },
        ingress: [{ from: [{ podSelector: { matchLabels: { b: '1' } } }] }],
      }),
    ];
    const y = local('x/y', '10.0.0.2', { pod: 'y' });
    const node = createFakeNode('node-1');
    await enforce(node, cluster([y, remote('x/p', '10.0.1.1', { b: '1' })], policies));
    const connection = { mark: 0 };
    assert.equal(trace(node.kernel.state(), { ...packet('10.0.1.1', '10.0.0.2'), connection }), 'passed');
    const live: Packet = { ...packet('10.0.1.1', '10.0.0.2'), state: 'ESTABLISHED', connection };
    let commits = 0;
    node.kernel.onLine = (line) => {
      if (line === 'COMMIT') commits++;
      const verdict = trace(node.kernel.state(), live);
      assert.equal(verdict, commits === 0 ? 'passed' : 'dropped', line);
    };
    const { plan } = await enforce(node, cluster([y, remote('x/p', '10.0.1.1', {})], policies));
    assert.deepEqual(
      plan?.steps.map(({ kind }) => kind),
      ['remove-members', 'final-rules', 'destroy-sets'],
    );
    assert.equal(trace(node.kernel.state(), live), 'dropped');
  });

  it('a set that a killed process left half filled opens nothing while it is finished', async () => {
    const before = policy('x/p', { podSelector: {}, ingress: [] });
    const block = { cidr: '0.0.0.0/0', except: ['203.0.113.0/24'] };
    const after = policy('x/p', { podSelector: {}, ingress: [{ from: [{ ipBlock: block }] }] });
    const a = local('x/a', '10.0.0.1', {});
    for (let lines = 0; lines < 8; lines++) {
      const node = createFakeNode('node-1');
      await enforce(node, cluster([a], [before]));
      node.kernel.faults.diesAfterLines = lines;
      await node.reconciler.sync(cluster([a], [after]), 'enforce', LAYOUT, false);
      node.kernel.revive();
      node.kernel.onLine = (line) =>
        assert.equal(trace(node.kernel.state(), packet('203.0.113.9', '10.0.0.1')), 'dropped', `${lines}: ${line}`);
      await enforce(createFakeNode('node-1', node.kernel), cluster([a], [after]), true);
      assert.equal(trace(node.kernel.state(), packet('203.0.114.9', '10.0.0.1')), 'passed');
    }
  });
});
