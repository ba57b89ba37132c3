import assert from 'node:assert/strict';
import fc from 'fast-check';
import { EVERYTHING, type Requirement, type Selector, UNKNOWN_LABELS } from '../../src/policy/model.ts';
import { matches } from '../../src/policy/selector.ts';
import { SelectionIndex } from '../../src/compile/selection-index.ts';

const is = (key: string, ...values: readonly string[]): Selector => ({
  kind: 'all-of',
  requirements: [{ key, operator: 'In', values }],
});

const WORDS = fc.constantFrom('a', 'b', 'a=b', 'constructor', '');
const REQUIREMENT: fc.Arbitrary<Requirement> = fc.oneof(
  fc.record({
    key: WORDS,
    operator: fc.constantFrom('In' as const, 'NotIn' as const),
    values: fc.uniqueArray(WORDS, { minLength: 1 }).map((values) => values.sort()),
  }),
  fc.record({
    key: WORDS,
    operator: fc.constantFrom('Exists' as const, 'DoesNotExist' as const),
    values: fc.constant([]),
  }),
);
const SELECTOR: fc.Arbitrary<Selector> = fc.oneof(
  {
    weight: 9,
    arbitrary: fc.record({
      kind: fc.constant('all-of' as const),
      requirements: fc.array(REQUIREMENT, { maxLength: 3 }),
    }),
  },
  { weight: 1, arbitrary: fc.constant<Selector>({ kind: 'nothing', reason: '' }) },
);
const ADDED = fc.record({
  namespace: fc.constantFrom('x', 'y', undefined),
  selectors: fc.array(SELECTOR, { maxLength: 3 }),
  isRemoved: fc.boolean(),
});
const LABELS = fc.oneof(fc.dictionary(WORDS, WORDS, { noNullPrototype: false }), fc.constant(UNKNOWN_LABELS));

describe('what selects a pod, by its labels', () => {
  it('has all that select it, and nothing that was taken out', () => {
    fc.assert(
      fc.property(fc.array(ADDED), LABELS, (added, labels) => {
        const index = new SelectionIndex<number>();
        for (const [at, { namespace, selectors }] of added.entries()) index.add(namespace, selectors, at);
        for (const [at, { namespace, selectors, isRemoved }] of added.entries())
          if (isRemoved) index.remove(namespace, selectors, at);
        const found = index.candidates('x', labels);
        for (const [at, { namespace, selectors, isRemoved }] of added.entries()) {
          const selects = namespace !== 'y' && selectors.some((selector) => matches(selector, labels));
          if (isRemoved) assert.ok(!found.has(at));
          else if (selects) assert.ok(found.has(at));
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it('asks only those that want one of its labels, and those that want none, or one of many', () => {
    const index = new SelectionIndex<string>();
    for (let app = 0; app < 1_000; app++) index.add('x', [is('app', `a${app}`)], `app ${app}`);
    index.add('x', [is('app', 'a1', 'a7'), is('tier', 'db')], 'either');
    index.add(undefined, [EVERYTHING], 'everything');
    index.add('x', [is('app', ...Array.from({ length: 100 }, (_, at) => `b${at}`))], 'one of many');
    index.add('x', [{ kind: 'all-of', requirements: [{ key: 'app', operator: 'Exists', values: [] }] }], 'exists');
    index.add('y', [is('app', 'a7')], 'elsewhere');
    const found = index.candidates('x', { app: 'a7', tier: 'web' });
    assert.deepEqual([...found].sort(), ['app 7', 'either', 'everything', 'exists', 'one of many']);
    assert.deepEqual([...index.candidates('z', { app: 'a7' })], ['everything']);
  });
});
