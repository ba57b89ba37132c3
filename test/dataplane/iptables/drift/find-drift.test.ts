import assert from 'node:assert/strict';
import type { ObservedSet } from '../../../../src/dataplane/iptables/plan/plan.ts';
import { findHeaderDrift, findJumpDrift } from '../../../../src/dataplane/iptables/drift/find-drift.ts';
import type { SetHeader } from '../../../../src/dataplane/iptables/drift/read-looks.ts';

const OURS = ['-m conntrack ! --ctstate RELATED,ESTABLISHED -j PCL-FWD', '-m connmark ! --mark 0x1 -j PCL-FWD-RECHECK'];
const WRITTEN = { hooks: { FORWARD: [...OURS, '-j OTHER'], INPUT: [] } };

function jumps(...found: readonly string[]): readonly string[] {
  return findJumpDrift(WRITTEN, 4, 'FORWARD', found).map(({ what }) => what);
}

describe('fault: what stands in the way of our jumps is named', () => {
  it('nothing, when they are first, whatever comes behind', () => {
    assert.deepEqual(jumps(...OURS), []);
    assert.deepEqual(jumps(...OURS, '-j ACCEPT'), []);
  });

  it('rules before ours, how many and which', () => {
    assert.deepEqual(jumps('-j ACCEPT', '-i eth0 -g X', ...OURS), [
      'IPv4: our jump is no longer first: 2 rules stand before ours, first: -j ACCEPT',
    ]);
  });

  it('rules between ours, ours in another order, ours twice', () => {
    assert.deepEqual(jumps(OURS[0]!, '-j ACCEPT', OURS[1]!), [
      'IPv4: our jump is no longer first: a rule of others stands between ours: -j ACCEPT',
    ]);
    assert.deepEqual(jumps(OURS[1]!, OURS[0]!), ['IPv4: our jump is no longer first: ours are in another order']);
    assert.deepEqual(jumps(...OURS, OURS[0]!), ['IPv4: our jump is there more than once']);
  });

  it('ours gone, and what is there instead', () => {
    assert.deepEqual(jumps(), ['IPv4: our jump is gone; the chain is empty']);
    assert.deepEqual(jumps('-j OTHER', '-j LAST'), ['IPv4: our jump is gone; found 2 rules, first: -j OTHER']);
    assert.deepEqual(jumps(OURS[0]!, `-m comment --comment ${'x'.repeat(300)}`)[0]!.length < 200, true);
  });
});

describe('fault: a set that was emptied, made anew or swapped shows in its header', () => {
  const set = (name: string, ...members: string[]): ObservedSet => ({
    name,
    family: 4,
    type: 'hash:ip',
    maxElements: 10,
    members: new Map(members.map((member) => [member, true])),
  });
  const written = new Map(
    [set('PCL4-a', '10.0.0.1', '10.0.0.2'), set('PCL4-b', '10.0.0.3', '10.0.0.4')].map((s) => [s.name, s]),
  );
  const header = (entries: number, seed: string, type = 'hash:ip'): SetHeader => ({ type, entries, seed });
  const good = { 'PCL4-a': header(2, 'a'), 'PCL4-b': header(2, 'b'), other: header(9, 'c') };
  const find = (seeds: Map<string, string>, headers: Readonly<Record<string, SetHeader>>) =>
    findHeaderDrift(written, new Map(Object.entries(headers)), seeds).map(
      ({ kind, object, what }) => `${kind} ${object}: ${what}`,
    );

  it('nothing while all is as written; seeds are learned', () => {
    const seeds = new Map<string, string>();
    assert.deepEqual(find(seeds, good), []);
    assert.deepEqual(
      [...seeds],
      [
        ['PCL4-a', 'a'],
        ['PCL4-b', 'b'],
      ],
    );
  });

  it('flushed, gone, of another type, one of ours that is not ours', () => {
    const seeds = new Map<string, string>();
    assert.deepEqual(find(seeds, { ...good, 'PCL4-a': header(0, 'a') }), ['member PCL4-a: 0 entries instead of 2']);
    assert.deepEqual(find(seeds, { 'PCL4-b': header(2, 'b') }), ['set PCL4-a: set is gone']);
    assert.deepEqual(find(seeds, { ...good, 'PCL4-a': header(2, 'a', 'hash:net') }), [
      'set PCL4-a: set is of type hash:net instead of hash:ip',
    ]);
    assert.deepEqual(find(seeds, { ...good, 'PCL4-x': header(0, 'x') }), ['set PCL4-x: a set we did not make']);
  });

  it('two of the same size swapped', () => {
    const seeds = new Map<string, string>();
    find(seeds, good);
    assert.deepEqual(find(seeds, { ...good, 'PCL4-a': header(2, 'b'), 'PCL4-b': header(2, 'a') }), [
      'set PCL4-a: set was made anew or swapped',
      'set PCL4-b: set was made anew or swapped',
    ]);
  });
});
