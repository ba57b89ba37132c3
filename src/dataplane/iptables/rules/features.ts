/**
 * What the rules ask of the kernel besides chains, addresses and verdicts, and how they are written where it lacks something:
 * fewer packets pass then, never more.
 */
import type { Lack } from '../../dataplane.ts';
import { FAMILIES, type Family, type Protocol } from '../../../core/vocabulary.ts';
import type { IpSet, Match, Rule, Target } from './rule.ts';
import type { Layout } from './ruleset.ts';

import { Chain } from './chain.ts';
import { FEATURES, type Feature, type MissingFeatures } from './kernel-features.ts';

interface FeatureFacts {
  /** The kernel module that brings it. */
  readonly module: string;
  /** What becomes of the rules where it is missing. */
  readonly without: string;
  /** Policies are not enforced as written without it: the node is not ready. */
  readonly isEssential: boolean;
}

const NO_NEIGHBOURS = 'isolated pods cannot discover IPv6 neighbours';
const CLOSED = 'rules that need it allow nothing';

const FEATURE_FACTS: Readonly<Record<Feature, FeatureFacts>> = {
  conntrack: {
    module: 'xt_conntrack and nf_conntrack',
    without: 'isolated pods get no answers to what they ask',
    isEssential: true,
  },
  set: { module: 'xt_set', without: CLOSED, isEssential: true },
  'hash:ip': { module: 'ip_set_hash_ip', without: CLOSED, isEssential: true },
  'hash:net': { module: 'ip_set_hash_net', without: CLOSED, isEssential: true },
  'hash:ip,port': { module: 'ip_set_hash_ipport', without: CLOSED, isEssential: true },
  'hash:net,port': { module: 'ip_set_hash_netport', without: CLOSED, isEssential: true },
  tcp: { module: 'xt_tcpudp', without: 'single ports are matched by multiport', isEssential: false },
  udp: { module: 'xt_tcpudp', without: 'single ports are matched by multiport', isEssential: false },
  sctp: { module: 'xt_sctp', without: 'single ports are matched by multiport', isEssential: false },
  multiport: { module: 'xt_multiport', without: 'one rule for each port', isEssential: false },
  connmark: {
    module: 'xt_connmark',
    without: 'a tightened policy reaches new connections only',
    isEssential: false,
  },
  bpf: {
    module: 'xt_bpf',
    without: 'an isolated pod reaches itself through its own Service only where a policy allows it',
    isEssential: false,
  },
  limit: { module: 'xt_limit', without: 'denied packets are counted, not logged', isEssential: false },
  NFLOG: {
    module: 'xt_NFLOG (nft_log) and nfnetlink_log',
    without: 'denied packets are counted, not logged',
    isEssential: false,
  },
  comment: { module: 'xt_comment', without: 'chains do not name their policies', isEssential: false },
  addrtype: {
    module: 'xt_addrtype',
    without: "the node's own packets over a trunk interface are judged like all others",
    isEssential: false,
  },
};

const PROTOCOL_FEATURE = { TCP: 'tcp', UDP: 'udp', SCTP: 'sctp' } as const satisfies Record<Protocol, Feature>;

/** The layout for a kernel that lacks `missing`: marks and log are whole or not there at all, for both families. */
export function layoutWithout(layout: Layout, missing: MissingFeatures): Layout {
  const lacking = new Set([...(missing[4] ?? []), ...(missing[6] ?? [])]);
  if (lacking.size === 0) return layout;
  const { marks, log, ...rest } = layout;
  return {
    ...rest,
    ...(marks && !lacking.has('connmark') && !lacking.has('conntrack') ? { marks } : {}),
    ...(log && !lacking.has('NFLOG') && !lacking.has('limit') ? { log } : {}),
    missing,
  };
}

/** Whether packets are denied or let through otherwise than the policies say. */
function isEssential(feature: Feature, missing: readonly Feature[]): boolean {
  return FEATURE_FACTS[feature].isEssential || (isPort(feature) && missing.includes('multiport'));
}

function isPort(feature: Feature): boolean {
  return feature === 'tcp' || feature === 'udp' || feature === 'sctp';
}

/**
 * The rules as a kernel without some feature takes them. Ports are written in another way. A jump does without conntrack, so more
 * packets are judged. Any other rule is left out: what it would have let through is not.
 */
export function expressible(rules: readonly Rule[], family: Family, { missing }: Layout): readonly Rule[] {
  const lacking = missing?.[family];
  if (!lacking || lacking.length === 0) return rules;
  return rules.flatMap((rule) => otherPorts(rule, lacking)).flatMap((rule) => fewerMatches(rule, new Set(lacking)));
}

function otherPorts({ matches, ...rest }: Rule, lacking: readonly Feature[]): Rule[] {
  let alternatives: Match[][] = [[]];
  for (const match of matches) {
    const ways = match.kind === 'ports' || match.kind === 'source-ports' ? portWays(match, lacking) : [match];
    alternatives = alternatives.flatMap((before) => ways.map((way) => [...before, way]));
  }
  return alternatives.map((each) => ({ matches: each, ...rest }));
}

type Ports = Extract<Match, { kind: 'ports' | 'source-ports' }>;

function portWays(match: Ports, lacking: readonly Feature[]): Ports[] {
  const { ranges } = match;
  if (ranges.length === 0) return [match];
  if (!lacking.includes('multiport')) {
    return lacking.includes(PROTOCOL_FEATURE[match.protocol]) ? [{ ...match, multiport: true }] : [match];
  }
  return ranges.map((range) => ({ ...match, ranges: [range] }));
}

function fewerMatches(rule: Rule, lacking: ReadonlySet<Feature>): Rule[] {
  const isMissing = (feature: Feature | undefined): boolean => feature !== undefined && lacking.has(feature);
  if (isMissing(featureOfTarget(rule.target))) return [];
  const isJump = rule.target.kind === 'jump' || rule.target.kind === 'goto';
  const matches = rule.matches.filter(
    (match) => !(isJump && featureOfMatch(match) === 'conntrack' && lacking.has('conntrack')),
  );
  if (matches.some((match) => isMissing(featureOfMatch(match)))) return [];
  return matches.length === rule.matches.length ? [rule] : [{ ...rule, matches }];
}

/** Undefined: every kernel with iptables has it. */
function featureOfMatch(match: Match): Feature | undefined {
  switch (match.kind) {
    case 'source':
    case 'destination':
    case 'source-bucket':
    case 'destination-bucket':
    case 'source-block':
    case 'destination-block':
    case 'icmp':
    case 'in-interface-prefix':
    case 'out-interface-prefix':
    case 'not-in-interface-prefix':
    case 'not-out-interface-prefix':
    case 'in-interface':
    case 'out-interface':
      return undefined;
    // Asking for xt_physdev would load br_netfilter, which changes what bridges do with everybody's packets. Where there are bridges
    // with pods it is asked for by the rules themselves.
    case 'in-port':
    case 'out-port':
      return undefined;
    case 'dhcp':
      return 'udp';
    case 'conntrack':
    case 'conntrack-not':
    case 'conntrack-confirmed':
      return 'conntrack';
    case 'stale-mark':
    case 'current-mark':
    case 'denied-flag':
      return 'connmark';
    case 'same-address':
    case 'neighbour-discovery':
      return 'bpf';
    case 'ports':
    case 'source-ports':
      if (match.ranges.length === 0) return undefined;
      return match.multiport || match.ranges.length > 1 ? 'multiport' : PROTOCOL_FEATURE[match.protocol];
    case 'set':
    case 'not-in-set':
      return 'set';
    case 'source-is-local':
    case 'destination-is-local':
      return 'addrtype';
    case 'limit':
      return 'limit';
    case 'comment':
      return 'comment';
  }
}

function featureOfTarget(target: Target): Feature | undefined {
  switch (target.kind) {
    case 'return':
    case 'drop':
    case 'jump':
    case 'goto':
    case 'none':
      return undefined;
    case 'stamp-epoch':
    case 'set-denied-flag':
      return 'connmark';
    case 'log':
      return 'NFLOG';
  }
}

/** As `expressible`, of whole chains. */
export function expressibleChains(chains: readonly Chain[], family: Family, layout: Layout): readonly Chain[] {
  if (!layout.missing?.[family]) return chains;
  return chains.map(({ name, role, rules }) => new Chain(name, role, expressible(rules, family, layout)));
}

/** Sets that a kernel has no type for. */
export function setsWithout(sets: Iterable<IpSet>, missing: MissingFeatures): readonly IpSet[] {
  if (![...(missing[4] ?? []), ...(missing[6] ?? [])].some((feature) => feature.startsWith('hash:'))) return [];
  return [...sets].filter(({ family, type }) => missing[family]?.includes(type));
}

const FAMILY_NAMES: Readonly<Record<Family, string>> = { 4: 'IPv4', 6: 'IPv6' };

/** What is missing, for whom, what it means; undefined if the feature is there. */
function missingFeatureText(feature: Feature, missing: MissingFeatures): string | undefined {
  const families = FAMILIES.filter((family) => missing[family]?.includes(feature));
  if (families.length === 0) return undefined;
  const { module, without } = FEATURE_FACTS[feature];
  const isClosed = isPort(feature) && families.some((family) => missing[family]!.includes('multiport'));
  const meaning = isClosed
    ? CLOSED
    : feature === 'bpf' && families.includes(6)
      ? `${without}; ${NO_NEIGHBOURS}`
      : without;
  return `${feature} (${families.map((family) => FAMILY_NAMES[family]).join(', ')}; module ${module}): ${meaning}`;
}

/** The features without which policies are not enforced as written. */
function essentialsMissing(missing: MissingFeatures): readonly Feature[] {
  return FEATURES.filter((feature) =>
    FAMILIES.some((family) => missing[family]?.includes(feature) && isEssential(feature, missing[family])),
  );
}

const NO_LACKS: readonly Lack[] = [];

/** What is missing, as those see it who need not know the rules. */
export function lacksOf(missing: MissingFeatures): readonly Lack[] {
  if (!missing[4]?.length && !missing[6]?.length) return NO_LACKS;
  return FEATURES.flatMap((feature) => {
    const text = missingFeatureText(feature, missing);
    return text === undefined ? [] : [{ text, neededFor: neededFor(feature, missing) }];
  });
}

function neededFor(feature: Feature, missing: MissingFeatures): Lack['neededFor'] {
  if (essentialsMissing(missing).includes(feature)) return 'policies';
  // Neighbour discovery needs it.
  return feature === 'bpf' && missing[6]?.includes('bpf') ? 'IPv6 pods' : 'nothing';
}
