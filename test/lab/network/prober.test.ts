import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { LineProcess } from '../../../lab/network/line-process.ts';
import {
  parseFlowAnswer,
  parseLifeAnswer,
  parseProbeAnswer,
  parseRepeatAnswer,
  probeFields,
} from '../../../lab/network/prober.ts';

const SCRIPTS = ['prober.pl', 'relay.pl'].map((name) =>
  fileURLToPath(new URL(`../../../lab/network/${name}`, import.meta.url)),
);
const PROBER = SCRIPTS[0]!;

describe("the prober's lines", () => {
  it('carry a probe, with a dash for what is left to the kernel', () => {
    assert.deepEqual(probeFields({ protocol: 'TCP', address: 'fd00::1', port: 80 }), [
      'tcp',
      'fd00::1',
      '80',
      '-',
      '-',
      '250',
      '2',
    ]);
    const full = { sourceAddress: '10.0.0.1', sourcePort: 7, timeoutMs: 90, attempts: 1 };
    assert.deepEqual(probeFields({ protocol: 'ICMP', address: '10.0.0.2', port: 0, ...full }), [
      'icmp',
      '10.0.0.2',
      '0',
      '10.0.0.1',
      '7',
      '90',
      '1',
    ]);
  });

  it('say who answered and whom it saw', () => {
    assert.deepEqual(parseProbeAnswer('reached 120 pod/x/a 10.0.0.1 4000 2 1700 -'.split(' ')), {
      outcome: 'reached',
      rttUs: 120,
      sent: 2,
      atMs: 1700,
      server: 'pod/x/a',
      seenAddress: '10.0.0.1',
      seenPort: 4000,
    });
    assert.deepEqual(parseProbeAnswer('refused 9 - - - 1 1800 No route to host'.split(' ')), {
      outcome: 'refused',
      rttUs: 9,
      sent: 1,
      atMs: 1800,
      detail: 'No route to host',
    });
    assert.throws(() => parseProbeAnswer(['ok']), /not an outcome/);
  });

  it('say how a flow and a repeated probe are', () => {
    assert.deepEqual(parseFlowAnswer('open node/a 5 4 3 20 30 -'.split(' ')), {
      state: 'open',
      server: 'node/a',
      sent: 5,
      delivered: 4,
      received: 3,
      silentMs: 20,
      longestSilenceMs: 30,
    });
    assert.deepEqual(parseRepeatAnswer('4 3 2 1 1700:reached 1800:blocked'.split(' ')), {
      counts: { reached: 4, blocked: 3, refused: 2, error: 1 },
      changes: [
        { atMs: 1700, outcome: 'reached' },
        { atMs: 1800, outcome: 'blocked' },
      ],
    });
  });
});

describe('the Perl scripts', () => {
  it('need nothing outside of perl-base', async function () {
    if (!existsSync('/usr/lib/x86_64-linux-gnu/perl-base') && !existsSync('/usr/lib/aarch64-linux-gnu/perl-base'))
      this.skip();
    for (const script of SCRIPTS) {
      const only =
        'BEGIN { @INC = grep { m{/perl-base$} } @INC } my $script = shift; do $script; die $@ || $! if $@ || $!';
      const child = spawn('perl', ['-e', only, script, 'pod/x/a'], { stdio: ['pipe', 'ignore', 'pipe'] });
      child.stdin.end();
      let stderr = '';
      child.stderr.on('data', (text) => (stderr += String(text)));
      const code = await new Promise((resolve) => child.on('close', resolve));
      assert.deepEqual([code, stderr], [0, ''], script);
    }
  });

  it('answer on loopback, and survive nonsense', async () => {
    const prober = new LineProcess('prober', ['perl', PROBER, 'pod/x/a']);
    try {
      const [unknown, nonsense, noProtocol, refused] = await prober.requests([
        ['dance'],
        ['probe', 'tcp', 'nowhere', '80'],
        ['probe', 'ipx', '127.0.0.1', '80'],
        ['probe', 'tcp', '127.0.0.1', '1', '-', '-', '200', '1'],
      ]);
      assert.equal(unknown!.join(' '), 'error unknown command dance');
      assert.match(nonsense!.join(' '), /^error \d+ - - - 0 \d+ not an address: nowhere/);
      assert.match(noProtocol!.join(' '), /^error \d+ - - - 0 \d+ unknown protocol/);
      assert.match(refused!.join(' '), /^refused \d+ - - - [01] \d+ (connect: )?Connection refused$/);
      await assert.rejects(prober.request('flow-stat', 'none'), /prober: flow-stat none: no flow none/);
    } finally {
      await prober.stop();
    }
  });

  it('take an answer that came while nobody ran for an answer, and a connection for no silence', async () => {
    const server = new LineProcess('server', ['perl', PROBER, 'pod/x/server']);
    const client = new LineProcess('client', ['perl', PROBER, 'pod/x/client']);
    const signal = (to: LineProcess, name: 'SIGSTOP' | 'SIGCONT'): boolean => process.kill(to.pid!, name);
    const port = String(20_000 + (process.pid % 10_000));
    try {
      await server.request('serve', '127.0.0.1', `udp/${port},tcp/${port}`);
      const probe = ['127.0.0.1', port, '-', '-', '40', '1'] as const;
      signal(server, 'SIGSTOP');
      await client.requests([['probe', 'tcp', '127.0.0.1', '1']]);
      const pending = client.requests([
        ['probe', 'udp', ...probe],
        ['probe', 'tcp', ...probe],
      ]);
      await sleep(15);
      signal(client, 'SIGSTOP');
      signal(server, 'SIGCONT');
      await sleep(50);
      signal(client, 'SIGCONT');
      const [udp, tcp] = await pending;
      assert.match(udp!.join(' '), /^reached \d+ pod\/x\/server /);
      assert.match(tcp!.join(' '), /^reached \d+ pod\/x\/server /);

      signal(server, 'SIGSTOP');
      const lateUdp = client.requests([['probe', 'udp', ...probe]]);
      const lateTcp = client.requests([['probe', 'tcp', ...probe]]);
      // Not before the client has given up: on a busy machine that may be long after its time is over.
      const [blocked] = await lateUdp;
      signal(server, 'SIGCONT');
      const words = [blocked, (await lateTcp)[0]].map((answer) => answer![0]);
      assert.deepEqual(words, ['blocked', 'reached']);
    } finally {
      signal(server, 'SIGCONT');
      await Promise.all([server.stop(), client.stop()]);
    }
  });

  it('know when they did not run', async () => {
    const prober = new LineProcess('prober', ['perl', PROBER, 'pod/x/a']);
    const life = async (since: number) => parseLifeAnswer((await prober.request('life', String(since))).fields);
    try {
      const before = Date.now();
      await life(before);
      process.kill(prober.pid!, 'SIGSTOP');
      await sleep(600);
      process.kill(prober.pid!, 'SIGCONT');
      const { nowMs, stalls } = await life(before);
      assert.ok(nowMs >= before + 600);
      const longest = Math.max(...stalls.map(({ fromMs, toMs }) => toMs - fromMs));
      assert.ok(longest >= 550, JSON.stringify(stalls));
      assert.deepEqual((await life(nowMs + 1)).stalls, []);
    } finally {
      process.kill(prober.pid!, 'SIGCONT');
      await prober.stop();
    }
  });

  it('end with an error that names them', async () => {
    const broken = new LineProcess('prober pod/x/a', ['perl', '-e', 'die "no luck\\n"']);
    await assert.rejects(broken.request('serve', '-', '-'), /prober pod\/x\/a ended \(exit code \d+\): no luck/);
    await assert.rejects(broken.request('serve', '-', '-'), /no luck/);
    await broken.stop();
    const missing = new LineProcess('prober pod/x/b', ['no-such-program']);
    await assert.rejects(missing.request('serve', '-', '-'), /prober pod\/x\/b cannot start/);
    await missing.stop();
  });
});
