/**
 * Events of the Kubernetes API on objects: which there are, how they are named, which node writes them, and when again.
 *
 *   problems, modes --subjectsOf--> EventSubject --EventBook--> due now? --electorate, rankOf--> this node's? --> event-writer.ts
 */
import { createHash } from 'node:crypto';
import type { Sliced } from '../core/sliced.ts';
import type { ClusterSnapshot, Pod, Problem } from '../policy/model.ts';

import { compareText } from '../core/compare.ts';
import { MODE_KEY } from '../core/vocabulary.ts';
import { objectKey } from '../policy/model.ts';
import { mayMatch } from '../policy/selector.ts';

/** The API server forgets an Event an hour after its last write (--event-ttl): a problem that lasts is told three times in that. */
export const REPEAT_MS = 20 * 60_000;
/** The least between two writes of one Event, whatever its object's owner does. */
export const AGAIN_MS = 5 * 60_000;
/** How long the count of an Event is known here after its problem was solved: as long as the API server keeps the Event. */
const FORGET_MS = 60 * 60_000;
/** As many problems as are kept of one kind of object (problem-book.ts). */
export const MAX_SUBJECTS = 1_000;
/** Of one agent, so that a cluster's 1,000 problems ask at most one write a second of the API server with three agents on duty. */
export const WRITES_PER_MINUTE = 20;
/** The first writes; the others stand in where it has no agent, or none that runs, and do nothing where the Event is there. */
export const WRITERS = 3;
/** By which the stand-ins wait for those before them. */
export const STAND_IN_MS = 30_000;
/** Of the API, for the message. */
const MAX_MESSAGE = 1024;
/** Problems and objects looked at between two turns of others, each a hash at most. */
const OBJECTS_PER_STEP = 100;
/** Pods, the same. */
const PODS_PER_STEP = 1_000;

export interface EventSubject {
  /** Of the Event; the same on every node, so that a second one cannot be created. */
  readonly name: string;
  /** The Event's. Those on a Namespace are in it, where its users may read them. */
  readonly namespace: string;
  readonly object: {
    readonly apiVersion: string;
    readonly kind: string;
    readonly namespace?: string;
    readonly name: string;
    readonly uid: string;
  };
  readonly type: 'Warning' | 'Normal';
  readonly reason: string;
  readonly message: string;
}

/** `who`: policies, with their verb. */
const audited = (who: string): Pick<EventSubject, 'type' | 'reason' | 'message'> => ({
  type: 'Normal',
  reason: 'Audited',
  message: `audited: on nodes in mode enforce, ${who} nobody; what would be denied is counted (portcullis_audited_policy_denied_connections_total)`,
});

/** Problems first; `MAX_SUBJECTS` at most. What the cluster does not have, or is about to delete, gets none. */
export function* subjectsOf(problems: readonly Problem[], cluster: ClusterSnapshot): Sliced<readonly EventSubject[]> {
  const found = new Map<string, EventSubject>();
  let looked = 0;
  for (const subjects of allSubjects(problems, cluster)) {
    if (found.size >= MAX_SUBJECTS) break;
    for (const each of subjects) if (!found.has(each.name)) found.set(each.name, each);
    if (++looked % OBJECTS_PER_STEP === 0) yield;
  }
  return [...found.values()];
}

/** Those of each problem and of each object, mostly none. */
function* allSubjects(problems: readonly Problem[], cluster: ClusterSnapshot): Generator<readonly EventSubject[]> {
  for (const { object, field, message } of problems) {
    const reason = field.endsWith(`[${MODE_KEY}]`) ? 'InvalidMode' : (PROBLEM_REASONS[object.kind] ?? '');
    const warning = { type: 'Warning', reason, message: field === '' ? message : `${field}: ${message}` } as const;
    // One problem may be that of several policies, named together.
    for (const name of object.name.split(', ')) yield subject(cluster, { ...object, name }, warning, field);
  }
  const inNamespace = audited('policies here that ask for no mode isolate');
  for (const { name, mode } of cluster.namespaces.values())
    yield mode === 'audit' ? subject(cluster, { kind: 'Namespace', name }, inNamespace) : [];
  const alone = audited('this policy isolates');
  for (const { namespace, name, mode } of cluster.policies.values())
    yield mode === 'audit' ? subject(cluster, { kind: 'NetworkPolicy', namespace, name }, alone) : [];
}

const PROBLEM_REASONS: Readonly<Record<string, string>> = {
  NetworkPolicy: 'PolicyProblem',
  ClusterNetworkPolicy: 'PolicyProblem',
  Namespace: 'NamespaceProblem',
  Pod: 'PodProblem',
  Node: 'NodeProblem',
};

const API_VERSIONS: Readonly<Record<string, string>> = {
  NetworkPolicy: 'networking.k8s.io/v1',
  ClusterNetworkPolicy: 'policy.networking.k8s.io/v1alpha2',
};

function subject(
  cluster: ClusterSnapshot,
  { kind, namespace, name }: Problem['object'],
  { type, reason, message }: Pick<EventSubject, 'type' | 'reason' | 'message'>,
  field = '',
): readonly EventSubject[] {
  const uid = uidOf(cluster, kind, namespace, name);
  if (!uid) return [];
  const isClusterWide = kind === 'Node' || kind === 'ClusterNetworkPolicy';
  const home = isClusterWide ? 'default' : (namespace ?? name);
  if (!isClusterWide && cluster.namespaces.get(home)?.terminating !== undefined) return [];
  const key = JSON.stringify([uid, reason, field]);
  return [
    {
      name: `portcullis.${createHash('sha256').update(key).digest('hex').slice(0, 24)}`,
      namespace: home,
      object: {
        apiVersion: API_VERSIONS[kind] ?? 'v1',
        kind,
        // The API server wants the Event in the namespace that stands here.
        ...(isClusterWide ? {} : { namespace: home }),
        name,
        uid,
      },
      type,
      reason,
      message: message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE - 1)}…` : message,
    },
  ];
}

/** '' or undefined: no such object. */
function uidOf(cluster: ClusterSnapshot, kind: string, namespace = '', name = ''): string | undefined {
  const key = objectKey({ namespace, name });
  switch (kind) {
    case 'NetworkPolicy':
      return cluster.policies.get(key)?.uid;
    case 'ClusterNetworkPolicy':
      return cluster.clusterPolicies?.get(name)?.uid;
    case 'Pod':
      return cluster.pods.get(key)?.uid;
    case 'Namespace':
      return cluster.namespaces.get(name)?.uid;
    case 'Node':
      // As the kubelet does: kubectl describe looks for it.
      return cluster.nodes.has(name) ? name : undefined;
    default:
      return undefined;
  }
}

// ---- which node

/**
 * Of each subject, the nodes that may write it: those with pods that it concerns, as only they see every problem; where there are none,
 * all nodes with pods. An agent knows no other nodes than these by name.
 */
export function* electorate(
  subjects: readonly EventSubject[],
  { pods, policies }: Pick<ClusterSnapshot, 'pods' | 'policies'>,
): Sliced<ReadonlyMap<EventSubject, ReadonlySet<string>>> {
  const everywhere = new Set<string>();
  const polls = subjects.map((each) => ({
    subject: each,
    concerns: concernOf(each, policies),
    concerned: new Set<string>(),
  }));
  const byNamespace = Map.groupBy(polls, (poll) => poll.subject.namespace);
  let looked = 0;
  for (const pod of pods.values()) {
    if (pod.nodeName !== undefined) {
      everywhere.add(pod.nodeName);
      for (const { concerns, concerned } of byNamespace.get(pod.namespace) ?? [])
        if (concerns(pod)) concerned.add(pod.nodeName);
    }
    if (++looked % PODS_PER_STEP === 0) yield;
  }
  return new Map(
    polls.map((poll) => {
      const { object } = poll.subject;
      if (object.kind === 'Node') return [poll.subject, new Set([object.name])];
      return [poll.subject, poll.concerned.size > 0 ? poll.concerned : everywhere];
    }),
  );
}

function concernOf({ object }: EventSubject, policies: ClusterSnapshot['policies']): (pod: Pod) => boolean {
  switch (object.kind) {
    case 'Pod':
      return (pod) => pod.name === object.name;
    case 'NetworkPolicy': {
      const policy = policies.get(objectKey({ namespace: object.namespace ?? '', name: object.name }));
      return policy ? (pod) => mayMatch(policy.podSelector, pod.labels) : () => false;
    }
    default:
      return () => true;
  }
}

/**
 * Rendezvous hashing: each node has a score for each Event, and the highest writes. A node that comes or goes moves its own Events only.
 * Result: how many are before this node, `WRITERS` if as many or more, or if it is no candidate.
 */
export function rankOf(nodeName: string, name: string, nodes: ReadonlySet<string>): number {
  // A cluster without pods: names keep the Events of several agents one.
  if (nodes.size === 0) return 0;
  if (!nodes.has(nodeName)) return WRITERS;
  const own = score(nodeName, name);
  let before = 0;
  for (const node of nodes) {
    const other = score(node, name);
    if (other > own || (other === own && compareText(node, nodeName) < 0)) before++;
    if (before >= WRITERS) break;
  }
  return before;
}

/** FNV-1a and the last step of MurmurHash3: asked for each node, so no cryptographic hash. */
function score(nodeName: string, name: string): number {
  let hash = 0x811c9dc5;
  const text = `${name} ${nodeName}`;
  for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

// ---- when

export interface BookEntry {
  readonly subject: EventSubject;
  /** Since when it is in the book. */
  readonly sinceMs: number;
  /** How often the Event says it was seen; undefined: this agent does not know the Event. */
  readonly count: number | undefined;
}

interface Entry extends BookEntry {
  dueMs: number;
  /** Of the last write that was tried; undefined before. */
  triedAtMs: number | undefined;
  isGone: boolean;
}

/** What this agent knows of each Event. All times are monotonic milliseconds. */
export class EventBook {
  readonly #entries = new Map<string, Entry>();
  #room = WRITES_PER_MINUTE;
  #filledAtMs = 0;

  get size(): number {
    return this.#entries.size;
  }

  /** All subjects there are now. */
  update(subjects: readonly EventSubject[], nowMs: number): void {
    const present = new Set(subjects.map(({ name }) => name));
    for (const [name, entry] of this.#entries) {
      entry.isGone = entry.isGone || !present.has(name);
      if (!present.has(name) && nowMs >= (entry.triedAtMs ?? -FORGET_MS) + FORGET_MS) this.#entries.delete(name);
    }
    for (const each of subjects) this.#note(each, nowMs);
  }

  #note(subject: EventSubject, nowMs: number): void {
    const entry = this.#entries.get(subject.name);
    if (!entry) {
      if (!this.#makeRoom()) return;
      const times = { sinceMs: nowMs, dueMs: nowMs, triedAtMs: undefined };
      this.#entries.set(subject.name, { subject, count: undefined, isGone: false, ...times });
      return;
    }
    const isNews = entry.isGone || entry.subject.message !== subject.message;
    const soonestMs = entry.triedAtMs === undefined ? nowMs : entry.triedAtMs + AGAIN_MS;
    const dueMs = isNews ? Math.min(entry.dueMs, Math.max(nowMs, soonestMs)) : entry.dueMs;
    this.#entries.set(subject.name, { ...entry, subject, dueMs, isGone: false });
  }

  #makeRoom(): boolean {
    if (this.#entries.size < MAX_SUBJECTS) return true;
    const [gone] = [...this.#entries].find(([, { isGone }]) => isGone) ?? [];
    return gone !== undefined && this.#entries.delete(gone);
  }

  /** What may be written now if it is this node's to write; those never tried first. */
  due(nowMs: number): readonly BookEntry[] {
    const due = [...this.#entries.values()].filter((entry) => !entry.isGone && entry.dueMs <= nowMs);
    return due.sort((a, b) => (a.triedAtMs ?? -1) - (b.triedAtMs ?? -1));
  }

  /** False: enough for this minute; it stays due. */
  mayWrite(nowMs: number): boolean {
    this.#room = Math.min(WRITES_PER_MINUTE, this.#room + ((nowMs - this.#filledAtMs) / 60_000) * WRITES_PER_MINUTE);
    this.#filledAtMs = nowMs;
    if (this.#room < 1) return false;
    this.#room--;
    return true;
  }

  /** Another node's, or not its turn yet. */
  postpone({ subject }: BookEntry, untilMs: number): void {
    const entry = this.#entries.get(subject.name);
    if (entry) entry.dueMs = untilMs;
  }

  /** A write was tried. `count`: that of the Event; undefined where this agent does not know it. */
  tried({ subject }: BookEntry, nowMs: number, count: number | undefined, againMs: number): void {
    const entry = this.#entries.get(subject.name);
    if (entry) this.#entries.set(subject.name, { ...entry, count, triedAtMs: nowMs, dueMs: nowMs + againMs });
  }
}
