/** Probes sent by pods of a namespace of its own, phase by phase; whatever comes of it, the namespace goes. */
import type { MonotonicClock } from '../../core/clock.ts';
import type { Transport } from '../../cluster/transport.ts';
import type { PodPlan, ProbeOutcome, Round } from './probe-pods.ts';
import type { PolicyObject } from './plan.ts';

import { createObject, deleteObject, readObject, readText, Refused } from '../../cluster/api-writes.ts';
import { readList } from '../../cluster/read-list.ts';
import { messageOf } from '../../core/error-text.ts';
import { isRecord, type RawRecord } from '../../policy/raw-values.ts';
import { clientPlan, isToReach, PHASES, type Phase, policiesOf, type Probe, probesOf, serverPlan } from './plan.ts';
import {
  addressesOf,
  EXPIRES_ANNOTATION,
  probePod,
  readRounds,
  RUN_LABEL,
  RUN_LABEL_VALUE,
  serverPod,
} from './probe-pods.ts';

export interface ProbeRunOptions {
  readonly transport: Transport;
  /** Fresh. */
  readonly namespace: string;
  readonly nodes: readonly string[];
  readonly image: string;
  /** How long pods may take to start, and packets to follow policies. */
  readonly startMs: number;
  readonly settleMs: number;
  readonly clock: MonotonicClock & { sleep(ms: number, signal: AbortSignal): Promise<void>; wallTime(): number };
  readonly signal: AbortSignal;
  readonly onProgress: (text: string) => void;
}

/** What came of one probe in one phase. `seen`: in the last round; undefined: there was none in time. */
export interface Check {
  readonly phase: Phase;
  readonly probe: Probe;
  readonly expected: boolean;
  readonly seen: ProbeOutcome | undefined;
  readonly ok: boolean;
}

/** It cannot be told, for reasons that are not the policies'. */
export class CannotProbe extends Error {
  override readonly name = 'CannotProbe';
}

const POLL_MS = 400;
const REQUEST_MS = 20_000;
const CLEANUP_MS = 60_000;
/** Longer than any run: then whatever is left of one is anybody's to take away. */
const EXPIRES_MS = 60 * 60_000;
const MAX_BYTES = 64 * 1024 * 1024;
/** As many rounds in a row have to be as they should. */
const ROUNDS = 2;

export function podsPath(namespace: string): string {
  return `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods`;
}

function policiesPath(namespace: string): string {
  return `/apis/networking.k8s.io/v1/namespaces/${encodeURIComponent(namespace)}/networkpolicies`;
}

/** Holds a namespace while `work` is done; takes it away also when that fails or is told to stop. Rejects with `CannotProbe`. */
export async function withNamespace<T>(
  options: Pick<ProbeRunOptions, 'transport' | 'namespace' | 'clock' | 'signal' | 'onProgress'>,
  work: (namespace: RawRecord) => Promise<T>,
): Promise<T> {
  const { transport, namespace: name, clock, signal } = options;
  const expires = new Date(clock.wallTime() + EXPIRES_MS).toISOString();
  const metadata = { name, labels: { [RUN_LABEL]: RUN_LABEL_VALUE }, annotations: { [EXPIRES_ANNOTATION]: expires } };
  let isThere = true;
  try {
    const made = await createObject(
      transport,
      '/api/v1/namespaces',
      { apiVersion: 'v1', kind: 'Namespace', metadata },
      limited(signal),
    ).catch((error: unknown) => {
      // Where there was no answer it may have been made.
      isThere = !(error instanceof Refused);
      throw error;
    });
    return await work(made);
  } catch (error) {
    if (signal.aborted) throw new CannotProbe('interrupted', { cause: error });
    throw error instanceof CannotProbe ? error : new CannotProbe(messageOf(error), { cause: error });
  } finally {
    if (isThere) await removeNamespace(options);
  }
}

/** With a time limit of its own: the user may have asked to stop. Rejects with `CannotProbe` where it stays. */
async function removeNamespace({
  transport,
  namespace,
  clock,
  onProgress,
}: Pick<ProbeRunOptions, 'transport' | 'namespace' | 'clock' | 'onProgress'>): Promise<void> {
  const signal = AbortSignal.timeout(CLEANUP_MS);
  const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}`;
  onProgress(`taking namespace ${namespace} away`);
  try {
    await deleteObject(transport, path, signal);
    while (await readObject(transport, path, signal)) await clock.sleep(POLL_MS, signal);
  } catch (error) {
    throw new CannotProbe(
      `namespace ${namespace} is left behind: ${messageOf(error)}; kubectl delete namespace ${namespace}`,
      { cause: error },
    );
  }
}

/** Takes away what runs that were killed left behind; returns the names. */
export async function sweepNamespaces(
  transport: Transport,
  nowMs: number,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const selector = encodeURIComponent(`${RUN_LABEL}=${RUN_LABEL_VALUE}`);
  const found = await items(transport, `/api/v1/namespaces?labelSelector=${selector}`, signal);
  const left = found.filter(({ metadata }) => hasExpired(metadata, nowMs)).map(nameOf);
  for (const name of left)
    await deleteObject(transport, `/api/v1/namespaces/${encodeURIComponent(name)}`, limited(signal));
  return left;
}

function hasExpired(metadata: unknown, nowMs: number): boolean {
  if (!isRecord(metadata) || metadata.deletionTimestamp !== undefined) return false;
  const { annotations } = metadata;
  const expires = isRecord(annotations) ? Date.parse(String(annotations[EXPIRES_ANNOTATION])) : Number.NaN;
  return !(expires > nowMs);
}

/** All phases, one after the other. Rejects with `CannotProbe` where packets do not even pass without policies. */
export async function runProbes(options: ProbeRunOptions): Promise<readonly Check[]> {
  const { nodes, image, onProgress } = options;
  onProgress(`starting ${nodes.length * 2} pods in namespace ${options.namespace}`);
  const servers = nodes.map(serverPlan);
  const addresses = await startPods(options, servers, (plan) => serverPod(plan, image));
  const probes = probesOf(addresses);
  const targets = nodes.map((_, place) => probes.filter(({ from }) => from === place).map(({ target }) => target));
  const clients = nodes.map(clientPlan);
  await startPods(options, clients, (plan, place) => probePod(plan, image, targets[place]!));
  const checks: Check[] = [];
  let policies: readonly PolicyObject[] = [];
  for (const phase of PHASES) {
    const next = policiesOf(phase, nodes.length);
    onProgress(`probing: ${phase}`);
    await replacePolicies(options, policies, next);
    policies = next;
    const found = await settle(options, phase, clients, probes, targets);
    if (phase === 'open') refuseUnlessOpen(found, nodes);
    checks.push(...found);
  }
  return checks;
}

function refuseUnlessOpen(checks: readonly Check[], nodes: readonly string[]): void {
  const wrong = checks.filter(({ ok }) => !ok);
  const [first] = wrong;
  if (!first) return;
  const { from, to, target } = first.probe;
  throw new CannotProbe(
    `${wrong.length} of ${checks.length} connections do not work without any policy: ${nodes[from]} -> ${nodes[to]} (${target}) is ` +
      `${first.seen ?? 'not answered for'}; the network between pods, or policies that select every namespace, are to be looked at first`,
  );
}

// ---------------------------------------------------------------------------------------------------------------- pods

/** Resolves to the addresses of each, once all run. */
export async function startPods(
  options: Pick<ProbeRunOptions, 'transport' | 'namespace' | 'startMs' | 'clock' | 'signal'>,
  plans: readonly PodPlan[],
  make: (plan: PodPlan, place: number) => object,
): Promise<readonly (readonly string[])[]> {
  const { transport, namespace, startMs, clock, signal } = options;
  const path = podsPath(namespace);
  await Promise.all(plans.map((plan, place) => createObject(transport, path, make(plan, place), limited(signal))));
  const deadline = clock.now() + startMs;
  for (;;) {
    const pods = new Map((await items(transport, path, signal)).map((pod) => [nameOf(pod), pod]));
    const waiting = plans.filter(({ name }) => !isRunning(pods.get(name)));
    if (waiting.length === 0) return plans.map(({ name }) => addressesOf(pods.get(name)));
    if (clock.now() > deadline) {
      const [{ name, node }] = waiting as [PodPlan];
      throw new CannotProbe(`pod ${name} on ${node} does not run after ${startMs / 1000} s: ${whyNot(pods.get(name))}`);
    }
    await clock.sleep(POLL_MS, signal);
    signal.throwIfAborted();
  }
}

function isRunning(pod: RawRecord | undefined): boolean {
  return isRecord(pod?.status) && pod.status.phase === 'Running' && addressesOf(pod).length > 0;
}

/** What the kubelet or the scheduler say of it. */
function whyNot(pod: RawRecord | undefined): string {
  if (!pod) return 'it is gone';
  const status = isRecord(pod.status) ? pod.status : {};
  const containers = Array.isArray(status.containerStatuses) ? status.containerStatuses : [];
  const waiting = containers.flatMap((each) => (isRecord(each) && isRecord(each.state) ? [each.state.waiting] : []));
  const conditions = Array.isArray(status.conditions) ? status.conditions : [];
  const said = [...waiting, ...conditions.filter((each) => isRecord(each) && each.status === 'False'), status]
    .filter(isRecord)
    .flatMap(({ reason, message }) => [reason, message].filter((text) => typeof text === 'string' && text !== ''));
  if (said.length > 0) return said.slice(0, 2).join(': ');
  return status.phase === 'Running'
    ? 'it is Running and has no address'
    : `it is ${typeof status.phase === 'string' ? status.phase : 'Pending'}`;
}

async function replacePolicies(
  { transport, namespace, signal }: ProbeRunOptions,
  before: readonly PolicyObject[],
  after: readonly PolicyObject[],
): Promise<void> {
  const path = policiesPath(namespace);
  const names = (policies: readonly PolicyObject[]): ReadonlySet<string> =>
    new Set(policies.map(({ metadata }) => metadata.name));
  const [had, wanted] = [names(before), names(after)];
  const going = [...had].filter((name) => !wanted.has(name));
  const coming = after.filter(({ metadata }) => !had.has(metadata.name));
  await Promise.all([
    ...going.map((name) => deleteObject(transport, `${path}/${name}`, limited(signal))),
    ...coming.map((policy) => createObject(transport, path, policy, limited(signal))),
  ]);
}

// -------------------------------------------------------------------------------------------------------------- rounds

/** Until all clients see what they should, some rounds in a row, or time is up. */
async function settle(
  options: ProbeRunOptions,
  phase: Phase,
  clients: readonly PodPlan[],
  probes: readonly Probe[],
  targets: readonly (readonly string[])[],
): Promise<readonly Check[]> {
  const { nodes, settleMs, clock, signal } = options;
  const judge = (place: number, { outcomes }: Round): readonly Check[] =>
    probes.filter(({ from }) => from === place).map((probe) => checkOf(phase, probe, outcomes, nodes.length));
  const deadline = clock.now() + settleMs;
  const begun = await roundsOf(options, clients, targets);
  const marks = begun.map((rounds) => rounds.at(-1)?.number ?? 0);
  for (;;) {
    const rounds = await roundsOf(options, clients, targets);
    // The round that was under way when the policies changed tells of both.
    const since = rounds.map((each, place) => each.filter(({ number }) => number > marks[place]! + 1).slice(-ROUNDS));
    const isSettled = since.every(
      (each, place) => each.length === ROUNDS && each.every((round) => judge(place, round).every(({ ok }) => ok)),
    );
    if (isSettled || clock.now() > deadline)
      return since.flatMap((each, place) => judge(place, each.at(-1) ?? { number: 0, outcomes: new Map() }));
    await clock.sleep(POLL_MS, signal);
    signal.throwIfAborted();
  }
}

function checkOf(phase: Phase, probe: Probe, outcomes: Round['outcomes'], nodes: number): Check {
  const expected = isToReach(phase, probe, nodes);
  const seen = outcomes.get(probe.target);
  return {
    phase,
    probe,
    expected,
    seen,
    ok: seen !== undefined && seen !== 'failed' && (seen === 'reached') === expected,
  };
}

function roundsOf(
  options: Pick<ProbeRunOptions, 'transport' | 'namespace' | 'signal'>,
  clients: readonly Pick<PodPlan, 'name'>[],
  targets: readonly (readonly string[])[],
): Promise<readonly (readonly Round[])[]> {
  return Promise.all(clients.map(({ name }, place) => readProbeRounds(options, name, targets[place]!)));
}

/** The last rounds of a pod, oldest first. */
export async function readProbeRounds(
  { transport, namespace, signal }: Pick<ProbeRunOptions, 'transport' | 'namespace' | 'signal'>,
  pod: string,
  targets: readonly string[],
): Promise<readonly Round[]> {
  const lines = (targets.length + 1) * (ROUNDS + 2);
  const log = await readText(transport, `${podsPath(namespace)}/${pod}/log?tailLines=${lines}`, limited(signal));
  return readRounds(log, targets);
}

// ---------------------------------------------------------------------------------------------------------------- HTTP

async function items(transport: Transport, path: string, signal: AbortSignal): Promise<readonly RawRecord[]> {
  const page = await readList(transport, { path, signal: limited(signal) }, MAX_BYTES);
  if (page.kind === 'list') return page.items.filter(isRecord);
  throw new CannotProbe(page.kind === 'refused' ? `${path}: HTTP ${page.status}: ${page.said}` : `${path}: no list`);
}

function nameOf({ metadata }: RawRecord): string {
  return isRecord(metadata) ? String(metadata.name) : '';
}

function limited(signal: AbortSignal): AbortSignal {
  return AbortSignal.any([signal, AbortSignal.timeout(REQUEST_MS)]);
}
