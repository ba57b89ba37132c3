/** What an agent keeps of cluster-wide policies. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { ClusterPolicyBudget } from '../../src/cluster/cluster-policy-budget.ts';
import { API_KINDS } from '../../src/cluster/kinds.ts';
import { ObjectStore } from '../../src/cluster/store.ts';
import { projectClusterPolicy } from '../../src/cluster/project.ts';
import type { ClusterPolicy } from '../../src/policy/model.ts';

interface Wanted {
  readonly name: string;
  readonly priority: number;
  /** Addresses in its rules, 32 bytes each. */
  readonly size: number;
  readonly tier?: 'Admin' | 'Baseline';
}

const LIMITS = { ofPolicy: 4000, inAll: 10_000 };

const objectOf = ({ name, priority, size, tier = 'Admin' }: Wanted): object => ({
  metadata: { name, uid: name },
  spec: {
    tier,
    priority,
    subject: { namespaces: { matchLabels: { team: 'a' } } },
    egress: [
      { action: 'Accept', to: [{ namespaces: {} }] },
      { action: 'Deny', to: [{ networks: Array.from({ length: size }, (_, index) => `10.0.${index}.0/24`) }] },
      { action: 'Pass', to: [{ namespaces: {} }] },
    ],
  },
});

interface Kept {
  readonly store: ObjectStore<ClusterPolicy>;
  readonly budget: ClusterPolicyBudget;
}

function keeping(wanted: readonly Wanted[]): Kept {
  const budget = new ClusterPolicyBudget(LIMITS);
  const store = new ObjectStore<ClusterPolicy>({
    project: projectClusterPolicy,
    namespaced: false,
    uidOf: ({ uid }) => uid,
    onChange: () => {},
    budget,
  });
  for (const each of wanted) store.upsert(objectOf(each), 0);
  return { store, budget };
}

/** Names of those that fail closed. */
function closedIn({ store }: Kept): readonly string[] {
  return [...store.records.values()]
    .filter(({ egress }) => egress.some(({ peers }) => peers === 'any'))
    .map(({ name }) => name)
    .sort();
}

const p = (name: string, priority: number, size: number, tier?: 'Baseline'): Wanted => ({
  name,
  priority,
  size,
  ...(tier ? { tier } : {}),
});

describe('limits on cluster-wide policies', () => {
  it('fault: one that is too long fails closed as one that cannot be understood, and is told (N-90, N-92)', () => {
    const kept = keeping([p('long', 1, 100), p('other', 2, 2)]);
    assert.deepEqual(closedIn(kept), ['long']);
    const { tier, priority, subject, egress } = kept.store.records.get('long')!;
    assert.deepEqual([tier, priority, JSON.stringify(subject).includes('team')], ['Admin', 1, true]);
    assert.deepEqual(egress, [
      { action: 'Accept', ports: [], peers: [] },
      { action: 'Deny', ports: 'any', peers: 'any' },
    ]);
    const [problem, ...more] = kept.store.problems;
    assert.deepEqual(more, []);
    assert.deepEqual(problem!.object, { kind: 'ClusterNetworkPolicy', name: 'long' });
    assert.match(problem!.message, /^has \d+ KiB of rules, more than the 4 KiB .* of one\. .* deny everything$/);
  });

  it('fault: of all together what is looked at first is kept; a smaller one behind may fit', () => {
    const kept = keeping([p('small', 4, 1), p('a', 3, 34), p('base', 0, 1, 'Baseline'), p('x', 1, 34), p('m', 2, 34)]);
    const closed = closedIn(kept);
    assert.deepEqual(closed, ['a']);
    assert.equal(kept.store.problems.length, closed.length);
    assert.match(kept.store.problems[0]!.message, /which do not fit into the 10 KiB .* of all/);
  });

  it('is a function of the objects, whatever came and went before', () => {
    const one = fc.record({
      name: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'),
      priority: fc.nat({ max: 3 }),
      size: fc.constantFrom(1, 20, 30, 60, 100),
      tier: fc.constantFrom('Admin' as const, 'Baseline' as const),
    });
    fc.assert(
      fc.property(fc.array(one, { maxLength: 20 }), (history) => {
        const last = new Map(history.map((each) => [each.name, each]));
        const kept = keeping(history);
        // What was dropped comes back by a list alone.
        relist(kept, [...last.values()]);
        const anew = keeping([...last.values()].reverse());
        relist(anew, [...last.values()].reverse());
        assert.deepEqual(closedIn(kept), closedIn(anew));
      }),
      { numRuns: 200 },
    );
  });

  it('asks for a list once there is room, at most once a minute', () => {
    const all = [p('a', 1, 30), p('b', 2, 30), p('c', 3, 30), p('d', 4, 30), p('e', 5, 30)];
    const kept = keeping(all);
    const closed = closedIn(kept);
    assert.ok(closed.length > 0);
    assert.equal(kept.store.wantsList(0), false);
    kept.store.remove(objectOf(all[0]!), 0);
    assert.equal(kept.store.wantsList(0), true);
    relist(kept, all.slice(1));
    assert.deepEqual([kept.store.wantsList(59_999), closedIn(kept).length], [false, closed.length - 1]);
  });

  it('is in force where policies are watched', () => {
    assert.ok(API_KINDS.clusternetworkpolicies.store?.({} as never).budget instanceof ClusterPolicyBudget);
  });
});

function relist({ store }: Kept, wanted: readonly Wanted[]): void {
  for (const _ of [1, 2]) {
    store.beginList();
    for (const each of wanted) store.upsert(objectOf(each), 0);
    store.endList(0, true);
  }
}
