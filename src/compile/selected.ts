/**
 * Which policies of a namespace select which of its local pods. Pods with the same labels are asked about once; where policies changed, each
 * of these is asked about the changed ones only.
 */
import { createHash } from 'node:crypto';
import type { Direction, PolicyMode } from '../core/vocabulary.ts';
import type { Labels, Pod, Policy, Selector } from '../policy/model.ts';
import type { LocalEndpoint } from './intent.ts';
import type { NeededProgram } from './program-compiler.ts';
import type { Sliced } from '../core/sliced.ts';
import type { Change } from '../core/versioned-map.ts';

import { MAX_AUDITED_ALONE } from './limits.ts';
import { DIRECTIONS } from '../core/vocabulary.ts';
import { UNKNOWN_LABELS } from '../policy/model.ts';
import { matches, mayMatch } from '../policy/selector.ts';
import { isSameValue } from '../core/same-value.ts';
import { compareText, isSameList } from '../core/compare.ts';
import { Groups } from '../core/groups.ts';
import { ANY, SelectionIndex, termOf, termsOf } from './selection-index.ts';

/** A local pod with the addresses it owns. */
export interface Local {
  /** `namespace/name`. */
  readonly key: string;
  readonly pod: Pod;
  readonly addresses: ReadonlySet<string>;
}

/** Of the pods with the same labels. */
export interface Selected {
  /** That may select them, sorted by name. */
  readonly policies: readonly Policy[];
  /** Per direction (S-03), and the same of audited policies. */
  readonly programs: readonly NeededProgram[];
  readonly audits: readonly NeededAudit[];
  readonly keys: Pick<LocalEndpoint, 'programs' | 'audits'>;
}

/** A program of audited policies. */
export interface NeededAudit extends NeededProgram {
  /** Of each of several policies by itself, up to a limit of them; empty: there is one, or there are more. */
  readonly alone: readonly NeededProgram[];
}

/** Ahead of the name of a policy of which it is not known whether it selects the pods, in the names of a program. */
const IN_DOUBT = '?';
/** Between two places to stop at. */
/** Of kinds of pods, each counted with the policies that select it: these are gone through, and make a name. */
const SELECTED_PER_STEP = 200;
const POLICIES_PER_STEP = 20;
const PODS_PER_STEP = 100;

/** Names in the key of a program up to this many policies; a hash of them beyond. */
const MAX_NAMES_IN_KEY = 64;

/** Of pods with the same labels, before and after a change; undefined: there are none. */
export interface GroupChange {
  readonly labels: Labels;
  readonly before: Selected | undefined;
  readonly after: Selected | undefined;
}

interface Group {
  readonly selected: Selected;
  /** By key. */
  readonly pods: Map<string, Local>;
}

/** What changes are to be followed. */
export interface Followed {
  /** By name, as changed. */
  readonly policies: ReadonlyMap<string, Policy>;
  readonly policyChanges: readonly Change<string, Policy>[];
  readonly localChanges: readonly Change<string, Local>[];
  /** Of the policies that ask for none. */
  readonly mode: PolicyMode | undefined;
}

/** Local pods by their labels, and what selects them. Policies are asked about labels they may select, and labels about policies that may select them. */
export class LabelGroups {
  readonly #groups = new Map<Labels, Group>();
  readonly #byLabel = new Groups<string, Labels>();
  readonly #policies = new SelectionIndex<string>();

  get(labels: Labels): Selected | undefined {
    return this.#groups.get(labels)?.selected;
  }

  pods(labels: Labels): Iterable<Local> {
    return this.#groups.get(labels)?.pods.values() ?? [];
  }

  *allPods(): Iterable<Local> {
    for (const { pods } of this.#groups.values()) yield* pods.values();
  }

  /** What the changes make another, or new. `before`: what did not change is the same object. Nothing is changed by it. */
  *changes(followed: Followed, before: Pick<LabelGroups, 'get'> = this): Sliced<readonly GroupChange[]> {
    const counts = this.#countsAfter(followed.localChanges);
    const touching = yield* this.#touching(followed.policyChanges);
    const news = [...counts].flatMap(([labels, count]) => (count > 0 && !this.#groups.has(labels) ? [labels] : []));
    const index = news.length > 0 ? yield* indexOf(followed.policyChanges) : undefined;
    const found: GroupChange[] = [];
    const isStep = stepsOfSelected();
    for (const labels of news) {
      const known = before.get(labels);
      const policies = this.#selecting(labels, followed, index!);
      const isSame = known !== undefined && isSameList(known.policies, policies);
      found.push({
        labels,
        before: undefined,
        after: selectedBy(isSame ? known.policies : policies, followed.mode, labels, known),
      });
      if (isStep(policies)) yield;
    }
    for (const [labels, left] of counts)
      if (left === 0) found.push({ labels, before: this.get(labels), after: undefined });
    for (const [labels, changes] of touching) {
      if (counts.get(labels) === 0) continue;
      const known = this.get(labels)!;
      const policies = withChanges(known.policies, changes, labels);
      found.push({ labels, before: known, after: selectedBy(policies, followed.mode, labels, known) });
      if (isStep(policies)) yield;
    }
    return found;
  }

  /** Of the labels of pods that changed: how many pods have them then. */
  #countsAfter(changes: Followed['localChanges']): ReadonlyMap<Labels, number> {
    const counts = new Map<Labels, number>();
    const add = (local: Local | undefined, count: number): void => {
      if (!local) return;
      const { labels } = local.pod;
      counts.set(labels, (counts.get(labels) ?? this.#groups.get(labels)?.pods.size ?? 0) + count);
    };
    for (const { before, after } of changes) {
      add(before, -1);
      add(after, 1);
    }
    return counts;
  }

  /** By labels of pods that a changed policy selects or did: these changes. */
  *#touching(changes: Followed['policyChanges']): Sliced<ReadonlyMap<Labels, readonly Change<string, Policy>[]>> {
    const touching = new Map<Labels, Change<string, Policy>[]>();
    for (const [at, change] of changes.entries()) {
      const selectors = [change.before, change.after].flatMap((policy) => (policy ? [policy.podSelector] : []));
      const candidates = new Set(selectors.flatMap((selector) => [...this.#candidates(selector)]));
      for (const labels of candidates) {
        if (!selectors.some((selector) => mayMatch(selector, labels))) continue;
        const known = touching.get(labels);
        if (known) known.push(change);
        else touching.set(labels, [change]);
      }
      if ((at + 1) % POLICIES_PER_STEP === 0) yield;
    }
    return touching;
  }

  /** A superset of the labels that it may select. */
  #candidates(selector: Selector): Iterable<Labels> {
    const terms = termsOf([selector]);
    if (terms.has(ANY)) return this.#groups.keys();
    const found = new Set<Labels>(this.#groups.has(UNKNOWN_LABELS) ? [UNKNOWN_LABELS] : []);
    for (const term of terms) for (const labels of this.#byLabel.get(term) ?? []) found.add(labels);
    return found;
  }

  /** The policies that may select pods with these labels, of which there were none. */
  #selecting(
    labels: Labels,
    { policies, policyChanges }: Followed,
    changed: SelectionIndex<string>,
  ): readonly Policy[] {
    const isChanged = new Set(policyChanges.map(({ key }) => key));
    const found: Policy[] = [];
    const ask = (name: string): void => {
      const policy = policies.get(name);
      if (policy && mayMatch(policy.podSelector, labels)) found.push(policy);
    };
    if (labels === UNKNOWN_LABELS) for (const name of policies.keys()) ask(name);
    else {
      for (const name of this.#policies.candidates('', labels)) if (!isChanged.has(name)) ask(name);
      for (const name of changed.candidates('', labels)) ask(name);
    }
    return found.sort(byName);
  }

  /** To be run to its end, or dropped with the groups. */
  *commit({ policyChanges, localChanges }: Followed, changes: readonly GroupChange[]): Sliced<void> {
    let count = 0;
    for (const { key, before, after } of policyChanges) {
      if (before) this.#policies.remove(undefined, [before.podSelector], key);
      if (after) this.#policies.add(undefined, [after.podSelector], key);
      if (++count % POLICIES_PER_STEP === 0) yield;
    }
    for (const { labels, before, after } of changes) {
      const pods = this.#groups.get(labels)?.pods ?? new Map<string, Local>();
      if (after) this.#groups.set(labels, { selected: after, pods });
      else this.#groups.delete(labels);
      if (before && after) continue;
      for (const [key, value] of Object.entries(labels)) {
        if (after) this.#byLabel.add(termOf(key, value), labels);
        else this.#byLabel.remove(termOf(key, value), labels);
      }
    }
    for (const { key, before, after } of localChanges) {
      if (before && before.pod.labels !== after?.pod.labels) this.#groups.get(before.pod.labels)?.pods.delete(key);
      if (after) this.#groups.get(after.pod.labels)!.pods.set(key, after);
      if (++count % PODS_PER_STEP === 0) yield;
    }
  }
}

/** Whether it is time to stop for others, after that many policies more. */
export function stepsOfSelected(): (policies: readonly Policy[]) => boolean {
  let count = 0;
  return ({ length }) => {
    count += 1 + length;
    if (count < SELECTED_PER_STEP) return false;
    count = 0;
    return true;
  };
}

function* indexOf(changes: Followed['policyChanges']): Sliced<SelectionIndex<string>> {
  const index = new SelectionIndex<string>();
  for (const [at, { key, after }] of changes.entries()) {
    if (after) index.add(undefined, [after.podSelector], key);
    if ((at + 1) % POLICIES_PER_STEP === 0) yield;
  }
  return index;
}

function withChanges(
  selecting: readonly Policy[],
  changes: readonly Change<string, Policy>[],
  labels: Labels,
): readonly Policy[] {
  const selects = (policy: Policy | undefined): boolean => policy !== undefined && mayMatch(policy.podSelector, labels);
  const touching = changes.filter(({ before, after }) => selects(before) || selects(after));
  if (touching.length === 0) return selecting;
  const changed = new Set(touching.map(({ key }) => key));
  const added = touching.flatMap(({ after }) => (after && selects(after) ? [after] : []));
  return [...selecting.filter(({ name }) => !changed.has(name)), ...added].sort(byName);
}

function byName(a: Policy, b: Policy): number {
  return compareText(a.name, b.name);
}

function selectedBy(
  policies: readonly Policy[],
  mode: PolicyMode | undefined,
  labels: Labels,
  before: Selected | undefined,
): Selected {
  const isAudited = (policy: Policy): boolean => (policy.mode ?? mode) === 'audit';
  const enforced = policies.filter((policy) => !isAudited(policy));
  const programs = programsOf(enforced, labels);
  const audits = programsOf(policies.filter(isAudited), labels).map((each) => auditOf(each, labels));
  const keys = { programs: keysOf(programs), audits: keysOf(audits) };
  return { policies, programs, audits, keys: before && isSameValue(before.keys, keys) ? before.keys : keys };
}

function keysOf(programs: readonly NeededProgram[]): LocalEndpoint['programs'] {
  return Object.fromEntries(programs.map(({ direction, key }) => [direction, key]));
}

/** Of policies that may select pods with these labels. Where that is not sure, they isolate and allow nothing. */
function programsOf(selecting: readonly Policy[], labels: Labels): readonly NeededProgram[] {
  return DIRECTIONS.flatMap((direction) => {
    const isolating = selecting.filter((policy) => policy.isolates[direction]);
    if (isolating.length === 0) return [];
    const isSure = (policy: Policy): boolean => labels !== UNKNOWN_LABELS || matches(policy.podSelector, labels);
    const policies = isolating.map((policy) => (isSure(policy) ? policy : withoutRules(policy)));
    const names = isolating.map((policy) => `${direction}${isSure(policy) ? ' ' : IN_DOUBT}${policy.name}`);
    return [{ key: programKey(direction, policies, labels), direction, policies, names }];
  });
}

/** Its keys are no keys of programs. One that is alone has the key that it has where no other is audited. */
function auditOf(together: NeededProgram, labels: Labels): NeededAudit {
  const { key, direction, policies, names } = together;
  const isCountedAlone = policies.length > 1 && policies.length <= MAX_AUDITED_ALONE;
  const alone = isCountedAlone ? policies : [];
  return {
    ...together,
    key: auditKey(key),
    alone: alone.map((policy, at) => {
      const one = [policy];
      return { key: auditKey(programKey(direction, one, labels)), direction, policies: one, names: [names[at]!] };
    }),
  };
}

function auditKey(key: string): string {
  return `audit ${key}`;
}

function withoutRules({ namespace, name, uid, podSelector, isolates, mode }: Policy): Policy {
  return { namespace, name, uid, podSelector, isolates, ...(mode ? { mode } : {}), ingress: [], egress: [] };
}

function programKey(direction: Direction, policies: readonly Policy[], labels: Labels): string {
  const all = policies.map((policy) => [policy.namespace, policy.name]);
  const names = labels === UNKNOWN_LABELS ? [...all, ['labels unknown']] : all;
  if (names.length <= MAX_NAMES_IN_KEY) return JSON.stringify([direction, ...names]);
  const hash = createHash('sha256').update(JSON.stringify(names)).digest('hex');
  return JSON.stringify([direction, policies[0]!.namespace, names.length, hash]);
}
