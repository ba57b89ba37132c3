import assert from 'node:assert/strict';
import { ApiStore } from '../../../lab/api/api-store.ts';
import type { ApiError } from '../../../lab/api/errors.ts';
import { startInstantKubelet } from '../../../lab/controllers/instant-kubelet.ts';
import {
  type ControllerOptions,
  type Controllers,
  startControllers,
} from '../../../lab/controllers/start-controllers.ts';
import { pod, until } from '../api/client.ts';

const template = (image = 'i:1') => ({
  metadata: { labels: { app: 'x' } },
  spec: { containers: [{ name: 'c', image }] },
});
const deployment = (replicas: number) => ({
  metadata: { name: 'd' },
  spec: { replicas, selector: { matchLabels: { app: 'x' } }, template: template() },
});
const service = (name: string, spec: object = {}) => ({
  metadata: { name },
  spec: { selector: { app: 'x' }, ports: [{ port: 80 }], ...spec },
});

describe('controllers', () => {
  let store: ApiStore;
  let controllers: Controllers | undefined;
  let stopKubelet: (() => void) | undefined;
  const failures: unknown[] = [];

  function start(options: ControllerOptions = {}, kubelet = true): void {
    store = new ApiStore();
    failures.length = 0;
    store.create('namespaces', { metadata: { name: 'default' } });
    for (const name of ['n1', 'n2']) store.create('nodes', { metadata: { name } });
    controllers = startControllers(store, { onError: (error) => failures.push(error), ...options });
    let address = 0;
    if (kubelet) {
      stopKubelet = startInstantKubelet(store, () => {
        address += 1;
        return [`203.0.113.${address}`, `2001:db8::${address}`];
      });
    }
  }
  afterEach(() => {
    controllers?.stop();
    stopKubelet?.();
    stopKubelet = undefined;
    assert.deepEqual(failures, []);
  });

  const pods = () => store.list('pods');
  const ready = (count: number) => () =>
    pods().length === count &&
    pods().every((object) => object.status?.phase === 'Running') &&
    store.list('deployments')[0]?.status?.readyReplicas === count;
  const ref = (name: string) => ({ namespace: 'default', name });

  it('run a deployment up, down and to a new image, and clean up after it', async () => {
    start();
    store.create('deployments', deployment(3));
    await until(ready(3), '3 pods');
    assert.deepEqual(new Set(pods().map((object) => object.spec.nodeName)), new Set(['n1', 'n2']));
    for (const object of pods()) assert.match(object.metadata.name, /^d-[a-z0-9]{10}-[a-z0-9]{5}$/);
    const replicas = (count: number) =>
      store.modify('deployments', ref('d'), (draft) => {
        draft.spec.replicas = count;
      });
    replicas(5);
    await until(ready(5), '5 pods');
    replicas(1);
    await until(ready(1), '1 pod');
    store.modify('deployments', ref('d'), (draft) => {
      draft.spec.template = template('i:2');
    });
    await until(() => pods().length === 1 && pods()[0]?.spec.containers[0]?.image === 'i:2', 'the new image');
    assert.equal(store.list('replicasets').length, 2);
    assert.equal(store.get('deployments', ref('d'))?.metadata.annotations?.['deployment.kubernetes.io/revision'], '2');
    store.delete('deployments', ref('d'));
    await until(() => pods().length === 0 && store.list('replicasets').length === 0, 'nothing left');
  });

  it('leave dependents alone when they are orphaned', async () => {
    start();
    store.create('deployments', deployment(1));
    await until(ready(1), '1 pod');
    store.delete('deployments', ref('d'), { propagationPolicy: 'Orphan' });
    await new Promise((resolve) => setTimeout(resolve, 10));
    assert.deepEqual([store.list('replicasets').length, pods().length], [1, 1]);
    assert.equal(store.list('replicasets')[0]?.metadata.ownerReferences, undefined);
  });

  it('replace a pod that was deleted', async () => {
    start();
    store.create('deployments', deployment(1));
    await until(ready(1), '1 pod');
    const [first] = pods();
    store.delete('pods', ref(first?.metadata.name ?? ''), { gracePeriodSeconds: 0 });
    await until(() => ready(1)() && pods()[0]?.metadata.name !== first?.metadata.name, 'another pod');
  });

  it('run a daemon set on every node, also a later one', async () => {
    start();
    store.create('daemonsets', {
      metadata: { name: 'ds' },
      spec: { selector: { matchLabels: { app: 'x' } }, template: template() },
    });
    await until(() => pods().length === 2, '2 pods');
    store.create('nodes', { metadata: { name: 'n3' } });
    await until(() => store.list('daemonsets')[0]?.status?.numberReady === 3, '3 pods');
    store.delete('nodes', { name: 'n1' });
    await until(() => pods().length === 2, 'the pod of the lost node is gone');
  });

  it('run a stateful set in order', async () => {
    start();
    const order: string[] = [];
    store.watch('pods', ({ type, object }) => {
      if (type === 'ADDED') order.push(object.metadata.name);
    });
    store.create('statefulsets', {
      metadata: { name: 's' },
      spec: { replicas: 3, selector: { matchLabels: { app: 'x' } }, template: template() },
    });
    await until(() => store.list('statefulsets')[0]?.status?.readyReplicas === 3, '3 pods');
    assert.deepEqual(order, ['s-0', 's-1', 's-2']);
  });

  it('keep a pod waiting until a node fits, and leave a given node alone', async () => {
    start({}, false);
    store.create('pods', pod('picky', { spec: { nodeSelector: { 'kubernetes.io/hostname': 'n3' } } }));
    store.create('pods', pod('placed', { spec: { nodeName: 'elsewhere' } }));
    const waiting = () => store.get('pods', ref('picky'));
    await until(() => waiting()?.status?.conditions?.[0]?.reason === 'Unschedulable', 'the pod is marked');
    store.create('nodes', { metadata: { name: 'n3' } });
    await until(() => waiting()?.spec.nodeName === 'n3', 'the pod is placed');
    assert.equal(store.get('pods', ref('placed'))?.spec.nodeName, 'elsewhere');
  });

  it('remove terminating pods when their time is up, or leave that to the kubelet', async () => {
    const remove = (): void => {
      store.create('pods', pod('p', { spec: { nodeName: 'n1' } }));
      store.delete('pods', ref('p'));
      assert.equal(store.get('pods', ref('p'))?.metadata.deletionGracePeriodSeconds, 30);
    };
    start({ maxGraceMs: 20 }, false);
    remove();
    await until(() => pods().length === 0, 'the pod is gone');
    controllers?.stop();
    start({ maxGraceMs: 5, podRemoval: 'by-kubelet' }, false);
    remove();
    await new Promise((resolve) => setTimeout(resolve, 30));
    assert.equal(pods().length, 1);
  });

  it('keep endpoint slices and endpoints as the pods are', async () => {
    start({ serviceCidrs: ['10.96.0.0/16', 'fd00:96::/112'] });
    store.create(
      'services',
      service('s', { ipFamilyPolicy: 'PreferDualStack', ports: [{ port: 80, targetPort: 8080 }] }),
    );
    store.create('deployments', deployment(2));
    const addresses = (type: string) =>
      store.list('endpointslices').flatMap((slice) => (slice.addressType === type ? (slice.endpoints ?? []) : []));
    await until(
      () => addresses('IPv4').filter((endpoint) => endpoint.conditions.ready).length === 2,
      'two ready endpoints',
    );
    assert.equal(addresses('IPv6').length, 2);
    const [slice] = store.list('endpointslices');
    assert.deepEqual(
      slice?.ports?.map(({ port, protocol }) => [port, protocol]),
      [[8080, 'TCP']],
    );
    assert.equal(store.get('endpoints', ref('s'))?.subsets?.[0]?.addresses?.length, 2);
    store.delete('deployments', ref('d'));
    await until(() => addresses('IPv4').length === 0, 'no endpoints');
    store.delete('services', ref('s'));
    await until(
      () => store.list('endpointslices').length === 0 && store.list('endpoints').length === 0,
      'nothing left',
    );
  });

  it('empty a namespace without making its pods anew', async () => {
    start();
    store.create('namespaces', { metadata: { name: 'shop' } });
    store.create('deployments', deployment(2), { namespace: 'shop' });
    store.create('services', service('s'), { namespace: 'shop' });
    await until(ready(2), '2 pods');
    store.delete('namespaces', { name: 'shop' });
    await until(() => store.get('namespaces', { name: 'shop' }) === undefined, 'the namespace is gone');
    await new Promise((resolve) => setTimeout(resolve, 10));
    assert.deepEqual([pods().length, store.list('replicasets').length, store.list('endpointslices').length], [0, 0, 0]);
  });

  describe('for services', () => {
    const refusal = (make: () => unknown): string => {
      try {
        make();
      } catch (error) {
        const [cause] = (error as ApiError).status.details?.causes ?? [];
        return `${cause?.field}: ${cause?.message}`;
      }
      return 'accepted';
    };

    beforeEach(() => start({ serviceCidrs: ['10.96.0.0/28', 'fd00:96::/120'], nodePorts: [30000, 30001] }, false));

    it('give addresses of the families asked for, in the answer already', () => {
      const spec = (name: string, fields: object) => store.create('services', service(name, fields)).spec;
      const single = spec('a', {});
      assert.deepEqual(
        [single.clusterIP, single.clusterIPs, single.ipFamilies, single.ipFamilyPolicy],
        ['10.96.0.10', ['10.96.0.10'], ['IPv4'], 'SingleStack'],
      );
      assert.deepEqual(spec('b', { ipFamilyPolicy: 'RequireDualStack' }).clusterIPs, ['10.96.0.11', 'fd00:96::a']);
      const six = spec('c', { ipFamilies: ['IPv6'] });
      assert.deepEqual([six.clusterIP, six.ipFamilies], ['fd00:96::b', ['IPv6']]);
      assert.deepEqual(spec('d', { ipFamilies: ['IPv6', 'IPv4'] }).clusterIPs, ['fd00:96::c', '10.96.0.12']);
      assert.deepEqual(spec('e', { clusterIP: 'None' }).clusterIPs, ['None']);
      assert.equal(spec('f', { clusterIP: '10.96.0.3' }).clusterIP, '10.96.0.3');
      assert.equal(spec('g', { type: 'ExternalName', externalName: 'example.com' }).clusterIP, undefined);
    });

    it('refuse what is taken, outside of the range, or more than there is', () => {
      store.create('services', service('a', { clusterIP: '10.96.0.3' }));
      const make = (spec: object) => refusal(() => store.create('services', service('b', spec)));
      assert.match(make({ clusterIP: '10.96.0.3' }), /^spec.clusterIPs\[0\]: .*already allocated/);
      assert.match(make({ clusterIP: '10.97.0.3' }), /not in the service range 10.96.0.0\/28/);
      assert.match(make({ clusterIP: 'x' }), /must be a valid IP address/);
      for (let index = 0; index < 5; index += 1) store.create('services', service(`s${index}`));
      assert.match(make({}), /no address is left/);
      store.delete('services', ref('s0'));
      assert.equal(make({}), 'accepted');
    });

    it('keep the address over updates and refuse to change it', () => {
      const created = store.create('services', service('a'));
      assert.equal(
        store.update('services', service('a', { ports: [{ port: 81 }] })).spec.clusterIP,
        created.spec.clusterIP,
      );
      assert.match(
        refusal(() => store.update('services', service('a', { clusterIP: '10.96.0.5' }))),
        /spec.clusterIP: .*immutable/,
      );
    });

    it('give, keep and take back node ports', () => {
      const created = store.create('services', service('a', { type: 'NodePort' }));
      assert.equal(created.spec.ports?.[0]?.nodePort, 30000);
      assert.equal(store.update('services', service('a', { type: 'NodePort' })).spec.ports?.[0]?.nodePort, 30000);
      const make = (nodePort: number, protocol = 'TCP') =>
        refusal(() =>
          store.create('services', service('b', { type: 'NodePort', ports: [{ port: 80, nodePort, protocol }] }), {
            dryRun: true,
          }),
        );
      assert.match(make(30000), /spec.ports\[0\].nodePort: .*already allocated/);
      assert.match(make(29999), /not in the valid range/);
      assert.equal(make(30000, 'UDP'), 'accepted');
      assert.equal(store.update('services', service('a')).spec.ports?.[0]?.nodePort, undefined);
      assert.equal(make(30000), 'accepted');
    });

    it('waste nothing on dry runs', async () => {
      for (let index = 0; index < 5; index += 1) store.create('services', service('a'), { dryRun: true });
      await new Promise((resolve) => setImmediate(resolve));
      for (let index = 0; index < 5; index += 1) store.create('services', service(`s${index}`));
      assert.equal(store.list('services').length, 5);
    });
  });
});
