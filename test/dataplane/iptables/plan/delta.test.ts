/** What is pending of the desired, and what becomes of the actual. */
import assert from 'node:assert/strict';
import { findDrift } from '../../../../src/dataplane/iptables/drift/find-drift.ts';
import type { ObservedFamily, ObservedSet, ObservedState } from '../../../../src/dataplane/iptables/plan/plan.ts';
import { applied, deltaOf, recognise, withSetsLeft } from '../../../../src/dataplane/iptables/plan/delta.ts';
import type { IpSet } from '../../../../src/dataplane/iptables/rules/rule.ts';
import type { FamilyRules, Ruleset } from '../../../../src/dataplane/iptables/rules/ruleset.ts';
import { runSync } from '../../../../src/core/sliced.ts';
import { JournaledMap, versionedMap } from '../../../../src/core/versioned-map.ts';

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
const rulesOf = (family: 4 | 6): FamilyRules => ({ family }) as FamilyRules;
const RULES = rulesOf(4);
const state = (family: ObservedFamily, ...sets: readonly ObservedSet[]): ObservedState => ({
  families: { 4: family },
  sets: new Map(sets.map((each) => [each.name, each])),
});

const written = (): ObservedState => ({
  ...state(
    { chains: chains({ 'PCL-FWD': ['-j RETURN'], 'PCL-I-x': ['-j RETURN', '-j DROP'] }), hooks: hooks() },
    set('PCL4-a', ['10.0.0.1', '10.0.0.2']),
    set('PCL4-b', ['10.0.0.3']),
  ),
  reached: { families: { 4: RULES }, sets: versionedMap() },
});
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

describe('what is pending', () => {
  const ipSet = (name: string, ...members: readonly string[]): IpSet => ({
    name,
    family: 4,
    type: 'hash:ip',
    members: versionedMap(members.map((member) => [member, true])),
    meaning: name,
  });
  const FAMILIES = { 4: RULES, 6: rulesOf(6) };
  const all = new JournaledMap([ipSet('PCL4-a', '10.0.0.1'), ipSet('PCL4-b')].map((each) => [each.name, each]));
  const desired = (families: Ruleset['families'] = FAMILIES): Ruleset =>
    ({ families, sets: all.snapshot() }) as Partial<Ruleset> as Ruleset;
  const observed = ({ name, family, type, members }: IpSet): ObservedSet => {
    return { name, family, type, members, maxElements: 1024 };
  };
  const reachedBy = (ruleset: Ruleset, isWhole = true): ObservedState => {
    const found = { ...readBack(), variant: 'iptables-nft' } as const;
    const sets = new Map([...ruleset.sets.values()].map((each) => [each.name, observed(each)]));
    return applied(deltaOf(ruleset, found, true), { families: found.families, sets, isWhole });
  };

  it('is everything where the kernel was read', () => {
    assert.deepEqual(deltaOf(desired(), readBack(), true).pending, { sets: 'all', left: [], rules: [4, 6] });
  });

  it('is nothing of what was applied', () => {
    const ruleset = desired();
    const state = reachedBy(ruleset);
    assert.deepEqual(deltaOf(ruleset, state, true).pending, { sets: [], left: [], rules: [] });
    assert.deepEqual([...state.sets.keys()], ['PCL4-a', 'PCL4-b']);
    assert.equal(state.variant, 'iptables-nft');
  });

  it('is everything as long as something is left out, now or then', () => {
    const ruleset = desired();
    assert.deepEqual(deltaOf(ruleset, reachedBy(ruleset), false).pending, { sets: 'all', left: [], rules: [4, 6] });
    assert.deepEqual(deltaOf(ruleset, reachedBy(ruleset, false), true).pending, {
      sets: 'all',
      left: [],
      rules: [4, 6],
    });
  });

  it('is the sets with other members, and the family with other rules', () => {
    const state = reachedBy(desired());
    const changed = ipSet('PCL4-b', '10.0.0.9');
    all.set('PCL4-b', changed);
    const delta = deltaOf(desired({ ...FAMILIES, 6: rulesOf(6) }), state, true);
    assert.deepEqual(delta.pending, { sets: [changed], left: [], rules: [6] });
    const sets = new Map([['PCL4-b', observed(changed)]]);
    const later = applied(delta, { families: state.families, sets, isWhole: true });
    assert.deepEqual(deltaOf(delta.desired, later, true).pending, { sets: [], left: [], rules: [] });
    assert.deepEqual(
      [...later.sets.values()].map(({ members }) => [...members.keys()]),
      [['10.0.0.1'], ['10.0.0.9']],
    );
    assert.equal(state.sets.get('PCL4-b')?.members.size, 0, 'the state before stays what it was');
  });

  it('is the set that came, and the name of the one that went', () => {
    const state = reachedBy(desired());
    const fresh = ipSet('PCL4-c');
    all.set('PCL4-c', fresh);
    assert.deepEqual(deltaOf(desired(), state, true).pending, { sets: [fresh], left: [], rules: [] });
    const more = reachedBy(desired());
    all.set('PCL4-c', undefined);
    assert.deepEqual(deltaOf(desired(), more, true).pending, { sets: [], left: ['PCL4-c'], rules: [] });
  });

  it('is the sets that are left besides the desired ones, until they are gone', () => {
    const ruleset = desired();
    const one = withSetsLeft(reachedBy(ruleset), undefined, ['PCL4-old']);
    const both = withSetsLeft(one, undefined, ['PCL4-old', 'PCL4-older']);
    assert.deepEqual(deltaOf(ruleset, both, true).pending, { sets: [], left: ['PCL4-old', 'PCL4-older'], rules: [] });
    assert.ok(both.sets.has('PCL4-old') && both.sets.has('PCL4-older'));
    assert.equal(both.variant, 'iptables-nft');
    const gone = new Map([['PCL4-older', undefined]]);
    const { families } = both;
    const after = applied(deltaOf(ruleset, both, true), { families, sets: gone, isWhole: true });
    assert.deepEqual(deltaOf(ruleset, after, true).pending, { sets: [], left: ['PCL4-old'], rules: [] });
    assert.deepEqual([...after.sets.keys()], ['PCL4-a', 'PCL4-b', 'PCL4-old']);
  });

  it('is everything where sets are left and nothing was reached', () => {
    const ruleset = desired();
    const state = withSetsLeft(reachedBy(ruleset, false), undefined, ['PCL4-old']);
    assert.equal(deltaOf(ruleset, state, true).pending.sets, 'all');
    const sets = new Map([...state.sets, ['PCL4-old', undefined] as const]);
    const after = applied(deltaOf(ruleset, state, true), { families: state.families, sets, isWhole: true });
    assert.deepEqual([...after.sets.keys()], ['PCL4-a', 'PCL4-b']);
    assert.deepEqual(deltaOf(ruleset, after, true).pending.left, []);
  });
});

describe('recognising what was read back', () => {
  it('untouched rules are the written ones, with the rules they came from', () => {
    const ours = written();
    const found = runSync(recognise(readBack(), ours, none));
    assert.equal(found.families[4], ours.families[4]);
    assert.deepEqual(found.reached, { families: { 4: RULES } });
    for (const [name, { members }] of ours.sets) assert.equal(found.sets.get(name)?.members, members);
    assert.deepEqual(findDrift(ours, found), []);
  });

  it('rules of others in a hook are seen, and our chains recognised all the same', () => {
    const ours = written();
    const found = runSync(recognise(readBack({ hooks: hooks(['-j OTHER', '-j PCL-FWD']) }), ours, none));
    assert.equal(found.families[4]?.chains, ours.families[4]?.chains);
    assert.deepEqual(found.reached, { families: {} });
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
      assert.deepEqual(recognised.reached, { families: {} });
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
    assert.deepEqual(found.reached, { families: {} });
  });
});
