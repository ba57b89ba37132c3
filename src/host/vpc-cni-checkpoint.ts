/**
 * The checkpoint file of the VPC CNI's address manager: which address each pod of the node has, written before the pod's interface is
 * made, so before anything of it runs. Its status shows the address a second or more later.
 */
import { canonicalAddress } from '../net/ip.ts';

/** The addresses that an address manager of the node has given a pod. */
export interface Allocation {
  /** `namespace/name`. */
  readonly pod: string;
  /** Canonical text. */
  readonly addresses: readonly string[];
  /** Milliseconds since the epoch. */
  readonly atMs: number;
}

const VERSION = /^vpc-cni-ipam\/1$/;

/** Throws where the text is not such a file; an entry that cannot be read is left out. */
export function readCheckpoint(text: string): ReadonlyMap<string, Allocation> {
  const file = JSON.parse(text) as { readonly version?: unknown; readonly allocations?: unknown } | null;
  if (typeof file?.version !== 'string' || !VERSION.test(file.version))
    throw new Error(`version is ${JSON.stringify(file?.version)}, not "vpc-cni-ipam/1"`);
  const allocations = new Map<string, Allocation>();
  for (const entry of Array.isArray(file.allocations) ? (file.allocations as unknown[]) : []) {
    const found = allocationOf(entry);
    const before = found && allocations.get(found.pod);
    // The name stands for the newest sandbox.
    if (found && (!before || before.atMs <= found.atMs)) allocations.set(found.pod, found);
  }
  return allocations;
}

function allocationOf(entry: unknown): Allocation | undefined {
  if (typeof entry !== 'object' || entry === null) return undefined;
  const { ipv4, ipv6, allocationTimestamp, metadata } = entry as Record<string, unknown>;
  const { k8sPodNamespace: namespace, k8sPodName: name } = (metadata ?? {}) as Record<string, unknown>;
  if (typeof namespace !== 'string' || typeof name !== 'string' || typeof allocationTimestamp !== 'number')
    return undefined;
  const addresses = [ipv4, ipv6].flatMap((text) => (typeof text === 'string' ? (canonicalAddress(text) ?? []) : []));
  if (namespace === '' || name === '' || addresses.length === 0) return undefined;
  // Nanoseconds; a double keeps them to a quarter of a microsecond.
  return { pod: `${namespace}/${name}`, addresses, atMs: allocationTimestamp / 1e6 };
}
