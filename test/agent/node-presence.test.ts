import assert from 'node:assert/strict';
import { NodePresence } from '../../src/agent/node-presence.ts';
import { pod as podOf } from '../support/builders.ts';
import type { NodeRecord, Pod } from '../../src/policy/model.ts';

const NODE: NodeRecord = { name: 'node-1', addresses: ['192.0.2.1'] };

function pod(name: string, nodeName: string, address: string): Pod {
  return podOf(`x/${name}`, { nodeName, addresses: [address] });
}

describe('fault: a node that the cluster does not know', () => {
  const a = pod('a', 'node-1', '203.0.113.1');
  const b = pod('b', 'node-1', '203.0.113.2');
  const remote = pod('remote', 'node-2', '203.0.113.9');
  let presence: NodePresence;
  beforeEach(() => {
    presence = new NodePresence('node-1');
  });

  it('is a name of nothing until its object or a pod bound to it was seen', () => {
    assert.deepEqual([presence.isNamed, presence.isPresent], [false, false]);
    presence.podChanged('x/remote', undefined, remote);
    presence.nodeChanged(undefined);
    assert.deepEqual([presence.isNamed, presence.isPresent], [false, false]);
    presence.podChanged('x/a', undefined, a);
    assert.deepEqual([presence.isNamed, presence.isPresent], [true, false]);
    presence.nodeChanged(NODE);
    assert.deepEqual([presence.isNamed, presence.isPresent], [true, true]);
    presence.nodeChanged(undefined);
    assert.deepEqual([presence.isNamed, presence.isPresent, presence.node], [true, false, NODE]);
  });

  it('holds back deletions of its own pods while the object is away, and those still due come when it is back', () => {
    presence.nodeChanged(NODE);
    assert.deepEqual(presence.podChanged('x/b', b, undefined), [['x/b', undefined]]);
    presence.nodeChanged(undefined);
    assert.deepEqual(presence.podChanged('x/a', a, undefined), []);
    assert.deepEqual(presence.podChanged('x/remote', remote, undefined), [['x/remote', undefined]]);
    assert.deepEqual([...presence.held.keys()], ['x/a']);
    assert.deepEqual(presence.nodeChanged(NODE), [['x/a', undefined]]);
    assert.equal(presence.held.size, 0);
    assert.deepEqual(presence.podChanged('x/b', b, undefined), [['x/b', undefined]]);
  });

  it('lets go of a pod held back when another shows its address, or one of its name comes', () => {
    presence.podChanged('x/a', a, undefined);
    presence.podChanged('x/b', b, undefined);
    const heir = pod('heir', 'node-2', '203.0.113.1');
    assert.deepEqual(presence.podChanged('x/heir', undefined, heir), [
      ['x/a', undefined],
      ['x/heir', heir],
    ]);
    const again = pod('b', 'node-1', '203.0.113.3');
    assert.deepEqual(presence.podChanged('x/b', undefined, again), [
      ['x/b', undefined],
      ['x/b', again],
    ]);
    assert.equal(presence.held.size, 0);
  });
});
