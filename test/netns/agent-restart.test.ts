/** An agent that dies, is replaced, or loses the API server: the rules stay and no packet is judged wrongly (S-79). */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { AgentLab, enforcedBy, ENGINES, skipUnlessRoot, until } from '../support/agent-lab.ts';
import { friendUnderProbes } from '../support/under-probes.ts';

for (const engine of ENGINES) {
  describe(`agent restarts: ${engine}`, function () {
    this.timeout(30_000);
    let t: AgentLab;

    before(async function () {
      skipUnlessRoot.call(this);
      t = await AgentLab.create(enforcedBy(engine));
      await t.pods({ 'x/server': {}, 'x/friend': {}, 'x/stranger': {} });
      t.policy('x/only-friend', {
        podSelector: { matchLabels: { pod: 'server' } },
        ingress: [{ from: [{ podSelector: { matchLabels: { pod: 'friend' } } }] }],
      });
    });
    after(() => t?.close());

    it('fault: killed and started again: not one wrong packet, not one write', async () => {
      const first = await t.start();
      await t.expect(['x/friend -> x/server', 'x/stranger -x x/server']);
      const generation = await first.metric('portcullis_generation');
      assert.ok(generation > 0);
      const before = await t.kernelText('node-1', undefined);
      await friendUnderProbes(
        t,
        async () => {
          assert.equal((await first.end('SIGKILL')).signal, 'SIGKILL');
          await sleep(300);
          await t.start();
          await sleep(300);
        },
        500,
      );
      const second = t.agents.get('node-1')!;
      assert.equal(await second.metric('portcullis_kernel_writes_total'), 0);
      assert.equal(await second.metric('portcullis_generation'), generation);
      assert.equal(await t.kernelText('node-1', undefined), before);
    });

    it('told to end: exit code 0, the rules stay', async () => {
      const before = await t.restingText();
      assert.deepEqual(await t.agents.get('node-1')!.end('SIGTERM'), { code: 0, signal: null });
      assert.equal(await t.kernelText(), before);
      await t.expect(['x/friend -> x/server', 'x/stranger -x x/server']);
    });

    it('fault: an address gets another pod across a restart: no flow of the old one is inherited', async () => {
      let agent = await t.start();
      for (const [how, isBack] of [
        ['SIGKILL', true],
        ['SIGTERM', false],
      ] as const) {
        t.createPod('x/lodger', { labels: { pod: 'friend' } });
        await t.lab.settle();
        const addresses = ([4, 6] as const).map((family) => t.address('x/lodger', family));
        /** The next datagram of one flow in each family. */
        const speak = async (from: string): Promise<readonly string[]> => {
          const results = await t.lab.network.probeMatrix(
            ([4, 6] as const).map((family) => ({
              from: t.endpoint(from),
              protocol: 'UDP',
              address: t.address('x/server', family),
              port: 80,
              sourcePort: 40_050,
              timeoutMs: 200,
            })),
          );
          return results.map(({ outcome }) => outcome);
        };
        await t.expect(['x/lodger -> x/server']);
        assert.deepEqual(await speak('x/lodger'), ['reached', 'reached'], how);
        t.deletePod('x/lodger');
        await t.lab.settle();
        await until(async () => !isListed(await t.kernelText(), addresses[0]!), 'the pod is out of the sets');
        await agent.end(how);
        if (isBack) agent = await t.start();
        t.createPod('x/heir', { labels: { pod: 'heir' }, addresses });
        await t.lab.settle();
        if (!isBack) agent = await t.start();
        await t.expect(['x/heir -x x/server', 'x/friend -> x/server']);
        assert.deepEqual(await speak('x/heir'), ['blocked', 'blocked'], how);
        t.deletePod('x/heir');
        await t.lab.settle();
      }
    });
  });
}

/** As an entry of a set. */
function isListed(text: string, address: string): boolean {
  return text.split(/[\s,]+/).includes(address);
}
