/**
 * What is typed into each namespace to make a node, a pod or an outside host of it: sysctls, then `ip` lines. Pure.
 *
 *   outside host --- fabric --- node --- pod            every line a veth pair; the fabric routes and does nothing else
 *
 * The namespace on the right of a pair makes it, both ends at once, and the other end then brings up its own.
 */
import type { Family } from '../../src/core/vocabulary.ts';
import { familyOf } from '../../src/net/ip.ts';
import {
  BRIDGE_PREFIX_LENGTH,
  CLUSTER_CIDRS,
  GATEWAY,
  bridgeAddress,
  hostCidr,
  nodeAddress,
  podCidr,
} from './address-plan.ts';
import { hardwareAddress } from './names.ts';
import type { Wiring } from './types.ts';

export const BRIDGE = 'cni0';
/** The one interface of a pod or outside host, and a node's interface to the fabric. */
export const UPLINK = 'eth0';

/** Everything done inside of one namespace in one step. */
export interface NamespaceScript {
  readonly netns: string;
  /** Path below /proc/sys and value, written first and in order. */
  readonly sysctls: readonly (readonly [path: string, value: string])[];
  /** Lines of one `ip -batch`. */
  readonly ip: readonly string[];
}

export interface NodeWiring {
  readonly index: number;
  readonly netns: string;
  /** Of the veth end in the fabric. */
  readonly fabricPort: string;
}

export interface PodWiring {
  readonly netns: string;
  readonly node: NodeWiring;
  readonly hostInterface: string;
  readonly addresses: readonly string[];
}

export interface LabWiring {
  readonly wiring: Wiring;
  readonly families: readonly Family[];
  readonly fabric: string;
}

/** A shell script: sysctls by the shell itself, then one `ip` process for all lines. Exits non-zero with `ip`'s own message. */
export function scriptText(script: NamespaceScript): string {
  const writes = script.sysctls.map(([path, value]) => `echo ${value} > /proc/sys/${path}`);
  const batch = script.ip.length === 0 ? [] : ["ip -batch - <<'END'", ...script.ip, 'END'];
  return ['set -e', ...writes, ...batch, ''].join('\n');
}

/** Before any interface is there, so that each one is born with them. */
function hostSysctls(families: readonly Family[]): [string, string][] {
  return [
    // Replies may come by another way than requests went; nothing here forges addresses.
    ['net/ipv4/conf/all/rp_filter', '0'],
    ['net/ipv4/conf/default/rp_filter', '0'],
    // An unlimited host says "refused" each time it is asked, so a refused probe never looks like a dropped one.
    ['net/ipv4/icmp_ratelimit', '0'],
    ['net/ipv6/icmp/ratelimit', '0'],
    ...(families.includes(6) ? noAddressCheck : noIPv6),
  ];
}

/** Duplicate address detection would keep each new address unusable for a second. */
const noAddressCheck: [string, string][] = [
  ['net/ipv6/conf/all/accept_dad', '0'],
  ['net/ipv6/conf/default/accept_dad', '0'],
  ['net/ipv6/conf/default/dad_transmits', '0'],
  ['net/ipv6/conf/default/accept_ra', '0'],
  ['net/ipv6/conf/default/router_solicitations', '0'],
];

const noIPv6: [string, string][] = [
  ['net/ipv6/conf/all/disable_ipv6', '1'],
  ['net/ipv6/conf/default/disable_ipv6', '1'],
];

function routerSysctls(families: readonly Family[]): [string, string][] {
  return [
    ...hostSysctls(families),
    ['net/ipv4/ip_forward', '1'],
    ...(families.includes(6) ? ([['net/ipv6/conf/all/forwarding', '1']] as [string, string][]) : []),
    ['net/ipv4/conf/all/send_redirects', '0'],
    ['net/ipv4/conf/default/send_redirects', '0'],
  ];
}

export function fabricScript(lab: LabWiring): NamespaceScript {
  // What is addressed to no pod ends here, unanswered.
  const noPod = lab.families.map((family) => `route add blackhole ${CLUSTER_CIDRS[family].pods}`);
  return { netns: lab.fabric, sysctls: routerSysctls(lab.families), ip: ['link set lo up', ...noPod] };
}

/** The fabric's side of a link: routes to what lies behind it. */
function fabricPort(
  port: string,
  lab: LabWiring,
  direct: readonly string[],
  behind: readonly [cidr: string, via: string][],
) {
  return [
    `link set ${port} up`,
    ...lab.families.map((family) => `addr add ${hostCidr(GATEWAY[family])} dev ${port} ${family === 6 ? 'nodad' : ''}`),
    ...direct.map((address) => `route replace ${hostCidr(address)} dev ${port}`),
    ...behind.map(([cidr, via]) => `route replace ${cidr} via ${via} dev ${port}`),
  ];
}

export function fabricNodePort(lab: LabWiring, node: NodeWiring): readonly string[] {
  const addresses = lab.families.map((family) => nodeAddress(node.index, family));
  const cidrs = lab.families.map((family): [string, string] => [
    podCidr(node.index, family),
    nodeAddress(node.index, family),
  ]);
  return fabricPort(node.fabricPort, lab, addresses, lab.wiring === 'bridge' ? cidrs : []);
}

export function fabricOutsidePort(lab: LabWiring, port: string, addresses: readonly string[]): readonly string[] {
  return fabricPort(port, lab, addresses, []);
}

/**
 * In the fabric: on which node a pod's addresses are. Routed pods have theirs from the network itself, as in a VPC, and any node
 * can have any; with bridges the network knows one pod CIDR per node.
 */
export function fabricPodRoutes(lab: LabWiring, pod: PodWiring): readonly string[] {
  if (lab.wiring === 'bridge') return [];
  const { index, fabricPort } = pod.node;
  return pod.addresses.map(
    (address) => `route replace ${hostCidr(address)} via ${nodeAddress(index, familyOf(address))} dev ${fabricPort}`,
  );
}

export function noFabricPodRoutes(lab: LabWiring, pod: PodWiring): readonly string[] {
  return lab.wiring === 'bridge' ? [] : pod.addresses.map((address) => `route del ${hostCidr(address)}`);
}

/** A veth pair from this namespace's `eth0` to `peer` in `peerNetns`, this end up. */
function uplink(netns: string, peer: string, peerNetns: string): string[] {
  const [own, other] = [hardwareAddress(netns), hardwareAddress(`${peerNetns} ${peer}`)];
  return [
    'link set lo up',
    `link add ${UPLINK} address ${own} type veth peer name ${peer} address ${other} netns ${peerNetns}`,
    `link set ${UPLINK} up`,
  ];
}

/** Addresses that stand alone, and a default route by a gateway that only this link knows. */
function hostAddresses(addresses: readonly string[]): string[] {
  const families = new Set(addresses.map(familyOf));
  return [
    ...addresses.map(
      (address) => `addr add ${hostCidr(address)} dev ${UPLINK} ${familyOf(address) === 6 ? 'nodad' : ''}`,
    ),
    ...[...families].flatMap((family) => [
      `route replace ${hostCidr(GATEWAY[family])} dev ${UPLINK}`,
      `route replace default via ${GATEWAY[family]} dev ${UPLINK}`,
    ]),
  ];
}

export function nodeScript(lab: LabWiring, node: NodeWiring): NamespaceScript {
  const addresses = lab.families.map((family) => nodeAddress(node.index, family));
  const sysctls: [string, string][] = [
    ...routerSysctls(lab.families),
    // Loose, as AWS VPC CNI sets it on its primary interface.
    ['net/ipv4/conf/all/rp_filter', '2'],
    ['net/ipv4/conf/default/rp_filter', '2'],
    ...(lab.wiring === 'bridge' ? bridgeSysctls : []),
  ];
  const network = lab.wiring === 'bridge' ? bridgeLines(lab, node) : [];
  return {
    netns: node.netns,
    sysctls,
    ip: [...uplink(node.netns, node.fabricPort, lab.fabric), ...hostAddresses(addresses), ...network],
  };
}

/** Per network namespace since Linux 5.3, as `test/netns/lab-network.test.ts` checks. */
const bridgeSysctls: [string, string][] = [
  ['net/bridge/bridge-nf-call-iptables', '1'],
  ['net/bridge/bridge-nf-call-ip6tables', '1'],
];

function bridgeLines(lab: LabWiring, node: NodeWiring): string[] {
  return [
    `link add ${BRIDGE} address ${hardwareAddress(`${node.netns} ${BRIDGE}`)} type bridge forward_delay 0 stp_state 0 mcast_snooping 0`,
    `link set ${BRIDGE} up`,
    ...lab.families.map((family) => {
      const cidr = `${bridgeAddress(node.index, family)}/${BRIDGE_PREFIX_LENGTH[family]}`;
      return `addr add ${cidr} dev ${BRIDGE} ${family === 6 ? 'nodad' : ''}`;
    }),
  ];
}

export function outsideScript(
  lab: LabWiring,
  netns: string,
  port: string,
  addresses: readonly string[],
): NamespaceScript {
  return {
    netns,
    sysctls: hostSysctls(lab.families),
    ip: [...uplink(netns, port, lab.fabric), ...hostAddresses(addresses)],
  };
}

export function podScript(lab: LabWiring, pod: PodWiring): NamespaceScript {
  return {
    netns: pod.netns,
    sysctls: hostSysctls(lab.families),
    ip: [...uplink(pod.netns, pod.hostInterface, pod.node.netns), ...podAddressLines(lab, pod)],
  };
}

/** In the pod: its addresses and routes, from nothing. */
export function podAddressLines(lab: LabWiring, pod: PodWiring): string[] {
  if (lab.wiring === 'bridge') return pod.addresses.flatMap((address) => bridgedPodAddress(pod.node, address));
  // The pod never asks who its gateway is: the entry stands, as AWS VPC CNI writes it.
  const neighbour = hardwareAddress(`${pod.node.netns} ${pod.hostInterface}`);
  const families = [...new Set(pod.addresses.map(familyOf))];
  return [
    ...hostAddresses(pod.addresses),
    ...families.map((family) => `neigh replace ${GATEWAY[family]} lladdr ${neighbour} dev ${UPLINK} nud permanent`),
  ];
}

function bridgedPodAddress(node: NodeWiring, address: string): string[] {
  const family = familyOf(address);
  return [
    `addr add ${address}/${BRIDGE_PREFIX_LENGTH[family]} dev ${UPLINK} ${family === 6 ? 'nodad' : ''}`,
    `route replace default via ${bridgeAddress(node.index, family)} dev ${UPLINK}`,
  ];
}

/** In the pod, before new addresses: takes away those of both families. */
export const DROP_POD_ADDRESSES = `addr flush dev ${UPLINK} scope global`;

/** On the node, once the pod's script made the pair. */
export function attachPod(lab: LabWiring, pod: PodWiring): string[] {
  const port =
    lab.wiring === 'bridge'
      ? // A pod that reaches itself through a Service goes out and in by the same port.
        [`link set ${pod.hostInterface} master ${BRIDGE}`, `link set ${pod.hostInterface} type bridge_slave hairpin on`]
      : [];
  return [...port, `link set ${pod.hostInterface} up`, ...podRoutes(lab, pod)];
}

/** On the node: the way to a routed pod. A bridge needs none. */
export function podRoutes(lab: LabWiring, pod: PodWiring): string[] {
  if (lab.wiring === 'bridge') return [];
  return pod.addresses.map((address) => {
    const family = familyOf(address);
    return `route replace ${hostCidr(address)} dev ${pod.hostInterface} src ${nodeAddress(pod.node.index, family)}`;
  });
}

export function noPodRoutes(lab: LabWiring, pod: PodWiring): string[] {
  if (lab.wiring === 'bridge') return [];
  return pod.addresses.map((address) => `route del ${hostCidr(address)} dev ${pod.hostInterface}`);
}

/** Forgets who last had an address; needed on a bridge when an address moves. */
export function forgetNeighbours(addresses: readonly string[]): string[] {
  return addresses.map((address) => `neigh flush to ${hostCidr(address)} nud all`);
}
