/** Reads what iptables-save and ipset save printed, at once. */
import { runSync } from '../../src/core/sliced.ts';
import type { ObservedFamily, ObservedSet } from '../../src/dataplane/iptables/plan/plan.ts';
import { savedRules, savedSets } from '../../src/dataplane/iptables/plan/read-saved.ts';

export function readSavedRules(text: string): ObservedFamily {
  return runSync(savedRules(text));
}

export function readSavedSets(text: string): Map<string, ObservedSet> {
  return runSync(savedSets(text));
}
