/** Which pod an address stands for. */
import type { Pod, PodPhase } from './model.ts';

/**
 * S-70: a pod that can be a subject or a selector peer: not host-network (S-64), with an address, not finished (S-71).
 * Terminating (S-72), Pending and Unknown pods count. A subject also needs a node.
 */
export function isEligible(pod: Pod): boolean {
  return !pod.hostNetwork && pod.addresses.length > 0 && !isFinished(pod.phase);
}

/** It has no address, and is one that gets one (S-77). */
export function mayGetAddress(pod: Pod): boolean {
  return !pod.hostNetwork && pod.addresses.length === 0 && !isFinished(pod.phase);
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

/**
 * Address (canonical text) -> the pod that owns it, over all eligible pods; S-73 where several claim one address.
 * The result does not depend on the order of `pods`.
 */
export function addressOwners(pods: Iterable<Pod>): ReadonlyMap<string, Pod> {
  const owners = new Map<string, Pod>();
  for (const pod of pods) {
    if (!isEligible(pod)) continue;
    for (const address of pod.addresses) {
      const owner = owners.get(address);
      if (owner === undefined || ownsBefore(pod, owner)) owners.set(address, pod);
    }
  }
  return owners;
}

/**
 * S-73: the newer pod owns the address. Creation times have whole seconds, so ties happen; the order of updates is not
 * known here, so among pods of one second the one that is not on its way out wins, then a fixed order by identity.
 */
function ownsBefore(pod: Pod, other: Pod): boolean {
  if (pod.createdAtMs !== other.createdAtMs) return pod.createdAtMs > other.createdAtMs;
  if (pod.terminating !== other.terminating) return other.terminating;
  return identity(pod) > identity(other);
}

function identity({ namespace, name, uid }: Pod): string {
  return JSON.stringify([namespace, name, uid]);
}
