/**
 * Expectations by packets. What sends is a pod that stands in for the source: its labels, its namespace, its node, but never ready, so that no
 * Service sends to it, and owned by the run's namespace, so that no workload adopts it and it goes with the run.
 */
import type { Family } from '../../core/vocabulary.ts';
import type { Answer } from '../explain/questions.ts';
import type { Judged } from './expectations.ts';
import type { PodPlan, ProbeOutcome, Round } from './probe-pods.ts';

import { deleteObject, readObject } from '../../cluster/api-writes.ts';
import { hostPortText } from '../../net/host-port.ts';
import { isRecord, type RawRecord } from '../../policy/raw-values.ts';
import { type Pod, objectKey } from '../../policy/model.ts';
import { probePod, READY_GATE } from './probe-pods.ts';
import { podsPath, type ProbeRunOptions, readProbeRounds, startPods } from './run-probes.ts';

/** One connection of an expectation. */
export interface ProbedFlow {
  readonly answer: Answer;
  readonly family: Family;
  /** Undefined: nothing was heard in time. */
  readonly seen?: ProbeOutcome;
  /** Why it is not probed. */
  readonly skipped?: string;
}

/** By expectation, in their order. */
export type Probed = readonly (readonly ProbedFlow[])[];

/** Labels by which controllers know the pods that they made. */
const OF_CONTROLLERS = new Set([
  'pod-template-hash',
  'controller-revision-hash',
  'pod-template-generation',
  'statefulset.kubernetes.io/pod-name',
  'apps.kubernetes.io/pod-index',
  'batch.kubernetes.io/job-name',
  'batch.kubernetes.io/controller-uid',
  'job-name',
  'controller-uid',
]);
/** Rounds in a row that say the same. */
const ROUNDS = 2;
const POLL_MS = 400;
const MAX_STAND_INS = 100;
const DELETE_MS = 20_000;

interface StandIn {
  readonly pod: Pod;
  readonly plan: PodPlan;
  readonly targets: readonly string[];
}

interface Wanted {
  readonly flow: ProbedFlow;
  readonly expected: boolean;
  readonly target: string;
}

/** `owner`: the namespace of the run. */
export async function probeExpectations(
  judged: readonly Judged[],
  options: ProbeRunOptions,
  owner: RawRecord,
): Promise<Probed> {
  const flows = judged.map(({ expectation, answers }) =>
    answers.flatMap((answer) =>
      answer.families.map((family): Wanted => {
        const address = answer.destination.addresses[family]!;
        const skipped = whyNotProbed(answer);
        const target = hostPortText({ host: address, port: answer.port });
        return {
          flow: { answer, family, ...(skipped === undefined ? {} : { skipped }) },
          expected: expectation.reach,
          target,
        };
      }),
    ),
  );
  const standIns = standInsFor(flows.flat(), options.namespace);
  const left = standIns.splice(MAX_STAND_INS).map(({ pod }) => objectKey(pod));
  try {
    await start(standIns, options, owner);
    const seen = await settle(standIns, flows.flat(), options);
    return flows.map((each) => each.map((wanted) => told(wanted, seen, left)));
  } finally {
    await remove(standIns, options);
  }
}

function whyNotProbed({ source, protocol }: Answer): string | undefined {
  if (!source.pod) return `${source.name} is no pod that another one can stand in for`;
  if (source.pod.nodeName === undefined) return `${source.name} is on no node yet`;
  return protocol === 'TCP' ? undefined : `${protocol} is not probed: whoever gets it need not answer`;
}

function standInsFor(wanted: readonly Wanted[], run: string): StandIn[] {
  const probed = wanted.filter(({ flow }) => flow.skipped === undefined);
  const sources = Map.groupBy(probed, ({ flow }) => objectKey(flow.answer.source.pod!));
  return [...sources.values()].map((each, index) => {
    const pod = each[0]!.flow.answer.source.pod!;
    const labels = Object.fromEntries(Object.entries(pod.labels).filter(([key]) => !OF_CONTROLLERS.has(key)));
    const plan = { name: `${run}-${index}`, node: pod.nodeName!, labels };
    return { pod, plan, targets: [...new Set(each.map(({ target }) => target))] };
  });
}

function start(standIns: readonly StandIn[], options: ProbeRunOptions, owner: RawRecord): Promise<unknown> {
  const { name, uid } = isRecord(owner.metadata) ? owner.metadata : {};
  const ownerReferences = [{ apiVersion: 'v1', kind: 'Namespace', name, uid, controller: true }];
  const byNamespace = Map.groupBy(standIns, ({ pod }) => pod.namespace);
  return Promise.all(
    [...byNamespace].map(([namespace, each]) =>
      startPods(
        { ...options, namespace },
        each.map(({ plan }) => plan),
        (plan, index) => probePod(plan, options.image, each[index]!.targets, { ownerReferences }, READY_GATE),
      ),
    ),
  );
}

/** Also after the signal has aborted. */
async function remove(standIns: readonly StandIn[], { transport, clock }: ProbeRunOptions): Promise<void> {
  const signal = AbortSignal.timeout(DELETE_MS);
  const gone = standIns.map(async ({ pod, plan }) => {
    const path = `${podsPath(pod.namespace)}/${plan.name}`;
    await deleteObject(transport, path, signal);
    while (await readObject(transport, path, signal)) await clock.sleep(POLL_MS, signal);
  });
  // Whatever stays goes with the namespace that owns it.
  await Promise.allSettled(gone);
}

type Seen = ReadonlyMap<string, readonly Round[]>;

/** Until everything is as expected, some rounds in a row, or time is up. */
async function settle(
  standIns: readonly StandIn[],
  wanted: readonly Wanted[],
  options: ProbeRunOptions,
): Promise<Seen> {
  const { clock, settleMs, signal } = options;
  const deadline = clock.now() + settleMs;
  for (;;) {
    const rounds = await Promise.all(
      standIns.map(({ pod, plan, targets }) =>
        readProbeRounds({ ...options, namespace: pod.namespace }, plan.name, targets),
      ),
    );
    const seen: Seen = new Map(standIns.map(({ pod }, index) => [objectKey(pod), rounds[index]!.slice(-ROUNDS)]));
    if (clock.now() > deadline || isAsExpected(wanted, seen)) return seen;
    await clock.sleep(POLL_MS, signal);
    signal.throwIfAborted();
  }
}

function isAsExpected(wanted: readonly Wanted[], seen: Seen): boolean {
  return wanted.every(({ flow, expected, target }) => {
    if (flow.skipped !== undefined) return true;
    const rounds = seen.get(objectKey(flow.answer.source.pod!)) ?? [];
    const want = expected ? 'reached' : 'blocked';
    return rounds.length === ROUNDS && rounds.every(({ outcomes }) => outcomes.get(target) === want);
  });
}

function told({ flow, target }: Wanted, seen: Seen, left: readonly string[]): ProbedFlow {
  if (flow.skipped !== undefined) return flow;
  const key = objectKey(flow.answer.source.pod!);
  if (left.includes(key)) return { ...flow, skipped: `more than ${MAX_STAND_INS} sources: ask about fewer at once` };
  const outcome = seen.get(key)?.at(-1)?.outcomes.get(target);
  return outcome === undefined ? flow : { ...flow, seen: outcome };
}
