/** One watch over HTTP: what is there, then every change, one JSON object a line, never faster than the client reads. */
import type { ServerResponse } from 'node:http';
import { expired } from './errors.ts';
import type { WatchEnd } from './faults.ts';
import type { ApiObject, ResourceName } from './objects.ts';
import type { EventType, Representation } from './representations.ts';
import type { Matcher } from './selectors.ts';
import type { Storage, StoredEvent } from './storage.ts';

/** Lines are joined up to about this size before they are written. */
const WRITE_BYTES = 64 * 1024;

/** Node's timers take no more. */
const MAX_TIMER_MS = 0x7fffffff;

export type BookmarkTiming =
  /** Whether or not anything changed. */
  | { readonly everyMs: number; readonly version: () => number }
  /** About so often, and only if this version is newer than what the client was told. */
  | { readonly aboutMs: number; readonly news: () => number };

export interface WatchOptions {
  readonly resource: ResourceName;
  readonly storage: Storage;
  readonly representation: Representation;
  /** Selectors and namespace in one test. */
  readonly matches: Matcher;
  /** Objects sent as ADDED before any change. */
  readonly initial: readonly ApiObject[];
  /** Position in the history where changes start. */
  readonly position: number;
  /** Changes up to this version are not sent; matters to clients that come from a server with a longer past. */
  readonly afterVersion: number;
  /** Sent after the initial objects as the bookmark that says they are complete. */
  readonly initialEventsEnd?: { readonly version: number };
  readonly bookmarks: 'none' | BookmarkTiming;
  /** The stream ends cleanly after this long. */
  readonly timeoutMs: number;
  readonly isStalled: () => boolean;
}

export class WatchStream {
  readonly resource: ResourceName;
  readonly #options: WatchOptions;
  readonly #response: ServerResponse;
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #onClose: () => void;
  #sentInitial = 0;
  #sentInitialEnd = false;
  #position: number;
  #blocked = false;
  #scheduled = false;
  #closed = false;
  /** The newest version the client knows of. */
  #toldVersion: number;
  #endAtNextEvent: WatchEnd | undefined;

  /** The response must have its headers set; they are flushed at once. `onClose` is called once, however the watch ends. */
  constructor(response: ServerResponse, options: WatchOptions, onClose: () => void) {
    this.resource = options.resource;
    this.#options = options;
    this.#response = response;
    this.#onClose = onClose;
    this.#position = options.position;
    response.flushHeaders();
    response.on('close', () => this.#close());
    this.#timers.push(setTimeout(() => this.end('end'), Math.min(options.timeoutMs, MAX_TIMER_MS)).unref());
    this.#toldVersion = Math.max(options.afterVersion, options.initialEventsEnd?.version ?? 0);
    if (options.bookmarks !== 'none') this.#startBookmarks(options.bookmarks);
    this.wake();
  }

  /** There may be something to send. Cheap; the sending happens soon after, once for many calls. */
  wake(): void {
    if (this.#scheduled || this.#blocked || this.#closed) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#send();
    });
  }

  end(how: WatchEnd): void {
    if (this.#closed) return;
    if (how === 'reset-mid-line' || how === 'end-mid-line') {
      this.#endAtNextEvent = how;
      return;
    }
    if (how === 'end') this.#response.end();
    else this.#response.destroy();
    this.#close();
  }

  /** Sends an ERROR event and ends. */
  fail(status: object): void {
    if (this.#closed) return;
    this.#response.end(`${JSON.stringify({ type: 'ERROR', object: status })}\n`);
    this.#close();
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#onClose();
  }

  #send(): void {
    while (!this.#closed && !this.#blocked && !this.#options.isStalled()) {
      const text = this.#nextLines();
      if (text === '' || this.#closed) return;
      if (this.#endAtNextEvent) this.#endMidLine(text, this.#endAtNextEvent);
      else this.#write(text);
    }
  }

  #write(text: string): void {
    if (this.#response.write(text)) return;
    this.#blocked = true;
    this.#response.once('drain', () => {
      this.#blocked = false;
      this.#send();
    });
  }

  #endMidLine(text: string, how: WatchEnd): void {
    const half = text.slice(0, Math.floor(text.indexOf('\n') / 2));
    this.#close();
    if (how === 'end-mid-line') this.#response.end(half);
    else this.#response.write(half, () => this.#response.destroy());
  }

  #nextLines(): string {
    let text = '';
    while (text.length < WRITE_BYTES && !this.#closed) {
      const line = this.#nextLine();
      if (line === undefined) break;
      text += line;
    }
    return text;
  }

  /** The next line; '' for a change that does not concern this watch, undefined when there is nothing yet. */
  #nextLine(): string | undefined {
    const { initial, initialEventsEnd, storage, representation } = this.#options;
    const object = initial[this.#sentInitial];
    if (object) {
      this.#sentInitial += 1;
      return this.#line('ADDED', object);
    }
    if (initialEventsEnd && !this.#sentInitialEnd) {
      this.#sentInitialEnd = true;
      const annotations = { 'k8s.io/initial-events-end': 'true' };
      return bookmarkLine(representation.bookmark(String(initialEventsEnd.version), annotations));
    }
    const event = storage.eventAt(this.resource, this.#position);
    if (event === 'forgotten') {
      this.fail(expired('the watch was too slow: the changes it has yet to see are no longer kept').status);
      return undefined;
    }
    if (!event) return undefined;
    this.#position += 1;
    return this.#eventLine(event);
  }

  /** A change seen through the selection: an object that comes into it is added, one that leaves it is deleted. */
  #eventLine(event: StoredEvent): string {
    const { afterVersion } = this.#options;
    if (event.version <= afterVersion) return '';
    const line = this.#selectedLine(event);
    if (line !== '') this.#toldVersion = event.version;
    return line;
  }

  #selectedLine(event: StoredEvent): string {
    const { matches } = this.#options;
    const before = event.previous !== undefined && matches(event.previous);
    const after = event.type !== 'DELETED' && matches(event.object);
    if (after) return this.#line(before ? 'MODIFIED' : 'ADDED', event.object);
    if (!before || !event.previous) return '';
    return this.#line('DELETED', event.type === 'DELETED' ? event.object : atVersion(event.previous, event.version));
  }

  #line(type: EventType, object: ApiObject): string {
    return `{"type":"${type}","object":${this.#options.representation.inEvent(object)}}\n`;
  }

  #startBookmarks(timing: BookmarkTiming): void {
    const isSteady = 'everyMs' in timing;
    const everyMs = isSteady ? timing.everyMs : timing.aboutMs * (1 + Math.random() / 4);
    if (everyMs <= 0) return;
    const send = (): void => {
      const version = isSteady ? timing.version() : timing.news();
      if (isSteady || version > this.#toldVersion) this.#bookmark(version);
    };
    this.#timers.push(setInterval(send, everyMs).unref());
  }

  /** Bookmarks go only to watches that have seen everything. */
  #bookmark(version: number): void {
    const { storage, initial, representation, initialEventsEnd } = this.#options;
    if (this.#blocked || this.#closed || this.#options.isStalled()) return;
    if (this.#sentInitial < initial.length || (initialEventsEnd && !this.#sentInitialEnd)) return;
    if (this.#position < storage.endPosition(this.resource)) this.wake();
    else {
      this.#toldVersion = Math.max(this.#toldVersion, version);
      this.#write(bookmarkLine(representation.bookmark(String(version))));
    }
  }
}

const bookmarkLine = (object: string): string => `{"type":"BOOKMARK","object":${object}}\n`;

function atVersion(object: ApiObject, version: number): ApiObject {
  return { ...object, metadata: { ...object.metadata, resourceVersion: String(version) } };
}
