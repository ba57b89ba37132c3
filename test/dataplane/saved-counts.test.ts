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
    const text = runSync(countsText({ savedTotals: () => totals, savedChains: () => [] }, 'boot'));
    assert.deepEqual(readCounts(text, 'boot'), { totals, chains: [] });
  });
});
