/** What somebody else changed in our chains, jumps and sets since we last wrote them. */
import type { Family } from '../net/ip.ts';
import type { ObservedState } from './plan.ts';

import { HOOKS } from '../render/ruleset.ts';
import { isHookLine } from './hooks.ts';
import { sameLines } from './same-lines.ts';

export interface Drift {
  readonly kind: 'chain' | 'jump' | 'set' | 'member';
  /** Chain, hook or set. */
  readonly object: string;
  /** What was found, in words. */
  readonly what: string;
}

/** `written`: the state our own writes left; `found`: the state as read back. */
export function findDrift(written: ObservedState, found: ObservedState): readonly Drift[] {
  return [...([4, 6] as const).flatMap((family) => findRuleDrift(written, found, family)), ...setDrift(written, found)];
}

/** Of one family's chains and jumps only. */
export function findRuleDrift(written: ObservedState, found: ObservedState, family: Family): readonly Drift[] {
  const ours = written.families[family];
  const now = found.families[family];
  if (!ours || !now) return [];
  const drift: Drift[] = [];
  for (const [name, lines] of ours.chains) {
    const what = chainDrift(lines, now.chains.get(name));
    if (what) drift.push({ kind: 'chain', object: name, what: `IPv${family}: ${what}` });
  }
  for (const name of now.chains.keys()) {
    if (!ours.chains.has(name))
      drift.push({ kind: 'chain', object: name, what: `IPv${family}: a chain we did not make` });
  }
  for (const hook of HOOKS) {
    const what = jumpDrift(ours.hooks[hook].filter(isHookLine), now.hooks[hook]);
    if (what) drift.push({ kind: 'jump', object: hook, what: `IPv${family}: ${what}` });
  }
  return drift;
}

function jumpDrift(ours: readonly string[], found: readonly string[]): string | undefined {
  const now = found.filter(isHookLine);
  if (ours.some((line) => !now.includes(line))) return 'our jump is gone';
  if (!sameLines(ours, found.slice(0, ours.length))) return 'our jump is no longer first';
  return now.length > ours.length ? 'our jump is there more than once' : undefined;
}

function chainDrift(written: readonly string[], found: readonly string[] | undefined): string | undefined {
  if (!found) return 'chain is gone';
  if (sameLines(written, found)) return undefined;
  const [ours, theirs] = [new Set(written), new Set(found)];
  const missing = written.filter((line) => !theirs.has(line)).length;
  const extra = found.filter((line) => !ours.has(line)).length;
  if (missing === 0 && extra === 0) return 'rules are in another order or repeated';
  return `${missing} rules missing or edited, ${extra} rules that are not ours`;
}

function setDrift(written: ObservedState, found: ObservedState): Drift[] {
  const drift: Drift[] = [];
  for (const [name, set] of written.sets) {
    const now = found.sets.get(name);
    if (!now) {
      drift.push({ kind: 'set', object: name, what: 'set is gone' });
      continue;
    }
    if (now.members === set.members) continue;
    let missing = 0;
    for (const [member, match] of set.members) if (now.members.get(member) !== match) missing++;
    let extra = 0;
    for (const member of now.members.keys()) if (!set.members.has(member)) extra++;
    if (missing + extra > 0) {
      drift.push({
        kind: 'member',
        object: name,
        what: `${missing} entries missing or changed, ${extra} entries that are not ours`,
      });
    }
  }
  for (const name of found.sets.keys()) {
    if (!written.sets.has(name)) drift.push({ kind: 'set', object: name, what: 'a set we did not make' });
  }
  return drift;
}
