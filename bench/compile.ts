/** Suite *compile*: CPU of a whole compile, and of one event of a pod on another node, in clusters of three sizes. */
import { loadSnapshot, NodeCompiler } from '../src/compile/compile-node.ts';
import { objectKey, type Pod } from '../src/policy/model.ts';
import { ClusterModel, LOCAL_NODE, podObject } from './cluster-model.ts';
import { type LoadedCluster, loadModel } from './load-model.ts';
import { describeMachine } from './machine.ts';
import { PurePasses } from './node-pass.ts';
import { IdleProcess, longestOf, nextTurn, type Stall, watchStalls } from './stalls.ts';
import { number, ratio, type Summary, stallCells, summarise, time } from './statistics.ts';
import { stallTargets, targetsTable } from './targets.ts';
import type { SuiteOptions, SuiteResult, Table } from './types.ts';

interface Size {
  readonly pods: number;
  readonly namespaces: number;
  readonly policies: number;
}

/** The node is the same in all of them: what differs is the cluster around it. */
const LOCAL = { localPods: 100, localNamespaces: 60 };
const SIZES: readonly Size[] = [
  { pods: 1_000, namespaces: 100, policies: 100 },
  { pods: 10_000, namespaces: 1_000, policies: 1_000 },
  { pods: 100_000, namespaces: 10_000, policies: 10_000 },
];
const BATCH = 60;
/** As the agent does it (src/agent/follow-cluster.ts). */
const SLICE_MS = 10;

const STEPS = ['added', 'relabelled', 'deleted'] as const;
type PodEvent = (typeof STEPS)[number];

/** Of one event, in seconds. */
interface EventTime {
  readonly event: PodEvent;
  /** A set of this node changed. */
  readonly concerns: boolean;
  readonly follow: number;
  readonly compile: number;
  readonly render: number;
  readonly plan: number;
  readonly total: number;
}

interface Subject {
  readonly size: Size;
  readonly model: ClusterModel;
  readonly cluster: LoadedCluster;
  readonly compiler: NodeCompiler;
  readonly passes: PurePasses;
  readonly events: EventTime[];
  readonly full: number[];
  readonly fullStalls: Stall[];
  next: number;
}

export async function run({ quick, rounds = quick ? 2 : 40 }: SuiteOptions): Promise<SuiteResult> {
  const subjects = (quick ? SIZES.slice(0, 2) : SIZES).map(prepare);
  const idle = new IdleProcess();
  await idle.longest();
  for (let round = 0; round < (quick ? 1 : 5); round++) for (const subject of subjects) await compileWhole(subject);
  const idleStall = await idle.longest();
  idle.stop();
  // Warm code is what an agent runs after its first seconds.
  for (const subject of subjects) measureEvents(subject, quick ? 20 : 400);
  for (const subject of subjects) subject.events.length = 0;
  const stalls = watchStalls();
  for (let round = 0; round < rounds; round++) {
    for (const subject of subjects) {
      measureEvents(subject, BATCH);
      await nextTurn();
    }
  }
  const eventStall = stalls.longest();
  stalls.stop();
  return {
    suite: 'compile',
    machine: describeMachine(),
    tables: [
      ...(quick ? [] : [targets(subjects, idleStall)]),
      fullTable(subjects),
      eventTable(subjects),
      stageTable(subjects),
    ],
    raw: subjects.map(({ size, full, fullStalls, events }) => ({
      ...size,
      fullSeconds: summarise(full),
      fullStall: longestOf(fullStalls),
      idleStall,
      eventSeconds: summariseBy(events, ({ total }) => total),
      eventStall,
    })),
  };
}

function prepare(size: Size): Subject {
  const model = new ClusterModel({ ...size, ...LOCAL });
  const cluster = loadModel(model);
  const compiler = new NodeCompiler(LOCAL_NODE);
  loadSnapshot(compiler, cluster.snapshot);
  const passes = new PurePasses(compiler);
  passes.pass();
  return { size, model, cluster, compiler, passes, events: [], full: [], fullStalls: [], next: 0 };
}

/** From the first record to the plan, with turns for others in between as in the agent. */
async function compileWhole(subject: Subject): Promise<void> {
  const stalls = watchStalls();
  await nextTurn();
  stalls.longest();
  const cpu = process.cpuUsage();
  const compiler = new NodeCompiler(LOCAL_NODE);
  let slice = performance.now();
  const breathe = async (): Promise<void> => {
    if (performance.now() - slice < SLICE_MS) return;
    await nextTurn();
    slice = performance.now();
  };
  const { snapshot } = subject.cluster;
  for (const [name, node] of snapshot.nodes) compiler.node(name, node);
  for (const [name, namespace] of snapshot.namespaces) {
    compiler.namespace(name, namespace);
    await breathe();
  }
  for (const [key, policy] of snapshot.policies) {
    compiler.policy(key, policy);
    await breathe();
  }
  for (const [key, pod] of snapshot.pods) {
    compiler.pod(key, pod);
    await breathe();
  }
  for (const _ of compiler.work()) await breathe();
  await new PurePasses(compiler).passInTurns();
  const { user, system } = process.cpuUsage(cpu);
  subject.full.push((user + system) / 1e6);
  await nextTurn();
  subject.fullStalls.push(stalls.longest());
  stalls.stop();
}

// -------------------------------------------------------------------------------------------------------------- events

/** Pods come on other nodes, with addresses nobody had, change a label that policies ask for, and go; a pass after each. */
function measureEvents(subject: Subject, count: number): void {
  const { model, cluster } = subject;
  for (let done = 0; done < count; done += STEPS.length) {
    const spec = model.newPod(subject.next++);
    const pod = cluster.project(podObject(spec));
    const tier = pod.labels.tier === 'backend' ? 'frontend' : 'backend';
    const other = cluster.project(podObject(spec, { labels: { tier } }));
    measureEvent(subject, 'added', pod, pod);
    measureEvent(subject, 'relabelled', pod, other);
    measureEvent(subject, 'deleted', pod, undefined);
  }
}

function measureEvent(subject: Subject, event: PodEvent, pod: Pod, after: Pod | undefined): void {
  const began = performance.now();
  const concerns = subject.compiler.pod(objectKey(pod), after);
  const followed = performance.now();
  // What does not concern the node starts no pass.
  const times = concerns ? subject.passes.pass().times : { compile: 0, render: 0, plan: 0 };
  const ended = performance.now();
  subject.events.push({
    event,
    concerns,
    follow: (followed - began) / 1000,
    compile: times.compile / 1000,
    render: times.render / 1000,
    plan: times.plan / 1000,
    total: (ended - began) / 1000,
  });
}

function summariseBy(
  events: readonly EventTime[],
  pick: (event: EventTime) => number,
): { readonly all: Summary; readonly concerning: Summary } {
  return {
    all: summarise(events.map(pick)),
    concerning: summarise(events.filter(({ concerns }) => concerns).map(pick)),
  };
}

// -------------------------------------------------------------------------------------------------------------- tables

function targets(subjects: readonly Subject[], idle: Stall): Table {
  const total = ({ events }: Subject): number => summariseBy(events, (each) => each.total).concerning.median;
  const [small, large] = [subjects[0]!, subjects.at(-1)!];
  return targetsTable([
    {
      what: 'remote pod event that changes this node, 100,000 pods, median',
      measured: total(large) * 1e6,
      limit: 50,
      kind: 'at-most',
      unit: 'µs',
    },
    {
      what: 'the same against 1,000 pods',
      measured: total(large) / total(small),
      limit: 2,
      kind: 'at-most',
      unit: 'x',
    },
    ...stallTargets('whole compile of 100,000 pods', longestOf(large.fullStalls), idle),
  ]);
}

function fullTable(subjects: readonly Subject[]): Table {
  return {
    title: 'whole compile',
    note: `CPU from records to plan for a node with ${LOCAL.localPods} pods of ${LOCAL.localNamespaces} namespaces, as at start; in slices of ${SLICE_MS} ms.`,
    columns: ['cluster', 'CPU, median', 'per pod', 'stall: CPU', 'by the clock'],
    rows: subjects.map(({ size, full, fullStalls }) => {
      const { median } = summarise(full);
      return [nameOf(size), time(median), time(median / size.pods), ...stallCells(longestOf(fullStalls))];
    }),
  };
}

function eventTable(subjects: readonly Subject[]): Table {
  const base = summariseBy(subjects[0]!.events, ({ total }) => total).concerning.median;
  return {
    title: 'one event of a pod on another node',
    note: 'CPU from the record to the plan. Most such events do not concern the node; the ratio is of those that do.',
    columns: ['cluster', 'any: median', 'p99', 'concerns it', 'then: median', 'p99', 'ratio'],
    rows: subjects.map(({ size, events }) => {
      const { all, concerning } = summariseBy(events, ({ total }) => total);
      return [
        nameOf(size),
        time(all.median),
        time(all.p99),
        `${number((100 * concerning.count) / all.count)} %`,
        time(concerning.median),
        time(concerning.p99),
        ratio(concerning.median / base),
      ];
    }),
  };
}

function stageTable(subjects: readonly Subject[]): Table {
  const median = (events: readonly EventTime[], pick: (event: EventTime) => number): string =>
    time(summarise(events.filter(({ concerns }) => concerns).map(pick)).median);
  return {
    title: 'where it goes',
    note: 'Medians of the events that concern the node.',
    columns: ['cluster', 'event', 'follow', 'compile', 'render', 'plan', 'total'],
    rows: subjects.flatMap(({ size, events }) =>
      STEPS.map((step) => {
        const own = events.filter(({ event }) => event === step);
        return [
          nameOf(size),
          step,
          median(own, ({ follow }) => follow),
          median(own, ({ compile }) => compile),
          median(own, ({ render }) => render),
          median(own, ({ plan }) => plan),
          median(own, ({ total }) => total),
        ];
      }),
    ),
  };
}

function nameOf({ pods, namespaces, policies }: Size): string {
  const text = (count: number): string => count.toLocaleString('en-US');
  return `${text(pods)} pods, ${text(namespaces)} namespaces, ${text(policies)} policies`;
}
