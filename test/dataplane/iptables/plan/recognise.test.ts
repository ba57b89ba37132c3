/** What is read back and is as it was written must be the written value itself; what is not must be what was read. */
import assert from 'node:assert/strict';
import { findDrift } from '../../../../src/dataplane/iptables/drift/find-drift.ts';
import type { ObservedFamily, ObservedSet, ObservedState } from '../../../../src/dataplane/iptables/plan/plan.ts';
import { recognise } from '../../../../src/dataplane/iptables/plan/recognise.ts';
import { runSync } from '../../../../src/core/sliced.ts';

const chains = (entries: Readonly<Record<string, readonly string[]>>): ObservedFamily['chains'] =>
  new Map(Object.entries(entries));
const set = (name: string, members: readonly string[], fields: Partial<ObservedSet> = {}): ObservedSet => ({
  name,
  family: 4,
  type: 'hash:ip',
  maxElements: 1024,
  members: new Map(members.map((member) => [member, true])),
  ...fields,
});
const hooks = (forward: readonly string[] = ['-j PCL-FWD']) => ({ FORWARD: forward, INPUT: [] });
const source = {} as NonNullable<ObservedFamily['source']>;
const state = (family: ObservedFamily, ...sets: readonly ObservedSet[]): ObservedState => ({
  families: { 4: family },
  sets: new Map(sets.map((each) => [each.name, each])),
});

const written = (): ObservedState =>
  state(
    { chains: chains({ 'PCL-FWD': ['-j RETURN'], 'PCL-I-x': ['-j RETURN', '-j DROP'] }), hooks: hooks(), source },
    set('PCL4-a', ['10.0.0.1', '10.0.0.2']),
    set('PCL4-b', ['10.0.0.3']),
  );
/** As the kernel tools would print it: equal, and not one object the same. */
const readBack = (change: Partial<ObservedFamily> = {}, ...sets: readonly ObservedSet[]): ObservedState =>
  state(
    {
      chains: chains({ 'PCL-I-x': ['-j RETURN', '-j DROP'], 'PCL-FWD': ['-j RETURN'] }),
      hooks: hooks(),
      ...change,
    },
    ...(sets.length > 0 ? sets : [set('PCL4-b', ['10.0.0.3']), set('PCL4-a', ['10.0.0.2', '10.0.0.1'])]),
  );
const none = new Map<string, ObservedSet>();

describe('recognising what was read back', () => {
  it('untouched rules are the written ones, with the rules they came from', () => {
    const ours = written();
    const found = runSync(recognise(readBack(), ours, none));
    assert.equal(found.families[4], ours.families[4]);
    for (const [name, { members }] of ours.sets) assert.equal(found.sets.get(name)?.members, members);
    assert.deepEqual(findDrift(ours, found), []);
  });

  it('rules of others in a hook are seen, and our chains recognised all the same', () => {
    const ours = written();
    const found = runSync(recognise(readBack({ hooks: hooks(['-j OTHER', '-j PCL-FWD']) }), ours, none));
    assert.equal(found.families[4]?.chains, ours.families[4]?.chains);
    assert.equal(found.families[4]?.source, undefined);
    assert.deepEqual(found.families[4]?.hooks.FORWARD, ['-j OTHER', '-j PCL-FWD']);
  });

  for (const [what, found] of Object.entries({
    'a rule taken out': { 'PCL-FWD': ['-j RETURN'], 'PCL-I-x': ['-j DROP'] },
    'rules in another order': { 'PCL-FWD': ['-j RETURN'], 'PCL-I-x': ['-j DROP', '-j RETURN'] },
    'a chain gone': { 'PCL-FWD': ['-j RETURN'] },
    'a chain more': { 'PCL-FWD': ['-j RETURN'], 'PCL-I-x': ['-j RETURN', '-j DROP'], 'PCL-z': [] },
    'a chain under another name': { 'PCL-FWD': ['-j RETURN'], 'PCL-I-y': ['-j RETURN', '-j DROP'] },
  })) {
    it(`${what}: what was read stays, and is drift`, () => {
      const now = readBack({ chains: chains(found) });
      const recognised = runSync(recognise(now, written(), none));
      assert.deepEqual(recognised.families[4]?.chains, now.families[4]?.chains);
      assert.equal(recognised.families[4]?.source, undefined);
      assert.notDeepEqual(findDrift(written(), recognised), []);
    });
  }

  for (const [what, found] of Object.entries({
    'an entry taken out': set('PCL4-a', ['10.0.0.1']),
    'an entry in the place of another': set('PCL4-a', ['10.0.0.1', '10.0.0.9']),
    'an entry turned into an exception': set('PCL4-a', [], {
      members: new Map([
        ['10.0.0.1', true],
        ['10.0.0.2', false],
      ]),
    }),
    'a set of another type': set('PCL4-a', ['10.0.0.1', '10.0.0.2'], { type: 'hash:net' }),
    'a set of the other family': set('PCL4-a', ['10.0.0.1', '10.0.0.2'], { family: 6 }),
  })) {
    it(`${what}: the set stays as it was read`, () => {
      const recognised = runSync(recognise(readBack({}, found), written(), none));
      assert.equal(recognised.sets.get('PCL4-a'), found);
    });
  }

  it('a capacity that somebody changed is kept in mind', () => {
    const found = runSync(recognise(readBack({}, set('PCL4-b', ['10.0.0.3'], { maxElements: 2 })), written(), none));
    assert.equal(found.sets.get('PCL4-b')?.maxElements, 2);
  });

  it('without memory, sets that hold what is wanted are recognised by that', () => {
    const wanted = written().sets;
    const found = runSync(recognise(readBack(), undefined, wanted));
    for (const [name, { members }] of wanted) assert.equal(found.sets.get(name)?.members, members);
    assert.equal(found.families[4]?.source, undefined);
  });
});
