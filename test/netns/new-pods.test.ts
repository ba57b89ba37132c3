/** Closed to new pods (S-75): what no API object shows yet passes nothing, and the node reaches it. */
import assert from 'node:assert/strict';
import type { Wiring } from '../../lab/network/types.ts';
import { AgentLab, enforcedBy, type Engine, skipUnlessRoot } from '../support/agent-lab.ts';

const VARIANTS: readonly (readonly [Engine, Wiring])[] = [
  ['iptables-nft', 'bridge'],
  ['iptables-legacy', 'routed'],
  ['nftables', 'routed'],
  ['nftables', 'bridge'],
];
const FLAGS = ['--new-pods=closed', '--resync-interval=1'];

for (const [engine, wiring] of VARIANTS) {
  describe(`fault: new pods: closed, ${engine}, ${wiring}`, function () {
    this.timeout(90_000);
    let t: AgentLab;

    before(async function () {
      skipUnlessRoot.call(this);
      t = await AgentLab.create({ ...enforcedBy(engine), wiring, nodes: ['node-1', 'node-2'] });
      await t.pods({ 'x/a': {}, 'x/b': {}, 'x/far': { node: 'node-2' } });
    });
    after(() => t?.close());

    it('without an API server a node that had no rules is closed; the node reaches its pods, others are not touched', async () => {
      const agent = t.launch('node-1', { flags: FLAGS, env: { KUBERNETES_SERVICE_PORT: '1' } });
      await agent.logged((line) => line.message.startsWith('closed to new pods: no rules'), 'closed', 0, 20_000);
      await t.expect(['x/a -x x/b', 'x/a -x world', 'world -x x/a', 'x/far -x x/a', 'x/a -x node-1']);
      await t.expect(['node-1 -> x/a', 'node-1 -> world', 'world -> node-1', 'world -> x/far']);
      await agent.end('SIGKILL');
    });

    it('pods that were handled are open, and the rules stand while an agent is away', async () => {
      const agent = await t.start('node-1', { flags: FLAGS });
      await t.expect(
        ['x/a -> x/b', 'x/a -> world', 'world -> x/a', 'x/far -> x/a', 'x/a -> node-1', 'node-1 -> x/a'],
        15_000,
      );
      await agent.end('SIGKILL');
      const again = t.launch('node-1', { flags: FLAGS, env: { KUBERNETES_SERVICE_PORT: '1' } });
      await again.logged(
        (line) => line.message.includes('rules of an agent before this one stand'),
        'rules stand',
        0,
        20_000,
      );
      await t.expect(['x/a -> x/b', 'x/a -> world', 'node-1 -> x/a']);
      await again.end('SIGKILL');
      await t.start('node-1', { flags: FLAGS });
    });

    it('a pod that the API does not show passes nothing; the node reaches it', async () => {
      await t.lab.network.addPod({ namespace: 'x', name: 'ghost', node: 'node-1' });
      await t.expect(['node-1 -> x/ghost']);
      const closed = ['x/ghost -x x/a', 'x/a -x x/ghost', 'x/ghost -x world', 'world -x x/ghost'] as const;
      assert.deepEqual(await t.wrong([...closed, 'x/ghost -x node-1', 'x/far -x x/ghost', 'node-2 -x x/ghost']), []);
      await t.expect(['x/a -> x/b', 'x/b -> world']);
      await t.lab.network.removePod({ namespace: 'x', name: 'ghost' });
    });

    it('a pod that comes is open as soon as it was handled, and isolated at once where a policy selects it', async () => {
      t.policy('x/p', { podSelector: { matchLabels: { app: 'late' } }, policyTypes: ['Ingress'] });
      await t.pods({ 'x/late': { labels: { app: 'late' } }, 'x/open': { labels: { app: 'open' } } });
      await t.expect([
        'x/open -> x/a',
        'x/a -> x/open',
        'world -> x/open',
        'x/late -> x/a',
        'x/a -x x/late',
        'world -x x/late',
      ]);
      const agent = t.agents.get('node-1')!;
      assert.ok((await agent.metric('portcullis_new_pod_programming_duration_seconds_count')) >= 2);
      assert.equal(await agent.metric('portcullis_new_pods_waiting'), 0);
      assert.equal(await agent.metric('portcullis_drift_repaired_total'), 0, 'the kernel prints what was written');
    });
  });
}
