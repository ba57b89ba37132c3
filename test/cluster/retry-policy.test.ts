import assert from 'node:assert/strict';
import { API_KINDS, type Resource } from '../../src/cluster/kinds.ts';
import type { Outcome } from '../../src/cluster/read-answer.ts';
import {
  type AttemptEnd,
  type Decision,
  FIRST_STATE,
  NO_STREAMING_MS,
  type Refusal,
  type RetryState,
  decide,
  judgeRefusal,
  timesDoubted,
} from '../../src/cluster/retry-policy.ts';

const NOW = 10_000_000;
const OPTIONAL: Resource = { ...API_KINDS.pods, optional: true };

const failed = (
  reason: 'network' | 'silence' | 'unauthorized' | 'throttled' | 'http-status' | 'error-event',
  retryAfterMs?: number,
): Outcome => ({
  kind: 'failed',
  reason,
  text: `it ${reason}`,
  ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
});

/** An attempt of which nothing is known but its outcome: a request that was answered. */
const ended = (outcome: Outcome, more: Partial<AttemptEnd> = {}): AttemptEnd => ({
  outcome,
  nowMs: NOW,
  phase: 'opening',
  askedMs: 0,
  isReached: true,
  isStreamListed: false,
  heard: false,
  heardChange: false,
  lost: false,
  emptyLists: 0,
  isUnreadable: false,
  sinceListMs: 0,
  outageMs: 0,
  objects: 1_000,
  presence: 'listed',
  resource: API_KINDS.pods,
  random: 0.5,
  ...more,
});
/** A watch that was open for `seconds` and said something. */
const watched = (seconds: number, more: Partial<AttemptEnd> = {}): Partial<AttemptEnd> => ({
  phase: 'watching',
  openMs: seconds * 1000,
  askedMs: 300_000,
  heard: true,
  heardChange: true,
  ...more,
});

interface Row {
  readonly before?: Partial<RetryState>;
  readonly outcome: Outcome;
  readonly attempt?: Partial<AttemptEnd>;
  /** `list` or `resume`, the wait in ms, the reason that is counted, how it is logged, what else. */
  readonly next: string;
  /** What is different in the state. */
  readonly state?: Partial<RetryState>;
}

const ROWS: Readonly<Record<string, Row>> = {
  'a list in pages is complete: watch from it': { outcome: { kind: 'listed' }, next: 'resume 0' },
  'a watch ends when it was asked to': { outcome: { kind: 'ended' }, attempt: watched(300), next: 'resume 0 ended' },
  'a watch ends, and the last list is an hour old: a look': {
    outcome: { kind: 'ended' },
    attempt: watched(300, { sinceListMs: 3_600_000 }),
    next: 'list 0 ended',
  },
  'a watch ends at once and said nothing': {
    outcome: { kind: 'ended' },
    attempt: watched(1, { heard: false, heardChange: false }),
    next: 'resume 1200 ended',
    state: { shortWatches: 1 },
  },
  'the same again: what ends it may swallow changes': {
    before: { shortWatches: 1 },
    outcome: { kind: 'ended' },
    attempt: watched(1, { heard: false, heardChange: false }),
    next: 'list 2000 ended',
    state: { shortWatches: 2 },
  },
  '410': { outcome: { kind: 'gone', text: 'too old' }, next: 'list 1200 gone warn', state: { gone: 1 } },
  '410 for the third time': {
    before: { gone: 2 },
    outcome: { kind: 'gone', text: 'too old' },
    next: 'list 3600 gone warn',
    state: { gone: 3 },
  },
  'a store that went back': {
    outcome: { kind: 'went-back', text: 'older' },
    attempt: watched(60),
    next: 'list 1200 version-went-back warn tell-went-back',
    state: { gone: 1 },
  },
  'no streaming lists: pages at once, for ten minutes': {
    outcome: { kind: 'no-streaming', text: '422' },
    next: 'list 0 no-streaming-list warn',
    state: { streamingFromMs: NOW + NO_STREAMING_MS },
  },
  'a streaming list that breaks': {
    outcome: failed('network'),
    attempt: { phase: 'listing' },
    next: 'resume 1200 network warn',
    state: { streamFailures: 1, failures: 1 },
  },
  'two streaming lists that break: pages': {
    before: { streamFailures: 1 },
    outcome: failed('silence'),
    attempt: { phase: 'listing' },
    next: 'resume 1200 silence warn',
    state: { streamFailures: 2, failures: 1, streamingFromMs: NOW + NO_STREAMING_MS },
  },
  'a selector that the server does not know: the next one': {
    before: { refusedSavings: 1 },
    outcome: { kind: 'no-selector' },
    next: 'list 0 no-selector',
    state: { refusedSavings: 2, refusedUntilMs: NOW + 3_600_000 },
  },
  'an unreadable line': {
    outcome: { kind: 'unreadable' },
    attempt: watched(2, { lost: true }),
    next: 'list 0 unreadable',
    state: { unreadable: 1 },
  },
  'a clean watch ends a series of unreadable ones': {
    before: { unreadable: 3 },
    outcome: { kind: 'ended' },
    attempt: watched(60),
    next: 'resume 0 ended',
    state: { unreadable: 0 },
  },
  'a watch that broke after an unreadable line': {
    outcome: failed('network'),
    attempt: watched(2, { lost: true }),
    next: 'list 1200 network warn',
    state: { failures: 1 },
  },
  'a list in pages of which a part was unreadable: the watch first': {
    outcome: { kind: 'listed' },
    attempt: { phase: 'paging', lost: true },
    next: 'resume 0',
    state: { isLineLost: true },
  },
  'an empty list that is not believed': {
    outcome: { kind: 'empty-list' },
    attempt: watched(2),
    next: 'list 0 empty-list',
  },
  '401: other credentials at once': {
    outcome: failed('unauthorized'),
    next: 'resume 0 unauthorized warn refresh-credentials',
    state: { unauthorized: 1 },
  },
  '401 with them as well': {
    before: { unauthorized: 1 },
    outcome: failed('unauthorized'),
    next: 'resume 1200 unauthorized warn refresh-credentials',
    state: { unauthorized: 2, failures: 1 },
  },
  '403 of a server that has just started': {
    outcome: { kind: 'forbidden', verb: 'list', said: 'no' },
    next: 'resume 1400 forbidden debug',
    state: { forbiddenSinceMs: NOW },
  },
  '403 that lasts': {
    before: { forbiddenSinceMs: NOW - 3_000 },
    outcome: { kind: 'forbidden', verb: 'list', said: 'no' },
    next: 'resume 1200 forbidden warn',
    state: { failures: 1 },
  },
  'anything else ends a series of 403': {
    before: { forbiddenSinceMs: NOW - 3_000 },
    outcome: failed('http-status'),
    next: 'resume 1200 http-status warn',
    state: { forbiddenSinceMs: undefined, failures: 1 },
  },
  'nobody there: soon again, however long': {
    before: { failures: 4 },
    outcome: failed('network'),
    attempt: { isReached: false },
    next: 'resume 1400 network warn',
  },
  'nobody there for a minute: a backup may have been restored': {
    outcome: failed('network'),
    attempt: { isReached: false, outageMs: 60_000 },
    next: 'list 1400 network warn',
  },
  'a healthy watch that breaks': {
    before: { failures: 4, gone: 4 },
    outcome: failed('network'),
    attempt: watched(10),
    next: 'resume 1200 network warn',
    state: { failures: 1, gone: 0 },
  },
  silence: {
    outcome: failed('silence'),
    attempt: { isReached: false },
    next: 'resume 1200 silence warn',
    state: { failures: 1 },
  },
  '429 with Retry-After, spread': {
    outcome: failed('throttled', 8_000),
    next: 'resume 9000 throttled warn',
    state: { failures: 1 },
  },
  '429 whose Retry-After is less than ours': {
    before: { failures: 3 },
    outcome: failed('throttled', 1_000),
    next: 'resume 6800 throttled warn',
    state: { failures: 4 },
  },
  '500 for the fifth time: the version is suspected (504 ResourceVersionTooLarge, of a restored store)': {
    before: { failures: 4 },
    outcome: failed('http-status'),
    next: 'list 13200 http-status warn',
    state: { failures: 5 },
  },
  'an ERROR event for the fifth time': {
    before: { failures: 4 },
    outcome: failed('error-event'),
    next: 'list 13200 error-event warn',
    state: { failures: 5 },
  },
  'an optional kind that the server does not have': {
    outcome: { kind: 'absent', text: 'not here' },
    attempt: { presence: 'unknown' },
    next: 'list 45000 not-served info forget-objects',
  },
  'still not': {
    before: { failures: 3 },
    outcome: { kind: 'absent', text: 'not here' },
    attempt: { presence: 'absent' },
    next: 'list 45000',
    state: { failures: 0 },
  },
  'not any more: asked again': {
    outcome: { kind: 'absent', text: 'not here' },
    next: 'list 1200 not-served warn',
    state: { absences: 1 },
  },
  'not any more, for the third time': {
    before: { absences: 2 },
    outcome: { kind: 'absent', text: 'not here' },
    next: 'list 45000 not-served warn forget-objects',
    state: { absences: 0 },
  },
  'another failure in between: asked three times anew': {
    before: { absences: 2 },
    outcome: failed('http-status'),
    next: 'resume 1200 http-status warn',
    state: { absences: 0, failures: 1 },
  },
};

function textOf({ relist, waitMs, restart, action }: Decision): string {
  const log = restart?.text === undefined ? undefined : (restart.level ?? 'warn');
  return [relist ? 'list' : 'resume', waitMs, restart?.reason, log, action]
    .filter((part) => part !== undefined)
    .join(' ');
}

describe('retry policy', () => {
  for (const [title, row] of Object.entries(ROWS))
    it(title, () => {
      const before = { ...FIRST_STATE, ...row.before };
      const decision = decide(before, ended(row.outcome, row.attempt));
      assert.equal(textOf(decision), row.next);
      assert.deepEqual(decision.state, { ...before, ...row.state });
    });

  const refused = (status: number, more: Partial<Refusal> = {}, resource: Resource = API_KINDS.pods): string => {
    const refusal = {
      status,
      verb: 'watch',
      said: 'why',
      isResumed: false,
      hasSaving: false,
      isUnserved: false,
    } as const;
    const outcome = judgeRefusal(resource, { ...refusal, ...more });
    return outcome.kind === 'failed' ? outcome.reason : outcome.kind;
  };

  it('reads a refusal', () => {
    assert.equal(refused(410), 'gone');
    for (const status of [400, 405, 406, 415, 422, 501]) {
      assert.equal(refused(status), 'no-streaming', `${status}`);
      assert.equal(refused(status, { isResumed: true }), 'gone', `${status}`);
      assert.equal(refused(status, { verb: 'list' }), 'http-status', `${status}`);
    }
    const said = 'field label not supported: spec.hostNetwork';
    assert.equal(refused(400, { said, hasSaving: true }), 'no-selector');
    assert.equal(refused(400, { said }), 'no-streaming');
    assert.deepEqual(
      [401, 403, 404, 429, 500, 504].map((status) => refused(status)),
      ['unauthorized', 'forbidden', 'http-status', 'throttled', 'http-status', 'http-status'],
    );
  });

  it('takes a 404 for absence only of an optional kind, and only if the server said so', () => {
    assert.equal(refused(404, { isUnserved: true }, OPTIONAL), 'absent');
    assert.equal(refused(404, {}, OPTIONAL), 'http-status');
    assert.equal(refused(404, { isUnserved: true }), 'http-status');
    assert.equal(refused(503, { isUnserved: true }, OPTIONAL), 'http-status');
  });

  it('believes an empty list the third time, one that makes no sense never', () => {
    const times = (judgement: 'fact' | 'ask-again' | 'not-believed', named = 0, known = 5): number[] =>
      [0, 1, 2, 9].map((before) => timesDoubted(before, { named, known, judge: () => judgement }));
    assert.deepEqual(times('fact'), [0, 0, 0, 0]);
    assert.deepEqual(times('ask-again'), [1, 2, 0, 0]);
    assert.deepEqual(times('not-believed'), [1, 2, 3, 10]);
    assert.deepEqual(times('not-believed', 1), [0, 0, 0, 0], 'it names something');
    assert.deepEqual(times('not-believed', 0, 0), [0, 0, 0, 0], 'nothing is known');
  });
});
