/**
 * What else on this host has a say in pods' traffic, or carries it past our rules: pure conclusions from what was read
 * (host/host-survey.ts). What could not be read is undefined there, and nothing follows from it.
 */

import type { NftTable } from './read-listings.ts';

/** One rule of a built-in chain of others' tables, as `iptables -S` prints it. */
export interface ForeignRule {
  readonly tool: string;
  readonly table: string;
  readonly rule: string;
}

export interface HostSurvey {
  readonly interfaces: readonly string[];
  /** Rules of filter FORWARD, raw PREROUTING and OUTPUT, mangle PREROUTING, in both variants. */
  readonly rules: readonly ForeignRule[];
  /** All of nf_tables, those of iptables-nft included; undefined: nft is not installed, or does not answer. */
  readonly nftTables: readonly NftTable[] | undefined;
  readonly flowtables: readonly string[] | undefined;
  /** Paths below /sys/fs/bpf; undefined: not mounted. */
  readonly bpfPins: readonly string[] | undefined;
  /** Services that IPVS serves; undefined: this kernel has no IPVS, or does not tell. */
  readonly ipvsServices: number | undefined;
}

export const ENFORCERS = [
  'antrea',
  'aws-network-policy-agent',
  'calico',
  'cilium',
  'kindnet',
  'kube-network-policies',
  'kube-router',
  'ovn-kubernetes',
  'weave-npc',
] as const;
export type Enforcer = (typeof ENFORCERS)[number];

interface Traces {
  readonly chain?: RegExp;
  /** Of nf_tables. */
  readonly table?: RegExp;
  readonly interface?: RegExp;
  readonly pin?: RegExp;
}

/** What each leaves on a node while it enforces. What only its CNI or its service proxy leaves is not here. */
const TRACES: Readonly<Record<Enforcer, Traces>> = {
  antrea: { chain: /^ANTREA-/, interface: /^antrea-(gw|tun)\d+$/ },
  // Its programs hang at each pod's interface while it enforces; its process runs everywhere.
  'aws-network-policy-agent': { pin: /^globals\/aws\/programs\/.+_handle_(ingress|egress)$/ },
  calico: {
    chain: /^cali-/,
    table: /^calico$/,
    interface: /^(vxlan(-v6)?\.calico|wireguard\.cali|wg-v6\.cali|bpf(in|out)\.cali)$/,
    pin: /^(calico|tc\/globals\/cali_)/,
  },
  cilium: { chain: /^CILIUM_/, interface: /^cilium_(host|net|vxlan|geneve)$/, pin: /^(cilium|tc\/globals\/cilium_)/ },
  kindnet: { table: /^kindnet(-network-policies)?$/ },
  'kube-network-policies': { table: /^kube-network-policies$/ },
  'kube-router': { chain: /^KUBE-(ROUTER-(INPUT|FORWARD|OUTPUT)|POD-FW-|NWPLCY-)/, table: /^kube-router-filter-/ },
  'ovn-kubernetes': { interface: /^ovn-k8s-mp\d+$/ },
  'weave-npc': { chain: /^WEAVE-NPC/ },
};

interface FoundEnforcer {
  readonly name: Enforcer;
  /** What gave it away, in words. */
  readonly by: string;
}

/** Other engines that enforce policies here, each by the first trace of it. */
export function findEnforcers(survey: HostSurvey): readonly FoundEnforcer[] {
  return ENFORCERS.flatMap((name) => {
    const by = traceOf(TRACES[name], survey);
    return by === undefined ? [] : [{ name, by }];
  });
}

function traceOf(traces: Traces, { interfaces, rules, nftTables = [], bpfPins = [] }: HostSurvey): string | undefined {
  const { chain, table, interface: device, pin } = traces;
  if (chain) {
    for (const { tool, table: of, rule } of rules) {
      const target = /-[jg] (\S+)/.exec(rule)?.[1];
      if (target !== undefined && chain.test(target)) return `chain ${target} in table ${of} (${tool})`;
    }
    for (const { family, name, chains } of nftTables) {
      const found = chains.find((one) => chain.test(one));
      if (found !== undefined) return `chain ${found} in nft table ${family} ${name}`;
    }
  }
  const ofNft = table && nftTables.find(({ name }) => table.test(name));
  if (ofNft) return `nft table ${ofNft.family} ${ofNft.name}`;
  const link = device && interfaces.find((name) => device.test(name));
  if (link !== undefined) return `interface ${link}`;
  const pinned = pin && bpfPins.find((path) => pin.test(path));
  return pinned === undefined ? undefined : `BPF object /sys/fs/bpf/${pinned}`;
}

/** Interfaces that hold service addresses for IPVS: kube-proxy's and kube-router's. */
const IPVS_INTERFACES = ['kube-ipvs0', 'kube-dummy-if'];

export type IpvsState =
  | { readonly kind: 'none' }
  /** The interface is left over: nothing is served. */
  | { readonly kind: 'left-over'; readonly interface: string }
  | { readonly kind: 'active'; readonly interface: string };

/** IPVS sends service traffic through INPUT and OUTPUT of one node, past FORWARD. */
export function findIpvs({ interfaces, ipvsServices }: Pick<HostSurvey, 'interfaces' | 'ipvsServices'>): IpvsState {
  const found = IPVS_INTERFACES.find((name) => interfaces.includes(name));
  if (found === undefined) return { kind: 'none' };
  return { kind: ipvsServices === 0 ? 'left-over' : 'active', interface: found };
}

/** What our rules do not see, or see otherwise than policies mean it; one sentence each. */
export function findUnjudged(survey: HostSurvey): readonly string[] {
  return [...flowtables(survey), ...transparentProxies(survey), ...untracked(survey), ...otherIpvs(survey)];
}

function flowtables({ flowtables: found = [] }: HostSurvey): readonly string[] {
  if (found.length === 0) return [];
  return [
    `flows that go through a flowtable (${found.join(', ')}) skip our rules from their second packet on, ` +
      'so a tightened policy does not reach them while they live',
  ];
}

const IS_TRANSPARENT = /-j TPROXY\b|-m socket .*--transparent/;

function transparentProxies({ rules }: HostSurvey): readonly string[] {
  const found = rules.find(({ rule }) => IS_TRANSPARENT.test(rule));
  if (!found) return [];
  return [
    `a transparent proxy on this node takes traffic out of the forwarding path (${described(found)}): ` +
      "a client's packets are judged as sent to the proxy, and the proxy's packets to a local pod are not judged",
  ];
}

const IS_UNTRACKED = /-j NOTRACK\b|-j CT\b.* --notrack\b/;

function untracked({ rules }: HostSurvey): readonly string[] {
  const found = rules.filter(({ table, rule }) => table === 'raw' && IS_UNTRACKED.test(rule));
  const [first] = found;
  if (!first) return [];
  const more = found.length > 1 ? ` and ${found.length - 1} more` : '';
  return [
    `conntrack does not see all packets (${described(first)}${more}): answers of such flows are judged as questions of their own, ` +
      'and are dropped where no policy allows that direction',
  ];
}

function otherIpvs(survey: HostSurvey): readonly string[] {
  const { ipvsServices = 0 } = survey;
  if (ipvsServices === 0 || findIpvs(survey).kind !== 'none') return [];
  return [
    `IPVS serves ${ipvsServices} addresses on this node: what goes through it from local pods is judged as sent to the service's ` +
      'address, and what it sends to local pods is not judged',
  ];
}

const MAX_SHOWN = 120;

function described({ tool, table, rule }: ForeignRule): string {
  return `${tool} -t ${table} ${rule.slice(0, MAX_SHOWN)}`;
}
