/** ClusterIPs and node ports of Services: chosen or checked before a Service is stored, as the API server does. */
import { isIP } from 'node:net';
import { collapseIPv6Number, IPv4, IPv4CidrRange, IPv6, IPv6CidrRange } from 'ip-num';
import { familyOf } from '../../src/net/ip.ts';
import { addressValue } from '../api/cidr-rules.ts';
import type { ApiStore } from '../api/api-store.ts';
import { cause, invalid } from '../api/errors.ts';
import type { ServiceObject, ServicePort, ServiceSpec } from '../api/objects.ts';
import { resourceInfo } from '../api/resources.ts';

export interface ServiceAddressOptions {
  /** One CIDR per family; the first is the cluster's main family. */
  readonly serviceCidrs: readonly string[];
  /** First and last node port. */
  readonly nodePorts: readonly [number, number];
}

/** First and last, as API servers have them. */
export const NODE_PORTS = [30000, 32767] as const;

type Family = 'IPv4' | 'IPv6';

interface AddressRange {
  readonly family: Family;
  readonly cidr: string;
  readonly network: bigint;
  /** Number of addresses, all-zeros and all-ones included. */
  readonly size: bigint;
  next: bigint;
}

/** The first address is the API server's own, and the next few are left for services with fixed addresses. */
const FIRST_DYNAMIC_ADDRESS = 10n;

/** Registers the allocation with the store. Returns a function that ends the bookkeeping. */
export function allocateServiceAddresses(store: ApiStore, options: ServiceAddressOptions): () => void {
  const allocator = new Allocator(options);
  store.admit('services', (service, before) => allocator.admit(service, before));
  return store.watch('services', ({ type, object, previous }) => {
    if (previous) allocator.release(previous);
    if (type !== 'DELETED') allocator.take(object);
  });
}

class Allocator {
  readonly #ranges: readonly AddressRange[];
  readonly #nodePorts: readonly [number, number];
  /** What is in use, and by which service (its uid, or its key before it has one). */
  readonly #addresses = new Map<string, string>();
  readonly #ports = new Map<string, string>();
  #nextPort: number;

  constructor(options: ServiceAddressOptions) {
    this.#ranges = options.serviceCidrs.map(addressRange);
    this.#nodePorts = options.nodePorts;
    this.#nextPort = options.nodePorts[0];
  }

  take(service: ServiceObject): void {
    const owner = ownerOf(service);
    for (const address of addressesOf(service)) this.#addresses.set(address, owner);
    for (const port of service.spec.ports ?? [])
      if (port.nodePort) this.#ports.set(portKey(port, port.nodePort), owner);
  }

  release(service: ServiceObject): void {
    for (const address of addressesOf(service)) this.#addresses.delete(address);
    for (const port of service.spec.ports ?? []) if (port.nodePort) this.#ports.delete(portKey(port, port.nodePort));
  }

  admit(service: ServiceObject, before: ServiceObject | undefined): ServiceObject {
    const owner = ownerOf(service);
    if (service.spec.type === 'ExternalName') {
      const {
        clusterIP: _ip,
        clusterIPs: _ips,
        ipFamilies: _families,
        ipFamilyPolicy: _policy,
        ...spec
      } = service.spec;
      return { ...service, spec };
    }
    const spec = this.#withAddresses(service, service.spec, owner);
    return { ...service, spec: { ...spec, ...this.#withNodePorts(service, before, owner) } };
  }

  #withAddresses(service: ServiceObject, spec: ServiceSpec, owner: string): ServiceSpec {
    const families = this.#families(service, spec);
    const ipFamilyPolicy = spec.ipFamilyPolicy ?? (families.length > 1 ? 'RequireDualStack' : 'SingleStack');
    if (spec.clusterIP === 'None') return { ...spec, clusterIPs: ['None'], ipFamilies: families, ipFamilyPolicy };
    const given = spec.clusterIP ? [spec.clusterIP, ...(spec.clusterIPs ?? []).slice(1)] : (spec.clusterIPs ?? []);
    for (const [index, address] of given.entries()) this.#checkAddress(service, address, index, owner);
    const clusterIPs = families.map((family, index) => given[index] ?? this.#freeAddress(service, family));
    const [clusterIP = ''] = clusterIPs;
    return { ...spec, clusterIP, clusterIPs, ipFamilies: families, ipFamilyPolicy };
  }

  #families(service: ServiceObject, spec: ServiceSpec): readonly Family[] {
    const offered = this.#ranges.map((range) => range.family);
    const requested = (spec.ipFamilies ?? []) as readonly Family[];
    for (const [index, family] of requested.entries()) {
      if (!offered.includes(family))
        throw refused(service, `spec.ipFamilies[${index}]`, family, `the cluster has no ${family} service range`);
    }
    const byAddress = isIP(spec.clusterIP ?? '');
    const implied: Family | undefined = byAddress === 6 ? 'IPv6' : byAddress === 4 ? 'IPv4' : undefined;
    const first = requested[0] ?? implied ?? offered[0] ?? 'IPv4';
    const dual =
      spec.ipFamilyPolicy === 'PreferDualStack' || spec.ipFamilyPolicy === 'RequireDualStack' || requested.length > 1;
    const second = dual ? offered.find((family) => family !== first) : undefined;
    if (spec.ipFamilyPolicy === 'RequireDualStack' && !second) {
      throw refused(service, 'spec.ipFamilyPolicy', spec.ipFamilyPolicy, 'the cluster is not dual-stack');
    }
    return second ? [first, second] : [first];
  }

  #checkAddress(service: ServiceObject, address: string, index: number, owner: string): void {
    const field = `spec.clusterIPs[${index}]`;
    const family = isIP(address);
    const value = family === 0 ? undefined : addressValue(address);
    const range = this.#ranges.find((candidate) => candidate.family === `IPv${family}`);
    if (value === undefined) throw refused(service, field, address, 'must be a valid IP address');
    if (!range || value < range.network || value >= range.network + range.size) {
      throw refused(service, field, address, `the provided IP is not in the service range ${range?.cidr ?? ''}`);
    }
    if ((this.#addresses.get(address) ?? owner) !== owner) {
      throw refused(service, field, address, 'provided IP is already allocated');
    }
  }

  #freeAddress(service: ServiceObject, family: Family): string {
    const range = this.#ranges.find((candidate) => candidate.family === family);
    const usable = (range?.size ?? 0n) - FIRST_DYNAMIC_ADDRESS - 1n;
    for (let tries = 0n; range && tries < usable; tries += 1n) {
      const address = addressText(range.network + FIRST_DYNAMIC_ADDRESS + (range.next % usable), family);
      range.next += 1n;
      if (!this.#addresses.has(address)) return this.#reserve(this.#addresses, address, ownerOf(service));
    }
    throw refused(service, 'spec.clusterIPs', [], `no address is left in the ${family} service range`);
  }

  #withNodePorts(
    service: ServiceObject,
    before: ServiceObject | undefined,
    owner: string,
  ): { ports?: readonly ServicePort[] } {
    const { ports, type } = service.spec;
    if (!ports) return {};
    if (type !== 'NodePort' && type !== 'LoadBalancer') {
      return { ports: ports.map(({ nodePort: _nodePort, ...port }) => port) };
    }
    const kept = (port: ServicePort): number | undefined =>
      before?.spec.ports?.find((old) => old.port === port.port && old.protocol === port.protocol)?.nodePort;
    return {
      ports: ports.map((port, index) => {
        const wanted = port.nodePort || kept(port);
        if (wanted) this.#checkNodePort(service, port, wanted, index, owner);
        return { ...port, nodePort: wanted || this.#freePort(service, port) };
      }),
    };
  }

  #checkNodePort(service: ServiceObject, port: ServicePort, nodePort: number, index: number, owner: string): void {
    const field = `spec.ports[${index}].nodePort`;
    const [first, last] = this.#nodePorts;
    if (nodePort < first || nodePort > last) {
      throw refused(
        service,
        field,
        nodePort,
        `provided port is not in the valid range. The range of valid ports is ${first}-${last}`,
      );
    }
    if ((this.#ports.get(portKey(port, nodePort)) ?? owner) !== owner) {
      throw refused(service, field, nodePort, 'provided port is already allocated');
    }
  }

  #freePort(service: ServiceObject, port: ServicePort): number {
    const [first, last] = this.#nodePorts;
    for (let tries = first; tries <= last; tries += 1) {
      const candidate = this.#nextPort;
      this.#nextPort = candidate >= last ? first : candidate + 1;
      if (this.#ports.has(portKey(port, candidate))) continue;
      this.#reserve(this.#ports, portKey(port, candidate), ownerOf(service));
      return candidate;
    }
    throw refused(service, 'spec.ports', [], 'no node port is left');
  }

  /** Holds a choice until the service is stored; if it never is (dry run, invalid), the choice is free again a moment later. */
  #reserve(used: Map<string, string>, key: string, owner: string): string {
    const claim = `${owner} (pending)`;
    used.set(key, claim);
    setImmediate(() => {
      if (used.get(key) === claim) used.delete(key);
    });
    return key;
  }
}

const ownerOf = ({ metadata }: ServiceObject): string => `${metadata.namespace}/${metadata.name}`;

const addressesOf = (service: ServiceObject): readonly string[] =>
  (service.spec.clusterIPs ?? []).filter((address) => address !== 'None');

const portKey = (port: ServicePort, nodePort: number): string => `${port.protocol ?? 'TCP'}/${nodePort}`;

function refused(service: ServiceObject, field: string, value: unknown, why: string): Error {
  return invalid(resourceInfo('services'), service.metadata.name, [cause.invalid(field, value, why)]);
}

function addressRange(cidr: string): AddressRange {
  const isV6 = familyOf(cidr) === 6;
  const range = isV6 ? IPv6CidrRange.fromCidr(cidr) : IPv4CidrRange.fromCidr(cidr);
  return { family: isV6 ? 'IPv6' : 'IPv4', cidr, network: range.getFirst().value, size: range.getSize(), next: 0n };
}

function addressText(value: bigint, family: Family): string {
  return family === 'IPv4' ? new IPv4(value).toString() : collapseIPv6Number(new IPv6(value).toString());
}
