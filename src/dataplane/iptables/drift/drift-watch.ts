/**
 * Notices what others do to our rules and sets: at once where the kernel tells, else by short looks in turn. Decides when to look and
 * when to compare all (`resync`, which repairs); knows no process. What a look cannot read is no answer, and nothing follows from it.
 */
import { type Backend, FAMILIES, type Family } from '../../../core/vocabulary.ts';
import type { Hook } from '../rules/ruleset.ts';
import type { ObservedFamily, ObservedState, Step } from '../plan/plan.ts';
import type { NetfilterChange } from './read-events.ts';
import type { Looks } from './looks.ts';
import type { MonotonicClock } from '../../../core/clock.ts';

import { HOOKS } from '../rules/ruleset.ts';
import { isHookLine } from '../plan/hooks.ts';
import type { Drift, SyncOutcome } from '../../dataplane.ts';
import { findFamilyDrift, findHeaderDrift, findJumpDrift } from './find-drift.ts';
import { OwnCommits } from './own-commits.ts';

/** What the kernel should hold, between two syncs. */
export interface Standing {
  /** As our own writes left it. */
  readonly written: ObservedState;
  /** How many syncs there were. */
  readonly syncs: number;
}

export interface DriftWatchOptions {
  readonly looks: Pick<Looks, 'hook' | 'rules' | 'setHeaders'>;
  readonly clock: MonotonicClock;
  readonly backend: () => Backend;
  /** Undefined while a sync runs, and while nothing is enforced. */
  readonly standing: () => Standing | undefined;
  /** Asks for a sync that compares everything with the kernel, and repairs it. */
  readonly resync: (reason: string) => void;
  /** Whether others' commits are told of. */
  readonly isListening: (family: Family) => boolean;
  /** Whether all commits so far were told of, certainly: the hooks are looked at in vain then. */
  readonly isToldOfAll: (family: Family) => Promise<boolean>;
  /** A commit of ours was not told of. */
  readonly onDeaf: (family: Family) => void;
}

/** All looks take their turn within this. */
const CYCLE_MS = 4_000;
const FIRST_LOOK_MS = 1_000;
/** From an event to the look: what comes together is looked at once. */
const SOON_MS = 20;
/** Between looks that events ask for. */
const URGENT_GAP_MS = 200;
/** Until it is asked again whether a sync still runs. */
const BUSY_MS = 200;
/** Somebody who goes on and on costs one comparison a second. */
const RESYNC_GAP_MS = 1_000;
/** A finding that a comparison could not confirm is not brought up again so soon. */
const FRUITLESS_MS = 60_000;
/** A look at all rules takes about this long, and may take this share of the time. */
const MS_PER_RULE = 0.015;
const SHARE = 1 / 300;

type Look = { readonly kind: 'hook'; readonly family: Family; readonly hook: Hook } | WholeLook | { kind: 'sets' };
interface WholeLook {
  readonly kind: 'rules';
  readonly family: Family;
}

export class DriftWatch {
  readonly #options: DriftWatchOptions;
  readonly #own: OwnCommits;
  #queue: Look[] = [];
  readonly #urgent = new Set<Family>();
  #gapMs = CYCLE_MS;
  /** When the next in turn is looked at. */
  #dueMs: number;
  #wakeMs: number | undefined;
  #lastTurnMs = Number.NEGATIVE_INFINITY;
  #cancelLook = (): void => {};
  #cancelResync = (): void => {};
  #lastResyncMs = Number.NEGATIVE_INFINITY;
  #pending: string | undefined;
  readonly #lastWholeMs: Partial<Record<Family, number>> = {};
  readonly #seeds = new Map<string, string>();
  /** What the next comparison is asked for, by the look that found it. */
  readonly #suspicions = new Map<string, string>();
  /** What a comparison did not confirm; until when, or until that look finds nothing, it is not brought up again. */
  readonly #fruitless = new Map<string, { readonly text: string; readonly untilMs: number }>();
  #away: string | undefined;
  #isTellable = false;
  #isLooking = false;
  #stopped = false;

  constructor(options: DriftWatchOptions) {
    this.#options = options;
    this.#own = new OwnCommits(() => options.clock.now());
    this.#dueMs = options.clock.now() + FIRST_LOOK_MS;
    this.#schedule();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelLook();
    this.#cancelResync();
  }

  /** Where our jumps are missing or not first, until they are repaired. */
  get away(): string | undefined {
    return this.#away;
  }

  // ------------------------------------------------------------------------------------------------------ what is told

  /** Returns whether somebody else made it. */
  changed(change: NetfilterChange): boolean {
    if (this.#own.isOurs(change)) return false;
    const { family, touched, program } = change;
    if (touched === 'hooks') this.#lookAtOnce(family);
    else this.#resync(`drift: IPv${family} chains written by ${program}`);
    return true;
  }

  /** What others wrote may have been missed. */
  lost(family: Family): void {
    this.#own.forget(family);
    this.#lookAtOnce(family);
  }

  listening(family: Family): void {
    this.#lookAtOnce(family);
  }

  began(step: Step): void {
    const family = ruleFamilyOf(step);
    if (family !== undefined) {
      this.#isTellable = this.#options.isListening(family);
      this.#own.began(family);
    }
    // Sets that are made anew have another seed.
    else for (const { text, object } of step.lines) if (!/^(add|del) /.test(text)) this.#seeds.delete(object);
  }

  ended(step: Step, isDone: boolean): void {
    const family = ruleFamilyOf(step);
    if (family === undefined) return;
    this.#own.ended(family, isDone, this.#isTellable && this.#options.isListening(family));
  }

  synced(outcome: Pick<SyncOutcome, 'failures' | 'drift'>, resync: boolean): void {
    if (!resync) return;
    if (outcome.failures.length === 0) this.#away = undefined;
    const untilMs = this.#options.clock.now() + FRUITLESS_MS;
    if (outcome.drift.length === 0)
      for (const [look, text] of this.#suspicions) this.#fruitless.set(look, { text, untilMs });
    this.#suspicions.clear();
  }

  // -------------------------------------------------------------------------------------------------------------- looks

  #lookAtOnce(family: Family): void {
    this.#urgent.add(family);
    this.#schedule();
  }

  /** For the next in turn, or sooner for what events ask for. Called while a look is under way it does nothing: that calls again. */
  #schedule(): void {
    if (this.#stopped || this.#isLooking) return;
    const now = this.#options.clock.now();
    const urgentMs = Math.max(now + SOON_MS, this.#lastTurnMs + URGENT_GAP_MS);
    const wakeMs = this.#urgent.size > 0 ? Math.min(urgentMs, this.#dueMs) : this.#dueMs;
    // Events that keep coming must not keep putting it off.
    if (this.#wakeMs !== undefined && this.#wakeMs <= wakeMs) return;
    this.#cancelLook();
    this.#wakeMs = wakeMs;
    this.#cancelLook = this.#options.clock.after(Math.max(0, wakeMs - now), () => {
      this.#wakeMs = undefined;
      this.#lastTurnMs = this.#options.clock.now();
      this.#isLooking = true;
      void this.#turn().finally(() => {
        this.#isLooking = false;
        this.#schedule();
      });
    });
  }

  async #turn(): Promise<void> {
    for (const family of FAMILIES) if (this.#own.isMissed(family)) this.#options.onDeaf(family);
    const standing = this.#options.standing();
    const isDue = this.#options.clock.now() >= this.#dueMs;
    if (isDue) this.#dueMs = this.#options.clock.now() + BUSY_MS;
    if (!standing) return;
    const asked = this.#asked(standing.written);
    const looks = [...asked, ...(isDue ? await this.#inVainLeftOut(this.#nextInTurn(standing.written)) : [])];
    for (const look of looks) {
      const drift = await this.#look(look, standing.written);
      // Our own writes came in between: it was compared with what is no longer so.
      const isOutdated = this.#options.standing()?.syncs !== standing.syncs;
      if (isOutdated && look.kind !== 'sets') this.#urgent.add(look.family);
      if (isOutdated || this.#stopped) return;
      this.#found(nameOf(look), drift);
    }
  }

  /** What events asked for. */
  #asked(written: ObservedState): readonly Look[] {
    const looks = [...this.#urgent].flatMap((family) => this.#looksAt(written, family, HOOKS));
    this.#urgent.clear();
    return looks;
  }

  #nextInTurn(written: ObservedState): readonly Look[] {
    if (this.#queue.length === 0) {
      this.#queue = FAMILIES.flatMap((family) => {
        return this.#looksAt(written, family, this.#options.isListening(family) ? ['FORWARD'] : HOOKS);
      });
      if (written.sets.size > 0 || this.#queue.length > 0) this.#queue.splice(1, 0, { kind: 'sets' });
      this.#gapMs = CYCLE_MS / Math.max(1, this.#queue.length);
    }
    this.#dueMs = this.#options.clock.now() + this.#gapMs;
    return this.#queue.splice(0, 1);
  }

  async #inVainLeftOut(looks: readonly Look[]): Promise<readonly Look[]> {
    const needed: Look[] = [];
    for (const look of looks) {
      const isVain = look.kind === 'hook' && (await this.#options.isToldOfAll(look.family));
      if (!isVain) needed.push(look);
    }
    return needed;
  }

  #looksAt({ families }: ObservedState, family: Family, hooks: readonly Hook[]): readonly Look[] {
    const ours = families[family];
    if (!ours || !HOOKS.some((hook) => ours.hooks[hook].some(isHookLine))) return [];
    if (!this.#options.isListening(family) && this.#maySeeAll(ours, family)) return [{ kind: 'rules', family }];
    return hooks.map((hook) => ({ kind: 'hook', family, hook }));
  }

  #maySeeAll({ chains }: ObservedFamily, family: Family): boolean {
    let rules = 0;
    for (const lines of chains.values()) rules += lines.length;
    const now = this.#options.clock.now();
    const last = this.#lastWholeMs[family] ?? Number.NEGATIVE_INFINITY;
    if (now - last < (rules * MS_PER_RULE) / SHARE) return false;
    this.#lastWholeMs[family] = now;
    return true;
  }

  /** Undefined: could not be read. */
  async #look(look: Look, written: ObservedState): Promise<readonly Drift[] | undefined> {
    const { looks, backend } = this.#options;
    switch (look.kind) {
      case 'hook': {
        const found = await looks.hook(backend(), look.family, look.hook);
        return found && findJumpDrift(written.families[look.family]!, look.family, look.hook, found);
      }
      case 'rules': {
        const found = await looks.rules(backend(), look.family);
        return found && findFamilyDrift(written.families[look.family]!, found, look.family);
      }
      case 'sets': {
        const headers = await looks.setHeaders();
        return headers && findHeaderDrift(written.sets, headers, this.#seeds);
      }
    }
  }

  #found(look: string, drift: readonly Drift[] | undefined): void {
    // What that means is for a comparison of everything to say, with all it knows.
    if (!drift) return void this.#suspect(look, `${look} cannot be read`);
    const [first] = drift;
    if (!first) return void this.#fruitless.delete(look);
    const jump = drift.find(({ kind }) => kind === 'jump');
    const isNews = this.#suspect(look, `${first.object}: ${first.what}`);
    if (isNews && jump) this.#away = `${jump.object}, ${jump.what}`;
  }

  /** False if a comparison could not confirm the same a short time ago. */
  #suspect(look: string, text: string): boolean {
    const fruitless = this.#fruitless.get(look);
    if (fruitless?.text === text && this.#options.clock.now() < fruitless.untilMs) return false;
    this.#suspicions.set(look, text);
    this.#resync(`drift: ${text}`);
    return true;
  }

  /** At once, but not more often than once a second. */
  #resync(reason: string): void {
    const { clock, resync } = this.#options;
    if (this.#pending !== undefined) return;
    this.#pending = reason;
    const waitMs = Math.max(0, this.#lastResyncMs + RESYNC_GAP_MS - clock.now());
    this.#cancelResync = clock.after(waitMs, () => {
      this.#pending = undefined;
      this.#lastResyncMs = clock.now();
      resync(reason);
    });
  }
}

function nameOf(look: Look): string {
  switch (look.kind) {
    case 'hook':
      return `${look.hook} of IPv${look.family}`;
    case 'rules':
      return `table mangle of IPv${look.family}`;
    case 'sets':
      return 'the list of sets';
  }
}

/** Of rules in the variant that is written to. */
function ruleFamilyOf(step: Step): Family | undefined {
  return step.kind === 'rules' || step.kind === 'final-rules' ? step.family : undefined;
}
