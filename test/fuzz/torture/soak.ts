/**
 * A lab under load for as long as one likes: events all the time, a fault every few seconds, and probes whose answers must not change.
 * Every so often the events pause, and every packet is compared with the reference evaluator.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Lab } from '../../../lab/lab.ts';
import { engineOf } from '../../../lab/command/options.ts';
import { createTestLab } from '../../support/test-lab.ts';
import { measureMatrix } from '../../../lab/measure.ts';
import type { LabRepeat, ProbeOutcome, Span } from '../../../lab/network/types.ts';
import { ADDRESSES_ANNOTATION } from '../../../lab/kubelet.ts';
import { podAddress } from '../../../lab/network/address-plan.ts';
import { askedPorts, type Cell, cellsOf, describeCell } from './cells.ts';
import { Dice } from './dice.ts';
import { applyPolicy, createPod, sceneOf, someEvent } from './events.ts';
import { Judge, type JudgedStats } from './judge.ts';
import { unlikeFresh } from './nodes.ts';
import { NAMESPACES, NODES, someLabels } from './objects.ts';
import { faultsOf, type SoakFault } from './soak-faults.ts';
import type { LabKind } from './torture.ts';
import { podObject, runningStatus } from '../../support/api-objects.ts';

export interface SoakOptions extends LabKind {
  readonly seconds: number;
  readonly seed: string;
  /** Events at the API server, a second. */
  readonly rate: number;
  /** Names of faults to leave out. */
  readonly without?: readonly string[];
  readonly print: (line: string) => void;
  readonly evidenceDir: string;
}

export interface SoakStats extends JudgedStats {
  events: number;
  probes: number;
  cells: number;
  /** Wrong within a window that a fault declares. */
  excused: number;
  /** By name, how often. */
  readonly faults: Map<string, number>;
  readonly samples: AgentSample[];
}

export interface AgentSample {
  readonly atSeconds: number;
  readonly rssMiB: number;
  readonly descriptors: number;
}

export interface SoakResult {
  readonly stats: SoakStats;
  /** What was found, one text each; empty: nothing. */
  readonly found: readonly string[];
}

/** Its agent lives through the soak, so that what it keeps can be measured; the other one's is killed now and then. */
const LIVING = NODES[0]!;
const MORTAL = NODES[1]!;
const STEADY = 'steady';
const SLICE_MS = 5_000;
const CALM_EVERY_MS = 20_000;
const FAULT_EVERY_MS = 4_000;
const PROBE_INTERVAL_MS = 50;
const PROBE_TIMEOUT_MS = 1_500;
const FOLLOW_MS = 15_000;
const READY_MS = 60_000;
/** Pods on nodes that this lab does not have: they cost the agents work and the lab nothing. */
const REMOTE_PODS = 200;

interface Window extends Span {
  readonly fault: string;
  readonly opens: boolean;
}

export async function runSoak(options: SoakOptions): Promise<SoakResult> {
  const { dataplane, backend, wiring } = options;
  const { lab, problems } = await createTestLab({ dataplane, backend, wiring, nodes: NODES });
  try {
    const soak = new Soak(options, lab);
    const result = await soak.run();
    return { ...result, found: [...result.found, ...problems.map((problem) => `the lab: ${problem}`)] };
  } finally {
    await lab.close();
  }
}

class Soak {
  readonly #options: SoakOptions;
  readonly #lab: Lab;
  readonly #dice: Dice;
  readonly #judge: Judge;
  readonly #stats: SoakStats;
  readonly #found: string[] = [];
  readonly #windows: Window[] = [];
  readonly #startedMs = performance.now();
  #calm = false;
  #over = false;
  #remote = 0;

  constructor(options: SoakOptions, lab: Lab) {
    this.#options = options;
    this.#lab = lab;
    this.#dice = new Dice(options.seed);
    this.#stats = {
      wrong: 0,
      starved: 0,
      unresolved: 0,
      events: 0,
      probes: 0,
      cells: 0,
      excused: 0,
      faults: new Map(),
      samples: [],
    };
    this.#judge = new Judge({ lab, stats: this.#stats, evidenceDir: options.evidenceDir });
  }

  async run(): Promise<SoakResult> {
    await this.#populate();
    const until = performance.now() + this.#options.seconds * 1_000;
    const running = [this.#rain(), this.#break(), this.#sample(), this.#watch()].map((part) =>
      part.catch((error: unknown) => void this.#found.push(`a part of the soak failed: ${String(error)}`)),
    );
    try {
      while (performance.now() < until && this.#found.length === 0) {
        await sleep(Math.max(0, Math.min(CALM_EVERY_MS, until - performance.now())));
        await this.#compare();
        this.#options.print(this.#line());
      }
    } finally {
      this.#over = true;
      await Promise.all(running);
    }
    await this.#expectNoLeftover();
    for (const growth of growthOf(this.#stats.samples)) this.#found.push(growth);
    return { stats: this.#stats, found: this.#found };
  }

  async #populate(): Promise<void> {
    const { store } = this.#lab;
    for (const name of [...NAMESPACES, STEADY, 'remote']) {
      store.create('namespaces', { metadata: { name, labels: someLabels(this.#dice) } });
    }
    for (const [index, node] of NODES.entries()) {
      for (const name of ['open', 'closed']) {
        const addresses = ([4, 6] as const).map((family) => podAddress(index, family, name === 'open' ? 100 : 101));
        const ports = ['UDP', 'SCTP'].map((protocol) => ({ containerPort: 80, protocol }));
        const annotations = { [ADDRESSES_ANNOTATION]: addresses.join(',') };
        const metadata = { namespace: STEADY, name: `${name}-${node}`, labels: { steady: name }, annotations };
        store.create('pods', { metadata, spec: { nodeName: node, containers: [{ name: 'c', image: 'lab', ports }] } });
      }
    }
    const from = [{ podSelector: { matchLabels: { steady: 'open' } } }];
    for (const [name, spec] of Object.entries({
      open: { podSelector: { matchLabels: { steady: 'open' } }, ingress: [{ from }], policyTypes: ['Ingress'] },
      closed: { podSelector: { matchLabels: { steady: 'closed' } }, policyTypes: ['Ingress'] },
    })) {
      store.create('networkpolicies', { metadata: { namespace: STEADY, name }, spec });
    }
    const scene = sceneOf(this.#dice, this.#lab);
    for (let tries = 6; tries > 0; tries--) createPod(scene)?.act();
    for (let tries = 3; tries > 0; tries--) applyPolicy(scene)?.act();
    await this.#lab.settle();
    await this.#lab.agents.ready(READY_MS);
    await this.#compare();
  }

  // -------------------------------------------------------------------------------------------------------- events

  /** Most of the events are pods of other nodes, as in a large cluster; the rest is what the torture does. */
  async #rain(): Promise<void> {
    const tickMs = 50;
    const perTick = (this.#options.rate * tickMs) / 1_000;
    let owed = 0;
    while (!this.#over) {
      await sleep(tickMs);
      if (this.#calm) continue;
      const scene = sceneOf(this.#dice, this.#lab);
      for (owed += perTick; owed >= 1; owed--) {
        if (this.#dice.chance(0.9)) this.#remoteEvent();
        else someEvent(scene, this.#dice.chance(0.1))?.act();
        this.#stats.events++;
      }
    }
  }

  #remoteEvent(): void {
    const { store } = this.#lab;
    const name = `r${this.#dice.below(REMOTE_PODS)}`;
    const ref = { namespace: 'remote', name };
    const found = store.get('pods', ref);
    if (found && this.#dice.chance(0.3)) {
      store.delete('pods', ref, { gracePeriodSeconds: 0 });
    } else if (found) {
      const labels = someLabels(this.#dice);
      store.putUnchecked('pods', { ...found, metadata: { ...found.metadata, labels } });
    } else {
      this.#remote++;
      const podIP = `10.250.${Math.floor(this.#remote / 250) % 250}.${1 + (this.#remote % 250)}`;
      const object = podObject(`remote/${name}`, { labels: someLabels(this.#dice), spec: { nodeName: 'elsewhere' } });
      store.putUnchecked('pods', { ...object, status: runningStatus(podIP) });
    }
  }

  // -------------------------------------------------------------------------------------------------------- faults

  async #break(): Promise<void> {
    const { without = [] } = this.#options;
    const faults = faultsOf(engineOf(this.#options)).filter(({ name }) => !without.includes(name));
    while (!this.#over) {
      await sleep(FAULT_EVERY_MS / 2 + this.#dice.below(FAULT_EVERY_MS));
      if (!this.#calm && !this.#over) await this.#act(this.#dice.pick(faults));
    }
  }

  async #act(fault: SoakFault): Promise<void> {
    const engine = engineOf(this.#options);
    const node = fault.name.startsWith('the agent') ? MORTAL : this.#dice.pick(NODES);
    const fromMs = Date.now();
    // Declared before it begins: what is wrong meanwhile is looked at afterwards.
    const declare = (opens: boolean, ms: number): void => {
      if (ms > 0) this.#windows.push({ fault: fault.name, opens, fromMs, toMs: fromMs + ms });
    };
    declare(true, fault.opensMs(engine));
    declare(false, fault.closesMs(engine));
    this.#stats.faults.set(fault.name, (this.#stats.faults.get(fault.name) ?? 0) + 1);
    await fault.act(this.#lab, node, this.#dice).catch((error: unknown) => {
      this.#found.push(`the fault "${fault.name}" could not be made: ${String(error)}`);
    });
  }

  // -------------------------------------------------------------------------------------------------------- probes

  #steadyCells(): readonly Cell[] {
    const ends = this.#lab.endpoints().filter(({ label }) => label.startsWith(`${STEADY}/`));
    const ports = (['UDP', 'SCTP'] as const).map((protocol) => ({ protocol, port: 80 }));
    return cellsOf(this.#lab.snapshot(), ends, ports);
  }

  /** Asks the same questions all the time, and looks at the answers slice by slice. */
  async #watch(): Promise<void> {
    const cells = this.#steadyCells();
    while (!this.#over) {
      const repeats = await Promise.all(
        cells.map((cell) =>
          this.#lab.network.repeatProbe(cell.from.key, {
            ...cell.probe,
            attempts: 1,
            timeoutMs: PROBE_TIMEOUT_MS,
            intervalMs: PROBE_INTERVAL_MS,
          }),
        ),
      );
      await sleep(SLICE_MS + PROBE_TIMEOUT_MS);
      for (const [index, cell] of cells.entries()) await this.#judgeSlice(cell, repeats[index]!);
    }
  }

  async #judgeSlice(cell: Cell, repeat: LabRepeat): Promise<void> {
    const outcomes: readonly ProbeOutcome[] = cell.predicted ? ['blocked'] : ['reached', 'refused'];
    const times = (await Promise.all(outcomes.map((outcome) => repeat.timesOf(outcome)))).flat();
    const { counts } = await repeat.stop();
    this.#stats.probes += Object.values(counts).reduce((sum, count) => sum + count, 0);
    const isExcused = (at: number): boolean =>
      this.#windows.some(({ opens, fromMs, toMs }) => opens === !cell.predicted && at >= fromMs && at <= toMs);
    const wrong = times.filter((at) => !isExcused(at));
    this.#stats.excused += times.length - wrong.length;
    const spans = wrong.map((fromMs) => ({ fromMs, toMs: fromMs + PROBE_TIMEOUT_MS }));
    const proven = cell.predicted ? await this.#judge.proven(cell, spans) : spans;
    if (proven.length === 0) return;
    this.#stats.wrong += proven.length;
    const first = new Date(proven[0]!.fromMs).toISOString();
    const windows = this.#windows.slice(-10).map((window) => JSON.stringify(window));
    this.#found.push(
      await this.#judge.keep(
        `${describeCell(cell)}: always ${cell.predicted ? 'allowed' : 'denied'}, ${proven.length} probes say otherwise, the first at ${first}\nlast windows:\n${windows.join('\n')}`,
      ),
    );
  }

  /** Nothing happens, and every packet is as the evaluator says. */
  async #compare(): Promise<void> {
    this.#calm = true;
    try {
      await this.#lab.settle();
      const snapshot = this.#lab.snapshot();
      const cells = cellsOf(snapshot, this.#lab.endpoints(), askedPorts(this.#dice, snapshot));
      const options = { probe: this.#lab.measure.bind(this.#lab), followMs: FOLLOW_MS, now: () => performance.now() };
      const { cells: results } = await measureMatrix({ cells }, { ...options, sleep });
      this.#stats.cells += cells.length;
      const told = await this.#judge.review('while nothing happens', cells, results);
      if (told !== undefined) this.#found.push(told);
    } finally {
      this.#calm = false;
    }
  }

  async #expectNoLeftover(): Promise<void> {
    await this.#lab.settle();
    const deadline = performance.now() + FOLLOW_MS;
    for (const node of NODES) {
      for (;;) {
        const plan = await unlikeFresh(this.#lab, node).catch((error: Error) => error.message);
        if (plan === undefined) break;
        if (performance.now() > deadline) {
          const story = `at the end ${node} does not hold what a fresh agent would write:\n${plan.slice(0, 4_000)}`;
          this.#found.push(await this.#judge.keep(story));
          break;
        }
        await sleep(200);
      }
    }
  }

  // ------------------------------------------------------------------------------------------------------ resources

  async #sample(): Promise<void> {
    while (!this.#over) {
      await sleep(Math.min(5_000, this.#options.seconds * 50));
      const pid = this.#lab.agents.pid(LIVING);
      const sample = pid === undefined ? undefined : sampleOf(pid, (performance.now() - this.#startedMs) / 1_000);
      if (sample) this.#stats.samples.push(sample);
    }
  }

  #line(): string {
    const { events, probes, cells, wrong, starved, excused, samples, faults } = this.#stats;
    const seconds = Math.round((performance.now() - this.#startedMs) / 1_000);
    const last = samples.at(-1);
    const made = [...faults.values()].reduce((sum, count) => sum + count, 0);
    return (
      `${seconds} s: ${events} events, ${made} faults; ${probes} steady probes, ${cells} compared, ${wrong} wrong, ` +
      `${excused} within windows, ${starved} starved; agent ${last?.rssMiB.toFixed(0)} MiB, ${last?.descriptors} descriptors`
    );
  }
}

function sampleOf(pid: number, atSeconds: number): AgentSample | undefined {
  try {
    const rss = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return { atSeconds, rssMiB: Number(rss) / 1_024, descriptors: readdirSync(`/proc/${pid}/fd`).length };
  } catch {
    // It has just ended, which somebody else notices.
    return undefined;
  }
}

/** Growth over the run that no steady state explains: the median of the last quarter against that of the second. Pure. */
export function growthOf(samples: readonly AgentSample[]): readonly string[] {
  const quarter = Math.floor(samples.length / 4);
  if (quarter < 3) return [];
  const [early, late] = [samples.slice(quarter, 2 * quarter), samples.slice(-quarter)];
  const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;
  const of = (field: 'rssMiB' | 'descriptors') => [early, late].map((part) => median(part.map((one) => one[field])));
  const [rssBefore, rssAfter] = of('rssMiB') as [number, number];
  const [fdBefore, fdAfter] = of('descriptors') as [number, number];
  const found: string[] = [];
  if (rssAfter > rssBefore * 1.25 + 10) {
    found.push(`the agent's memory grows: ${rssBefore.toFixed(0)} MiB, later ${rssAfter.toFixed(0)} MiB`);
  }
  if (fdAfter > fdBefore + 5) found.push(`the agent's descriptors grow: ${fdBefore}, later ${fdAfter}`);
  return found;
}
