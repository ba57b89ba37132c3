/** Which iptables variant this host uses, told from what both of them hold. */
import type { Backend, Family } from '../../../core/vocabulary.ts';
import type { Listing } from './list-rules.ts';

import { FORWARD_CHAIN } from '../rules/names.ts';

/** Chains the kubelet plants so that others can tell which variant the host uses (Kubernetes KEP-3178). */
const HINTS = [':KUBE-IPTABLES-HINT ', ':KUBE-KUBELET-CANARY '];
const OURS = `:${FORWARD_CHAIN} `;

/** What table mangle of each variant holds. */
export type Listings = Readonly<Record<Backend, Readonly<Record<Family, Listing>>>>;

export interface ChosenBackend {
  readonly backend: Backend;
  readonly why: string;
  /** What was not answered and might make it the other one; absent: nothing. */
  readonly doubt?: string;
}

/**
 * nft if its mangle table holds the kubelet's hint chains; else legacy if its table does; else the one in use, or that holds our own
 * chains; else nft. `current`: the variant in use, if any. What cannot be read is no answer: what is in use stays in use, and without
 * that a variant is chosen only where something speaks for it. Undefined: not to be told now.
 */
export function chooseBackend(listings: Listings, current: Backend | undefined): ChosenBackend | undefined {
  const nft = evidenceOf(listings['iptables-nft']);
  const legacy = evidenceOf(listings['iptables-legacy']);
  const chosen = (backend: Backend, why: string, doubt?: string): ChosenBackend =>
    doubt === undefined ? { backend, why } : { backend, why, doubt };
  if (nft.hints) return chosen('iptables-nft', 'kubelet hint chains found');
  if (nft.unknown !== undefined) {
    if (legacy.hints) return chosen('iptables-legacy', 'kubelet hint chains found', nft.unknown);
    if (current !== undefined) return chosen(current, 'in use', nft.unknown);
    return legacy.ours ? chosen('iptables-legacy', 'our own chains found', nft.unknown) : undefined;
  }
  if (legacy.hints) return chosen('iptables-legacy', 'kubelet hint chains found');
  const doubt = legacy.unknown;
  if (nft.isThere && nft.ours && !(legacy.ours && current === 'iptables-legacy'))
    return chosen('iptables-nft', 'our own chains found', doubt);
  if (legacy.ours) return chosen('iptables-legacy', 'our own chains found', doubt);
  if (nft.isThere) return chosen('iptables-nft', 'no kubelet hint chains; nft is the default', doubt);
  if (doubt !== undefined) return current && chosen(current, 'in use', doubt);
  return legacy.isThere ? chosen('iptables-legacy', `iptables-nft cannot be used: ${nft.absent}`) : undefined;
}

interface Evidence {
  readonly hints: boolean;
  readonly ours: boolean;
  /** It can be used, as far as is known. */
  readonly isThere: boolean;
  /** Why no family could be read, if that may change by itself. */
  readonly unknown: string | undefined;
  readonly absent: string;
}

function evidenceOf(families: Readonly<Record<Family, Listing>>): Evidence {
  const all = [families[4], families[6]];
  const texts = all.flatMap((listing) => (listing.kind === 'read' ? [listing.text] : []));
  const has = (name: string): boolean => texts.some((text) => text.includes(name));
  const unknown = all.find((listing) => listing.kind === 'unknown');
  const absent = all.find((listing) => listing.kind === 'absent');
  // The kubelet plants its chains in both families: one that was read speaks for the other.
  const isAnswered = all.some((listing) => listing.kind === 'read' || listing.kind === 'empty');
  return {
    hints: HINTS.some(has),
    ours: has(OURS),
    isThere: isAnswered,
    unknown: isAnswered ? undefined : unknown?.why,
    absent: absent?.why ?? '',
  };
}
