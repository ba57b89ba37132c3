/** The rules of a program while they are collected: policy rules that let the same through become one compiled rule with all their origins. */
import type { Family } from '../core/vocabulary.ts';
import type { Action, RuleRef } from '../policy/model.ts';
import type { CompiledRule, PeerClause, PortClause } from './intent.ts';
import type { Origin } from './shared-peers.ts';

import { distinctOrigins } from './shared-peers.ts';

export type FamilyPeers = Readonly<Record<Family, PeerClause>>;

/** A compiled rule without its origins. */
export type LetsThrough = Pick<CompiledRule, 'ports' | 'peers'>;

export class RuleList {
  readonly #rules = new Map<string, { readonly what: LetsThrough; readonly by: Origin[] }>();
  /** Set keys are as long as what the sets mean: each is looked at once. */
  readonly #numbers = new Map<string, number>();

  /** What reaches no peer of either family is left out. */
  add(what: LetsThrough, by: readonly Origin[]): void {
    if (what.peers[4].kind === 'none' && what.peers[6].kind === 'none') return;
    const key = `${this.#portsKey(what.ports)} ${this.#peerKey(what.peers[4])} ${this.#peerKey(what.peers[6])}`;
    const known = this.#rules.get(key);
    if (known) for (const origin of by) known.by.push(origin);
    else this.#rules.set(key, { what, by: [...by] });
  }

  /** In the order in which they came first. */
  list(refOf: (origin: Origin) => RuleRef, action: Action = 'Accept'): readonly CompiledRule[] {
    return [...this.#rules.values()].map(({ what, by }) => ({
      action,
      by: [...new Set(distinctOrigins(by).map(refOf))],
      ...what,
    }));
  }

  #portsKey(ports: PortClause): string {
    switch (ports.kind) {
      case 'any':
        return ports.kind;
      case 'ranges':
        return `${ports.protocol} ${ports.ranges.map(({ first, last }) => `${first}-${last}`).join()}`;
      case 'address-port':
        return `${ports.address} ${this.#number(ports.set[4])}`;
    }
  }

  #peerKey(peer: PeerClause): string {
    switch (peer.kind) {
      case 'any':
      case 'none':
        return peer.kind;
      case 'block':
        return peer.cidr;
      case 'set':
        return String(this.#number(peer.key));
    }
  }

  #number(key: string): number {
    const number = this.#numbers.get(key) ?? this.#numbers.size;
    this.#numbers.set(key, number);
    return number;
  }
}
