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
 * One arrow is one attempt (attempt.ts). What follows it, and when, retry-policy.ts decides; here it is carried out. A resource that the
 * server does not have is looked for again and again if the kind is optional. The reflector never gives up and ends only by its signal;
 * nothing is opened or reported after that.
 */
import { Attempt, type AttemptOptions, type AttemptResult, type AttemptStart } from './attempt.ts';
import { reconnectMs } from './retry.ts';
import { type Decision, FIRST_STATE, type Presence, type RetryState, decide } from './retry-policy.ts';

interface ReflectorOptions extends AttemptOptions {
  /** As in the query: `metadata.name=node-1`. */
  readonly fieldSelector?: string;
  /** Instead of it, selectors that only save work, best first: one that the server does not know gives way to the next, then to none. */
  readonly savings?: readonly string[];
  /** Called when it is known what the server has: after each complete list, and when it turned out not to have the kind. */
  readonly onListed: () => void;
  /** Called when the server turned out to have an older store than ours. */
  readonly onWentBack?: () => void;
  /** Called when the server answers again after it could not be reached. */
  readonly onReached?: () => void;
  /** Called when it could not be reached. */
  readonly onUnreachable?: () => void;
}

export class Reflector {
  readonly #options: ReflectorOptions;
  #state: RetryState = FIRST_STATE;
  /** Where to resume; undefined: list first. */
  #version: string | undefined;
  #attempt: Attempt | undefined;
  /** now() of the last complete list. */
  #listedAtMs = 0;
  /** now() since when no watch is open; undefined while one is, and while there is nothing to watch. */
  #closedAtMs: number | undefined;
  /** The last attempt got no answer at all. */
  #unreachable = false;
  #wake: (() => void) | undefined;
  /** Begins the wait under way again. */
  #postpone: (() => void) | undefined;
  #presence: Presence = 'unknown';
  #connected = false;
  #lastHeardMs = 0;
  #restarts = 0;
  #problem: string | undefined;

  constructor(options: ReflectorOptions) {
    this.#options = options;
  }

  get presence(): Presence {
    return this.#presence;
  }

  get listed(): boolean {
    return this.#presence === 'listed';
  }

  /** A watch is open, and nothing says that it is dead. */
  get connected(): boolean {
    return this.#connected;
  }

  /** How long no watch is open; 0 while one is, before the start, and while the server does not have the kind. */
  get staleMs(): number {
    return this.#closedAtMs === undefined ? 0 : this.#options.clock.now() - this.#closedAtMs;
  }

  /** Wall clock, ms; 0 if never. */
  get lastHeardMs(): number {
    return this.#lastHeardMs;
  }

  /** The last list named nothing although objects are known, and is not believed. */
  get doubtsEmpty(): boolean {
    return (this.#attempt ?? this.#state).emptyLists > 0;
  }

  /** The last resource version told; undefined before the first, and while everything is listed anew. */
  get version(): string | undefined {
    return this.#attempt ? this.#attempt.version : this.#version;
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
      const attempt = this.#newAttempt();
      this.#attempt = attempt;
      const result = await attempt.run(signal);
      this.#attempt = undefined;
      this.#close(result);
      if (signal.aborted) return;
      if (this.#unreachable) this.#options.onUnreachable?.();
      const delayMs = this.#carryOut(this.#decide(result), result);
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
    this.#attempt?.doubt();
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

  #newAttempt(): Attempt {
    const { clock } = this.#options;
    return new Attempt(this.#options, this.#nextStart(), {
      onReached: () => this.#reached(),
      onHeard: () => {
        this.#lastHeardMs = clock.wallTime();
      },
      onListed: (changes, problem) => this.#listed(changes, problem),
      onWatching: (problem) => {
        this.#connected = true;
        this.#closedAtMs = undefined;
        this.#problem = problem;
      },
    });
  }

  #nextStart(): AttemptStart {
    const { clock, savings = [] } = this.#options;
    const nowMs = clock.now();
    // Only with a list: what a watch with another selector leaves out was never told.
    if (this.#version === undefined && nowMs >= this.#state.refusedUntilMs)
      this.#state = { ...this.#state, refusedSavings: 0 };
    const saving = savings[this.#state.refusedSavings];
    const fieldSelector = saving ?? this.#options.fieldSelector;
    return {
      ...(this.#version === undefined ? {} : { version: this.#version }),
      state: this.#state,
      ...(fieldSelector === undefined ? {} : { fieldSelector }),
      hasSaving: saving !== undefined,
    };
  }

  #reached(): void {
    if (!this.#unreachable) return;
    this.#unreachable = false;
    this.#options.onReached?.();
  }

  #listed(changes: number, problem: string | undefined): void {
    const { observer, resource, clock, onListed } = this.#options;
    if (this.listed && changes > 0) observer.onMissedFoundByRelist(resource.kind, changes);
    this.#presence = 'listed';
    this.#listedAtMs = clock.now();
    this.#problem = problem;
    onListed();
  }

  #close({ outcome, isReached, version }: AttemptResult): void {
    if (this.#connected || this.#closedAtMs === undefined) this.#closedAtMs = this.#options.clock.now();
    this.#connected = false;
    this.#version = version;
    this.#unreachable = !isReached && outcome.kind === 'failed' && outcome.reason === 'network';
  }

  #decide(result: AttemptResult): Decision {
    const { clock, objects, random, resource } = this.#options;
    const nowMs = clock.now();
    return decide(this.#state, {
      ...result,
      nowMs,
      sinceListMs: nowMs - this.#listedAtMs,
      outageMs: nowMs - (this.#closedAtMs ?? nowMs),
      objects: objects?.() ?? 0,
      presence: this.#presence,
      resource,
      random: random(),
    });
  }

  /** Result: ms to wait before the next attempt. */
  #carryOut({ state, relist, restart, action, waitMs }: Decision, { outcome }: AttemptResult): number {
    const { transport, onWentBack } = this.#options;
    this.#state = state;
    if (relist) this.#version = undefined;
    if (restart) this.#restarted(restart);
    switch (action) {
      case 'refresh-credentials':
        transport.refreshCredentials();
        break;
      case 'tell-went-back':
        onWentBack?.();
        break;
      case 'forget-objects':
        this.#forget();
        break;
      case undefined:
    }
    if (this.#presence === 'absent' && outcome.kind === 'absent') {
      this.#closedAtMs = undefined;
      this.#problem = undefined;
    }
    return waitMs;
  }

  /** The server does not have the kind: a list of nothing, and a true one. */
  #forget(): void {
    const { sink, clock, onListed } = this.#options;
    sink.beginList();
    sink.endList(clock.now(), true);
    this.#presence = 'absent';
    onListed();
  }

  #restarted({ reason, text, level = 'warn' }: NonNullable<Decision['restart']>): void {
    const { observer, log, resource } = this.#options;
    this.#restarts++;
    observer.onRestart(resource.kind, reason);
    const fields = { kind: resource.kind, reason };
    // A long outage repeats itself every few seconds; once is enough for the log.
    const isNews = text !== undefined && text !== this.#problem;
    log[isNews ? level : 'debug'](fields, text ?? 'watch ended by the server');
    if (text !== undefined) this.#problem = text;
  }
}
