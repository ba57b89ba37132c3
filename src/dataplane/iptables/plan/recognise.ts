/**
 * The kernel as read back, with whatever is as we know it replaced by the value we know. Later stages then see by identity that there
 * is nothing to compare, and the text that was read can be forgotten.
 */
import { FAMILIES, type Family } from '../../../core/vocabulary.ts';
import type { Sliced } from '../../../core/sliced.ts';
import type { ObservedFamily, ObservedSet, ObservedState } from './plan.ts';

import { sameLines } from '../rules/chain.ts';
import { HOOKS } from '../rules/ruleset.ts';

const MEMBERS_PER_STEP = 2_000;

/** What is known of sets, by name: the ones we wrote, or the ones that are desired. */
type KnownSets = ReadonlyMap<string, Pick<ObservedSet, 'family' | 'type' | 'members'>>;

/** `written`: the state our own writes left, if any. `desired`: the sets to come. */
export function* recognise(
  found: ObservedState,
  written: ObservedState | undefined,
  desired: KnownSets,
): Sliced<ObservedState> {
  const families: Partial<Record<Family, ObservedFamily>> = {};
  for (const family of FAMILIES) {
    const now = found.families[family];
    if (!now) continue;
    const ours = written?.families[family];
    families[family] = ours ? yield* recogniseFamily(now, ours) : now;
  }
  const sets = new Map<string, ObservedSet>();
  for (const [name, set] of found.sets) {
    const ours = written?.sets.get(name);
    sets.set(name, yield* recogniseSet(set, ours, desired.get(name)));
    yield;
  }
  return { ...found, families, sets };
}

/** Where nothing was touched, the very state that was written, with the rules it came from. */
function* recogniseFamily(found: ObservedFamily, written: ObservedFamily): Sliced<ObservedFamily> {
  const chains = new Map<string, readonly string[]>();
  let isWhole = found.chains.size === written.chains.size;
  for (const [name, lines] of found.chains) {
    const ours = written.chains.get(name);
    const isSame = ours !== undefined && sameLines(ours, lines);
    chains.set(name, isSame ? ours : lines);
    isWhole &&= isSame;
    yield;
  }
  if (!isWhole) return { ...found, chains };
  const sameHooks = !found.elsewhere && HOOKS.every((hook) => sameLines(written.hooks[hook], found.hooks[hook]));
  return sameHooks
    ? written
    : { ...found, chains: written.chains, ...(written.reading ? { reading: written.reading } : {}) };
}

function* recogniseSet(
  found: ObservedSet,
  ...known: readonly (Pick<ObservedSet, 'family' | 'type' | 'members'> | undefined)[]
): Sliced<ObservedSet> {
  for (const candidate of known) {
    if (candidate?.family !== found.family || candidate.type !== found.type) continue;
    if (yield* sameMembers(found.members, candidate.members)) return { ...found, members: candidate.members };
  }
  return found;
}

function* sameMembers(found: ObservedSet['members'], known: ObservedSet['members']): Sliced<boolean> {
  if (found.size !== known.size) return false;
  let count = 0;
  for (const [member, match] of found) {
    if (known.get(member) !== match) return false;
    if (++count % MEMBERS_PER_STEP === 0) yield;
  }
  return true;
}
