/**
 * What kube-proxy, kubelet and AWS VPC CNI keep in one node's iptables, as `iptables-restore --noflush` input. Pure.
 *
 * Chain names, marks and the order of the jumps are those the real programs use, because that is what a policy agent meets;
 * each chain here is reduced to what decides where a packet goes.
 */
import { createHash } from 'node:crypto';
import type { Family } from '../../src/core/vocabulary.ts';
import { familyOf } from '../../src/net/ip.ts';
import { CLUSTER_CIDRS, hostCidr, nodeAddress } from './address-plan.ts';
import type { LabService, LabServicePort } from './types.ts';

/** kube-proxy's mark for "source becomes the node". */
const MASQUERADE_MARK = '0x4000/0x4000';

export interface ServiceNode {
  /** Of the pods on this node and of the node itself: what `externalTrafficPolicy: Local` may use. */
  readonly localAddresses: ReadonlySet<string>;
  /** Start of the names of pods' interfaces, where their addresses tell nothing. */
  readonly podInterfaces?: string;
}

/** Chains that stay; they are emptied and filled again with each change of Services. */
const NAT_CHAINS = ['KUBE-SERVICES', 'KUBE-NODEPORTS', 'KUBE-MARK-MASQ'] as const;
const FILTER_CHAINS = ['KUBE-SERVICES', 'KUBE-EXTERNAL-SERVICES'] as const;

/**
 * Once per node and family: the jumps, the chains by which kubelet and kube-proxy show which backend they use
 * (KUBE-IPTABLES-HINT, the canaries), kube-proxy's early accept in FORWARD, and for IPv4 AWS VPC CNI's source translation.
 * `podAddresses`: of pods outside of the lab's own pod CIDRs.
 */
export function writeNodeRules(node: number, family: Family, podAddresses: readonly string[] = []): string {
  return [
    ...table('mangle', ['KUBE-IPTABLES-HINT', 'KUBE-KUBELET-CANARY', 'KUBE-PROXY-CANARY'], []),
    ...table(
      'nat',
      [...NAT_CHAINS, 'KUBE-POSTROUTING', ...(family === 4 ? ['AWS-SNAT-CHAIN-0'] : [])],
      [
        '-I PREROUTING 1 -j KUBE-SERVICES',
        '-I OUTPUT 1 -j KUBE-SERVICES',
        '-I POSTROUTING 1 -j KUBE-POSTROUTING',
        ...masquerade,
        ...(family === 4
          ? sourceTranslation(
              node,
              podAddresses.filter((address) => familyOf(address) === 4),
            )
          : []),
      ],
    ),
    ...table(
      'filter',
      ['KUBE-FORWARD', ...FILTER_CHAINS],
      [
        '-I INPUT 1 -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES',
        '-I OUTPUT 1 -m conntrack --ctstate NEW -j KUBE-SERVICES',
        '-I FORWARD 1 -j KUBE-FORWARD',
        '-I FORWARD 2 -m conntrack --ctstate NEW -j KUBE-SERVICES',
        '-I FORWARD 3 -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES',
        '-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP',
        `-A KUBE-FORWARD -m mark --mark ${MASQUERADE_MARK} -j ACCEPT`,
        '-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
      ],
    ),
  ].join('\n');
}

const masquerade = [
  `-A KUBE-POSTROUTING -m mark ! --mark ${MASQUERADE_MARK} -j RETURN`,
  '-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000',
  '-A KUBE-POSTROUTING -j MASQUERADE',
];

/** Pods leave the cluster with their node's address; IPv6 pods with their own, as on EKS. */
function sourceTranslation(node: number, podAddresses: readonly string[]): string[] {
  const { nodes, pods } = CLUSTER_CIDRS[4];
  return [
    `-A POSTROUTING -s ${pods} -j AWS-SNAT-CHAIN-0`,
    ...[nodes, pods, ...podAddresses.map(hostCidr)].map((cidr) => `-A AWS-SNAT-CHAIN-0 -d ${cidr} -j RETURN`),
    `-A AWS-SNAT-CHAIN-0 ! -o vlan+ -m addrtype ! --dst-type LOCAL -j SNAT --to-source ${nodeAddress(node, 4)}`,
  ];
}

export interface ServiceRules {
  readonly input: string;
  /** Chains made for single Services; give them back as `stale` with the next call for this node and family. */
  readonly chains: readonly string[];
}

/** Replaces the node's rules for all Services of one family in one commit per table. `stale`: the call before's `chains`. */
export function writeServiceRules(
  node: ServiceNode,
  family: Family,
  services: readonly LabService[],
  stale: readonly string[],
): ServiceRules {
  const ports = services.flatMap((service) => service.ports.map((port) => portRules(node, family, service, port)));
  const chains = ports.flatMap((port) => port.chains);
  const gone = stale.filter((chain) => !chains.includes(chain));
  const input = [
    ...table(
      'nat',
      [...NAT_CHAINS, ...chains, ...gone],
      [
        '-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000',
        ...ports.flatMap((port) => port.nat),
        // Node ports come last: only what is addressed to the node itself.
        '-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS',
        ...gone.map((chain) => `-X ${chain}`),
      ],
    ),
    ...table(
      'filter',
      FILTER_CHAINS,
      ports.flatMap((port) => port.filter),
    ),
  ].join('\n');
  return { input, chains };
}

/** As kube-proxy detects local traffic: by the cluster's CIDR, or by the prefix of interfaces. */
function fromPods({ podInterfaces }: ServiceNode, family: Family): string {
  return podInterfaces === undefined ? `-s ${CLUSTER_CIDRS[family].pods}` : `-i ${podInterfaces}+`;
}

interface PortRules {
  readonly chains: readonly string[];
  readonly nat: readonly string[];
  readonly filter: readonly string[];
}

function portRules(node: ServiceNode, family: Family, service: LabService, port: LabServicePort): PortRules {
  const targets = port.targets.filter(({ address }) => familyOf(address) === family);
  const virtual = service.clusterIPs.filter((address) => familyOf(address) === family);
  const key = `${service.key}/${port.protocol}/${port.port}`;
  const matches = virtual.map((address) => `-d ${hostCidr(address)} ${matchPort(port, port.port)}`);
  const nodePort = port.nodePort === undefined ? undefined : matchPort(port, port.nodePort);
  if (targets.length === 0) return withoutEndpoints(matches, nodePort);

  const all = chainName('SVC', key);
  const external = chainName('EXT', key);
  const endpoints = targets.map((target) => endpointRules(key, port, target));
  const nat = [
    ...matches.map((match) => `-A KUBE-SERVICES ${match} -j ${all}`),
    // Whoever is no pod comes back to the same node only when the backend answers to the node.
    ...matches.map((match) => `-A ${all} ! ${fromPods(node, family)} ${match} -j KUBE-MARK-MASQ`),
    ...spread(all, endpoints),
    ...endpoints.flatMap((endpoint) => endpoint.rules),
  ];
  const chains = [all, ...endpoints.map((endpoint) => endpoint.chain)];
  if (nodePort === undefined) return { chains, nat, filter: [] };
  const outside = externalRules(node, key, service, endpoints, { all, external, nodePort });
  return {
    chains: [...chains, external, ...outside.chains],
    nat: [...nat, `-A KUBE-NODEPORTS ${nodePort} -j ${external}`, ...outside.nat],
    filter: outside.filter,
  };
}

function withoutEndpoints(matches: readonly string[], nodePort: string | undefined): PortRules {
  const external =
    nodePort === undefined ? [] : [`-A KUBE-EXTERNAL-SERVICES ${nodePort} -m addrtype --dst-type LOCAL -j REJECT`];
  return {
    chains: [],
    nat: [],
    filter: [...matches.map((match) => `-A KUBE-SERVICES ${match} -j REJECT`), ...external],
  };
}

interface Endpoint {
  readonly chain: string;
  readonly address: string;
  readonly rules: readonly string[];
}

function endpointRules(key: string, port: LabServicePort, target: { address: string; port: number }): Endpoint {
  const { address } = target;
  const family = familyOf(address);
  const chain = chainName('SEP', `${key}/${address}/${target.port}`);
  const to = family === 6 ? `[${address}]:${target.port}` : `${address}:${target.port}`;
  const rules = [
    // A pod that reaches itself would get an answer from its own address.
    `-A ${chain} -s ${hostCidr(address)} -j KUBE-MARK-MASQ`,
    `-A ${chain} ${protocolOf(port)} -j DNAT --to-destination ${to}`,
  ];
  return { chain, address, rules };
}

/** `externalTrafficPolicy`: Cluster hides the client behind the node; Local keeps it and uses this node's endpoints only. */
function externalRules(
  node: ServiceNode,
  key: string,
  service: LabService,
  endpoints: readonly Endpoint[],
  names: { readonly all: string; readonly external: string; readonly nodePort: string },
): PortRules {
  const { all, external, nodePort } = names;
  if (service.externalTrafficPolicy === 'Cluster') {
    return { chains: [], nat: [`-A ${external} -j KUBE-MARK-MASQ`, `-A ${external} -j ${all}`], filter: [] };
  }
  const local = chainName('SVL', key);
  const here = endpoints.filter((endpoint) => node.localAddresses.has(endpoint.address));
  const family = familyOf(endpoints[0]!.address);
  const nat = [
    `-A ${external} ${fromPods(node, family)} -j ${all}`,
    `-A ${external} -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ`,
    `-A ${external} -m addrtype --src-type LOCAL -j ${all}`,
    `-A ${external} -j ${local}`,
    ...spread(local, here),
  ];
  const drop = here.length > 0 ? [] : [`-A KUBE-EXTERNAL-SERVICES ${nodePort} -m addrtype --dst-type LOCAL -j DROP`];
  return { chains: [local], nat, filter: drop };
}

/** Each endpoint with the same probability: 1/n for the first, 1/(n-1) of the rest for the second, all that is left for the last. */
function spread(chain: string, endpoints: readonly Endpoint[]): string[] {
  return endpoints.map((endpoint, i) => {
    const left = endpoints.length - i;
    const chance = left === 1 ? '' : `-m statistic --mode random --probability ${(1 / left).toFixed(10)} `;
    return `-A ${chain} ${chance}-j ${endpoint.chain}`;
  });
}

function protocolOf(port: LabServicePort): string {
  return `-p ${port.protocol.toLowerCase()}`;
}

function matchPort(port: LabServicePort, number: number): string {
  return `${protocolOf(port)} --dport ${number}`;
}

/** `KUBE-<kind>-` and 16 characters, as kube-proxy's names. */
function chainName(kind: 'SVC' | 'SVL' | 'SEP' | 'EXT', key: string): string {
  return `KUBE-${kind}-${createHash('sha256').update(key).digest('hex').slice(0, 16).toUpperCase()}`;
}

function table(name: string, chains: readonly string[], rules: readonly string[]): string[] {
  return [`*${name}`, ...chains.map((chain) => `:${chain} - [0:0]`), ...rules, 'COMMIT', ''];
}
