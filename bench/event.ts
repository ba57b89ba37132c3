/**
 * Suite *event*: from the API write to the packets (reaction.ts), beside bare commands. With --full also from the arrival of a watch line
 * to the kernel's commit, each kind of event by itself, and beside a rebuild of everything; that with iptables alone.
 */
import { runCommand } from '../src/host/command.ts';
import type { Backend } from '../src/core/vocabulary.ts';
import { createOneVariantKernel } from '../test/support/one-variant-kernel.ts';
import type { Step } from '../src/dataplane/iptables/plan/plan.ts';
import { teardown } from '../src/dataplane/iptables/plan/teardown.ts';
import { thisVersion } from './against/version.ts';
import { AgentUnderTest, type Commit, type Pass, SYNC_SHARE } from './agent-under-test.ts';
import { iptablesOf } from './backends.ts';
import { ClusterModel, type ClusterOptions, podObject } from './cluster-model.ts';
import { type Stories, type Story, makeStories } from './event-kinds.ts';
import { describeMachine } from './machine.ts';
import { Mirror } from './mirror.ts';
import { reactionTables } from './reaction/tables.ts';
import { measureReactions } from './reaction.ts';
import { IdleProcess, type Stall, longestOf, sleep, watchStalls } from './stalls.ts';
import { type Summary, median, number, ratio, spread, stallCells, summarise, time } from './statistics.ts';
import { stallTargets, targetsTable } from './targets.ts';
import type { SuiteOptions, SuiteResult, Table } from './types.ts';

const CLUSTER = { pods: 10_000, namespaces: 1_000, policies: 3_000, localPods: 250, localNamespaces: 100 };
const RATES = [200, 1_000];
/** Between two events of an idle agent: what a sync of 40 ms used is paid back by then, and both sides come to rest. */
const IDLE_MS = 40 / SYNC_SHARE + 20;
const NOTHING_MS = 500;
const TICK_MS = 5;
const LOAD_MS = 20_000;
const PROBE_EVERY_MS = 130;
/** Within this all that was sent is in the kernel, on a busy machine too. */
const LAST_COMMIT_MS = 30_000;
/** Pods that come and go under load, at most this many at a time. */
const CHURNING = 400;

interface EventResult {
  readonly name: string;
  /** Seconds from the line to the end of the last step that changes verdicts. */
  readonly agent: number[];
  /** Seconds of the same steps by hand. */
  readonly bare: number[];
  /** Commands per event. */
  readonly commands: number[];
}

interface LoadResult {
  readonly rate: number;
  readonly sent: number;
  readonly seconds: Summary;
  readonly passes: number;
  readonly cpuShare: number;
  readonly stall: Stall;
}

interface BackendResult {
  readonly backend: Backend;
  readonly localPolicies: number;
  readonly rules: number;
  readonly sets: number;
  readonly events: readonly EventResult[];
  /** Seconds of a full rebuild, each beside a policy edit. */
  readonly rebuild: readonly number[];
  /** While single events were measured. */
  readonly stall: Stall;
  /** Of a process that did nothing, all the time. */
  readonly idleStall: Stall;
  readonly load: readonly LoadResult[];
}

export async function run(options: SuiteOptions): Promise<SuiteResult> {
  const { full = false, rounds = 120 } = options;
  const reactions = await measureReactions((directory) => [thisVersion(directory)], options);
  const results: BackendResult[] = [];
  for (const backend of full ? iptablesOf(options) : []) results.push(await measureBackend(backend, rounds));
  return {
    suite: 'event',
    machine: describeMachine(),
    tables: [
      ...(results.length === 0 ? [] : [targets(results)]),
      ...reactionTables(reactions),
      ...results.flatMap((result) => [idleTable(result), rebuildTable(result), loadTable(result)]),
    ],
    raw: {
      reactions,
      backends: results.map(({ events, rebuild, ...rest }) => ({
        ...rest,
        rebuild: summarise(rebuild),
        events: events.map(({ name, agent, bare }) => ({ name, agent: summarise(agent), bare: summarise(bare) })),
      })),
    },
  };
}

async function measureBackend(backend: Backend, rounds: number): Promise<BackendResult> {
  const model = new ClusterModel(CLUSTER);
  const { stories, remote } = makeStories(model);
  const agent = new AgentUnderTest(model, backend);
  const idle = new IdleProcess();
  const mirror = new Mirror(backend);
  const other = new Mirror(backend);
  try {
    const first = await agent.start();
    await mirror.apply(first.commits.map(({ step }) => step));
    await other.rebuild('rebuild-first', model.options);
    const side = new SideBySide(agent, mirror, other, model.options);
    const stalls = watchStalls();
    await idle.longest();
    for (const story of stories) await tell(side, story, rounds);
    const stall = stalls.longest();
    stalls.stop();
    const load: LoadResult[] = [];
    for (const rate of RATES) load.push(await measureLoad(agent, model, remote, rate, LOAD_MS));
    const { intent } = first.info;
    const { rules, sets } = first.outcome.size!();
    return {
      backend,
      localPolicies: new Set(
        intent!.programs.flatMap(({ policies }) => policies.map((ref) => `${ref.namespace}/${ref.name}`)),
      ).size,
      rules,
      sets,
      events: side.results,
      rebuild: side.rebuild,
      stall,
      idleStall: await idle.longest(),
      load,
    };
  } finally {
    idle.stop();
    mirror.stop();
    other.stop();
    await agent.stop();
    await clear(backend);
  }
}

/** The next backend starts in an empty kernel. */
async function clear(backend: Backend): Promise<void> {
  const kernel = createOneVariantKernel({ backend, families: [4, 6], run: runCommand, lockWaitSeconds: 5 });
  for (const step of teardown(await kernel.readBack()).steps) await kernel.apply(step);
}

// ---------------------------------------------------------------------------------------------------------------- idle

async function tell(side: SideBySide, { events }: Story, rounds: number): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    for (const { name, send } of events) {
      const pass = await side.measure(name, (agent) => send(agent.feed, round));
      if (pass && name === 'policy edited' && round % 40 === 0) await side.measureRebuild();
    }
  }
}

class SideBySide {
  readonly results: EventResult[] = [];
  readonly rebuild: number[] = [];
  readonly #agent: AgentUnderTest;
  readonly #mirror: Mirror;
  /** A namespace for the rules of the other kind of agent. */
  readonly #model: Mirror;
  readonly #cluster: ClusterOptions;
  /** Steps the mirror has yet to take. */
  #pending: Step[] = [];

  constructor(agent: AgentUnderTest, mirror: Mirror, model: Mirror, cluster: ClusterOptions) {
    this.#agent = agent;
    this.#mirror = mirror;
    this.#model = model;
    this.#cluster = cluster;
    agent.onCommit = ({ step }) => this.#pending.push(step);
  }

  /** One event through the agent; then the same steps by hand. Tidying up (destroying sets) is timed on neither side. */
  async measure(name: string, send: (agent: AgentUnderTest) => void): Promise<Pass | undefined> {
    await sleep(IDLE_MS);
    await this.#catchUp();
    const passed = this.#agent.nextPass();
    const began = performance.now();
    send(this.#agent);
    // Some events turn out to change nothing here: no pass, or one that writes nothing.
    const pass = await Promise.race([passed, sleep(NOTHING_MS)]);
    if (!pass) return undefined;
    const commits = pass.commits.filter(({ step }) => step.kind !== 'destroy-sets');
    await sleep(TICK_MS);
    const times = await this.#mirror.apply(commits.map(({ step }) => step));
    this.#pending = this.#pending.filter((step) => !commits.some((commit) => commit.step === step));
    const result = this.#resultOf(name);
    if (commits.length > 0) {
      result.agent.push((commits.at(-1)!.endedMs - began) / 1000);
      result.bare.push(times.reduce((sum, ms) => sum + ms, 0) / 1000);
      result.commands.push(commits.length);
    }
    return pass;
  }

  async measureRebuild(): Promise<void> {
    const times = await this.#model.rebuild('rebuild-again', this.#cluster);
    this.rebuild.push(times.reduce((sum, ms) => sum + ms, 0) / 1000);
  }

  async #catchUp(): Promise<void> {
    const steps = this.#pending;
    this.#pending = [];
    if (steps.length > 0) await this.#mirror.apply(steps);
  }

  #resultOf(name: string): EventResult {
    const known = this.results.find((result) => result.name === name);
    if (known) return known;
    const result = { name, agent: [], bare: [], commands: [] };
    this.results.push(result);
    return result;
  }
}

// ---------------------------------------------------------------------------------------------------------------- load

/** Pods of the whole cluster come and go at `rate`; now and then one that concerns the node is timed. */
async function measureLoad(
  agent: AgentUnderTest,
  model: ClusterModel,
  remote: Stories['remote'],
  rate: number,
  durationMs: number,
): Promise<LoadResult> {
  const waiting = new Map<string, number>();
  const samples: number[] = [];
  let passes = 0;
  agent.onCommit = (commit) => {
    passes++;
    settle(commit, waiting, samples);
  };
  const stalls = watchStalls();
  await sleep(IDLE_MS);
  stalls.longest();
  const cpu = process.cpuUsage();
  const began = performance.now();
  const churn = new Churn(agent, model, rate);
  let probes = 0;
  for (let now = began; now - began < durationMs; now = performance.now()) {
    churn.catchUp(now - began);
    if (now - began > probes * PROBE_EVERY_MS) {
      const pod = remote(10_000 * rate + probes++);
      waiting.set(pod.address, performance.now());
      agent.feed.send('pods', 'ADDED', podObject(pod, { fullSize: true }));
    }
    await sleep(TICK_MS);
  }
  const seconds = (performance.now() - began) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  const stall = stalls.longest();
  stalls.stop();
  churn.end();
  const deadline = performance.now() + LAST_COMMIT_MS;
  while (waiting.size > 0 && performance.now() < deadline) await sleep(IDLE_MS);
  if (waiting.size > 0) throw new Error(`${waiting.size} pods never reached the kernel`);
  const cpuShare = (user + system) / 1e6 / seconds;
  return { rate, sent: churn.sent, seconds: summarise(samples), passes, cpuShare, stall };
}

function settle({ step, endedMs }: Commit, waiting: Map<string, number>, samples: number[]): void {
  if (waiting.size === 0) return;
  for (const { text } of step.lines) {
    const member = text.slice(text.lastIndexOf(' ') + 1);
    const address = member.split(',', 1)[0]!;
    const sentMs = waiting.get(address);
    if (sentMs === undefined) continue;
    samples.push((endedMs - sentMs) / 1000);
    waiting.delete(address);
  }
}

class Churn {
  sent = 0;
  readonly #agent: AgentUnderTest;
  readonly #model: ClusterModel;
  readonly #rate: number;
  #oldest = 0;
  #next = 0;

  constructor(agent: AgentUnderTest, model: ClusterModel, rate: number) {
    this.#agent = agent;
    this.#model = model;
    this.#rate = rate;
  }

  catchUp(elapsedMs: number): void {
    for (; this.sent < (elapsedMs * this.#rate) / 1000; this.sent++) this.#one();
  }

  end(): void {
    while (this.#oldest < this.#next) this.#delete();
  }

  #one(): void {
    const isFull = this.#next - this.#oldest >= CHURNING;
    if (isFull) this.#delete();
    else this.#agent.feed.send('pods', 'ADDED', podObject(this.#pod(this.#next++), { fullSize: true }));
  }

  #delete(): void {
    this.#agent.feed.send('pods', 'DELETED', podObject(this.#pod(this.#oldest++), { fullSize: true }));
  }

  #pod(n: number) {
    return this.#model.newPod(this.#rate * 100 + n);
  }
}

// -------------------------------------------------------------------------------------------------------------- tables

function resultOf({ events }: BackendResult, name: string): { agent: Summary; bare: Summary } {
  const { agent, bare } = events.find((event) => event.name === name)!;
  return { agent: summarise(agent), bare: summarise(bare) };
}

function targets(results: readonly BackendResult[]): Table {
  return targetsTable(
    results.flatMap((result) => {
      const { agent, bare } = resultOf(result, 'remote pod added');
      const edit = resultOf(result, 'policy edited');
      const stall = longestOf([result.stall, ...result.load.map((load) => load.stall)]);
      return [
        {
          what: `${result.backend}: remote pod added, idle, p99 against the median of the bare command`,
          measured: agent.p99 / bare.median,
          limit: 2.5,
          kind: 'at-most' as const,
          unit: 'x',
        },
        {
          what: `${result.backend}: policy edited against the bare commands`,
          measured: edit.agent.median / edit.bare.median,
          limit: 3,
          kind: 'at-most' as const,
          unit: 'x',
        },
        {
          what: `${result.backend}: full rebuild against a policy edit`,
          measured: median(result.rebuild) / edit.agent.median,
          limit: 20,
          kind: 'at-least' as const,
          unit: 'x',
        },
        ...stallTargets(`${result.backend}: idle and under load`, stall, result.idleStall),
      ];
    }),
  );
}

function idleTable({ backend, events, rules, sets, localPolicies }: BackendResult): Table {
  return {
    title: `${backend}: from the watch line to the commit, idle`,
    note: `Node with ${localPolicies} policies in force: ${rules} rules per family, ${sets} sets. Bare: the same commands with the same lines on the same rules, started by hand in turn. Median and middle half.`,
    columns: ['event', 'agent', 'p99', 'bare', 'bare p99', 'commands', 'ratio', 'p99 / bare'],
    rows: events.map(({ name, agent, bare, commands }) => {
      const [ours, theirs] = [summarise(agent), summarise(bare)];
      return [
        name,
        spread(ours),
        time(ours.p99),
        spread(theirs),
        time(theirs.p99),
        number(median(commands)),
        ratio(ours.median / theirs.median),
        ratio(ours.p99 / theirs.median),
      ];
    }),
  };
}

function rebuildTable(result: BackendResult): Table {
  const { agent } = resultOf(result, 'policy edited');
  const rebuild = summarise(result.rebuild);
  return {
    title: `${result.backend}: a policy edit beside a full rebuild`,
    note: 'Full rebuild: the commands of an agent that keeps chains and sets for every policy of the cluster and writes all of them anew (bench/rebuild-model.ts), IPv4 only; nothing else of it is counted.',
    columns: ['', 'time', 'ratio'],
    rows: [
      ['policy edit, from the watch line to the commit', spread(agent), ratio(1)],
      ['full rebuild, its commands alone', spread(rebuild), ratio(rebuild.median / agent.median)],
    ],
  };
}

function loadTable({ backend, load }: BackendResult): Table {
  return {
    title: `${backend}: remote pod added while others come and go`,
    note: `From the watch line to the commit. The agent pauses between two passes, for them to use ${number(SYNC_SHARE * 100)} % of a core, and takes together what came meanwhile.`,
    columns: ['pod events', 'median', 'p99', 'max', 'commands', 'CPU of the process', 'stall: CPU', 'by the clock'],
    rows: load.map(({ rate, seconds, passes, cpuShare, stall }) => [
      `${number(rate)}/s`,
      time(seconds.median),
      time(seconds.p99),
      time(seconds.max),
      passes,
      `${number(cpuShare * 100)} %`,
      ...stallCells(stall),
    ]),
  };
}
