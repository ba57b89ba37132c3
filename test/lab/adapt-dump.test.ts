import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type Manifests, parseManifests } from '../../src/cluster/read-manifests.ts';
import { adaptDump, type AdaptedDump, type DumpPlace, dumpShape } from '../../lab/adapt-dump.ts';
import { checkManifests, noteText } from '../../lab/apply-manifests.ts';

// biome-ignore lint/suspicious/noExplicitAny: tests look into objects of any shape
type Any = any;

const FOUR: DumpPlace = { nodes: ['node-1', 'node-2'], families: [4], wiring: 'routed' };
const BOTH: DumpPlace = { ...FOUR, families: [4, 6] };

function dump(name: string): Manifests {
  const file = fileURLToPath(new URL(`dumps/${name}.yaml`, import.meta.url));
  const read = parseManifests(readFileSync(file, 'utf8'), `${name}.yaml`);
  assert.deepEqual([read.problems, read.warnings], [[], []]);
  return read;
}

function adaptText(text: string, place: DumpPlace): AdaptedDump {
  return adaptDump(parseManifests(text, 'f.yaml').objects, place);
}

const found = (adapted: AdaptedDump, kind: string): Any[] =>
  adapted.objects.map(({ object }) => object as Any).filter((object) => object.kind === kind);

const names = (adapted: AdaptedDump, kind: string): string[] =>
  found(adapted, kind).map(({ metadata }) => metadata.name as string);

const podText = (name: string, more: { spec?: object; status?: object; metadata?: object } = {}): string =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'x', uid: `uid-${name}`, ...more.metadata },
    spec: { containers: [{ name: 'c', image: 'i' }], nodeName: 'far-1', ...more.spec },
    status: { phase: 'Running', podIP: '10.9.0.1', ...more.status },
  });

const addressesIn = (adapted: AdaptedDump): (string | undefined)[] =>
  found(adapted, 'Pod').map(({ metadata }) => metadata.annotations?.['lab.portcullis.dev/addresses'] as string);

describe('dumps of clusters', () => {
  for (const [name, place] of [
    ['eks', FOUR],
    ['kind', BOTH],
    ['kind', { ...BOTH, families: [6] }],
    ['shop', FOUR],
    ['shop', { ...BOTH, wiring: 'bridge' }],
    ['workloads', FOUR],
  ] as const)
    it(`${name} with IPv${place.families.join(' and IPv')}, ${place.wiring}: the API server takes it as it is`, () => {
      const { objects } = dump(name);
      const before = JSON.stringify(objects);
      const adapted = adaptDump(objects, place);
      const { errors, skipped, policies } = checkManifests(adapted.objects, place.families);
      assert.deepEqual(errors.map(noteText), []);
      assert.deepEqual(
        skipped.map(({ message }) => message),
        name === 'workloads' ? ['CronJob prod/nightly (batch/v1): the lab has no use for this kind'] : [],
      );
      assert.equal(policies.length, objects.filter(({ object }) => (object as Any).kind === 'NetworkPolicy').length);
      for (const { object } of adapted.objects) {
        const { metadata, status, spec, kind } = object as Any;
        assert.deepEqual(
          Object.keys(metadata).filter(
            (key) => !['name', 'namespace', 'labels', 'annotations', 'ownerReferences'].includes(key),
          ),
          [],
        );
        assert.equal(metadata.annotations?.['kubectl.kubernetes.io/last-applied-configuration'], undefined);
        assert.equal(status, undefined);
        if (kind === 'Pod') assert.ok([undefined, ...place.nodes].includes(spec.nodeName), spec.nodeName);
      }
      assert.equal(JSON.stringify(objects), before, 'what was read is not changed');
    });

  it('without what a server has set: tried as they are, they are refused', () => {
    const { errors } = checkManifests(dump('eks').objects, [4]);
    assert.ok(errors.length > 20, String(errors.length));
  });

  it('say which nodes pods are on, and the families of their addresses', () => {
    assert.deepEqual(dumpShape(dump('shop').objects), {
      nodes: ['aks-pool1-vmss000000', 'aks-pool1-vmss000001'],
      families: [4],
    });
    assert.deepEqual(dumpShape(dump('kind').objects), { nodes: ['pcl-control-plane', 'pcl-worker'], families: [4, 6] });
    assert.deepEqual(dumpShape(parseManifests('apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n', 'f').objects), {
      nodes: [],
      families: [],
    });
  });

  it('eks: what changes is said, one line each', () => {
    assert.deepEqual(adaptDump(dump('eks').objects, FOUR).notes, [
      'nodes: ip-10-0-33-21.eu-west-1.compute.internal is node-1, ip-10-0-47-180.eu-west-1.compute.internal is node-2, ip-10-0-62-9.eu-west-1.compute.internal is node-1',
      'left out, as they have finished or are being deleted: storefront/catalog-84d6f7c5b-x2w9c, batch/settle-29187360-bk4wq, batch/report-29188000-nm8tl',
      'left out, as another pod of their DaemonSet is on the same node of the lab: kube-system/aws-node-tt9lv, kube-system/kube-proxy-zx6mk',
    ]);
  });
});

describe('pods of a dump', () => {
  it('win over what controls them, directly or not; a workload whose pods are not shown makes its own', () => {
    const adapted = adaptDump(dump('workloads').objects, { ...FOUR, nodes: ['a', 'b', 'c', 'd', 'e', 'f'] });
    assert.deepEqual(names(adapted, 'Deployment'), ['scaled-away', 'unseen']);
    for (const kind of ['ReplicaSet', 'StatefulSet', 'DaemonSet', 'Job'])
      assert.deepEqual(names(adapted, kind), [], kind);
    assert.equal(names(adapted, 'Pod').length, 6 + 3 + 2 + 1);
    assert.match(
      adapted.notes[1]!,
      /^left out, as their pods are given or over: DaemonSet prod\/node-agent, .* and \d+ more$/,
    );
  });

  it('win over one ReplicaSet only, not over another', () => {
    const set = (name: string): string =>
      JSON.stringify({
        apiVersion: 'apps/v1',
        kind: 'ReplicaSet',
        metadata: { name, namespace: 'x', uid: `uid-${name}` },
      });
    const owner = { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'a', uid: 'uid-a', controller: true };
    const adapted = adaptText(
      `${podText('a-1', { metadata: { ownerReferences: [owner] } })}${set('a')}${set('b')}`,
      FOUR,
    );
    assert.deepEqual(names(adapted, 'ReplicaSet'), ['b']);
  });

  it('keep their addresses, so that ipBlocks mean what they meant', () => {
    const { addresses } = adaptDump(dump('eks').objects, FOUR);
    assert.ok(addresses.includes('10.0.46.66') && addresses.includes('10.0.45.8'));
    const kind = adaptDump(dump('kind').objects, BOTH);
    assert.ok(kind.addresses.includes('fd00:10:244:1::2') && kind.addresses.includes('10.244.1.2'));
    assert.equal(
      found(kind, 'Pod').find(({ metadata }) => metadata.name === 'client').metadata.annotations[
        'lab.portcullis.dev/addresses'
      ],
      '10.244.1.2,fd00:10:244:1::2',
    );
  });

  it('lose an address that is taken or none for a pod here; it is said', () => {
    const own = (ip: string, more?: object) => ({ status: { podIP: ip, podIPs: [{ ip }], ...more } });
    const text = [
      podText('node', own('10.0.0.12')),
      podText('service', own('10.96.0.7')),
      podText('world', own('203.0.113.10')),
      podText('link', own('169.254.1.1')),
      podText('first', own('10.9.0.1')),
      podText('second', own('10.9.0.1')),
      podText('nonsense', own('nonsense')),
    ].join('\n');
    const adapted = adaptText(text, FOUR);
    assert.deepEqual(addressesIn(adapted), [
      undefined,
      undefined,
      undefined,
      undefined,
      '10.9.0.1',
      undefined,
      undefined,
    ]);
    assert.equal(
      adapted.notes.at(-1),
      'other addresses than in the dump, as theirs are in use, or those of nodes, Services or outside hosts here: x/node, x/service, x/world, x/link and 1 more',
    );
    const bridged = adaptText(podText('a'), { ...FOUR, wiring: 'bridge' });
    assert.deepEqual(addressesIn(bridged), [undefined]);
    assert.match(bridged.notes.at(-1)!, /a bridge has those of its node alone: x\/a/);
  });

  it('keep the address of each family that the lab has', () => {
    const status = { podIP: 'fd00:9::1', podIPs: [{ ip: 'FD00:9:0::1' }, { ip: '10.9.0.1' }] };
    assert.deepEqual(addressesIn(adaptText(podText('a', { status }), BOTH)), ['10.9.0.1,fd00:9::1']);
    assert.deepEqual(addressesIn(adaptText(podText('a', { status }), FOUR)), ['10.9.0.1']);
    assert.deepEqual(adaptText(podText('a', { status }), FOUR).notes.length, 1, 'only the node is another one');
  });

  it('in the host network have no address to keep, and selectors of nodes mean nothing here', () => {
    const adapted = adaptText(podText('a', { spec: { hostNetwork: true, nodeSelector: { disk: 'ssd' } } }), FOUR);
    assert.deepEqual(addressesIn(adapted), [undefined]);
    assert.equal(found(adapted, 'Pod')[0].spec.nodeSelector, undefined);
  });

  it('run on nodes of the lab; a name that both have stays', () => {
    const nodes = ['b', 'node-2', 'a'].map((nodeName, index) =>
      podText(`p${index}`, { spec: { nodeName }, status: { podIP: `10.9.0.${index}` } }),
    );
    const adapted = adaptText(nodes.join('\n'), FOUR);
    assert.deepEqual(
      found(adapted, 'Pod').map(({ spec }) => spec.nodeName as string),
      ['node-2', 'node-2', 'node-1'],
    );
    assert.equal(adapted.notes[0], 'nodes: a is node-1, b is node-2');
  });
});

describe('Services of a dump', () => {
  const service = (spec: object): string =>
    JSON.stringify({ apiVersion: 'v1', kind: 'Service', metadata: { name: 's', namespace: 'x', uid: 'u' }, spec });
  const adaptedSpec = (spec: object, place = BOTH): Any => found(adaptText(service(spec), place), 'Service')[0].spec;

  it('get addresses of the lab, headless ones none', () => {
    const spec = adaptedSpec({
      clusterIP: '172.20.0.10',
      clusterIPs: ['172.20.0.10'],
      ipFamilies: ['IPv4'],
      ports: [{ port: 80 }],
    });
    assert.deepEqual(spec, { ipFamilies: ['IPv4'], ports: [{ port: 80 }] });
    assert.deepEqual(adaptedSpec({ clusterIP: 'None', clusterIPs: ['None'] }), { clusterIP: 'None' });
  });

  it('ask for no family that the lab does not have', () => {
    const dual = { ipFamilies: ['IPv6', 'IPv4'], ipFamilyPolicy: 'RequireDualStack' };
    assert.deepEqual(adaptedSpec(dual), dual);
    assert.deepEqual(adaptedSpec(dual, FOUR), { ipFamilies: ['IPv4'], ipFamilyPolicy: 'PreferDualStack' });
    assert.deepEqual(adaptedSpec({ ipFamilies: ['IPv6'], ipFamilyPolicy: 'SingleStack' }, FOUR), {
      ipFamilyPolicy: 'SingleStack',
    });
  });

  it('have their endpoints made again, but for those of Services without a selector', () => {
    assert.deepEqual(names(adaptDump(dump('kind').objects, BOTH), 'EndpointSlice'), ['kubernetes']);
    assert.deepEqual(names(adaptDump(dump('workloads').objects, FOUR), 'Endpoints'), ['kubernetes']);
  });
});

describe('manifests that people wrote', () => {
  it('are not touched', () => {
    const text = `apiVersion: v1
kind: Pod
metadata: {name: a, finalizers: [example.com/x]}
spec: {nodeName: worker-7, nodeSelector: {disk: ssd}, containers: [{name: c, image: i}]}
status: {phase: Failed}
---
apiVersion: v1
kind: Service
metadata: {name: s}
spec: {clusterIP: 10.96.0.9, ports: [{port: 80, nodePort: 8080}]}
`;
    const { objects } = parseManifests(text, 'f.yaml');
    const adapted = adaptDump(objects, FOUR);
    assert.deepEqual(
      adapted.objects.map(({ object }) => object),
      objects.map(({ object }) => object),
    );
    assert.deepEqual([adapted.notes, adapted.addresses], [[], []]);
  });

  it('with a cluster address that the lab cannot give are refused before anything is built', () => {
    const text =
      'apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {clusterIP: 172.20.0.9, ports: [{port: 80}]}\n';
    const { errors } = checkManifests(parseManifests(text, 'f.yaml').objects);
    assert.match(
      errors.map(noteText).join(),
      /f\.yaml:4: .*spec\.clusterIPs\[0\].*not in the service range 10\.96\.0\.0\/16/,
    );
  });
});
