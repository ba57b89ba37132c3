/** Reading what the API server answers: list envelopes, watch events, Status objects. Whatever came, nothing here throws. */
import { isRecord, quote, type RawRecord } from '../policy/raw-values.ts';
import { readJson } from './long-json.ts';
import type { EventType, RestartReason } from './observe.ts';
import { retryAfterMs } from './retry.ts';
import type { ApiResponse } from './transport.ts';

/** Annotation of the bookmark that ends the initial events of a streaming list. */
const INITIAL_EVENTS_END = 'k8s.io/initial-events-end';
const MAX_ERROR_BODY = 64 * 1024;
const MAX_MESSAGE = 300;

export type FailureReason = Exclude<
  RestartReason,
  | 'ended'
  | 'gone'
  | 'no-streaming-list'
  | 'no-selector'
  | 'version-went-back'
  | 'unreadable'
  | 'empty-list'
  | 'not-served'
>;

/** As RBAC calls it. */
export type Verb = 'list' | 'watch';

/** How one attempt ended. */
export type Outcome =
  | { readonly kind: 'listed' }
  | { readonly kind: 'ended' }
  | { readonly kind: 'gone'; readonly text: string }
  | { readonly kind: 'no-streaming'; readonly text: string }
  /** The server does not know a field selector that would save work. */
  | { readonly kind: 'no-selector' }
  /** The server's store is not the one we listed: everything is listed again. */
  | { readonly kind: 'went-back'; readonly text: string }
  /** Something was said that could not be read: only a list can tell what. */
  | { readonly kind: 'unreadable' }
  /** A list named nothing although objects are known: asked again. */
  | { readonly kind: 'empty-list' }
  | { readonly kind: 'forbidden'; readonly verb: Verb; readonly said: string }
  /** An optional kind's resource that the server does not have. */
  | { readonly kind: 'absent'; readonly text: string }
  | {
      readonly kind: 'failed';
      readonly reason: FailureReason;
      readonly text: string;
      readonly retryAfterMs?: number;
    };

export interface Page {
  readonly version: string;
  readonly next: string | undefined;
}

export function readEnvelope(bytes: Buffer): Page | undefined {
  const envelope = parseJson(bytes);
  if (!isRecord(envelope) || !isRecord(envelope.metadata)) return undefined;
  const version = versionOf(envelope);
  const next = envelope.metadata.continue;
  return version === undefined
    ? undefined
    : { version, next: typeof next === 'string' && next !== '' ? next : undefined };
}

const EVENT_TYPES = new Set<unknown>(['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK', 'ERROR'] satisfies EventType[]);

/** Event, object, and its metadata, spec and status: what is long inside of these stays bytes. */
const EVENT_DEPTH = 3;

export function readEvent(line: Buffer): { readonly type: EventType; readonly object: RawRecord } | undefined {
  const event = readJson(line, EVENT_DEPTH);
  if (!isRecord(event) || !EVENT_TYPES.has(event.type) || !isRecord(event.object)) return undefined;
  return { type: event.type as EventType, object: event.object };
}

/** As `readEvent` reads the object of an event; undefined if the bytes are not JSON. */
export function readItem(item: Buffer): unknown {
  return readJson(item, EVENT_DEPTH - 1);
}

/** An ERROR event carries a Status object. */
export function errorEvent(status: RawRecord): Outcome {
  const { code, reason, message } = status;
  const said = typeof message === 'string' ? oneLine(message) : quote(reason);
  const text = `watch: the API server sent an error: ${typeof code === 'number' ? `${code} ` : ''}${said}`;
  if (code === 410 || reason === 'Expired' || reason === 'Gone') return { kind: 'gone', text };
  const seconds = isRecord(status.details) ? status.details.retryAfterSeconds : undefined;
  const waitMs = typeof seconds === 'number' ? retryAfterMs(`${Math.floor(seconds)}`, 0) : undefined;
  return { kind: 'failed', reason: 'error-event', text, ...(waitMs === undefined ? {} : { retryAfterMs: waitMs }) };
}

export function wrongContent(response: ApiResponse): Outcome | undefined {
  const type = header(response, 'content-type');
  if (type === undefined || type.includes('json')) return undefined;
  return failed('wrong-content', `the answer is ${type} instead of JSON: is this a Kubernetes API server, or a proxy?`);
}

export function failed(reason: FailureReason, text: string): Outcome {
  return { kind: 'failed', reason, text };
}

/** The body, or the first `limit` bytes of it and a little more. */
export async function readBounded(response: ApiResponse, limit: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response.body) {
    parts.push(chunk);
    bytes += chunk.length;
    if (bytes >= limit) break;
  }
  return Buffer.concat(parts);
}

/** `said`: the message of a Status body, or the beginning of whatever came instead. `reason`: only of a Status. */
export async function readStatus(response: ApiResponse): Promise<{ readonly said: string; readonly reason?: string }> {
  // A body that breaks off: the status says enough.
  const body = await readBounded(response, MAX_ERROR_BODY).catch(() => Buffer.alloc(0));
  const status = parseJson(body);
  if (!isRecord(status)) return { said: oneLine(body.toString('utf8')) };
  const said = oneLine(typeof status.message === 'string' ? status.message : body.toString('utf8'));
  return status.kind === 'Status' && typeof status.reason === 'string' ? { said, reason: status.reason } : { said };
}

/** Others' text in a log line or in status: bounded, without control characters. */
function oneLine(text: string): string {
  const line = text
    .slice(0, 2 * MAX_MESSAGE)
    .replace(/[\s\p{Cc}]+/gu, ' ')
    .trim();
  return line.length > MAX_MESSAGE ? `${line.slice(0, MAX_MESSAGE)}…` : line;
}

export function header(response: ApiResponse, name: string): string | undefined {
  const value = response.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

export function versionOf(object: RawRecord): string | undefined {
  const version = isRecord(object.metadata) ? object.metadata.resourceVersion : undefined;
  return typeof version === 'string' && version !== '' ? version : undefined;
}

export function endsInitialEvents(bookmark: RawRecord): boolean {
  const annotations = isRecord(bookmark.metadata) ? bookmark.metadata.annotations : undefined;
  return isRecord(annotations) && annotations[INITIAL_EVENTS_END] === 'true';
}

export function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}
