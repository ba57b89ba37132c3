/**
 * What comes or goes by a port of a bridge at an address that is not the port's pod's (S-56). Chains of family inet see the bridge instead
 * of its port; chains of family bridge see the port, and no connection. So those tag the packet, and these judge it by its tag; both are hooks
 * on the way of one packet, as br_netfilter calls netfilter's own hooks out of the bridge's.
 *
 *   bridge prerouting, -1     (Interface, source) is listed: return; else the tag of the port the frame came in by
 *   inet prerouting, -90      behind the translation of addresses
 *     1 no tag of ours                         return
 *     2 neither established nor related        jump prerouting-first
 *     3 mark is not that of the epoch          jump prerouting-recheck
 *   prerouting-first          neighbour discovery that is not routed return (S-58); jump egress-bridged
 *   egress-bridged            DHCP request return; by tag -> map egress-bridged4 -> PCL-E-<hash>
 *   prerouting-recheck        ICMP error of a flow return (forward and input judge it); reply to the node return (S-60);
 *                             reply goto prerouting-replies -> ingress-replies-bridged; goto prerouting-first
 *   bridge forward, -2        that tag goes; likewise with the destination, and the port the frame leaves by
 *   inet forward, -150        forward-first -> ingress-bridged, replies -> egress-replies-bridged: by tag
 *
 * With --new-pods=closed another tag is on what comes from or goes to a port of pods at an address that is not programmed (S-75), which
 * leads to the chain that drops it. What leaves a port that is no pod's, and packets that are let through, keep no tag.
 *
 * Why so, and what else was tried: docs/decisions/ports-of-bridges.md.
 */
import { type Direction, FAMILIES } from '../../../core/vocabulary.ts';
import type { PodInterfaces } from '../../../host/pod-interfaces.ts';
import type { End, Match, Rule } from '../table/rule.ts';
import type { Chain, Layout, NftSet } from '../table/table.ts';

import { NEW_PODS_DENIED } from '../../chain-names.ts';
import { JUDGING_ORDER } from '../../judgings.ts';
import { nameIn } from '../table/families.ts';
import {
  ADDRESS_TYPE,
  bridgedChain,
  bridgedMap,
  firstChain,
  HOOKS,
  listedSet,
  PREROUTING,
  programmedSet,
  recheckChain,
  TAGGING_MAPS,
} from '../table/names.ts';
import { chainOf, stamps } from '../table/table.ts';
import { NEW_POD_TAGS } from '../table/tags.ts';
import {
  dhcpRules,
  discoveryRules,
  firstOnly,
  isClosed,
  isIcmpError,
  jump,
  nobodysRules,
  ownEnd,
  RETURN,
  rule,
} from './entry-chains.ts';

/** What there is to see at ports. */
export interface BridgedPorts {
  /** Closed to pods that are not programmed. */
  readonly newPods?: { readonly interfacePrefixes: readonly string[]; readonly broadcasts: readonly string[] };
}

/** Undefined: nothing; there is no table of family bridge then. `isAnyPort`: an isolated pod is a port. */
export function bridgedPorts(
  isAnyPort: boolean,
  layout: Layout,
  { bridges, broadcasts }: PodInterfaces,
): BridgedPorts | undefined {
  const isGated = isClosed(layout) && bridges.length > 0;
  if (!isAnyPort && !isGated) return undefined;
  return isGated ? { newPods: { interfacePrefixes: layout.newPods.interfacePrefixes, broadcasts } } : {};
}

export function bridgedChains(bridged: BridgedPorts, layout: Layout): readonly Chain[] {
  const { first, recheck, replies } = PREROUTING_CHAINS;
  return [
    taggingChain('source', bridged),
    taggingChain('destination', bridged),
    chainOf(first, [...firstOnly(layout), ...discoveryHere(), jump(bridgedChain('egress', false))]),
    ...JUDGING_ORDER.map((direction) => judgingChain(direction, false, bridged)),
    ...(stamps(layout)
      ? [
          chainOf(recheck, [
            rule(isIcmpError, RETURN),
            rule([{ kind: 'reply' }, { kind: 'local', end: 'destination' }], RETURN),
            rule([{ kind: 'reply' }], { kind: 'goto', chain: replies }),
            rule([], { kind: 'goto', chain: first }),
          ]),
          chainOf(replies, [jump(bridgedChain('ingress', true))]),
          ...JUDGING_ORDER.map((direction) => judgingChain(direction, true, bridged)),
        ]
      : []),
  ];
}

const PREROUTING_CHAINS = {
  first: firstChain(PREROUTING),
  recheck: recheckChain(PREROUTING),
  replies: `${PREROUTING}-replies`,
} as const;

/** What will be routed has its hop limit still: only what stays on the link, or is for the node, is neighbour discovery. */
function discoveryHere(): Rule[] {
  const [neighbours, listeners] = discoveryRules() as [Rule, Rule];
  const near: readonly Match[] = [
    ...['fe80::/10', 'ff00::/8'].map((cidr): Match => ({ kind: 'block', family: 6, end: 'destination', cidr })),
    { kind: 'local', end: 'destination' },
    { kind: 'on-link' },
  ];
  return [...near.map((match) => ({ ...neighbours, matches: [...neighbours.matches, match] })), listeners];
}

function judgingChain(direction: Direction, replies: boolean, { newPods }: BridgedPorts): Chain {
  const tag = NEW_POD_TAGS[ownEnd(direction, replies)];
  const gate = rule([{ kind: 'tagged', tag }], { kind: 'goto', chain: NEW_PODS_DENIED });
  return chainOf(bridgedChain(direction, replies), [
    ...(newPods && !replies ? [gate] : []),
    ...(replies ? [] : dhcpRules(direction)),
    ...FAMILIES.map((family) =>
      rule([{ kind: 'family', family }], {
        kind: 'verdict-map',
        key: { kind: 'tag' },
        map: bridgedMap(direction, replies, family),
      }),
    ),
  ]);
}

// -------------------------------------------------------------------------------------------------------- family bridge

const TAGGING: Readonly<Record<End, { readonly chain: string; readonly hook: string }>> = {
  // br_netfilter calls the hooks of family inet at 0, and at -1.
  source: {
    chain: nameIn('bridge', PREROUTING),
    hook: 'type filter hook prerouting priority -1; policy accept;',
  },
  destination: {
    chain: nameIn('bridge', HOOKS[0]),
    hook: 'type filter hook forward priority -2; policy accept;',
  },
};

function taggingChain(end: End, { newPods }: BridgedPorts): Chain {
  const { chain, hook } = TAGGING[end];
  const map = TAGGING_MAPS[end];
  const listed = FAMILIES.map((family) => {
    return rule([{ kind: 'interface-in-set', family, end, set: nameIn('bridge', listedSet(family)) }], RETURN);
  });
  const tag = FAMILIES.map((family) => rule([{ kind: 'frame', family }], { kind: 'tag-by-interface', end, map }));
  const untag = rule([{ kind: 'tagged' }], { kind: 'set-tag', tag: null });
  const gate = newPods ? gateRules(end, newPods) : [];
  return chainOf(chain, [...(end === 'destination' ? [untag] : []), ...listed, ...tag, ...gate], { hook });
}

function gateRules(end: End, { interfacePrefixes, broadcasts }: NonNullable<BridgedPorts['newPods']>): Rule[] {
  const closed = interfacePrefixes.flatMap((name) =>
    FAMILIES.map((family) =>
      rule(
        [
          { kind: 'interface', end, name, isPrefix: true },
          { kind: 'in-set', family, end, set: nameIn('bridge', programmedSet(family)), not: true },
        ],
        { kind: 'set-tag', tag: NEW_POD_TAGS[end] },
      ),
    ),
  );
  return [...nobodysRules(end, broadcasts), ...closed];
}

// ----------------------------------------------------------------------------------------------------------------- sets

/** Those of family bridge that endpoints fill. */
export function taggingSets(): readonly Omit<NftSet, 'elements'>[] {
  return [
    ...Object.values(TAGGING_MAPS).map((name) => ({ name, type: 'ifname : classid', isMap: true })),
    ...FAMILIES.map((family) => ({
      name: nameIn('bridge', listedSet(family)),
      type: `ifname . ${ADDRESS_TYPE[family]}`,
    })),
  ];
}

/** The same of family bridge. */
export function programmedAtPorts(sets: readonly NftSet[], { newPods }: BridgedPorts): readonly NftSet[] {
  return newPods ? sets.map((set) => ({ ...set, name: nameIn('bridge', set.name) })) : [];
}
