/** Rules of a table of nftables as values. */
import type { Family, Protocol } from '../../../core/vocabulary.ts';
import type { PortRange } from '../../../net/port-range.ts';
import type { RuleRef } from '../../../policy/model.ts';
import type { Counted } from './counted.ts';

/** Which end of the packet. */
export type End = 'source' | 'destination';
export type ConntrackState = 'new' | 'established' | 'related' | 'invalid' | 'untracked';

/** Every match that the layout uses. Closed: the writer and the tracer know each of them. */
export type Match =
  /** conntrack's state of the packet is one of these, or none of them. */
  | { readonly kind: 'state'; readonly states: readonly ConntrackState[]; readonly not?: true }
  /** The packet travels against the direction of its connection. */
  | { readonly kind: 'reply' }
  /** A packet of its connection went all the way through this host before. */
  | { readonly kind: 'confirmed' }
  | { readonly kind: 'family'; readonly family: Family }
  /** The bits of the connection mark under the mask are others than these. Never matches without a connection. */
  | { readonly kind: 'stale-mark'; readonly mask: number; readonly bits: number }
  /** The bit of the connection mark. */
  | { readonly kind: 'flag'; readonly bit: number; readonly isSet: boolean }
  /** A prefix, in canonical text. */
  | { readonly kind: 'block'; readonly family: Family; readonly end: End; readonly cidr: string }
  | {
      readonly kind: 'in-set';
      readonly family: Family;
      readonly end: End;
      readonly set: string;
      readonly not?: true;
    }
  /** (Address, protocol, port) is in the set. */
  | {
      readonly kind: 'in-port-set';
      readonly family: Family;
      readonly address: End;
      readonly port: End;
      readonly set: string;
    }
  /** (Source, destination) is in the set. */
  | { readonly kind: 'pair-in-set'; readonly family: Family; readonly set: string }
  /** (Interface, address) is in the set: that by which the packet came, its source; or that by which it leaves, its destination. */
  | { readonly kind: 'interface-in-set'; readonly family: Family; readonly end: End; readonly set: string }
  /** No ranges: the whole protocol. */
  | { readonly kind: 'ports'; readonly protocol: Protocol; readonly end: End; readonly ranges: readonly PortRange[] }
  /** ICMP of either family. */
  | { readonly kind: 'icmp' }
  /** ICMPv6 right behind the IPv6 header that was not routed (S-58). */
  | { readonly kind: 'neighbour-discovery' }
  | { readonly kind: 'listener-discovery' }
  /** What a pod that has no address yet asks of a DHCP server, and what it is answered. */
  | { readonly kind: 'dhcp'; readonly family: Family; readonly message: 'request' | 'answer' }
  /** By which the packet came (source), or leaves (destination). */
  | { readonly kind: 'interface'; readonly end: End; readonly name: string; readonly isPrefix?: true }
  /** What a frame carries; asked of frames, where `family` is that of bridges. */
  | { readonly kind: 'frame'; readonly family: Family }
  /** A tag of ours is on the packet (render/bridged-ports.ts): any, or this one. */
  | { readonly kind: 'tagged'; readonly not?: true; readonly tag?: string }
  /** A route to the destination leads out by the interface that the packet came in by. */
  | { readonly kind: 'on-link' }
  /** The address is one of this host. */
  | { readonly kind: 'local'; readonly end: End }
  | { readonly kind: 'limit'; readonly perSecond: number; readonly burst: number };

/** What a verdict map is asked for. */
export type MapKey =
  | { readonly kind: 'address'; readonly family: Family; readonly end: End }
  | { readonly kind: 'interface'; readonly end: End }
  | { readonly kind: 'tag' };

export type Target =
  | { readonly kind: 'return' }
  | { readonly kind: 'drop' }
  | { readonly kind: 'jump' | 'goto'; readonly chain: string }
  /** As the element says; the next rule, if there is none. */
  | { readonly kind: 'verdict-map'; readonly key: MapKey; readonly map: string }
  /** The bits of the connection mark under the mask become `bits`. */
  | { readonly kind: 'set-mark'; readonly mask: number; readonly bits: number }
  /** The packet's tag becomes this one; null: it has none. */
  | { readonly kind: 'set-tag'; readonly tag: string | null }
  /** It becomes that of the interface; the next rule, if the map has none for it. */
  | { readonly kind: 'tag-by-interface'; readonly end: End; readonly map: string }
  | { readonly kind: 'log'; readonly group: number; readonly prefix: string };

export interface Rule {
  /** Evaluated left to right. */
  readonly matches: readonly Match[];
  readonly target: Target;
  /** What its counter counts; absent: it has none. */
  readonly counts?: Counted;
  /** For whoever lists the table. */
  readonly comment?: string;
  /** The policy rules that it stands for, in the order of the policies; absent for what no policy asks for. */
  readonly by?: readonly RuleRef[];
}
