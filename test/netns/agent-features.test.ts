/** A kernel that lacks what rules use: a wrapper around the restore programs refuses it, as the kernel would. */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runCommand } from '../../src/host/command.ts';
import { toolName } from '../../src/dataplane/iptables/kernel/linux-kernel.ts';
import { probeFeatures } from '../../src/dataplane/iptables/kernel/probe-features.ts';
import { AgentLab, BACKENDS, skipUnlessRoot } from '../support/agent-lab.ts';

const DENY = { podSelector: { matchLabels: { pod: 'server' } }, policyTypes: ['Ingress'] };

/** Refuses restore input with such text, in the words of iptables-nft. */
function refuser(directory: string, text: string): void {
  mkdirSync(directory);
  for (const program of ['iptables-nft-restore', 'ip6tables-nft-restore']) {
    const script = `#!/bin/sh
input=$(cat)
if printf '%s' "$input" | grep -qF -e "$REFUSED"; then
  echo 'Warning: Extension revision 0 not supported, missing kernel module?' >&2
  echo "line $(printf '%s' "$input" | grep -nF -e "$REFUSED" | head -1 | cut -d: -f1): RULE_APPEND failed (No such file or directory)" >&2
  exit 4
fi
printf '%s\\n' "$input" | exec /usr/sbin/${program} "$@"
`;
    writeFileSync(join(directory, program), script.replaceAll('$REFUSED', text));
    chmodSync(join(directory, program), 0o755);
  }
}

describe('fault: the kernel lacks a feature', function () {
  this.timeout(40_000);
  before(skipUnlessRoot);

  const cases = [
    { text: '-j NFLOG', says: /NFLOG \(IPv4, IPv6; module .*denied packets are counted, not logged/, isReady: true },
    { text: '-m conntrack', says: /conntrack \(IPv4, IPv6; module /, isReady: false },
  ];
  for (const { text, says, isReady } of cases) {
    it(`${text}: isolated pods stay isolated, and the log names the module`, async () => {
      const t = await AgentLab.create();
      try {
        await t.pods({ 'x/server': {}, 'x/a': {} });
        t.policy('x/deny', DENY);
        const bin = join(t.lab.dir, 'bin');
        refuser(bin, text);
        const agent = t.launch('node-1', { env: { PATH: `${bin}:${process.env.PATH}` } });
        const line = await agent.logged((entry) => says.test(entry.message), String(says), 0, 15_000);
        assert.equal(line.level, isReady ? 'warn' : 'error');
        assert.match(line.message, /modprobe/);
        await t.expect(['x/a -x x/server']);
        if (isReady) {
          await agent.ready();
          assert.match((await agent.get('/readyz')).body, says);
          await t.expect(['x/server -> x/a']);
        } else assert.match((await agent.readiness()).missing['kernel-features']!, says);
      } finally {
        await t.close();
      }
    });
  }

  for (const backend of BACKENDS) {
    it(`probing takes nothing for missing that is there, and leaves nothing (${backend})`, async () => {
      const t = await AgentLab.create({ backend });
      try {
        const before = await t.restingText();
        const run: typeof runCommand = (request) => {
          const { argv, env } = t.lab.network.nodeCommand('node-1', [...request.argv]);
          return runCommand({ ...request, argv: argv as [string, ...string[]], env: { ...env } });
        };
        for (const family of [4, 6] as const) {
          const restore = toolName(backend, family, 'restore');
          const missing = await probeFeatures({ run, restore, family, lockWaitSeconds: 5 });
          assert.deepEqual([...missing], []);
        }
        assert.equal(await t.kernelText(), before);
        assert.deepEqual(await t.leftovers(), []);
      } finally {
        await t.close();
      }
    });
  }
});
