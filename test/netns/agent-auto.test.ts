/** Agents with --dataplane=auto: what they take, and how they move while they run, after a crash, and with rules of other versions. */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DataplaneChoice } from '../../src/cli/config.ts';
import { MODE_KEY } from '../../src/core/vocabulary.ts';
import { AgentLab, type AgentProcess, skipUnlessRoot, until } from '../support/agent-lab.ts';
import { loadRelease, RELEASE_PODS, RELEASE_POLICIES, RELEASE_REACH, RELEASES } from '../support/release-case.ts';
import { friendUnderProbes } from '../support/under-probes.ts';

const MOVE_MS = 30_000;
const CONNECT =
  'use IO::Socket::IP; IO::Socket::IP->new(PeerHost => shift, PeerPort => 80, Timeout => 2) or die "$@\\n"';

/** Of /status. */
interface Told {
  readonly dataplane?: { readonly inUse: string; readonly asked: string };
}

describe('agent: --dataplane=auto', function () {
  this.timeout(60_000);
  let t: AgentLab;
  let agent: AgentProcess;
  let folder: string;
  let looks = 0;

  before(async function () {
    skipUnlessRoot.call(this);
    t = await AgentLab.create({ backend: 'iptables-nft' });
    await t.pods(Object.fromEntries(Object.entries(RELEASE_PODS).map(([key, [...addresses]]) => [key, { addresses }])));
    for (const [key, spec] of Object.entries(RELEASE_POLICIES)) t.policy(key, spec);
    folder = join(t.lab.dir, 'bin');
    mkdirSync(folder);
    // `broken`: nft does nothing. `stuck`: it does not come to delete a table. `portless`: what is of family bridge is not to be seen.
    writeFileSync(
      join(folder, 'nft'),
      `#!/bin/sh
[ ! -e ${folder}/broken ] || { echo "Error: Could not process rule: Operation not supported" >&2; exit 1; }
[ ! -e ${folder}/portless ] || case "$*" in *"list table bridge"*) echo "Error: Operation not supported" >&2; exit 1 ;; esac
case "$1 $2" in "delete table") [ ! -e ${folder}/stuck ] || { : > ${folder}/deleting; exec sleep 5; } ;; esac
exec /usr/sbin/nft "$@"
`,
    );
    chmodSync(join(folder, 'nft'), 0o755);
  });
  after(() => t?.close());

  const start = async (dataplane: DataplaneChoice | 'default' = 'auto'): Promise<void> => {
    agent = await t.start('node-1', {
      dataplane,
      flags: [`--policy-counters-file=${join(t.lab.dir, 'counts.json')}`],
      env: { PATH: `${folder}:${process.env.PATH}` },
    });
  };
  const on = (...argv: readonly [string, ...string[]]) => t.on('node-1', argv);
  const hasTable = async () => (await on('nft', 'list', 'tables')).includes('table inet portcullis\n');
  const hasChains = async () => /PCL/.test(await t.iptables(4, '-S'));
  const switchOn = (name: string) => writeFileSync(join(folder, name), '');
  const switchOff = (name: string) => rmSync(join(folder, name), { force: true });

  async function moved(to: 'nftables' | 'iptables', asked = 'auto'): Promise<void> {
    const [wanted, gone] = to === 'nftables' ? [hasTable, hasChains] : [hasChains, hasTable];
    const told = async () => (JSON.parse((await agent.get('/status')).body) as Told).dataplane;
    await until(
      // The page follows the rules.
      async () => (await wanted()) && !(await gone()) && (await told())?.inUse === to,
      () => `moved to ${to}\n${agent.tail()}`,
      MOVE_MS,
    );
    await agent.ready();
    assert.equal((await told())?.asked, asked);
  }

  /** The bridge plugin's, as far as the host tells: x/server answers behind a port of cni9. Its packets go on as before. */
  async function bridge(): Promise<void> {
    const [address] = RELEASE_PODS['x/server'];
    const station = '02:00:00:00:00:99';
    await on('ip', 'link', 'add', 'cni9', 'type', 'bridge');
    await on('ip', 'link', 'add', 'veth9', 'type', 'veth', 'peer', 'name', 'other9');
    await on('ip', 'link', 'set', 'veth9', 'master', 'cni9');
    for (const link of ['cni9', 'veth9', 'other9']) await on('ip', 'link', 'set', link, 'up');
    await on('ip', 'neigh', 'add', address, 'lladdr', station, 'dev', 'cni9', 'nud', 'permanent');
    await on('bridge', 'fdb', 'add', station, 'dev', 'veth9', 'master', 'static');
    await look();
  }

  async function unbridge(): Promise<void> {
    await on('ip', 'link', 'del', 'cni9');
    await on('ip', 'link', 'del', 'veth9');
    await look();
  }

  /** With a pod that comes interfaces are looked at. */
  async function look(): Promise<void> {
    t.createPod(`x/new-${++looks}`);
    await t.lab.settle();
  }

  async function end(): Promise<void> {
    t.annotateNode('node-1', { [MODE_KEY]: 'off' });
    await until(async () => !(await hasTable()) && (await t.leftovers()).length === 0, 'nothing is left', MOVE_MS);
    await agent.end('SIGKILL');
    t.annotateNode('node-1', { [MODE_KEY]: null });
  }

  it('takes nftables here, and says why', async () => {
    switchOn('portless');
    await start();
    await t.expect(RELEASE_REACH);
    await moved('nftables');
    const why = 'this host has all that its table needs';
    await agent.logged(({ message }) => message === `data plane nftables: ${why}`, 'the choice');
    assert.match((await agent.get('/readyz?verbose')).body, new RegExp(`nftables, by --dataplane=auto: ${why}`));
    assert.equal(await agent.metric('portcullis_backend_info', { backend: 'nftables', dataplane: 'auto' }), 1);
  });

  it('pods turn out to be ports of a bridge that nftables does not show: goes to iptables, and back after that, under probes', async () => {
    await friendUnderProbes(t, async () => {
      await bridge();
      await moved('iptables');
      assert.match((await agent.get('/status')).body, /pods are ports of a bridge \(cni9\)/);
      assert.equal(await agent.metric('portcullis_backend_info', { backend: 'iptables-nft', dataplane: 'auto' }), 1);
      await unbridge();
      await moved('nftables');
    });
    assert.equal(await agent.metric('portcullis_dataplane_moves_total', { result: 'done' }), 2);
    await t.expect(RELEASE_REACH);
  });

  it('counts of policies go on from the one to the other, both ways, while it runs and across restarts, and each packet is in them once', async () => {
    await end();
    await start();
    await moved('nftables');
    const server = { namespace: 'x', policies: 'server', direction: 'ingress' };
    await judgedOnce();
    let [allowed, denied] = await counts();
    let told = [allowed, denied];

    async function counts(): Promise<[number, number]> {
      return [
        await agent.metric('portcullis_allowed_connections_total', server),
        await agent.metric('portcullis_denied_packets_total', { ...server, flow: 'new' }),
      ];
    }

    /** Until an epoch is known that no flow carries, each packet of a connection counts. */
    async function judgedOnce(): Promise<void> {
      await until(async () => (await agent.metric('portcullis_generation')) > 0, 'a free epoch', MOVE_MS);
    }

    async function send(connections: number, datagrams: number): Promise<void> {
      for (let count = 0; count < connections; count++)
        await t.inside('x/friend', ['perl', '-e', CONNECT, t.address('x/server')]);
      await t.sendUdp('x/stranger', t.address('x/server'), 80, datagrams);
      [allowed, denied] = [allowed + connections, denied + datagrams];
    }

    /** Rules are read once a second at most. */
    async function show(): Promise<void> {
      const same = async (): Promise<boolean> => {
        const found = await counts();
        for (const [at, count] of found.entries())
          assert.ok(count >= told[at]!, `fell from ${told.join()} to ${found.join()}`);
        told = found;
        return found.join() === `${allowed},${denied}`;
      };
      await until(same, () => `${told.join()}, not ${allowed},${denied}\n${agent.tail()}`, MOVE_MS);
    }

    await send(3, 2);
    await bridge();
    await moved('iptables');
    await judgedOnce();
    await show();
    await send(4, 1);
    await unbridge();
    await moved('nftables');
    await judgedOnce();
    await show();
    await send(2, 5);
    for (const [dataplane, signal] of [
      ['iptables', 'SIGTERM'],
      ['nftables', 'SIGKILL'],
      ['iptables', 'SIGKILL'],
      ['auto', 'SIGTERM'],
    ] as const) {
      await agent.end(signal);
      await send(1, 3);
      await start(dataplane);
      await moved(dataplane === 'iptables' ? 'iptables' : 'nftables', dataplane);
      await judgedOnce();
      await send(2, 1);
      await show();
    }
  });

  it('fault: killed in the middle of a move, with the rules of both in the kernel: the next one ends it', async () => {
    await friendUnderProbes(t, async () => {
      switchOn('stuck');
      await bridge();
      await until(() => existsSync(join(folder, 'deleting')), 'the old table is to go', MOVE_MS);
      await agent.end('SIGKILL');
      switchOff('stuck');
      assert.deepEqual([await hasTable(), await hasChains()], [true, true]);
      await start();
      await moved('iptables');
      await agent.end('SIGKILL');
      await unbridge();
      // The other way, before anything of the new one is written, and after it.
      await start();
      await moved('nftables');
    });
  });

  it('fault: nft does nothing any more, and the table has to be read: goes to iptables, and the table goes once nft works', async () => {
    switchOn('broken');
    for (const pid of childrenOf(agent.pid, 'nft -i')) process.kill(pid, 'SIGKILL');
    // What is written by netlink goes in until somebody has a hand in the table.
    await on('nft', 'add', 'chain', 'inet', 'portcullis', 'of-somebody');
    await agent.logged(({ message }) => /^not written, trying again: nft/.test(message), 'the table cannot be read');
    t.policy('x/server', { podSelector: { matchLabels: { pod: 'server' } }, policyTypes: ['Ingress'] });
    await t.expect(['x/friend -x x/server', 'x/stranger -x x/server'], MOVE_MS);
    await agent.logged(
      ({ message }) => /^moved from nftables to iptables: nothing can be written/.test(message),
      'the move',
      0,
      MOVE_MS,
    );
    assert.match((await agent.readiness()).missing.dataplane ?? '', /^$|stand beside these/);
    switchOff('broken');
    t.policy('x/server', RELEASE_POLICIES['x/server']!);
    // Syncs that follow the failure by half a second or more try it again.
    const nudged = async () => {
      await look();
      return !(await hasTable());
    };
    await until(nudged, () => `the table goes\n${agent.tail()}`, MOVE_MS);
    await moved('iptables');
    await t.expect(RELEASE_REACH);
    await end();
  });

  for (const version of RELEASES)
    it(`rules of version ${version} in iptables: taken over by nftables under probes, and nothing of them is left`, async () => {
      await loadRelease(t, version);
      await t.expect(RELEASE_REACH);
      await friendUnderProbes(t, async () => {
        await start();
        await moved('nftables');
        let left = '';
        await until(
          async () => {
            left = (await t.kernelText('node-1', undefined))
              .split('\n')
              .filter((line) => /PCL|v9/.test(line))
              .join('\n');
            return left === '';
          },
          () => `left: ${left}\n${agent.tail()}`,
        );
      });
      await t.expect(RELEASE_REACH);
      await end();
    });
});

/** Ids of programs below this one whose command line ends so. */
function childrenOf(parent: number, command: string): readonly number[] {
  const parents = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return parents.map(Number).filter((pid) => {
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
      const above = Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)!.split(' ')[1]);
      return above === parent && words.endsWith(command);
    } catch {
      return false;
    }
  });
}
