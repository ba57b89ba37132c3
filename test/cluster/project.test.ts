import assert from 'node:assert/strict';
import fc from 'fast-check';
import { projectStoredPolicy } from '../../src/cluster/stored-policy.ts';
import { LongJson } from '../../src/cluster/long-json.ts';
import {
  type Identity,
  identify,
  nameForLog,
  type Project,
  projectNamespace,
  projectNode,
  projectPod,
  projectPolicy,
} from '../../src/cluster/project.ts';
import { Interner } from '../../src/cluster/interner.ts';
import { type Namespace, type NodeRecord, type Pod, UNKNOWN_LABELS } from '../../src/policy/model.ts';
import { apiPod } from '../support/api-objects.ts';

function record<T>(project: Project<T>, object: unknown): { record: T; fields: string[] } {
  const projection = project(object, new Interner());
  assert.ok(projection.kind === 'record', JSON.stringify(projection.problems));
  return { record: projection.record, fields: projection.problems.map((problem) => problem.field) };
}

const metadata = { namespace: 'x', name: 'a', uid: 'u' };
const pod = (object: object): Pod => record(projectPod, { metadata, ...object }).record;
const podFields = (object: object): string[] => record(projectPod, { metadata, ...object }).fields;
/** What is wrong with labels and ports is told of pods that somebody may talk to. */
const status = { podIP: '203.0.113.1' };
/** Records have label maps without prototype; compare them as JSON. */
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

describe('project', () => {
  it('keeps of a pod what policies need', () => {
    const object = apiPod('a', { labels: { app: 'web', tier: 'front' }, ip: '2001:DB8:0::1' }) as { metadata: object };
    const { record: slim, fields } = record(projectPod, object);
    assert.deepEqual(plain(slim), {
      namespace: 'x',
      name: 'a',
      uid: 'uid-a',
      nodeName: 'node-1',
      addresses: ['2001:db8::1'],
      hostNetwork: false,
      phase: 'Running',
      terminating: false,
      createdAtMs: Date.UTC(2026, 10, 1),
      addressesSince: 0,
      labels: { app: 'web', tier: 'front' },
      namedPorts: [{ name: 'web', protocol: 'TCP', port: 80 }],
    });
    assert.deepEqual(fields, []);
  });

  it('S-57: podIPs, canonical, without repeats; podIP only if none of them can be used', () => {
    const addresses = (status: object): readonly string[] => pod({ status }).addresses;
    assert.deepEqual(addresses({ podIPs: [{ ip: '203.0.113.1' }, { ip: '2001:db8:0:0::0A' }], podIP: '203.0.113.9' }), [
      '203.0.113.1',
      '2001:db8::a',
    ]);
    assert.deepEqual(addresses({ podIPs: [{ ip: '203.0.113.1' }, { ip: '203.0.113.1' }] }), ['203.0.113.1']);
    assert.deepEqual(addresses({ podIP: '203.0.113.9' }), ['203.0.113.9']);
    assert.deepEqual(addresses({ podIPs: [], podIP: '203.0.113.9' }), ['203.0.113.9']);
    assert.deepEqual(addresses({ podIPs: null, podIP: '' }), []);
    assert.deepEqual(addresses({ podIPs: [{ ip: '0.0.0.0' }, { ip: '0::0' }], podIP: '0.0.0.0' }), []);
    assert.deepEqual(addresses({ podIPs: [{ ip: 'nonsense' }, null], podIP: '203.0.113.9' }), ['203.0.113.9']);
    assert.deepEqual(podFields({ status: { podIPs: [{ ip: '203.0.113.1/32' }, null, {}], podIP: 7 } }), [
      'status.podIPs[0].ip',
      'status.podIPs[1].ip',
      'status.podIPs[2].ip',
      'status.podIP',
    ]);
  });

  it('S-45: named ports of containers and of init containers that stay', () => {
    const spec = {
      containers: [
        { ports: [{ name: 'web', containerPort: 80 }, { containerPort: 81 }] },
        {
          ports: [
            { name: 'dns', containerPort: 53, protocol: 'UDP' },
            { name: 'web', containerPort: 80, protocol: 'TCP' },
          ],
        },
        { ports: [{ name: 'web', containerPort: 8080, protocol: null }] },
      ],
      initContainers: [
        { ports: [{ name: 'once', containerPort: 1 }] },
        { restartPolicy: 'Always', ports: [{ name: 'mesh', containerPort: 15001, protocol: 'SCTP' }] },
      ],
    };
    assert.deepEqual(pod({ spec }).namedPorts, [
      { name: 'web', protocol: 'TCP', port: 80 },
      { name: 'dns', protocol: 'UDP', port: 53 },
      { name: 'web', protocol: 'TCP', port: 8080 },
      { name: 'mesh', protocol: 'SCTP', port: 15001 },
    ]);
    const bad = [
      { name: 'a', containerPort: 0 },
      { name: 'b', containerPort: '80' },
      { name: 'c', containerPort: 80, protocol: 'tcp' },
      { name: 4, containerPort: 80 },
      'x',
    ];
    assert.deepEqual(pod({ spec: { containers: [{ ports: bad }, null, 'c', { ports: {} }] } }).namedPorts, []);
    assert.deepEqual(podFields({ spec: { containers: [{ ports: bad }] }, status }), [
      'spec.containers[0].ports[0].containerPort',
      'spec.containers[0].ports[1].containerPort',
      'spec.containers[0].ports[2].protocol',
      'spec.containers[0].ports[3].name',
      'spec.containers[0].ports[4]',
    ]);
  });

  it('fault: labels over the limit are not kept: nothing is known of them', () => {
    const many = Object.fromEntries(Array.from({ length: 200 }, (_, n) => [`key-${n}`, 'v'.repeat(60)]));
    for (const labels of [many, new LongJson(Buffer.from(JSON.stringify(many)))]) {
      const { record: slim, fields } = record(projectPod, { metadata: { ...metadata, labels }, status });
      assert.equal(slim.labels, UNKNOWN_LABELS);
      assert.deepEqual(fields, ['metadata.labels']);
      assert.deepEqual(podFields({ metadata: { ...metadata, labels } }), [], 'a pod without an address bothers nobody');
      const named = record(projectNamespace, { metadata: { name: 'x', labels } });
      assert.equal(named.record.labels, UNKNOWN_LABELS);
      assert.deepEqual(named.fields, ['metadata.labels']);
    }
    const few = Object.fromEntries(Object.entries(many).slice(0, 100));
    assert.equal(Object.keys(pod({ metadata: { ...metadata, labels: few }, status }).labels).length, 100);
  });

  it('fault: containers may be long, and their named ports are bounded', () => {
    const container = (ports: number, from = 0): object => ({
      env: [{ name: 'long', value: 'x'.repeat(20_000) }],
      ports: Array.from({ length: ports }, (_, n) => ({ name: `p${from + n}`, containerPort: 1 + n, protocol: 'TCP' })),
    });
    const read = (containers: object): { ports: number; fields: string[] } => {
      const long = new LongJson(Buffer.from(JSON.stringify(containers)));
      const given = record(projectPod, { metadata, spec: { containers: long }, status });
      const whole = record(projectPod, { metadata, spec: { containers }, status });
      assert.deepEqual(given.record, whole.record);
      return { ports: given.record.namedPorts.length, fields: given.fields };
    };
    assert.deepEqual(read([container(3), container(200, 3)]), { ports: 203, fields: [] });
    assert.deepEqual(read([container(200), container(57, 200)]), { ports: 0, fields: ['spec.containers[1].ports'] });
    const huge = new LongJson(Buffer.from(JSON.stringify([container(6000)])));
    const { record: slim, fields } = record(projectPod, { metadata, spec: { containers: huge }, status });
    assert.deepEqual([slim.namedPorts, fields], [[], ['spec.containers[0].ports']]);
    const odd = new LongJson(Buffer.from(`{"a":"${'x'.repeat(9000)}"}`));
    assert.deepEqual(podFields({ spec: { containers: odd }, status }), ['spec.containers']);
  });

  it('phase, host network, termination', () => {
    assert.equal(pod({}).phase, 'Pending');
    assert.equal(pod({ status: { phase: 'Succeeded' } }).phase, 'Succeeded');
    assert.equal(pod({ status: { phase: 'Sleeping' } }).phase, 'Unknown');
    assert.equal(pod({ spec: { hostNetwork: true } }).hostNetwork, true);
    assert.equal(pod({ spec: { hostNetwork: 'true' } }).hostNetwork, false);
    assert.equal(pod({ metadata: { ...metadata, deletionTimestamp: '2026-11-01T00:00:00Z' } }).terminating, true);
    assert.equal(pod({ metadata: { ...metadata, deletionTimestamp: null } }).terminating, false);
    assert.equal(pod({ metadata: { ...metadata, creationTimestamp: 'never' } }).createdAtMs, 0);
    assert.equal('nodeName' in pod({ spec: { nodeName: '' } }), false);
  });

  it('label keys that mean something to JavaScript are only keys', () => {
    const object = JSON.parse(
      '{"metadata":{"namespace":"x","name":"a","labels":{"__proto__":"p","constructor":"c","ok":"1","bad":1}},"status":{"podIP":"203.0.113.1"}}',
    );
    const { record: slim, fields } = record(projectPod, object);
    assert.deepEqual(Object.entries(slim.labels), [
      ['__proto__', 'p'],
      ['constructor', 'c'],
      ['ok', '1'],
    ]);
    assert.equal('toString' in slim.labels, false);
    assert.deepEqual(fields, ['metadata.labels["bad"]']);
    assert.deepEqual(podFields({ metadata: { ...metadata, labels: ['a'] }, status }), ['metadata.labels']);
  });

  it('equal labels and ports of several pods are one object, and different ones never are', () => {
    const interner = new Interner();
    const labelsOf = (labels: Record<string, string>): object => {
      const projection = projectPod(apiPod('a', { labels }), interner);
      return projection.kind === 'record' ? projection.record.labels : assert.fail();
    };
    assert.equal(labelsOf({ app: 'a', b: 'c' }), labelsOf({ app: 'a', b: 'c' }));
    assert.notEqual(labelsOf({ a: 'b","c":"d' }), labelsOf({ a: 'b', c: 'd' }));
    const first = labelsOf({ first: '1' });
    for (let i = 0; i < 10_000; i++) labelsOf({ n: `${i}` });
    assert.deepEqual(plain(labelsOf({ first: '1' })), plain(first), 'also after the table was emptied');
  });

  it('S-21: a namespace always has its name as a label', () => {
    const labels = (object: object): unknown => plain(record<Namespace>(projectNamespace, object).record.labels);
    assert.deepEqual(labels({ metadata: { name: 'x' } }), { 'kubernetes.io/metadata.name': 'x' });
    assert.deepEqual(labels({ metadata: { name: 'x', labels: { a: 'b' } } }), {
      a: 'b',
      'kubernetes.io/metadata.name': 'x',
    });
  });

  it('keeps of a node its addresses and the mode it asks for', () => {
    const addresses = [
      { type: 'InternalIP', address: '203.0.113.5' },
      { type: 'Hostname', address: 'node-1' },
      { type: 'ExternalIP', address: '2001:db8::0:5' },
      null,
    ];
    const node = {
      metadata: { name: 'node-1', annotations: { 'portcullis.dev/mode': 'audit' } },
      status: { addresses },
    };
    const expected: NodeRecord = { name: 'node-1', addresses: ['203.0.113.5', '2001:db8::5'], modeAnnotation: 'audit' };
    assert.deepEqual(record(projectNode, node).record, expected);
    const labelled = { metadata: { name: 'n', labels: { 'portcullis.dev/mode': 'off' } }, status: { addresses: [] } };
    assert.deepEqual(record(projectNode, labelled).record, { name: 'n', addresses: [], modeLabel: 'off' });
    const odd = { metadata: { name: 'n', annotations: { 'portcullis.dev/mode': 1 } }, status: { addresses: 'x' } };
    assert.deepEqual(record(projectNode, odd), { record: { name: 'n', addresses: [] }, fields: ['status.addresses'] });
  });

  it('what cannot be named is dropped with a problem', () => {
    for (const object of [
      undefined,
      null,
      7,
      [],
      {},
      { metadata: null },
      { metadata: { name: 'a' } },
      { metadata: { namespace: 'x', name: 'a/b' } },
      { metadata: { namespace: 'x y', name: 'a' } },
      { metadata: { namespace: 'x', name: ['a'] } },
    ]) {
      const projection = projectPod(object, new Interner());
      assert.equal(projection.kind, 'unusable');
      assert.ok(projection.problems.length > 0);
      assert.equal(identify(object, true), undefined);
      assert.equal(projectPolicy(object, new Interner()).kind, 'unusable');
    }
    assert.deepEqual(identify({ metadata }, true), { key: 'x/a', uid: 'u' } satisfies Identity);
    assert.equal(nameForLog({ metadata: { namespace: 'x' } }), 'x/(no usable name)');
  });

  it('never throws, whatever comes, and says which object a problem is about', () => {
    const anything = fc.anything({ withNullPrototype: true, withBigInt: true, withDate: true });
    const near = fc.record(
      {
        metadata: fc.oneof(
          anything,
          fc.record({ name: fc.constantFrom('a', '', 1), namespace: fc.constantFrom('x', null), labels: anything }),
        ),
        spec: fc.oneof(
          anything,
          fc.record({
            containers: fc.array(fc.record({ ports: anything })),
            initContainers: anything,
            nodeName: anything,
          }),
        ),
        status: fc.oneof(
          anything,
          fc.record({ podIPs: fc.array(anything), podIP: anything, phase: anything, addresses: anything }),
        ),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(fc.oneof(anything, near), (object) => {
        for (const project of [projectPod, projectNamespace, projectNode, projectPolicy, projectStoredPolicy]) {
          const projection = project(object, new Interner());
          assert.ok(projection.problems.length <= 60);
          if (projection.kind === 'record') assert.ok(!/\s/.test(projection.key));
        }
        nameForLog(object);
      }),
      { numRuns: 500 },
    );
  });
});
