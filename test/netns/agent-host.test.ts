/** What else is on the host: other engines that enforce, kube-proxy's mode, ways past our rules. */
import assert from 'node:assert/strict';
import { AgentLab, BACKENDS, skipUnlessRoot, until } from '../support/agent-lab.ts';

/** It looks again every two seconds while it is not ready for that. */
const SEEN_MS = 15_000;

describe('fault: what else is on the host is found and told', function () {
  this.timeout(60_000);
  before(skipUnlessRoot);

  for (const backend of BACKENDS) {
    it(backend, async () => {
      const t = await AgentLab.create({ backend, families: [4] });
      try {
        const others = backend === 'iptables-nft' ? 'iptables-nft' : 'iptables-legacy';
        // This kernel has no dummy interfaces; what counts is the name.
        await t.on('node-1', ['ip', 'link', 'add', 'kube-ipvs0', 'type', 'bridge']);
        await t.on('node-1', [others, '-N', 'KUBE-ROUTER-FORWARD']);
        await t.on('node-1', [others, '-I', 'FORWARD', '-j', 'KUBE-ROUTER-FORWARD']);
        await t.on('node-1', [others, '-t', 'raw', '-A', 'PREROUTING', '-p', 'udp', '--dport', '9', '-j', 'NOTRACK']);
        await t.on('node-1', ['nft', 'add', 'table', 'inet', 'kube-network-policies']);
        await t.pods({ 'x/a': {} });
        const agent = t.launch();
        const missing = async (): Promise<readonly string[]> => {
          return Object.keys((await agent.readiness().catch(() => ({ missing: { http: '' } }))).missing);
        };
        await until(
          async () => (await missing()).join() === 'kube-proxy-mode',
          () => agent.tail(),
          SEEN_MS,
        );
        await agent.logged(
          ({ message, level }) => level === 'error' && /IPVS mode \(interface kube-ipvs0\)/.test(message),
          'IPVS',
        );
        await agent.logged(
          ({ message, level }) =>
            level === 'warn' &&
            message.includes(`kube-router (chain KUBE-ROUTER-FORWARD in table filter (${others}))`) &&
            message.includes('kube-network-policies (nft table inet kube-network-policies)'),
          'other engines',
        );
        await agent.logged(({ message }) => /-p udp -m udp --dport 9 -j NOTRACK/.test(message), 'untracked');
        assert.equal(await agent.metric('portcullis_other_enforcers', { name: 'kube-router' }), 1);
        assert.equal(await agent.metric('portcullis_other_enforcers'), 2);
        await t.on('node-1', ['ip', 'link', 'del', 'kube-ipvs0']);
        await agent.ready(SEEN_MS);
        assert.match((await agent.get('/readyz')).body, /both must allow/);
      } finally {
        await t.close();
      }
    });
  }
});
