import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { readYaml, type YamlResult } from '../../src/cluster/kubectl-yaml.ts';

/** The text of a `spec`, and what kubectl makes of it. Each row was measured with kubectl 1.32; where there is one it is again. */
const SAME: readonly (readonly [text: string, value: unknown])[] = [
  ['[yes, Yes, YES, on, On, y, Y, true, TRUE]', Array(9).fill(true)],
  ['[no, No, NO, off, OFF, n, N, false, False]', Array(9).fill(false)],
  ['[yEs, oN, "yes", \'on\', !!str yes, yess]', ['yEs', 'oN', 'yes', 'on', 'yes', 'yess']],
  ['[~, null, Null, NULL, ""]', [null, null, null, null, '']],
  ['[0777, -017, 00, 0o17, 0x1F, -0x10, 0b11]', [511, -15, 0, 15, 31, -16, 3]],
  ['[08, 09.5, 0o8, 0b2, 0x]', [8, 9.5, '0o8', '0b2', '0x']],
  ['[1_000, 0_7, 1__0, 1_, 1_0.5, _1]', [1000, 7, 10, 1, 10.5, '_1']],
  ['[1.5, .5, 1., 1e3, -.5e-2, +5, -0]', [1.5, 0.5, 1, 1000, -0.005, 5, 0]],
  [
    '[1:30, 2001-01-01, 2001-12-14t21:59:43.10-05:00, 1.2.3, 1e999, .]',
    ['1:30', '2001-01-01', '2001-12-14t21:59:43.10-05:00', '1.2.3', '1e999', '.'],
  ],
  [
    '{cidr: 10.0.0.0/8, six: "fd00::/8", port: 80, name: "80"}',
    { cidr: '10.0.0.0/8', six: 'fd00::/8', port: 80, name: '80' },
  ],
  ['{1: a, yes: b, 0777: c, 1.5: d, "2": e}', { 1: 'a', true: 'b', 511: 'c', 1.5: 'd', 2: 'e' }],
  ['{a: 1, b: 2, a: 3}', { a: 3, b: 2 }],
  [
    '{x: &x {p: 1, q: 2}, after: {<<: *x, q: 3}, before: {q: 3, <<: *x}}',
    {
      x: { p: 1, q: 2 },
      after: { p: 1, q: 3 },
      before: { p: 1, q: 2 },
    },
  ],
  [
    '{x: &x {p: 1}, w: &w {p: 2, r: 5}, z: {<<: [*x, *w]}, quoted: {"<<": {a: 1}}}',
    {
      x: { p: 1 },
      w: { p: 2, r: 5 },
      z: { p: 1, r: 5 },
      quoted: { '<<': { a: 1 } },
    },
  ],
  [
    '{a: !!str 123, b: !!int "5", c: !!float 5, d: !!binary aGFsbG8=, e: !own x}',
    {
      a: '123',
      b: 5,
      c: 5,
      d: 'hallo',
      e: 'x',
    },
  ],
  ['{a:\tb, c: x y}', { a: 'b', c: 'x y' }],
  ['{__proto__: x, constructor: z}', JSON.parse('{"__proto__":"x","constructor":"z"}')],
];

const REFUSED: readonly (readonly [text: string, message: RegExp])[] = [
  ['{a: .inf}', /\.inf is no number of JSON/],
  ['{a: .nan}', /\.nan is no number of JSON/],
  ['{~: a}', /a key must be text, not null/],
  ['{[a]: b}', /a key must be text, not \["a"\]/],
  ['{a: *nowhere}', /an alias without its anchor/],
  ['{a: &a [*a]}', /an anchor that contains itself/],
  ['{<<: text}', /<< must be followed by a map/],
  ['\n  a: 1\n\tb: 2', /Tabs|tab/],
  ['{a: [1, 2}', /not valid YAML/],
];

function onlyValue(results: readonly YamlResult[]): unknown {
  assert.equal(results.length, 1);
  const [result] = results;
  assert.ok(result && 'value' in result, JSON.stringify(result));
  return result.value;
}

const valuesOf = (text: string): unknown[] =>
  readYaml(text).map((result) => ('value' in result ? result.value : `error: ${result.error}`));

const asSpec = (text: string, name: string): string =>
  `apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: ${name}}\nspec: ${text}\n`;

describe('readYaml', () => {
  for (const [text, value] of SAME)
    it(`reads ${text}`, () => {
      assert.deepEqual(onlyValue(readYaml(text)), value);
    });

  for (const [text, message] of REFUSED)
    it(`refuses ${JSON.stringify(text)}`, () => {
      const [result] = readYaml(`spec: ${text}`);
      assert.ok(result && 'error' in result, JSON.stringify(result));
      assert.match(result.error, message);
    });

  it('agrees with a real kubectl on all of these', function () {
    const kubectl = (input: string): string =>
      execFileSync('kubectl', ['label', '--local', '--dry-run=client', '-o', 'json', '-f', '-', 'x=y'], {
        input,
        encoding: 'utf8',
        timeout: 20_000,
        stdio: 'pipe',
      });
    try {
      kubectl(asSpec('{}', 'a'));
    } catch {
      return this.skip();
    }
    const printed = kubectl(SAME.map(([text], index) => asSpec(text, `w${index}`)).join('---\n'));
    const specs = printed.split(/^(?=\{)/m).map((one) => (JSON.parse(one) as { spec: unknown }).spec);
    assert.deepEqual(
      specs,
      SAME.map(([, value]) => value),
    );
    for (const [text] of REFUSED) assert.throws(() => kubectl(asSpec(text, 'a')), text);
  });

  it('takes documents apart: separators with comments, empty documents, CRLF, a byte order mark', () => {
    assert.deepEqual(valuesOf('\uFEFFa: 1\n---\n---\n# c\n--- # c\nb: 2\n'), [{ a: 1 }, null, null, { b: 2 }]);
    assert.deepEqual(valuesOf('---\r\na: 1\r\nb: |\r\n  x\r\n---\r\nc: 1\r\n'), [{ a: 1, b: 'x\n' }, { c: 1 }]);
    assert.deepEqual(valuesOf(''), []);
  });

  it('refuses what kubectl would not see: a document behind an end mark', () => {
    const [first, second] = valuesOf('a: 1\n...\nb: 2\n');
    assert.deepEqual(first, { a: 1 });
    assert.match(String(second), /follows the end mark `\.\.\.` without a `---`/);
    assert.deepEqual(valuesOf('a: 1\n...\n---\nb: 2\n'), [{ a: 1 }, { b: 2 }]);
  });

  it('reads JSON as JSON: one object after another, tabs, keys that YAML would read otherwise', () => {
    assert.deepEqual(valuesOf('{"a": 1}{"a": 2}\n {"a": "}\\"{"}'), [{ a: 1 }, { a: 2 }, { a: '}"{' }]);
    assert.deepEqual(valuesOf('\uFEFF{\n\t"a":\t1, "a": 2}'), [{ a: 2 }]);
    assert.deepEqual(valuesOf('{a: yes}\n---\nb: 1\n'), [{ a: true }, { b: 1 }]);
    assert.match(String(valuesOf('{"a": 1} x')[0]), /not valid YAML/);
  });

  it('knows the lines of fields, and keys that are given twice', () => {
    const [result] = readYaml('# c\nkind: List\nitems:\n- a: 1\n  b:\n    c: 2\n  a: 3\n');
    assert.ok(result && 'value' in result);
    assert.deepEqual(
      [
        result.line,
        result.lineAt(['items', 0]),
        result.lineAt(['items', 0, 'b', 'c']),
        result.lineAt(['items', 7, 'x']),
      ],
      [2, 4, 6, undefined],
    );
    assert.equal(result.lineAt(['items', 0, 'a']), 7);
    assert.deepEqual(result.duplicates, [{ key: 'a', line: 7 }]);
    const second = readYaml('{"a": 1}\n\n{"a": 2}')[1];
    assert.equal(second?.line, 3);
  });

  it('fault: aliases that multiply, and depth without end, are an error and not the end', () => {
    const lines = ['a: &a [x,x,x,x,x,x,x,x,x]'];
    for (const [index, name] of 'bcdefghi'.split('').entries())
      lines.push(`${name}: &${name} [${Array(9).fill(`*${'abcdefghi'[index]}`).join(',')}]`);
    assert.match(String(valuesOf(lines.join('\n'))[0]), /aliases stand for more than 100000 values/);
    assert.match(String(valuesOf('['.repeat(100_000))[0]), /error: /);
    assert.match(String(valuesOf('{"a":'.repeat(100_000))[0]), /error: /);
  });

  it('fault: no text makes it throw', () => {
    const yaml = fc.string({ unit: fc.constantFrom(...'{}[]:-&*!|>#\n \t"\'a1,?<y0.'.split('')) });
    fc.assert(
      fc.property(fc.oneof(fc.string(), yaml, fc.json()), (text) => {
        JSON.stringify(readYaml(text));
      }),
      { numRuns: 2_000 },
    );
  });
});
