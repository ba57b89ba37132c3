/**
 * One request of the reflector, from its opening to its end: a list in pages, a watch that resumes, or a list as a stream of events that
 * goes on as a watch. What comes is told as it comes; how it ended is the result.
 */
import type { Clock } from '../core/clock.ts';
import { isRecord, type RawRecord } from '../policy/raw-values.ts';
import { isUnserved } from './ask-discovery.ts';
import { askVersion } from './ask-version.ts';
import { Deadline } from './deadline.ts';
import type { EmptyList, Resource } from './kinds.ts';
import type { ClusterLog, EventType, ReflectorObserver } from './observe.ts';
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
  readStatus,
  type Verb,
  versionOf,
  wrongContent,
} from './read-answer.ts';
import { retryAfterMs } from './retry.ts';
import { type AttemptFacts, judgeRefusal, type RetryState, timesDoubted } from './retry-policy.ts';
import { ItemSplitter, LineSplitter, TooLong } from './split-bytes.ts';
import type { Applied, Sink } from './store.ts';
import type { ApiResponse, Transport } from './transport.ts';
import { VersionCheck } from './version-check.ts';
import { emptyAgainMs, isOlderVersion, lostDelayMs } from './relist.ts';
import { messageOf } from '../core/error-text.ts';

const PAGE_SIZE = 500;
/** A server ends a watch when it was asked to; one that is still silent this long after is not there any more. */
export const OVERDUE_MS = 30_000;
/** For an answer to begin, and between two pieces of a list. */
export const ANSWER_MS = 30_000;
const MIN_WATCH_SECONDS = 300;
const MAX_WATCH_SECONDS = 600;
/** Longest stretch of parsing before other work gets its turn; several reflectors may be at it at once. */
const MAX_BUSY_MS = 8;
const MAX_LOGGED_MALFORMED = 10;
/** So many unreadable lines and not one readable: this is not a watch. */
const MAX_ONLY_MALFORMED = 50;
const MAX_STREAM_LIST_MS = 180_000;
const MAX_PAGES = 10_000;

/** What all attempts of a kind have in common. */
export interface AttemptOptions {
  readonly resource: Resource;
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
}

export interface AttemptStart {
  /** Where the watch resumes; absent: everything is listed. */
  readonly version?: string;
  /** The attempts before. */
  readonly state: RetryState;
  readonly fieldSelector?: string;
  /** It only saves work. */
  readonly hasSaving: boolean;
}

/** Called as it happens. `problem`: what is wrong all the same, in words. */
interface AttemptEvents {
  readonly onReached: () => void;
  readonly onHeard: () => void;
  /** A list is complete. `changes`: how many it found. */
  readonly onListed: (changes: number, problem: string | undefined) => void;
  /** The watch is open. */
  readonly onWatching: (problem: string | undefined) => void;
}

export interface AttemptResult extends AttemptFacts {
  readonly outcome: Outcome;
  /** The last one told: where the next watch may resume. */
  readonly version?: string;
}

export class Attempt {
  readonly #options: AttemptOptions;
  readonly #start: AttemptStart;
  readonly #events: AttemptEvents;
  readonly #controller = new AbortController();
  readonly #deadline: Deadline;
  /** now() */
  readonly #startedAtMs: number;
  #version: string | undefined;
  readonly #facts: { -readonly [K in keyof AttemptFacts]: AttemptFacts[K] };
  /** now() when the watch was accepted, or the streaming list became one. */
  #openedAtMs: number | undefined;
  /** Beside the open watch. */
  #check: VersionCheck | undefined;
  /** End the attempt soon. */
  #timers: (() => void)[] = [];
  /** Why it was ended from here, if it was. */
  #verdict: Outcome | undefined;
  #malformedCount = 0;
  /** Objects that a list named. */
  #named = 0;
  /** So that a new list may tell more; not so where our own code failed on it. */
  #unreadable = false;
  #listsSoon = false;
  #busyMs = 0;

  constructor(options: AttemptOptions, start: AttemptStart, events: AttemptEvents) {
    this.#options = options;
    this.#start = start;
    this.#events = events;
    this.#deadline = new Deadline(options.clock, this.#controller);
    this.#startedAtMs = options.clock.now();
    this.#version = start.version;
    this.#facts = {
      phase: 'opening',
      askedMs: 0,
      isReached: false,
      isStreamListed: false,
      heard: false,
      heardChange: false,
      lost: false,
      emptyLists: start.state.emptyLists,
      isUnreadable: false,
    };
  }

  /** Never rejects. Nothing is told after it. */
  async run(signal: AbortSignal): Promise<AttemptResult> {
    const stop = (): void => this.#controller.abort();
    signal.addEventListener('abort', stop, { once: true });
    this.#deadline.set(ANSWER_MS);
    let outcome: Outcome;
    try {
      const isPaged = this.#version === undefined && this.#startedAtMs < this.#start.state.streamingFromMs;
      outcome = await (isPaged ? this.#listPages() : this.#watch());
    } catch (error) {
      outcome = this.#verdict ?? this.#explain(error);
    }
    signal.removeEventListener('abort', stop);
    this.#deadline.clear();
    this.#check?.stop();
    for (const cancel of this.#timers) cancel();
    this.#controller.abort();
    this.#options.sink.dropList();
    const openedAtMs = this.#openedAtMs;
    return {
      ...this.#facts,
      outcome,
      isUnreadable: this.#unreadable && outcome.kind === 'listed',
      ...(openedAtMs === undefined ? {} : { openMs: this.#options.clock.now() - openedAtMs }),
      ...(this.#version === undefined ? {} : { version: this.#version }),
    };
  }

  /** The last one told. */
  get version(): string | undefined {
    return this.#version;
  }

  /** Lists in a row that named nothing and were not believed, this one included. */
  get emptyLists(): number {
    return this.#facts.emptyLists;
  }

  /** Asks whether the version of the open watch still exists on the server. */
  doubt(): void {
    void this.#check?.askNow();
  }

  /** A watch from `version`; without one a streaming list that goes on as a watch. */
  async #watch(): Promise<Outcome> {
    const { version } = this.#start;
    const response = await this.#open(this.#watchPath(version));
    if (response.status !== 200) return this.#refusal(response, 'watch');
    const wrong = wrongContent(response);
    if (wrong) return wrong;
    if (version === undefined) this.#beginStreamList();
    else this.#beginWatch('resumed');
    const lines = new LineSplitter();
    for await (const chunk of response.body) {
      this.#hear();
      for (const line of lines.push(chunk)) {
        const outcome = this.#onLine(line);
        if (outcome) return outcome;
        if (this.#isLongBusy) await this.#breathe();
        this.#controller.signal.throwIfAborted();
      }
    }
    const rest = lines.rest();
    // A last line without its newline is whole if it can be read; otherwise it was cut and will come again.
    const last = rest && readItem(rest) !== undefined ? this.#onLine(rest) : undefined;
    if (last) return last;
    if (this.#facts.phase === 'watching') return { kind: 'ended' };
    return { kind: 'failed', reason: 'network', text: 'the streaming list ended before its end bookmark' };
  }

  #beginStreamList(): void {
    this.#facts.phase = 'listing';
    this.#options.sink.beginList();
  }

  #beginWatch(from: 'list' | 'resumed'): void {
    this.#facts.phase = 'watching';
    this.#openedAtMs = this.#options.clock.now();
    // A quiet watch is a healthy one: a connection that is dead is found by TCP, a server that is by the questions.
    this.#deadline.set(this.#facts.askedMs + OVERDUE_MS);
    this.#events.onWatching(this.#doubtText());
    this.#check = this.#versionCheck();
    this.#check.start(from === 'resumed');
    // Of a list a part was unreadable.
    if (this.#start.state.isListUnreadable || this.#unreadable) this.#listSoon();
    if (this.#facts.emptyLists > 0) this.#endLater(emptyAgainMs(this.#facts.emptyLists), { kind: 'empty-list' });
  }

  #versionCheck(): VersionCheck {
    const { clock, random, transport, resource } = this.#options;
    const { signal } = this.#controller;
    const { fieldSelector } = this.#start;
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
      onHolds: this.#events.onHeard,
      onWentBack: (said) => {
        const text =
          `${transport.server}: the API server's store went back in time (restored from a backup?): ` +
          `listing ${resource.kind} again; it said: ${said}`;
        this.#end({ kind: 'went-back', text });
      },
      onNoAnswer: (text) => this.#end(failed('silence', `${text}; its watch is silent as well: connecting again`)),
    });
  }

  /** One line of a watch. Result: how the attempt ends, if this ends it. */
  #onLine(line: Buffer): Outcome | undefined {
    const startedMs = performance.now();
    try {
      const event = readEvent(line);
      if (event === undefined) return this.#lost(undefined, 'a line that is no watch event');
      this.#count(event.type);
      if (event.type === 'ERROR') return errorEvent(event.object);
      return this.#onEvent(event.type, event.object);
    } finally {
      this.#busyMs += performance.now() - startedMs;
    }
  }

  #onEvent(type: Exclude<EventType, 'ERROR'>, object: RawRecord): Outcome | undefined {
    const version = versionOf(object);
    if (type === 'BOOKMARK') {
      if (this.#facts.phase === 'listing' && !endsInitialEvents(object)) return this.#checkListTime();
      if (version === undefined) return this.#lost(object, 'a bookmark without resourceVersion');
      if (this.#facts.phase === 'listing') return this.#endStreamList(version);
    } else {
      const applied = this.#apply(type === 'DELETED' ? 'remove' : 'upsert', object);
      // An addition without a usable name says nothing about what we hold; a deletion may mean anything.
      if (applied === 'malformed' && type === 'DELETED') return this.#lost(object, 'a deletion of nothing');
      if (applied === 'malformed') this.#malformed(object, 'an object that cannot be used');
    }
    this.#facts.heard = true;
    // The initial events come in any order: their versions are no place to resume at.
    if (this.#facts.phase === 'listing') return this.#checkListTime();
    this.#facts.heardChange = true;
    if (version !== undefined) this.#advance(version);
    if (!this.#options.sink.wantsList?.(this.#options.clock.now())) return undefined;
    return { kind: 'gone', text: 'there is room again for what was over a limit: listing anew' };
  }

  /** Versions of one history only grow; one that does not is of another. */
  #advance(version: string): void {
    if (this.#version !== undefined && isOlderVersion(version, this.#version)) void this.#check?.askNow();
    else this.#version = version;
  }

  #apply(what: 'upsert' | 'remove', object: RawRecord): Applied {
    const { sink, clock, log, resource } = this.#options;
    try {
      const applied = sink[what](object, clock.now());
      if (applied !== 'malformed') this.#named++;
      return applied;
    } catch (error) {
      // A bug of ours that this object brings to light must not keep the others from being heard.
      log.warn({ kind: resource.kind, object: nameForLog(object), err: error }, 'an object could not be taken in');
      this.#facts.lost = true;
      return 'malformed';
    }
  }

  #endStreamList(version: string): undefined {
    this.#facts.heard = true;
    this.#facts.isStreamListed = true;
    this.#endList('stream');
    this.#version = version;
    this.#beginWatch('list');
  }

  /** A server that does not know streaming lists may ignore the parameter and just watch. */
  #checkListTime(): Outcome | undefined {
    if (this.#options.clock.now() - this.#startedAtMs < MAX_STREAM_LIST_MS) return undefined;
    return { kind: 'no-streaming', text: `no end bookmark after ${MAX_STREAM_LIST_MS / 1000} s` };
  }

  /** The whole list, page by page, item by item as its bytes arrive. */
  async #listPages(): Promise<Outcome> {
    this.#options.sink.beginList();
    this.#facts.phase = 'paging';
    let token: string | undefined;
    let version: string | undefined;
    for (let pages = 0; pages < MAX_PAGES; pages++) {
      const response = await this.#open(this.#pagePath(token));
      if (response.status !== 200) return this.#refusal(response, 'list');
      const wrong = wrongContent(response);
      if (wrong) return wrong;
      const page = await this.#readPage(response);
      if (page === undefined) return failed('wrong-content', 'the answer to a list is no list with a resourceVersion');
      // Of the first page: what changed while we paged is then told again by the watch.
      version ??= page.version;
      if (page.next === undefined) {
        this.#endList('pages');
        this.#version = version;
        return { kind: 'listed' };
      }
      if (page.next === token) return failed('wrong-content', 'the list gives the same continue token again');
      token = page.next;
    }
    return failed('wrong-content', `the list has more than ${MAX_PAGES} pages`);
  }

  async #readPage(response: ApiResponse): Promise<Page | undefined> {
    const splitter = new ItemSplitter();
    for await (const chunk of response.body) {
      this.#hear();
      for (const item of splitter.push(chunk)) {
        this.#onItem(item);
        if (this.#isLongBusy) await this.#breathe();
        this.#controller.signal.throwIfAborted();
      }
    }
    if (!splitter.complete) throw new Error('the list was cut off in the middle');
    return readEnvelope(splitter.envelope());
  }

  #onItem(item: Buffer): void {
    const startedMs = performance.now();
    const object = readItem(item);
    const applied = isRecord(object) ? this.#apply('upsert', object) : 'malformed';
    if (applied === 'malformed') {
      if (!isRecord(object)) {
        this.#facts.lost = true;
        this.#unreadable = true;
      }
      this.#malformed(object, 'a list item that cannot be used');
    }
    this.#busyMs += performance.now() - startedMs;
  }

  #endList(how: 'stream' | 'pages'): void {
    const { sink, clock, observer, resource, log } = this.#options;
    const isBelieved = this.#believes();
    const changes = sink.endList(clock.now(), !this.#facts.lost && isBelieved);
    const seconds = (clock.now() - this.#startedAtMs) / 1000;
    observer.onListed(resource.kind, seconds, how);
    log.info({ kind: resource.kind, seconds, how, changes }, 'listed');
    this.#events.onListed(changes, this.#doubtText());
  }

  #believes(): boolean {
    const { log, resource, judgeEmpty } = this.#options;
    const before = this.#facts.emptyLists;
    const judge = judgeEmpty ?? ((): EmptyList => 'fact');
    this.#facts.emptyLists = timesDoubted(before, { named: this.#named, known: this.#known(), judge });
    const isBelieved = this.#facts.emptyLists === 0;
    if (isBelieved && before > 0)
      log.warn({ kind: resource.kind, objects: this.#named }, `${resource.kind}: the list is believed now`);
    if (!isBelieved && before === 0) log.warn({ kind: resource.kind }, this.#doubtText() ?? '');
    return isBelieved;
  }

  #known(): number {
    return this.#options.objects?.() ?? 0;
  }

  #doubtText(): string | undefined {
    if (this.#facts.emptyLists === 0) return undefined;
    return (
      `${this.#options.resource.kind}: the API server's list is empty although ${this.#known()} are known: not believed yet, ` +
      'asked again; what is known stays enforced. Is this the right cluster, with all its objects?'
    );
  }

  /** Something was said that we could not read: goes on for a moment, but what comes next is a list. */
  #lost(object: unknown, what: string): Outcome | undefined {
    this.#facts.lost = true;
    this.#unreadable = true;
    this.#malformed(object, what);
    if (this.#facts.phase === 'watching') this.#listSoon();
    if (this.#facts.heard || this.#malformedCount < MAX_ONLY_MALFORMED) return undefined;
    return failed(
      'wrong-content',
      `${this.#malformedCount} lines and none is a watch event: is this a Kubernetes API server?`,
    );
  }

  /** What was lost may have been a policy: waiting for the end of the watch could take minutes. */
  #listSoon(): void {
    if (this.#listsSoon) return;
    this.#listsSoon = true;
    this.#endLater(lostDelayMs(this.#start.state.unreadable, this.#options.random()), { kind: 'unreadable' });
  }

  #endLater(ms: number, verdict: Outcome): void {
    this.#timers.push(this.#options.clock.after(ms, () => this.#end(verdict)));
  }

  #end(verdict: Outcome): void {
    this.#verdict = verdict;
    this.#controller.abort();
  }

  #malformed(object: unknown, what: string): void {
    const { observer, log, resource } = this.#options;
    observer.onMalformed(resource.kind);
    this.#malformedCount++;
    if (this.#malformedCount > MAX_LOGGED_MALFORMED) return;
    log.warn({ kind: resource.kind, object: nameForLog(object) }, `${resource.kind}: the API server sent ${what}`);
  }

  #count(type: EventType): void {
    this.#options.observer.onEvent(this.#options.resource.kind, type);
  }

  #hear(): void {
    this.#deadline.touch();
    this.#check?.heard();
    this.#events.onHeard();
    this.#options.observer.onHeard(this.#options.resource.kind);
  }

  get #isLongBusy(): boolean {
    return this.#busyMs > MAX_BUSY_MS;
  }

  /** Gives other work its turn after a stretch of parsing. */
  #breathe(): Promise<void> {
    this.#busyMs = 0;
    return nextTurn();
  }

  async #open(path: string): Promise<ApiResponse> {
    const response = await this.#options.transport.open({ path, signal: this.#controller.signal });
    this.#facts.isReached = true;
    this.#events.onReached();
    return response;
  }

  #watchPath(version: string | undefined): string {
    const span = MAX_WATCH_SECONDS - MIN_WATCH_SECONDS + 1;
    const timeoutSeconds = MIN_WATCH_SECONDS + Math.floor(this.#options.random() * span);
    this.#facts.askedMs = timeoutSeconds * 1_000;
    const from: Record<string, string> =
      version === undefined
        ? { sendInitialEvents: 'true', resourceVersionMatch: 'NotOlderThan' }
        : { resourceVersion: version };
    return this.#path({ watch: 'true', allowWatchBookmarks: 'true', timeoutSeconds: `${timeoutSeconds}`, ...from });
  }

  #pagePath(token: string | undefined): string {
    return this.#path({ limit: `${PAGE_SIZE}`, ...(token === undefined ? {} : { continue: token }) });
  }

  #path(query: Record<string, string>): string {
    const { resource } = this.#options;
    const { fieldSelector } = this.#start;
    const all = new URLSearchParams({ ...query, ...(fieldSelector === undefined ? {} : { fieldSelector }) });
    return `${resource.path}?${all.toString()}`;
  }

  /** An answer other than 200. */
  async #refusal(response: ApiResponse, verb: Verb): Promise<Outcome> {
    const { clock, resource, transport } = this.#options;
    const { status } = response;
    const { said, reason } = await readStatus(response);
    const waitMs = retryAfterMs(header(response, 'retry-after'), clock.wallTime());
    const isMissing = status === 404 && resource.optional;
    const { signal } = this.#controller;
    return judgeRefusal(resource, {
      status,
      verb,
      said,
      ...(waitMs === undefined ? {} : { retryAfterMs: waitMs }),
      isResumed: this.#start.version !== undefined,
      hasSaving: this.#start.hasSaving,
      isUnserved: isMissing && (reason === 'NotFound' || (await isUnserved(transport, resource, signal))),
    });
  }

  #explain(error: unknown): Outcome {
    if (this.#deadline.expired) {
      const seconds = this.#deadline.limitMs / 1000;
      const { server } = this.#options.transport;
      return failed('silence', `${server}: nothing heard for ${seconds} s (${this.#facts.phase}): connecting again`);
    }
    const text = messageOf(error);
    return failed(error instanceof TooLong ? 'wrong-content' : 'network', text);
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
