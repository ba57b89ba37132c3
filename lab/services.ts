/** Services and EndpointSlices of the store -> what the network's DNAT rules need, as kube-proxy reads them. */
import type { ApiStore } from './api/api-store.ts';
import type { EndpointSliceObject, ServiceObject, ServicePort } from './api/objects.ts';
import type { LabService, LabServicePort } from './network/types.ts';

const SERVICE_LABEL = 'kubernetes.io/service-name';

/** Sorted by namespace and name; Services without a cluster address (headless, ExternalName) have no rules. */
export function servicesOf(store: ApiStore): readonly LabService[] {
  const slices = store.list('endpointslices');
  return store.list('services').flatMap((service) => {
    const clusterIPs = (service.spec.clusterIPs ?? [service.spec.clusterIP ?? 'None']).filter(
      (ip) => ip !== 'None' && ip !== '',
    );
    if (clusterIPs.length === 0) return [];
    const own = slices.filter(
      (slice) =>
        slice.metadata.namespace === service.metadata.namespace &&
        slice.metadata.labels?.[SERVICE_LABEL] === service.metadata.name,
    );
    return [
      {
        key: `${service.metadata.namespace}/${service.metadata.name}`,
        clusterIPs,
        ports: (service.spec.ports ?? []).flatMap((port) => portOf(port, own)),
        externalTrafficPolicy: policyOf(service),
      },
    ];
  });
}

function policyOf(service: ServiceObject): LabService['externalTrafficPolicy'] {
  return service.spec.externalTrafficPolicy === 'Local' ? 'Local' : 'Cluster';
}

function portOf(port: ServicePort, slices: readonly EndpointSliceObject[]): LabServicePort[] {
  const protocol = port.protocol ?? 'TCP';
  if (protocol !== 'TCP' && protocol !== 'UDP' && protocol !== 'SCTP') return [];
  const targets = slices.flatMap((slice) => {
    const found = slice.ports?.find(
      (candidate) => (candidate.name ?? '') === (port.name ?? '') && (candidate.protocol ?? 'TCP') === protocol,
    );
    if (found?.port === undefined) return [];
    const number = found.port;
    const ready = (slice.endpoints ?? []).filter((endpoint) => endpoint.conditions?.ready !== false);
    return ready.flatMap((endpoint) => endpoint.addresses.map((address) => ({ address, port: number })));
  });
  return [{ protocol, port: port.port, ...(port.nodePort ? { nodePort: port.nodePort } : {}), targets }];
}
