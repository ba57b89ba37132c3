/**
 * Which policies of a namespace select which of its local pods. Pods with the same labels are asked about once; where policies changed, each
 * of these is asked about the changed ones only.
 */
import { createHash } from 'node:crypto';
import type { Direction, PolicyMode } from '../core/vocabulary.ts';
import type { Labels, Policy } from '../policy/model.ts';
import type { LocalEndpoint } from './intent.ts';
import type { NeededProgram } from './program-compiler.ts';
import type { Sliced } from '../core/sliced.ts';
import type { Change, VersionedMap } from '../core/versioned-map.ts';

import { MAX_AUDITED_ALONE } from './limits.ts';
import { DIRECTIONS } from '../core/vocabulary.ts';
import { UNKNOWN_LABELS } from '../policy/model.ts';
import { matches, mayMatch } from '../policy/selector.ts';
import { isSameValue } from '../core/same-value.ts';
import { compareText } from '../core/compare.ts';

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

export interface Selection {
  readonly byLabels: ReadonlyMap<Labels, Selected>;
  /** As of these policies, and this mode of those that ask for none. */
  readonly version: number | undefined;
  readonly mode: PolicyMode | undefined;
}

export const NO_SELECTION: Selection = { byLabels: new Map(), version: undefined, mode: undefined };

/** Names in the key of a program up to this many policies; a hash of them beyond. */
const MAX_NAMES_IN_KEY = 64;

/** `policies`: by name. `before`: what it was, for what did not change to be the same objects. */
export function* select(
  policies: VersionedMap<string, Policy>,
  mode: PolicyMode | undefined,
  labels: Iterable<Labels>,
  before: Selection,
): Sliced<Selection> {
  const changes = policies.changesSince(before.version);
  const byLabels = new Map<Labels, Selected>();
  for (const each of labels) {
    if (byLabels.has(each)) continue;
    const known = before.byLabels.get(each);
    const selecting =
      known && changes !== 'all' ? withChanges(known.policies, changes, each) : selectingOf(policies.values(), each);
    const isSame = selecting === known?.policies && mode === before.mode;
    byLabels.set(each, isSame ? known : selectedBy(selecting, mode, each, known));
    yield;
  }
  return { byLabels, version: policies.version, mode };
}

function selectingOf(policies: Iterable<Policy>, labels: Labels): readonly Policy[] {
  return [...policies].filter(({ podSelector }) => mayMatch(podSelector, labels)).sort(byName);
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
    const policies = isolating.map((policy) => (matches(policy.podSelector, labels) ? policy : withoutRules(policy)));
    return policies.length === 0 ? [] : [{ key: programKey(direction, policies, labels), direction, policies }];
  });
}

/** Its keys are no keys of programs. One that is alone has the key that it has where no other is audited. */
function auditOf(together: NeededProgram, labels: Labels): NeededAudit {
  const { key, direction, policies } = together;
  const isCountedAlone = policies.length > 1 && policies.length <= MAX_AUDITED_ALONE;
  const alone = isCountedAlone ? policies.map((policy) => [policy]) : [];
  return {
    ...together,
    key: auditKey(key),
    alone: alone.map((one) => ({ key: auditKey(programKey(direction, one, labels)), direction, policies: one })),
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
