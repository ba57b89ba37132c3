import assert from 'node:assert/strict';
import { ApiStore } from '../../lab/api/api-store.ts';
import { ADDRESSES_ANNOTATION, Kubelet, LINGER_ANNOTATION } from '../../lab/kubelet.ts';
import type { LabNetworkDoor, LabPod, PodSpec } from '../../lab/network/types.ts';
import { podKey } from '../../lab/network/types.ts';
import { namespaceObject } from '../support/api-objects.ts';

/** Holds pods as the real network does, and refuses what it refuses. */
class FakeNetwork {
  readonly running = new Map<string, { spec: PodSpec; pod: LabPod }>();
  readonly calls: string[] = [];
  #last = 1;

  nodes() {
    return ['node-1', 'node-2'].map((name, index) => ({ name, addresses: [`10.0.0.${11 + index}`] }));
  }

  async addPods(specs: readonly PodSpec[]): Promise<readonly LabPod[]> {
    this.calls.push(`add ${specs.map(({ name }) => name).join(' ')}`);
    for (const { name, addresses } of specs) {
      const holder = [...this.running.values()].find(({ pod }) =>
        pod.addresses.some((one) => addresses?.includes(one)),
      );
      if (holder) throw new Error(`pod/x/${name}: addresses: ${addresses![0]} is held by ${holder.pod.key}`);
    }
    return specs.map((spec) => this.#add(spec));
  }

  #add(spec: PodSpec): LabPod {
    const { namespace, name, node, hostNetwork = false } = spec;
    const own = hostNetwork ? ['10.0.0.11'] : (spec.addresses ?? [`10.244.0.${++this.#last}`]);
    const pod = { key: podKey(spec), namespace, name, node, hostNetwork, addresses: own, netns: name };
    this.running.set(`${namespace}/${name}`, { spec, pod });
    return pod;
  }

  async setPodAddresses({ namespace, name }: { namespace: string; name: string }, addresses: readonly string[]) {
    this.calls.push(`move ${name} ${addresses.join(' ')}`.trim());
    const found = this.running.get(`${namespace}/${name}`)!;
    const pod = { ...found.pod, addresses };
    this.running.set(`${namespace}/${name}`, { ...found, pod });
    return pod;
  }

  async removePod({ namespace, name }: { namespace: string; name: string }) {
    this.calls.push(`remove ${name}`);
    assert.ok(this.running.delete(`${namespace}/${name}`), `${name} is not there`);
  }
}

interface PodFields {
  readonly node?: string | undefined;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly spec?: object;
}

describe('Kubelet', () => {
  let store: ApiStore;
  let network: FakeNetwork;
  let kubelet: Kubelet;
  let problems: string[];
  let stop: () => void;

  beforeEach(() => {
    store = new ApiStore();
    network = new FakeNetwork();
    problems = [];
    store.create('namespaces', namespaceObject('x'));
    const door = network as unknown as LabNetworkDoor;
    kubelet = new Kubelet({
      store,
      network: door,
      nodePortsInUse: [6443],
      onProblem: (message) => problems.push(message),
    });
    stop = kubelet.start();
  });
  afterEach(() => stop());

  function create(name: string, { node = 'node-1', annotations = {}, spec = {} }: PodFields = {}): void {
    store.create('pods', {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { namespace: 'x', name, annotations },
      spec: { ...(node === '' ? {} : { nodeName: node }), containers: [{ name: 'c', image: 'i' }], ...spec },
    });
  }

  const get = (name: string) => store.get('pods', { namespace: 'x', name });
  const addressesOf = (name: string) => get(name)?.status?.podIPs?.map(({ ip }) => ip);

  it('lets a host-network pod listen on no port that the lab has on the node', async () => {
    const ports = [{ containerPort: 6443 }, { containerPort: 2379 }];
    const spec = { containers: [{ name: 'c', image: 'i', ports }] };
    create('host', { spec: { ...spec, hostNetwork: true } });
    create('own', { spec });
    await kubelet.idle();
    const portsOf = (name: string) => network.running.get(`x/${name}`)!.spec.listeners!.map(({ port }) => port);
    assert.deepEqual([portsOf('host'), portsOf('own')], [[2379], [6443, 2379]]);
  });

  it('starts pods that ask for an address before those that take the next one', async () => {
    create('a');
    create('b', { annotations: { [ADDRESSES_ANNOTATION]: '10.244.0.2' } });
    create('c', { annotations: { [ADDRESSES_ANNOTATION]: '' } });
    await kubelet.idle();
    assert.equal(network.calls[0], 'add b a c');
  });

  it('starts pods that have a node, many at once, and says where they are', async () => {
    create('a');
    create('b', { node: 'node-2' });
    create('unplaced', { node: '' });
    await kubelet.idle();
    assert.deepEqual(network.calls, ['add a b']);
    const { phase, podIP, hostIP, conditions } = get('b')!.status!;
    assert.deepEqual([phase, podIP, hostIP], ['Running', '10.244.0.3', '10.0.0.12']);
    assert.ok(conditions!.some(({ type, status }) => type === 'Ready' && status === 'True'));
    assert.equal(get('unplaced')!.status?.phase, 'Pending');
  });

  it('answers on every declared port, sidecars included and finished init containers not', async () => {
    const ports = (...numbers: readonly number[]) => numbers.map((containerPort) => ({ containerPort }));
    create('a', {
      spec: {
        containers: [
          { name: 'c', image: 'i', ports: [...ports(80), { containerPort: 53, protocol: 'UDP' }] },
          { name: 'd', image: 'i', ports: ports(81) },
        ],
        initContainers: [
          { name: 'once', image: 'i', ports: ports(90) },
          { name: 'sidecar', image: 'i', restartPolicy: 'Always', ports: ports(91) },
        ],
      },
    });
    create('silent');
    await kubelet.idle();
    assert.deepEqual(network.running.get('x/a')!.spec.listeners, [
      { protocol: 'TCP', port: 80 },
      { protocol: 'UDP', port: 53 },
      { protocol: 'TCP', port: 81 },
      { protocol: 'TCP', port: 91 },
    ]);
    assert.equal('listeners' in network.running.get('x/silent')!.spec, false);
  });

  it('gives host-network pods the addresses of their node', async () => {
    create('a', { spec: { hostNetwork: true } });
    await kubelet.idle();
    assert.equal(network.running.get('x/a')!.spec.hostNetwork, true);
    assert.deepEqual(addressesOf('a'), ['10.0.0.11']);
  });

  it('takes a deleted pod away first and its object after', async () => {
    create('a');
    await kubelet.idle();
    store.delete('pods', { namespace: 'x', name: 'a' }, { gracePeriodSeconds: 30 });
    await kubelet.idle();
    assert.deepEqual(network.calls, ['add a', 'remove a']);
    assert.equal(get('a'), undefined);
  });

  it('replaces a pod that comes back under its name', async () => {
    create('a');
    await kubelet.idle();
    store.delete('pods', { namespace: 'x', name: 'a' }, { gracePeriodSeconds: 0 });
    create('a', { node: 'node-2' });
    await kubelet.idle();
    assert.deepEqual(network.calls, ['add a', 'remove a', 'add a']);
    assert.equal(network.running.get('x/a')!.spec.node, 'node-2');
  });

  it('stops a finished pod and keeps its object', async () => {
    create('a');
    await kubelet.idle();
    store.setStatus('pods', { namespace: 'x', name: 'a' }, { phase: 'Succeeded' });
    await kubelet.idle();
    assert.deepEqual(network.calls.slice(1), ['remove a']);
    assert.equal(get('a')!.status!.phase, 'Succeeded');
  });

  it('lets a lingering pod run on while it is being deleted', async () => {
    create('a', { annotations: { [LINGER_ANNOTATION]: 'true' } });
    await kubelet.idle();
    store.delete('pods', { namespace: 'x', name: 'a' }, { gracePeriodSeconds: 30 });
    await kubelet.idle();
    assert.deepEqual(network.calls, ['add a']);
    assert.notEqual(get('a')!.metadata.deletionTimestamp, undefined);
  });

  it('gives and moves addresses as the annotation says', async () => {
    create('a', { annotations: { [ADDRESSES_ANNOTATION]: '10.244.0.77' } });
    create('bare', { annotations: { [ADDRESSES_ANNOTATION]: '' } });
    await kubelet.idle();
    assert.deepEqual([addressesOf('a'), addressesOf('bare')], [['10.244.0.77'], undefined]);
    store.patch('pods', { namespace: 'x', name: 'a' }, 'merge', {
      metadata: { annotations: { [ADDRESSES_ANNOTATION]: '10.244.0.78' } },
    });
    await kubelet.idle();
    assert.equal(network.calls.at(-1), 'move a 10.244.0.78');
    assert.deepEqual(addressesOf('a'), ['10.244.0.78']);
  });

  it('starts the others when one cannot start, says why, and tries again only when asked for something else', async () => {
    create('holder', { annotations: { [ADDRESSES_ANNOTATION]: '10.244.0.9' } });
    await kubelet.idle();
    create('bad', { annotations: { [ADDRESSES_ANNOTATION]: '10.244.0.9' } });
    create('good');
    await kubelet.idle();
    assert.deepEqual([...network.running.keys()], ['x/holder', 'x/good']);
    assert.match(kubelet.failures.get('x/bad')!, /10\.244\.0\.9 is held by pod\/x\/holder/);
    assert.equal(problems.length, 1);
    store.patch('pods', { namespace: 'x', name: 'bad' }, 'merge', { metadata: { labels: { a: 'b' } } });
    await kubelet.idle();
    assert.equal(problems.length, 1, 'not tried again');
    store.patch('pods', { namespace: 'x', name: 'bad' }, 'merge', {
      metadata: { annotations: { [ADDRESSES_ANNOTATION]: '10.244.0.10' } },
    });
    await kubelet.idle();
    assert.deepEqual([addressesOf('bad'), kubelet.failures.size], [['10.244.0.10'], 0]);
  });

  it('forgets a failure with its pod', async () => {
    create('holder', { annotations: { [ADDRESSES_ANNOTATION]: '10.244.0.9' } });
    await kubelet.idle();
    create('bad', { annotations: { [ADDRESSES_ANNOTATION]: '10.244.0.9' } });
    await kubelet.idle();
    assert.equal(kubelet.failures.size, 1);
    store.delete('pods', { namespace: 'x', name: 'bad' }, { gracePeriodSeconds: 0 });
    await kubelet.idle();
    assert.equal(kubelet.failures.size, 0);
  });

  it('leaves pods for unknown nodes alone, but for their deletion', async () => {
    create('lost', { node: 'node-9' });
    await kubelet.idle();
    assert.deepEqual([network.calls, kubelet.failures.size], [[], 0]);
    store.delete('pods', { namespace: 'x', name: 'lost' });
    await kubelet.idle();
    assert.equal(get('lost'), undefined);
  });

  it('does nothing any more once stopped', async () => {
    stop();
    create('a');
    await kubelet.idle();
    assert.deepEqual(network.calls, []);
  });
});
