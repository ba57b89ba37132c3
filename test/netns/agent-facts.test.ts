/** What the agent must not conclude: from reads that fail or lie, and from the variant it once found. */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AgentLab, type AgentProcess, BACKENDS, skipUnlessRoot, until } from '../support/agent-lab.ts';

const ONLY_FRIEND = {
  podSelector: { matchLabels: { pod: 'server' } },
  ingress: [{ from: [{ podSelector: { matchLabels: { pod: 'friend' } } }] }],
};
const ONLY_STRANGER = {
  podSelector: { matchLabels: { pod: 'server' } },
  ingress: [{ from: [{ podSelector: { matchLabels: { pod: 'stranger' } } }] }],
};
const FRIEND = ['x/friend -> x/server', 'x/stranger -x x/server'] as const;
const STRANGER = ['x/friend -x x/server', 'x/stranger -> x/server'] as const;
const OPEN = ['x/friend -> x/server', 'x/stranger -> x/server'] as const;

interface Bench {
  readonly t: AgentLab;
  /** While it is there, what the wrapped program does instead. */
  readonly trouble: (script: string | undefined) => void;
  readonly path: string;
}

/** A lab with three pods and a policy; `program` does as told while there is trouble. */
async function bench(program: string): Promise<Bench> {
  const t = await AgentLab.create();
  const bin = join(t.lab.dir, 'bin');
  const flag = join(t.lab.dir, 'trouble');
  mkdirSync(bin);
  writeFileSync(join(bin, program), `#!/bin/sh\n[ -e ${flag} ] && . ${flag}\nexec /usr/sbin/${program} "$@"\n`);
  chmodSync(join(bin, program), 0o755);
  await t.pods({ 'x/server': {}, 'x/friend': {}, 'x/stranger': {} });
  t.policy('x/p', ONLY_FRIEND);
  const trouble = (script: string | undefined): void =>
    script === undefined ? rmSync(flag) : writeFileSync(flag, `${script}\n`);
  return { t, trouble, path: `${bin}:${process.env.PATH}` };
}

const rules = async (t: AgentLab, backend: string): Promise<string> =>
  (await t.on('node-1', ['sh', '-c', `${backend}-save -t mangle; ${backend.replace('ip', 'ip6')}-save -t mangle`]))
    .split('\n')
    .filter((line) => line.includes('PCL'))
    .join('\n');

/** Moves what the kubelet plants to the other variant. */
async function moveHints(t: AgentLab, to: 'nft' | 'legacy'): Promise<void> {
  const from = to === 'nft' ? 'legacy' : 'nft';
  await t.on('node-1', [
    'sh',
    '-c',
    `for family in iptables ip6tables; do
       for chain in KUBE-IPTABLES-HINT KUBE-KUBELET-CANARY; do $family-${from} -t mangle -X $chain; $family-${to} -t mangle -N $chain; done
     done 2>/dev/null; true`,
  ]);
}

describe('agent: facts', function () {
  this.timeout(60_000);
  before(skipUnlessRoot);

  it('fault: IPv6 rules that cannot be read at start are no sign of a host without IPv6', async () => {
    const { t, trouble, path } = await bench('ip6tables-nft-save');
    try {
      trouble('echo "ip6tables-save: Could not fetch rule set generation id: Cannot allocate memory" >&2; exit 4');
      const agent = t.launch('node-1', { env: { PATH: path } });
      await agent.logged(({ message }) => /IPv6 rules cannot be read/.test(message), 'said', 0, 15_000);
      await until(async () => (await t.wrongIn(4, FRIEND)).length === 0, 'IPv4 is enforced', 8000);
      const { status, missing } = await agent.readiness();
      assert.equal(status, 503);
      assert.match(missing.families!, /IPv6: not known whether its rules are in force: .*Cannot allocate memory/);
      trouble(undefined);
      await t.expect(FRIEND, 35_000);
      await agent.ready();
    } finally {
      await t.close();
    }
  });

  it('fault: a table that iptables calls incompatible is not an empty one', async () => {
    const { t, trouble, path } = await bench('iptables-nft-save');
    try {
      const agent = await t.start('node-1', { env: { PATH: path }, flags: ['--resync-interval=1'] });
      await t.expect(FRIEND);
      const before = await rules(t, 'iptables-nft');
      trouble(`echo "# Table \\\`mangle' is incompatible, use 'nft' tool."; exit 0`);
      const passes = await agent.metric('portcullis_passes_total');
      await until(async () => (await agent.metric('portcullis_passes_total')) > passes + 2, 'several resyncs', 15_000);
      assert.match((await agent.readiness()).missing.families!, /IPv4: .*nft list table ip mangle/);
      trouble(undefined);
      assert.equal(await rules(t, 'iptables-nft'), before, 'nothing was written');
      trouble(`echo "# Table \\\`mangle' is incompatible, use 'nft' tool."; exit 0`);
      t.policy('x/p', ONLY_STRANGER);
      await t.expect(STRANGER, 35_000);
      trouble(undefined);
      await agent.ready(35_000);
      assert.equal((await rules(t, 'iptables-nft')).match(/^-A FORWARD .*PCL/gm)?.length, 4, 'each jump once');
      assert.equal(await agent.metric('portcullis_drift_repaired_total'), 0);
    } finally {
      await t.close();
    }
  });

  for (const backend of BACKENDS) {
    const to = backend === 'iptables-nft' ? 'legacy' : 'nft';
    it(`fault: a host that moves from ${backend} takes the rules along, and leaves none behind`, async () => {
      const t = await AgentLab.create({ backend });
      try {
        await t.pods({ 'x/server': {}, 'x/friend': {}, 'x/stranger': {} });
        t.policy('x/p', ONLY_FRIEND);
        let agent: AgentProcess = await t.start('node-1', { flags: ['--backend=auto', '--resync-interval=1'] });
        await t.expect(FRIEND);
        const flow = await t.flow('x/friend', 'x/server');
        await moveHints(t, to);
        await agent.logged(
          ({ message }) => message.includes(`moved from ${backend} to iptables-${to}`),
          'the move',
          0,
          15_000,
        );
        await until(async () => (await rules(t, backend)) === '', 'nothing is left behind', 10_000);
        await t.expect(FRIEND);
        assert.ok((await flow.status()).longestSilenceMs < 1000);
        await flow.close();
        t.deletePolicy('x/p');
        await t.expect(OPEN);
        t.policy('x/p', ONLY_FRIEND);
        await t.expect(FRIEND);
        await agent.end('SIGTERM');
        // Moved by flag while no agent ran; dry-run takes out what either variant holds.
        t.annotateNode('node-1', { 'portcullis.dev/mode': 'dry-run' });
        agent = await t.start('node-1', { flags: [`--backend=${backend}`] });
        await until(async () => (await rules(t, `iptables-${to}`)) === '', 'dry-run takes all rules away', 10_000);
        await t.expect(OPEN);
        t.annotateNode('node-1', { 'portcullis.dev/mode': 'off' });
        await until(async () => (await t.ipset('list', '-name')).trim() === '', 'and all sets', 10_000);
        await t.expect(OPEN);
      } finally {
        await t.close();
      }
    });
  }
});
