/** Pods are found by the labels that selectors ask for: what a set costs does not grow with pods that have others. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { LabelIndex } from '../../src/compile/label-index.ts';
import { PeerSets, peerClause, selectPeers, type SetPlan } from '../../src/compile/peer-sets.ts';
import { runSync } from '../../src/core/sliced.ts';
import type { Labels, Peer, Pod } from '../../src/policy/model.ts';
import { matches } from '../../src/policy/selector.ts';
import { runs } from '../property/runs.ts';
import { namespace, pod, policy } from '../support/builders.ts';

const UNLIMITED = { entries: Number.POSITIVE_INFINITY, comparisons: Number.POSITIVE_INFINITY };

function remote(name: string, address: string, labels: Labels): Pod {
  return { ...pod(name, { nodeName: 'node-2', addresses: [address] }), labels };
}

function peersOf(from: readonly object[]): readonly Peer[] {
  const [rule] = policy('x/p', { podSelector: {}, ingress: [{ from }] }).ingress;
  return rule!.peers as readonly Peer[];
}

/** Makes the set of these peers, and tells its members. */
function membersOf(
  peers: PeerSets,
  from: readonly object[],
): { readonly key: string; readonly members: () => string[] } {
  const plan: SetPlan = new Map();
  const clause = peerClause(selectPeers('x', peersOf(from)), 4, plan);
  assert.ok(clause.kind === 'set');
  const { key } = clause;
  assert.ok(runSync(peers.provide([key], plan, UNLIMITED)));
  return { key, members: () => [...peers.values().addressSets.get(key)!.members.keys()].sort() };
}

describe('kinds of pods by label', () => {
  it('has those with the label, whichever keys were asked for before, and nothing that was taken out', () => {
    const key = fc.oneof(
      { weight: 4, arbitrary: fc.constantFrom('app', 'constructor') },
      { weight: 1, arbitrary: fc.nat(20).map((n) => `k${n}`) },
    );
    const value = fc.constantFrom('a', '');
    const labels = fc.dictionary(key, value, { noNullPrototype: true });
    const step = fc.oneof(
      fc.record({ put: labels }),
      fc.record({ take: fc.nat(30) }),
      fc.record({ ask: fc.tuple(key, value) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const there = new Set<{ readonly labels: Labels }>();
        const index = new LabelIndex(() => there);
        for (const each of steps) {
          if ('put' in each) {
            const value = { labels: each.put };
            there.add(value);
            index.add(value);
          } else if ('take' in each) {
            const value = [...there][each.take];
            if (value && there.delete(value)) index.remove(value);
          } else {
            const [asked, wanted] = each.ask;
            const has = ({ labels: own }: { labels: Labels }): boolean =>
              Object.hasOwn(own, asked) && own[asked] === wanted;
            assert.deepEqual(new Set(index.with(asked, wanted)), new Set([...there].filter(has)));
          }
        }
      }),
      runs(300),
    );
  });

  it('a set of many kinds of pods has those that are selected, as pods, sets and namespaces come and go', () => {
    const labels = fc.record({ app: fc.nat(9), tier: fc.nat(3) }, { requiredKeys: [] });
    const values = (most: number): fc.Arbitrary<string[]> =>
      fc.uniqueArray(fc.nat(most).map(String), { minLength: 1, maxLength: 3 });
    const requirement = fc.oneof(
      fc.record({ key: fc.constantFrom('app', 'tier'), operator: fc.constantFrom('In', 'NotIn'), values: values(9) }),
      fc.record({ key: fc.constantFrom('app', 'tier'), operator: fc.constantFrom('Exists', 'DoesNotExist') }),
    );
    const selector = fc.record({ matchExpressions: fc.array(requirement, { maxLength: 2 }) });
    const inNamespaces = fc.constantFrom(
      {},
      { namespaceSelector: {} },
      { namespaceSelector: { matchLabels: { team: 'y' } } },
    );
    const peer = fc.tuple(selector, inNamespaces).map(([podSelector, more]) => ({ podSelector, ...more }));
    const step = fc.oneof(
      { weight: 5, arbitrary: fc.record({ at: fc.nat(60), labels: fc.option(labels) }) },
      { weight: 2, arbitrary: fc.record({ from: fc.array(peer, { minLength: 1, maxLength: 3 }) }) },
      { weight: 1, arbitrary: fc.record({ drop: fc.nat(5) }) },
      { weight: 1, arbitrary: fc.record({ team: fc.constantFrom('x', 'y') }) },
    );
    const begin = fc.array(labels, { minLength: 40, maxLength: 60 });
    let most = 0;
    fc.assert(
      fc.property(begin, fc.array(step, { maxLength: 40 }), (first, steps) => {
        const peers = new PeerSets();
        const pods = new Map<number, Pod>();
        const sets: (ReturnType<typeof membersOf> & { readonly from: readonly object[] })[] = [];
        const teams = new Map([
          ['x', 'x'],
          ['y', 'y'],
        ]);
        for (const [name, team] of teams) peers.namespaceChanged(name, namespace(name, { team }));
        const put = (at: number, raw: object | null): void => {
          const name = `${at % 3 === 0 ? 'y' : 'x'}/p${at}`;
          const own = Object.fromEntries(Object.entries(raw ?? {}).map(([key, value]) => [key, String(value)]));
          const to = raw === null ? undefined : remote(name, `10.0.0.${at}`, own);
          peers.ownerChanged({ address: `10.0.0.${at}`, from: pods.get(at), to });
          if (to) pods.set(at, to);
          else pods.delete(at);
        };
        for (const [at, own] of first.entries()) put(at, own);
        const selected = (from: readonly object[]): string[] => {
          const of = ({ namespace: own, labels: has }: Pod, each: Peer): boolean => {
            if (each.kind !== 'pods' || !matches(each.pods, has)) return false;
            return each.namespaces === 'own' ? own === 'x' : matches(each.namespaces, { team: teams.get(own)! });
          };
          const all = [...pods.values()].filter((each) => peersOf(from).some((one) => of(each, one)));
          return all.flatMap(({ addresses }) => addresses).sort();
        };
        for (const each of steps) {
          if ('at' in each) put(each.at, each.labels);
          else if ('from' in each) sets.push({ ...membersOf(peers, each.from), from: each.from });
          else if ('team' in each) {
            teams.set('y', each.team);
            peers.namespaceChanged('y', namespace('y', { team: each.team }));
          } else {
            const [gone] = sets.splice(each.drop, 1);
            if (gone && sets.every(({ key }) => key !== gone.key)) peers.drop([gone.key]);
          }
          for (const { members, from } of sets) {
            assert.deepEqual(members(), selected(from));
            most = Math.max(most, members().length);
          }
        }
      }),
      runs(100),
    );
    assert.ok(most > 20, `${most} members at most`);
  });

  it('a set that asks for a label looks at no pod without it, nor does its end', () => {
    let looks = 0;
    const counted = (labels: Labels): Labels =>
      new Proxy(labels, {
        getOwnPropertyDescriptor: (target, key) => {
          looks++;
          return Reflect.getOwnPropertyDescriptor(target, key);
        },
      });
    const peers = new PeerSets();
    for (let at = 0; at < 200; at++) {
      const to = remote(`x/p${at}`, `10.0.0.${at}`, counted({ app: `a${at}` }));
      peers.ownerChanged({ address: `10.0.0.${at}`, from: undefined, to });
    }
    const ask = (app: string): void => {
      const { key, members } = membersOf(peers, [{ podSelector: { matchLabels: { app } } }]);
      assert.equal(members().length, 1);
      peers.drop([key]);
    };
    ask('a1');
    assert.ok(looks >= 200, 'the count sees nothing');
    looks = 0;
    ask('a2');
    assert.ok(looks <= 2, `${looks} looks`);
  });
});
