/**
 * What follows an attempt of the reflector (a list, or a watch): pure. The reflector carries it out.
 *
 *   how the attempt ended, what came before it  ->  list or resume, after how long, what is counted and said
 *
 * Lengths of waits: retry.ts. When a watch that seems healthy is doubted: relist.ts.
 */
import type { EmptyList, Resource } from './kinds.ts';
import type { RestartReason } from './observe.ts';
import { type FailureReason, failed, type Outcome, type Verb } from './read-answer.ts';
import { absentMs, backoffMs, reconnectMs } from './retry.ts';
import { EMPTY_LISTS, isRelistDue } from './relist.ts';

/** A watch that lived this long was a good one. */
const HEALTHY_MS = 5_000;
/** A watch that lived this long and could be read ends a series of unreadable ones. */
const CLEAN_MS = 30_000;
/** A server that has just started refuses for a second or two, until it has read its roles. */
const FORBIDDEN_GRACE_MS = 3_000;
const MAX_STREAM_FAILURES = 2;
/** Server errors in a row after which the resource version itself is suspected. */
const MAX_REFUSED_VERSION = 5;
/** A server that had no streaming lists may be updated, and one of several may have been the old one. */
export const NO_STREAMING_MS = 600_000;
/** A server that did not know a field selector may be updated. */
const NO_SELECTOR_MS = 3_600_000;
/** Answers in a row after which a kind that was listed is taken for not served: one replica of several may know it later. */
const ABSENT_ANSWERS = 3;
/** What servers answer to a streaming list they do not know or have switched off. */
const NO_STREAMING_STATUS = new Set([400, 405, 406, 415, 422, 501]);

/** Whether the server has the kind, as far as it ever said. */
export type Presence = 'unknown' | 'listed' | 'absent';

/** Attempts before the last one. */
export interface RetryState {
  /** Failures in a row of a server that answered. */
  readonly failures: number;
  /** Lists in a row because our version was no good any more. */
  readonly gone: number;
  /** 401 in a row. */
  readonly unauthorized: number;
  /** now() of the first 403 in a row. */
  readonly forbiddenSinceMs: number | undefined;
  /** Watches in a row that ended at once and said nothing. */
  readonly shortWatches: number;
  /** Lists in a row that were made because a line could not be read. */
  readonly unreadable: number;
  /** Lists in a row that named nothing and were not believed. */
  readonly emptyLists: number;
  /** Of the last list in pages, a part could not be read. */
  readonly isListUnreadable: boolean;
  /** Something could not be read, and no list was made since. */
  readonly isLineLost: boolean;
  /** Streaming lists in a row that broke before their end. */
  readonly streamFailures: number;
  /** now() before which no streaming list is tried. */
  readonly streamingFromMs: number;
  /** Of the selectors that only save work, those that the server does not know, and until when (now()). */
  readonly refusedSavings: number;
  readonly refusedUntilMs: number;
  /** Answers in a row that the resource of a listed kind is not served. */
  readonly absences: number;
}

export const FIRST_STATE: RetryState = {
  failures: 0,
  gone: 0,
  unauthorized: 0,
  forbiddenSinceMs: undefined,
  shortWatches: 0,
  unreadable: 0,
  emptyLists: 0,
  isListUnreadable: false,
  isLineLost: false,
  streamFailures: 0,
  streamingFromMs: Number.NEGATIVE_INFINITY,
  refusedSavings: 0,
  refusedUntilMs: 0,
  absences: 0,
};

/** What an attempt saw. */
export interface AttemptFacts {
  /** `listing`: in the middle of a streaming list. */
  readonly phase: 'opening' | 'listing' | 'paging' | 'watching';
  /** How long the watch was open; absent: none was. */
  readonly openMs?: number;
  /** The server was asked to end the watch after this long. */
  readonly askedMs: number;
  /** The server answered, whatever it said. */
  readonly isReached: boolean;
  /** A streaming list came to its end. */
  readonly isStreamListed: boolean;
  /** A good event or bookmark came. */
  readonly heard: boolean;
  /** One came after the initial list. */
  readonly heardChange: boolean;
  /** Something could not be read that may have been about an object we hold. */
  readonly lost: boolean;
  /** Lists in a row that named nothing and were not believed. */
  readonly emptyLists: number;
  /** Of a list in pages that came to its end, a part could not be read. */
  readonly isUnreadable: boolean;
}

/** The last attempt, and the moment of its end. */
export interface AttemptEnd extends AttemptFacts {
  readonly outcome: Outcome;
  readonly nowMs: number;
  readonly sinceListMs: number;
  /** How long no watch is open. */
  readonly outageMs: number;
  /** How many objects we hold. */
  readonly objects: number;
  readonly presence: Presence;
  readonly resource: Resource;
  /** In [0, 1). */
  readonly random: number;
}

export interface Decision {
  readonly state: RetryState;
  /** The next request is a list, not a watch that resumes. */
  readonly relist: boolean;
  readonly waitMs: number;
  /** To be counted. `text`: to be logged, as a warning unless `level` says otherwise. */
  readonly restart?: {
    readonly reason: RestartReason;
    readonly text?: string;
    readonly level?: 'debug' | 'info' | 'warn';
  };
  readonly action?: 'refresh-credentials' | 'tell-went-back' | 'forget-objects';
}

export function decide(before: RetryState, attempt: AttemptEnd): Decision {
  const { outcome, random, nowMs } = attempt;
  const state = takeIn(before, attempt);
  // We do not know what the line said; only a list can tell.
  const mustList = state.isLineLost && outcome.kind !== 'listed';
  const next = { state: mustList ? { ...state, isLineLost: false } : state, relist: true, waitMs: 0 };
  const resume = { ...next, relist: mustList || isLookAt(state, attempt) };
  const list = (reason: RestartReason, change: Partial<RetryState> = {}, waitMs = 0): Decision => {
    const text = 'text' in outcome ? { text: outcome.text } : {};
    return { ...next, state: { ...next.state, ...change }, waitMs, restart: { reason, ...text } };
  };
  const gone = state.gone + 1;
  switch (outcome.kind) {
    case 'listed':
      return { ...next, relist: false, state: { ...next.state, failures: 0 } };
    case 'ended': {
      const waitMs = isHealthy(attempt) ? 0 : backoffMs(Math.max(1, state.shortWatches), random);
      return { ...resume, waitMs, restart: { reason: 'ended' } };
    }
    case 'gone':
      return list('gone', { gone }, backoffMs(gone, random));
    case 'went-back':
      return { ...list('version-went-back', { gone }, backoffMs(gone, random)), action: 'tell-went-back' };
    case 'no-streaming':
      return list('no-streaming-list', { streamingFromMs: nowMs + NO_STREAMING_MS });
    case 'no-selector':
      return list('no-selector', {
        refusedSavings: state.refusedSavings + 1,
        refusedUntilMs: nowMs + NO_SELECTOR_MS,
      });
    case 'empty-list':
      return list('empty-list');
    case 'unreadable':
      return list('unreadable', { unreadable: state.unreadable + 1 });
    case 'absent':
      return absent(next, attempt, outcome.text);
    case 'forbidden':
      return forbidden(resume, attempt, outcome);
    case 'failed':
      return failure(resume, attempt, outcome.reason, outcome.text, outcome.retryAfterMs);
  }
}

/** What the attempt says about the ones before it, however it ended. */
function takeIn(before: RetryState, attempt: AttemptEnd): RetryState {
  const { outcome, openMs, heard, heardChange, lost, nowMs } = attempt;
  const isForbidden = outcome.kind === 'forbidden';
  const isUnauthorized = outcome.kind === 'failed' && outcome.reason === 'unauthorized';
  const isBroken = attempt.phase === 'listing' && outcome.kind === 'failed';
  const streamFailures = (attempt.isStreamListed ? 0 : before.streamFailures) + (isBroken ? 1 : 0);
  const state: RetryState = {
    ...before,
    failures: heard || isHealthy(attempt) ? 0 : before.failures,
    gone: heardChange || isHealthy(attempt) ? 0 : before.gone,
    unauthorized: isUnauthorized ? before.unauthorized : 0,
    forbiddenSinceMs: isForbidden ? (before.forbiddenSinceMs ?? nowMs) : undefined,
    absences: outcome.kind === 'absent' ? before.absences : 0,
    streamFailures,
    emptyLists: attempt.emptyLists,
    isListUnreadable: attempt.isUnreadable,
    isLineLost: before.isLineLost || lost,
    ...(openMs === undefined ? {} : { shortWatches: heardChange || isHealthy(attempt) ? 0 : before.shortWatches + 1 }),
    ...(openMs !== undefined && openMs >= CLEAN_MS && !lost ? { unreadable: 0 } : {}),
  };
  const givesUp = isBroken && streamFailures >= MAX_STREAM_FAILURES;
  return givesUp ? { ...state, streamingFromMs: nowMs + NO_STREAMING_MS } : state;
}

function isHealthy({ openMs = 0 }: AttemptEnd): boolean {
  return openMs >= HEALTHY_MS;
}

/** A watch that would resume is doubted now and then: the next request is a list. */
function isLookAt({ shortWatches }: RetryState, attempt: AttemptEnd): boolean {
  const { openMs, askedMs, sinceListMs, objects, outageMs } = attempt;
  return isRelistDue({
    // Where no watch was opened, only the length of the outage counts.
    sinceListMs: openMs === undefined ? 0 : sinceListMs,
    objects,
    // Servers end a watch on the second.
    end: askedMs > 0 && (openMs ?? 0) >= askedMs - 2_000 ? 'asked' : 'early',
    outageMs,
    shortWatches,
  });
}

type Next = Pick<Decision, 'state' | 'relist' | 'waitMs'>;

/** The resource is not served. Of a kind that was listed, one answer is not believed. */
function absent(next: Next, { presence, random, objects }: AttemptEnd, text: string): Decision {
  const absences = next.state.absences + 1;
  if (presence === 'listed' && absences < ABSENT_ANSWERS)
    return {
      ...next,
      state: { ...next.state, absences },
      waitMs: backoffMs(absences, random),
      restart: { reason: 'not-served', text: `${text}: asked again before it is believed` },
    };
  const gone = {
    ...next,
    state: { ...next.state, absences: 0, emptyLists: 0, failures: 0, gone: 0 },
    waitMs: absentMs(random),
  };
  if (presence === 'absent') return gone;
  const lost = presence === 'listed' ? `; its ${objects} objects count no more` : '';
  return {
    ...gone,
    restart: {
      reason: 'not-served',
      text: `${text}${lost}; looked for again`,
      ...(presence === 'unknown' ? { level: 'info' as const } : {}),
    },
    action: 'forget-objects',
  };
}

/** What to repair is said when it lasts. */
function forbidden(
  next: Next,
  attempt: AttemptEnd,
  { verb, said }: { readonly verb: Verb; readonly said: string },
): Decision {
  const { nowMs, resource, random } = attempt;
  if (nowMs - (next.state.forbiddenSinceMs ?? nowMs) >= FORBIDDEN_GRACE_MS)
    return failure(next, attempt, 'forbidden', forbiddenText(resource, verb, said));
  const text = `${verb} ${resource.kind}: the API server answered 403, as it does for a moment after its start: asking again`;
  return { ...next, waitMs: reconnectMs(random), restart: { reason: 'forbidden', text, level: 'debug' } };
}

function failure(
  next: Next,
  { isReached, random }: AttemptEnd,
  reason: FailureReason,
  text: string,
  atLeastMs = 0,
): Decision {
  const restart = { reason, text };
  const unauthorized = next.state.unauthorized + (reason === 'unauthorized' ? 1 : 0);
  const state = { ...next.state, unauthorized };
  if (reason === 'unauthorized' && unauthorized === 1)
    return { ...next, state, waitMs: 0, restart, action: 'refresh-credentials' };
  // Nobody was bothered: this says nothing about how a server that answers should be treated.
  if (!isReached && reason === 'network') return { ...next, state, waitMs: reconnectMs(random), restart };
  const failures = state.failures + 1;
  // A server restored from a backup refuses our version as too new, and not with a 410.
  const isVersionSuspect = failures >= MAX_REFUSED_VERSION && (reason === 'http-status' || reason === 'error-event');
  return {
    state: { ...state, failures },
    relist: next.relist || isVersionSuspect,
    // Who is told to come back at the same second should not.
    waitMs: Math.max(backoffMs(failures, random), Math.round(atLeastMs * (1 + random / 4))),
    restart,
    ...(reason === 'unauthorized' ? { action: 'refresh-credentials' as const } : {}),
  };
}

function forbiddenText({ kind, apiGroup }: Resource, verb: Verb, said: string): string {
  return (
    `not allowed to ${verb} ${kind} (API group "${apiGroup}"): the agent's ClusterRole needs the rule ` +
    `{apiGroups: ["${apiGroup}"], resources: ["${kind}"], verbs: ["list", "watch"]}, bound to its service account` +
    `${said ? `; the API server said: ${said}` : ''}`
  );
}

/** An answer other than 200. */
export interface Refusal {
  readonly status: number;
  readonly verb: Verb;
  /** One line, for people. */
  readonly said: string;
  readonly retryAfterMs?: number;
  /** The request was a watch from a version. */
  readonly isResumed: boolean;
  /** The request had a field selector that only saves work. */
  readonly hasSaving: boolean;
  /** The server said that it does not have the resource, not only that nothing is there. */
  readonly isUnserved: boolean;
}

export function judgeRefusal(resource: Resource, refusal: Refusal): Outcome {
  const { status, verb, said, retryAfterMs } = refusal;
  const { kind, path } = resource;
  const text = `${verb} ${kind}: the API server answered ${status}${said ? `: ${said}` : ''}`;
  if (status === 410) return { kind: 'gone', text };
  if ((status === 400 || status === 422) && refusal.hasSaving && /field ?(label|selector)/i.test(said))
    return { kind: 'no-selector' };
  if (verb === 'watch' && NO_STREAMING_STATUS.has(status))
    // A watch refused like this dislikes our resource version: list.
    return { kind: refusal.isResumed ? 'gone' : 'no-streaming', text };
  if (status === 401)
    return failed('unauthorized', `${text}; the token or certificate is not accepted, reading it anew`);
  if (status === 403) return { kind: 'forbidden', verb, said };
  if (status === 404 && resource.optional && refusal.isUnserved)
    return { kind: 'absent', text: `${kind}: this API server does not serve ${path}` };
  if (status === 404) return failed('http-status', `${text}; this API server does not serve ${path}`);
  return {
    kind: 'failed',
    reason: status === 429 ? 'throttled' : 'http-status',
    text,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  };
}

/**
 * An empty answer that would take every rule away is no fact before it was heard again, and makes sense.
 * `times`: lists in a row that were not believed. Result: the same after this one; 0: it is believed.
 */
export function timesDoubted(
  times: number,
  list: { readonly named: number; readonly known: number; readonly judge: (known: number) => EmptyList },
): number {
  const judgement = list.named > 0 || list.known === 0 ? 'fact' : list.judge(list.known);
  if (judgement === 'fact' || (judgement === 'ask-again' && times >= EMPTY_LISTS - 1)) return 0;
  return times + 1;
}
