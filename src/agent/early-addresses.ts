/** Addresses of pods of this node that are known before the API shows them. */
import type { Allocation } from '../host/vpc-cni-checkpoint.ts';
import type { Pod } from '../policy/model.ts';

export interface EarlyAddresses {
  /** By pod. */
  current(): ReadonlyMap<string, Allocation>;
  /** Calls back with the pods whose allocation changed. */
  onChange(callback: (pods: readonly string[]) => void): void;
}

/**
 * The pod with its allocated addresses while its status shows none. What was allocated before the pod was made belongs to another one of the
 * same name that is gone.
 */
export function withEarlyAddresses(pod: Pod, allocation: Allocation | undefined): Pod {
  if (!allocation || pod.addresses.length > 0 || pod.hostNetwork || allocation.atMs < pod.createdAtMs) return pod;
  return { ...pod, addresses: allocation.addresses, addressesSince: allocation.atMs };
}
