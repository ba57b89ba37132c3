/** An agent is killed while it feeds a tool: what the tool makes of the rest of its input. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { NFT_TABLE } from '../../src/dataplane/nftables/table/names.ts';
import { runCommand } from '../../src/host/command.ts';
import { ffiFile } from '../../src/host/ffi-file.ts';
import { AgentLab, BACKENDS, skipUnlessRoot, until } from '../support/agent-lab.ts';
import { podObject, namespaceObject, runningStatus } from '../support/api-objects.ts';
import { childrenOf, programOf } from '../support/processes.ts';
import { withoutFfi } from '../support/without-ffi.ts';

/** More lines than the socket between agent and tool holds. */
const PODS = 6_000;
const TIMEOUT_MS = 20_000;

/** One isolated pod, and many that its policy lets in once their namespace is labelled. Result: their addresses. */
async function crowd(t: AgentLab): Promise<ReadonlySet<string>> {
  const addresses = new Set<string>();
  await t.pods({ 'x/server': {} });
  const { store } = t.lab;
  store.create('namespaces', namespaceObject('y'));
  for (let n = 0; n < PODS; n++) {
    // Long ones: nearly each cut is an address of nobody.
    const ip = `fd00:1111:2222:3333:4444:${'5'.repeat(1 + (n % 3))}:6:${(0x1000 + n).toString(16)}`;
    addresses.add(ip);
    store.create('pods', podObject(`y/p${n}`, { labels: { app: 'p' }, spec: { nodeName: 'elsewhere' } }));
    store.setStatus('pods', { namespace: 'y', name: `p${n}` }, runningStatus(ip));
  }
  t.policy('x/p', {
    podSelector: { matchLabels: { pod: 'server' } },
    ingress: [{ from: [{ namespaceSelector: { matchLabels: { zone: 'inner' } } }] }],
  });
  return addresses;
}

describe('fault: SIGKILL of the agent while it feeds ipset', function () {
  this.timeout(60_000);
  let t: AgentLab;
  let addresses: ReadonlySet<string>;

  before(async function () {
    skipUnlessRoot.call(this);
    t = await AgentLab.create({ families: [6] });
    addresses = await crowd(t);
  });
  after(() => t?.close());

  it('a set in use gets no member but those it was to get; the next agent completes it', async () => {
    // An ipset that begins to read when it is told to, and keeps what it has read.
    const path = join(t.lab.dir, 'bin');
    const [hold, input, end] = ['hold', 'input', 'end'].map((name) => join(path, name)) as [string, string, string];
    mkdirSync(path);
    const script = [
      '#!/bin/sh',
      `[ "$1" = restore ] && [ -e ${hold} ] || exec /usr/sbin/ipset "$@"`,
      `while [ -e ${hold} ]; do sleep 0.05; done`,
      `cat >${input}`,
      `/usr/sbin/ipset "$@" <${input}`,
      `echo >${end}`,
    ];
    writeFileSync(join(path, 'ipset'), `${script.join('\n')}\n`, { mode: 0o755 });
    const agent = await t.start('node-1', { env: { PATH: `${path}:${process.env.PATH}` } });
    const set = /--match-set (PCL6-\S+) src/.exec(await t.iptables(6, '-S'))![1]!;
    const members = async (): Promise<readonly string[]> =>
      [...(await t.ipset('save', set)).matchAll(/^add \S+ (\S+)/gm)].map(([, member]) => member!);
    assert.deepEqual(await members(), []);
    writeFileSync(hold, '');
    // The one that stays makes way for one that is held.
    const [stays] = ipsetsOf(agent.pid);
    process.kill(stays!, 'SIGKILL');
    await until(() => ipsetsOf(agent.pid).length === 0, 'it is gone', TIMEOUT_MS);
    t.labelNamespace('y', { zone: 'inner' });
    // So long the agent writes; then the pipe is full.
    await sleep(1_000);
    await agent.end('SIGKILL');
    assert.deepEqual(await members(), []);
    rmSync(hold);
    await until(() => existsSync(end), 'ipset ends', TIMEOUT_MS);
    const read = readFileSync(input, 'utf8');
    assert.match(read, /\n$/, `cut: ${read.slice(-70)}`);
    const found = await members();
    assert.ok(found.length > 0 && found.length < PODS, `${found.length} members`);
    assert.deepEqual(
      found.filter((address) => !addresses.has(address)),
      [],
      'addresses of nobody',
    );
    await t.start();
    assert.deepEqual(new Set(await members()), addresses);
  });
});

for (const by of ['netlink', 'nft'] as const) {
  describe(`fault: SIGKILL of the agent while it writes to nftables, by ${by}`, function () {
    this.timeout(120_000);
    let t: AgentLab;
    let addresses: ReadonlySet<string>;
    let env: Readonly<Record<string, string>> = {};

    before(async function () {
      skipUnlessRoot.call(this);
      if (by === 'netlink' && ffiFile() === undefined) this.skip();
      t = await AgentLab.create({ families: [6], dataplane: 'nftables' });
      addresses = await crowd(t);
      if (by === 'nft') env = { NODE_OPTIONS: `--require=${withoutFfi(t.lab.dir)}` };
    });
    after(() => t?.close());

    const members = async (): Promise<readonly string[]> => {
      const table = await t.nft('-s', 'list', 'table', 'inet', NFT_TABLE);
      const [, elements = ''] = /\tset pods6-\S+ \{\n\t\ttype ipv6_addr\n(?:\t\telements = \{([^}]*)\}\n)?/.exec(
        table,
      )!;
      return elements
        .split(',')
        .map((element) => element.trim())
        .filter(Boolean);
    };

    it('each transaction is taken whole or not at all, whenever it is killed; the next agent completes it', async () => {
      const seen = new Set<string>();
      // However slow the machine is: the last one is when it was written.
      for (const afterMs of [0, 10, 25, 50, 100, undefined]) {
        const agent = await t.start('node-1', { env });
        assert.deepEqual(await members(), []);
        t.labelNamespace('y', { zone: 'inner' });
        if (afterMs === undefined) await until(async () => (await members()).length > 0, 'it is written', TIMEOUT_MS);
        else await sleep(afterMs);
        const started = childrenOf(agent.pid);
        await agent.end('SIGKILL');
        await until(() => started.every((pid) => programOf(pid) !== 'nft'), 'what it started has ended', TIMEOUT_MS);
        const found = await members();
        assert.ok(found.length === 0 || found.length === PODS, `${found.length} members`);
        seen.add(found.length === 0 ? 'nothing' : 'all');
        const next = await t.start('node-1', { env });
        assert.deepEqual(new Set(await members()), addresses);
        t.labelNamespace('y', { zone: null });
        await until(async () => (await members()).length === 0, 'all leave', TIMEOUT_MS);
        await next.end('SIGKILL');
      }
      assert.deepEqual(seen, new Set(['nothing', 'all']), 'moments of both kinds');
    });
  });
}

describe('fault: SIGKILL of the agent while nft has not begun to read', function () {
  this.timeout(60_000);
  let t: AgentLab;

  before(async function () {
    skipUnlessRoot.call(this);
    t = await AgentLab.create({ dataplane: 'nftables' });
    await t.pods({ 'x/server': {}, 'x/friend': {} });
  });
  after(() => t?.close());

  it('it reads what it was given to its end, which is a whole transaction', async () => {
    const agent = await t.start('node-1', { env: { NODE_OPTIONS: `--require=${withoutFfi(t.lab.dir)}` } });
    const nft = childrenOf(agent.pid).find((pid) => readFileSync(`/proc/${pid}/cmdline`, 'latin1') === 'nft\0-i\0')!;
    // The policy begins an epoch that was found free, which is no further write of the next agent.
    await t.restingText();
    process.kill(nft, 'SIGSTOP');
    t.policy('x/p', {
      podSelector: { matchLabels: { pod: 'server' } },
      ingress: [{ from: [{ podSelector: { matchLabels: { pod: 'friend' } } }] }],
    });
    await sleep(1_000);
    await agent.end('SIGKILL');
    assert.doesNotMatch(await t.kernelText(), /goto PCL-I-/);
    process.kill(nft, 'SIGCONT');
    await until(() => programOf(nft) !== 'nft', 'nft ends', TIMEOUT_MS);
    const before = await t.kernelText();
    assert.match(before, /goto PCL-I-/, 'it was carried out');
    const next = await t.start();
    assert.equal(await t.kernelText(), before);
    assert.equal(await next.metric('portcullis_kernel_writes_total'), 0);
  });
});

describe('fault: the input of iptables-restore is cut', function () {
  this.timeout(60_000);
  const namespace = `pclcut-${process.pid}`;
  const inside = (...argv: readonly string[]) => ['ip', 'netns', 'exec', namespace, ...argv] as const;
  const run = (argv: readonly string[], stdin = '') =>
    runCommand({ argv: inside(...argv), stdin, timeoutMs: TIMEOUT_MS, env: { XTABLES_LOCKFILE: '/dev/null' } });

  before(async function () {
    skipUnlessRoot.call(this);
    await runCommand({ argv: ['ip', 'netns', 'add', namespace], timeoutMs: TIMEOUT_MS });
  });
  after(() => runCommand({ argv: ['ip', 'netns', 'delete', namespace], timeoutMs: TIMEOUT_MS }));

  for (const backend of BACKENDS) {
    const variant = backend === 'iptables-nft' ? 'nft' : 'legacy';
    it(`${backend}: nothing of it is carried out, wherever it is cut`, async () => {
      for (const tool of ['iptables', 'ip6tables']) {
        const restore = [`${tool}-${variant}-restore`, '--noflush'];
        const state = async (): Promise<string> =>
          (await run([`${tool}-${variant}-save`, '-t', 'mangle'])).stdout.replace(/^#.*\n|\[\d+:\d+\]/gm, '');
        await run(restore, '*mangle\n:PCL-OLD - [0:0]\n-A PCL-OLD -j DROP\n-A FORWARD -j PCL-OLD\nCOMMIT\n');
        const before = await state();
        const lines = [
          '*mangle',
          ':PCL-NEW - [0:0]',
          ':PCL-OLD - [0:0]',
          '-A PCL-NEW -p tcp -m tcp --dport 8080 -j RETURN',
          '-D FORWARD -j PCL-OLD',
          '-I FORWARD 1 -j PCL-NEW',
          '-X PCL-OLD',
          'COMMIT',
        ];
        const input = `${lines.join('\n')}\n`;
        // Each line is cut at its end and within; the last ones at every byte.
        const ends = [...input.matchAll(/\n/g)].flatMap(({ index }) => [index - 2, index, index + 1]);
        const all = new Set([...ends, ...Array.from({ length: 10 }, (_, back) => input.length - 1 - back)]);
        // The nft variant takes a last line without its end for whole, and then all of the input is there.
        for (const end of [...all].filter((end) => end < input.length - 1)) {
          await run(restore, input.slice(0, end)).catch(() => {});
          assert.equal(await state(), before, `${tool}, cut behind ${JSON.stringify(input.slice(0, end).slice(-20))}`);
        }
        await run(restore, input);
        assert.notEqual(await state(), before, 'the whole input does change something');
      }
    });
  }
});

/** Those that the process has started. */
function ipsetsOf(parent: number): readonly number[] {
  return childrenOf(parent).filter((pid) => programOf(pid) === 'ipset');
}
