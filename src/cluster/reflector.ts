/**
 * List and watch of one kind, for ever.
 *
 *            410, a lost line, the version went back, a look is due
 *        ┌──────────────────────────────────┐
 *        ▼                                  │
 *   list as a stream ──── end bookmark ──► watch ◄─┐ ended, broken, silent: resume at the last version
 *        │ 400, 422, no end bookmark        ▲  └───┘
 *        ▼                                  │
 *   list in pages ──────── last page ───────┘
 *
 * Between attempts it waits as retry.ts says; when a watch that seems healthy is doubted, when-to-look.ts says. It never gives up
 * and ends only by its signal; nothing is opened or reported after that.
 */
import { isRecord, type RawRecord } from '../policy/raw-values.ts';
import { askVersion } from './ask-version.ts';
import type { Clock } from '../core/clock.ts';
import { Deadline } from './deadline.ts';
import type { EmptyList, Resource } from './kinds.ts';
import type { ClusterLog, EventType, ReflectorObserver, RestartReason } from './observe.ts';
import { nameForLog } from './project.ts';
import {
  endsInitialEvents,
  errorEvent,
  failed,
  header,
  type Outcome,
  type Page,
  readEnvelope,
  readEvent,
  readItem,
  readMessage,
  versionOf,
  wrongContent,
} from './read-answer.ts';
import { backoffMs, reconnectMs, retryAfterMs } from './retry.ts';
import { ItemSplitter, LineSplitter, TooLong } from './split-bytes.ts';
import type { Applied, Sink } from './store.ts';
import type { ApiResponse, Transport } from './transport.ts';
import { VersionCheck } from './version-check.ts';
import { EMPTY_LISTS, emptyAgainMs, isLookDue, isOlderVersion, lostDelayMs } from './when-to-look.ts';

const PAGE_SIZE = 500;
/** A server ends a watch when it was asked to; one that is still silent this long after is not there any more. */
export const OVERDUE_MS = 30_000;
/** For an answer to begin, and between two pieces of a list. */
export const ANSWER_MS = 30_000;
/** A watch that lived this long was a good one. */
const HEALTHY_MS = 5_000;
/** A watch that lived this long and could be read ends a series of unreadable ones. */
const CLEAN_MS = 30_000;
const MIN_WATCH_SECONDS = 300;
const MAX_WATCH_SECONDS = 600;
/** A server that has just started refuses for a second or two, until it has read its roles. */
const FORBIDDEN_GRACE_MS = 3_000;
/** Longest stretch of parsing before other work gets its turn; four reflectors may be at it at once. */
const MAX_BUSY_MS = 8;
const MAX_LOGGED_MALFORMED = 10;
/** So many unreadable lines and not one readable: this is not a watch. */
const MAX_ONLY_MALFORMED = 50;
const MAX_STREAM_FAILURES = 2;
const MAX_STREAM_LIST_MS = 180_000;
/** Server errors in a row after which the resource version itself is suspected. */
const MAX_REFUSED_VERSION = 5;
const MAX_PAGES = 10_000;
/** A server that had no streaming lists may be updated, and one of several may have been the old one. */
export const NO_STREAMING_MS = 600_000;
/** A server that did not know a field selector may be updated. */
const NO_SELECTOR_MS = 3_600_000;
/** What servers answer to a streaming list they do not know or have switched off. */
const NO_STREAMING_STATUS = new Set([400, 405, 406, 415, 422, 501]);

export interface ReflectorOptions {
  readonly resource: Resource;
  /** As in the query: `metadata.name=node-1`. */
  readonly fieldSelector?: string;
  /** Instead of it, selectors that only save work, best first: one that the server does not know gives way to the next, then to none. */
  readonly savings?: readonly string[];
  readonly transport: Transport;
  readonly sink: Sink;
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  readonly observer: ReflectorObserver;
  readonly log: ClusterLog;
  /** How many objects the sink holds: what a list costs. Absent: next to nothing. */
  readonly objects?: () => number;
  /** What to make of a list that names nothing although the sink holds `known` objects. Absent: a fact. */
  readonly judgeEmpty?: (known: number) => EmptyList;
  /** Called after each complete list. */
  readonly onListed: () => void;
  /** Called when the server turned out to have an older store than ours. */
  readonly onWentBack?: () => void;
  /** Called when the server answers again after it could not be reached. */
  readonly onReached?: () => void;
  /** Called when it could not be reached. */
  readonly onUnreachable?: () => void;
}

/** One attempt: a list, a page loop or a watch. */
interface Attempt {
  readonly controller: AbortController;
  readonly deadline: Deadline;
  /** now() */
  readonly startedAtMs: number;
  phase: 'opening' | 'listing' | 'paging' | 'watching';
  /** now() when the watch was accepted, or the streaming list became one. */
  openedAtMs?: number;
  /** The server was asked to end the watch after this long. */
  askedMs: number;
  /** Beside the open watch. */
  check?: VersionCheck;
  /** Ends the attempt soon: a line could not be read. */
  cancelLost?: () => void;
  /** The same after a list that was not believed. */
  cancelEmpty?: () => void;
  /** Why it was ended from here, if it was. */
  verdict?: Outcome;
  /** The server answered, whatever it said. */
  reached: boolean;
  /** A good event or bookmark came. */
  heard: boolean;
  /** One came after the initial list. */
  heardChange: boolean;
  malformed: number;
  /** Objects that a list named. */
  named: number;
  /** Something could not be read that may have been about an object we hold. */
  lost: boolean;
  /** So that a new list may tell more; not so where our own code failed on it. */
  unreadable: boolean;
}

export class Reflector {
  readonly #options: ReflectorOptions;
  /** Where to resume; undefined: list first. */
  #version: string | undefined;
  /** now(); streaming lists are not tried before. */
  #streamingFromMs = Number.NEGATIVE_INFINITY;
  /** Of `savings`, those that the server does not know, and until when (now()). */
  #refusedSavings = 0;
  #refusedUntilMs = 0;
  /** Streaming lists in a row that broke before their end. */
  #streamFailures = 0;
  /** now() of the last complete list. */
  #listedAtMs = 0;
  /** now() since when no watch is open; undefined while one is. */
  #closedAtMs: number | undefined;
  /** Watches in a row that ended at once and said nothing. */
  #shortWatches = 0;
  /** Lists in a row that named nothing and were not believed. */
  #emptyLists = 0;
  /** Lists in a row that were made because a line could not be read. */
  #lostInRow = 0;
  #failures = 0;
  #gone = 0;
  #refused = 0;
  /** now() of the first 403 in a row. */
  #forbiddenAtMs: number | undefined;
  #lineLost = false;
  /** Of the last list in pages, a part was. */
  #unreadable = false;
  #busyMs = 0;
  /** The last attempt got no answer at all. */
  #unreachable = false;
  #wake: (() => void) | undefined;
  /** Begins the wait under way again. */
  #postpone: (() => void) | undefined;
  #check: VersionCheck | undefined;
  #listed = false;
  #connected = false;
  #lastHeardMs = 0;
  #restarts = 0;
  #problem: string | undefined;

  constructor(options: ReflectorOptions) {
    this.#options = options;
  }

  get listed(): boolean {
    return this.#listed;
  }

  /** A watch is open, and nothing says that it is dead. */
  get connected(): boolean {
    return this.#connected;
  }

  /** How long no watch is open; 0 while one is, and before the start. */
  get staleMs(): number {
    return this.#closedAtMs === undefined ? 0 : this.#options.clock.now() - this.#closedAtMs;
  }

  /** Wall clock, ms; 0 if never. */
  get lastHeardMs(): number {
    return this.#lastHeardMs;
  }

  /** The last list named nothing although objects are known, and is not believed. */
  get doubtsEmpty(): boolean {
    return this.#emptyLists > 0;
  }

  get restarts(): number {
    return this.#restarts;
  }

  /** The last failure in words; undefined after a success. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Runs until `signal` aborts. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    this.#closedAtMs = this.#options.clock.now();
    while (!signal.aborted) {
      const { outcome, attempt } = await this.#attempt(signal);
      if (signal.aborted) return;
      const delayMs = this.#settle(outcome, attempt);
      if (delayMs > 0) await this.#sleep(delayMs, signal);
    }
  }

  /** Ends a wait for a server that could not be reached: somebody else just reached it. */
  retryNow(): void {
    if (this.#unreachable) this.#wake?.();
  }

  /** Somebody else just failed to reach the server: what would be tried in a moment is known already. */
  waitAnew(): void {
    if (this.#unreachable) this.#postpone?.();
  }

  /** Another kind found that the store behind the server is not the one it listed: asks for this one. */
  doubt(): void {
    void this.#check?.askNow();
  }

  async #sleep(ms: number, signal: AbortSignal): Promise<void> {
    const { clock, random } = this.#options;
    let waitMs = ms;
    // Another one's failure postpones this wait; it ends by its own time, by `wake` or by `signal`.
    for (let isPostponed = true; isPostponed && !signal.aborted; waitMs = reconnectMs(random())) {
      isPostponed = false;
      const controller = new AbortController();
      const wake = (): void => controller.abort();
      this.#wake = wake;
      this.#postpone = () => {
        isPostponed = true;
        wake();
      };
      signal.addEventListener('abort', wake, { once: true });
      await clock.sleep(waitMs, controller.signal);
      signal.removeEventListener('abort', wake);
    }
    this.#wake = undefined;
    this.#postpone = undefined;
  }

  async #attempt(signal: AbortSignal): Promise<{ outcome: Outcome; attempt: Attempt }> {
    const { clock, sink } = this.#options;
    const controller = new AbortController();
    const stop = (): void => controller.abort();
    signal.addEventListener('abort', stop, { once: true });
    const attempt: Attempt = {
      controller,
      deadline: new Deadline(clock, controller),
      startedAtMs: clock.now(),
      phase: 'opening',
      askedMs: 0,
      reached: false,
      heard: false,
      heardChange: false,
      malformed: 0,
      named: 0,
      lost: false,
      unreadable: false,
    };
    attempt.deadline.set(ANSWER_MS);
    // Only with a list: what a watch with another selector leaves out was never told.
    if (this.#version === undefined && clock.now() >= this.#refusedUntilMs) this.#refusedSavings = 0;
    let outcome: Outcome;
    try {
      if (this.#version !== undefined) outcome = await this.#watch(attempt, this.#version);
      else if (clock.now() >= this.#streamingFromMs) outcome = await this.#watch(attempt, undefined);
      else outcome = await this.#listPages(attempt);
    } catch (error) {
      outcome = attempt.verdict ?? explain(error, attempt, this.#options.transport.server);
    }
    signal.removeEventListener('abort', stop);
    attempt.deadline.clear();
    attempt.check?.stop();
    attempt.cancelLost?.();
    attempt.cancelEmpty?.();
    this.#check = undefined;
    controller.abort();
    sink.dropList();
    this.#closed(attempt);
    if (attempt.lost) this.#lineLost = true;
    this.#unreadable = attempt.unreadable && outcome.kind === 'listed';
    if (attempt.phase === 'listing' && outcome.kind === 'failed' && ++this.#streamFailures >= MAX_STREAM_FAILURES)
      this.#noStreaming();
    this.#unreachable = !attempt.reached && outcome.kind === 'failed' && outcome.reason === 'network';
    return { outcome, attempt };
  }

  #closed(attempt: Attempt): void {
    const nowMs = this.#options.clock.now();
    if (this.#connected || this.#closedAtMs === undefined) this.#closedAtMs = nowMs;
    this.#connected = false;
    if (attempt.openedAtMs === undefined) return;
    if (attempt.heardChange || nowMs - attempt.openedAtMs >= HEALTHY_MS) this.#shortWatches = 0;
    else this.#shortWatches++;
    if (!attempt.lost && nowMs - attempt.openedAtMs >= CLEAN_MS) this.#lostInRow = 0;
  }

  #noStreaming(): void {
    this.#streamingFromMs = this.#options.clock.now() + NO_STREAMING_MS;
  }

  /** How long the attempt's watch was open. */
  #lifeMs(attempt: Attempt): number {
    return attempt.openedAtMs === undefined ? 0 : this.#options.clock.now() - attempt.openedAtMs;
  }

  /** A watch that would resume is doubted now and then: the next request is a list. */
  #lookIfDue(attempt: Attempt): void {
    if (this.#version === undefined) return;
    const { clock, objects } = this.#options;
    const nowMs = clock.now();
    const isDue = isLookDue({
      // Where no watch was opened, only the length of the outage counts.
      sinceListMs: attempt.openedAtMs === undefined ? 0 : nowMs - this.#listedAtMs,
      objects: objects?.() ?? 0,
      // Servers end a watch on the second.
      end: this.#lifeMs(attempt) >= attempt.askedMs - 2_000 && attempt.askedMs > 0 ? 'asked' : 'early',
      outageMs: nowMs - (this.#closedAtMs ?? nowMs),
      shortWatches: this.#shortWatches,
    });
    if (isDue) this.#version = undefined;
  }

  /** Takes in how an attempt ended. Result: ms to wait before the next one. */
  #settle(outcome: Outcome, attempt: Attempt): number {
    const { random, onWentBack } = this.#options;
    const healthy = this.#lifeMs(attempt) >= HEALTHY_MS;
    if (healthy) {
      this.#failures = 0;
      this.#gone = 0;
    }
    if (this.#lineLost && outcome.kind !== 'listed') {
      // We do not know what the line said; only a list can tell.
      this.#lineLost = false;
      this.#version = undefined;
    }
    if (outcome.kind !== 'failed' || outcome.reason !== 'unauthorized') this.#refused = 0;
    if (outcome.kind !== 'failed' || outcome.reason !== 'forbidden') this.#forbiddenAtMs = undefined;
    switch (outcome.kind) {
      case 'listed':
        this.#failures = 0;
        return 0;
      case 'ended':
        this.#restarted('ended');
        this.#lookIfDue(attempt);
        return healthy ? 0 : backoffMs(Math.max(1, this.#shortWatches), random());
      case 'gone':
        this.#restarted('gone', outcome.text);
        this.#version = undefined;
        return backoffMs(++this.#gone, random());
      case 'no-streaming':
        this.#restarted('no-streaming-list', outcome.text);
        this.#noStreaming();
        this.#version = undefined;
        return 0;
      case 'no-selector':
        this.#restarted('no-selector');
        this.#version = undefined;
        return 0;
      case 'went-back':
        this.#restarted('version-went-back', outcome.text);
        this.#version = undefined;
        onWentBack?.();
        return backoffMs(++this.#gone, random());
      case 'empty-list':
        this.#restarted('empty-list');
        this.#version = undefined;
        return 0;
      case 'unreadable':
        this.#restarted('unreadable');
        this.#lostInRow++;
        this.#version = undefined;
        return 0;
      case 'failed':
        this.#lookIfDue(attempt);
        return this.#settleFailure(outcome.reason, outcome.text, outcome.retryAfterMs ?? 0);
    }
  }

  #settleFailure(reason: RestartReason, text: string, atLeastMs: number): number {
    const { random, transport, onUnreachable } = this.#options;
    this.#restarted(reason, text);
    if (reason === 'unauthorized') {
      transport.refreshCredentials();
      if (++this.#refused === 1) return 0;
    }
    if (reason === 'forbidden' && this.#isForbiddenYoung()) return reconnectMs(random());
    // Nobody was bothered: this says nothing about how a server that answers should be treated.
    if (this.#unreachable) {
      onUnreachable?.();
      return reconnectMs(random());
    }
    const waitMs = backoffMs(++this.#failures, random());
    // A server restored from a backup refuses our version as too new, and not with a 410.
    if (this.#failures >= MAX_REFUSED_VERSION && (reason === 'http-status' || reason === 'error-event'))
      this.#version = undefined;
    // Who is told to come back at the same second should not.
    return Math.max(waitMs, Math.round(atLeastMs * (1 + random() / 4)));
  }

  #isForbiddenYoung(): boolean {
    const nowMs = this.#options.clock.now();
    return nowMs - (this.#forbiddenAtMs ?? nowMs) < FORBIDDEN_GRACE_MS;
  }

  #restarted(reason: RestartReason, text?: string): void {
    const { observer, log, resource } = this.#options;
    this.#restarts++;
    observer.onRestart(resource.kind, reason);
    const fields = { kind: resource.kind, reason };
    // A long outage repeats itself every few seconds; once is enough for the log.
    const isNews = text !== undefined && text !== this.#problem;
    if (isNews && reason === 'forbidden' && this.#isForbiddenYoung()) log.debug(fields, text);
    else if (isNews) log.warn(fields, text);
    else log.debug(fields, text ?? 'watch ended by the server');
    if (text !== undefined) this.#problem = text;
  }

  /** A watch from `version`; without one a streaming list that goes on as a watch. */
  async #watch(attempt: Attempt, version: string | undefined): Promise<Outcome> {
    const response = await this.#open(attempt, this.#watchPath(attempt, version));
    if (response.status !== 200) return this.#refusal(response, 'watch');
    const wrong = wrongContent(response);
    if (wrong) return wrong;
    if (version === undefined) this.#beginStreamList(attempt);
    else this.#beginWatch(attempt, 'resumed');
    const lines = new LineSplitter();
    for await (const chunk of response.body) {
      this.#hear(attempt);
      for (const line of lines.push(chunk)) {
        const outcome = this.#onLine(attempt, line);
        if (outcome) return outcome;
        await this.#breathe(attempt);
      }
    }
    const rest = lines.rest();
    // A last line without its newline is whole if it can be read; otherwise it was cut and will come again.
    const last = rest && readItem(rest) !== undefined ? this.#onLine(attempt, rest) : undefined;
    if (last) return last;
    if (attempt.phase === 'watching') return { kind: 'ended' };
    return { kind: 'failed', reason: 'network', text: 'the streaming list ended before its end bookmark' };
  }

  #beginStreamList(attempt: Attempt): void {
    attempt.phase = 'listing';
    this.#options.sink.beginList();
  }

  #beginWatch(attempt: Attempt, from: 'list' | 'resumed'): void {
    attempt.phase = 'watching';
    attempt.openedAtMs = this.#options.clock.now();
    // A quiet watch is a healthy one: a connection that is dead is found by TCP, a server that is by the questions.
    attempt.deadline.set(attempt.askedMs + OVERDUE_MS);
    this.#connected = true;
    this.#closedAtMs = undefined;
    this.#problem = undefined;
    attempt.check = this.#versionCheck(attempt);
    this.#check = attempt.check;
    attempt.check.start(from === 'resumed');
    // Of a list a part was unreadable.
    if (this.#unreadable || attempt.unreadable) this.#listSoon(attempt);
    if (this.#emptyLists > 0) this.#listEmptyAgain(attempt);
  }

  #versionCheck(attempt: Attempt): VersionCheck {
    const { clock, random, transport, resource } = this.#options;
    const { signal } = attempt.controller;
    const fieldSelector = this.#fieldSelector();
    return new VersionCheck({
      clock,
      random,
      ask: () =>
        askVersion({
          transport,
          clock,
          path: resource.path,
          version: this.#version ?? '0',
          signal,
          ...(fieldSelector === undefined ? {} : { fieldSelector }),
        }),
      onHolds: () => {
        this.#lastHeardMs = clock.wallTime();
      },
      onWentBack: (said) => {
        const text =
          `${transport.server}: the API server's store went back in time (restored from a backup?): ` +
          `listing ${resource.kind} again; it said: ${said}`;
        end(attempt, { kind: 'went-back', text });
      },
      onNoAnswer: (text) => end(attempt, failed('silence', `${text}; its watch is silent as well: connecting again`)),
    });
  }

  /** One line of a watch. Result: how the attempt ends, if this ends it. */
  #onLine(attempt: Attempt, line: Buffer): Outcome | undefined {
    const startedMs = performance.now();
    try {
      const event = readEvent(line);
      if (event === undefined) return this.#lost(attempt, undefined, 'a line that is no watch event');
      this.#count(event.type);
      if (event.type === 'ERROR') return errorEvent(event.object);
      return this.#onEvent(attempt, event.type, event.object);
    } finally {
      this.#busyMs += performance.now() - startedMs;
    }
  }

  #onEvent(attempt: Attempt, type: Exclude<EventType, 'ERROR'>, object: RawRecord): Outcome | undefined {
    const version = versionOf(object);
    if (type === 'BOOKMARK') {
      if (attempt.phase === 'listing' && !endsInitialEvents(object)) return this.#checkListTime(attempt);
      if (version === undefined) return this.#lost(attempt, object, 'a bookmark without resourceVersion');
      if (attempt.phase === 'listing') return this.#endStreamList(attempt, version);
    } else {
      const applied = this.#apply(attempt, type === 'DELETED' ? 'remove' : 'upsert', object);
      // An addition without a usable name says nothing about what we hold; a deletion may mean anything.
      if (applied === 'malformed' && type === 'DELETED') return this.#lost(attempt, object, 'a deletion of nothing');
      if (applied === 'malformed') this.#malformed(attempt, object, 'an object that cannot be used');
    }
    this.#progress(attempt);
    // The initial events come in any order: their versions are no place to resume at.
    if (attempt.phase === 'listing') return this.#checkListTime(attempt);
    attempt.heardChange = true;
    if (version !== undefined) this.#advance(attempt, version);
    if (!this.#options.sink.wantsList?.(this.#options.clock.now())) return undefined;
    return { kind: 'gone', text: 'there is room again for what was over a limit: listing anew' };
  }

  /** Versions of one history only grow; one that does not is of another. */
  #advance(attempt: Attempt, version: string): void {
    if (this.#version !== undefined && isOlderVersion(version, this.#version)) void attempt.check?.askNow();
    else this.#version = version;
  }

  #apply(attempt: Attempt, what: 'upsert' | 'remove', object: RawRecord): Applied {
    const { sink, clock, log, resource } = this.#options;
    try {
      const applied = sink[what](object, clock.now());
      if (applied !== 'malformed') attempt.named++;
      return applied;
    } catch (error) {
      // A bug of ours that this object brings to light must not keep the others from being heard.
      log.warn({ kind: resource.kind, object: nameForLog(object), err: error }, 'an object could not be taken in');
      attempt.lost = true;
      return 'malformed';
    }
  }

  #progress(attempt: Attempt): void {
    attempt.heard = true;
    this.#failures = 0;
    if (attempt.phase === 'watching') this.#gone = 0;
  }

  #endStreamList(attempt: Attempt, version: string): undefined {
    attempt.heard = true;
    this.#failures = 0;
    this.#streamFailures = 0;
    this.#endList(attempt, 'stream');
    this.#version = version;
    this.#beginWatch(attempt, 'list');
  }

  /** A server that does not know streaming lists may ignore the parameter and just watch. */
  #checkListTime(attempt: Attempt): Outcome | undefined {
    if (this.#options.clock.now() - attempt.startedAtMs < MAX_STREAM_LIST_MS) return undefined;
    return { kind: 'no-streaming', text: `no end bookmark after ${MAX_STREAM_LIST_MS / 1000} s` };
  }

  /** The whole list, page by page, item by item as its bytes arrive. */
  async #listPages(attempt: Attempt): Promise<Outcome> {
    this.#options.sink.beginList();
    attempt.phase = 'paging';
    let token: string | undefined;
    let version: string | undefined;
    for (let pages = 0; pages < MAX_PAGES; pages++) {
      const response = await this.#open(attempt, this.#pagePath(token));
      if (response.status !== 200) return this.#refusal(response, 'list');
      const wrong = wrongContent(response);
      if (wrong) return wrong;
      const page = await this.#readPage(attempt, response);
      if (page === undefined) return failed('wrong-content', 'the answer to a list is no list with a resourceVersion');
      // Of the first page: what changed while we paged is then told again by the watch.
      version ??= page.version;
      if (page.next === undefined) {
        this.#endList(attempt, 'pages');
        this.#version = version;
        return { kind: 'listed' };
      }
      if (page.next === token) return failed('wrong-content', 'the list gives the same continue token again');
      token = page.next;
    }
    return failed('wrong-content', `the list has more than ${MAX_PAGES} pages`);
  }

  async #readPage(attempt: Attempt, response: ApiResponse): Promise<Page | undefined> {
    const splitter = new ItemSplitter();
    for await (const chunk of response.body) {
      this.#hear(attempt);
      for (const item of splitter.push(chunk)) {
        this.#onItem(attempt, item);
        await this.#breathe(attempt);
      }
    }
    if (!splitter.complete) throw new Error('the list was cut off in the middle');
    return readEnvelope(splitter.envelope());
  }

  #onItem(attempt: Attempt, item: Buffer): void {
    const startedMs = performance.now();
    const object = readItem(item);
    const applied = isRecord(object) ? this.#apply(attempt, 'upsert', object) : 'malformed';
    if (applied === 'malformed') {
      if (!isRecord(object)) {
        attempt.lost = true;
        attempt.unreadable = true;
      }
      this.#malformed(attempt, object, 'a list item that cannot be used');
    }
    this.#busyMs += performance.now() - startedMs;
  }

  #endList(attempt: Attempt, how: 'stream' | 'pages'): void {
    const { sink, clock, observer, resource, log, onListed } = this.#options;
    const isBelieved = this.#believes(attempt);
    const found = sink.endList(clock.now(), !attempt.lost && isBelieved);
    const seconds = (clock.now() - attempt.startedAtMs) / 1000;
    observer.onListed(resource.kind, seconds, how);
    if (this.#listed && found > 0) observer.onMissedFoundByRelist(resource.kind, found);
    log.info({ kind: resource.kind, seconds, how, changes: found }, 'listed');
    this.#listed = true;
    this.#listedAtMs = clock.now();
    this.#problem = isBelieved ? undefined : this.#emptyText();
    onListed();
  }

  /** An empty answer that would take every rule away is no fact before it was heard again, and makes sense. */
  #believes(attempt: Attempt): boolean {
    const { objects, judgeEmpty, log, resource } = this.#options;
    const known = objects?.() ?? 0;
    const judgement = attempt.named > 0 || known === 0 ? 'fact' : (judgeEmpty?.(known) ?? 'fact');
    const before = this.#emptyLists;
    if (judgement === 'fact' || (judgement === 'ask-again' && before >= EMPTY_LISTS - 1)) {
      this.#emptyLists = 0;
      if (before > 0)
        log.warn({ kind: resource.kind, objects: attempt.named }, `${resource.kind}: the list is believed now`);
      return true;
    }
    this.#emptyLists++;
    if (before === 0) log.warn({ kind: resource.kind }, this.#emptyText());
    return false;
  }

  #emptyText(): string {
    const { objects, resource } = this.#options;
    return (
      `${resource.kind}: the API server's list is empty although ${objects?.() ?? 0} are known: not believed yet, asked again; ` +
      'what is known stays enforced. Is this the right cluster, with all its objects?'
    );
  }

  /** Something was said that we could not read: goes on for a moment, but what comes next is a list. */
  #lost(attempt: Attempt, object: unknown, what: string): Outcome | undefined {
    attempt.lost = true;
    attempt.unreadable = true;
    this.#malformed(attempt, object, what);
    if (attempt.phase === 'watching') this.#listSoon(attempt);
    if (attempt.heard || attempt.malformed < MAX_ONLY_MALFORMED) return undefined;
    return failed(
      'wrong-content',
      `${attempt.malformed} lines and none is a watch event: is this a Kubernetes API server?`,
    );
  }

  /** What was lost may have been a policy: waiting for the end of the watch could take minutes. */
  #listSoon(attempt: Attempt): void {
    if (attempt.cancelLost) return;
    const { clock, random } = this.#options;
    const delayMs = lostDelayMs(this.#lostInRow, random());
    attempt.cancelLost = clock.after(delayMs, () => end(attempt, { kind: 'unreadable' }));
  }

  #listEmptyAgain(attempt: Attempt): void {
    const delayMs = emptyAgainMs(this.#emptyLists);
    attempt.cancelEmpty = this.#options.clock.after(delayMs, () => end(attempt, { kind: 'empty-list' }));
    this.#problem = this.#emptyText();
  }

  #malformed(attempt: Attempt, object: unknown, what: string): void {
    const { observer, log, resource } = this.#options;
    observer.onMalformed(resource.kind);
    attempt.malformed++;
    if (attempt.malformed > MAX_LOGGED_MALFORMED) return;
    log.warn({ kind: resource.kind, object: nameForLog(object) }, `${resource.kind}: the API server sent ${what}`);
  }

  #count(type: EventType): void {
    this.#options.observer.onEvent(this.#options.resource.kind, type);
  }

  #hear(attempt: Attempt): void {
    attempt.deadline.touch();
    attempt.check?.heard();
    this.#lastHeardMs = this.#options.clock.wallTime();
    this.#options.observer.onHeard(this.#options.resource.kind);
  }

  /** Gives other work its turn after a stretch of parsing. Rejects once the attempt is over. */
  async #breathe(attempt: Attempt): Promise<void> {
    if (this.#busyMs > MAX_BUSY_MS) {
      this.#busyMs = 0;
      await nextTurn();
    }
    attempt.controller.signal.throwIfAborted();
  }

  async #open(attempt: Attempt, path: string): Promise<ApiResponse> {
    const response = await this.#options.transport.open({ path, signal: attempt.controller.signal });
    attempt.reached = true;
    if (this.#unreachable) {
      this.#unreachable = false;
      this.#options.onReached?.();
    }
    return response;
  }

  #watchPath(attempt: Attempt, version: string | undefined): string {
    const span = MAX_WATCH_SECONDS - MIN_WATCH_SECONDS + 1;
    const timeoutSeconds = MIN_WATCH_SECONDS + Math.floor(this.#options.random() * span);
    attempt.askedMs = timeoutSeconds * 1_000;
    const from: Record<string, string> =
      version === undefined
        ? { sendInitialEvents: 'true', resourceVersionMatch: 'NotOlderThan' }
        : { resourceVersion: version };
    return this.#path({ watch: 'true', allowWatchBookmarks: 'true', timeoutSeconds: `${timeoutSeconds}`, ...from });
  }

  #fieldSelector(): string | undefined {
    const { fieldSelector, savings } = this.#options;
    return savings?.[this.#refusedSavings] ?? fieldSelector;
  }

  /** A refusal that is about a selector which only saves work: the next one is tried, with a new list. */
  #refuseSaving(said: string): boolean {
    const { savings = [], clock } = this.#options;
    if (this.#refusedSavings >= savings.length || !/field ?(label|selector)/i.test(said)) return false;
    this.#refusedSavings++;
    this.#refusedUntilMs = clock.now() + NO_SELECTOR_MS;
    return true;
  }

  #pagePath(token: string | undefined): string {
    return this.#path({ limit: `${PAGE_SIZE}`, ...(token === undefined ? {} : { continue: token }) });
  }

  #path(query: Record<string, string>): string {
    const { resource } = this.#options;
    const fieldSelector = this.#fieldSelector();
    const all = new URLSearchParams({ ...query, ...(fieldSelector === undefined ? {} : { fieldSelector }) });
    return `${resource.path}?${all.toString()}`;
  }

  /** What to repair is said when it lasts. */
  #forbidden(verb: 'list' | 'watch', said: string): string {
    const { clock, resource } = this.#options;
    this.#forbiddenAtMs ??= clock.now();
    if (clock.now() - this.#forbiddenAtMs >= FORBIDDEN_GRACE_MS) return forbiddenText(resource, verb, said);
    return `${verb} ${resource.kind}: the API server answered 403, as it does for a moment after its start: asking again`;
  }

  /** An answer other than 200. */
  async #refusal(response: ApiResponse, verb: 'list' | 'watch'): Promise<Outcome> {
    const { clock, resource } = this.#options;
    const { status } = response;
    const said = await readMessage(response);
    const text = `${verb} ${resource.kind}: the API server answered ${status}${said ? `: ${said}` : ''}`;
    const waitMs = retryAfterMs(header(response, 'retry-after'), clock.wallTime());
    const wait = waitMs === undefined ? {} : { retryAfterMs: waitMs };
    if (status === 410) return { kind: 'gone', text };
    if ((status === 400 || status === 422) && this.#refuseSaving(said)) return { kind: 'no-selector', text };
    if (verb === 'watch' && NO_STREAMING_STATUS.has(status))
      // A watch refused like this dislikes our resource version: list.
      return { kind: this.#version === undefined ? 'no-streaming' : 'gone', text };
    if (status === 401)
      return failed('unauthorized', `${text}; the token or certificate is not accepted, reading it anew`);
    if (status === 403) return failed('forbidden', this.#forbidden(verb, said));
    if (status === 404) return failed('http-status', `${text}; this API server does not serve ${resource.path}`);
    if (status === 429) return { kind: 'failed', reason: 'throttled', text, ...wait };
    return { kind: 'failed', reason: 'http-status', text, ...wait };
  }
}

function explain(error: unknown, attempt: Attempt, server: string): Outcome {
  if (attempt.deadline.expired) {
    const seconds = attempt.deadline.limitMs / 1000;
    return failed('silence', `${server}: nothing heard for ${seconds} s (${attempt.phase}): connecting again`);
  }
  const text = error instanceof Error ? error.message : String(error);
  return failed(error instanceof TooLong ? 'wrong-content' : 'network', text);
}

/** Ends an attempt from here. */
function end(attempt: Attempt, verdict: Outcome): void {
  attempt.verdict = verdict;
  attempt.controller.abort();
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function forbiddenText(resource: Resource, verb: string, said: string): string {
  const { kind, apiGroup } = resource;
  return (
    `not allowed to ${verb} ${kind} (API group "${apiGroup}"): the agent's ClusterRole needs the rule ` +
    `{apiGroups: ["${apiGroup}"], resources: ["${kind}"], verbs: ["list", "watch"]}, bound to its service account` +
    `${said ? `; the API server said: ${said}` : ''}`
  );
}
