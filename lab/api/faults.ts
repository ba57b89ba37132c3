/** What can be made to go wrong with the API server, at the word of a test or of a person who tries the lab. */
import type { Verb } from './api-request.ts';
import type { ResourceName } from './objects.ts';

export type FaultAction =
  /** Answers with this code and a Status; `retryAfterSeconds` is also sent as a header. */
  | { readonly kind: 'status'; readonly code: number; readonly retryAfterSeconds?: number; readonly message?: string }
  /** Answers properly, but later. */
  | { readonly kind: 'delay'; readonly ms: number }
  /** Takes the request and never answers. */
  | { readonly kind: 'hang' }
  /** Cuts the connection instead of answering. */
  | { readonly kind: 'reset' };

export interface FaultRule {
  /** Absent: every verb. */
  readonly verb?: Verb;
  /** Absent: every request, also discovery. */
  readonly resource?: ResourceName;
  /** How many requests it hits; absent: all until removed. */
  readonly times?: number;
  readonly action: FaultAction;
}

/** How a running watch is ended: politely, by a reset, or half way through the line of the next event. */
export type WatchEnd = 'end' | 'reset' | 'reset-mid-line' | 'end-mid-line';

/** What the fault switches need of the server. */
export interface FaultTarget {
  readonly dropConnections: () => void;
  readonly stopListening: () => void;
  readonly listenAgain: () => Promise<void>;
  readonly endWatches: (how: WatchEnd, resource: ResourceName | undefined) => void;
  readonly failWatches: (code: number, message: string, resource: ResourceName | undefined) => void;
  readonly wakeWatches: () => void;
}

export class Faults {
  /** `refuse`: `sendInitialEvents` is answered with 422, as by servers without streaming lists. */
  streamingLists: 'serve' | 'refuse' = 'serve';
  /** How a watch from a forgotten version is refused: as an ERROR event in a 200 stream, or with HTTP 410. */
  goneForm: 'stream' | 'http' = 'stream';
  /** False: bookmarks are not sent, not even when asked for. */
  bookmarks = true;
  /** A bookmark every so many ms, changed or not; undefined: as real servers time them. Read when a watch starts. */
  bookmarkIntervalMs: number | undefined;
  readonly #target: FaultTarget;
  readonly #defaultBookmarkIntervalMs: number | undefined;
  #rules: { readonly rule: FaultRule; left: number }[] = [];
  #stalled = false;

  constructor(target: FaultTarget, bookmarkIntervalMs: number | undefined) {
    this.#target = target;
    this.bookmarkIntervalMs = bookmarkIntervalMs;
    this.#defaultBookmarkIntervalMs = bookmarkIntervalMs;
  }

  /** Adds a rule; the first that fits a request counts. Returns a function that takes it away. */
  add(rule: FaultRule): () => void {
    const entry = { rule, left: rule.times ?? Number.POSITIVE_INFINITY };
    this.#rules.push(entry);
    return () => {
      this.#rules = this.#rules.filter((other) => other !== entry);
    };
  }

  /** The action for a request, using up one of the rule's times. */
  take(verb: Verb | 'plain', resource: ResourceName | 'none'): FaultAction | undefined {
    const entry = this.#rules.find(
      ({ rule, left }) =>
        left > 0 &&
        (rule.verb === undefined || rule.verb === verb) &&
        (rule.resource === undefined || rule.resource === resource),
    );
    if (!entry) return undefined;
    entry.left -= 1;
    return entry.rule.action;
  }

  /** While true, open watches say nothing, not even bookmarks; their connections stay open. */
  get stalled(): boolean {
    return this.#stalled;
  }

  set stalled(stalled: boolean) {
    this.#stalled = stalled;
    if (!stalled) this.#target.wakeWatches();
  }

  /** Cuts every open connection; new ones are welcome. */
  dropConnections(): void {
    this.#target.dropConnections();
  }

  /** Cuts every connection and stops listening: clients see "connection refused". */
  refuseConnections(): void {
    this.#target.stopListening();
    this.#target.dropConnections();
  }

  /** Listens again, on the same port. */
  async acceptConnections(): Promise<void> {
    await this.#target.listenAgain();
  }

  /** Ends running watches; the mid-line forms wait for the next event of each. */
  endWatches(how: WatchEnd, resource?: ResourceName): void {
    this.#target.endWatches(how, resource);
  }

  /** Sends an ERROR event with this code into running watches and ends them. */
  failWatches(code: number, message = 'injected failure', resource?: ResourceName): void {
    this.#target.failWatches(code, message, resource);
  }

  /** Everything back to normal, but for listening again after `refuseConnections`. */
  clear(): void {
    this.#rules = [];
    this.streamingLists = 'serve';
    this.goneForm = 'stream';
    this.bookmarks = true;
    this.bookmarkIntervalMs = this.#defaultBookmarkIntervalMs;
    this.stalled = false;
  }
}
