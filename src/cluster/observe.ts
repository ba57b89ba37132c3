import type { ObjectKind } from '../core/vocabulary.ts';

export const EVENT_TYPES = ['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK', 'ERROR'] as const;
export type EventType = (typeof EVENT_TYPES)[number];

/** Why a list or watch ended and another one was opened. */
export const RESTART_REASONS = [
  /** The server closed it in an orderly way (its own timeout, a restart). */
  'ended',
  /** 410: our resource version is too old; everything is listed again. */
  'gone',
  /** No answer to a request, or to a question beside a silent watch. */
  'silence',
  /** Refused, reset, name not found, TLS. */
  'network',
  /** An ERROR event other than 410. */
  'error-event',
  'unauthorized',
  'forbidden',
  'throttled',
  'http-status',
  /** Something answered that is no Kubernetes API. */
  'wrong-content',
  /** The server has no streaming lists; pages from here on. */
  'no-streaming-list',
  /** The server does not know a field selector that would save work; asked without. */
  'no-selector',
  /** The server's resource version is older than ours (a restored backup): everything is listed again. */
  'version-went-back',
  /** A line could not be read: everything is listed again. */
  'unreadable',
  /** A list named nothing although we hold objects: asked again before it is believed. */
  'empty-list',
  /** The server does not have the resource of an optional kind. */
  'not-served',
] as const;
export type RestartReason = (typeof RESTART_REASONS)[number];

/** What metrics want to know. Called synchronously; what it throws is caught. */
export interface ReflectorObserver {
  onEvent(kind: ObjectKind, type: EventType): void;
  onRestart(kind: ObjectKind, reason: RestartReason): void;
  /** A list is complete. `how`: as a stream of events, or in pages. */
  onListed(kind: ObjectKind, seconds: number, how: 'stream' | 'pages'): void;
  /** Bytes came. */
  onHeard(kind: ObjectKind): void;
  onMalformed(kind: ObjectKind): void;
  /** A list after the first one found changes that no watch had told. */
  onMissedFoundByRelist(kind: ObjectKind, count: number): void;
  /** A change or sync listener threw. */
  onListenerFailed(kind: ObjectKind): void;
}

/** A pino logger fits. */
export interface ClusterLog {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export const SILENT_LOG: ClusterLog = { debug: () => {}, info: () => {}, warn: () => {} };
