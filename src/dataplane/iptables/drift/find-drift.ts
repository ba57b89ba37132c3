/** What somebody else changed in our chains, jumps and sets since we last wrote them. */
import { FAMILIES, type Family } from '../../../core/vocabulary.ts';
import type { Hook } from '../rules/ruleset.ts';
import type { Drift } from '../../dataplane.ts';
import type { ObservedFamily, ObservedSet, ObservedState } from '../plan/plan.ts';
import type { SetHeader } from './read-looks.ts';

import { sameLines } from '../rules/chain.ts';
import { isOurSet } from '../rules/names.ts';
import { HOOKS } from '../rules/ruleset.ts';
import { asInKernel } from '../plan/add-only.ts';
import { isHookLine } from '../plan/hooks.ts';

/** `written`: the state our own writes left; `found`: the state as read back. */
export function findDrift(written: ObservedState, found: ObservedState): readonly Drift[] {
  return [...FAMILIES.flatMap((family) => findRuleDrift(written, found, family)), ...setDrift(written, found)];
}

/** Of one family's chains and jumps only. */
export function findRuleDrift(written: ObservedState, found: ObservedState, family: Family): readonly Drift[] {
  const ours = written.families[family];
  const now = found.families[family];
  return ours && now ? findFamilyDrift(asInKernel(ours), asInKernel(now), family) : [];
}

export function findFamilyDrift(
  ours: Pick<ObservedFamily, 'chains' | 'hooks'>,
  now: Pick<ObservedFamily, 'chains' | 'hooks'>,
  family: Family,
): readonly Drift[] {
  const drift: Drift[] = [];
  for (const [name, lines] of ours.chains) {
    const what = chainDrift(lines, now.chains.get(name));
    if (what) drift.push({ kind: 'chain', object: name, family, what: `IPv${family}: ${what}` });
  }
  for (const name of now.chains.keys()) {
    if (!ours.chains.has(name))
      drift.push({ kind: 'chain', object: name, family, what: `IPv${family}: a chain we did not make` });
  }
  for (const hook of HOOKS) drift.push(...findJumpDrift(ours, family, hook, now.hooks[hook]));
  return drift;
}

/** Of our rules in one built-in chain; `found`: all rules it holds. */
export function findJumpDrift(
  written: Pick<ObservedFamily, 'hooks'>,
  family: Family,
  hook: Hook,
  found: readonly string[],
): readonly Drift[] {
  const what = jumpDrift(written.hooks[hook].filter(isHookLine), found);
  return what ? [{ kind: 'jump', object: hook, family, what: `IPv${family}: ${what}` }] : [];
}

/**
 * What the headers of sets tell without their members. `seeds`: by name, as seen before; what is seen for the first time is added.
 * A set with as many other entries is not noticed.
 */
export function findHeaderDrift(
  written: ObservedState['sets'],
  headers: ReadonlyMap<string, SetHeader>,
  seeds: Map<string, string>,
): readonly Drift[] {
  const drift: Drift[] = [];
  for (const [name, set] of written) {
    const header = headers.get(name);
    // Only its name is known, and that it waits to be destroyed.
    if (set.type === '') continue;
    const what = header ? headerDrift(set, header, seeds.get(name)) : 'set is gone';
    if (what)
      drift.push({ kind: header?.entries === set.members.size || !header ? 'set' : 'member', object: name, what });
    else seeds.set(name, header!.seed);
  }
  for (const name of headers.keys()) {
    if (isOurSet(name) && !written.has(name)) drift.push({ kind: 'set', object: name, what: 'a set we did not make' });
  }
  return drift;
}

function headerDrift(set: ObservedSet, header: SetHeader, seed: string | undefined): string | undefined {
  if (header.entries !== set.members.size)
    return `${counted(header.entries, 'entry', 'entries')} instead of ${set.members.size}`;
  if (header.type !== set.type) return `set is of type ${header.type} instead of ${set.type}`;
  return seed !== undefined && seed !== header.seed ? 'set was made anew or swapped' : undefined;
}

/** `found`: all rules of the built-in chain. */
function jumpDrift(ours: readonly string[], found: readonly string[]): string | undefined {
  const now = found.filter(isHookLine);
  if (ours.some((line) => !now.includes(line))) return `our jump is gone; ${inWords(found)}`;
  const first = found.findIndex((line) => ours.includes(line));
  if (first > 0) {
    const [before] = found;
    return `our jump is no longer first: ${counted(first, 'rule stands', 'rules stand')} before ours, first: ${shown(before!)}`;
  }
  if (!sameLines(ours, found.slice(0, ours.length))) {
    const between = found.slice(0, ours.length).find((line) => !isHookLine(line));
    return between === undefined
      ? 'our jump is no longer first: ours are in another order'
      : `our jump is no longer first: a rule of others stands between ours: ${shown(between)}`;
  }
  return now.length > ours.length ? 'our jump is there more than once' : undefined;
}

/** What stands in the place of a jump that is gone. */
function inWords(found: readonly string[]): string {
  const [first] = found;
  return first === undefined ? 'the chain is empty' : `found ${counted(found.length, 'rule')}, first: ${shown(first)}`;
}

const MAX_SHOWN = 120;

/** A rule of somebody else, for a log line. */
function shown(rule: string): string {
  return rule.length > MAX_SHOWN ? `${rule.slice(0, MAX_SHOWN)}...` : rule;
}

function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
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
