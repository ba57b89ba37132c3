/**
 * What rules say, found once for rules that are put together again and again: how their ports split, and texts by which equal ports, peers
 * and selectors are told. It is known of an object as long as somebody keeps that.
 */
import type { Peer, PortMatch, Selector } from '../policy/model.ts';
import type { NamedPortRef, SplitPorts } from './ports.ts';

import { formatCidr } from '../net/cidr.ts';
import { selectorKey } from '../policy/selector.ts';
import { splitPorts } from './ports.ts';

/** Ports by number, of one protocol. */
export type NumericPorts = SplitPorts['numeric'][number] | 'any';
export type Ports = NumericPorts | { readonly names: readonly NamedPortRef[] };
export type Peers = readonly Peer[] | 'any';

/** Longer texts are made anew each time. */
const MAX_KEPT = 1024;

const ANY: readonly Ports[] = ['any'];

export class RuleTexts {
  readonly #ports = new WeakMap<readonly PortMatch[], readonly Ports[]>();
  readonly #texts = new WeakMap<object, string>();

  /** Those by number one by one for each protocol, then those by name; the same objects for the same ports. */
  split(ports: readonly PortMatch[] | 'any'): readonly Ports[] {
    if (ports === 'any') return ANY;
    const known = this.#ports.get(ports);
    if (known) return known;
    const split = splitPorts(ports);
    const made: readonly Ports[] =
      split === 'any' ? ANY : [...split.numeric, ...(split.named.length > 0 ? [{ names: split.named }] : [])];
    this.#ports.set(ports, made);
    return made;
  }

  /** Equal ports, equal text. */
  ports(ports: Ports): string {
    return ports === 'any' ? ports : this.#kept(ports, JSON.stringify);
  }

  /** Equal text for equal entries, in any order; entries that mean the same in other words differ. */
  peers(peers: Peers): string {
    if (peers === 'any') return peers;
    return this.#kept(peers, () => JSON.stringify([...new Set(peers.map((peer) => this.peer(peer)))].sort()));
  }

  peer(peer: Peer): string {
    return this.#kept(peer, peerText);
  }

  selector(selector: Selector): string {
    return this.#kept(selector, selectorKey);
  }

  #kept<T extends object>(value: T, textOf: (value: T) => string): string {
    const known = this.#texts.get(value);
    if (known !== undefined) return known;
    const text = textOf(value);
    if (text.length <= MAX_KEPT) this.#texts.set(value, text);
    return text;
  }
}

function peerText(peer: Peer): string {
  switch (peer.kind) {
    case 'pods': {
      const namespaces = peer.namespaces === 'own' ? peer.namespaces : selectorKey(peer.namespaces);
      return JSON.stringify([namespaces, selectorKey(peer.pods)]);
    }
    case 'ip-block':
      return JSON.stringify([peer.cidr, ...peer.except].map(formatCidr));
    case 'nothing':
      return peer.kind;
  }
}
