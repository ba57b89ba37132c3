/**
 * The gate for new pods (S-75): what comes from or goes to a pod's interface at an address that is not programmed yet is dropped.
 *
 *   PCL-NEW-S   by source:      -i eni+ (or the bridge port it came in by) and not in the set of programmed addresses: goto PCL-NEW-X
 *   PCL-NEW-D   by destination: -o eni+ (or a bridge of pods, or a port of one), likewise; the node's own packets over a trunk RETURN (S-60)
 *   PCL-NEW-X   log, DROP
 *
 * Entered by first packets only, before a pod's rules are looked for. The node itself sends by OUTPUT, which has no rules. An address
 * joins the set behind the commit that brings its rules, and leaves it ahead of the one that takes them away (dataplane/iptables/plan/diff.ts). Link-local,
 * multicast and broadcast addresses are always in it: they are nobody's, and what is known of interfaces judges them (guards.ts).
 */
import type { Family } from '../../../core/vocabulary.ts';
import type { NodeIntent } from '../../../compile/intent.ts';
import type { IpSet, Match, Rule } from '../rules/rule.ts';
import type { Layout } from '../rules/ruleset.ts';
import type { PodInterfaces } from '../../../host/pod-interfaces.ts';

import { versionedMap } from '../../../core/versioned-map.ts';
import { familyOf } from '../../../net/ip.ts';
import { Chain } from '../rules/chain.ts';
import { writePrefix } from '../../log-prefix.ts';
import { MULTICAST_AND_LINK_LOCAL, NEW_POD_CHAINS, programmedSet } from '../rules/names.ts';

const RETURN = { kind: 'return' } as const;
const ROLE = { kind: 'new-pods' } as const;

/** Whether first packets have to pass the gate. */
export function isClosed(layout: Layout): layout is Layout & Required<Pick<Layout, 'newPods'>> {
  return layout.newPods !== undefined && layout.mode === 'enforce';
}

/** The addresses that may pass: those of local pods whose rules these are, and those that are nobody's. */
export function programmedAddresses(
  family: Family,
  localAddresses: NodeIntent['localAddresses'],
  { broadcasts }: PodInterfaces,
): IpSet {
  const ofFamily = (address: string): boolean => familyOf(address) === family;
  const members = [...MULTICAST_AND_LINK_LOCAL[family], ...[...broadcasts, ...localAddresses.keys()].filter(ofFamily)];
  return {
    name: programmedSet(family),
    family,
    type: 'hash:net',
    members: versionedMap(members.map((member) => [member, true])),
    meaning: 'programmed addresses',
    opens: true,
  };
}

export function newPodChains(family: Family, layout: Layout, { bridges }: PodInterfaces): readonly Chain[] {
  if (!isClosed(layout)) return [];
  const { source, destination, denied } = NEW_POD_CHAINS;
  const prefixes = layout.newPods.interfacePrefixes;
  const isBridged = bridges.length > 0;
  const unless = (dimensions: 'src' | 'dst', at: Match): Rule => {
    const unknown: Match = { kind: 'not-in-set', set: programmedSet(family), dimensions };
    return { matches: [at, unknown], target: { kind: 'goto', chain: denied } };
  };
  const from = prefixes.flatMap((prefix): Match[] => [
    { kind: 'in-interface-prefix', prefix },
    ...(isBridged ? [{ kind: 'in-port', name: prefix, isPrefix: true } as const] : []),
  ]);
  const to = [
    ...prefixes.flatMap((prefix): Match[] => [
      { kind: 'out-interface-prefix', prefix },
      ...(isBridged ? [{ kind: 'out-port', name: prefix, isPrefix: true } as const] : []),
    ]),
    // What is routed to a bridge does not know its port yet; a bridge with other ports than pods' leads elsewhere as well.
    ...bridges.flatMap(({ name, isOnlyPods }): Match[] => (isOnlyPods ? [{ kind: 'out-interface', name }] : [])),
  ];
  const trunk = trunkRules(layout);
  return [
    new Chain(source, ROLE, [...trunk.source, ...from.map((at) => unless('src', at))]),
    new Chain(destination, ROLE, [...trunk.destination, ...to.map((at) => unless('dst', at))]),
    new Chain(denied, ROLE, [...logRules(layout), { matches: [], target: { kind: 'drop' } }]),
  ];
}

/** A trunk's name may begin as pods' interfaces do; what comes by one comes from elsewhere, and from the node as well (S-60). */
function trunkRules({
  trunkInterfacePrefix: prefix,
}: Layout): Readonly<Record<'source' | 'destination', readonly Rule[]>> {
  if (prefix === '') return { source: [], destination: [] };
  const fromTrunk: Match = { kind: 'in-interface-prefix', prefix };
  return {
    source: [{ matches: [fromTrunk], target: RETURN }],
    destination: [
      { matches: [fromTrunk, { kind: 'source-is-local' }], target: RETURN },
      { matches: [{ kind: 'out-interface-prefix', prefix }], target: RETURN },
    ],
  };
}

function logRules({ log }: Layout): readonly Rule[] {
  if (!log) return [];
  const { group, perSecond, burst } = log;
  const target = { kind: 'log', group, prefix: writePrefix('denied', undefined, NEW_POD_CHAINS.denied) } as const;
  return [{ matches: [{ kind: 'limit', perSecond, burst }], target }];
}
