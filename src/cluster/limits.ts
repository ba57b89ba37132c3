/**
 * What an agent keeps of objects that a namespace's users write. Without a limit, valid objects of one namespace could fill the memory of
 * every agent of the cluster. What each limit means for verdicts, and why these: docs/decisions/limits-of-a-namespace.md.
 */

const KIB = 1024;
const MIB = 1024 * KIB;

export const POLICY_LIMITS = {
  /** Of one `spec.podSelector`, as JSON. */
  selector: 4 * KIB,
  /** Rules of one policy, as JSON: some 23,000 ipBlocks. */
  rulesOfPolicy: MIB,
  /** Rules of one namespace's policies. */
  rulesOfNamespace: 4 * MIB,
  /** Rules of all policies; above it the limit of a namespace is halved until it fits. */
  rules: 32 * MIB,
  /** Policies of one namespace without their rules, in memory: about 9,000. */
  recordsOfNamespace: 8 * MIB,
  records: 48 * MIB,
} as const;

/** Cluster-wide policies, as JSON once they are read: of one, some 10,000 networks or 6,000 rules' worth; of all together, some 100,000 rules. */
export const CLUSTER_POLICY_LIMITS = { ofPolicy: MIB, inAll: 16 * MIB } as const;

/** Labels of a pod or a namespace. */
export const MAX_LABEL_BYTES = 8 * KIB;
/** What a pod may have of them without being counted: more than nearly any pod has. */
export const FREE_LABEL_BYTES = 2 * KIB;
/** Labels of pods that have more. */
export const LABEL_LIMITS = { ofNamespace: 2 * MIB, inAll: 8 * MIB } as const;
/** Of one pod; a container that lists more ports than this many bytes of JSON has too many. */
export const MAX_NAMED_PORTS = 256;
export const MAX_PORT_BYTES = 256 * KIB;

/** For people: `1.50 MiB`, `300 KiB`, `12 bytes`. */
export function bytesText(bytes: number): string {
  if (bytes >= MIB) return `${(bytes / MIB).toFixed(2)} MiB`;
  return bytes >= KIB ? `${Math.round(bytes / KIB)} KiB` : `${bytes} bytes`;
}
