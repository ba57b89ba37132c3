/**
 * A cluster in a box: API server in memory, nodes and pods as network namespaces, the real agent on each node. The one
 * place where the lab's parts meet.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Backend, Family } from '../src/core/vocabulary.ts';
import type { ClusterSnapshot } from '../src/policy/model.ts';
import type { DataplaneChoice } from '../src/cli/config.ts';
import type { RunCommand } from '../src/host/command.ts';
import type { ManifestObject } from '../src/cluster/read-manifests.ts';
import type { AccessToken } from './api/access.ts';
import type { ApiServer } from './api/api-server.ts';
import type { ContainerPort, PodObject, ResourceName } from './api/objects.ts';
import type { LabService, MatrixProbe, OutsideSpec, ProbeResult, Publication, Wiring } from './network/types.ts';
import type { Matrix, MatrixEndpoint, MatrixPort } from './matrix.ts';

import { runCommand } from '../src/host/command.ts';
import { snapshotFromObjects } from '../src/cluster/read-manifests.ts';
import { ApiStore } from './api/api-store.ts';
import { startApiServer } from './api/api-server.ts';
import type { PolicyChannel } from './api/schemas.ts';
import { startControllers } from './controllers/start-controllers.ts';
import { AGENT_PORT } from './agent-process.ts';
import { LabAgents } from './agents.ts';
import { Kubelet } from './kubelet.ts';
import { ProbePods } from './probe-pods.ts';
import { type TimedChange, timeEnforcement } from './enforcement-time.ts';
import { predictMatrix } from './matrix.ts';
import { type MeasureOptions, type Measurement, measureMatrix } from './measure.ts';
import { CLUSTER_CIDRS } from './network/address-plan.ts';
import { LabNetwork } from './network/lab-network.ts';
import { STATE_ROOT } from './network/lab-state.ts';
import { podKey } from './network/types.ts';
import { servicesOf } from './services.ts';
import { type SettledState, settledState } from './settled.ts';

export interface LabOptions {
  readonly nodes: readonly string[];
  readonly wiring: Wiring;
  readonly families: readonly Family[];
  /** Of the agents. Absent: they are not told. */
  readonly dataplane?: DataplaneChoice;
  readonly backend: Backend;
  readonly mode: string;
  /** Program and leading arguments that run `portcullis`. */
  readonly program: readonly [string, ...string[]];
  readonly agentFlags?: readonly string[];
  /** False: no agent runs; for tests that start one themselves. */
  readonly agents?: boolean;
  /** Hosts outside of the cluster; one called `world` if absent. */
  readonly outside?: readonly OutsideSpec[];
  /** Addresses that pods will ask for, outside of the lab's pod CIDRs. */
  readonly podAddresses?: readonly string[];
  readonly run?: RunCommand;
  /** Who may do what at the API server; agents get the first. Default: one token that may do everything. */
  readonly tokens?: readonly AccessToken[];
  /** The API server's wall clock, ms since the epoch. */
  readonly now?: () => number;
  /** Whose CRD of cluster-wide policies is served; the experimental one if absent. */
  readonly policyChannel?: PolicyChannel;
  readonly onComplaint?: (node: string, message: string) => void;
  readonly onProblem?: (message: string) => void;
}

/** Where agents find the API server in their node's namespace. */
const API_PORT = 6443;
const PODS_TIMEOUT_MS = 30_000;
const POLL_MS = 10;

export class Lab {
  readonly options: LabOptions;
  readonly network: LabNetwork;
  readonly server: ApiServer;
  readonly agents: LabAgents;
  readonly publication: Publication;
  /** Scratch folder: kubeconfig, service account, agent logs. Goes with the network's namespaces, in a sweep too. */
  readonly dir: string;
  readonly kubeconfig: string;
  readonly #kubelet: Kubelet;
  readonly probePods: ProbePods;
  readonly #podDoors = new Map<string, Promise<{ readonly path: string }>>();
  readonly #stops: (() => void)[];
  #servicesTurn: Promise<void> = Promise.resolve();
  #closing: Promise<void> | undefined;

  static async create(options: LabOptions): Promise<Lab> {
    let network: LabNetwork | undefined;
    let server: ApiServer | undefined;
    let lab: Lab | undefined;
    try {
      const [first, second] = await Promise.allSettled([
        LabNetwork.create({
          nodes: options.nodes.map((name) => ({ name })),
          wiring: options.wiring,
          families: options.families,
          backend: options.backend === 'iptables-nft' ? 'nft' : 'legacy',
          ...(options.outside ? { outside: options.outside } : {}),
          ...(options.podAddresses ? { podAddresses: options.podAddresses } : {}),
          run: options.run ?? runCommand,
        }),
        startApiServer({
          host: '127.0.0.1',
          port: 0,
          tls: true,
          ...(options.tokens ? { tokens: options.tokens } : {}),
          store: new ApiStore({
            ...(options.now ? { now: options.now } : {}),
            ...(options.policyChannel ? { policyChannel: options.policyChannel } : {}),
          }),
          containerLogs: (pod, container, run) => lab?.agents.log(pod, run) ?? lab?.probePods.log(pod, container),
          podPorts: (pod, port) =>
            lab ? lab.#reachPod(pod, port) : Promise.reject(new Error('the lab is not up yet')),
        }),
      ]);
      if (first.status === 'fulfilled') network = first.value;
      if (second.status === 'fulfilled') server = second.value;
      if (first.status === 'rejected') throw first.reason;
      if (second.status === 'rejected') throw second.reason;
      const target = new URL(server!.url);
      const publication = await network!.publishToNodes({
        target: { host: target.hostname, port: Number(target.port) },
        port: API_PORT,
      });
      lab = new Lab(options, network!, server!, publication);
      return lab;
    } catch (error) {
      await network?.close();
      await server?.close();
      throw error;
    }
  }

  private constructor(options: LabOptions, network: LabNetwork, server: ApiServer, publication: Publication) {
    this.options = options;
    const dir = join(STATE_ROOT, network.prefix);
    this.dir = dir;
    this.network = network;
    this.server = server;
    this.publication = publication;
    this.kubeconfig = join(dir, 'kubeconfig');
    writeFileSync(this.kubeconfig, server.kubeconfig, { mode: 0o600 });
    const serviceAccountDir = join(dir, 'serviceaccount');
    mkdirSync(serviceAccountDir);
    writeFileSync(join(serviceAccountDir, 'token'), server.token, { mode: 0o600 });
    writeFileSync(join(serviceAccountDir, 'ca.crt'), server.caPem);
    writeFileSync(join(serviceAccountDir, 'namespace'), 'kube-system');
    this.agents = new LabAgents({
      network,
      program: options.program,
      serviceAccountDir,
      apiServer: publication.address,
      backend: options.backend,
      ...(options.dataplane ? { dataplane: options.dataplane } : {}),
      mode: options.mode,
      logDir: dir,
      ...(options.agentFlags ? { extraFlags: options.agentFlags } : {}),
      onComplaint: (node, message) => options.onComplaint?.(node, message),
      onExit: (node, why) => options.onProblem?.(`the agent on ${node} ended: ${why}`),
    });
    this.#registerNodes();
    this.#kubelet = new Kubelet({
      store: this.store,
      network,
      nodePortsInUse: [API_PORT, AGENT_PORT],
      onProblem: (message) => options.onProblem?.(message),
    });
    this.probePods = new ProbePods(this.store, network);
    const serviceCidrs = options.families.map((family) => CLUSTER_CIDRS[family].services);
    const controllers = startControllers(this.store, {
      serviceCidrs,
      // The kubelet takes leaving pods away itself.
      podRemoval: 'by-kubelet',
      onError: (error, key) => options.onProblem?.(`lab controllers: ${key}: ${String(error)}`),
    });
    this.#stops = [
      () => this.probePods.stop(),
      () => controllers.stop(),
      this.#kubelet.start(),
      this.#followServices(),
    ];
    if (options.agents ?? true) this.agents.startAll();
  }

  /** As the API server would: at the pod's address, which for a host-network pod is its node's. */
  #reachPod({ spec, status }: PodObject, port: number): Promise<{ readonly path: string }> {
    const { nodeName = '' } = spec;
    const key = `${nodeName} ${status?.podIP} ${port}`;
    const door = this.#podDoors.get(key) ?? this.network.reachNodePort(nodeName, port, status?.podIP);
    this.#podDoors.set(key, door);
    return door;
  }

  get store(): ApiStore {
    return this.server.store;
  }

  #registerNodes(): void {
    for (const node of this.network.nodes()) {
      const labels = { 'kubernetes.io/hostname': node.name, 'kubernetes.io/os': 'linux' };
      this.store.create('nodes', {
        apiVersion: 'v1',
        kind: 'Node',
        metadata: { name: node.name, labels },
        spec: { podCIDR: node.podCidrs[0], podCIDRs: node.podCidrs },
      });
      this.store.setStatus(
        'nodes',
        { name: node.name },
        {
          addresses: [
            ...node.addresses.map((address) => ({ type: 'InternalIP', address })),
            { type: 'Hostname', address: node.name },
          ],
          conditions: [{ type: 'Ready', status: 'True', lastTransitionTime: this.store.timestamp() }],
        },
      );
    }
  }

  /** kube-proxy's part: Services and their endpoints become DNAT rules on every node. */
  #followServices(): () => void {
    let planned = false;
    let last = '';
    const program = async (): Promise<void> => {
      planned = false;
      const services: readonly LabService[] = servicesOf(this.store);
      const text = JSON.stringify(services);
      if (text === last) return;
      last = text;
      await this.network.setServices(services);
    };
    return this.store.storage.subscribe((resource: ResourceName) => {
      if ((resource !== 'services' && resource !== 'endpointslices') || planned) return;
      planned = true;
      this.#servicesTurn = this.#servicesTurn
        .then(() => new Promise((resolve) => setImmediate(resolve)))
        .then(program)
        .catch((error: unknown) => this.options.onProblem?.(`lab services: ${String(error)}`));
    });
  }

  /**
   * Resolves when every pod runs, workloads have their pods and Services are programmed. Rejects with `NotSettled` naming what
   * does not: at once when nothing else is missing than pods that can never run. `onWaiting` hears what is waited for.
   */
  async settle(timeoutMs = PODS_TIMEOUT_MS, onWaiting?: (what: readonly string[]) => void): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      await this.#kubelet.idle();
      await this.#servicesTurn;
      const { waiting, stuck } = this.#settledState();
      if (waiting.length === 0) {
        if (stuck.length > 0) throw new NotSettled(stuck);
        return;
      }
      if (Date.now() > deadline) {
        const late = waiting.map((what) => `${what}: not ready after ${timeoutMs / 1000} s`);
        throw new NotSettled([...stuck, ...late]);
      }
      onWaiting?.(waiting);
      await sleep(POLL_MS);
    }
  }

  #settledState(): SettledState {
    const { store } = this;
    return settledState({
      pods: store.list('pods'),
      nodes: store.list('nodes'),
      replicated: [...store.list('deployments'), ...store.list('replicasets'), ...store.list('statefulsets')],
      daemonSets: store.list('daemonsets'),
      failures: this.#kubelet.failures,
      nodeNames: this.network.nodes().map(({ name }) => name),
    });
  }

  /** What the agents see, read from the store through the same projection; with `also`, what they would see after it. */
  snapshot(also: readonly ManifestObject[] = []): ClusterSnapshot {
    const kinds = ['namespaces', 'pods', 'networkpolicies', 'clusternetworkpolicies', 'nodes'] as const;
    const objects = kinds.flatMap((kind) => this.store.list(kind).map((object) => ({ object, file: 'lab', line: 1 })));
    return snapshotFromObjects([...objects, ...also], { defaultNamespace: 'default' });
  }

  /** Pods in order of namespace and name, then nodes, then outside hosts. */
  endpoints(): readonly MatrixEndpoint[] {
    const running = new Map(this.network.pods().map((pod) => [pod.key, pod]));
    const pods = this.store.list('pods').flatMap((pod): MatrixEndpoint[] => {
      const ref = { namespace: pod.metadata.namespace ?? 'default', name: pod.metadata.name };
      const found = running.get(podKey(ref));
      if (!found || found.addresses.length === 0) return [];
      const { key, addresses, hostNetwork, node } = found;
      const label = `${ref.namespace}/${ref.name}`;
      return [{ key, label, kind: 'pod', addresses, node, ...(hostNetwork ? { hostOf: node } : {}) }];
    });
    const nodes = this.network.nodes().map(({ key, name, addresses }): MatrixEndpoint => {
      return { key, label: name, kind: 'node', addresses, node: name, hostOf: name };
    });
    const outside = this.network.outsideHosts().map(({ key, name, addresses }): MatrixEndpoint => {
      return { key, label: name, kind: 'outside', addresses };
    });
    return [...pods, ...nodes, ...outside];
  }

  /** The ports containers declare, most frequent first; TCP 80 if there are none. */
  ports(): readonly MatrixPort[] {
    return declaredPorts(this.store.list('pods'));
  }

  /** With `also`: as it will be when those are applied too. */
  predict(ports: readonly MatrixPort[], also: readonly ManifestObject[] = []): Matrix {
    return predictMatrix(this.snapshot(also), this.endpoints(), ports);
  }

  measure(probes: readonly MatrixProbe[]): Promise<readonly ProbeResult[]> {
    return this.network.probeMatrix(probes);
  }

  /** What the packets say, against `matrix`; see `measureMatrix`. `followMs`: how long they may take to follow a change. */
  compare(matrix: Matrix, options: Pick<MeasureOptions, 'followMs' | 'onWait' | 'signal'>): Promise<Measurement> {
    return measureMatrix(matrix, {
      ...options,
      probe: (probes) => this.measure(probes),
      now: () => performance.now(),
      sleep,
    });
  }

  /** Ms until the packets follow a change that makes the `changed` cells what they are in `matrix`; see `timeEnforcement`. */
  timeToEnforced(change: Omit<TimedChange, 'now' | 'sleep'>): Promise<number | undefined> {
    return timeEnforcement(this.network, { ...change, now: Date.now, sleep });
  }

  /** Stops agents, server and network and removes everything. Safe to call twice. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    for (const stop of this.#stops) stop();
    await this.agents.close();
    await this.#kubelet.idle();
    await this.network.close();
    await this.server.close();
  }

  /** For `exit` handlers: does not wait, does not throw. */
  closeSync(): void {
    this.agents.killSync();
    this.network.closeSync();
  }
}

/** Pods or workloads that are not, or never will be, what their objects ask for. `what`: one line each, object first. */
export class NotSettled extends Error {
  readonly what: readonly string[];

  constructor(what: readonly string[]) {
    super(what.join('\n'));
    this.name = 'NotSettled';
    this.what = what;
  }
}

function declaredPorts(pods: readonly PodObject[]): readonly MatrixPort[] {
  const counts = new Map<string, { port: MatrixPort; count: number }>();
  for (const { containerPort, protocol = 'TCP' } of pods.flatMap(portsOf)) {
    if (protocol !== 'TCP' && protocol !== 'UDP' && protocol !== 'SCTP') continue;
    const key = `${protocol} ${containerPort}`;
    const { port, count } = counts.get(key) ?? { port: { protocol, port: containerPort }, count: 0 };
    counts.set(key, { port, count: count + 1 });
  }
  const sorted = [...counts.values()].sort((a, b) => b.count - a.count || a.port.port - b.port.port);
  return sorted.length === 0 ? [{ protocol: 'TCP', port: 80 }] : sorted.map(({ port }) => port);
}

function portsOf(pod: PodObject): readonly ContainerPort[] {
  return pod.spec.containers.flatMap((container) => container.ports ?? []);
}
