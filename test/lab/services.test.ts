import assert from 'node:assert/strict';
import { ApiStore } from '../../lab/api/api-store.ts';
import { servicesOf } from '../../lab/services.ts';

interface SliceFields {
  readonly name: string;
  readonly ports: readonly object[];
  readonly endpoints: readonly object[];
  readonly service?: string;
}

function storeWith(spec: object, slices: readonly SliceFields[]): ApiStore {
  const store = new ApiStore();
  store.create('namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'x' } });
  store.create('services', { apiVersion: 'v1', kind: 'Service', metadata: { namespace: 'x', name: 'web' }, spec });
  for (const { name, ports, endpoints, service = 'web' } of slices) {
    store.create('endpointslices', {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { namespace: 'x', name, labels: { 'kubernetes.io/service-name': service } },
      addressType: 'IPv4',
      ports,
      endpoints,
    });
  }
  return store;
}

const HTTP = { name: 'http', port: 80, protocol: 'TCP' };
const IPS = { clusterIP: '10.96.0.9', clusterIPs: ['10.96.0.9', 'fd00:10:96::9'] };

describe('servicesOf', () => {
  it('joins each port with the ready endpoints that its slices name', () => {
    const store = storeWith({ ...IPS, ports: [{ ...HTTP, nodePort: 30080 }] }, [
      {
        name: 'four',
        ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
        endpoints: [
          { addresses: ['10.244.0.2'] },
          { addresses: ['10.244.0.3'], conditions: { ready: false } },
          { addresses: ['10.244.0.4'], conditions: { ready: true } },
        ],
      },
      {
        name: 'six',
        ports: [{ name: 'http', port: 8443, protocol: 'TCP' }],
        endpoints: [{ addresses: ['fd00:10:244::2'] }],
      },
      { name: 'other', service: 'api', ports: [HTTP], endpoints: [{ addresses: ['10.244.0.9'] }] },
    ]);
    assert.deepEqual(servicesOf(store), [
      {
        key: 'x/web',
        clusterIPs: IPS.clusterIPs,
        externalTrafficPolicy: 'Cluster',
        ports: [
          {
            protocol: 'TCP',
            port: 80,
            nodePort: 30080,
            targets: [
              { address: '10.244.0.2', port: 8080 },
              { address: '10.244.0.4', port: 8080 },
              { address: 'fd00:10:244::2', port: 8443 },
            ],
          },
        ],
      },
    ]);
  });

  it('tells ports of one name and two protocols apart, and unnamed ones match unnamed ones', () => {
    const ports = [
      { name: 'dns', port: 53, protocol: 'UDP' },
      { name: 'dns-tcp', port: 53, protocol: 'TCP' },
    ];
    const slices = [
      { name: 's', ports: [{ name: 'dns', port: 5353, protocol: 'UDP' }], endpoints: [{ addresses: ['10.244.0.2'] }] },
    ];
    const [dns] = servicesOf(storeWith({ ...IPS, ports }, slices));
    assert.deepEqual(
      dns!.ports.map(({ targets }) => targets.length),
      [1, 0],
    );
    const unnamed = [{ name: 's', ports: [{ port: 8080 }], endpoints: [{ addresses: ['10.244.0.2'] }] }];
    const [web] = servicesOf(storeWith({ ...IPS, ports: [{ port: 80 }] }, unnamed));
    assert.deepEqual(web!.ports[0]!.targets, [{ address: '10.244.0.2', port: 8080 }]);
  });

  it('has no rules for headless Services and those that are only names', () => {
    assert.deepEqual(servicesOf(storeWith({ clusterIP: 'None', clusterIPs: ['None'], ports: [HTTP] }, [])), []);
    assert.deepEqual(servicesOf(storeWith({ type: 'ExternalName', externalName: 'example.com' }, [])), []);
  });

  it('keeps the traffic policy, and a Service without endpoints keeps its ports', () => {
    const spec = { ...IPS, type: 'NodePort', externalTrafficPolicy: 'Local', ports: [HTTP] };
    const [service] = servicesOf(storeWith(spec, []));
    assert.equal(service!.externalTrafficPolicy, 'Local');
    assert.deepEqual(service!.ports[0]!.targets, []);
  });
});
