/** Flows as they were written -> flows between addresses of the pods there are now, or why one is left out. */
import type { Family } from '../../core/vocabulary.ts';
import type { Inventory, Workload } from '../../cluster/inventory.ts';
import type { Cidr } from '../../net/cidr.ts';
import type { ClusterSnapshot, Pod } from '../../policy/model.ts';
import type { ObservedFlow } from '../../policy/recommend/observed.ts';
import type { WrittenEnd, WrittenFlow } from './flow-lines.ts';

import { FAMILIES } from '../../core/vocabulary.ts';
import { cidrContains } from '../../net/cidr.ts';
import { familyOf, parseAddress } from '../../net/ip.ts';
import { addressOwners, isEligible } from '../../policy/address-owners.ts';
import { objectKey } from '../../policy/model.ts';

export const LEFT_OUT = {
  denied: 'were not let through (--include-denied takes them as wanted)',
  gone: 'have an end whose pod is gone, and no workload that it was of is known',
  service: 'go to the address of a Service: policies see the address behind it',
  family: 'have ends without an address family in common',
  local: 'stay within one pod or node',
} as const;
export type LeftOut = keyof typeof LEFT_OUT;

export interface ResolvedFlows {
  readonly flows: readonly ObservedFlow[];
  readonly leftOut: ReadonlyMap<LeftOut, number>;
}

export function resolveFlows(
  written: readonly WrittenFlow[],
  inventory: Inventory,
  podBlocks: readonly Cidr[],
  includesDenied: boolean,
): ResolvedFlows {
  const ends = new Ends(inventory, podBlocks);
  const leftOut = new Map<LeftOut, number>();
  const flows = written.flatMap((each): ObservedFlow[] => {
    const flow = each.isDenied && !includesDenied ? 'denied' : ends.flowOf(each);
    if (typeof flow !== 'string') return [flow];
    leftOut.set(flow, (leftOut.get(flow) ?? 0) + 1);
    return [];
  });
  return { flows, leftOut };
}

type Addresses = Readonly<Partial<Record<Family, string>>>;

class Ends {
  readonly #inventory: Inventory;
  readonly #podBlocks: readonly Cidr[];
  readonly #owners: ReadonlyMap<string, Pod>;
  readonly #nodes: ReadonlyMap<string, string>;
  readonly #services: ReadonlySet<string>;
  readonly #hasTiers: boolean;

  constructor(inventory: Inventory, podBlocks: readonly Cidr[]) {
    const { snapshot, services } = inventory;
    this.#inventory = inventory;
    this.#podBlocks = podBlocks;
    this.#owners = addressOwners(snapshot.pods.values());
    this.#hasTiers = (snapshot.clusterPolicies?.size ?? 0) > 0;
    this.#nodes = nodeNames(snapshot.nodes);
    this.#services = new Set(services.flatMap(({ clusterIPs }) => clusterIPs));
  }

  flowOf({ source, destination, protocol, port, count, firstMs, lastMs, from }: WrittenFlow): ObservedFlow | LeftOut {
    const [one, other] = [this.#addressesOf(source), this.#addressesOf(destination)];
    if (typeof one === 'string') return one;
    if (typeof other === 'string') return other;
    const family = FAMILIES.find((each) => one[each] !== undefined && other[each] !== undefined);
    if (family === undefined) return 'family';
    const [sender, receiver] = [one[family]!, other[family]!];
    // What is seen of a pod and itself came by way of a Service, where cluster-wide policies judge it (N-71).
    const isOwnService = sender === receiver && this.#owners.has(sender) && this.#hasTiers;
    if (sender === receiver && !isOwnService) return 'local';
    const fromNode = this.#owners.has(sender) ? undefined : this.#nodes.get(sender);
    const flow = {
      source: sender,
      destination: receiver,
      protocol,
      port,
      ...(fromNode === undefined ? {} : { fromNode }),
      ...(isOwnService ? { viaService: true as const } : {}),
    };
    const span = firstMs === undefined || lastMs === undefined ? {} : { firstMs, lastMs };
    return { flow, count, ...span, from };
  }

  #addressesOf({ address, pod }: WrittenEnd): Addresses | LeftOut {
    if (pod !== undefined) return this.#addressesOfPod(pod, address);
    if (address === undefined) return 'gone';
    const isKnown = this.#owners.has(address) || this.#nodes.has(address);
    if (isKnown) return { [familyOf(address)]: address };
    if (this.#services.has(address)) return 'service';
    const parsed = parseAddress(address)!;
    return this.#podBlocks.some((block) => cidrContains(block, parsed)) ? 'gone' : { [familyOf(address)]: address };
  }

  /** The address that was seen, if the pod still has it. */
  #addressesOfPod(key: string, address: string | undefined): Addresses | LeftOut {
    const pod = this.#inventory.snapshot.pods.get(key) ?? this.#successorOf(key);
    if (!pod || !isEligible(pod)) return 'gone';
    if (address !== undefined && pod.addresses.includes(address)) return { [familyOf(address)]: address };
    const own = pod.addresses.toReversed().map((each) => [familyOf(each), each] as const);
    return Object.fromEntries(address === undefined ? own : own.filter(([family]) => family === familyOf(address)));
  }

  /** A pod of the workload that the one which is gone was of, by its name. */
  #successorOf(key: string): Pod | undefined {
    const [namespace = '', name = ''] = key.split('/');
    const of = this.#inventory.workloads
      .filter((workload) => workload.namespace === namespace && isNamedBy(workload, name))
      .sort((a, b) => b.name.length - a.name.length);
    return of.flatMap(({ pods }) => pods).find(isEligible);
  }
}

/** How controllers name pods: a hash and five characters, a number, or five characters behind the name. */
const SUFFIXES: Readonly<Record<string, RegExp>> = {
  Deployment: /^-[a-z0-9]{1,10}-[a-z0-9]{5}$/,
  StatefulSet: /^-\d+$/,
  CronJob: /^-\d+-[a-z0-9]{5}$/,
};
const RANDOM = /^-[a-z0-9]{5}$/;

function isNamedBy({ kind, name: workload }: Workload, name: string): boolean {
  return name.startsWith(workload) && (SUFFIXES[kind] ?? RANDOM).test(name.slice(workload.length));
}

/** As evidence names addresses. */
export function addressNames({ pods, nodes }: ClusterSnapshot): (address: string) => string {
  const owners = addressOwners(pods.values());
  const nodeAt = nodeNames(nodes);
  return (address) => {
    const pod = owners.get(address);
    const node = nodeAt.get(address);
    if (pod) return `${objectKey(pod)} (${address})`;
    return node === undefined ? address : `node/${node} (${address})`;
  };
}

function nodeNames(nodes: ClusterSnapshot['nodes']): ReadonlyMap<string, string> {
  return new Map([...nodes.values()].flatMap(({ name, addresses }) => addresses.map((each) => [each, name] as const)));
}
