/** Whether an address that was released is another pod's now, and by which revision that shows. */
import assert from 'node:assert/strict';
import { AddressIndex, withReleased } from '../../src/compile/address-directory.ts';
import { NodeCompiler } from '../../src/compile/compile-node.ts';
import { namespace, pod } from '../support/builders.ts';

const MANY = 20_001;
const A = '10.0.0.1';
const FIRST = 5;

function setUp() {
  const index = new AddressIndex(FIRST);
  let count = 0;
  return {
    index,
    /** Another pod each time; undefined: the last one is gone. */
    give: (address: string | undefined): void => {
      const key = address === undefined ? `x/p${count}` : `x/p${++count}`;
      const changes = index.put(key, address === undefined ? undefined : pod(key, { addresses: [address] }));
      for (const change of changes) index.noteReuse(change);
    },
    isReassigned: (revision: number) => index.reassignedSince(withReleased(undefined, [A]), revision),
  };
}

describe('released addresses', () => {
  it('a claim shows in the revision after it, and in no later one', () => {
    const { index, give, isReassigned } = setUp();
    give(A);
    assert.equal(index.ownerOf(A), 'x/p1');
    give(undefined);
    assert.equal(index.ownerOf(A), undefined);
    index.advance();
    give('10.0.0.2');
    assert.equal(isReassigned(FIRST + 1), false);
    give(A);
    assert.equal(isReassigned(FIRST + 1), true);
    assert.equal(isReassigned(FIRST + 2), false);
  });

  it('an address that no pod has is reassigned to none', () => {
    const { give, isReassigned } = setUp();
    give(A);
    give(undefined);
    give(A);
    give(undefined);
    assert.equal(isReassigned(FIRST), false);
  });

  it('before the first revision any address may have been released and claimed', () => {
    const { index, give, isReassigned } = setUp();
    give(A);
    assert.equal(isReassigned(FIRST), true);
    index.advance();
    assert.equal(isReassigned(FIRST + 1), false);
  });

  it('where there were too many to remember, any address may be one of them', () => {
    const { index, give, isReassigned } = setUp();
    for (let n = 0; n < MANY; n++) {
      give(`fd00::${n.toString(16)}`);
      give(undefined);
    }
    index.advance();
    give(A);
    assert.equal(isReassigned(FIRST + 1), true);
  });

  it('are looked for in all that left, the latest first', () => {
    const { index, give } = setUp();
    give(A);
    const released = withReleased(withReleased(undefined, [A]), ['10.0.0.2', '10.0.0.3']);
    assert.equal(released?.count, 3);
    assert.equal(withReleased(released, []), released);
    assert.equal(index.reassignedSince(released, FIRST), true);
  });
});

describe('the revision of an intent', () => {
  it('counts up with each intent, and on when the compiler is replaced', () => {
    const compiler = new NodeCompiler('node-1');
    const first = compiler.intent();
    assert.equal(compiler.intent(), first);
    compiler.namespace('x', namespace('x'));
    assert.equal(compiler.intent(), first);
    compiler.pod('x/a', pod('x/a', { addresses: [A] }));
    const second = compiler.intent();
    assert.equal(second.revision, first.revision + 1);
    assert.ok(compiler.successor().intent().revision > second.revision);
  });
});
