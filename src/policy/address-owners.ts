/** Which pod an address stands for. */
import { type Labels, type NamedPort, objectKey, type Pod, type PodPhase, UNKNOWN_LABELS } from './model.ts';

/**
 * S-70: a pod that can be a subject or a selector peer: not host-network (S-64), with an address, not finished (S-71).
 * Terminating (S-72), Pending and Unknown pods count. A subject also needs a node.
 */
export function isEligible(pod: Partial<Pod> & Pick<Pod, 'hostNetwork' | 'addresses' | 'phase'>): boolean {
  return !pod.hostNetwork && pod.addresses.length > 0 && !isFinished(pod.phase);
}

/** It has no address, and is one that gets one (S-77). */
export function mayGetAddress(pod: Pod): boolean {
  return !pod.hostNetwork && pod.addresses.length === 0 && !isFinished(pod.phase);
}

/** A pod of the host network (S-64): its addresses are those of its node. */
export function showsItsNode({ hostNetwork, nodeName, phase }: Pod): boolean {
  return hostNetwork && nodeName !== undefined && !isFinished(phase);
}

/** S-71: its addresses are free for others. */
export function isFinished(phase: PodPhase): boolean {
  switch (phase) {
    case 'Succeeded':
    case 'Failed':
      return true;
    case 'Pending':
    case 'Running':
    case 'Unknown':
      return false;
  }
}

/** `Pod.addressesSince` of one address. */
export function addressSince({ addresses, addressesSince }: Pod, address: string): number {
  return typeof addressesSince === 'number' ? addressesSince : (addressesSince[addresses.indexOf(address)] ?? 0);
}

/**
 * Stands for pods of which it cannot be told who has the address (S-73). As a peer it is what they have in common: a selector that
 * matches it matches all of them. As a local endpoint each of the claimants counts.
 */
export interface ContestedPod extends Pod {
  /** At least two, in a fixed order. */
  readonly claimants: readonly Pod[];
}

export function isContested(owner: Pod | undefined): owner is ContestedPod {
  return owner !== undefined && 'claimants' in owner;
}

/** The pods that the owner of an address stands for. */
export function claimantsOf(owner: Pod | undefined): readonly Pod[] {
  if (owner === undefined) return [];
  return isContested(owner) ? owner.claimants : [owner];
}

/**
 * Address (canonical text) -> the pod that owns it, over all eligible pods; S-73 where several claim one address.
 * The result does not depend on the order of `pods`.
 */
export function addressOwners(pods: Iterable<Pod>): ReadonlyMap<string, Pod> {
  const claims = new Map<string, Pod[]>();
  for (const pod of pods) {
    if (!isEligible(pod)) continue;
    for (const address of pod.addresses) {
      const claimants = claims.get(address);
      if (claimants) claimants.push(pod);
      else claims.set(address, [pod]);
    }
  }
  return new Map([...claims].map(([address, claimants]) => [address, ownerAmong(address, claimants)]));
}

/** `claimants`: at least one, all eligible. */
export function ownerAmong(address: string, claimants: readonly Pod[]): Pod {
  const first = firstAmong(address, claimants);
  return first.length === 1 ? first[0]! : contested(first);
}

/** Names of the nodes whose address it is by the pods of host networks that show it: one, unless nothing tells which was last. Sorted. */
export function nodesAmong(address: string, hosts: readonly Pod[]): readonly string[] {
  return [...new Set(firstAmong(address, hosts).flatMap(({ nodeName }) => nodeName ?? []))].sort();
}

/** Those that come before all others; several if nothing tells them apart. */
function firstAmong(address: string, claimants: readonly Pod[]): readonly Pod[] {
  let first: Pod[] = [];
  for (const pod of claimants) {
    const order = first[0] === undefined ? 0 : compareClaims(address, pod, first[0]);
    if (order > 0) first = [pod];
    else if (order === 0) first.push(pod);
  }
  return first;
}

/** S-73: a pod that is not terminating comes before one that is, then the one that began to show the address last. Positive: `pod` does. */
function compareClaims(address: string, pod: Pod, other: Pod): number {
  if (pod.terminating !== other.terminating) return pod.terminating ? -1 : 1;
  return addressSince(pod, address) - addressSince(other, address);
}

function contested(unordered: readonly Pod[]): ContestedPod {
  const claimants = unordered.toSorted((a, b) => (identity(a) < identity(b) ? -1 : 1));
  const [first, ...others] = claimants as [Pod, ...Pod[]];
  const isOneNamespace = others.every(({ namespace }) => namespace === first.namespace);
  const haveSameLabels = others.every(({ labels }) => areSameLabels(labels, first.labels));
  return {
    ...first,
    // The name of none: only a selector of all namespaces matches it.
    namespace: isOneNamespace ? first.namespace : '',
    name: claimants.map(objectKey).join(' and '),
    labels: haveSameLabels ? first.labels : UNKNOWN_LABELS,
    namedPorts: first.namedPorts.filter((port) =>
      others.every(({ namedPorts }) => namedPorts.some((each) => areSamePorts(each, port))),
    ),
    claimants,
  };
}

function areSameLabels(a: Labels, b: Labels): boolean {
  if (a === b) return true;
  if (a === UNKNOWN_LABELS || b === UNKNOWN_LABELS) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && a[key] === b[key]);
}

function areSamePorts(a: NamedPort, b: NamedPort): boolean {
  return a.name === b.name && a.protocol === b.protocol && a.port === b.port;
}

function identity({ namespace, name, uid }: Pod): string {
  return JSON.stringify([namespace, name, uid]);
}
