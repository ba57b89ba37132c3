/** What sets cost is kept as sums, which follow pods that come and go. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { PeerSets, peerClause, peerEndpoints, selectPeers, type SetPlan } from '../../src/compile/peer-sets.ts';
import { runSync } from '../../src/core/sliced.ts';
import type { Pod } from '../../src/policy/model.ts';
import { cluster } from '../property/clusters.ts';
import { runs } from '../property/runs.ts';

const UNLIMITED = { entries: Number.POSITIVE_INFINITY, comparisons: Number.POSITIVE_INFINITY };

describe('what some sets take together', () => {
  it('is what they take one by one, as sets and pods come and go', () => {
    const seen = { entries: 0, comparisons: 0 };
    const walks = fc.tuple(fc.array(cluster, { minLength: 2, maxLength: 3 }), fc.infiniteStream(fc.nat(5)));
    fc.assert(
      fc.property(walks, ([clusters, dice]) => {
        const next = (): number => dice.next().value as number;
        const peers = new PeerSets();
        const owners = new Map<string, Pod>();
        const account = peers.account();
        const other = peers.account();
        const counted = new Set<string>();
        const check = (): void => {
          const cost = account.cost();
          assert.deepEqual(cost, peers.costOf(counted));
          seen.entries = Math.max(seen.entries, cost.entries);
          seen.comparisons = Math.max(seen.comparisons, cost.comparisons);
        };
        for (const { pods, policies, namespaces } of clusters) {
          for (const [name, each] of namespaces) peers.namespaceChanged(name, next() === 0 ? undefined : each);
          for (const policy of policies.values()) {
            const plan: SetPlan = new Map();
            for (const { peers: all } of [...policy.ingress, ...policy.egress]) {
              const union = selectPeers(policy.namespace, all);
              for (const family of [4, 6] as const) peerClause(union, family, plan);
              peerEndpoints(union, [{ protocol: 'TCP', name: 'web' }], plan);
            }
            const keys = [...plan.keys()];
            runSync(peers.provide(keys, plan, UNLIMITED));
            for (const key of keys) {
              other.add(key);
              if (next() === 0) continue;
              account.add(key);
              counted.add(key);
            }
            check();
          }
          for (const pod of pods.values())
            for (const address of pod.addresses) {
              const to = next() === 0 ? undefined : pod;
              peers.ownerChanged({ address, from: owners.get(address), to });
              if (to) owners.set(address, to);
              else owners.delete(address);
              check();
            }
          for (const key of [...counted]) {
            if (next() > 1) continue;
            account.remove(key);
            counted.delete(key);
            if (next() === 0) {
              other.remove(key);
              peers.drop([key]);
            }
          }
          check();
        }
      }),
      runs(60),
    );
    assert.ok(seen.entries > 10 && seen.comparisons > 20, JSON.stringify(seen));
  });
});
