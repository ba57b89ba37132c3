/** What the kernel should hold, as values: iptables chains per family, and ipsets. Text is made in write-text.ts only. */
import type { VersionedMap } from '../../../core/versioned-map.ts';
import type { Direction, Family } from '../../../core/vocabulary.ts';
import type { PodInterface } from '../../../host/pod-interfaces.ts';
import type { AddressDirectory } from '../../../compile/address-directory.ts';
import type { PolicyRef } from '../../../policy/model.ts';
import type { Chain } from './chain.ts';
import type { MissingFeatures } from './kernel-features.ts';
import type { IpSet } from './rule.ts';
import type { MarkBits } from '../../mark-bits.ts';

/** Judges the pods of one policy group; the name is a hash of all that its chain holds, so an edit makes a new chain. */
export interface EndpointChain {
  readonly name: string;
  readonly direction: Direction;
  /** That isolate the pods; of a chain that isolates nobody, those that are audited. */
  readonly policies: readonly PolicyRef[];
  /** Present: it counts for audited policies as well, or for these alone. */
  readonly audit?: {
    readonly policies: readonly PolicyRef[];
    /** The chain that gives the same verdicts and counts nothing for them; absent: the chain isolates nobody. */
    readonly without?: string;
  };
  readonly chain: Chain;
  /** Judges the replies of live flows; absent where replies are not judged. */
  readonly reply?: Chain;
  /** Chains that these two lead to and no other does; absent: none. */
  readonly parts?: readonly Chain[];
  /** Names of the sets its rules refer to. */
  readonly sets: readonly string[];
}

export const HOOKS = ['FORWARD', 'INPUT'] as const;
export type Hook = (typeof HOOKS)[number];

/** Address -> name of the endpoint chain that judges it. */
export type Dispatch = ReadonlyMap<string, string>;

/**
 * An interface of a pod as its node sees it: a port of a bridge, or what routes to the pod lead to. Only interfaces of isolated
 * pods: what they send from, or get at, an address that is not the pod's is judged by the pod's endpoint chain all the same (S-56).
 */
export interface PortGuard {
  readonly name: string;
  readonly via: PodInterface['via'];
  /** Of the pod, in this family: what is judged by its address. */
  readonly addresses: readonly string[];
  /** Names of endpoint chains. */
  readonly targets: Readonly<Partial<Record<Direction, string>>>;
}

export interface FamilyRules {
  readonly family: Family;
  /** The first rules of the built-in chains, which jump to ours; they hold the epoch. */
  readonly hooks: Readonly<Record<Hook, Chain>>;
  /** The chains the hooks enter; they hold the epoch as well. */
  readonly entry: readonly Chain[];
  readonly dispatch: Readonly<Record<Direction, Dispatch>>;
  /** By name; empty where no interface of an isolated pod is known. */
  readonly guards: readonly PortGuard[];
  /** Of the pods that any address or interface of `dispatch` and `guards` belongs to, and those to have without audits, by name. */
  readonly endpointChains: ReadonlyMap<string, EndpointChain>;
  /** Every chain behind the entry, in the order in which they are written, where nothing is held back. */
  readonly chains: ReadonlyMap<string, Chain>;
}

/** The endpoint chain of that name, or the one whose replies the chain judges. */
export function endpointOf({ chains, endpointChains }: FamilyRules, chain: string): EndpointChain | undefined {
  const role = chains.get(chain)?.role;
  return endpointChains.get(role?.kind === 'endpoint' ? role.endpoint : chain);
}

/** Whether the chain finds pods by their interfaces. */
export function isGuard({ chains }: FamilyRules, chain: string): boolean {
  return chains.get(chain)?.role.kind === 'guard';
}

export interface Ruleset {
  readonly families: Readonly<Record<Family, FamilyRules>>;
  readonly sets: VersionedMap<string, IpSet>;
  readonly layout: Layout;
  /** Of the intent that these are rules of. */
  readonly revision: number;
  readonly directory: AddressDirectory;
}

type EnforcingMode = 'enforce' | 'audit';

/** What shapes the rules besides the cluster. */
export interface Layout {
  readonly mode: EnforcingMode;
  /** Absent: no connection marks; established flows always pass ("new connections only"). */
  readonly marks?: MarkBits;
  /** Interfaces over which node traffic may come back to a pod (security groups for pods). */
  readonly trunkInterfacePrefix: string;
  /** Closed to pods that are not programmed yet: how names of their interfaces begin. Absent: open. */
  readonly newPods?: { readonly interfacePrefixes: readonly string[] };
  /** Absent: denied packets are counted, not logged. */
  readonly log?: { readonly group: number; readonly perSecond: number; readonly burst: number };
  /** What the kernel lacks, and rules must do without; absent where it lacks nothing. */
  readonly missing?: MissingFeatures;
}
