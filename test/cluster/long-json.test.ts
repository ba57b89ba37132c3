import assert from 'node:assert/strict';
import fc from 'fast-check';
import { LONG_VALUE_BYTES, LongJson, readJson } from '../../src/cluster/long-json.ts';

const bytes = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const long = 'x'.repeat(LONG_VALUE_BYTES);

/** The same with every long value parsed. */
function whole(value: unknown): unknown {
  if (value instanceof LongJson) return value.parse();
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, whole(member)]));
}

describe('JSON with long values', () => {
  it('short bytes are parsed whole', () => {
    assert.deepEqual(readJson(bytes({ a: [1, { b: null }] }), 3), { a: [1, { b: null }] });
  });

  it('opens objects down to the depth, and leaves what is long below as bytes', () => {
    const value = readJson(
      bytes({ object: { metadata: { name: 'p', labels: { a: long } }, spec: [long], other: 1 } }),
      3,
    );
    const { object } = value as { object: { metadata: Record<string, unknown>; spec: unknown; other: unknown } };
    assert.equal(object.metadata.name, 'p');
    assert.ok(object.metadata.labels instanceof LongJson);
    assert.ok(object.spec instanceof LongJson);
    assert.equal(object.other, 1);
    assert.ok(readJson(bytes({ object: long }), 0) instanceof LongJson);
  });

  it('a name means itself, and of two the last one counts', () => {
    const text = `{"__proto__":{"a":1},"b":1,"b":2,"constructor":"c","long":"${long}"}`;
    const value = readJson(Buffer.from(text), 1) as Record<string, unknown>;
    assert.deepEqual(Object.keys(value), ['__proto__', 'b', 'constructor', 'long']);
    assert.equal(value.b, 2);
    assert.equal(Object.getPrototypeOf(value), Object.prototype);
  });

  it('says the same as JSON.parse, whatever the values, white space and escapes', () => {
    const json = fc.jsonValue({ maxDepth: 4 });
    const space = fc.constantFrom('', ' ', '\n', '\t\r ');
    fc.assert(
      fc.property(fc.dictionary(fc.string(), json, { maxKeys: 6 }), space, fc.nat(4), (members, indent, depth) => {
        const object = { ...members, '"\\': { deep: { deeper: [long, members] } }, last: members };
        const text = `${indent}${JSON.stringify(object, undefined, indent)}${indent}`;
        const expected: unknown = JSON.parse(text);
        assert.deepEqual(whole(readJson(Buffer.from(text), depth)), expected);
      }),
      { numRuns: 150 },
    );
  });

  it('what was cut off, or goes on after its end, is no JSON', () => {
    const text = bytes({ object: { metadata: { name: 'p' }, spec: { rules: [{ a: long }], more: 'x' } } });
    for (const end of [LONG_VALUE_BYTES + 5, text.length - 12, text.length - 2, text.length - 1])
      assert.equal(readJson(text.subarray(0, end), 3), undefined, `${end} bytes`);
    for (const extra of ['}', ',', 'x', '{}'])
      assert.equal(readJson(Buffer.concat([text, Buffer.from(extra)]), 3), undefined);
  });

  it('gives the named members of the objects in a long list', () => {
    const list = [
      { name: 'a', env: [long], ports: [{ containerPort: 1 }] },
      { name: 'b', ports: Array.from({ length: 3000 }, () => 1) },
    ];
    const items = new LongJson(bytes(list)).items('name', 'ports')!;
    assert.deepEqual(items[0], { name: 'a', ports: [{ containerPort: 1 }] });
    assert.equal(items[1]!.name, 'b');
    assert.ok(items[1]!.ports instanceof LongJson || Array.isArray(items[1]!.ports));
    assert.equal(new LongJson(bytes({ a: long })).items('a'), undefined);
    assert.equal(new LongJson(bytes([long])).items('a'), undefined);
  });
});
