import assert from 'node:assert/strict';
import { parseTruthTable } from '../support/truth-table.ts';
import { readScenarios } from './read-scenarios.ts';
import type { Scenario } from './scenario.ts';

const CLUSTER = ['```yaml', 'pods: x/a y/b', 'outside: client', '```'];
const TABLE = ['```text', 'TCP 80', '     x/a', 'y/b   X', '```'];
const POLICY = ['```yaml', 'NetworkPolicy: x/deny', 'spec:', '  podSelector: {}', '```'];

function read(...lines: readonly string[]): Scenario {
  const { scenarios } = readScenarios(['# group', '## G-1 title (S-01)', ...lines].join('\n'), 'g.md');
  return scenarios[0]!;
}

/** The scenario's own lines begin in line 3 of the file. */
function refuses(lines: readonly string[], message: string): void {
  assert.throws(
    () => read(...lines),
    (error: Error) => {
      assert.ok(error.message.startsWith(message), error.message);
      return true;
    },
  );
}

describe('scenarios: reading a group', () => {
  it('reads a cluster, a policy and a table', () => {
    const scenario = read(...CLUSTER, ...POLICY, ...TABLE);
    assert.deepEqual([scenario.id, scenario.title, scenario.cites], ['G-1', 'title', ['S-01']]);
    assert.deepEqual(
      scenario.topology.pods.map(({ key, node, labels }) => [key, node, labels]),
      [
        ['x/a', 'node-1', { pod: 'a' }],
        ['y/b', 'node-2', { pod: 'b' }],
      ],
    );
    assert.deepEqual(scenario.topology.namespaces, { x: { ns: 'x' }, y: { ns: 'y' } });
    const [step] = scenario.steps;
    assert.deepEqual(step?.changes, [
      {
        kind: 'apply',
        object: {
          apiVersion: 'networking.k8s.io/v1',
          kind: 'NetworkPolicy',
          metadata: { namespace: 'x', name: 'deny' },
          spec: { podSelector: {} },
        },
      },
    ]);
    const [expectation] = step?.expect ?? [];
    assert.deepEqual([expectation?.protocol, expectation?.port, expectation?.via], ['TCP', 80, 'pod-ip']);
    assert.deepEqual(parseTruthTable(expectation!.table).cells, [{ from: 'y/b', to: 'x/a', reaches: false }]);
  });

  it('reads what a pod, a namespace and an outside host have of their own', () => {
    const { topology } = read(
      '```yaml',
      'pods:',
      '  x/a: { node: node-2, hostNetwork: true, labels: {}, ports: [web TCP 80, web TCP 81 in sidecar] }',
      '  y/b: {}',
      'namespaces: { x: { team: a }, z: {} }',
      'outside: { client: , nat64: [64:ff9b::1] }',
      'nodePorts: [{ nodePort: 30080, pod: y/b, protocol: TCP, port: 80, externalTrafficPolicy: Local }]',
      '```',
      ...TABLE,
    );
    const ports = [
      { name: 'web', protocol: 'TCP', port: 80, container: 'main' },
      { name: 'web', protocol: 'TCP', port: 81, container: 'sidecar' },
    ];
    assert.deepEqual(topology.pods[0], { key: 'x/a', node: 'node-2', labels: {}, hostNetwork: true, ports });
    assert.deepEqual(topology.namespaces, { x: { team: 'a' }, y: { ns: 'y' }, z: {} });
    assert.deepEqual(topology.outside, [{ name: 'client' }, { name: 'nat64', addresses: ['64:ff9b::1'] }]);
    assert.equal(topology.nodePorts[0]?.externalTrafficPolicy, 'Local');
  });

  it('reads every kind of change', () => {
    const { changes } = read(
      ...CLUSTER,
      '- delete policy x/p',
      '- label namespace x team=a old-',
      '- label pod x/a role= old-',
      '- delete pod x/a',
      '- create pod x/n on node-2 labelled app=web with the addresses of y/b',
      '- set phase of pod x/a to Failed',
      '- terminate pod x/a',
      '- publish only4 of the addresses of pod x/a',
      ...TABLE,
    ).steps[0]!;
    assert.deepEqual(
      changes.map((change) => (change.kind === 'create-pod' ? [change.pod.labels, change.addressesOf] : change)),
      [
        { kind: 'delete-policy', policy: 'x/p' },
        { kind: 'label-namespace', namespace: 'x', labels: { team: 'a', old: null } },
        { kind: 'label-pod', pod: 'x/a', labels: { role: '', old: null } },
        { kind: 'delete-pod', pod: 'x/a' },
        [{ app: 'web' }, 'y/b'],
        { kind: 'set-phase', pod: 'x/a', phase: 'Failed' },
        { kind: 'terminate', pod: 'x/a' },
        { kind: 'publish-addresses', pod: 'x/a', addresses: 'only4' },
      ],
    );
  });

  it('reads several probes of one table', () => {
    const { expect } = read(
      ...CLUSTER,
      '```text',
      'UDP 81 via Service, TCP 80 via node port of node-1 over IPv4, ICMP over IPv6',
      ...TABLE.slice(2),
    ).steps[0]!;
    assert.deepEqual(
      expect.map(({ protocol, port, via, families }) => [protocol, port, via, families]),
      [
        ['UDP', 81, 'cluster-ip', undefined],
        ['TCP', 80, { nodePortOf: 'node-1' }, [4]],
        ['ICMP', 0, 'pod-ip', [6]],
      ],
    );
  });

  it('reads steps with and without names, notes, and what the API server refuses', () => {
    const scenario = read(
      'The API server refuses such objects today.',
      '',
      '> A note.',
      ...CLUSTER,
      ...TABLE,
      '### Step 2',
      ...POLICY,
      ...TABLE,
      '### with a name',
      '- delete policy x/deny',
      ...TABLE,
    );
    assert.equal(scenario.refusedByApi, true);
    assert.deepEqual(
      scenario.steps.map(({ name }) => name),
      [undefined, undefined, 'with a name'],
    );
  });

  it('repeats policies for numbers', () => {
    const policies = ['```yaml', 'NetworkPolicy: x/p-{n}', 'spec: { port: {9000+n} }', '```'];
    const { changes } = read(...CLUSTER, 'For n = 0, 12:', '', ...policies, ...TABLE).steps[0]!;
    assert.deepEqual(
      changes.map((change) => change.kind === 'apply' && [change.object.metadata.name, change.object.spec]),
      [
        ['p-0', { port: 9000 }],
        ['p-12', { port: 9012 }],
      ],
    );
    refuses([...CLUSTER, 'For n = 0, 1:', ...TABLE], 'g.md:9: only policies are repeated');
  });

  it('names file and line of what it does not understand', () => {
    const policy = (...lines: readonly string[]) => [...CLUSTER, '```yaml', ...lines, '```', ...TABLE];
    refuses([...CLUSTER, ...POLICY], 'g.md:4: the step has no table');
    refuses(['prose', ...CLUSTER, ...TABLE], 'g.md:3: "prose" is neither');
    refuses([...TABLE], 'g.md:4: the first thing of a scenario is its cluster');
    refuses([...CLUSTER, ...TABLE.slice(0, -1)], 'g.md:7: the block does not end');
    refuses([...CLUSTER, ...TABLE, ...POLICY], 'g.md:13: a change after a table begins a new step');
    refuses([...CLUSTER, ...TABLE, '### Step 3', ...TABLE], 'g.md:12: this is step 2');
    refuses([...CLUSTER, '- remove pod x/a', ...TABLE], 'g.md:7: "remove pod x/a" is none of these changes');
    refuses([...CLUSTER, '- label pod x/a role', ...TABLE], 'g.md:7: "role" is neither key=value nor key-');
    refuses([...CLUSTER, '- set phase of pod x/a to Gone', ...TABLE], 'g.md:7: phase is "Gone", none of Pending');
    refuses(['```yaml', 'pods: x/a', 'outsides: b', '```', ...TABLE], 'g.md:4: a cluster has no "outsides"');
    refuses(['```yaml', 'pods: { x/a: { host: true } }', '```', ...TABLE], 'g.md:4: pod x/a has no "host"');
    refuses(['```yaml', 'pods: { x/a: { hostNetwork: yes } }', '```', ...TABLE], 'g.md:4: hostNetwork is "yes"');
    refuses(['```yaml', 'pods: { x/a: { ports: [80] } }', '```', ...TABLE], 'g.md:4: 80 is no port like "web TCP 80"');
    refuses(policy('NetworkPolicy: x/p', 'spec: {}', 'rules: []'), 'g.md:8: a policy has no "rules"');
    refuses(policy('NetworkPolicy: x/p'), 'g.md:8: spec is no mapping');
    refuses(policy('NetworkPolicy: x/p', 'spec:', '  podSelector: {}', '  podSelector: {}'), 'g.md:11: Map keys');
    refuses([...CLUSTER, '```text', 'TCP 80 to b', 'x', '```'], 'g.md:8: "TCP 80 to b" is no probe');
    refuses([...CLUSTER, '```text', 'TCP 80', '  x/a', 'y/b  O', '```'], 'g.md:9: truth table: "O" from y/b to x/a');
    refuses([...CLUSTER, '```text', 'TCP 80', '  x/c', 'y/b  X', '```'], 'g.md:8: the table names x/c');
  });

  it('wants a group with a name and scenarios with ID and clauses', () => {
    const of = (text: string) => () => readScenarios(text, 'g.md');
    assert.throws(of('## G-1 title (S-01)'), /^Error: g\.md:1: does not begin with "# name/);
    assert.throws(of('# group\n\nprose'), /^Error: g\.md:1: has no scenario/);
    assert.throws(of('# group\n\n### step'), /^Error: g\.md:3: belongs to no scenario/);
    assert.throws(of('# group\n\n## G-1 title'), /^Error: g\.md:3: "G-1 title" is not/);
  });
});
