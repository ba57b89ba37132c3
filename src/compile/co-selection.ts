/**
 * Which policies are co-selected on this node: in the same programs, and so for the same local pods. Of each policy the sum of its programs'
 * hashes is kept, so that a program that comes or goes costs what its own policies cost, however many programs these are in. That sums of
 * different programs are equal is as good as impossible; their policies would share more sets than they need to, and no verdict be another.
 */
import { hash } from 'node:crypto';
import type { Sliced } from '../core/sliced.ts';

import { DraftMap } from '../core/draft-map.ts';
import { Groups } from '../core/groups.ts';

/** Two numbers as one text; undefined: in no program. */
type Sum = string;

/** Sums of 48-bit numbers are taken modulo this, which a double has exactly. */
const MODULUS = 2 ** 48;

export class CoSelection {
  readonly #sums = new Map<string, Sum>();
  /** Policies of one sum. */
  readonly #alike = new Map<Sum, ReadonlySet<string>>();
  readonly #programs = new Groups<string, string>();

  draft(): CoSelectionDraft {
    return new CoSelectionDraft(this.#sums, this.#alike, this.#programs);
  }
}

/** Programs that come and go. Policies are named; one of a name that is not the same for all pods has another name for each. */
export class CoSelectionDraft {
  readonly #sums: DraftMap<string, Sum>;
  readonly #alike: DraftMap<Sum, ReadonlySet<string>>;
  readonly #programs: Groups<string, string>;
  readonly #own = new Set<ReadonlySet<string>>();
  /** Of policies that others of their sum were parted from, or that others joined, one each: those of one sum are in the same programs. */
  readonly #regrouped = new Set<string>();
  readonly #changes: { readonly program: string; readonly policies: readonly string[]; readonly isThere: boolean }[] =
    [];

  constructor(sums: Map<string, Sum>, alike: Map<Sum, ReadonlySet<string>>, programs: Groups<string, string>) {
    this.#sums = new DraftMap(sums);
    this.#alike = new DraftMap(alike);
    this.#programs = programs;
  }

  add(program: string, policies: readonly string[]): void {
    this.#change(program, policies, true);
  }

  /** As it was added. */
  remove(program: string, policies: readonly string[]): void {
    this.#change(program, policies, false);
  }

  #change(program: string, policies: readonly string[], isThere: boolean): void {
    if (policies.length === 0) return;
    this.#changes.push({ program, policies, isThere });
    const digest = hashOf(program);
    const sources = new Set<Sum>();
    const targets = new Set<Sum>();
    for (const policy of policies) {
      const before = this.#sums.get(policy);
      const after = sumOf(before, digest, isThere);
      if (before !== undefined) {
        sources.add(before);
        this.#leave(before, policy);
      }
      if (after !== undefined) {
        if (!targets.has(after)) this.#noteRegrouped(after);
        targets.add(after);
        this.#join(after, policy);
      }
      this.#sums.set(policy, after);
    }
    for (const sum of sources) this.#noteRegrouped(sum);
  }

  #noteRegrouped(sum: Sum): void {
    for (const policy of this.#alike.get(sum) ?? []) return void this.#regrouped.add(policy);
  }

  #leave(sum: Sum, policy: string): void {
    const left = this.#ownSet(sum);
    left.delete(policy);
    if (left.size === 0) this.#alike.set(sum, undefined);
  }

  #join(sum: Sum, policy: string): void {
    this.#ownSet(sum).add(policy);
  }

  /** One that the draft may change. */
  #ownSet(sum: Sum): Set<string> {
    const known = this.#alike.get(sum);
    if (known && this.#own.has(known)) return known as Set<string>;
    const own = new Set(known);
    this.#own.add(own);
    this.#alike.set(sum, own);
    return own;
  }

  /** Programs from before of whose policies other ones may be co-selected now. */
  regrouped(): ReadonlySet<string> {
    const found = new Set<string>();
    for (const policy of this.#regrouped) for (const program of this.#programs.get(policy) ?? []) found.add(program);
    return found;
  }

  /** For each policy of a program, the place in it of the first that is co-selected with it. */
  groupsOf(policies: readonly string[]): readonly number[] {
    const first = new Map<Sum | undefined, number>();
    return policies.map((policy, place) => {
      const sum = this.#sums.get(policy);
      const known = first.get(sum);
      if (known === undefined) first.set(sum, place);
      return known ?? place;
    });
  }

  /** To be run to its end, or dropped with what it is a draft of. */
  *commit(): Sliced<void> {
    this.#sums.commit();
    this.#alike.commit();
    for (const { program, policies, isThere } of this.#changes) {
      for (const policy of policies) {
        if (isThere) this.#programs.add(policy, program);
        else this.#programs.remove(policy, program);
      }
      yield;
    }
  }
}

function hashOf(program: string): readonly [number, number] {
  const digest = hash('sha256', program, 'buffer');
  return [digest.readUIntBE(0, 6), digest.readUIntBE(6, 6)];
}

function sumOf(before: Sum | undefined, digest: readonly [number, number], isThere: boolean): Sum | undefined {
  const sums = before === undefined ? [0, 0] : before.split(' ').map(Number);
  const [high, low] = digest.map((part, at) => (sums[at]! + (isThere ? part : MODULUS - part)) % MODULUS);
  return high === 0 && low === 0 ? undefined : `${high} ${low}`;
}
