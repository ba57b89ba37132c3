/** Other programs' tables beside ours: kube-proxy's, Calico's and firewalld's, others' rules in ip mangle, a flush of everything, flowtables. */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DATAPLANES, type DataplaneName } from '../../src/dataplane/dataplane-chooser.ts';
import { AgentLab, type AgentProcess, skipUnlessRoot, until } from '../support/agent-lab.ts';
import { friendUnderProbes } from '../support/under-probes.ts';

const SERVICE = '10.96.99.99';
/** A probe that is not answered ends sooner. */
const PROBED_MS = 400;

/** As kube-proxy in mode nftables: verdict maps by service, dnat to an endpoint. */
const kubeProxy = (server: string): string => `
table ip kube-proxy {
  map service-ips {
    type ipv4_addr . inet_proto . inet_service : verdict
    elements = { ${SERVICE} . tcp . 80 : goto service-X }
  }
  chain nat-prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr . meta l4proto . th dport vmap @service-ips
  }
  chain service-X {
    numgen random mod 1 vmap { 0 : goto endpoint-X }
  }
  chain endpoint-X {
    meta l4proto tcp dnat to ${server}:80
  }
  chain filter-forward {
    type filter hook forward priority -1; policy accept;
    ct state new counter
  }
}
`;

/** As Calico's: own chains at other priorities, with marks and accepts, before ours and behind. */
const CALICO = `
table inet calico {
  chain raw-PREROUTING {
    type filter hook prerouting priority raw; policy accept;
    meta mark set meta mark or 0x10000
  }
  chain mangle-FORWARD {
    type filter hook forward priority -200; policy accept;
    meta mark & 0x10000 == 0x10000 accept
  }
  chain filter-FORWARD {
    type filter hook forward priority filter; policy accept;
    ct state established,related accept
    meta mark & 0x10000 == 0x10000 accept
  }
}
`;

const FIREWALLD = `
table inet firewalld {
  chain filter_FORWARD {
    type filter hook forward priority 10; policy accept;
    ct state established,related accept
    accept
  }
  chain mangle_PREROUTING {
    type filter hook prerouting priority -140; policy accept;
    accept
  }
}
`;

describe('nftables beside the tables of others', function () {
  this.timeout(60_000);
  let t: AgentLab;
  let agent: AgentProcess;
  let bin: string;

  before(async function () {
    skipUnlessRoot.call(this);
    t = await AgentLab.create({ backend: 'iptables-nft' });
    await t.pods({ 'x/server': {}, 'x/friend': {}, 'x/stranger': {} });
    t.policy('x/only-friend', {
      podSelector: { matchLabels: { pod: 'server' } },
      ingress: [{ from: [{ podSelector: { matchLabels: { pod: 'friend' } } }] }],
    });
    bin = join(t.lab.dir, 'bin');
    mkdirSync(bin);
    // This kernel has no flowtables: the listing is as nft prints one.
    const listing =
      'table inet fast {\\n\\tflowtable ft {\\n\\t\\thook ingress priority filter\\n\\t\\tdevices = { eth0, eth1 }\\n\\t}\\n}\\n';
    writeFileSync(
      join(bin, 'nft'),
      `#!/bin/sh\n[ "$*" != "list flowtables" ] || { printf '${listing}'; exit 0; }\nexec /usr/sbin/nft "$@"\n`,
    );
    chmodSync(join(bin, 'nft'), 0o755);
    agent = await start('nftables');
    await expectPolicy();
  });
  after(() => t?.close());

  const start = (dataplane: DataplaneName) =>
    t.start('node-1', { dataplane, env: { PATH: `${bin}:${process.env.PATH}` } });
  const nft = (...words: readonly string[]) => t.on('node-1', ['nft', ...words]);
  const load = (text: string) => t.on('node-1', ['nft', '-f', '-'], text);
  const expectPolicy = () => t.expect(['x/friend -> x/server', 'x/stranger -x x/server']);
  const writes = () => agent.metric('portcullis_kernel_writes_total', { tool: 'nft' });

  async function outcomes(...from: readonly string[]): Promise<readonly string[]> {
    const asked = from.map((name) => ({
      from: t.endpoint(name),
      address: SERVICE,
      protocol: 'TCP' as const,
      port: 80,
      timeoutMs: 200,
    }));
    return (await t.lab.network.probeMatrix(asked)).map(({ outcome }) => outcome);
  }

  /** Others come, go and come again under probes; nothing is repaired, and nothing written. */
  async function beside(theirs: () => Promise<void>): Promise<void> {
    const [before, from] = [await writes(), agent.log.length];
    await friendUnderProbes(t, async () => {
      await theirs();
      await sleep(PROBED_MS);
    });
    await expectPolicy();
    assert.equal(await writes(), before, agent.tail());
    const repairs = agent.log.slice(from).filter(({ message }) => /^(not )?repaired/.test(message));
    assert.deepEqual(repairs, []);
  }

  it('kube-proxy: what goes to a service is judged by the pod that it is sent to, also while kube-proxy writes', () =>
    beside(async () => {
      const table = kubeProxy(t.address('x/server'));
      await load(table);
      assert.deepEqual(await outcomes('x/friend', 'x/stranger'), ['reached', 'blocked']);
      for (let round = 0; round < 5; round++) await load(`delete table ip kube-proxy\n${table}`);
      assert.deepEqual(await outcomes('x/friend', 'x/stranger'), ['reached', 'blocked']);
      await nft('delete', 'table', 'ip', 'kube-proxy');
    }));

  it('Calico: what its chains accept is judged all the same, before and behind them', () =>
    beside(async () => {
      await load(CALICO);
      await expectPolicy();
      await nft('delete', 'table', 'inet', 'calico');
    }));

  it('firewalld: reloads delete its table and add it again', () =>
    beside(async () => {
      await load(FIREWALLD);
      for (let round = 0; round < 5; round++) {
        await nft('delete', 'table', 'inet', 'firewalld');
        await load(FIREWALLD);
      }
      await expectPolicy();
      await nft('delete', 'table', 'inet', 'firewalld');
    }));

  it('rules of others in ip mangle, by iptables-nft: their ACCEPT ends their table alone', () =>
    beside(async () => {
      await t.restore(['-I FORWARD 1 -j ACCEPT', '-I FORWARD 1 -j MARK --set-xmark 0x4000/0x4000']);
      await expectPolicy();
      await t.iptables(4, '-F', 'FORWARD');
    }));

  it('fault: nft flush ruleset by another program: told, and repaired soon; what lived goes on', async () => {
    const flow = await t.flow('x/friend', 'x/server');
    const from = agent.log.length;
    const began = Date.now();
    await nft('flush', 'ruleset');
    const { time, message } = await agent.logged(({ message }) => /^repaired: /.test(message), 'a repair', from);
    assert.ok(Date.parse(time) - began < 3_000, `${Date.parse(time) - began} ms`);
    assert.equal(message, 'repaired: the table, missing');
    await expectPolicy();
    assert.ok((await flow.status()).longestSilenceMs < 1_000);
    await flow.close();
  });

  for (const dataplane of DATAPLANES)
    it(`fault: a flowtable, with ${dataplane}: flows that it took over are not judged, and that is said`, async () => {
      if (dataplane !== 'nftables') {
        await agent.end('SIGTERM');
        agent = await start(dataplane);
      }
      const says =
        /flows that go through a flowtable \(fast\/ft on eth0, eth1\) skip our rules from their second packet on/;
      await agent.logged(({ level, message }) => level === 'warn' && says.test(message), 'the flowtable', 0, 15_000);
      await until(async () => says.test((await agent.get('/readyz?verbose')).body), 'a condition says it');
      await agent.ready();
    });
});
