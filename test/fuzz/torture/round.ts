/**
 * One round: a random cluster in a lab that is there already, and storms of random events. After each storm every packet must do
 * what the reference evaluator says, every node must hold what a fresh agent would write, and whatever was allowed, or denied, by
 * every state the cluster was in must have been so all the time. A seed and a number repeat a round.
 */
import { MODE_KEY } from '../../../src/core/vocabulary.ts';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Lab } from '../../../lab/lab.ts';
import type { LabFlow, LabRepeat, ProbeResult } from '../../../lab/network/types.ts';
import type { ClusterSnapshot } from '../../../src/policy/model.ts';
import { createEvaluator } from '../../../src/policy/evaluate.ts';
import { arrived } from '../../../lab/matrix.ts';
import { measureMatrix, type MeasuredCell } from '../../../lab/measure.ts';
import { askedPorts, type Cell, cellsOf, describeCell, servicesFor } from './cells.ts';
import { Dice } from './dice.ts';
import { applyClusterPolicy, applyPolicy, createPod, type Event, type Scene, sceneOf, someEvent } from './events.ts';
import { History } from './history.ts';
import { unlikeFresh } from './nodes.ts';
import { LABEL_KEYS, NAMESPACES, NODES, someLabels } from './objects.ts';
import { Judge, type JudgedStats } from './judge.ts';
import { tellStory } from './story.ts';
import { namespaceObject } from '../../support/api-objects.ts';

export interface RoundOptions {
  readonly lab: Lab;
  readonly seed: string;
  readonly round: number;
  readonly storms: number;
  /** Whether there are cluster-wide policies; absent: in some rounds. */
  readonly tiers?: boolean;
  /** Makes the API server's clock go on by a second: creation times have no smaller parts. */
  readonly nextSecond: () => void;
  /** Evidence of a difference goes into a directory whose name begins so. */
  readonly evidenceDir: string;
}

export interface TortureStats extends JudgedStats {
  rounds: number;
  storms: number;
  events: number;
  cells: number;
  denied: number;
  restarts: number;
  outages: number;
  faults: number;
  /** Probes that went on during storms, and what they showed. */
  watched: number;
  flowsKept: number;
  flowsCut: number;
  readonly followedMs: number[];
}

export function emptyStats(): TortureStats {
  return {
    rounds: 0,
    storms: 0,
    events: 0,
    cells: 0,
    denied: 0,
    wrong: 0,
    starved: 0,
    unresolved: 0,
    restarts: 0,
    outages: 0,
    faults: 0,
    watched: 0,
    flowsKept: 0,
    flowsCut: 0,
    followedMs: [],
  };
}

/** The agents did something else than the evaluator says; the message tells the whole story. */
export class Difference extends Error {}

/** How long packets may take to follow a change. The specification gives it a second; a shared machine may stand still. */
const FOLLOW_MS = 6_000;
/** An agent that was killed, or that lost the API server, has to come back first. */
const COME_BACK_MS = 12_000;
const WATCH_INTERVAL_MS = 40;
/** On a machine that stands still packets come late, but they come: one that is not there by then was dropped. */
const WATCH_TIMEOUT_MS = 2_000;
const FLOW_INTERVAL_MS = 30;
const FLOW_SILENT_MS = 500;
/** Longer than a machine stands still, and than TCP waits before it sends again. */
const FLOW_PAUSE_MS = 2_500;

interface Watched {
  readonly cell: Cell;
  readonly repeat: LabRepeat;
}

interface Flowing {
  readonly cell: Cell;
  readonly flow: LabFlow;
}

export class Round {
  readonly #options: RoundOptions;
  readonly #stats: TortureStats;
  readonly #dice: Dice;
  readonly #lab: Lab;
  readonly #withServices: boolean;
  /** With cluster-wide policies besides. */
  readonly #hasTiers: boolean;
  readonly #judge: Judge;
  readonly #told: string[] = [];
  /** As last found right. */
  #cells: readonly Cell[] = [];
  #results: readonly MeasuredCell[] = [];

  constructor(options: RoundOptions, stats: TortureStats) {
    this.#options = options;
    this.#stats = stats;
    this.#lab = options.lab;
    this.#dice = new Dice(`${options.seed}/${options.round}`);
    this.#withServices = this.#dice.chance(0.4);
    this.#hasTiers = options.tiers ?? this.#dice.chance(0.6);
    this.#judge = new Judge({ lab: options.lab, stats, evidenceDir: `${options.evidenceDir}-${options.round}` });
  }

  async run(): Promise<void> {
    try {
      await clear(this.#lab);
      await this.#populate();
      await this.#expectRight('at first', this.#dice, FOLLOW_MS);
      for (let storm = 1; storm <= this.#options.storms; storm++) await this.#storm(storm);
      this.#stats.rounds++;
    } catch (error) {
      const told = `what happened:\n${this.#told.map((line) => `  ${line}`).join('\n')}`;
      if (error instanceof Difference) throw new Difference(`${error.message}\n--- ${told}`);
      throw new Error(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n--- ${told}`);
    }
  }

  async #populate(): Promise<void> {
    const { store } = this.#lab;
    const dice = this.#dice;
    for (const name of NAMESPACES) {
      const labels = someLabels(dice);
      if (!store.get('namespaces', { name })) store.create('namespaces', namespaceObject(name, { labels }));
      else store.patch('namespaces', { name }, 'merge', { metadata: { labels } });
    }
    const scene = sceneOf(dice, this.#lab, this.#hasTiers);
    for (let tries = dice.between(6, 9); tries > 0; tries--) this.#act(createPod(scene));
    for (let tries = dice.between(2, 5); tries > 0; tries--) this.#act(applyPolicy(scene));
    if (this.#hasTiers) for (let tries = dice.between(1, 4); tries > 0; tries--) this.#act(applyClusterPolicy(scene));
    await this.#lab.settle();
  }

  #act(event: Event | undefined): void {
    if (!event) return;
    this.#told.push(event.text);
    this.#stats.events++;
    event.act();
  }

  // -------------------------------------------------------------------------------------------------------------- storm

  async #storm(number: number): Promise<void> {
    const { seed, round, nextSecond } = this.#options;
    const dice = new Dice(`${seed}/${round}/${number}`);
    nextSecond();
    this.#told.push(`storm ${number}`);
    const scene = sceneOf(dice, this.#lab, this.#hasTiers);
    const history = new History(this.#lab);
    const watched = await this.#watch(dice);
    const flowing = await this.#openFlows(dice);
    try {
      const followMs = await this.#rage(scene);
      await this.#lab.settle();
      await this.#expectRight(`after storm ${number}`, dice, followMs);
      const rightAtMs = performance.now();
      await this.#expectFresh(`after storm ${number}`);
      await this.#expectFlows(flowing, history, `after storm ${number}`);
      await sleep(Math.max(0, rightAtMs + WATCH_TIMEOUT_MS - performance.now()));
      await this.#expectSteady(watched, history, `in storm ${number}`);
    } finally {
      history.stop();
      this.#lab.server.faults.clear();
      await Promise.allSettled([
        ...watched.map(({ repeat }) => repeat.stop()),
        ...flowing.map(({ flow }) => flow.close()),
      ]);
    }
    this.#stats.storms++;
  }

  /** Returns how long the agents may take to follow. */
  async #rage(scene: Scene): Promise<number> {
    const { dice } = scene;
    return await dice.weighted(
      [6, async () => await this.#calm(scene)],
      [3, async () => await this.#withRestart(scene)],
      [1, async () => await this.#withOutage(scene)],
      [3, async () => await this.#withFaults(scene)],
    );
  }

  async #calm(scene: Scene): Promise<number> {
    await this.#events(scene, true);
    return FOLLOW_MS;
  }

  async #events(scene: Scene, networkToo: boolean): Promise<void> {
    const { dice } = scene;
    for (let left = dice.between(1, 6); left > 0; left--) {
      this.#act(someEvent(scene, networkToo));
      if (dice.chance(0.5)) await sleep(dice.below(60));
    }
  }

  async #withRestart(scene: Scene): Promise<number> {
    const { dice } = scene;
    const [node, kill, afterMs] = [dice.pick(NODES), dice.chance(0.7), dice.below(350)];
    this.#told.push(`the agent on ${node} is ${kill ? 'killed' : 'told to end'} after ${afterMs} ms and started again`);
    this.#stats.restarts++;
    const restart = async (): Promise<void> => {
      const { agents } = this.#lab;
      await sleep(afterMs);
      await (kill ? agents.kill(node) : agents.stop(node));
      agents.start(node);
    };
    await Promise.all([restart(), this.#events(scene, true)]);
    return COME_BACK_MS;
  }

  /** While no agent sees the API server, nothing that happens there changes anything for packets. */
  async #withOutage(scene: Scene): Promise<number> {
    const { publication } = this.#lab;
    this.#told.push('no agent reaches the API server');
    this.#stats.outages++;
    await Promise.all(NODES.map((node) => publication.pause(node)));
    try {
      await this.#events(scene, false);
      await sleep(150);
      const { cells } = await this.#measure(this.#cells, 0);
      await this.#complain('while the API server is away', this.#cells, cells);
    } finally {
      await Promise.all(NODES.map((node) => publication.resume(node)));
    }
    this.#told.push('all agents reach the API server again');
    return COME_BACK_MS;
  }

  async #withFaults(scene: Scene): Promise<number> {
    const { dice } = scene;
    const { faults } = this.#lab.server;
    const [what, act] = dice.pick<readonly [string, () => void]>([
      ['watches end in the middle of a line', () => faults.endWatches('reset-mid-line')],
      ['watches end in the middle of a line, politely', () => faults.endWatches('end-mid-line')],
      ['watches end', () => faults.endWatches('end')],
      ['watches are told 410 Gone', () => faults.failWatches(410)],
      ['all connections are cut', () => faults.dropConnections()],
      [
        'watches end, and the next three are answered with 500',
        () => {
          faults.add({ verb: 'watch', times: 3, action: { kind: 'status', code: 500 } });
          faults.endWatches('reset');
        },
      ],
      [
        'watches are stalled for a while',
        () => {
          faults.stalled = true;
          setTimeout(() => {
            faults.stalled = false;
          }, 150);
        },
      ],
    ]);
    const afterMs = dice.below(80);
    this.#told.push(`after ${afterMs} ms: ${what}`);
    this.#stats.faults++;
    const disturb = async (): Promise<void> => {
      await sleep(afterMs);
      act();
    };
    await Promise.all([disturb(), this.#events(scene, true)]);
    return COME_BACK_MS;
  }

  // ---------------------------------------------------------------------------------------------------------- afterwards

  async #measure(cells: readonly Cell[], followMs: number): Promise<Awaited<ReturnType<typeof measureMatrix>>> {
    const measured = await measureMatrix(
      { cells },
      { probe: (probes) => this.#lab.measure(probes), followMs, now: () => performance.now(), sleep },
    );
    this.#stats.cells += cells.length;
    this.#stats.denied += cells.filter(({ predicted }) => !predicted).length;
    return measured;
  }

  async #expectRight(when: string, dice: Dice, followMs: number): Promise<void> {
    const snapshot = this.#lab.snapshot();
    const endpoints = this.#lab.endpoints();
    const ports = askedPorts(dice, snapshot);
    const services = this.#withServices ? servicesFor(endpoints, ports) : [];
    if (this.#withServices) await this.#lab.network.setServices(services);
    const cells = cellsOf(snapshot, endpoints, ports, services);
    const { cells: results, agreedAfterMs } = await this.#measure(cells, followMs);
    if (agreedAfterMs !== undefined) this.#stats.followedMs.push(agreedAfterMs);
    await this.#complain(when, cells, results);
    this.#assertSame(snapshot);
    this.#cells = cells;
    this.#results = results;
  }

  async #complain(when: string, cells: readonly Cell[], results: readonly MeasuredCell[]): Promise<void> {
    const told = await this.#judge.review(when, cells, results);
    if (told !== undefined) throw new Difference(told);
  }

  /** A cluster that changes while it is measured says nothing. */
  #assertSame(before: ClusterSnapshot): void {
    const text = (snapshot: ClusterSnapshot): string =>
      JSON.stringify(
        [snapshot.pods, snapshot.namespaces, snapshot.policies, snapshot.clusterPolicies ?? []].map((map) => [...map]),
      );
    if (text(this.#lab.snapshot()) !== text(before)) throw new Error('the cluster changed while it was measured');
  }

  async #expectFresh(when: string): Promise<void> {
    const deadline = performance.now() + FOLLOW_MS;
    for (const node of NODES) {
      for (;;) {
        const plan = await unlikeFresh(this.#lab, node);
        if (plan === undefined) break;
        if (performance.now() > deadline)
          throw new Difference(
            `${when}: ${node} does not hold what a fresh agent would write:\n${plan.slice(0, 6000)}`,
          );
        await sleep(50);
      }
    }
  }

  // ------------------------------------------------------------------------------------------------------ all the time

  /** Some questions are asked again and again while the storm lasts. */
  async #watch(dice: Dice): Promise<Watched[]> {
    // Services are made anew after each storm.
    const steady = this.#cells.filter(({ probe, flow }) => probe.address === flow.destination);
    const [all, closed] = [true, false].map((predicted) => steady.filter((cell) => cell.predicted === predicted));
    // TCP sends what was dropped again: that it was, nobody sees.
    const open = all!.filter(({ protocol }) => protocol !== 'TCP');
    const chosen = [...dice.some(open, 5), ...dice.some(closed!, 5)];
    return await Promise.all(
      chosen.map(async (cell) => {
        const request = { ...cell.probe, attempts: 1, intervalMs: WATCH_INTERVAL_MS, timeoutMs: WATCH_TIMEOUT_MS };
        return { cell, repeat: await this.#lab.network.repeatProbe(cell.from.key, request) };
      }),
    );
  }

  async #openFlows(dice: Dice): Promise<Flowing[]> {
    const able = this.#cells.filter(({ protocol, predicted, from, to, flow, probe }, index) => {
      const answered = this.#results[index]!.result.server !== undefined;
      const direct = probe.address === flow.destination && from.kind === 'pod' && to.kind === 'pod';
      return answered && predicted && direct && (protocol === 'TCP' || protocol === 'UDP');
    });
    return await Promise.all(
      dice.some(able, 4).map(async (cell) => {
        const protocol = cell.protocol === 'TCP' ? 'TCP' : 'UDP';
        // What a datagram that is not answered came to, its sender cannot know.
        const mode = dice.pick(['talk', 'push-server', protocol === 'TCP' ? 'push-client' : 'talk'] as const);
        const { address, port } = cell.probe;
        const request = { protocol, address, port, mode, intervalMs: FLOW_INTERVAL_MS } as const;
        return { cell, flow: await this.#lab.network.openFlow(cell.from.key, request) };
      }),
    );
  }

  #isUntouched(history: History, { from, to }: Cell): boolean {
    return [from, to].every(({ kind, label }) => kind !== 'pod' || history.isUntouched(label));
  }

  /** Flows that are denied now have stopped; those no state of the cluster denied never did (S-67). */
  async #expectFlows(flowing: readonly Flowing[], history: History, when: string): Promise<void> {
    const steady = flowing.filter(({ cell }) => this.#isUntouched(history, cell));
    const ways = history.always(steady.map(({ cell }) => cell.flow));
    const evaluator = createEvaluator(this.#lab.snapshot());
    for (const [index, { cell, flow }] of steady.entries()) {
      if (!evaluator.evaluate(cell.flow).allowed) {
        await this.#expectSilent(cell, flow, when);
        this.#stats.flowsCut++;
      } else if (ways[index] === 'open') {
        const status = await flow.status();
        const since = { fromMs: Date.now() - status.longestSilenceMs - FLOW_PAUSE_MS, toMs: Date.now() };
        const paused = status.longestSilenceMs > FLOW_PAUSE_MS && (await this.#judge.proven(cell, [since])).length > 0;
        if (paused || status.state !== 'open')
          await this.#tell(cell, `${when}: a flow that is allowed stopped: ${JSON.stringify(status)}`);
        this.#stats.flowsKept++;
      }
    }
  }

  async #expectSilent(cell: Cell, flow: LabFlow, when: string): Promise<void> {
    const deadline = performance.now() + FOLLOW_MS;
    for (;;) {
      const status = await flow.status();
      if (status.silentMs > FLOW_SILENT_MS || status.state !== 'open') return;
      if (performance.now() > deadline)
        await this.#tell(cell, `${when}: a flow that is denied goes on: ${JSON.stringify(status)}`);
      await sleep(50);
    }
  }

  async #expectSteady(watched: readonly Watched[], history: History, when: string): Promise<void> {
    const steady = watched.filter(({ cell }) => this.#isUntouched(history, cell));
    const ways = history.always(steady.map(({ cell }) => cell.flow));
    const unsteady: { readonly cell: Cell; readonly what: string }[] = [];
    for (const [index, { cell, repeat }] of steady.entries()) {
      const way = ways[index]!;
      if (way === 'changes') continue;
      const silent = (await repeat.timesOf('blocked')).map((fromMs) => ({ fromMs, toMs: fromMs + WATCH_TIMEOUT_MS }));
      const { counts, changes } = await repeat.stop();
      this.#stats.watched++;
      const wrong = way === 'open' ? (await this.#judge.proven(cell, silent)).length : counts.reached + counts.refused;
      const what = `${describeCell(cell)}: always ${way}, seen ${JSON.stringify({ counts, changes })}`;
      if (wrong > 0) unsteady.push({ cell, what });
    }
    if (unsteady.length === 0) return;
    const all = unsteady.map(({ what }) => what).join('\n');
    await this.#tell(unsteady[0]!.cell, `${when}: not what every state of the cluster says:\n${all}`);
  }

  async #tell(cell: Cell, what: string): Promise<never> {
    const [result] = await this.#lab.measure([cell.probe]);
    const now: ProbeResult = result!;
    const story = await tellStory(this.#lab, [{ cell, result: now, what: `now ${arrived(now) ? 'open' : 'closed'}` }]);
    this.#stats.wrong++;
    throw new Difference(await this.#judge.keep(`${what}\n${story}`));
  }
}

/** Leaves nodes, outside hosts and namespaces. */
async function clear(lab: Lab): Promise<void> {
  const { store } = lab;
  lab.server.faults.clear();
  await lab.network.setServices([]);
  for (const namespace of NAMESPACES) store.deleteCollection('networkpolicies', { namespace });
  for (const { metadata } of store.list('clusternetworkpolicies'))
    store.delete('clusternetworkpolicies', { name: metadata.name });
  for (const { metadata } of store.list('nodes')) {
    const labels = Object.fromEntries(LABEL_KEYS.map((key) => [key, null]));
    store.patch('nodes', { name: metadata.name }, 'merge', { metadata: { labels } });
  }
  for (const { metadata } of store.list('pods'))
    store.delete('pods', { namespace: metadata.namespace!, name: metadata.name }, { gracePeriodSeconds: 0 });
  for (const name of NAMESPACES) {
    const namespace = store.get('namespaces', { name });
    if (!namespace) continue;
    const own = Object.keys(namespace.metadata.labels ?? {});
    const gone = own.filter((key) => !key.startsWith('kubernetes.io/')).map((key) => [key, null]);
    const metadata = { labels: Object.fromEntries(gone), annotations: { [MODE_KEY]: null } };
    store.patch('namespaces', { name }, 'merge', { metadata });
  }
  await lab.settle();
}
