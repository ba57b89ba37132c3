/** Writes Events on objects (object-events.ts says which and when), behind the syncs: nothing waits for it, and it fails alone. */
import type { Clock } from '../core/clock.ts';
import type { Transport } from '../cluster/transport.ts';
import type { ClusterSnapshot, Problem } from '../policy/model.ts';
import type { Logger } from './log.ts';
import type { AgentMetrics } from './metrics.ts';

import { inTime } from '../cluster/deadline.ts';
import { parseJson, readBounded, readStatus } from '../cluster/read-answer.ts';
import { messageOf } from '../core/error-text.ts';
import { runSliced } from '../core/run-sliced.ts';
import { isRecord } from '../policy/raw-values.ts';
import {
  AGAIN_MS,
  type BookEntry,
  EventBook,
  type EventSubject,
  REPEAT_MS,
  STAND_IN_MS,
  WRITERS,
  electorate,
  rankOf,
  subjectsOf,
} from './object-events.ts';

/** How often it is looked for something to tell. */
export const ROUND_MS = 5_000;
const ANSWER_MS = 10_000;
/** After no answer, and answers of an API server that has enough to do. */
export const PAUSE_MS = 60_000;
const MAX_ANSWER = 64 * 1024;
const COMPONENT = 'portcullis';

interface EventWriterOptions {
  readonly transport: Transport;
  readonly nodeName: string;
  /** Undefined: the first sync is not done. */
  readonly look: () => { readonly problems: readonly Problem[]; readonly cluster: ClusterSnapshot } | undefined;
  readonly clock: Clock;
  readonly metrics: Pick<AgentMetrics, 'objectEvent'>;
  readonly log: Pick<Logger, 'info' | 'warn' | 'debug'>;
}

type Answer =
  /** The Event is there now. */
  | { readonly kind: 'written'; readonly count: number }
  | { readonly kind: 'exists' }
  | { readonly kind: 'absent'; readonly said: string }
  /** `isBusy`: no other write would fare better now. */
  | { readonly kind: 'failed'; readonly why: string; readonly said: string; readonly isBusy: boolean };

/** Until `signal` aborts. Never rejects. */
export async function writeEvents(options: EventWriterOptions, signal: AbortSignal): Promise<void> {
  const writer = new EventWriter(options, signal);
  while (!signal.aborted) {
    await options.clock.sleep(ROUND_MS, signal);
    if (signal.aborted) return;
    try {
      await writer.round();
    } catch (error) {
      if (!signal.aborted) writer.failed('error', messageOf(error));
    }
  }
}

class EventWriter {
  readonly #options: EventWriterOptions;
  readonly #signal: AbortSignal;
  readonly #book = new EventBook();
  #pausedUntilMs = 0;
  /** Kinds of failure since the last success: each is said once. */
  readonly #failures = new Set<string>();

  constructor(options: EventWriterOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
  }

  async round(): Promise<void> {
    const { clock, look, nodeName } = this.#options;
    const nowMs = clock.now();
    const seen = look();
    if (!seen || nowMs < this.#pausedUntilMs) return;
    this.#book.update(await runSliced(subjectsOf(seen.problems, seen.cluster)), nowMs);
    const due = this.#book.due(nowMs);
    if (due.length === 0) return;
    const subjects = due.map(({ subject }) => subject);
    const nodes = await runSliced(electorate(subjects, seen.cluster));
    for (const entry of due) {
      const rank = rankOf(nodeName, entry.subject.name, nodes.get(entry.subject) ?? new Set());
      if (!(await this.#consider(entry, rank, nowMs))) return;
    }
  }

  /** False: nothing more in this round. */
  async #consider(entry: BookEntry, rank: number, nowMs: number): Promise<boolean> {
    const turnMs = entry.sinceMs + rank * STAND_IN_MS;
    if (rank >= WRITERS || turnMs > nowMs) {
      this.#book.postpone(entry, rank >= WRITERS ? nowMs + REPEAT_MS : turnMs);
      return true;
    }
    if (!this.#book.mayWrite(nowMs)) return false;
    const answer = await this.#write(entry, rank === 0);
    if (this.#signal.aborted) return false;
    switch (answer.kind) {
      case 'written':
        this.#book.tried(entry, nowMs, answer.count, REPEAT_MS);
        this.#succeeded(answer.count === 1 ? 'created' : 'repeated');
        return true;
      case 'exists':
        this.#book.tried(entry, nowMs, undefined, REPEAT_MS);
        return true;
      case 'absent':
        this.#book.tried(entry, nowMs, undefined, AGAIN_MS);
        this.failed('404', answer.said);
        return true;
      case 'failed':
        this.#book.tried(entry, nowMs, entry.count, AGAIN_MS);
        this.failed(answer.why, answer.said);
        if (answer.isBusy) this.#pausedUntilMs = nowMs + PAUSE_MS;
        return !answer.isBusy;
    }
  }

  /** `isFirst`: an Event that is there already is this node's to repeat; a stand-in leaves it to the first. */
  async #write({ subject, count }: BookEntry, isFirst: boolean): Promise<Answer> {
    if (isFirst && count !== undefined) {
      const repeated = await this.#repeat(subject, count + 1);
      // The API server has forgotten it.
      if (repeated.kind !== 'absent') return repeated;
    }
    const created = await this.#create(subject);
    return created.kind === 'exists' && isFirst ? this.#repeat(subject, undefined) : created;
  }

  #create(subject: EventSubject): Promise<Answer> {
    const { nodeName } = this.#options;
    const { name, namespace, object, type, reason, message } = subject;
    const time = this.#time();
    return this.#ask('POST', eventsPath(namespace), {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { name, namespace },
      involvedObject: object,
      type,
      reason,
      message,
      count: 1,
      firstTimestamp: time,
      lastTimestamp: time,
      source: { component: COMPONENT, host: nodeName },
      reportingComponent: COMPONENT,
      reportingInstance: nodeName,
    });
  }

  /** `count` undefined: one of an agent before this one, whose count the answer tells. */
  #repeat({ name, namespace, message }: EventSubject, count: number | undefined): Promise<Answer> {
    return this.#ask('PATCH', `${eventsPath(namespace)}/${name}`, { message, count, lastTimestamp: this.#time() });
  }

  /** As the API writes times: in whole seconds. */
  #time(): string {
    return new Date(this.#options.clock.wallTime()).toISOString().replace(/\.\d+Z$/, 'Z');
  }

  #ask(method: 'POST' | 'PATCH', path: string, body: object): Promise<Answer> {
    const { transport, clock } = this.#options;
    const headers = method === 'PATCH' ? { 'content-type': 'application/merge-patch+json' } : {};
    const limits = { clock, signal: this.#signal, limitMs: ANSWER_MS };
    return inTime(limits, async (signal, deadline): Promise<Answer> => {
      try {
        const response = await transport.open({ method, path, headers, body: JSON.stringify(body), signal });
        const { status } = response;
        if (status === 200 || status === 201)
          return { kind: 'written', count: countOf(await readBounded(response, MAX_ANSWER)) };
        const { said } = await readStatus(response);
        if (status === 401) transport.refreshCredentials();
        if (status === 409 && method === 'POST') return { kind: 'exists' };
        if (status === 404 && method === 'PATCH') return { kind: 'absent', said };
        return { kind: 'failed', why: String(status), said, isBusy: status === 429 || status >= 500 };
      } catch (error) {
        const said = deadline.expired ? `no answer within ${ANSWER_MS / 1000} s` : messageOf(error);
        return { kind: 'failed', why: 'no answer', said, isBusy: true };
      }
    });
  }

  #succeeded(result: 'created' | 'repeated'): void {
    this.#options.metrics.objectEvent(result);
    if (this.#failures.size > 0) this.#options.log.info('Events on objects are written again');
    this.#failures.clear();
  }

  failed(why: string, said: string): void {
    const { metrics, log } = this.#options;
    metrics.objectEvent('failed');
    const isSaid = this.#failures.has(why);
    this.#failures.add(why);
    if (isSaid) {
      log.debug('an Event could not be written', { said });
      return;
    }
    const advice =
      why === '403' ? '; allow create and patch of events (manifests/base/rbac.yaml), or use --events=false' : '';
    log.warn(`an Event on an object could not be written: ${said}. Problems are in this log all the same${advice}`);
  }
}

function eventsPath(namespace: string): string {
  return `/api/v1/namespaces/${namespace}/events`;
}

function countOf(body: Buffer): number {
  const event = parseJson(body);
  return isRecord(event) && typeof event.count === 'number' ? event.count : 1;
}
