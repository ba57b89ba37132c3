/** Agents with a table of nftables: restarts, other programs' hands, and the way from one data plane to the other and back. */
import assert from 'node:assert/strict';
import { MODE_KEY } from '../../src/core/vocabulary.ts';
import { AgentLab, type AgentProcess, skipUnlessRoot, until } from '../support/agent-lab.ts';
import { friendUnderProbes } from '../support/under-probes.ts';

const NFTABLES = { dataplane: 'nftables' } as const;

describe('agent: nftables', function () {
  this.timeout(40_000);
  let t: AgentLab;
  let agent: AgentProcess;

  before(async function () {
    skipUnlessRoot.call(this);
    t = await AgentLab.create({});
    await t.pods({ 'x/server': {}, 'x/friend': {}, 'x/stranger': {} });
    t.policy('x/only-friend', {
      podSelector: { matchLabels: { pod: 'server' } },
      ingress: [{ from: [{ podSelector: { matchLabels: { pod: 'friend' } } }] }],
    });
  });
  after(() => t?.close());

  const nft = (...words: readonly string[]) => t.on('node-1', ['nft', ...words]);
  const table = () => nft('-s', 'list', 'table', 'inet', 'portcullis');
  const hasTable = async () => (await nft('list', 'tables')).includes('table inet portcullis\n');
  const expectPolicy = () => t.expect(['x/friend -> x/server', 'x/stranger -x x/server']);

  const underProbes = (work: () => Promise<void>) => friendUnderProbes(t, work);

  it('enforces, and says what it writes to', async () => {
    agent = await t.start('node-1', NFTABLES);
    await expectPolicy();
    assert.equal(await agent.metric('portcullis_backend_info', { backend: 'nftables' }), 1);
    assert.ok(!/PCL/.test(await t.iptables(4, '-S')), 'nothing in iptables');
  });

  it('fault: killed and started again: not one wrong packet, not one write', async () => {
    await underProbes(async () => {
      await agent.end('SIGKILL');
      const before = await table();
      agent = await t.start('node-1', NFTABLES);
      await until(async () => (await agent.metric('portcullis_passes_total')) > 0, 'a sync');
      assert.equal(await table(), before);
    });
    assert.equal(await agent.metric('portcullis_kernel_writes_total', { tool: 'nft' }), 0);
  });

  it('counts connections by policy', async () => {
    const allowed = () => agent.metric('portcullis_allowed_connections_total');
    const before = await allowed();
    await expectPolicy();
    await until(async () => (await allowed()) > before, 'a connection is counted');
  });

  for (const [what, ...sabotage] of [
    ['a chain is emptied', 'flush', 'chain', 'inet', 'portcullis', 'forward'],
    ['the table is deleted', 'delete', 'table', 'inet', 'portcullis'],
    ['everything is flushed', 'flush', 'ruleset'],
  ] as const)
    it(`fault: ${what} by another program: told at once, and repaired`, async () => {
      const from = agent.log.length;
      await nft(...sabotage);
      await agent.logged(({ message }) => message.startsWith('repaired: '), 'a repair', from);
      await expectPolicy();
    });

  it('the table of another program is left alone', async () => {
    await nft('add', 'table', 'inet', 'theirs');
    t.createPod('x/late', { labels: { pod: 'friend' } });
    await t.lab.settle();
    await t.expect(['x/late -> x/server']);
    assert.ok((await nft('list', 'tables')).includes('inet theirs'));
  });

  it('goes to iptables and back under probes: the new rules stand before the old ones go', async () => {
    await underProbes(async () => {
      await agent.end('SIGTERM');
      agent = await t.start('node-1');
      await until(async () => !(await hasTable()), 'the table is gone');
      assert.match(await t.iptables(4, '-S'), /PCL-FWD/);
      await agent.end('SIGKILL');
      agent = await t.start('node-1', NFTABLES);
      await until(async () => !/PCL/.test(await t.iptables(4, '-S')), 'the chains are gone');
      assert.ok(await hasTable());
    });
    await expectPolicy();
  });

  it('mode off takes the table out, and enforce brings it back', async () => {
    t.annotateNode('node-1', { [MODE_KEY]: 'off' });
    await until(async () => !(await hasTable()), 'the table is gone');
    await t.expect(['x/stranger -> x/server']);
    t.annotateNode('node-1', { [MODE_KEY]: null });
    await expectPolicy();
  });
});
