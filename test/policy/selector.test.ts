import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { Labels, Requirement, Selector } from '../../src/policy/model.ts';
import { matches, parseSelector, selectorKey } from '../../src/policy/selector.ts';

function parsed(raw: unknown): Selector {
  const { selector, problems } = parseSelector(raw, 'spec.podSelector');
  assert.deepEqual(problems, []);
  return selector;
}

describe('selector: matches', () => {
  // Columns: key absent, empty, `web`, `WEB`.
  const subjects: readonly Labels[] = [{ other: 'web' }, { tier: '' }, { tier: 'web' }, { tier: 'WEB' }];
  const expression = (operator: string, ...values: string[]) => ({
    matchExpressions: [values.length > 0 ? { key: 'tier', operator, values } : { key: 'tier', operator }],
  });
  const table: readonly (readonly [string, object, string])[] = [
    ['{}', {}, '. . . .'],
    ['empty maps and lists', { matchLabels: {}, matchExpressions: [] }, '. . . .'],
    ['null maps and lists', { matchLabels: null, matchExpressions: null }, '. . . .'],
    ['tier: web', { matchLabels: { tier: 'web' } }, 'X X . X'],
    ['tier: ""', { matchLabels: { tier: '' } }, 'X . X X'],
    ['In web', expression('In', 'web'), 'X X . X'],
    ['In "", web', expression('In', '', 'web'), 'X . . X'],
    ['NotIn web', expression('NotIn', 'web'), '. . X .'],
    ['NotIn ""', expression('NotIn', ''), '. X . .'],
    ['NotIn web, WEB, ""', expression('NotIn', 'web', 'WEB', ''), '. X X X'],
    ['Exists', expression('Exists'), 'X . . .'],
    ['DoesNotExist', expression('DoesNotExist'), '. X X X'],
    ['AND', { matchLabels: { tier: 'web' }, ...expression('NotIn', 'web') }, 'X X X X'],
  ];
  for (const [name, raw, expected] of table) {
    it(`${name}: ${expected}`, () => {
      const selector = parsed(raw);
      assert.equal(subjects.map((labels) => (matches(selector, labels) ? '.' : 'X')).join(' '), expected);
    });
  }

  it('does not find what every object inherits', () => {
    for (const key of ['constructor', 'toString', '__proto__', 'hasOwnProperty']) {
      const exists: Selector = { kind: 'all-of', requirements: [{ key, operator: 'Exists', values: [] }] };
      assert.equal(matches(exists, {}), false, key);
      assert.equal(matches(exists, JSON.parse(`{${JSON.stringify(key)}: "x"}`) as Labels), true, key);
    }
  });

  it('matches nothing if unusable', () => {
    assert.equal(matches({ kind: 'nothing', reason: 'test' }, {}), false);
  });
});

describe('selector: parse', () => {
  const unusable: readonly (readonly [string, unknown, string])[] = [
    ['not an object', 'app=web', 'f'],
    ['a list', [], 'f'],
    ['null', null, 'f'],
    ['absent', undefined, 'f'],
    ['an unknown field', { matchFields: {} }, 'f.matchFields'],
    ['matchLabels a list', { matchLabels: [] }, 'f.matchLabels'],
    ['a label that is a number', { matchLabels: { version: 1 } }, 'f.matchLabels["version"]'],
    ['a label that is null', { matchLabels: { version: null } }, 'f.matchLabels["version"]'],
    ['matchExpressions an object', { matchExpressions: {} }, 'f.matchExpressions'],
    ['a null expression', { matchExpressions: [null] }, 'f.matchExpressions[0]'],
    ['no key', { matchExpressions: [{ operator: 'Exists' }] }, 'f.matchExpressions[0].key'],
    ['an empty key', { matchExpressions: [{ key: '', operator: 'Exists' }] }, 'f.matchExpressions[0].key'],
    ['no operator', { matchExpressions: [{ key: 'a' }] }, 'f.matchExpressions[0].operator'],
    [
      'an operator in lower case',
      { matchExpressions: [{ key: 'a', operator: 'exists' }] },
      'f.matchExpressions[0].operator',
    ],
    [
      'an inherited name as operator',
      { matchExpressions: [{ key: 'a', operator: 'constructor' }] },
      'f.matchExpressions[0].operator',
    ],
    ['In without values', { matchExpressions: [{ key: 'a', operator: 'In' }] }, 'f.matchExpressions[0].values'],
    [
      'NotIn with an empty list',
      { matchExpressions: [{ key: 'a', operator: 'NotIn', values: [] }] },
      'f.matchExpressions[0].values',
    ],
    [
      'Exists with values',
      { matchExpressions: [{ key: 'a', operator: 'Exists', values: ['x'] }] },
      'f.matchExpressions[0].values',
    ],
    [
      'values a string',
      { matchExpressions: [{ key: 'a', operator: 'In', values: 'x' }] },
      'f.matchExpressions[0].values',
    ],
    [
      'a value that is a number',
      { matchExpressions: [{ key: 'a', operator: 'In', values: ['x', 1] }] },
      'f.matchExpressions[0].values',
    ],
    [
      'an unknown field in an expression',
      { matchExpressions: [{ key: 'a', operator: 'Exists', not: true }] },
      'f.matchExpressions[0].not',
    ],
  ];
  for (const [name, raw, field] of unusable) {
    it(`${name}: matches nothing and is reported at ${field}`, () => {
      const { selector, problems } = parseSelector(raw, 'f');
      assert.equal(selector.kind, 'nothing');
      assert.deepEqual(
        problems.map((problem) => problem.field),
        [field],
      );
    });
  }

  it('one bad term makes the whole selector unusable, though others are fine', () => {
    const { selector } = parseSelector(
      { matchLabels: { a: 'b' }, matchExpressions: [{ key: 'a', operator: 'Like' }] },
      'f',
    );
    assert.equal(selector.kind, 'nothing');
  });

  it('compares odd keys and values literally', () => {
    const selector = parsed({ matchLabels: { 'not a/valid/key ': 'nor a (value)' } });
    assert.equal(matches(selector, { 'not a/valid/key ': 'nor a (value)' }), true);
  });
});

describe('selector: key and text', () => {
  it('is the same for the same meaning in other words', () => {
    const one = parsed({
      matchLabels: { b: '2', a: '1' },
      matchExpressions: [{ key: 'c', operator: 'In', values: ['y', 'x', 'y'] }],
    });
    const other = parsed({
      matchExpressions: [
        { key: 'c', operator: 'In', values: ['x', 'y'] },
        { key: 'a', operator: 'In', values: ['1'] },
        { key: 'a', operator: 'In', values: ['1', '1'] },
      ],
      matchLabels: { b: '2' },
    });
    assert.equal(selectorKey(one), selectorKey(other));
  });

  it('differs where glued parts would not', () => {
    const raws = [
      {},
      { matchLabels: { a: '' } },
      { matchLabels: { a: 'b,c' } },
      { matchExpressions: [{ key: 'a', operator: 'In', values: ['b', 'c'] }] },
      { matchExpressions: [{ key: 'a', operator: 'NotIn', values: ['b', 'c'] }] },
      { matchLabels: { 'a=b': 'c' } },
      { matchLabels: { a: 'b=c' } },
      { matchLabels: { a: 'b', c: 'd' } },
      { matchLabels: { a: 'b,c=d' } },
      { matchExpressions: [{ key: 'a', operator: 'Exists' }] },
      { matchExpressions: [{ key: 'a', operator: 'DoesNotExist' }] },
      { matchLabels: { a: '"],["b' } },
    ];
    assert.equal(new Set(raws.map((raw) => selectorKey(parsed(raw)))).size, raws.length);
  });

  it('gives every unusable selector one key', () => {
    const keys = [null, { matchLabels: 1 }].map((raw) => selectorKey(parseSelector(raw, 'f').selector));
    assert.equal(new Set(keys).size, 1);
    assert.notEqual(keys[0], selectorKey(parsed({})));
  });

  it('equal keys select the same, whatever the order of terms', () => {
    const requirement: fc.Arbitrary<Requirement> = fc.oneof(
      fc.record({
        key: fc.constantFrom('a', 'b'),
        operator: fc.constantFrom('In' as const, 'NotIn' as const),
        values: fc.uniqueArray(fc.constantFrom('', 'x', 'y'), { minLength: 1 }),
      }),
      fc.record({
        key: fc.constantFrom('a', 'b'),
        operator: fc.constantFrom('Exists' as const, 'DoesNotExist' as const),
        values: fc.constant([]),
      }),
    );
    const labels = fc.dictionary(fc.constantFrom('a', 'b'), fc.constantFrom('', 'x', 'y', 'z'));
    fc.assert(
      fc.property(fc.array(requirement, { maxLength: 4 }), labels, (requirements, subject) => {
        const one: Selector = { kind: 'all-of', requirements };
        const other: Selector = { kind: 'all-of', requirements: [...requirements, ...requirements].reverse() };
        assert.equal(selectorKey(one), selectorKey(other));
        assert.equal(matches(one, subject), matches(other, subject));
      }),
      { numRuns: 300 },
    );
  });
});
