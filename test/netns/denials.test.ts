/** Real packets are denied, and the log says by whom and why. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Family } from '../../src/core/vocabulary.ts';
import type { RecentDenial } from '../../src/telemetry/denial-log.ts';
import {
  AgentLab,
  type AgentProcess,
  enforcedBy,
  ENGINES,
  type LogLine,
  skipUnlessRoot,
  until,
} from '../support/agent-lab.ts';
import { childrenOf, programOf } from '../support/processes.ts';

/** From the packet to the line. */
const WITHIN_MS = 2_000;
const SERVER = { matchLabels: { pod: 'server' } };
const ONLY_8080 = { podSelector: SERVER, policyTypes: ['Ingress'], ingress: [{ ports: [{ port: 8080 }] }] };
const NONE = { podSelector: SERVER, policyTypes: ['Ingress'] };
const REASONS = [
  { policy: 'x/none', why: 'no rules: allows nothing' },
  { policy: 'x/only-8080', why: 'ingress[0]: port 8443 not in 8080' },
];

type Line = LogLine & Omit<RecentDenial, 'time'>;

for (const engine of ENGINES) {
  describe(`the log of denied flows, ${engine}`, function () {
    this.timeout(90_000);
    let t: AgentLab;
    let agent: AgentProcess;
    before(async function () {
      skipUnlessRoot.call(this);
      t = await AgentLab.create({ ...enforcedBy(engine), nodes: ['node-1', 'node-2'] });
      await t.pods({ 'x/server': {}, 'x/client': {}, 'y/other': { node: 'node-2' } });
      t.policy('x/only-8080', ONLY_8080);
      t.policy('x/none', NONE);
    });
    after(async () => {
      await t?.close();
    });
    afterEach(async () => {
      if (agent?.running) await agent.end('SIGTERM');
    });

    async function start(...flags: string[]): Promise<void> {
      agent = await t.start('node-1', { flags });
      await t.restingText();
      if (!flags.includes('--drop-log=false')) await reads();
    }

    const reads = (): Promise<unknown> =>
      until(
        async () => (await page()).reader === 'reading',
        () => `the reader runs\n${agent.tail()}`,
        8_000,
      );

    async function page(): Promise<{ readonly reader: string; readonly denials: readonly RecentDenial[] }> {
      return JSON.parse((await agent.get('/denials')).body) as Awaited<ReturnType<typeof page>>;
    }

    /** The line of the flow, within the time that a person waits for one. */
    async function told(what: Partial<Record<keyof Line, unknown>>, from = 0): Promise<Line> {
      const isIt = (line: LogLine): boolean =>
        line.component === 'denials' && Object.entries(what).every(([key, value]) => line[key] === value);
      return (await agent.logged(isIt, JSON.stringify(what), from, WITHIN_MS)) as Line;
    }

    /** Tries for less than the second after which TCP repeats its first packet. */
    const knock = (from: string, port: number, family: Family = 4): Promise<string> =>
      t.inside(from, [
        'perl',
        '-e',
        'use IO::Socket::IP; IO::Socket::IP->new(PeerHost => $ARGV[0], PeerPort => $ARGV[1], Timeout => 0.2)',
        t.address('x/server', family),
        String(port),
      ]);

    for (const family of [4, 6] as const) {
      it(`names both pods, every policy and what does not hold, IPv${family}`, async () => {
        await start();
        await knock('x/client', 8443, family);
        const line = await told({ verdict: 'denied', protocol: 'TCP', port: 8443 });
        assert.equal(line.direction, 'ingress');
        assert.deepEqual(line.source, { address: t.address('x/client', family), pod: 'x/client' });
        assert.deepEqual(line.destination, { address: t.address('x/server', family), pod: 'x/server' });
        assert.deepEqual(line.policies, REASONS);
        assert.equal(line.node, 'node-1');
        assert.deepEqual([line.packets, line.seconds, line.note], [1, 0, undefined]);
        // From another node, and of another protocol.
        await knock('y/other', 9, family);
        assert.equal((await told({ port: 9 })).source.pod, 'y/other');
        await t.sendUdp('x/client', t.address('x/server', family), 53, 3);
        assert.equal((await told({ protocol: 'UDP', port: 53 })).policies[1]!.why, 'ingress[0]: UDP not in TCP 8080');
        const { denials } = await page();
        assert.deepEqual(
          denials.map(({ port }) => port),
          [53, 9, 8443],
        );
        assert.equal(await agent.metric('portcullis_denials_logged_total'), 3);
      });
    }

    it('names egress, and outside', async () => {
      t.policy('x/out', { podSelector: { matchLabels: { pod: 'client' } }, policyTypes: ['Egress'] });
      try {
        await start();
        await t.sendUdp('x/client', '192.0.2.77', 53, 1);
        const line = await told({ direction: 'egress' });
        assert.deepEqual(line.destination, { address: '192.0.2.77', outside: true });
        assert.deepEqual(line.policies, [{ policy: 'x/out', why: 'no rules: allows nothing' }]);
      } finally {
        t.deletePolicy('x/out');
      }
    });

    it('audit mode: what would be denied', async () => {
      await start('--mode=audit');
      for (const [port, family] of [
        [8443, 4],
        [8449, 6],
      ] as const) {
        await knock('x/client', port, family);
        const line = await told({ verdict: 'would-deny', port });
        assert.equal(line.source.address, t.address('x/client', family));
        assert.deepEqual(line.policies[0], REASONS[0]);
      }
      assert.equal(await agent.metric('portcullis_denials_logged_total'), 2);
    });

    it('a connection that a change cut', async () => {
      t.deletePolicy('x/none');
      t.deletePolicy('x/only-8080');
      try {
        await start();
        const flows = await Promise.all(([4, 6] as const).map((family) => t.flow('x/client', 'x/server', { family })));
        for (const flow of flows) await until(async () => (await flow.status()).delivered > 0, 'the flow flows');
        t.policy('x/none', NONE);
        for (const family of [4, 6] as const) {
          const address = t.address('x/server', family);
          const isIt = ({ verdict, destination }: LogLine): boolean =>
            verdict === 'live-flow-cut' && (destination as Line['destination']).address === address;
          const line = (await agent.logged(isIt, `cut, IPv${family}`, 0, WITHIN_MS)) as Line;
          assert.deepEqual([line.source.pod, line.destination.pod], ['x/client', 'x/server']);
          assert.deepEqual(line.policies, [REASONS[0]]);
        }
        await Promise.all(flows.map((flow) => flow.close()));
      } finally {
        t.policy('x/none', NONE);
        t.policy('x/only-8080', ONLY_8080);
      }
    });

    it('never what passes', async () => {
      await start();
      await t.expect(['x/server -> x/client', 'x/client -> y/other']);
      const passing = { podSelector: SERVER, policyTypes: ['Ingress'], ingress: [{ ports: [{ port: 80 }] }] };
      t.policy('x/web', passing);
      try {
        await until(async () => /x\/web (ingress|0)/.test(await t.kernelText()), 'its rules are in the kernel');
        for (let n = 0; n < 20; n++) await knock('x/client', 80);
        await knock('x/client', 81);
        await told({ port: 81 });
        // A client goes on closing the connection that was cut above.
        const first = (await page()).denials.filter(({ verdict }) => verdict === 'denied');
        assert.deepEqual(
          first.map(({ port }) => port),
          [81],
        );
      } finally {
        t.deletePolicy('x/web');
      }
    });

    // Who reads, and how much, is the same everywhere: rules hand packets to the same part of the kernel.
    if (engine !== 'iptables-nft') return;

    it('fault: the reader of denied packets is killed: it is started again, and the next packet is told', async () => {
      await start();
      process.kill(readerOf(agent.pid), 'SIGKILL');
      await until(async () => (await page()).reader === 'starting', 'its end is noticed');
      await reads();
      await knock('x/client', 8444);
      await told({ port: 8444 });
      assert.equal((await agent.readiness()).status, 200);
    });

    it('fault: the reader of denied packets stands still: nothing waits for it, and it goes on', async () => {
      await start();
      const reader = readerOf(agent.pid);
      process.kill(reader, 'SIGSTOP');
      await t.sendUdp('x/client', t.address('x/server'), 54, 30);
      await t.expect(['x/client -x x/server', 'x/server -> x/client']);
      assert.equal((await agent.readiness()).status, 200);
      process.kill(reader, 'SIGCONT');
      await told({ port: 54 });
    });

    it('fault: the agent is killed: its reader ends, and the next agent has one', async () => {
      await start();
      const reader = readerOf(agent.pid);
      await agent.end('SIGKILL');
      await until(() => !existsSync(`/proc/${reader}`), 'the reader ends');
      await start();
      await knock('x/client', 8445);
      await told({ port: 8445 });
    });

    it('fault: another program reads the group of denied packets: said once, ready, and read when that has ended', async () => {
      const config = join(t.lab.dir, 'other.conf');
      const stack = 'stack=log1:NFLOG,base1:BASE,ifi1:IFINDEX,ip2str1:IP2STR,json1:JSON';
      const output = '[json1]\nfile="/dev/null"\n';
      writeFileSync(config, `[global]\nlogfile="/dev/null"\n${stack}\n[log1]\ngroup=9847\n${output}`);
      const { argv, env } = t.lab.network.nodeCommand('node-1', ['ulogd', '-c', config]);
      const other = spawn(argv[0], argv.slice(1), { env: { ...process.env, ...env }, stdio: 'ignore' });
      try {
        const listeners = '/proc/net/netfilter/nfnetlink_log';
        await until(async () => (await t.on('node-1', ['cat', listeners])).includes(' 9847 '), 'the other one reads');
        agent = await t.start('node-1');
        const line = await agent.logged(({ message }) => /another program reads the netfilter/.test(message), 'said');
        assert.equal(line.level, 'warn');
        assert.match((await agent.get('/readyz?verbose')).body, /another program reads the netfilter log group/);
        await sleep(1_000);
      } finally {
        other.kill();
      }
      await reads();
      assert.equal(agent.log.filter(({ message }) => /another program reads/.test(message)).length, 1);
      await knock('x/client', 8446);
      await told({ port: 8446 });
    });

    it('fault: there is no reader of denied packets: said once, ready, and counted', async () => {
      const bin = join(t.lab.dir, 'bin');
      mkdirSync(bin);
      const places = ['/usr/sbin', '/usr/bin', '/bin'];
      const tools = ['iptables', 'ip6tables'].flatMap((tool) => [`${tool}-nft`, `${tool}-legacy`]);
      const each = tools.flatMap((tool) => [`${tool}-save`, `${tool}-restore`]);
      for (const tool of [...each, 'ipset', 'conntrack', 'ip', 'nft', 'sh', 'cat', 'mkfifo', 'rm']) {
        const place = places.find((folder) => existsSync(join(folder, tool)));
        if (place) symlinkSync(join(place, tool), join(bin, tool));
      }
      agent = await t.start('node-1', { env: { PATH: bin } });
      const line = await agent.logged(({ message }) => /install packages ulogd2 and ulogd2-json/.test(message), 'said');
      assert.equal(line.level, 'info');
      await knock('x/client', 8447);
      const count = (): Promise<number> => agent.metric('portcullis_denied_packets_total', { flow: 'new' });
      await until(async () => (await count()) > 0, 'it is counted', 8_000);
      assert.equal((await page()).reader, 'missing');
      assert.equal((await agent.readiness()).status, 200);
      assert.equal(agent.log.filter(({ message }) => /install packages ulogd2/.test(message)).length, 1);
    });

    it('--drop-log=false: counted, and said in /readyz', async () => {
      await start('--drop-log=false');
      await knock('x/client', 8443);
      const { body, status } = await agent.get('/readyz?verbose');
      assert.equal(status, 200);
      assert.match(body, /--drop-log=false/);
      assert.equal(await agent.metric('portcullis_denials_logged_total'), 0);
      assert.deepEqual(await page(), { reader: 'off', denials: [] });
    });

    it('a thousand denied packets a second: few lines, all others counted, and changes are in force as soon', async () => {
      await start('--drop-log-rate=2000');
      const seconds = 5;
      const flood = t.inside('x/client', ['perl', '-e', FLOOD, t.address('x/server'), String(seconds)]);
      await until(async () => (await page()).denials.length > 0, 'the first line');
      t.policy('x/late', { podSelector: { matchLabels: { pod: 'client' } }, policyTypes: ['Ingress'] });
      const tookMs = await t.expect(['x/server -x x/client']);
      assert.ok(tookMs < 2_000, `${tookMs} ms`);
      t.deletePolicy('x/late');
      await flood;
      const lines = (): number =>
        agent.log.filter(({ component, verdict }) => component === 'denials' && verdict).length;
      await until(async () => lines() >= 100, 'lines', 4_000);
      assert.ok(lines() <= 100 + (seconds + 6) * 10, String(lines()));
      assert.equal(await agent.metric('portcullis_denials_logged_total'), lines());
      assert.equal((await agent.readiness()).status, 200);
      // The end tells or counts what is still remembered.
      await agent.end('SIGTERM');
      const said = agent.log.find(({ message }) => message.includes('are in no line'));
      assert.ok(Number(said?.rate) > 1_000, JSON.stringify(said));
    });
  });
}

/** Datagrams to a port each, a thousand a second. */
const FLOOD =
  'use Socket; use Time::HiRes qw(sleep); socket(my $s, PF_INET, SOCK_DGRAM, 0); my $to = inet_aton($ARGV[0]); my $port = 2000;' +
  'for (1 .. $ARGV[1] * 100) { send($s, "x", 0, sockaddr_in($port++, $to)) for 1 .. 10; sleep 0.01 }';

/** The process id of the reader, which a process of the agent's has started. */
function readerOf(agent: number): number {
  const all = (pid: number): number[] => childrenOf(pid).flatMap((child) => [child, ...all(child)]);
  const found = all(agent).find((pid) => programOf(pid) === 'ulogd');
  assert.ok(found, 'no ulogd runs');
  return found;
}
