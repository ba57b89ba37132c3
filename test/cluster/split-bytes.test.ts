import assert from 'node:assert/strict';
import fc from 'fast-check';
import { ItemSplitter, LineSplitter, MAX_OBJECT_BYTES, TooLong } from '../../src/cluster/split-bytes.ts';

/** `bytes` cut at the given places, taken modulo its length. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const at = [0, ...places.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return at.slice(1).map((end, index) => bytes.subarray(at[index], end));
}

const places = fc.array(fc.nat(), { maxLength: 20 });

describe('split-bytes', () => {
  it('lines come out the same however the bytes are cut', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary' }), { maxLength: 8 }), places, (texts, cuts) => {
        const lines = texts.map((text) => JSON.stringify(text));
        const splitter = new LineSplitter();
        const found: string[] = [];
        for (const chunk of cut(Buffer.from(`${lines.join('\n')}\nrest`), cuts))
          for (const line of splitter.push(chunk)) found.push(line.toString('utf8'));
        assert.deepEqual(found, lines);
        assert.equal(splitter.rest()?.toString(), 'rest');
      }),
    );
  });

  it('long lines and short ones come out the same however the bytes are cut, and no chunk is held', () => {
    const lengths = fc.array(fc.constantFrom(1, 100, 16_000, 65_535, 65_536, 65_537, 200_000), { maxLength: 6 });
    fc.assert(
      fc.property(lengths, places, (wanted, cuts) => {
        const lines = wanted.map((length, index) => `${index}`.repeat(length));
        const splitter = new LineSplitter();
        const found: string[] = [];
        for (const part of cut(Buffer.from(`${lines.join('\n')}\nrest`), cuts)) {
          const chunk = Buffer.from(part);
          for (const line of splitter.push(chunk)) found.push(line.toString('utf8'));
          chunk.fill('?');
        }
        assert.ok(splitter.rest()?.equals(Buffer.from('rest')));
        assert.deepEqual(
          found.map((line) => [line.length, line[0], new Set(line).size]),
          lines.map((line) => [line.length, line[0], 1]),
        );
      }),
    );
  });

  it('items and envelope come out the same however the bytes are cut and the list is written', () => {
    const item = fc.dictionary(fc.string(), fc.jsonValue());
    const list = fc.record({ items: fc.array(item, { maxLength: 5 }), metadata: fc.jsonValue(), kind: fc.string() });
    fc.assert(
      fc.property(
        list,
        fc.boolean(),
        fc.constantFrom(0, 2, '\t'),
        places,
        ({ items, metadata, kind }, first, indent, cuts) => {
          const value = first ? { items, kind, metadata } : { kind, metadata, items };
          const splitter = new ItemSplitter();
          const found: unknown[] = [];
          for (const chunk of cut(Buffer.from(JSON.stringify(value, undefined, indent)), cuts))
            for (const bytes of splitter.push(chunk)) found.push(JSON.parse(bytes.toString('utf8')));
          assert.deepEqual(found, JSON.parse(JSON.stringify(items)));
          assert.ok(splitter.complete);
          const expected = JSON.parse(JSON.stringify({ kind, metadata, items: [] }));
          assert.deepEqual(JSON.parse(splitter.envelope().toString('utf8')), expected);
        },
      ),
      { numRuns: 300 },
    );
  });

  it("only the list's own items are taken", () => {
    const value = {
      a: 'items',
      b: [{ items: [1] }],
      metadata: { items: [{ x: 1 }] },
      items: [{ items: [{}] }],
      last: [{}],
    };
    const splitter = new ItemSplitter();
    const found = [...splitter.push(Buffer.from(JSON.stringify(value)))].map((bytes) => bytes.toString());
    assert.deepEqual(found, ['{"items":[{}]}']);
    assert.deepEqual(JSON.parse(splitter.envelope().toString()), { ...value, items: [] });
  });

  it('a list that stops early is not complete', () => {
    const text = '{"items":[{"a":1}],"metadata":{}}';
    for (let length = 0; length < text.length; length++) {
      const splitter = new ItemSplitter();
      for (const _ of splitter.push(Buffer.from(text.slice(0, length)))) void _;
      assert.equal(splitter.complete, false, text.slice(0, length));
    }
  });

  it('memory is bounded', () => {
    const chunk = Buffer.alloc(1024 * 1024, 'x');
    const feed = (splitter: LineSplitter | ItemSplitter): void => {
      for (let bytes = 0; bytes <= MAX_OBJECT_BYTES; bytes += chunk.length)
        for (const _ of splitter.push(chunk)) void _;
    };
    assert.throws(() => feed(new LineSplitter()), TooLong);
    assert.throws(() => feed(new ItemSplitter()), TooLong);
    const inItem = new ItemSplitter();
    for (const _ of inItem.push(Buffer.from('{"items":[{"a":"'))) void _;
    assert.throws(() => feed(inItem), /list item longer/);
  });
});
