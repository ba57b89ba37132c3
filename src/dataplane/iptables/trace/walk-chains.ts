/**
 * A first packet walked through the chains of a node as netfilter would walk it. Rules of others in built-in chains are told, not followed;
 * in a chain of ours a rule that cannot be read leaves the verdict unknown.
 */
import type { Family } from '../../../core/vocabulary.ts';
import type { FirstPacket } from '../../first-packet.ts';
import type { ObservedFamily, ObservedSet } from '../plan/plan.ts';
import type { MarkShown } from '../rules/parse-rule.ts';
import type { Match, Target } from '../rules/rule.ts';

import { isOurChain } from '../../chain-names.ts';
import { isOurSet } from '../rules/names.ts';
import { mentionedSets, parseRule } from '../rules/parse-rule.ts';
import { deniedBit, markOf } from '../../mark-bits.ts';
import { type Carried, holds } from './holds.ts';
import { isMember } from './set-member.ts';

/** A rule that matched. */
export interface WalkedRule {
  readonly chain: string;
  readonly line: string;
}

export interface Walk {
  readonly verdict: 'passes' | 'dropped' | { readonly unknown: string };
  /** Rules of ours that did something. */
  readonly path: readonly WalkedRule[];
  /** Rules of others on the way. */
  readonly others: readonly WalkedRule[];
}

type Sets = ReadonlyMap<string, ObservedSet>;

/** Yields names of sets whose members it needs next, and goes on with those that `sets` has by then. */
export function* walkChains(
  rules: Pick<ObservedFamily, 'chains' | 'hooks'>,
  sets: Sets,
  packet: FirstPacket,
): Generator<readonly string[], Walk, void> {
  return yield* new Walker(rules, sets, packet).run();
}

/** Far more rules than a packet can meet without a loop. */
const MAX_STEPS = 200_000;

interface Position {
  readonly chain: string;
  readonly lines: readonly string[];
  next: number;
}

interface ReadRule {
  readonly matches: readonly Match[];
  readonly target: Target | { readonly kind: 'accept' };
  readonly mark?: MarkShown;
}

class Walker {
  readonly #rules: Pick<ObservedFamily, 'chains'>;
  readonly #sets: Sets;
  readonly #packet: FirstPacket;
  readonly #path: WalkedRule[] = [];
  readonly #others: WalkedRule[] = [];
  readonly #carried: Carried = { mark: 0 };
  readonly #stack: Position[] = [];
  #at: Position;

  constructor(rules: Pick<ObservedFamily, 'chains' | 'hooks'>, sets: Sets, packet: FirstPacket) {
    this.#rules = rules;
    this.#sets = sets;
    this.#packet = packet;
    this.#at = { chain: packet.hook, lines: rules.hooks[packet.hook], next: 0 };
  }

  *run(): Generator<readonly string[], Walk, void> {
    let verdict: Walk['verdict'] | undefined;
    for (let steps = 0; verdict === undefined && steps < MAX_STEPS; steps++) verdict = yield* this.#step();
    return { verdict: verdict ?? { unknown: 'the rules have a loop' }, path: this.#path, others: this.#others };
  }

  *#step(): Generator<readonly string[], Walk['verdict'] | undefined, void> {
    const { chain } = this.#at;
    const line = this.#at.lines[this.#at.next++];
    if (line === undefined) return this.#back();
    const rule = readRule(line, this.#packet.family);
    if (!isOurChain(chain) && (!rule || meansOthers(rule))) {
      this.#others.push({ chain, line });
      return undefined;
    }
    if (!rule) return { unknown: `a rule that is none of ours: ${chain} ${line}` };
    const lost = yield* this.#fetch(rule);
    if (lost !== undefined) return { unknown: `set ${lost} is not there, which a rule asks about: ${chain} ${line}` };
    if (!this.#applies(rule)) return undefined;
    if (rule.target.kind !== 'none') this.#path.push({ chain, line });
    return this.#follow(rule, `${chain} ${line}`);
  }

  /** All sets that the chain asks about from here, if the rule needs one that is not known; returns the one that is not there. */
  *#fetch({ matches }: ReadRule): Generator<readonly string[], string | undefined, void> {
    const wanted = setsOf(matches);
    if (wanted.every((name) => this.#sets.has(name))) return undefined;
    const { lines, next } = this.#at;
    const all = new Set(lines.slice(next - 1).flatMap(mentionedSets));
    yield [...all].filter((name) => !this.#sets.has(name));
    return wanted.find((name) => !this.#sets.has(name));
  }

  #applies({ matches, mark }: ReadRule): boolean {
    const inSet: Parameters<typeof holds>[4] = (name, dimensions) =>
      isMember(this.#sets.get(name)!, dimensions, this.#packet);
    return matches.every((match) => holds(match, this.#packet, this.#carried, mark, inSet));
  }

  #follow({ target, mark }: ReadRule, shown: string): Walk['verdict'] | undefined {
    switch (target.kind) {
      case 'accept':
        return 'passes';
      case 'drop':
        return 'dropped';
      case 'return':
        return this.#back();
      case 'jump':
      case 'goto': {
        const lines = this.#rules.chains.get(target.chain);
        if (!lines) return { unknown: `chain ${target.chain} is not there, where a rule leads: ${shown}` };
        if (target.kind === 'jump') this.#stack.push(this.#at);
        this.#at = { chain: target.chain, lines, next: 0 };
        return undefined;
      }
      case 'stamp-epoch':
        this.#mark(mark!.mask, markOf(mark!.epoch!, mark!));
        return undefined;
      case 'set-denied-flag':
        this.#mark(deniedBit(mark!), deniedBit(mark!));
        return undefined;
      case 'log':
      case 'none':
        return undefined;
    }
  }

  /** To where the last jump came from. */
  #back(): 'passes' | undefined {
    const back = this.#stack.pop();
    if (!back) return 'passes';
    this.#at = back;
    return undefined;
  }

  #mark(mask: number, value: number): void {
    this.#carried.mark = ((this.#carried.mark & ~mask) | value) >>> 0;
  }
}

const ACCEPT = /(^| )-j ACCEPT$/;

/** Undefined: nothing that we understand. ACCEPT is none of our targets, and what somebody puts in our way most often. */
function readRule(line: string, family: Family): ReadRule | undefined {
  const isAccept = ACCEPT.test(line);
  const parsed = parseRule(isAccept ? line.replace(ACCEPT, '$1-j RETURN') : line, family);
  if (parsed.kind === 'foreign') return undefined;
  const { rule, mark } = parsed;
  const target = isAccept ? ({ kind: 'accept' } as const) : rule.target;
  return { matches: rule.matches, target, ...(mark ? { mark } : {}) };
}

function meansOthers({ matches, target }: ReadRule): boolean {
  const leads = target.kind === 'jump' || target.kind === 'goto';
  return (leads && !isOurChain(target.chain)) || !setsOf(matches).every(isOurSet);
}

function setsOf(matches: readonly Match[]): readonly string[] {
  return matches.flatMap((match) => (match.kind === 'set' || match.kind === 'not-in-set' ? [match.set] : []));
}
