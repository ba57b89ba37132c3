/** An agent that is not told its data plane, after one with iptables as all were by default, beside rules of others; in every mode; and back. */
import assert from 'node:assert/strict';
import { MODE_KEY } from '../../src/core/vocabulary.ts';
import { AgentLab, type AgentProcess, BACKENDS, skipUnlessRoot, until } from '../support/agent-lab.ts';
import { friendUnderProbes } from '../support/under-probes.ts';

const MOVE_MS = 20_000;

/** In table mangle as well, ahead of ours and behind it. */
const OTHERS = (backend: string): readonly (readonly [string, ...string[]])[] => [
  ['ipset', 'create', 'somebody', 'hash:ip'],
  [backend, '-t', 'mangle', '-N', 'SOMEBODY'],
  [backend, '-t', 'mangle', '-A', 'SOMEBODY', '-s', '198.51.100.0/24', '-j', 'DROP'],
  [backend, '-t', 'mangle', '-A', 'FORWARD', '-m', 'set', '--match-set', 'somebody', 'src', '-j', 'SOMEBODY'],
  [backend, '-t', 'filter', '-A', 'FORWARD', '-s', '198.51.100.0/24', '-j', 'DROP'],
  ['nft', 'add table inet somebody'],
  ['nft', 'add chain inet somebody forward { type filter hook forward priority mangle; policy accept; }'],
];

for (const backend of BACKENDS)
  describe(`agent: the default data plane, on a node that enforced with ${backend}`, function () {
    this.timeout(60_000);
    let t: AgentLab;
    let agent: AgentProcess;
    let others = '';

    before(async function () {
      skipUnlessRoot.call(this);
      t = await AgentLab.create({ backend });
      await t.pods({ 'x/server': {}, 'x/friend': {}, 'x/stranger': {} });
      t.policy('x/only-friend', {
        podSelector: { matchLabels: { pod: 'server' } },
        ingress: [{ from: [{ podSelector: { matchLabels: { pod: 'friend' } } }] }],
      });
      for (const argv of OTHERS(backend)) await t.on('node-1', argv);
      others = await all();
    });
    after(() => t?.close());

    const policies = { namespace: 'x', policies: 'only-friend', direction: 'ingress' };
    const allowed = () => agent.metric('portcullis_allowed_connections_total', policies);
    const expectPolicy = () => t.expect(['x/friend -> x/server', 'x/stranger -x x/server']);
    const counters = () => `--policy-counters-file=${t.lab.dir}/counts.json`;
    const start = async (dataplane: 'iptables' | 'default') => {
      agent = await t.start('node-1', { dataplane, flags: [counters()] });
    };

    /** Whoever's it is, but for what the tools of a variant leave in tables that were used once. */
    async function all(): Promise<string> {
      const saves = ['iptables', 'ip6tables'].flatMap((tool) => [`${tool}-nft-save`, `${tool}-legacy-save`] as const);
      const texts = await Promise.all(saves.map((save) => t.on('node-1', [save])));
      const own = ['ipset save', 'nft list tables', 'nft list table inet somebody'].map((words) =>
        t.on('node-1', words.split(' ') as [string, ...string[]]),
      );
      return [...texts, ...(await Promise.all(own))]
        .join('\n')
        .replaceAll(/^#.*\n|^table ip6? \w+\n/gm, '')
        .replaceAll(/^\*\w+\n(?::\w+ ACCEPT(?: \[\d+:\d+\])?\n)+COMMIT\n/gm, '')
        .replaceAll(/ (initval|hashsize) \S+| ?\[\d+:\d+\]/g, '');
    }

    /** Nothing but the table, and what was there before. */
    async function onNftables(): Promise<void> {
      let found = '';
      await until(
        async () => {
          found = (await all()).replace('table inet portcullis\n', '');
          return found === others && (await t.on('node-1', ['nft', 'list', 'tables'])).includes('inet portcullis\n');
        },
        () => `on nftables alone: ${found}\n${agent.tail()}`,
        MOVE_MS,
      );
    }

    async function onIptables(): Promise<void> {
      const hasTable = async () => (await t.on('node-1', ['nft', 'list', 'tables'])).includes('inet portcullis\n');
      await until(async () => !(await hasTable()) && (await t.leftovers()).length > 0, 'on iptables alone', MOVE_MS);
    }

    it('an upgrade moves it to nftables: no wrong packet, live flows and counts go on, nothing of ours is left in iptables', async () => {
      await start('iptables');
      await expectPolicy();
      const before = await allowed();
      assert.ok(before > 0);
      await friendUnderProbes(t, async () => {
        await agent.end('SIGTERM');
        await start('default');
        await onNftables();
        assert.ok((await allowed()) > before);
      });
      await agent.logged(({ message }) => message.startsWith('data plane nftables: this host has all'), 'the choice');
      await agent.logged(({ message }) => message.startsWith('took the rules of iptables out'), 'the move');
      assert.equal(await agent.metric('portcullis_backend_info', { backend: 'nftables', dataplane: 'auto' }), 1);
      assert.match((await agent.get('/readyz?verbose')).body, /nftables, by --dataplane=auto: this host has all/);
      await expectPolicy();
    });

    it('an older version after it, killed or not, takes it back to iptables, and the table goes', async () => {
      for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
        const before = await allowed();
        await friendUnderProbes(t, async () => {
          await agent.end(signal);
          await start('iptables');
          await onIptables();
        });
        assert.ok((await allowed()) > before);
        await friendUnderProbes(t, async () => {
          await agent.end(signal);
          await start('default');
          await onNftables();
        });
      }
    });

    for (const mode of ['dry-run', 'audit'])
      it(`an upgrade of a node in ${mode}, and enforced after that`, async () => {
        await agent.end('SIGTERM');
        await start('iptables');
        await onIptables();
        await agent.end('SIGTERM');
        t.annotateNode('node-1', { [MODE_KEY]: mode });
        await start('default');
        if (mode === 'audit') await onNftables();
        else {
          await until(
            async () => (await all()) === others,
            () => `nothing of ours\n${agent.tail()}`,
            MOVE_MS,
          );
          assert.match((await agent.get('/plan')).body, /^add table inet portcullis$/m);
        }
        await t.expect(['x/friend -> x/server', 'x/stranger -> x/server']);
        t.annotateNode('node-1', { [MODE_KEY]: null });
        await expectPolicy();
        await onNftables();
      });
  });
