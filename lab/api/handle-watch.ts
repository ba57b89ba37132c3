/** What a watch request asks for: where it starts, what it sees, how long it lasts. */
import type { ResourceRequest } from './api-request.ts';
import type { ApiStore } from './api-store.ts';
import { type Cause, cause, expired, invalid, versionTooLarge } from './errors.ts';
import type { Faults } from './faults.ts';
import { parseVersion, representationOf } from './handle-request.ts';
import type { ApiObject, ResourceName } from './objects.ts';
import { type Matcher, parseSelectors } from './selectors.ts';
import type { BookmarkTiming, WatchOptions } from './watch-stream.ts';

/** Real servers pick something between 30 and 60 minutes. */
const DEFAULT_WATCH_SECONDS = 1800;

/** How a server times bookmarks when no test sets their rhythm. */
export interface RealTiming {
  readonly aboutMs: number;
  /** How far the store had got when it last told the watches of quiet kinds. */
  readonly progressVersion: () => number;
}

/** Throws ApiError; a forgotten version is 410 Expired. */
export function watchOptions(
  store: ApiStore,
  faults: Faults,
  request: ResourceRequest,
  accept: string | undefined,
  timing: RealTiming,
): WatchOptions {
  const { info, query } = request;
  const { storage } = store;
  const streamsList = query.get('sendInitialEvents') !== null;
  checkInitialEvents(query, faults);
  const version = query.get('resourceVersion') ?? '';
  const from = version === '' ? 0 : parseVersion(version);
  const sendInitial = streamsList ? query.get('sendInitialEvents') === 'true' : from === 0;
  if (sendInitial && from > storage.version) throw versionTooLarge(from, storage.version);
  const position =
    sendInitial || from === 0 ? storage.endPosition(info.plural) : storage.positionAfter(info.plural, from);
  if (position === undefined) {
    throw expired(`too old resource version: ${from} (${storage.compactedVersion(info.plural)})`);
  }
  const matches = matcher(request);
  const bookmarks = query.get('allowWatchBookmarks') === 'true' && faults.bookmarks;
  const seconds = Number(query.get('timeoutSeconds') ?? 0) || DEFAULT_WATCH_SECONDS;
  return {
    resource: info.plural,
    storage,
    representation: representationOf(store, { request, accept }),
    matches,
    initial: sendInitial ? storage.list(info.plural, request.namespace).filter(matches) : [],
    position,
    afterVersion: sendInitial ? 0 : from,
    ...(streamsList && sendInitial && bookmarks ? { initialEventsEnd: { version: storage.version } } : {}),
    bookmarks: bookmarks ? bookmarkTiming(store, faults, info.plural, timing) : 'none',
    timeoutMs: seconds * 1000,
    isStalled: () => faults.stalled,
  };
}

/**
 * A real server remembers the version of the last change of this kind, and now and then hears from the store how far the others
 * have got; a bookmark is sent only when that is news.
 */
function bookmarkTiming(
  { storage }: ApiStore,
  { bookmarkIntervalMs }: Faults,
  resource: ResourceName,
  { aboutMs, progressVersion }: RealTiming,
): BookmarkTiming {
  if (bookmarkIntervalMs !== undefined) return { everyMs: bookmarkIntervalMs, version: () => storage.version };
  return { aboutMs, news: () => Math.max(storage.lastVersion(resource), progressVersion()) };
}

function matcher(request: ResourceRequest): Matcher {
  const { info, namespace, name, query } = request;
  const selected = parseSelectors(info.plural, query.get('labelSelector'), query.get('fieldSelector'));
  return (object: ApiObject) =>
    (namespace === undefined || object.metadata.namespace === namespace) &&
    (name === undefined || object.metadata.name === name) &&
    (selected?.(object) ?? true);
}

const LIST_OPTIONS = { group: 'meta.k8s.io', plural: 'listoptions', kind: 'ListOptions' };

/** The rules for streaming lists; the refusal is that of servers that do not know them. */
function checkInitialEvents(query: URLSearchParams, faults: Faults): void {
  const asked = query.get('sendInitialEvents') !== null;
  const match = query.get('resourceVersionMatch');
  const causes: Cause[] = [];
  if (asked && faults.streamingLists === 'refuse') {
    causes.push(cause.forbidden('sendInitialEvents', 'streaming lists are not enabled on this server'));
  } else if (asked && match !== 'NotOlderThan') {
    causes.push(cause.forbidden('resourceVersionMatch', 'must be NotOlderThan when sendInitialEvents is given'));
  } else if (!asked && match) {
    causes.push(cause.forbidden('resourceVersionMatch', 'not allowed for a watch without sendInitialEvents'));
  }
  if (causes.length > 0) throw invalid(LIST_OPTIONS, '', causes);
}
