import assert from 'node:assert/strict';
import { matrixText, portsText, shorten } from '../../lab/matrix-text.ts';
import type { CellVerdict } from '../../lab/measure.ts';
import { plain } from '../../src/cli/paint.ts';
import { type MatrixShape, matrixOf } from './matrices.ts';

const LABELS = ['x/a', 'x/b', 'node-1'];

function text(
  labels: readonly string[],
  shape: MatrixShape,
  { width = 80, wrong = [] }: { readonly width?: number; readonly wrong?: readonly number[] } = {},
): string[] {
  const matrix = matrixOf(labels, shape);
  const verdicts = matrix.cells.map((_, index): CellVerdict => (wrong.includes(index) ? 'differs' : 'agrees'));
  return matrixText(matrix, verdicts, { width, paint: plain }).split('\n').slice(0, -1);
}

describe('matrixText', () => {
  it('puts predicted beside measured, rows send and columns receive', () => {
    assert.deepEqual(text(LABELS, { families: [4, 6], denied: (from, to) => from === 'x/a' && to === 'x/b' }), [
      '',
      '                TCP 80 on IPv4 and IPv6',
      '                 predicted    measured',
      '                 1 2 3        1 2 3',
      '1 x/a            - X .        - X .',
      '2 x/b            . - .        . - .',
      '3 node-1         . . -        . . -',
    ]);
  });

  it('marks what is not as predicted on the measured side only', () => {
    const lines = text(['x/a', 'x/b'], { denied: () => true }, { wrong: [0] });
    assert.equal(lines.at(-2), '1 x/a            - X          - !');
    assert.equal(lines.at(-1), '2 x/b            X -          X -');
  });

  it('makes one table of ports and families that look the same', () => {
    const ports = [
      { protocol: 'TCP', port: 80 },
      { protocol: 'TCP', port: 443 },
      { protocol: 'UDP', port: 53 },
    ] as const;
    const lines = text(LABELS, {
      ports,
      families: [4, 6],
      denied: (_from, to, { port }, family) => to === 'x/b' && port === 443 && family === 6,
    });
    const titles = lines.filter((line) => line.includes(' on IPv')).map((line) => line.trim());
    assert.deepEqual(titles, ['TCP 80, UDP 53 on IPv4 and IPv6; TCP 443 on IPv4', 'TCP 443 on IPv6']);
  });

  it('fills a wide terminal with tables side by side, and never passes its width', () => {
    const shape: MatrixShape = {
      ports: [1, 2, 3, 4].map((port) => ({ protocol: 'TCP', port })),
      denied: (from, _to, { port }) => from === `x/${port}`,
    };
    const labels = ['x/1', 'x/2', 'x/3', 'x/4'];
    for (const width of [40, 80, 100, 160]) {
      const lines = text(labels, shape, { width });
      assert.ok(Math.max(...lines.map((line) => line.length)) <= width, `${width}`);
    }
    const bands = (width: number): number => text(labels, shape, { width }).filter((line) => line === '').length;
    assert.deepEqual([bands(160), bands(80), bands(40)], [1, 2, 4]);
  });

  it('shows one table where both agree and only one fits', () => {
    const lines = text(['x/1', 'x/2', 'x/3', 'x/4', 'x/5', 'x/6', 'x/7'], {}, { width: 40 });
    assert.equal(lines[2], '                 predicted and measured');
    assert.equal(lines.length, 4 + 7);
  });

  it('puts them below each other where they differ', () => {
    const lines = text(['x/1', 'x/2', 'x/3', 'x/4', 'x/5', 'x/6', 'x/7'], {}, { width: 40, wrong: [0] });
    assert.deepEqual(
      lines.filter((line) => /predicted|measured/.test(line)).map((line) => line.trim()),
      ['predicted', 'measured'],
    );
    assert.equal(lines.filter((line) => line.includes('!')).length, 1);
  });

  it('cuts what is wider than the terminal into columns', () => {
    const labels = Array.from({ length: 30 }, (_, index) => `x/${index + 1}`);
    const lines = text(labels, {}, { width: 60 });
    assert.ok(Math.max(...lines.map((line) => line.length)) <= 60);
    assert.equal(lines.filter((line) => line.startsWith(' 1 x/1')).length, 2);
    // Two digits, one above the other.
    assert.match(lines[3]!, /^ +1 1 1 1 1 1 1 1 1 1 2 2$/);
    assert.match(lines[4]!, /^ +1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1$/);
    assert.match(lines[4 + 30 + 5]!, /^ +2 3 4 5 6 7 8 9 0$/);
  });

  it('colours marks by what they say', () => {
    const matrix = matrixOf(['x/a', 'x/b'], { denied: (from) => from === 'x/a' });
    const painted = matrixText(matrix, ['agrees', 'flaps'], {
      width: 80,
      paint: (style, part) => `<${style}${part.trim()}>`,
    });
    assert.match(painted, /<dim1>x\/a/);
    assert.ok(painted.includes('<redX>') && painted.includes('<green.>') && painted.includes('<alarm!>'));
  });
});

describe('shorten', () => {
  it('takes from the middle and keeps both ends', () => {
    assert.equal(shorten('shop/web', 8), 'shop/web');
    assert.equal(shorten('namespace/deployment-7d9f8b-abcde', 20), 'namespace…9f8b-abcde');
    assert.equal(shorten('namespace/deployment-7d9f8b-abcde', 20).length, 20);
  });
});

describe('portsText', () => {
  it('says a protocol once', () => {
    const ports = [
      { protocol: 'TCP', port: 80 },
      { protocol: 'UDP', port: 53 },
      { protocol: 'TCP', port: 443 },
    ] as const;
    assert.equal(portsText(ports), 'TCP 80, 443, UDP 53');
  });
});
