/** Counts as text. */
import assert from 'node:assert/strict';
import { runSync } from '../../src/core/sliced.ts';
import { countsText, readCounts, type SavedTotal } from '../../src/dataplane/saved-counts.ts';

describe('counts as text', () => {
  it('are read as they were written, of cluster-wide policies too, which have no namespace', () => {
    const policies = [
      { namespace: '', name: 'rails' },
      { namespace: 'x', name: 'a' },
    ];
    const totals: readonly SavedTotal[] = policies.map((policy) => ({
      action: 'deny',
      direction: 'ingress',
      flow: 'new',
      of: { kind: 'policies', policies: [policy] },
      ...{ packets: 3, bytes: 180, toldPackets: 3, toldBytes: 180 },
    }));
    const chain = { family: 4 as const, name: 'c', hash: 1, packets: [0, 2], bytes: [0, 120] };
    const chains = new Map([
      ['nftables' as const, [chain]],
      ['iptables' as const, [{ ...chain, hash: 2 }]],
    ]);
    for (const reader of ['nftables', 'iptables'] as const) {
      const text = runSync(countsText({ totals, chains }, 'boot', reader));
      assert.deepEqual(readCounts(text, 'boot'), { totals, chains });
      assert.equal(readCounts(text, 'another boot'), 'other');
    }
  });

  it('that versions before kept are read: chains of one data plane, which is told by the name of the kernel', () => {
    const rows = (scope: string): string =>
      [
        { version: 1, scope },
        ['total', 'allow', 'ingress', 'new', ['x/a'], 3, 180, 3, 180],
        ['chain', 4, 'c', 7, 2, [1, 3, 180]],
        'end',
      ]
        .map((row) => `${JSON.stringify(row)}\n`)
        .join('');
    const chain = { family: 4, name: 'c', hash: 7, packets: [0, 3], bytes: [0, 180] };
    for (const [scope, nftables, iptables] of [
      ['boot', [], [chain]],
      ['boot table inet portcullis', [chain], []],
    ] as const) {
      const read = readCounts(rows(scope), 'boot');
      assert.ok(typeof read === 'object');
      assert.deepEqual(
        [...read.totals].map(({ packets }) => packets),
        [3],
      );
      assert.deepEqual(Object.fromEntries(read.chains), { nftables, iptables });
    }
  });
});
