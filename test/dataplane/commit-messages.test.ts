/** Messages of the kernel become changes and their authors; whatever is cut off or made up is unreadable, and ends. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { type CommitMessage, readCommitMessages } from '../../src/dataplane/commit-messages.ts';
import { committedBy, FLUSH, joined, message, NEW_CHAIN, NEW_ELEMENT, NEW_RULE } from '../support/commit-messages.ts';

const readOne = (bytes: Uint8Array, isEnough?: () => boolean): readonly CommitMessage[] => {
  const found: CommitMessage[] = [];
  readCommitMessages(bytes, (each) => found.push(each), isEnough);
  return found;
};
const read = (datagrams: readonly Uint8Array[]) => datagrams.flatMap((each) => readOne(each));
const changed = (family: number, type: number, table: string, chain = '', isNew = true) => {
  return { kind: 'changed', family, type, table, chain, isNew } as const;
};

describe('messages about commits to nf_tables', () => {
  it('as Linux sends them', () => {
    assert.deepEqual(read(NEW_CHAIN), [
      changed(2, 0, 'mangle'),
      changed(2, 3, 'mangle', 'PCL-X'),
      { kind: 'committed', program: 'iptables-nft', port: 28_876, generation: 2 },
    ]);
    assert.deepEqual(read(NEW_RULE).slice(1), [
      changed(10, 3, 'mangle', 'FORWARD'),
      changed(10, 6, 'mangle', 'FORWARD'),
      { kind: 'committed', program: 'ip6tables-nft', port: 28_900, generation: 3 },
    ]);
    assert.deepEqual(read(NEW_ELEMENT), [
      changed(1, 12, 'portcullis'),
      { kind: 'committed', program: 'nft', port: 28_919, generation: 8 },
    ]);
    assert.deepEqual(read(FLUSH), [
      changed(10, 8, 'mangle', 'FORWARD', false),
      changed(10, 5, 'mangle', 'FORWARD', false),
      changed(10, 2, 'mangle', '', false),
      changed(1, 8, 'portcullis', 'c', false),
      changed(1, 11, 'portcullis', '', false),
      changed(1, 5, 'portcullis', 'c', false),
      changed(1, 2, 'portcullis', '', false),
      changed(7, 2, 'portcullis', '', false),
      { kind: 'committed', program: 'nft', port: 28_925, generation: 11 },
    ]);
  });

  it('attributes stand in any order, and a port of 32 bits is one', () => {
    const rule = message(6, 2, [
      [3, '1234567'],
      [2, 'FORWARD'],
      [1, 'mangle'],
    ]);
    assert.deepEqual(readOne(joined(rule, committedBy('a name of 15 by', 0xfffffff0, 0x80000001))), [
      changed(2, 6, 'mangle', 'FORWARD'),
      { kind: 'committed', program: 'a name of 15 by', port: 0xfffffff0, generation: 0x80000001 },
    ]);
  });

  it('changes are passed over where enough is known; what ends the transaction is not', () => {
    let left = 1;
    const found = FLUSH.flatMap((each) => readOne(each, () => left-- <= 0));
    assert.deepEqual(found, [
      changed(10, 8, 'mangle', 'FORWARD', false),
      { kind: 'committed', program: 'nft', port: 28_925, generation: 11 },
    ]);
  });

  it('fault: a message that is cut off, of another kind, or longer than all there is', () => {
    const [whole] = NEW_ELEMENT;
    const long = Uint8Array.from(whole!);
    long[0] = 0xff;
    // Its first attribute begins behind two headers.
    const cut = Uint8Array.from(whole!);
    cut[20] = 0xff;
    for (const bytes of [
      whole!.subarray(0, 15),
      whole!.subarray(0, 40),
      long,
      cut,
      new Uint8Array(20),
      message(0x106, 2, []),
    ])
      assert.deepEqual(readOne(bytes), [{ kind: 'unreadable' }]);
    // What stands before it is read.
    assert.equal(readOne(joined(whole!, whole!.subarray(0, 30))).at(0)!.kind, 'changed');
  });

  it('fault: any bytes: read to their end, and nothing is read beyond it', () => {
    const anything = fc.uint8Array({ maxLength: 200 });
    const damaged = fc.tuple(fc.nat(NEW_CHAIN[0]!.length - 1), fc.nat(255)).map(([at, value]) => {
      const bytes = Uint8Array.from(NEW_CHAIN[0]!);
      bytes[at] = value;
      return bytes;
    });
    fc.assert(
      fc.property(fc.oneof(anything, damaged), (bytes) => {
        const behind = joined(Buffer.alloc(8, 'b'), bytes, Buffer.alloc(64, 'x'));
        const found = readOne(behind.subarray(8, 8 + bytes.length));
        assert.ok(found.length <= Math.ceil(bytes.length / 20) + 1);
        assert.ok(!JSON.stringify(found).includes('xxx'));
      }),
    );
  });
});
