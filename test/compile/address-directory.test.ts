/** Whether an address that was released is another pod's now, and by which revision that shows. */
import assert from 'node:assert/strict';
import { AddressIndex, withReleased } from '../../src/compile/address-directory.ts';
import { BlockDirectory } from '../../src/compile/block-directory.ts';
import { NodeCompiler } from '../../src/compile/compile-node.ts';
import { namespace, pod } from '../support/builders.ts';

const MANY = 20_001;
const A = '10.0.0.1';
const FIRST = 5;

function setUp() {
  const index = new AddressIndex('node-1', FIRST);
  const blocks = new BlockDirectory([]);
  let count = 0;
  return {
    index,
    /** Another pod each time; undefined: the last one is gone. */
    give: (address: string | undefined): void => {
      const key = address === undefined ? `x/p${count}` : `x/p${++count}`;
      const changes = index.put(key, address === undefined ? undefined : pod(key, { addresses: [address] }));
      for (const change of changes) index.noteReuse(change);
    },
    now: () => index.directory(blocks),
    isReassigned: (revision: number) => index.directory(blocks).reassignedSince(withReleased(undefined, [A]), revision),
  };
}

describe('released addresses', () => {
  it('a claim shows in the revision after it, and in no later one', () => {
    const { index, give, now, isReassigned } = setUp();
    give(A);
    assert.equal(now().ownerOf(A), 'x/p1');
    give(undefined);
    assert.equal(now().ownerOf(A), undefined);
    index.advance();
    give('10.0.0.2');
    assert.equal(isReassigned(FIRST + 1), false);
    give(A);
    assert.equal(isReassigned(FIRST + 1), true);
    assert.equal(isReassigned(FIRST + 2), false);
  });

  it('a claim after a directory was taken shows in the next one, since the revision of the first', () => {
    const { index, give, now } = setUp();
    give(A);
    give(undefined);
    const taken = now();
    index.advance();
    give(A);
    const released = withReleased(undefined, [A]);
    assert.equal(taken.reassignedSince(released, FIRST), false);
    assert.equal(taken.ownerOf(A), undefined);
    assert.equal(now().reassignedSince(released, FIRST), true);
    assert.equal(now().reassignedSince(released, FIRST + 1), true);
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
    const { now, give } = setUp();
    give(A);
    const released = withReleased(withReleased(undefined, [A]), ['10.0.0.2', '10.0.0.3']);
    assert.equal(released?.count, 3);
    assert.equal(withReleased(released, []), released);
    assert.equal(now().reassignedSince(released, FIRST), true);
  });
});

describe('an address that changed hands', () => {
  it('is one whose pod is gone, at any revision', () => {
    const { give, now } = setUp();
    assert.equal(now().changedHands(A, FIRST), false);
    give(A);
    give(undefined);
    assert.deepEqual([now().changedHands(A, FIRST + 9), now().changedHands(A, undefined)], [true, true]);
    assert.equal(now().changedHands('10.0.0.2', FIRST), false);
  });

  it('is one that another pod has, since the revision that shows it', () => {
    const { index, give, now } = setUp();
    give(A);
    give(undefined);
    const taken = now();
    index.advance();
    give(A);
    assert.deepEqual(
      [FIRST, FIRST + 1, FIRST + 2, undefined].map((revision) => now().changedHands(A, revision)),
      [true, true, false, false],
    );
    assert.equal(taken.changedHands(A, FIRST + 2), true);
  });

  it('is one that goes from pod to pod with no moment between, but not one whose pod is only relabelled', () => {
    const { index, now } = setUp();
    const put = (key: string, parts: Parameters<typeof pod>[1] | undefined): void => {
      for (const change of index.put(key, parts && pod(key, { addresses: [A], ...parts }))) index.noteReuse(change);
    };
    put('x/a', { uid: '1' });
    index.advance();
    put('x/a', { uid: '1', labels: { app: 'web' } });
    assert.equal(now().changedHands(A, FIRST), false);
    put('x/a', { uid: '2' });
    assert.equal(now().changedHands(A, FIRST + 1), true);
    assert.equal(now().changedHands(A, FIRST + 2), false);
  });

  it('may be any, where there were too many to remember', () => {
    const { index, give, now } = setUp();
    for (let n = 0; n < MANY; n++) {
      give(`fd00::${n.toString(16)}`);
      give(undefined);
    }
    assert.equal(now().changedHands(A, undefined), true);
    index.advance();
    index.advance();
    give(A);
    assert.equal(now().changedHands(A, FIRST + 2), true);
    assert.equal(now().changedHands(A, FIRST + 3), false);
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
