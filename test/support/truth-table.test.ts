import assert from 'node:assert/strict';
import { hasOpenFamily, resolvePlaceholders } from './address-plan.ts';
import { parseTruthTable, printTruthTable } from './truth-table.ts';

describe('support: truth tables', () => {
  const text = `
         x/a y/b
    x/a   -   .
    y/b   X   -`;

  it('reads the cells that are asked, row by row', () => {
    assert.deepEqual(parseTruthTable(text), {
      columns: ['x/a', 'y/b'],
      rows: ['x/a', 'y/b'],
      cells: [
        { from: 'x/a', to: 'y/b', reaches: true },
        { from: 'y/b', to: 'x/a', reaches: false },
      ],
    });
  });

  it('refuses what is no table, and what asks nothing', () => {
    assert.throws(() => parseTruthTable(' '), /empty/);
    assert.throws(() => parseTruthTable('  a b\na .'), /row "a" has 1 cells for 2 columns/);
    assert.throws(() => parseTruthTable('  a\nb x'), /"x" from b to a/);
    assert.throws(() => parseTruthTable('  a a\nb . .'), /column "a" twice/);
    assert.throws(() => parseTruthTable('  a\nb .\nb .'), /row "b" twice/);
    assert.throws(() => parseTruthTable('  a\na -'), /no cell/);
  });

  it('prints what was seen, and marks what was not expected', () => {
    const lines = printTruthTable(parseTruthTable(text), () => false).split('\n');
    assert.deepEqual(
      lines.map((line) => line.trim().split(/\s+/)),
      [
        ['x/a', 'y/b'],
        ['x/a', '-', 'X!'],
        ['y/b', 'X', '-'],
      ],
    );
  });
});

describe('support: address placeholders', () => {
  const addressOf = (endpoint: string, family: 4 | 6) =>
    endpoint === 'x/b' ? (family === 4 ? '10.244.1.2' : 'fd00:10:244:1::2') : undefined;

  it('resolve in the family of the run, or in their own', () => {
    const value = [
      '{ip:x/b}',
      '{host:x/b}',
      '{cidr:x/b/24|64}',
      '{cidr:x/b/4}',
      '{all}',
      '{host6:x/b}',
      '{all4}',
      'x/b',
    ];
    assert.deepEqual(resolvePlaceholders(value, addressOf, 4), [
      '10.244.1.2',
      '10.244.1.2/32',
      '10.244.1.0/24',
      '0.0.0.0/4',
      '0.0.0.0/0',
      'fd00:10:244:1::2/128',
      '0.0.0.0/0',
      'x/b',
    ]);
    assert.deepEqual(resolvePlaceholders(value, addressOf, 6).slice(0, 5), [
      'fd00:10:244:1::2',
      'fd00:10:244:1::2/128',
      'fd00:10:244:1::/64',
      'f000::/4',
      '::/0',
    ]);
  });

  it('tell whether they leave the family open', () => {
    assert.equal(hasOpenFamily({ cidr: '{host:x/b}' }), true);
    assert.equal(hasOpenFamily({ cidr: '{all}' }), true);
    assert.equal(hasOpenFamily({ cidr: '{host4:x/b}', except: ['{cidr6:x/b/64}'] }), false);
  });

  it('never resolve to nothing', () => {
    assert.throws(() => resolvePlaceholders('{ip:x/c}', addressOf, 4), /x\/c has no IPv4 address/);
    assert.throws(() => resolvePlaceholders('{cidr:x/b/99}', addressOf, 4), /not a prefix/);
  });
});
