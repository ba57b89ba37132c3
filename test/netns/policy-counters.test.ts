/** What the metrics say of policies, held against the packets that were sent. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Family } from '../../src/core/vocabulary.ts';
import { AgentLab, type AgentProcess, enforcedBy, ENGINES, skipUnlessRoot, until } from '../support/agent-lab.ts';

const web = (...ports: number[]) => ({
  podSelector: { matchLabels: { pod: 'server' } },
  ingress: ports.map((port) => ({ ports: [{ port, protocol: 'TCP' }] })),
});
const ALLOWED = 'portcullis_allowed_connections_total';
const DENIED = 'portcullis_denied_packets_total';
const AUDITED = 'portcullis_audit_denied_connections_total';

/** Each tries for less than the second after which TCP repeats its first packet. */
const CONNECT =
  'use IO::Socket::IP; my ($host, $port, $count) = @ARGV; my $done = 0;' +
  'for (1 .. $count) { $done++ if IO::Socket::IP->new(PeerHost => $host, PeerPort => $port, Timeout => 0.2) } print $done';

for (const engine of ENGINES) {
  describe(`counts of policies under packets, ${engine}`, function () {
    this.timeout(120_000);
    let lab: AgentLab;
    let agent: AgentProcess;
    let file: string;
    before(async function () {
      skipUnlessRoot.call(this);
      lab = await AgentLab.create(enforcedBy(engine));
      const folder = join(lab.lab.dir, 'counts');
      mkdirSync(folder, { recursive: true });
      file = join(folder, 'counts.json');
      await lab.pods({ 'x/server': {}, 'x/client': {}, 'x/other': {} });
    });
    after(async () => {
      await lab?.close();
    });
    /** Policies of one test, as no other test has them. */
    let [a, b, out] = ['', '', ''];
    let tests = 0;
    let hasOwnFlags = false;
    beforeEach(async () => {
      tests++;
      [a, b, out] = [`a${tests}`, `b${tests}`, `out${tests}`];
      lab.policy(`x/${a}`, web(80));
      if (!agent?.running) agent = await start();
      await edited(`x/${a} `);
      await lab.restingText();
    });
    afterEach(async () => {
      for (const name of [a, b, out]) if (hasPolicy(name)) lab.deletePolicy(`x/${name}`);
      await edited(`x/${a} `, false);
      if (hasOwnFlags) await agent.end('SIGTERM');
      hasOwnFlags = false;
    });

    /** For one test: the next one starts an agent with the flags that all others have. */
    async function startWith(...flags: string[]): Promise<void> {
      await agent.end('SIGTERM');
      agent = await start(...flags);
      hasOwnFlags = true;
    }

    function hasPolicy(name: string): boolean {
      return lab.lab.store.get('networkpolicies', { namespace: 'x', name }) !== undefined;
    }

    /** Of connections to the server. */
    const labels = (policies = a) => ({ namespace: 'x', policies, direction: 'ingress' });

    function start(...flags: string[]): Promise<AgentProcess> {
      return lab.start('node-1', { flags: [`--policy-counters-file=${file}`, ...flags] });
    }

    /** How many of `count` connections were made. */
    async function connect(port: number, count: number, family: Family = 4, to = 'x/server'): Promise<number> {
      const address = lab.address(to, family);
      return Number(await lab.inside('x/client', ['perl', '-e', CONNECT, address, String(port), String(count)]));
    }

    type Count = readonly [metric: string, labels: Readonly<Record<string, string>>, value: number];

    /** Waits until each metric has its value, and looks once more whether they stay: by then the rules were read again. */
    async function show(...counts: readonly Count[]): Promise<void> {
      let wrong: readonly string[] = [];
      const same = async (): Promise<boolean> => {
        wrong = await differences(counts);
        return wrong.length === 0;
      };
      await until(same, () => `${wrong.join('\n')}\n${agent.tail()}`, 8_000);
      await settled();
      assert.deepEqual(await differences(counts), []);
    }

    /** Rules are read once a second at most: what was sent so far is in the next answer. */
    const settled = (): Promise<void> => sleep(1_500);

    async function differences(counts: readonly Count[]): Promise<readonly string[]> {
      const found = await Promise.all(counts.map(([metric, labels]) => agent.metric(metric, labels)));
      return counts.flatMap(([metric, labels, value], at) =>
        found[at] === value ? [] : [`${metric} ${JSON.stringify(labels)} is ${found[at]}, not ${value}`],
      );
    }

    async function hasSeries(metric: string, labels: Readonly<Record<string, string>>): Promise<boolean> {
      const { body } = await agent.get('/metrics');
      const wanted = Object.entries(labels).map(([key, value]) => `${key}="${value}"`);
      return body
        .split('\n')
        .some((line) => line.startsWith(`${metric}{`) && wanted.every((label) => line.includes(label)));
    }

    /** The rules of the change are in the kernel. */
    async function edited(rule: string, isThere = true): Promise<void> {
      const text = engine === 'nftables' ? rule.replace('--dport', 'tcp dport') : rule;
      await until(async () => (await lab.kernelText()).includes(text) === isThere, `rules with ${text}: ${isThere}`);
    }

    /** What follows from rules alone, which are compared elsewhere, is tried with one kind of table. */
    const withIptables = engine === 'nftables' ? (): void => {} : it;

    it('begin at 0, and are exactly what was let through and denied, in both families', async () => {
      await until(() => hasSeries(ALLOWED, labels()), 'the series is there');
      await until(() => hasSeries(DENIED, { ...labels(), flow: 'new' }), 'the series is there');
      assert.equal(await agent.metric(ALLOWED, labels()), 0);
      assert.equal(await agent.metric(DENIED, labels()), 0);
      assert.equal(await connect(80, 7), 7);
      assert.equal(await connect(80, 4, 6), 4);
      assert.equal(await connect(81, 5), 0);
      assert.equal(await connect(81, 3, 6), 0);
      await lab.sendUdp('x/client', lab.address('x/server'), 80, 6);
      await show(
        [ALLOWED, labels(), 11],
        [DENIED, { ...labels(), flow: 'new' }, 14],
        [DENIED, { ...labels(), flow: 'live' }, 0],
      );
    });

    it('go on through edits of policies, also for what was counted right before', async () => {
      await connect(80, 5);
      await connect(81, 3);
      lab.policy(`x/${a}`, web(80, 8080));
      await edited('--dport 8080');
      await connect(80, 4);
      lab.policy(`x/${b}`, web(9090));
      await edited('--dport 9090');
      await connect(80, 2);
      await connect(81, 1);
      lab.policy(`x/${a}`, web(9090));
      await edited('--dport 8080', false);
      await lab.restingText();
      await connect(80, 6);
      await show(
        [ALLOWED, labels(), 11],
        [DENIED, { ...labels(), flow: 'new' }, 3],
        [DENIED, { ...labels(`${a},${b}`), flow: 'new' }, 7],
      );
      await until(() => hasSeries(ALLOWED, labels(`${a},${b}`)), 'one rule that stands for both policies');
      assert.ok(await hasSeries(ALLOWED, labels(b)));
    });

    withIptables('know egress, and the policies on both sides of one connection', async () => {
      lab.policy(`x/${out}`, {
        podSelector: { matchLabels: { pod: 'client' } },
        policyTypes: ['Egress'],
        egress: [{ ports: [{ port: 80 }] }],
      });
      await edited(`x/${out} egress`);
      await lab.restingText();
      await connect(80, 3);
      await connect(81, 2);
      await show(
        [ALLOWED, { namespace: 'x', policies: out, direction: 'egress' }, 3],
        [ALLOWED, labels(), 3],
        [DENIED, { namespace: 'x', policies: out, direction: 'egress', flow: 'new' }, 2],
        [DENIED, labels(), 0],
      );
    });

    it('go on when the agent is restarted or killed, with what was sent while it was away', async () => {
      await connect(80, 5);
      await show([ALLOWED, labels(), 5]);
      lab.policy(`x/${a}`, web(80, 8080));
      await edited('--dport 8080');
      await connect(80, 2);
      await connect(81, 2);
      await agent.end('SIGTERM');
      assert.ok(existsSync(file));
      await connect(80, 3);
      agent = await start();
      await show([ALLOWED, labels(), 10], [DENIED, { ...labels(), flow: 'new' }, 2]);
      await connect(80, 1);
      await agent.end('SIGKILL');
      await connect(80, 1);
      lab.policy(`x/${a}`, web(80, 9090));
      agent = await start();
      await connect(80, 1);
      await show([ALLOWED, labels(), 13], [DENIED, { ...labels(), flow: 'new' }, 2]);
    });

    withIptables('count a connection that audit mode lets through once, however many packets it has', async () => {
      await startWith('--mode=audit');
      await until(() => hasSeries(AUDITED, labels()), 'the series is there');
      assert.equal(await agent.metric(AUDITED, labels()), 0);
      await connect(80, 4);
      // Nobody listens there, and the answer that says so has to come through.
      await connect(81, 5);
      await lab.sendUdp('x/client', lab.address('x/server'), 80, 9);
      await lab.sendUdp('x/client', lab.address('x/server', 6), 82, 9);
      await show([ALLOWED, labels(), 4], [AUDITED, labels(), 7]);
      assert.equal(await agent.metric(DENIED, labels()), 0);
    });

    it('tell packets of connections that a change cut from attempts', async () => {
      const flow = await lab.flow('x/client', 'x/server');
      try {
        await until(async () => (await agent.metric(ALLOWED, labels())) > 0, 'the connection is counted');
        lab.policy(`x/${a}`, web(8080));
        await edited('--dport 80 ', false);
        await until(async () => (await agent.metric(DENIED, { ...labels(), flow: 'live' })) > 0, 'it is cut', 8_000);
        assert.equal(await agent.metric(DENIED, { ...labels(), flow: 'new' }), 0);
      } finally {
        await flow.close();
      }
    });

    withIptables('grow by one at most for a live connection that is judged again', async () => {
      lab.policy(`x/${a}`, web(80, 8080));
      await edited('--dport 8080');
      const flow = await lab.flow('x/client', 'x/server');
      try {
        await lab.restingText();
        await until(async () => (await agent.metric(ALLOWED, labels())) > 0, 'the connection is counted');
        await settled();
        const before = await agent.metric(ALLOWED, labels());
        lab.policy(`x/${a}`, web(80));
        await edited('--dport 8080', false);
        await settled();
        const more = (await agent.metric(ALLOWED, labels())) - before;
        assert.ok(more === 0 || more === 1, `${more}`);
        assert.equal(await agent.metric(DENIED, labels()), 0);
      } finally {
        await flow.close();
      }
    });

    withIptables('are not there when they are turned off', async () => {
      await agent.end('SIGTERM');
      rmSync(file, { force: true });
      await startWith('--policy-counters=false');
      await connect(80, 1);
      const { body } = await agent.get('/metrics');
      assert.doesNotMatch(body, /^portcullis_(allowed|denied|audit)\w+\{/m);
      assert.ok(!existsSync(file));
    });

    it('fault: a file that cannot be written costs nothing but the counts of deleted chains', async () => {
      await startWith('--policy-counters-file=/proc/portcullis/counts.json');
      await lab.restingText();
      await connect(80, 2);
      await show([ALLOWED, labels(), 2]);
      await agent.logged((line) => line.message.startsWith('counts of rules are not kept'), 'said once');
      lab.policy(`x/${a}`, web(80, 8080));
      await edited('--dport 8080');
      await connect(80, 2);
      await show([ALLOWED, labels(), 4]);
      assert.equal(agent.log.filter((line) => line.message.startsWith('counts of rules are not kept')).length, 1);
    });
  });
}
