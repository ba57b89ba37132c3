/**
 * Whether a flow may have the permission of a pod that is gone. A pod that goes takes its address out of sets without a new epoch,
 * because its flows die with it; should another pod get the address before the epoch advances, live flows have to be judged again.
 * This process remembers the addresses (`Released`); the next one finds an empty set of a name that says so, and judges them again at once.
 */
import type { Family } from '../../../core/vocabulary.ts';
import type { IpSet } from '../rules/rule.ts';
import type { ObservedSet, PlanLine } from './plan.ts';

import { versionedMap } from '../../../core/versioned-map.ts';
import { releasedSet } from '../rules/names.ts';
import { createSetText, maxElements } from '../rules/write-text.ts';

/** What becomes of the sign that addresses were released since the last epoch. */
export interface ReleasedSign {
  /** Ahead of everything that takes members out. */
  readonly create: readonly PlanLine[];
  /** After the commit that advances the epoch. */
  readonly destroy: readonly string[];
  /** By name, the set as it will be; undefined: gone. */
  readonly after: ReadonlyMap<string, ObservedSet | undefined>;
}

/**
 * `released`: addresses were, and no epoch was begun since. `isMeanwhile`: the epoch begins after members were taken out, and whoever
 * finds the sign in between has to begin one.
 */
export function releasedSign(family: Family, released: boolean, isThere: boolean, isMeanwhile: boolean): ReleasedSign {
  const name = releasedSet(family);
  const create = (released || isMeanwhile) && !isThere ? [{ text: createSetText(signOf(family)), object: name }] : [];
  const destroy = !released && (isThere || isMeanwhile) ? [name] : [];
  if (released === isThere) return { create, destroy, after: new Map() };
  const after = released ? observedSign(family) : undefined;
  return { create, destroy, after: new Map([[name, after]]) };
}

function signOf(family: Family): IpSet {
  const name = releasedSet(family);
  return { name, family, type: 'hash:ip', members: versionedMap(), meaning: name };
}

function observedSign(family: Family): ObservedSet {
  const { name, type, members } = signOf(family);
  return { name, family, type, members, maxElements: maxElements(0) };
}

export function isReleasedSign(name: string): boolean {
  return name === releasedSet(4) || name === releasedSet(6);
}
