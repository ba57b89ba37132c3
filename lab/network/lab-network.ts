/** The lab's network on a real kernel: network namespaces as nodes, pods and outside hosts, with a prober in each. */
import { existsSync } from 'node:fs';
import type { Server } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Family } from '../../src/core/vocabulary.ts';
import { AddressBook } from './address-book.ts';
import { MAX_NODES, bridgeAddress, nodeAddress, podCidr } from './address-plan.ts';
import { type LabClaim, claimPrefix, removeLab } from './lab-state.ts';
import { fabricNetns, hostInterface, nodeNetns, outsideNetns, podNetns, ROUTED_POD_INTERFACES } from './names.ts';
import { Namespaces } from './namespaces.ts';
import * as plumbing from './plumbing.ts';
import { Prober } from './prober.ts';
import { Relay, unixDoorTo } from './relay.ts';
import { writeNodeRules, writeServiceRules } from './service-rules.ts';
import {
  type EndpointKey,
  type FlowRequest,
  type IptablesBackend,
  type LabFlow,
  type LabNetworkDoor,
  type LabNetworkOptions,
  type LabNode,
  type LabPod,
  type LabRepeat,
  type LabService,
  type Listener,
  type MatrixProbe,
  type NodeCommand,
  type OutsideHost,
  type OutsideSpec,
  type PodSpec,
  type ProbeResult,
  type ProberLife,
  type Publication,
  type PublishRequest,
  type RepeatRequest,
  type Wiring,
  nodeKey,
  outsideKey,
  podKey,
} from './types.ts';

/** What every endpoint answers on when nothing else is asked for. */
export const DEFAULT_LISTENERS: readonly Listener[] = [
  { protocol: 'TCP', port: 80 },
  { protocol: 'UDP', port: 80 },
  { protocol: 'SCTP', port: 80 },
];

/**
 * A few hundred probes keep two cores busy for a tenth of their timeout; thousands at once would wait for each other until some
 * look blocked. A batch that has blocked probes in it does not hold up the next for longer than the interval.
 */
const PROBES_PER_BATCH = 300;
const BATCH_INTERVAL_MS = 50;

/** DNS names, so that they cannot mean anything to a shell, a path or `ip`. */
const NAME_PATTERN = /^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$/;

/** There when bridges can hand their packets to iptables. */
const BRIDGE_NETFILTER = '/proc/sys/net/bridge';

type PodName = Pick<PodSpec, 'namespace' | 'name'>;

interface NodeState {
  readonly node: LabNode;
  readonly wiring: plumbing.NodeWiring;
  readonly prober: Prober;
  listeners: readonly Listener[];
  /** Chains of single Services, per family. */
  readonly serviceChains: Map<Family, readonly string[]>;
  relay: Relay | undefined;
}

interface PodState {
  pod: LabPod;
  readonly node: NodeState;
  listeners: readonly Listener[];
  /** Absent for a host-network pod. */
  readonly prober?: Prober;
}

interface OutsideState {
  readonly host: OutsideHost;
  readonly prober: Prober;
  listeners: readonly Listener[];
}

const liveNetworks = new Set<LabNetwork>();

/** Takes away every lab of this process; for `exit` and signal handlers. Never throws. */
export function closeLabNetworksSync(): void {
  for (const network of [...liveNetworks]) network.closeSync();
}

export class LabNetwork implements LabNetworkDoor {
  readonly prefix: string;
  readonly wiring: Wiring;
  readonly families: readonly Family[];
  readonly backend: IptablesBackend;
  readonly #claim: LabClaim;
  readonly #lab: plumbing.LabWiring;
  readonly #namespaces: Namespaces;
  readonly #addresses: AddressBook;
  readonly #listeners: readonly Listener[];
  readonly #podAddresses: readonly string[];
  readonly #nodes = new Map<string, NodeState>();
  readonly #pods = new Map<EndpointKey, PodState>();
  readonly #outside = new Map<string, OutsideState>();
  /** Addresses that somebody had before, so that a neighbour may remember them. */
  readonly #usedBefore = new Set<string>();
  /** Everything started that must be ended. */
  readonly #processes = new Set<Prober | Relay>();
  readonly #doors: Server[] = [];
  #outsidePorts = 0;
  #queue: Promise<unknown> = Promise.resolve();
  #closing: Promise<void> | undefined;
  #removed = false;

  /** Builds fabric, nodes and outside hosts. Rejects with nothing left behind. */
  static async create(options: LabNetworkOptions): Promise<LabNetwork> {
    checkOptions(options);
    const network = new LabNetwork(options);
    try {
      await network.#build(options);
    } catch (error) {
      await network.close();
      throw error;
    }
    return network;
  }

  private constructor(options: LabNetworkOptions) {
    this.wiring = options.wiring;
    this.families = options.families;
    this.backend = options.backend;
    this.#claim = claimPrefix(options.prefix);
    this.prefix = this.#claim.prefix;
    this.#lab = { wiring: options.wiring, families: options.families, fabric: fabricNetns(this.prefix) };
    this.#namespaces = new Namespaces(options.run);
    this.#addresses = new AddressBook(options.families, options.wiring);
    this.#listeners = options.listeners ?? DEFAULT_LISTENERS;
    this.#podAddresses = options.podAddresses ?? [];
    liveNetworks.add(this);
  }

  nodes(): readonly LabNode[] {
    return [...this.#nodes.values()].map((state) => state.node);
  }

  pods(): readonly LabPod[] {
    return [...this.#pods.values()].map((state) => state.pod);
  }

  outsideHosts(): readonly OutsideHost[] {
    return [...this.#outside.values()].map((state) => state.host);
  }

  // Changes

  async addPod(spec: PodSpec): Promise<LabPod> {
    const [pod] = await this.addPods([spec]);
    return pod!;
  }

  addPods(specs: readonly PodSpec[]): Promise<readonly LabPod[]> {
    return this.#serially(async () => {
      const pods = this.#planPods(specs);
      try {
        await this.#makePods(pods);
        await Promise.all(pods.map((pod, i) => this.#startPod(pod, specs[i]!)));
      } catch (error) {
        await Promise.all(pods.map((pod) => this.#takeAway(pod).catch(() => {})));
        throw error;
      }
      return pods;
    });
  }

  setPodAddresses(name: PodName, addresses: readonly string[]): Promise<LabPod> {
    return this.#serially(async () => {
      const state = this.#podState(podKey(name));
      const { pod, node } = state;
      if (pod.hostNetwork) throw new Error(`${pod.key}: addresses: a host-network pod has those of its node`);
      const wanted = this.#addresses.replaceForPod(pod.key, addressNode(node), addresses);
      await this.#disconnect(pod);
      state.pod = { ...pod, addresses: wanted };
      const wiring = this.#podWiring(state.pod);
      await this.#namespaces.ip(pod.netns, [
        plumbing.DROP_POD_ADDRESSES,
        ...plumbing.podAddressLines(this.#lab, wiring),
      ]);
      await this.#namespaces.ip(node.node.netns, plumbing.podRoutes(this.#lab, wiring));
      await this.#connect([state.pod]);
      await this.#serve(pod.key);
      return state.pod;
    });
  }

  removePod(name: PodName): Promise<void> {
    return this.#serially(async () => {
      const { pod } = this.#podState(podKey(name));
      await this.#takeAway(pod);
      if (pod.hostNetwork) await this.#serve(nodeKey(pod.node));
    });
  }

  addOutside(spec: OutsideSpec): Promise<OutsideHost> {
    return this.#serially(async () => {
      const { host, port } = this.#planOutside(spec);
      await this.#namespaces.add([host.netns]);
      await this.#namespaces.scripts([plumbing.outsideScript(this.#lab, host.netns, port, host.addresses)]);
      await this.#namespaces.ip(this.#lab.fabric, plumbing.fabricOutsidePort(this.#lab, port, host.addresses));
      await this.#startOutside(host, spec);
      return host;
    });
  }

  setListeners(endpoint: EndpointKey, listeners: readonly Listener[]): Promise<void> {
    return this.#serially(async () => {
      const state = this.#endpoint(endpoint);
      state.listeners = listeners;
      await this.#serve(endpoint);
    });
  }

  setServices(services: readonly LabService[]): Promise<void> {
    return this.#serially(async () => {
      const writes = [...this.#nodes.values()].flatMap((state) =>
        this.families.map((family) => this.#writeServices(state, family, services)),
      );
      await Promise.all(writes);
    });
  }

  // Probes

  async probeMatrix(probes: readonly MatrixProbe[]): Promise<readonly ProbeResult[]> {
    const batches: Promise<readonly ProbeResult[]>[] = [];
    for (let first = 0; first < probes.length; first += PROBES_PER_BATCH) {
      const batch = this.#probeBatch(probes.slice(first, first + PROBES_PER_BATCH));
      batches.push(batch);
      await Promise.race([batch, sleep(BATCH_INTERVAL_MS)]);
    }
    return (await Promise.all(batches)).flat();
  }

  async openFlow(from: EndpointKey, request: FlowRequest): Promise<LabFlow> {
    return this.#proberOf(from).openFlow(request);
  }

  async repeatProbe(from: EndpointKey, request: RepeatRequest): Promise<LabRepeat> {
    return this.#proberOf(from).repeat(request);
  }

  async signOfLife(endpoint: EndpointKey, sinceMs: number, patienceMs: number): Promise<ProberLife | undefined> {
    return this.#proberOf(endpoint).life(sinceMs, patienceMs);
  }

  /** The prober's process in an endpoint's namespace, for tests that end it. */
  proberPid(endpoint: EndpointKey): number | undefined {
    return this.#proberOf(endpoint).pid;
  }

  // Between the lab and the rest of the machine

  nodeCommand(node: string, argv: readonly [string, ...string[]]): NodeCommand {
    const { netns, xtablesLockFile } = this.#nodeState(node).node;
    return { argv: ['ip', 'netns', 'exec', netns, ...argv], env: { XTABLES_LOCKFILE: xtablesLockFile } };
  }

  publishToNodes({ target, port }: PublishRequest): Promise<Publication> {
    return this.#serially(async () => {
      const path = 'path' in target ? target.path : join(this.#claim.directory, `published-${port}.sock`);
      if ('host' in target) this.#doors.push(await unixDoorTo(target, path));
      const open = new Map<NodeState, () => Promise<void>>();
      const resume = async (node: string): Promise<void> => {
        const state = this.#nodeState(node);
        if (!open.has(state)) open.set(state, await this.#relayOf(state).openInward(port, path));
      };
      const pause = async (node: string): Promise<void> => {
        const close = open.get(this.#nodeState(node));
        open.delete(this.#nodeState(node));
        await close?.();
      };
      await Promise.all([...this.#nodes.keys()].map(resume));
      return { address: `127.0.0.1:${port}`, pause, resume };
    });
  }

  reachNodePort(node: string, port: number, address?: string): Promise<{ readonly path: string }> {
    return this.#serially(async () => {
      const state = this.#nodeState(node);
      const place = address === undefined ? '' : `-${address.replaceAll(':', '_')}`;
      const path = join(this.#claim.directory, `node${state.wiring.index}${place}-${port}.sock`);
      await this.#relayOf(state).openOutward(path, port, address);
      return { path };
    });
  }

  // End

  close(): Promise<void> {
    this.#closing ??= this.#tearDown();
    return this.#closing;
  }

  closeSync(): void {
    if (this.#removed) return;
    const unfinished = this.#namespaces.busy;
    this.#namespaces.abort();
    for (const process of this.#processes) process.kill();
    this.#remove(unfinished);
  }

  async #tearDown(): Promise<void> {
    await this.#queue;
    await Promise.all([...this.#processes].map((process) => process.stop()));
    if (this.#removed) return;
    const problem = this.#remove(false);
    if (problem !== undefined) throw new Error(`lab ${this.prefix}: could not be removed: ${problem}`);
  }

  #remove(keepDirectory: boolean): string | undefined {
    this.#removed = true;
    liveNetworks.delete(this);
    for (const door of this.#doors) door.close();
    return removeLab(this.#claim, keepDirectory);
  }

  /** Changes are made one after another; a failed one does not hold up the next. */
  #serially<T>(change: () => Promise<T>): Promise<T> {
    if (this.#closing || this.#removed) return Promise.reject(new Error(`lab ${this.prefix}: is closed`));
    const result = this.#queue.then(change);
    this.#queue = result.catch(() => {});
    return result;
  }

  async #probeBatch(probes: readonly MatrixProbe[]): Promise<readonly ProbeResult[]> {
    const byProber = Map.groupBy(probes.keys(), (index) => this.#proberOf(probes[index]!.from));
    const results = new Array<ProbeResult>(probes.length);
    const batches = [...byProber].map(async ([prober, indexes]) => {
      const answers = await prober.probe(indexes.map((index) => probes[index]!));
      for (const [i, index] of indexes.entries()) results[index] = answers[i]!;
    });
    await Promise.all(batches);
    return results;
  }

  // Nodes and outside hosts

  async #build(options: LabNetworkOptions): Promise<void> {
    const nodes = options.nodes.map(({ name }, index) => this.#planNode(name, index));
    const specs = options.outside ?? [{ name: 'world' }];
    const outside = specs.map((spec) => ({ spec, ...this.#planOutside(spec) }));
    const { fabric } = this.#lab;
    await this.#namespaces.add([
      fabric,
      ...nodes.map(({ node }) => node.netns),
      ...outside.map(({ host }) => host.netns),
    ]);
    await this.#namespaces.scripts([plumbing.fabricScript(this.#lab)]);
    await this.#namespaces.scripts([
      ...nodes.map(({ wiring }) => plumbing.nodeScript(this.#lab, wiring)),
      ...outside.map(({ host, port }) => plumbing.outsideScript(this.#lab, host.netns, port, host.addresses)),
    ]);
    await this.#namespaces.ip(fabric, [
      ...nodes.flatMap(({ wiring }) => plumbing.fabricNodePort(this.#lab, wiring)),
      ...outside.flatMap(({ host, port }) => plumbing.fabricOutsidePort(this.#lab, port, host.addresses)),
    ]);
    await Promise.all([
      ...nodes.map(({ node, wiring }) => this.#startNode(node, wiring)),
      ...outside.map(({ host, spec }) => this.#startOutside(host, spec)),
    ]);
  }

  #planNode(name: string, index: number): { node: LabNode; wiring: plumbing.NodeWiring } {
    const netns = nodeNetns(this.prefix, name);
    const node: LabNode = {
      key: nodeKey(name),
      name,
      netns,
      addresses: this.families.map((family) => nodeAddress(index, family)),
      podCidrs: this.families.map((family) => podCidr(index, family)),
      xtablesLockFile: join(this.#claim.directory, `node${index}-xtables.lock`),
    };
    return { node, wiring: { index, netns, fabricPort: `n${index}` } };
  }

  async #startNode(node: LabNode, wiring: plumbing.NodeWiring): Promise<void> {
    const prober = this.#started(new Prober(node.key, node.netns));
    const state: NodeState = {
      node,
      wiring,
      prober,
      listeners: this.#listeners,
      serviceChains: new Map(),
      relay: undefined,
    };
    this.#nodes.set(node.name, state);
    const rules = this.families.map(async (family) => {
      await this.#namespaces.restore(
        node,
        this.backend,
        family,
        writeNodeRules(wiring.index, family, this.#podAddresses),
      );
      await this.#writeServices(state, family, []);
    });
    await Promise.all([this.#serve(node.key), ...rules]);
  }

  #planOutside(spec: OutsideSpec): { host: OutsideHost; port: string } {
    checkName('outside host', spec.name);
    const key = outsideKey(spec.name);
    if (this.#outside.has(spec.name)) throw new Error(`${key}: exists already`);
    const addresses = this.#addresses.takeForOutside(key, spec.addresses);
    const host = { key, name: spec.name, netns: outsideNetns(this.prefix, spec.name), addresses };
    return { host, port: `o${this.#outsidePorts++}` };
  }

  async #startOutside(host: OutsideHost, spec: OutsideSpec): Promise<void> {
    const prober = this.#started(new Prober(host.key, host.netns));
    this.#outside.set(host.name, { host, prober, listeners: spec.listeners ?? this.#listeners });
    await this.#serve(host.key);
  }

  async #writeServices(state: NodeState, family: Family, services: readonly LabService[]): Promise<void> {
    const pods = this.pods().filter((pod) => pod.node === state.node.name);
    const localAddresses = new Set([...state.node.addresses, ...pods.flatMap((pod) => pod.addresses)]);
    const stale = state.serviceChains.get(family) ?? [];
    const here = { localAddresses, ...(this.#podAddresses.length > 0 ? { podInterfaces: ROUTED_POD_INTERFACES } : {}) };
    const { input, chains } = writeServiceRules(here, family, services, stale);
    await this.#namespaces.restore(state.node, this.backend, family, input);
    state.serviceChains.set(family, chains);
  }

  // Pods

  /** Reserves addresses for all, or for none. */
  #planPods(specs: readonly PodSpec[]): readonly LabPod[] {
    const pods: LabPod[] = [];
    try {
      for (const spec of specs) {
        const pod = this.#planPod(spec);
        if (pods.some(({ key }) => key === pod.key)) throw new Error(`${pod.key}: given twice`);
        pods.push(pod);
      }
    } catch (error) {
      for (const pod of pods) this.#addresses.release(pod.key);
      throw error;
    }
    return pods;
  }

  #planPod({ namespace, name, node, hostNetwork, addresses }: PodSpec): LabPod {
    checkName('pod namespace', namespace);
    checkName('pod name', name);
    const key = podKey({ namespace, name });
    if (this.#pods.has(key)) throw new Error(`${key}: exists already`);
    const state = this.#nodeState(node);
    if (hostNetwork) {
      if (addresses) throw new Error(`${key}: addresses: a host-network pod has those of its node`);
      return { key, namespace, name, node, hostNetwork, addresses: state.node.addresses, netns: state.node.netns };
    }
    return {
      key,
      namespace,
      name,
      node,
      hostNetwork: false,
      addresses: this.#addresses.takeForPod(key, addressNode(state), addresses ?? []),
      hostInterface: hostInterface(this.wiring, namespace, name),
      netns: podNetns(this.prefix, namespace, name),
    };
  }

  async #makePods(pods: readonly LabPod[]): Promise<void> {
    const own = pods.filter((pod) => !pod.hostNetwork);
    await this.#namespaces.add(own.map((pod) => pod.netns));
    await this.#namespaces.scripts(own.map((pod) => plumbing.podScript(this.#lab, this.#podWiring(pod))));
    const byNode = Map.groupBy(own, (pod) => this.#nodeState(pod.node).node.netns);
    const attachments = [...byNode].map(([netns, here]) =>
      this.#namespaces.ip(
        netns,
        here.flatMap((pod) => plumbing.attachPod(this.#lab, this.#podWiring(pod))),
      ),
    );
    await Promise.all(attachments);
    await this.#connect(own);
  }

  /** Lets the rest of the lab know where the pods' addresses are now. */
  async #connect(pods: readonly LabPod[]): Promise<void> {
    const routes = pods.flatMap((pod) => plumbing.fabricPodRoutes(this.#lab, this.#podWiring(pod)));
    await this.#namespaces.ip(this.#lab.fabric, routes);
    if (this.wiring !== 'bridge') return;
    // Only on a bridge do others remember by which hardware address they reached the one who had this address before.
    for (const [node, here] of Map.groupBy(pods, (pod) => pod.node)) {
      const addresses = here.flatMap((pod) => pod.addresses).filter((address) => this.#usedBefore.has(address));
      const neighbours = this.pods()
        .filter((pod) => pod.node === node)
        .map((pod) => pod.netns);
      const forget = plumbing.forgetNeighbours(addresses);
      const places = new Set([this.#nodeState(node).node.netns, ...neighbours]);
      await Promise.all([...places].map((netns) => this.#namespaces.ip(netns, forget)));
    }
  }

  /** The addresses no longer lead to the pod. */
  async #disconnect(pod: LabPod): Promise<void> {
    for (const address of pod.addresses) this.#usedBefore.add(address);
    const wiring = this.#podWiring(pod);
    await this.#namespaces.ip(wiring.node.netns, plumbing.noPodRoutes(this.#lab, wiring));
    await this.#namespaces.ip(this.#lab.fabric, plumbing.noFabricPodRoutes(this.#lab, wiring));
  }

  async #startPod(pod: LabPod, spec: PodSpec): Promise<void> {
    const node = this.#nodeState(pod.node);
    const own = pod.hostNetwork ? {} : { prober: this.#started(new Prober(pod.key, pod.netns)) };
    const listeners = spec.listeners ?? (pod.hostNetwork ? [] : this.#listeners);
    this.#pods.set(pod.key, { pod, node, listeners, ...own });
    await this.#serve(pod.key);
  }

  /** Whatever there is of the pod, from complete to only planned. */
  async #takeAway(pod: LabPod): Promise<void> {
    const prober = this.#pods.get(pod.key)?.prober;
    this.#pods.delete(pod.key);
    if (pod.hostNetwork) return;
    const wiring = this.#podWiring(pod);
    const { netns } = wiring.node;
    for (const address of pod.addresses) this.#usedBefore.add(address);
    // The interface first: from then on nothing reaches the pod, whatever still runs in it.
    await this.#namespaces.ip(netns, [`link del ${wiring.hostInterface}`]).catch(() => {});
    const gone = plumbing.noFabricPodRoutes(this.#lab, wiring);
    await this.#namespaces.ip(this.#lab.fabric, gone).catch(() => {});
    if (prober) {
      this.#processes.delete(prober);
      await prober.stop();
    }
    await this.#namespaces.delete([pod.netns]);
    this.#addresses.release(pod.key);
  }

  #podWiring(pod: LabPod): plumbing.PodWiring {
    const node = this.#nodeState(pod.node).wiring;
    return { netns: pod.netns, node, hostInterface: pod.hostInterface!, addresses: pod.addresses };
  }

  // Looking things up

  /** Tells the prober of this endpoint what to answer on. */
  async #serve(key: EndpointKey): Promise<void> {
    const state = this.#endpoint(key);
    if ('pod' in state && state.prober) return state.prober.serve(state.pod.addresses, state.listeners);
    if ('host' in state) return state.prober.serve(state.host.addresses, state.listeners);
    const node = 'pod' in state ? state.node : state;
    const guests = [...this.#pods.values()].filter((guest) => guest.node === node && guest.pod.hostNetwork);
    const listeners = [...node.listeners, ...guests.flatMap((guest) => guest.listeners)];
    const bridge =
      this.wiring === 'bridge' ? this.families.map((family) => bridgeAddress(node.wiring.index, family)) : [];
    await node.prober.serve([...node.node.addresses, ...bridge], listeners);
  }

  #endpoint(key: EndpointKey): NodeState | PodState | OutsideState {
    const [kind, ...rest] = key.split('/');
    const name = rest.join('/');
    const found =
      kind === 'pod' ? this.#pods.get(key) : kind === 'node' ? this.#nodes.get(name) : this.#outside.get(name);
    if (!found) throw new Error(`lab ${this.prefix}: no endpoint ${key}`);
    return found;
  }

  #proberOf(key: EndpointKey): Prober {
    const state = this.#endpoint(key);
    return 'pod' in state ? (state.prober ?? state.node.prober) : state.prober;
  }

  #nodeState(name: string): NodeState {
    const state = this.#nodes.get(name);
    if (!state) throw new Error(`lab ${this.prefix}: no node ${name}`);
    return state;
  }

  #podState(key: EndpointKey): PodState {
    const state = this.#pods.get(key);
    if (!state) throw new Error(`lab ${this.prefix}: no endpoint ${key}`);
    return state;
  }

  #relayOf(state: NodeState): Relay {
    state.relay ??= this.#started(new Relay(state.node.name, state.node.netns));
    return state.relay;
  }

  #started<T extends Prober | Relay>(process: T): T {
    this.#processes.add(process);
    return process;
  }
}

function addressNode(state: NodeState): { name: string; index: number } {
  return { name: state.node.name, index: state.wiring.index };
}

function checkOptions(options: LabNetworkOptions): void {
  const names = options.nodes.map(({ name }) => name);
  for (const name of names) checkName('node', name);
  if (names.length === 0 || names.length > MAX_NODES)
    throw new Error(`nodes: ${names.length}, must be 1 to ${MAX_NODES}`);
  if (new Set(names).size !== names.length) throw new Error(`nodes: a name is there twice: ${names.join(', ')}`);
  const families = new Set(options.families);
  if (families.size === 0 || families.size !== options.families.length) {
    throw new Error(`families: ${options.families.join(', ')}, must be 4, 6 or both, each once`);
  }
  if (options.wiring === 'bridge' && !existsSync(BRIDGE_NETFILTER)) {
    throw new Error(`wiring: bridge needs the kernel module br_netfilter, and ${BRIDGE_NETFILTER} is not there`);
  }
}

function checkName(what: string, name: string): void {
  if (!NAME_PATTERN.test(name)) throw new Error(`${what}: ${name} is not a DNS name`);
}
