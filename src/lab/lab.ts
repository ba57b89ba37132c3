/**
 * A cluster in a box: API server in memory, nodes and pods as network namespaces, the real agent on each node. The one
 * place where the lab's parts meet.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Family } from '../net/ip.ts';
import type { ClusterSnapshot } from '../policy/model.ts';
import type { RunCommand } from '../kernel/command.ts';
import type { AccessToken } from './api/access.ts';
import type { ApiServer } from './api/api-server.ts';
import type { PodObject, ResourceName } from './api/objects.ts';
import type { LabService, MatrixProbe, ProbeResult, Publication, Wiring } from './network/types.ts';
import type { Matrix, MatrixEndpoint, MatrixPort } from './matrix.ts';

import { runCommand } from '../kernel/command.ts';
import { snapshotFromObjects } from '../cluster/read-manifests.ts';
import { ApiStore } from './api/api-store.ts';
import { startApiServer } from './api/api-server.ts';
import { startControllers } from './controllers/start-controllers.ts';
import { LabAgents } from './agents.ts';
import { Kubelet } from './kubelet.ts';
import { differences, predictMatrix } from './matrix.ts';
import { CLUSTER_CIDRS } from './network/address-plan.ts';
import { LabNetwork } from './network/lab-network.ts';
import { podKey } from './network/types.ts';
import { servicesOf } from './services.ts';

export interface LabOptions {
  readonly nodes: readonly string[];
  readonly wiring: Wiring;
  readonly families: readonly Family[];
  readonly backend: 'iptables-nft' | 'iptables-legacy';
  readonly mode: string;
  /** Program and leading arguments that run `portcullis`. */
  readonly program: readonly [string, ...string[]];
  readonly agentFlags?: readonly string[];
  /** False: no agent runs; for tests that start one themselves. */
  readonly agents?: boolean;
  readonly run?: RunCommand;
  /** Who may do what at the API server; agents get the first. Default: one token that may do everything. */
  readonly tokens?: readonly AccessToken[];
  /** The API server's wall clock, ms since the epoch. */
  readonly now?: () => number;
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
  /** Scratch folder: kubeconfig, service account, agent logs. Removed by `close`. */
  readonly dir: string;
  readonly kubeconfig: string;
  readonly #kubelet: Kubelet;
  readonly #stops: (() => void)[];
  #servicesTurn: Promise<void> = Promise.resolve();
  #closing: Promise<void> | undefined;

  static async create(options: LabOptions): Promise<Lab> {
    const dir = mkdtempSync(join(tmpdir(), 'portcullis-lab-'));
    let network: LabNetwork | undefined;
    let server: ApiServer | undefined;
    try {
      const [first, second] = await Promise.allSettled([
        LabNetwork.create({
          nodes: options.nodes.map((name) => ({ name })),
          wiring: options.wiring,
          families: options.families,
          backend: options.backend === 'iptables-nft' ? 'nft' : 'legacy',
          run: options.run ?? runCommand,
        }),
        startApiServer({
          host: '127.0.0.1',
          port: 0,
          tls: true,
          ...(options.tokens ? { tokens: options.tokens } : {}),
          ...(options.now ? { store: new ApiStore({ now: options.now }) } : {}),
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
      return new Lab(options, dir, network!, server!, publication);
    } catch (error) {
      await network?.close();
      await server?.close();
      rmSync(dir, { recursive: true, force: true });
      throw error;
    }
  }

  private constructor(
    options: LabOptions,
    dir: string,
    network: LabNetwork,
    server: ApiServer,
    publication: Publication,
  ) {
    this.options = options;
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
      mode: options.mode,
      logDir: dir,
      ...(options.agentFlags ? { extraFlags: options.agentFlags } : {}),
      onComplaint: (node, message) => options.onComplaint?.(node, message),
      onExit: (node, why) => options.onProblem?.(`the agent on ${node} ended: ${why}`),
    });
    this.#registerNodes();
    this.#kubelet = new Kubelet({ store: this.store, network, onProblem: (message) => options.onProblem?.(message) });
    const serviceCidrs = options.families.map((family) => CLUSTER_CIDRS[family].services);
    const controllers = startControllers(this.store, {
      serviceCidrs,
      // The kubelet takes leaving pods away itself.
      podRemoval: 'by-kubelet',
      onError: (error, key) => options.onProblem?.(`lab controllers: ${key}: ${String(error)}`),
    });
    this.#stops = [() => controllers.stop(), this.#kubelet.start(), this.#followServices()];
    if (options.agents ?? true) this.agents.startAll();
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

  /** Resolves when every pod that has a place runs and Services are programmed; rejects naming what does not. */
  async settle(timeoutMs = PODS_TIMEOUT_MS): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      await this.#kubelet.idle();
      await this.#servicesTurn;
      const waiting = this.store.list('pods').filter((pod) => isWaiting(pod));
      if (waiting.length === 0 && this.#workloadsComplete()) return;
      if (Date.now() > deadline) {
        const names = waiting.map((pod) => `${pod.metadata.namespace}/${pod.metadata.name}`).join(', ');
        throw new Error(
          `not running after ${timeoutMs / 1000} s: ${names || 'pods of a workload that were never made'}`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  #workloadsComplete(): boolean {
    return this.store.list('deployments').every((deployment) => {
      const wanted = deployment.spec.replicas ?? 1;
      const owned = this.store
        .list('pods', { namespace: deployment.metadata.namespace })
        .filter((pod) => pod.metadata.name.startsWith(`${deployment.metadata.name}-`));
      return owned.length >= wanted;
    });
  }

  /** What the agents see, read from the store through the same projection. */
  snapshot(): ClusterSnapshot {
    const kinds = ['namespaces', 'pods', 'networkpolicies', 'nodes'] as const;
    const objects = kinds.flatMap((kind) => this.store.list(kind).map((object) => ({ object, file: 'lab', line: 1 })));
    return snapshotFromObjects(objects, { defaultNamespace: 'default' });
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
      return [{ key, label, kind: 'pod', addresses, ...(hostNetwork ? { hostOf: node } : {}) }];
    });
    const nodes = this.network.nodes().map(({ key, name, addresses }): MatrixEndpoint => {
      return { key, label: name, kind: 'node', addresses, hostOf: name };
    });
    const outside = this.network.outsideHosts().map(({ key, name, addresses }): MatrixEndpoint => {
      return { key, label: name, kind: 'outside', addresses };
    });
    return [...pods, ...nodes, ...outside];
  }

  /** The ports containers declare, most frequent first, at most `limit`; TCP 80 if there are none. */
  ports(limit: number): readonly MatrixPort[] {
    const counts = new Map<string, { port: MatrixPort; count: number }>();
    for (const pod of this.store.list('pods')) {
      for (const { containerPort, protocol = 'TCP' } of pod.spec.containers.flatMap(
        (container) => container.ports ?? [],
      )) {
        if (protocol !== 'TCP' && protocol !== 'UDP' && protocol !== 'SCTP') continue;
        const key = `${protocol} ${containerPort}`;
        const seen = counts.get(key) ?? { port: { protocol, port: containerPort }, count: 0 };
        counts.set(key, { ...seen, count: seen.count + 1 });
      }
    }
    const sorted = [...counts.values()].sort((a, b) => b.count - a.count || a.port.port - b.port.port);
    return sorted.length === 0 ? [{ protocol: 'TCP', port: 80 }] : sorted.slice(0, limit).map(({ port }) => port);
  }

  predict(ports: readonly MatrixPort[]): Matrix {
    return predictMatrix(this.snapshot(), this.endpoints(), ports);
  }

  measure(probes: readonly MatrixProbe[]): Promise<readonly ProbeResult[]> {
    return this.network.probeMatrix(probes);
  }

  /** Probes until the packets say what the evaluator predicts, or `timeoutMs` is over; gives the last results. */
  async converge(
    matrix: Matrix,
    timeoutMs: number,
  ): Promise<{ results: readonly ProbeResult[]; ok: boolean; ms: number }> {
    const started = Date.now();
    for (;;) {
      const asked = Date.now();
      const results = await this.measure(matrix.cells.map((cell) => cell.probe));
      if (differences(matrix, results).length === 0) return { results, ok: true, ms: asked - started };
      if (Date.now() - started >= timeoutMs) return { results, ok: false, ms: Date.now() - started };
    }
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
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** For `exit` handlers: does not wait, does not throw. */
  closeSync(): void {
    this.agents.killSync();
    this.network.closeSync();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

function isWaiting(pod: PodObject): boolean {
  if (pod.metadata.deletionTimestamp !== undefined) return false;
  return pod.status?.phase !== 'Running' && pod.status?.phase !== 'Succeeded' && pod.status?.phase !== 'Failed';
}
