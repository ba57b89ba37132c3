/** A scenario on a real kernel: its topology as pods of a running lab, its changes through the API server, its tables as packets. */
import assert from 'node:assert/strict';
import { type Family, MODE_KEY } from '../../src/core/vocabulary.ts';
import { ADDRESSES_ANNOTATION, LINGER_ANNOTATION } from '../../lab/kubelet.ts';
import type { Lab } from '../../lab/lab.ts';
import {
  type EndpointKey,
  type LabService,
  type Listener,
  type MatrixProbe,
  type ProbeResult,
  nodeKey,
  outsideKey,
  podKey,
} from '../../lab/network/types.ts';
import type { Change, Expectation, PodSpec, Scenario, Step } from '../scenarios/scenario.ts';
import { resolvePlaceholders } from './address-plan.ts';
import { podObject, namespaceObject } from './api-objects.ts';
import { splitKey } from './builders.ts';
import { type Cell, parseTruthTable, printTruthTable } from './truth-table.ts';

/** The public suite repeats a wrong matrix once and then fails; an agent that needs longer than this fails it. */
export const CONVERGE_MS = 1_000;
/** A shared machine may stand still for a while; beyond this the agent is wrong, not the machine. */
const GIVE_UP_MS = 4_000;
/** How long silence must last, in ms: where an answer is due, and where none is. A leak would answer within microseconds. */
interface Patience {
  readonly allowed: number;
  readonly denied: number;
}
const QUICK: Patience = { allowed: 50, denied: 40 };
/** The last word on a matrix: a starved machine must not look like a denial. */
const FINAL: Patience = { allowed: 400, denied: 100 };

export interface ScenarioStats {
  cells: number;
  denied: number;
  /** Milliseconds from the last change of a step to the first matrix that is right, one per step. */
  readonly convergedMs: number[];
  /** The steps that took longer than CONVERGE_MS. */
  readonly late: string[];
}

/** A cell with the probe that asks it. */
interface Asked {
  readonly cell: Cell;
  readonly expectation: Expectation;
  readonly family: Family;
  readonly probe: MatrixProbe;
  /** Who must answer; undefined where any server of that network namespace may. */
  readonly server: EndpointKey;
}

/** Changes that leave a pod other than its topology says. */
const OF_PODS: ReadonlySet<Change['kind']> = new Set([
  'label-pod',
  'delete-pod',
  'create-pod',
  'set-phase',
  'terminate',
  'publish-addresses',
]);

/** Scenarios one after the other in one lab. Making pods takes longer than asking them, so they stay for a scenario of the same topology. */
export class LabScenarios {
  readonly #lab: Lab;
  readonly #advanceClock: () => void;
  #last: LabScenario | undefined;

  /** `advanceClock`: a second later, for creationTimestamp. */
  constructor(lab: Lab, advanceClock: () => void) {
    this.#lab = lab;
    this.#advanceClock = advanceClock;
  }

  /** `families`: those the tables are asked in; the first is that of placeholders that leave it open. */
  async run(scenario: Scenario, families: readonly Family[], stats: ScenarioStats): Promise<void> {
    const next = new LabScenario(this.#lab, scenario, families, this.#advanceClock);
    const last = this.#last;
    this.#last = undefined;
    if (last?.leavesPodsOf(scenario) === false) await last.takeDown();
    try {
      await next.run(stats, last?.leavesPodsOf(scenario) === true);
      await next.clear();
      this.#last = next;
    } catch (error) {
      await next.takeDown();
      throw error;
    }
  }
}

/** The same for scenarios whose pods can be shared. */
export function topologyKey({ topology }: Scenario): string {
  return JSON.stringify(topology);
}

class LabScenario {
  readonly #lab: Lab;
  readonly #scenario: Scenario;
  readonly #family: Family;
  readonly #families: readonly Family[];
  readonly #listeners: readonly Listener[];
  readonly #pods = new Map<string, PodSpec>();
  readonly #advanceClock: () => void;
  #serviceNumber = 0;
  readonly #clusterIPs = new Map<string, readonly string[]>();

  constructor(lab: Lab, scenario: Scenario, families: readonly Family[], advanceClock: () => void) {
    this.#lab = lab;
    this.#scenario = scenario;
    this.#families = families;
    this.#family = families[0]!;
    this.#advanceClock = advanceClock;
    const expectations = scenario.steps.flatMap((step) => step.expect);
    const ports = new Map<string, Listener>();
    for (const { protocol, port } of expectations)
      if (protocol !== 'ICMP') ports.set(`${protocol} ${port}`, { protocol, port });
    this.#listeners = [...ports.values()];
  }

  /** `hasPods`: those of its topology stand already. */
  async run(stats: ScenarioStats, hasPods: boolean): Promise<void> {
    await this.#bringUp(hasPods);
    const first = this.#scenario.steps[0]!;
    await this.#expectAllOpen(first);
    for (const [index, step] of this.#scenario.steps.entries()) await this.#step(step, index, stats);
  }

  /** Whether `other` finds its pods as if they had just been made. */
  leavesPodsOf(other: Scenario): boolean {
    const changes = this.#scenario.steps.flatMap((step) => step.changes);
    return topologyKey(this.#scenario) === topologyKey(other) && !changes.some(({ kind }) => OF_PODS.has(kind));
  }

  async #bringUp(hasPods: boolean): Promise<void> {
    const { topology } = this.#scenario;
    const { store, network } = this.#lab;
    for (const [name, labels] of Object.entries(topology.namespaces)) {
      if (store.get('namespaces', { name })) store.patch('namespaces', { name }, 'merge', { metadata: { labels } });
      else store.create('namespaces', namespaceObject(name, { labels }));
    }
    for (const { name, addresses } of topology.outside) {
      if (!network.outsideHosts().some((host) => host.name === name)) {
        await network.addOutside({ name, ...(addresses ? { addresses } : {}) });
      }
    }
    for (const pod of topology.pods) {
      if (hasPods) this.#pods.set(pod.key, pod);
      else this.#createPod(pod);
    }
    await this.#lab.settle();
    for (const { name } of network.nodes()) await network.setListeners(nodeKey(name), this.#listeners);
    for (const { name } of network.outsideHosts()) await network.setListeners(outsideKey(name), this.#listeners);
    for (const pod of topology.pods) await this.#listen(pod);
    await network.setServices(this.#services());
  }

  #createPod(pod: PodSpec, addresses?: readonly string[]): void {
    this.#advanceClock();
    this.#pods.set(pod.key, pod);
    this.#lab.store.create('pods', objectOf(pod, addresses));
  }

  async #listen(pod: PodSpec): Promise<void> {
    if (!pod.hostNetwork) await this.#lab.network.setListeners(podKey(splitKey(pod.key)), this.#listeners);
  }

  /** One Service per pod and port that some table reaches through a Service; they stay while their pod's addresses do. */
  #services(): readonly LabService[] {
    const expectations = this.#scenario.steps.flatMap((step) => step.expect);
    const clusterIp = expectations.filter((expectation) => expectation.via === 'cluster-ip');
    const reached = new Set(clusterIp.flatMap((expectation) => parseTruthTable(expectation.table).columns));
    const plain = [...reached]
      .filter((key) => this.#pods.has(key))
      .map((key) => this.#service(key, clusterIp, undefined));
    return [...plain, ...this.#scenario.topology.nodePorts.map((each) => this.#nodePortService(each))];
  }

  #service(key: string, expectations: readonly Expectation[], nodePort: number | undefined): LabService {
    const number = ++this.#serviceNumber;
    const clusterIPs = [`10.96.1.${number}`, `fd00:10:96::1:${number.toString(16)}`];
    this.#clusterIPs.set(key, clusterIPs);
    const addresses = this.#addressesOf(key);
    const ports = new Map(expectations.map(({ protocol, port }) => [`${protocol} ${port}`, { protocol, port }]));
    return {
      key: `lab/${key.replace('/', '-')}`,
      clusterIPs,
      externalTrafficPolicy: 'Cluster',
      ports: [...ports.values()].flatMap(({ protocol, port }) =>
        protocol === 'ICMP'
          ? []
          : [
              {
                protocol,
                port,
                ...(nodePort ? { nodePort } : {}),
                targets: addresses.map((address) => ({ address, port })),
              },
            ],
      ),
    };
  }

  #nodePortService({
    pod,
    protocol,
    port,
    nodePort,
    externalTrafficPolicy,
  }: Scenario['topology']['nodePorts'][number]): LabService {
    const service = this.#service(pod, [{ protocol, port, via: 'cluster-ip', table: '' }], nodePort);
    return { ...service, key: `${service.key}-${nodePort}`, externalTrafficPolicy };
  }

  /** Pods, nodes and outside hosts by the names tables use. */
  #addressesOf(name: string): readonly string[] {
    const { network } = this.#lab;
    if (name.includes('/')) return network.pods().find(({ key }) => key === podKey(splitKey(name)))?.addresses ?? [];
    const node = network.nodes().find((each) => each.name === name);
    return node?.addresses ?? network.outsideHosts().find((each) => each.name === name)?.addresses ?? [];
  }

  #addressOf(name: string, family: Family): string | undefined {
    return this.#addressesOf(name).find((address) => address.includes(':') === (family === 6));
  }

  #endpointKey(name: string): EndpointKey {
    if (!name.includes('/'))
      return this.#lab.network.nodes().some((node) => node.name === name) ? nodeKey(name) : outsideKey(name);
    return podKey(splitKey(name));
  }

  async #step(step: Step, index: number, stats: ScenarioStats): Promise<void> {
    const title = `step ${index + 1}${step.name ? ` (${step.name})` : ''}`;
    for (const change of step.changes) await this.#change(change);
    const started = performance.now();
    const asked = step.expect.flatMap((expectation) => this.#asked(expectation));
    assert.ok(asked.length > 0, `${title}: no cell can be asked`);
    const convergedMs = await this.#converge(asked, title, started);
    stats.convergedMs.push(convergedMs);
    if (convergedMs > CONVERGE_MS) stats.late.push(`${this.#scenario.id} ${title}: ${Math.round(convergedMs)} ms`);
    stats.cells += asked.length;
    stats.denied += asked.filter(({ cell }) => !cell.reaches).length;
  }

  /**
   * Asks until the answers are right twice in a row. Result: when the first of the two was asked, in ms since `started`. Changes of
   * different kinds come by different watches, so that a step may pass through a state between: being right and then wrong is a
   * failure only from CONVERGE_MS on.
   */
  async #converge(asked: readonly Asked[], title: string, started: number): Promise<number> {
    for (;;) {
      const sentMs = performance.now() - started;
      const wrong = await this.#wrong(asked, QUICK);
      if (wrong.length > 0) {
        if (sentMs > GIVE_UP_MS) assert.fail(this.#describe(title, `not right after ${GIVE_UP_MS} ms`, asked, wrong));
        continue;
      }
      const askedAgainMs = performance.now() - started;
      const flapping = await this.#wrong(asked, FINAL);
      if (flapping.length === 0) return sentMs;
      if (askedAgainMs > CONVERGE_MS) assert.fail(this.#describe(title, 'was right, then was not', asked, flapping));
    }
  }

  #asked(expectation: Expectation): Asked[] {
    const { cells } = parseTruthTable(expectation.table);
    return (expectation.families ?? this.#families).flatMap((family) => {
      if (!this.#families.includes(family)) return [];
      return cells.flatMap((cell) => {
        const target = this.#target(expectation, cell, family);
        if (target === undefined || this.#addressOf(cell.from, family) === undefined) return [];
        const { protocol } = expectation;
        const probe = { from: this.#endpointKey(cell.from), protocol, ...target };
        return [{ cell, expectation, family, probe, server: this.#serverKey(cell.to) }];
      });
    });
  }

  #serverKey(name: string): EndpointKey {
    const pod = this.#pods.get(name);
    return pod?.hostNetwork ? nodeKey(pod.node) : this.#endpointKey(name);
  }

  #target(
    { via, port, protocol }: Expectation,
    { to }: Cell,
    family: Family,
  ): { address: string; port: number } | undefined {
    const own = this.#addressOf(to, family);
    if (own === undefined) return undefined;
    if (via === 'pod-ip' || protocol === 'ICMP') return { address: own, port };
    if (via === 'cluster-ip') {
      const address = this.#clusterIPs.get(to)?.find((each) => each.includes(':') === (family === 6));
      return address === undefined ? { address: own, port } : { address, port };
    }
    const address = this.#addressOf(via.nodePortOf, family);
    const found = this.#scenario.topology.nodePorts.find(
      (each) => each.pod === to && each.protocol === protocol && each.port === port,
    );
    return address === undefined || !found ? undefined : { address, port: found.nodePort };
  }

  async #wrong(asked: readonly Asked[], patience: Patience): Promise<readonly { asked: Asked; result: ProbeResult }[]> {
    const results = await this.#lab.network.probeMatrix(
      asked.map(({ probe, cell }) => ({ ...probe, timeoutMs: cell.reaches ? patience.allowed : patience.denied })),
    );
    return asked.flatMap((each, index) => {
      const result = results[index]!;
      return isRight(each, result) ? [] : [{ asked: each, result }];
    });
  }

  async #expectAllOpen(first: Step): Promise<void> {
    const asked = first.expect.flatMap((expectation) => this.#asked(expectation));
    const open = asked.map((each) => ({ ...each, cell: { ...each.cell, reaches: true } }));
    const started = performance.now();
    for (;;) {
      const wrong = await this.#wrong(open, FINAL);
      if (wrong.length === 0) return;
      if (performance.now() - started > GIVE_UP_MS)
        assert.fail(this.#describe('before the first step', 'not all open', open, wrong));
    }
  }

  #describe(
    title: string,
    what: string,
    asked: readonly Asked[],
    wrong: readonly { asked: Asked; result: ProbeResult }[],
  ): string {
    const tables = new Set(wrong.map((each) => each.asked.expectation));
    const text = [...tables].map((expectation) => {
      const family = wrong.find((each) => each.asked.expectation === expectation)!.asked.family;
      const table = parseTruthTable(expectation.table);
      const isWrong = (cell: Cell): boolean =>
        wrong.some(({ asked: { cell: other, expectation: its, family: its6 } }) => {
          return its === expectation && its6 === family && other.from === cell.from && other.to === cell.to;
        });
      const print = printTruthTable(table, (cell) => cell.reaches !== isWrong(cell));
      return `${expectation.protocol} ${expectation.port}, IPv${family}\n${print}`;
    });
    const details = wrong.map(({ asked: { cell, probe, family }, result }) => {
      const answer = `${result.outcome} ${result.server ?? ''} ${result.detail ?? ''}`.trim();
      return `IPv${family} ${cell.from} -> ${cell.to} (${probe.protocol} ${probe.address} ${probe.port}): ${answer}`;
    });
    return [`${title}: ${what}; ${wrong.length} of ${asked.length} cells`, ...text, ...details.slice(0, 20)].join('\n');
  }

  async #change(change: Change): Promise<void> {
    const { store, network } = this.#lab;
    switch (change.kind) {
      case 'apply': {
        const object = resolvePlaceholders(
          change.object,
          (name, family) => this.#addressOf(name, family),
          this.#family,
        );
        if (object.kind === 'ClusterNetworkPolicy') {
          if (this.#scenario.refusedByApi) store.putUnchecked('clusternetworkpolicies', object);
          else if (store.get('clusternetworkpolicies', object.metadata)) store.update('clusternetworkpolicies', object);
          else store.create('clusternetworkpolicies', object);
        } else if (this.#scenario.refusedByApi) store.putUnchecked('networkpolicies', object);
        // Replaced, not merged: a merge would keep the policyTypes that the server filled in before.
        else if (store.get('networkpolicies', metadataOf(object))) store.update('networkpolicies', object);
        else store.create('networkpolicies', object);
        return;
      }
      case 'delete-policy':
        store.delete('networkpolicies', splitKey(change.policy));
        return;
      case 'delete-cluster-policy':
        store.delete('clusternetworkpolicies', { name: change.policy });
        return;
      case 'label-node':
        store.patch('nodes', { name: change.node }, 'merge', { metadata: { labels: change.labels } });
        return;
      case 'set-mode': {
        const metadata = { annotations: { [MODE_KEY]: change.mode } };
        const [name, policy] = change.object.split('/');
        if (policy === undefined) store.patch('namespaces', { name: name! }, 'merge', { metadata });
        else store.patch('networkpolicies', splitKey(change.object), 'merge', { metadata });
        return;
      }
      case 'label-namespace':
        store.patch('namespaces', { name: change.namespace }, 'merge', { metadata: { labels: change.labels } });
        return;
      case 'label-pod':
        store.patch('pods', splitKey(change.pod), 'merge', { metadata: { labels: change.labels } });
        return;
      case 'delete-pod':
        store.delete('pods', splitKey(change.pod), { gracePeriodSeconds: 0 });
        await this.#lab.settle();
        return;
      case 'create-pod':
        await this.#createLater(change.pod, change.addressesOf);
        return;
      case 'set-phase':
        store.setStatus('pods', splitKey(change.pod), { phase: change.phase });
        return;
      case 'terminate':
        store.delete('pods', splitKey(change.pod), { gracePeriodSeconds: 30 });
        return;
      case 'publish-addresses': {
        const all = network.pods().find(({ key }) => key === podKey(splitKey(change.pod)))!.addresses;
        const published = all.filter((address) => isPublished(address, change.addresses));
        store.setStatus('pods', splitKey(change.pod), {
          podIP: published[0] ?? null,
          podIPs: published.length > 0 ? published.map((ip) => ({ ip })) : null,
        });
        return;
      }
    }
  }

  /** The sandbox of the pod whose addresses are taken is gone; its object stays as it is. */
  async #createLater(pod: PodSpec, addressesOf: string | undefined): Promise<void> {
    const { network } = this.#lab;
    let addresses: readonly string[] | undefined;
    if (addressesOf !== undefined) {
      addresses = this.#addressesOf(addressesOf);
      await network.setPodAddresses(splitKey(addressesOf), []);
    }
    this.#createPod(pod, addresses);
    await this.#lab.settle();
    await this.#listen(pod);
  }

  /** Leaves no policy, no label and no mode of its namespaces. */
  async clear(): Promise<void> {
    const { store } = this.#lab;
    for (const { metadata } of store.list('clusternetworkpolicies'))
      store.delete('clusternetworkpolicies', { name: metadata.name });
    for (const change of this.#scenario.steps.flatMap(({ changes }) => changes)) {
      if (change.kind !== 'label-node') continue;
      const labels = Object.fromEntries(Object.keys(change.labels).map((key) => [key, null]));
      store.patch('nodes', { name: change.node }, 'merge', { metadata: { labels } });
    }
    for (const name of Object.keys(this.#scenario.topology.namespaces)) {
      store.deleteCollection('networkpolicies', { namespace: name });
      const labels = store.get('namespaces', { name })?.metadata.labels ?? {};
      const removed = Object.fromEntries(
        Object.keys(labels)
          .filter((key) => !key.startsWith('kubernetes.io/'))
          .map((key) => [key, null]),
      );
      const annotations = { [MODE_KEY]: null };
      store.patch('namespaces', { name }, 'merge', { metadata: { labels: removed, annotations } });
    }
    await this.#lab.settle();
  }

  /** Leaves no pod of its namespaces either. */
  async takeDown(): Promise<void> {
    const { store } = this.#lab;
    for (const namespace of Object.keys(this.#scenario.topology.namespaces)) {
      for (const { metadata } of store.list('pods', { namespace }))
        store.delete('pods', { namespace, name: metadata.name }, { gracePeriodSeconds: 0 });
    }
    await this.clear();
  }
}

/** Only silence is a denial; an answer must come from the right place. */
function isRight({ cell, probe, server }: Asked, result: ProbeResult): boolean {
  if (!cell.reaches) return result.outcome === 'blocked';
  if (result.outcome !== 'reached') return false;
  return probe.protocol === 'ICMP' || result.server === server;
}

function isPublished(address: string, which: 'none' | 'only4' | 'only6' | 'all'): boolean {
  return which === 'all' || which === (address.includes(':') ? 'only6' : 'only4');
}

function metadataOf(object: { metadata?: { namespace?: string; name?: string } }): { namespace: string; name: string } {
  return { namespace: object.metadata?.namespace ?? 'default', name: object.metadata?.name ?? '' };
}

function objectOf(pod: PodSpec, addresses: readonly string[] | undefined): object {
  const containers = new Map<string, object[]>([['main', []]]);
  for (const { container, name, protocol, port } of pod.ports) {
    const ports = containers.get(container) ?? [];
    ports.push({ name, protocol, containerPort: port });
    containers.set(container, ports);
  }
  const build = ([name, ports]: readonly [string, object[]]): object => ({ name, image: 'lab', ports });
  const regular = [...containers].filter(([name]) => name.startsWith('main'));
  const init = [...containers].filter(([name]) => !name.startsWith('main'));
  return podObject(pod.key, {
    labels: pod.labels,
    metadata: {
      annotations: {
        [LINGER_ANNOTATION]: 'true',
        ...(addresses ? { [ADDRESSES_ANNOTATION]: addresses.join(',') } : {}),
      },
    },
    spec: {
      nodeName: pod.node,
      ...(pod.hostNetwork ? { hostNetwork: true } : {}),
      containers: regular.map(build),
      ...(init.length > 0
        ? {
            initContainers: init.map((each) => ({
              ...build(each),
              ...(each[0] === 'sidecar' ? { restartPolicy: 'Always' } : {}),
            })),
          }
        : {}),
    },
  });
}
