import assert from 'node:assert/strict';
import fc from 'fast-check';
import { readJson } from '../../../lab/api/read-json.ts';

describe('reading JSON', () => {
  it('gives what JSON.parse gives, in any layout', () => {
    fc.assert(
      fc.property(fc.jsonValue({ noUnicodeString: false }), fc.constantFrom(0, 1, '\t', ' \r\n'), (value, space) => {
        const text = JSON.stringify(value, null, space);
        const { value: read, duplicates } = readJson(text);
        assert.deepEqual(read, JSON.parse(text));
        assert.deepEqual(duplicates, []);
      }),
      { numRuns: 500 },
    );
  });

  it('throws what JSON.parse throws', () => {
    for (const text of ['', '{', '{"a":}', '[1,]', '01', '{"a":1} x', "{'a':1}"]) {
      assert.throws(() => readJson(text), SyntaxError, text);
    }
  });

  it('names keys given twice; the later value counts, objects are merged', () => {
    const { value, duplicates } = readJson('{"a":{"x":1,"y":[{"k":1,"k":2}]},"b":1,"a":{"z":2},"b":"two"}');
    assert.deepEqual(value, { a: { x: 1, y: [{ k: 2 }], z: 2 }, b: 'two' });
    assert.deepEqual(duplicates, ['a.y[0].k', 'a', 'b']);
  });

  it('names numbers that are written as fractions', () => {
    const { value, fractions } = readJson('{"a":[80.0,80,8e1,-1.5],"b":{"c":1E2},"d":1.0,"d":1}');
    assert.deepEqual(value, { a: [80, 80, 80, -1.5], b: { c: 100 }, d: 1 });
    assert.deepEqual(
      [...fractions],
      [
        ['a[0]', '80.0'],
        ['a[2]', '8e1'],
        ['a[3]', '-1.5'],
        ['b.c', '1E2'],
      ],
    );
  });

  it('keeps keys that mean something to JavaScript', () => {
    const { value } = readJson('{"__proto__":{"a":1},"constructor":2}');
    assert.deepEqual(Object.keys(value as object), ['__proto__', 'constructor']);
    assert.equal(({} as { a?: number }).a, undefined);
  });
});
