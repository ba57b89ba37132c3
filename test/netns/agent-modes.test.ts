/** The node's annotation followed live: enforce, audit, dry-run, off, and values that are none of these. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Family } from '../../src/core/vocabulary.ts';
import {
  AgentLab,
  type AgentProcess,
  enforcedBy,
  ENGINES,
  FIRST_PACKETS,
  skipUnlessRoot,
  until,
} from '../support/agent-lab.ts';

const ENFORCED = ['x/friend -> x/server', 'x/stranger -x x/server', 'x/server -x x/friend'] as const;
const OPEN = ['x/friend -> x/server', 'x/stranger -> x/server', 'x/server -> x/friend'] as const;

for (const engine of ENGINES) {
  describe(`agent modes: ${engine}`, function () {
    this.timeout(30_000);
    let t: AgentLab;
    let agent: AgentProcess;

    before(async function () {
      skipUnlessRoot.call(this);
      t = await AgentLab.create(enforcedBy(engine));
      await t.pods({ 'x/server': {}, 'x/friend': {}, 'x/stranger': {} });
      t.policy('x/p', {
        podSelector: { matchLabels: { pod: 'server' } },
        policyTypes: ['Ingress', 'Egress'],
        ingress: [{ from: [{ podSelector: { matchLabels: { pod: 'friend' } } }] }],
      });
      agent = await t.start();
      await t.expect(ENFORCED);
    });
    after(() => t?.close());

    /** Sets or takes away the annotation, waits until it is in force and done. */
    async function mode(value: string | null, inForce = value ?? 'enforce'): Promise<void> {
      const passes = await agent.metric('portcullis_passes_total');
      t.annotateNode('node-1', { 'portcullis.dev/mode': value });
      await until(
        async () =>
          (await agent.metric('portcullis_passes_total')) > passes &&
          (await agent.metric('portcullis_mode_info', { mode: inForce })) === 1,
        `mode ${inForce}`,
      );
    }

    /** Packets counted by the last rule that decides, of the endpoint chain of that direction. */
    async function lastCounter(family: Family, direction: 'I' | 'E'): Promise<number> {
      if (engine === 'nftables')
        return lastOfTable(await t.nft('list', 'table', 'inet', 'portcullis'), family, direction);
      const text = await t.iptables(family, '-v', '-n', '-x', '-L');
      const chain = new RegExp(`^Chain PCL-${direction}-[a-z2-7]{16} .*\\n(?:.+\\n)*`, 'm').exec(text)?.[0];
      assert.ok(chain, text);
      const verdicts = [...chain.matchAll(/^ *(\d+) +\d+ (RETURN|DROP) /gm)];
      return Number(verdicts.at(-1)![1]);
    }

    it('audit: nothing is dropped, and the last counter is one per connection that would be denied', async () => {
      await mode('audit');
      await t.expect(OPEN);
      const counters = async (): Promise<number[]> => [
        await lastCounter(4, 'I'),
        await lastCounter(6, 'I'),
        await lastCounter(4, 'E'),
        await lastCounter(6, 'E'),
      ];
      const before = await counters();
      // Five connections that would be denied on the way in, three on the way out; allowed ones and their packets do not count.
      const flows = [
        await t.flow('x/stranger', 'x/server', { mode: 'talk' }),
        await t.flow('x/stranger', 'x/server', { mode: 'push-server' }),
        await t.flow('x/stranger', 'x/server', { protocol: 'UDP' }),
        await t.flow('x/stranger', 'x/server', { family: 6 }),
        await t.flow('x/stranger', 'x/server', { family: 6, protocol: 'UDP', mode: 'push-server' }),
        await t.flow('x/server', 'x/friend'),
        await t.flow('x/server', 'x/stranger', { family: 6 }),
        await t.flow('x/server', 'x/stranger', { protocol: 'UDP' }),
        await t.flow('x/friend', 'x/server'),
        await t.flow('x/friend', 'x/server', { family: 6, protocol: 'UDP' }),
      ];
      await sleep(400);
      const after = await counters();
      assert.deepEqual(
        after.map((count, index) => count - before[index]!),
        [3, 2, 2, 1],
      );
      for (const flow of flows) {
        const status = await flow.status();
        assert.ok(status.longestSilenceMs < 300, JSON.stringify(status));
        await flow.close();
      }
    });

    it('audit: a connection that is never answered counts once, however many packets it has', async () => {
      for (const family of [4, 6] as const) {
        const before = await lastCounter(family, 'I');
        await t.sendUdp('x/stranger', t.address('x/server', family), 9, 5);
        assert.equal((await lastCounter(family, 'I')) - before, 1, `IPv${family}`);
      }
    });

    it('audit: a change of policy is followed without a drop', async () => {
      const flow = await t.flow('x/stranger', 'x/server');
      t.policy('x/all', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] });
      await sleep(400);
      assert.ok((await flow.status()).longestSilenceMs < 300);
      await t.expect(OPEN);
      t.deletePolicy('x/all');
      await flow.close();
    });

    it('enforce again: what would have been denied is denied, live flows included', async () => {
      const denied = await t.flow('x/stranger', 'x/server', { mode: 'push-server' });
      const allowed = await t.flow('x/friend', 'x/server');
      await mode('enforce');
      await t.expect(ENFORCED);
      await until(async () => (await denied.status()).silentMs > 300, 'the denied flow stops');
      assert.ok((await allowed.status()).longestSilenceMs < 500);
      await denied.close();
      await allowed.close();
    });

    it('dry-run: the rules go without a wrong packet, nothing else is written, and the plan is served', async () => {
      const live = await t.flow('x/friend', 'x/server');
      await mode('dry-run');
      await until(async () => (await t.leftovers()).length === 0, 'nothing of ours is left');
      await t.expect(OPEN);
      assert.ok((await live.status()).longestSilenceMs < 500);
      await live.close();
      const before = await t.restingText();
      const writes = await agent.metric('portcullis_kernel_writes_total');
      const from = agent.log.length;
      t.policy('x/p', { podSelector: { matchLabels: { pod: 'server' } }, policyTypes: ['Ingress'] });
      const line = await agent.logged(({ message }) => message.startsWith('dry-run: nothing of ours'), 'summary', from);
      assert.ok(Number(line.chainsWritten) > 0);
      assert.ok(JSON.stringify(line).length < 500, JSON.stringify(line));
      const page = await agent.get('/plan');
      assert.equal(page.status, 200);
      assert.match(page.body, /^# mode dry-run, dry-run: would be applied\n/);
      assert.match(
        page.body,
        engine === 'nftables'
          ? /add rule inet portcullis PCL-I-[a-z2-7]+ counter drop comment "isolated by x\/p"/
          : /-A PCL-I-[a-z2-7]+ -m comment --comment "x\/p ingress no rule"/,
      );
      assert.equal(await t.kernelText(), before);
      assert.equal(await agent.metric('portcullis_kernel_writes_total'), writes);
      for (const what of ['rules', 'chains', 'sets', 'set_entries', 'generation'])
        assert.equal(await agent.metric(`portcullis_${what}`), 0, what);
      assert.equal(await agent.metric('portcullis_isolated_pods', { direction: 'ingress' }), 0);
      await t.expect(OPEN);
      const ready = await agent.get('/readyz?verbose');
      assert.equal(ready.status, 200);
      assert.match(ready.body, /mode dry-run: nothing is enforced; of ours the kernel holds 0 rules and 0 sets/);
    });

    it('dry-run: rules of ours that somebody puts back are taken out again', async () => {
      await agent.end('SIGTERM');
      if (engine === 'nftables') {
        const hook = '{ type filter hook forward priority mangle; }';
        await t.nft(
          `add table inet portcullis; add chain inet portcullis forward ${hook}; add rule inet portcullis forward drop`,
        );
      } else {
        await t.iptables(4, '-N', 'PCL-FWD');
        await t.iptables(4, '-A', 'PCL-FWD', '-j', 'DROP');
        await t.iptables(4, '-I', 'FORWARD', '1', ...FIRST_PACKETS, '-j', 'PCL-FWD');
      }
      agent = await t.start('node-1', { flags: ['--resync-interval=1'] });
      await until(async () => (await t.leftovers()).length === 0, 'nothing of ours is left');
      await t.expect(OPEN);
      await agent.end('SIGTERM');
      agent = await t.start();
    });

    it('off: everything of ours goes, nothing else', async () => {
      const ours = new Set(await t.leftovers());
      const others = (await t.kernelText('node-1', undefined)).split('\n').filter((line) => !ours.has(line));
      const flow = await t.flow('x/friend', 'x/server');
      await mode('off');
      await until(async () => (await t.leftovers()).length === 0, 'nothing of ours is left');
      assert.equal((await t.kernelText('node-1', undefined)).trim(), others.join('\n').trim());
      await t.expect(OPEN);
      assert.ok((await flow.status()).longestSilenceMs < 500);
      assert.equal((await agent.readiness()).status, 200);
      await flow.close();
    });

    it('enforce after off', async () => {
      await mode(null);
      await t.expect(['x/friend -x x/server', 'x/stranger -x x/server', 'x/server -> x/friend']);
    });

    it('an unknown value: told as a problem, the mode in force stays', async () => {
      await mode('audit');
      await t.expect(OPEN);
      const from = agent.log.length;
      t.annotateNode('node-1', { 'portcullis.dev/mode': 'Enforce' });
      const line = await agent.logged((entry) => entry.message.includes('portcullis.dev/mode'), 'problem', from);
      assert.equal(line.level, 'warn');
      assert.match(
        line.message,
        /^Node node-1: metadata\.annotations\[portcullis\.dev\/mode\]: "Enforce" is not one of /,
      );
      assert.match(line.message, /the mode in force is audit$/);
      assert.match((await agent.get('/readyz?verbose')).body, /mode audit, by .*"Enforce\\?" is not one of/);
      assert.equal(await agent.metric('portcullis_mode_info', { mode: 'audit' }), 1);
      assert.ok((await agent.metric('portcullis_policy_problems')) > 0);
      await t.expect(OPEN);
      await mode(null);
      assert.equal(await agent.metric('portcullis_policy_problems'), 0);
    });

    it('a label of the node sets the mode as well, and the annotation wins over it', async () => {
      const label = async (value: string | null, inForce: string): Promise<void> => {
        t.labelNode('node-1', { 'portcullis.dev/mode': value });
        await until(async () => (await agent.metric('portcullis_mode_info', { mode: inForce })) === 1, inForce);
      };
      await label('audit', 'audit');
      await t.expect(OPEN);
      await mode('enforce');
      await t.expect(['x/friend -x x/server']);
      await mode(null, 'audit');
      await t.expect(OPEN);
      await label(null, 'enforce');
      await t.expect(['x/friend -x x/server']);
    });

    it('--mode is the default, the annotation wins over it', async () => {
      await agent.end('SIGTERM');
      agent = await t.start('node-1', { flags: ['--mode=audit'] });
      await t.expect(OPEN);
      await mode('enforce');
      await t.expect(['x/friend -x x/server']);
      await mode(null, 'audit');
      await t.expect(OPEN);
    });
  });
}

/** Of the chain that judges the server, as nft lists it. */
function lastOfTable(text: string, family: Family, direction: 'I' | 'E'): number {
  const map = direction === 'I' ? `ingress${family}` : `egress${family}`;
  const chain = new RegExp(`^\\tmap ${map} \\{[^}]*goto (PCL-\\S+)`, 'm').exec(text)?.[1];
  const rules = new RegExp(`^\\tchain ${chain} \\{\\n(?:\\t\\t.*\\n)*`, 'm').exec(text)?.[0];
  assert.ok(rules, text);
  return Number([...rules.matchAll(/counter packets (\d+)/g)].at(-1)![1]);
}
