/** Rules and sets of the kernel as values. */
import type { VersionedMap } from '../../../core/versioned-map.ts';
import type { Family, Protocol } from '../../../core/vocabulary.ts';
import type { PortRange } from '../../../net/port-range.ts';
import type { RuleRef } from '../../../policy/model.ts';

/** Every match the layout uses. Closed: the tracer and the text writer know each of them. */
export type Match =
  /** One host address. */
  | { readonly kind: 'source'; readonly address: string }
  | { readonly kind: 'destination'; readonly address: string }
  /** A prefix, in canonical text. */
  | { readonly kind: 'source-block'; readonly cidr: string }
  | { readonly kind: 'destination-block'; readonly cidr: string }
  /** Some of the last 16 bits of the address: those of `mask` are as in `bits`. */
  | { readonly kind: 'source-bucket'; readonly bits: number; readonly mask: number }
  | { readonly kind: 'destination-bucket'; readonly bits: number; readonly mask: number }
  /** conntrack state is one of `states`; and, if given, the packet travels in `direction`. */
  | { readonly kind: 'conntrack'; readonly states: readonly ConntrackState[]; readonly direction?: 'REPLY' }
  | { readonly kind: 'conntrack-not'; readonly states: readonly ConntrackState[] }
  /** A packet of its connection went all the way through this host before. NEW means only that none came back. */
  | { readonly kind: 'conntrack-confirmed' }
  /** Not: the connection's epoch bits equal the current epoch and its denied flag is clear. False without a connection. */
  | { readonly kind: 'stale-mark' }
  /** The opposite, for a connection: its epoch bits equal the current epoch and its denied flag is clear. */
  | { readonly kind: 'current-mark' }
  /** The connection's denied flag. */
  | { readonly kind: 'denied-flag'; readonly set: boolean }
  /** Source address = destination address, both as on the wire (xt_bpf). */
  | { readonly kind: 'same-address' }
  | { readonly kind: 'icmp' }
  /** ICMPv6 neighbour or multicast listener discovery that was not routed (xt_bpf, neighbour-discovery.ts). IPv6 only. */
  | { readonly kind: 'neighbour-discovery' }
  /** Destination port in any of `ranges` (at most 15 slots, a range of several ports takes two); no ranges: the whole protocol. */
  | ({ readonly kind: 'ports' } & PortsMatched)
  /** The same of the source port. */
  | ({ readonly kind: 'source-ports' } & PortsMatched)
  | { readonly kind: 'set'; readonly set: string; readonly dimensions: SetDimensions }
  | { readonly kind: 'not-in-set'; readonly set: string; readonly dimensions: SetDimensions }
  | { readonly kind: 'in-interface-prefix'; readonly prefix: string }
  | { readonly kind: 'out-interface-prefix'; readonly prefix: string }
  /** Its name begins in another way. */
  | { readonly kind: 'not-in-interface-prefix'; readonly prefix: string }
  | { readonly kind: 'not-out-interface-prefix'; readonly prefix: string }
  /** By its whole name. */
  | { readonly kind: 'in-interface'; readonly name: string }
  | { readonly kind: 'out-interface'; readonly name: string }
  /** The bridge port by which the packet came in, or by which it leaves if it is bridged (xt_physdev). */
  | { readonly kind: 'in-port'; readonly name: string; readonly isPrefix?: boolean }
  | { readonly kind: 'out-port'; readonly name: string; readonly isPrefix?: boolean }
  /** What a pod that has no address yet asks of a DHCP server, and what it is answered. */
  | { readonly kind: 'dhcp'; readonly message: 'request' | 'answer' }
  /** The address is one of this host. */
  | { readonly kind: 'source-is-local' }
  | { readonly kind: 'destination-is-local' }
  | { readonly kind: 'limit'; readonly perSecond: number; readonly burst: number }
  | { readonly kind: 'comment'; readonly text: string };

interface PortsMatched {
  readonly protocol: Protocol;
  readonly ranges: readonly PortRange[];
  /** A single range as well goes through multiport: for a kernel without the protocol's own match. */
  readonly multiport?: true;
}

/** Whose address the set is asked for, then whose port. */
export type SetDimensions = 'src' | 'dst' | 'src,src' | 'src,dst' | 'dst,src' | 'dst,dst';

export type ConntrackState = 'NEW' | 'ESTABLISHED' | 'RELATED' | 'INVALID';

export type Target =
  | { readonly kind: 'return' }
  | { readonly kind: 'drop' }
  | { readonly kind: 'jump'; readonly chain: string }
  | { readonly kind: 'goto'; readonly chain: string }
  /** Set the epoch bits to the current epoch, clear the denied flag. */
  | { readonly kind: 'stamp-epoch' }
  | { readonly kind: 'set-denied-flag' }
  | { readonly kind: 'log'; readonly group: number; readonly prefix: string }
  /** No target: the rule counts, or only carries a comment. */
  | { readonly kind: 'none' };

export interface Rule {
  /** Evaluated left to right: cheap matches first. */
  readonly matches: readonly Match[];
  readonly target: Target;
  /** The policy rules that it stands for, in the order of the policies; absent for what no policy asks for. Not in its text. */
  readonly by?: readonly RuleRef[];
  /** It counts what audited policies would let through, and gives it the verdict that the chain ends in. */
  readonly isAudit?: true;
}

export const SET_TYPES = ['hash:ip', 'hash:net', 'hash:ip,port', 'hash:net,port'] as const;

export function isSetType(text: string): text is (typeof SET_TYPES)[number] {
  return SET_TYPES.some((type) => type === text);
}

export interface IpSet {
  readonly name: string;
  readonly family: Family;
  readonly type: (typeof SET_TYPES)[number];
  /** Entry text as `ipset restore` takes it with protocol numbers -> false for `nomatch`. */
  readonly members: VersionedMap<string, boolean>;
  /** What the set means; the name is a hash of it. */
  readonly meaning: string;
  /** Its members are addresses of nodes: no pod that comes or goes makes them join or leave. */
  readonly isOfNodes?: boolean;
  /** Who is in it passes a gate: members join behind the commit of rules and leave ahead of it. */
  readonly opens?: boolean;
}
