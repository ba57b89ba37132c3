import assert from 'node:assert/strict';
import { UNKNOWN_LABELS } from '../../src/policy/model.ts';
import { inDoubt, PeerSets, peerClause, selectPeers } from '../../src/compile/peer-sets.ts';
import { runSync } from '../../src/core/sliced.ts';
import { namespace, pod } from '../support/builders.ts';

const MOST = { entries: 100, comparisons: 100 };

describe('pods that a peer may mean', () => {
  it('are those whose labels are not known, also where they come after the set', () => {
    const peers = new PeerSets();
    peers.namespaceChanged('x', namespace('x'));
    const pods = {
      kind: 'all-of' as const,
      requirements: [{ key: 'app', operator: 'In' as const, values: ['a'] }],
    };
    const union = selectPeers('x', [{ kind: 'pods', namespaces: 'own', pods }]);
    const plan = new Map();
    const keys = [union, inDoubt(union)].map((each) => {
      const clause = peerClause(each, 4, plan);
      return clause.kind === 'set' ? clause.key : assert.fail(clause.kind);
    });
    runSync(peers.provide(keys, plan, MOST));
    const come = (address: string, labels: Readonly<Record<string, string>>): void => {
      peers.ownerChanged({
        address,
        from: undefined,
        to: { ...pod(`x/${address}`, { addresses: [address] }), labels },
      });
    };
    come('10.0.0.1', { app: 'a' });
    come('10.0.0.2', { app: 'b' });
    come('10.0.0.3', UNKNOWN_LABELS);
    const { addressSets } = peers.values();
    assert.deepEqual(
      keys.map((key) => [...addressSets.get(key)!.members.keys()]),
      [['10.0.0.1'], ['10.0.0.3']],
    );
  });
});
