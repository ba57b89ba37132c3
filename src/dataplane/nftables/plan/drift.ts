/** What somebody else changed in our table, told from what we wrote and what was read. */
import type { Sliced } from '../../../core/sliced.ts';
import type { Drift } from '../../dataplane.ts';
import type { Held } from './plan.ts';

import { type Difference, compareTables, NO_LEFTOVERS, type WholeTable } from './compare.ts';

export function* findDrift(written: Held, read: WholeTable | undefined): Sliced<readonly Drift[]> {
  if (!read) return [{ kind: 'chain', object: 'the table', what: 'missing' }];
  const { left } = written;
  return driftOf(yield* compareTables(written, read, NO_LEFTOVERS)).filter(
    // What waits to be deleted is no surprise.
    ({ object, what }) => what !== 'not ours' || !(left.chains.has(object) || left.sets.has(object)),
  );
}

function driftOf(found: Difference): readonly Drift[] {
  const of = (kind: Drift['kind'], named: readonly { readonly name: string }[], what: string): Drift[] =>
    named.map(({ name }) => ({ kind, object: name, what }));
  return [
    ...of(
      'chain',
      found.newChains.filter(({ hook }) => hook === ''),
      'missing',
    ),
    ...of(
      'jump',
      found.newChains.filter(({ hook }) => hook !== ''),
      'missing',
    ),
    ...of(
      'chain',
      found.changedChains.map(({ after }) => after),
      'edited',
    ),
    ...of('chain', found.goneChains, 'not ours'),
    ...of('set', found.newSets, 'missing'),
    ...of('set', found.goneSets, 'not ours'),
    ...found.clashes.map((object): Drift => ({ kind: 'set', object, what: 'another kind' })),
    ...found.changedSets.flatMap(({ after: { name }, leaving, joining }): Drift[] => {
      const [missing, extra] = [joining.length, leaving.length];
      return [{ kind: 'member', object: name, what: `${missing} missing, ${extra} too many` }];
    }),
  ];
}
