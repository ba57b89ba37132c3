/** From a change at the API server to its effect on packets, on an idle node. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ProbeOutcome } from '../../lab/network/types.ts';
import { AgentLab, BACKENDS, skipUnlessRoot, until } from '../support/agent-lab.ts';

/** The promise. What it takes on an idle node is printed; it is a matter for the benchmarks, not for a test on a shared machine. */
const LIMIT_MS = 1_000;
const PROBE = { protocol: 'UDP', port: 80, intervalMs: 10, timeoutMs: 50, attempts: 1 } as const;

for (const backend of BACKENDS) {
  describe(`how soon a change takes effect: ${backend}`, function () {
    this.timeout(30_000);
    let t: AgentLab;
    const measured: string[] = [];

    before(async function () {
      skipUnlessRoot.call(this);
      t = await AgentLab.create({ backend, nodes: ['node-1', 'node-2'] });
      await t.pods({ 'x/server': {}, 'x/near': {}, 'y/far': { node: 'node-2' } });
      await Promise.all([t.start('node-1'), t.start('node-2')]);
    });
    after(async () => {
      await t?.close();
      if (measured.length > 0) console.log(`      ms from change to packet: ${measured.join(', ')}`);
    });

    const FRIENDS = (labels: Record<string, string>) => ({
      podSelector: { matchLabels: { pod: 'server' } },
      ingress: [{ from: [{ namespaceSelector: {}, podSelector: { matchLabels: labels } }] }],
    });

    const changes: readonly (readonly [string, string, ProbeOutcome, () => void])[] = [
      ['first policy', 'y/far', 'blocked', () => t.policy('x/p', FRIENDS({ pod: 'near' }))],
      ['policy edited', 'y/far', 'reached', () => t.policy('x/p', FRIENDS({ team: 'blue' }))],
      ['label removed', 'y/far', 'blocked', () => t.labelPod('y/far', { team: null })],
      ['label added', 'y/far', 'reached', () => t.labelPod('y/far', { team: 'blue' })],
      ['policy narrowed', 'y/far', 'blocked', () => t.policy('x/p', FRIENDS({ team: 'red' }))],
      ['policy deleted', 'y/far', 'reached', () => t.deletePolicy('x/p')],
    ];

    it(`every kind of change within ${LIMIT_MS} ms`, async () => {
      t.labelPod('y/far', { team: 'blue' });
      for (const [title, from, wanted, change] of changes) {
        await sleep(400);
        const probe = await t.lab.network.repeatProbe(t.endpoint(from), { ...PROBE, address: t.address('x/server') });
        await until(async () => (await probe.status()).changes.length > 0, 'a first probe');
        const changedAt = Date.now();
        change();
        await until(async () => (await probe.status()).changes.at(-1)?.outcome === wanted, title);
        // Probes overlap, and those that are answered end first: in the order in which they were sent.
        const sent = (await probe.stop()).changes.toSorted((a, b) => a.atMs - b.atMs);
        const turns = sent.filter(({ outcome }, index) => outcome !== sent[index - 1]?.outcome);
        const ms = turns.at(-1)!.atMs - changedAt;
        measured.push(`${title} ${ms}`);
        assert.ok(ms < LIMIT_MS, `${title}: ${ms} ms\n${t.agents.get('node-1')!.tail(3)}`);
        assert.equal(turns.length, 2, `flapped: ${JSON.stringify(turns)}`);
      }
    });
  });
}
