/** What the rest of the lab sees of its network: nodes, pods, outside hosts, Services and probes, as values. */
import type { RunCommand } from '../../src/host/command.ts';
import type { Family, Protocol } from '../../src/core/vocabulary.ts';

/** `routed`: one /32 and /128 route per pod, no bridge, as AWS VPC CNI. `bridge`: one bridge per node, as the CNI bridge plugin. */
export type Wiring = 'routed' | 'bridge';

/** Which of the two iptables programs the nodes' kubelet and kube-proxy use; the same on every node. */
export type IptablesBackend = 'nft' | 'legacy';

/** Names one place that can send and answer probes. A host-network pod is its node under another key. */
export type EndpointKey = `pod/${string}/${string}` | `node/${string}` | `outside/${string}`;

export function podKey(pod: { readonly namespace: string; readonly name: string }): EndpointKey {
  return `pod/${pod.namespace}/${pod.name}`;
}

export function nodeKey(node: string): EndpointKey {
  return `node/${node}`;
}

export function outsideKey(host: string): EndpointKey {
  return `outside/${host}`;
}

export type ProbeProtocol = Protocol | 'ICMP';

/** A port that an endpoint answers on, in every family. */
export interface Listener {
  readonly protocol: Protocol;
  readonly port: number;
}

export interface LabNetworkOptions {
  /** Start of every namespace and interface name, `pcl-<id>-`; a fresh one if absent. */
  readonly prefix?: string;
  readonly nodes: readonly { readonly name: string }[];
  /** Hosts outside of the cluster to begin with; one called `world` if absent. */
  readonly outside?: readonly OutsideSpec[];
  readonly wiring: Wiring;
  /** In the order in which a pod's addresses are listed. */
  readonly families: readonly Family[];
  readonly backend: IptablesBackend;
  readonly run: RunCommand;
  /** What pods and outside hosts answer on when their spec names nothing; `DEFAULT_LISTENERS` if absent. */
  readonly listeners?: readonly Listener[];
  /** Outside of the lab's pod CIDRs, but of pods to come: not translated on their way. Wiring `routed`. */
  readonly podAddresses?: readonly string[];
}

export interface PodSpec {
  readonly namespace: string;
  readonly name: string;
  readonly node: string;
  /** The pod is its node's network namespace; no interface, no addresses of its own. */
  readonly hostNetwork?: boolean;
  /** Wanted addresses, at most one per family, the rest is allocated. An address still held by another pod is an error. */
  readonly addresses?: readonly string[];
  readonly listeners?: readonly Listener[];
}

export interface OutsideSpec {
  readonly name: string;
  /** Any number, any family; the next free ones of 203.0.113.0/24 and 2001:db8::/64 if absent. */
  readonly addresses?: readonly string[];
  readonly listeners?: readonly Listener[];
}

export interface LabPod {
  readonly key: EndpointKey;
  readonly namespace: string;
  readonly name: string;
  readonly node: string;
  readonly hostNetwork: boolean;
  /** Canonical text, in the order of the lab's families; the node's addresses for a host-network pod. */
  readonly addresses: readonly string[];
  /** The pod's interface as its node sees it; absent for a host-network pod. */
  readonly hostInterface?: string;
  /** Network namespace the pod's processes run in. */
  readonly netns: string;
}

export interface LabNode {
  readonly key: EndpointKey;
  readonly name: string;
  readonly netns: string;
  /** The Node object's InternalIPs, in the order of the lab's families. */
  readonly addresses: readonly string[];
  /** One per family, in the same order. */
  readonly podCidrs: readonly string[];
  /** Lock file for every iptables call on this node (`XTABLES_LOCKFILE`): a node is a host of its own. */
  readonly xtablesLockFile: string;
}

export interface OutsideHost {
  readonly key: EndpointKey;
  readonly name: string;
  readonly netns: string;
  readonly addresses: readonly string[];
}

/** A Service as kube-proxy would see it: addresses and ready endpoints, no selectors. */
export interface LabService {
  /** `namespace/name`; only names the chains. */
  readonly key: string;
  readonly clusterIPs: readonly string[];
  readonly ports: readonly LabServicePort[];
  readonly externalTrafficPolicy: 'Cluster' | 'Local';
}

export interface LabServicePort {
  readonly protocol: Protocol;
  readonly port: number;
  readonly nodePort?: number;
  /** Both families may be mixed; each family's rules use their own. */
  readonly targets: readonly { readonly address: string; readonly port: number }[];
}

export interface ProbeRequest {
  readonly protocol: ProbeProtocol;
  readonly address: string;
  /** Ignored for ICMP. */
  readonly port: number;
  /** Address and port to send from; the kernel chooses if absent. A fixed port allows a single attempt only. */
  readonly sourceAddress?: string;
  readonly sourcePort?: number;
  /** Silence for this long means blocked; 250 if absent. */
  readonly timeoutMs?: number;
  /** Packets sent, evenly over the timeout, before silence counts; 2 if absent. 1 for tests that count packets. */
  readonly attempts?: number;
}

/** `blocked`: no answer at all. `refused`: someone said no (RST, ICMP unreachable, ABORT). `error`: the probe could not be made. */
export type ProbeOutcome = 'reached' | 'blocked' | 'refused' | 'error';

export interface ProbeResult {
  readonly outcome: ProbeOutcome;
  /** From the first packet to the answer, or to giving up. */
  readonly rttUs: number;
  /** Packets that the prober really gave to its kernel. */
  readonly sent?: number;
  /** When it began, wall clock, ms since the epoch. */
  readonly atMs?: number;
  /** Who answered (not for ICMP, where the kernel does). */
  readonly server?: EndpointKey;
  /** Address and port the server saw as the client's, after any SNAT. */
  readonly seenAddress?: string;
  readonly seenPort?: number;
  /** Why it was refused or failed. */
  readonly detail?: string;
}

export interface MatrixProbe extends ProbeRequest {
  readonly from: EndpointKey;
}

/** Who speaks on a long-lived flow: only the server, only the client, or the client and the server echoes. */
export type FlowMode = 'push-server' | 'push-client' | 'talk';

export interface FlowRequest {
  readonly protocol: 'TCP' | 'UDP';
  readonly address: string;
  readonly port: number;
  readonly sourcePort?: number;
  readonly mode: FlowMode;
  readonly intervalMs: number;
}

export interface FlowStatus {
  readonly state: 'connecting' | 'open' | 'closed' | 'failed';
  readonly server?: EndpointKey;
  /** Messages. For TCP `delivered` counts those the other side acknowledged; for UDP it equals `sent`. */
  readonly sent: number;
  readonly delivered: number;
  readonly received: number;
  /** Since the last progress: a message received or, for `push-client`, delivered. */
  readonly silentMs: number;
  /** The longest such silence so far. */
  readonly longestSilenceMs: number;
  readonly detail?: string;
}

export interface RepeatRequest extends ProbeRequest {
  readonly intervalMs: number;
}

export interface RepeatStatus {
  readonly counts: Readonly<Record<ProbeOutcome, number>>;
  /** Each time the outcome differed from the one before, oldest first, the first probe included; wall clock, ms since the epoch. */
  readonly changes: readonly { readonly atMs: number; readonly outcome: ProbeOutcome }[];
}

/** Something in the root namespace that the nodes, and only the nodes, can connect to. */
export interface PublishRequest {
  /** Where it listens: TCP in the root namespace or a unix socket. */
  readonly target: { readonly host: string; readonly port: number } | { readonly path: string };
  /** Nodes find it at 127.0.0.1 and this port. */
  readonly port: number;
}

export interface Publication {
  /** What the nodes connect to, `127.0.0.1:<port>`. */
  readonly address: string;
  /** Cuts the node off: connections are closed, new ones refused, until `resume`. */
  readonly pause: (node: string) => Promise<void>;
  readonly resume: (node: string) => Promise<void>;
}

/** A command that runs inside of a node; start it with the program as `argv[0]`, `env` added to one's own. */
export interface NodeCommand {
  readonly argv: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string>>;
}

/** What the rest of the lab holds; `LabNetwork` is the real one. All changes are made one after another, in call order. */
export interface LabNetworkDoor {
  readonly prefix: string;
  readonly wiring: Wiring;
  readonly families: readonly Family[];
  readonly backend: IptablesBackend;
  nodes(): readonly LabNode[];
  pods(): readonly LabPod[];
  outsideHosts(): readonly OutsideHost[];

  /** All or nothing for wrong input; much faster than one at a time. Resolves when the pods answer probes. */
  addPods(specs: readonly PodSpec[]): Promise<readonly LabPod[]>;
  addPod(spec: PodSpec): Promise<LabPod>;
  /** Replaces the addresses, at most one per family; none leaves the pod without any. The addresses are free at once. */
  setPodAddresses(
    pod: { readonly namespace: string; readonly name: string },
    addresses: readonly string[],
  ): Promise<LabPod>;
  removePod(pod: { readonly namespace: string; readonly name: string }): Promise<void>;
  addOutside(spec: OutsideSpec): Promise<OutsideHost>;
  setListeners(endpoint: EndpointKey, listeners: readonly Listener[]): Promise<void>;
  /** Replaces all Services on all nodes. */
  setServices(services: readonly LabService[]): Promise<void>;

  /** Result i belongs to probe i. Takes about one timeout, and 50 ms more for every 300 probes. */
  probeMatrix(probes: readonly MatrixProbe[]): Promise<readonly ProbeResult[]>;
  openFlow(from: EndpointKey, request: FlowRequest): Promise<LabFlow>;
  repeatProbe(from: EndpointKey, request: RepeatRequest): Promise<LabRepeat>;
  /** When the endpoint's prober stood still since then; undefined: it gives no sign of life within `patienceMs`. */
  signOfLife(endpoint: EndpointKey, sinceMs: number, patienceMs: number): Promise<ProberLife | undefined>;

  nodeCommand(node: string, argv: readonly [string, ...string[]]): NodeCommand;
  publishToNodes(request: PublishRequest): Promise<Publication>;
  /** A unix socket in the root namespace that leads to `<address>:<port>` as the node sees it; default 127.0.0.1. Once for each. */
  reachNodePort(node: string, port: number, address?: string): Promise<{ readonly path: string }>;

  /** Ends the probers, kills what still runs in the lab's namespaces, removes them. Safe to call twice. */
  close(): Promise<void>;
  /** The same without waiting, for `exit` and signal handlers; never throws. */
  closeSync(): void;
}

export interface LabFlow {
  status(): Promise<FlowStatus>;
  close(): Promise<void>;
}

/** What a prober knows of itself: when it stood still, wall clock, ms since the epoch. */
export interface ProberLife {
  readonly nowMs: number;
  readonly stalls: readonly Span[];
}

export interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

export interface LabRepeat {
  status(): Promise<RepeatStatus>;
  /** When the probes with this outcome were sent, oldest first, wall clock in ms; the first 300. Not after `stop`. */
  timesOf(outcome: ProbeOutcome): Promise<readonly number[]>;
  /** Ends it and gives the final counts. */
  stop(): Promise<RepeatStatus>;
}
