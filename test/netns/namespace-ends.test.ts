/** S-78: a namespace is deleted, its policies before its pods. */
import assert from 'node:assert/strict';
import { LINGER_ANNOTATION } from '../../lab/kubelet.ts';
import { AgentLab, skipUnlessRoot, until } from '../support/agent-lab.ts';

const SERVER = { podSelector: { matchLabels: { pod: 'server' } } };
const FROM_FRIENDS = { ...SERVER, ingress: [{ from: [{ podSelector: { matchLabels: { pod: 'friend' } } }] }] };

describe('a namespace that is deleted', function () {
  this.timeout(60_000);
  let t: AgentLab;

  before(async function () {
    skipUnlessRoot.call(this);
    t = await AgentLab.create({ backend: 'iptables-nft', families: [4] });
    await t.pods({ 'x/server': {}, 'x/friend': {}, 'y/stranger': {} });
    await t.start();
  });
  after(() => t?.close());

  it('fault: its policies stay in force for its pods that still live, and end with them', async () => {
    t.policy('x/p', FROM_FRIENDS);
    await t.expect(['x/friend -> x/server', 'y/stranger -x x/server']);
    // A pod that takes long to end.
    const annotations = { [LINGER_ANNOTATION]: 'true' };
    for (const name of ['server', 'friend'])
      t.lab.store.patch('pods', { namespace: 'x', name }, 'merge', { metadata: { annotations } });
    await t.lab.settle();
    const strange = await t.repeat('y/stranger', 'x/server');
    t.lab.store.delete('namespaces', { name: 'x' });
    assert.equal(t.lab.store.get('networkpolicies', { namespace: 'x', name: 'p' }), undefined);
    assert.ok(t.lab.store.get('pods', { namespace: 'x', name: 'server' }));
    // Something else that the agent has to do tells that it has heard of the deletion.
    t.policy('y/other', { podSelector: {}, ingress: [] });
    await t.expect(['x/friend -x y/stranger', 'x/friend -> x/server', 'y/stranger -x x/server']);
    const asked = (await strange.status()).counts.blocked;
    await until(async () => (await strange.status()).counts.blocked > asked + 2, 'some probes more');
    const { counts, changes } = await strange.stop();
    assert.deepEqual(
      changes.map(({ outcome }) => outcome),
      ['blocked'],
      JSON.stringify(counts),
    );
    for (const name of ['server', 'friend']) t.deletePod(`x/${name}`);
    await until(async () => !(await t.kernelText()).includes('x/p'), 'the rules are gone with the pods');
    t.deletePolicy('y/other');
    await t.pods({ 'x/server': {}, 'x/friend': {} });
    await t.expect(['y/stranger -> x/server', 'x/friend -> y/stranger']);
  });
});
