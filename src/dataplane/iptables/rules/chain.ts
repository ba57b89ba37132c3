/** Chains: as values, and as the tools read and print them. */
import type { Direction, Family } from '../../../core/vocabulary.ts';
import type { PolicyRef } from '../../../policy/model.ts';
import type { ChainPart } from '../../chain-names.ts';
import type { Rule } from './rule.ts';

import { isSameValue } from '../../../core/same-value.ts';
import { type OwnRule, type ParsedRule, mentionedSets, parseRule, setsOf } from './parse-rule.ts';
import { type TextContext, ruleText } from './write-text.ts';

/** What a chain is for. `replies`: it judges the packets that come back, the same way with the sides exchanged. */
export type ChainRole =
  /** Our rules in a built-in chain. */
  | { readonly kind: 'hook' }
  /** Where first packets come in. */
  | { readonly kind: 'entry' }
  /** Where packets of live flows come in that the rules in force have not judged. */
  | { readonly kind: 'recheck' }
  /** Where replies of such flows go on. */
  | { readonly kind: 'reply-entry' }
  /** The gate for pods that are not programmed yet (new-pods.ts). */
  | { readonly kind: 'new-pods' }
  /** Finds an endpoint chain by address (dispatch.ts), or by interface (guards.ts). */
  | { readonly kind: 'dispatch' | 'guard'; readonly direction: Direction; readonly replies: boolean }
  /** Judges the pods of one policy group; `endpoint`: the name of its endpoint chain. */
  | {
      readonly kind: 'endpoint';
      readonly endpoint: string;
      readonly direction: Direction;
      readonly replies: boolean;
      /** Absent: the chain that packets come to first. */
      readonly part?: ChainPart;
      /** Whose rules lead to a part that denies. */
      readonly deniers?: readonly PolicyRef[];
    }
  /** Judges pods whose own chain is not there. */
  | { readonly kind: 'closed'; readonly direction: Direction; readonly replies: boolean };

export class Chain {
  readonly name: string;
  readonly role: ChainRole;
  readonly rules: readonly Rule[];
  #written: { readonly context: TextContext; readonly text: ChainText } | undefined;

  constructor(name: string, role: ChainRole, rules: readonly Rule[]) {
    this.name = name;
    this.role = role;
    this.rules = rules;
  }

  /** Made once as long as what it depends on stays the same. */
  text(context: TextContext): ChainText {
    if (this.#written && isSameText(this.rules, this.#written.context, context)) return this.#written.text;
    const written = this.rules.map((rule) => ownRule(rule, context));
    const text = ChainText.of(written, context.family);
    this.#written = { context, text };
    return text;
  }
}

/** The chain of before where it is the same: its text is made already. */
export function sameChain(before: Chain | undefined, chain: Chain): Chain {
  const isSame = before?.name === chain.name && isSameValue(before.role, chain.role);
  return isSame && isSameValue(before.rules, chain.rules) ? before : chain;
}

function isSameText(rules: readonly Rule[], a: TextContext, b: TextContext): boolean {
  if (a === b) return true;
  if (a.family !== b.family || a.marks?.mask !== b.marks?.mask) return false;
  return a.epoch === b.epoch || !rules.some(showsEpoch);
}

function showsEpoch({ matches, target }: Rule): boolean {
  return target.kind === 'stamp-epoch' || matches.some(({ kind }) => kind === 'stale-mark' || kind === 'current-mark');
}

/** A rule of ours with its text. */
export function ownRule(rule: Rule, context: TextContext): OwnRule {
  const line = ruleText(rule, context);
  if (rule.target.kind !== 'stamp-epoch') return { kind: 'own', line, rule };
  return { kind: 'own', line, rule, mark: { mask: context.marks!.mask >>> 0, epoch: context.epoch } };
}

/** The exact lines of a chain, without `-A CHAIN`, and what they mean: read when first asked for, if it was not we who wrote them. */
export class ChainText {
  readonly lines: readonly string[];
  readonly #family: Family;
  #rules: readonly ParsedRule[] | undefined;
  #sets: readonly (readonly string[])[] | undefined;
  #stamps: readonly OwnRule[] | undefined;
  #leadsOn: boolean | undefined;

  constructor(lines: readonly string[], family: Family, rules?: readonly ParsedRule[]) {
    this.lines = lines;
    this.#family = family;
    this.#rules = rules;
  }

  static of(rules: readonly ParsedRule[], family: Family): ChainText {
    return new ChainText(
      rules.map(({ line }) => line),
      family,
      rules,
    );
  }

  get rules(): readonly ParsedRule[] {
    this.#rules ??= this.lines.map((line) => parseRule(line, this.#family));
    return this.#rules;
  }

  /** The sets that each rule asks about, for the rules that ask about any. */
  get sets(): readonly (readonly string[])[] {
    this.#sets ??= (this.#rules?.map(setsOf) ?? this.lines.map(mentionedSets)).filter((sets) => sets.length > 0);
    return this.#sets;
  }

  /** Those that stamp an epoch. */
  get stamps(): readonly OwnRule[] {
    this.#stamps ??= this.rules.filter(
      (parsed): parsed is OwnRule => parsed.kind === 'own' && parsed.rule.target.kind === 'stamp-epoch',
    );
    return this.#stamps;
  }

  /** Some rule leads to another chain, or may. */
  get leadsOn(): boolean {
    this.#leadsOn ??= this.rules.some(
      (parsed) => parsed.kind === 'foreign' || parsed.rule.target.kind === 'goto' || parsed.rule.target.kind === 'jump',
    );
    return this.#leadsOn;
  }

  /** The same rules in the same order: exact text decides whether a chain is what we wrote. */
  equals(lines: readonly string[] | undefined): boolean {
    return sameLines(this.lines, lines);
  }
}

export function sameLines(a: readonly string[], b: readonly string[] | undefined): boolean {
  return a === b || (b !== undefined && a.length === b.length && a.every((line, index) => line === b[index]));
}
