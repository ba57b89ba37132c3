/** A node that boots: the agent is up before the API server's service address works. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { AgentLab, skipUnlessRoot } from '../support/agent-lab.ts';

/** As without kube-proxy: what began before the rules are there leads nowhere for ever, because conntrack remembers it so. */
const MARK = [
  '-p',
  'tcp',
  '--dport',
  '6443',
  '-m',
  'conntrack',
  '--ctstate',
  'NEW',
  '-j',
  'CONNMARK',
  '--set-xmark',
  '1/1',
];
const DROP = ['-p', 'tcp', '--dport', '6443', '-m', 'connmark', '--mark', '1/1', '-j', 'DROP'];

describe('fault: booting before kube-proxy', function () {
  this.timeout(40_000);
  let t: AgentLab;
  before(async function () {
    skipUnlessRoot.call(this);
    t = await AgentLab.create({ families: [4] });
    await t.pods({ 'x/server': {}, 'x/a': {} });
    t.policy('x/p', { podSelector: { matchLabels: { pod: 'server' } }, policyTypes: ['Ingress'] });
  });
  after(() => t?.close());
  beforeEach(async () => {
    await t.iptables(4, '-t', 'mangle', '-A', 'OUTPUT', ...MARK);
    await t.iptables(4, '-t', 'mangle', '-A', 'INPUT', ...DROP);
  });
  afterEach(async () => {
    await t.agents.get('node-1')?.end('SIGKILL');
    await t.iptables(4, '-t', 'mangle', '-F');
  });

  it('the service address works after 6 s: enforced soon after, by a connection that began after that', async () => {
    t.launch('node-1', { flags: ['--api-server-endpoints-file=off'] });
    await sleep(6_000);
    await t.expect(['x/a -> x/server'], 1_000);
    await t.iptables(4, '-t', 'mangle', '-D', 'OUTPUT', ...MARK);
    await t.expect(['x/a -x x/server'], 10_000);
  });

  it('the service address works never: the addresses of the last run do', async () => {
    const file = join(t.lab.dir, 'endpoints.json');
    writeFileSync(file, '{"endpoints": ["127.0.0.1:7443"]}');
    await t.iptables(
      4,
      '-t',
      'nat',
      '-A',
      'OUTPUT',
      '-p',
      'tcp',
      '--dport',
      '7443',
      '-j',
      'REDIRECT',
      '--to-ports',
      '6443',
    );
    const agent = t.launch('node-1', { flags: [`--api-server-endpoints-file=${file}`] });
    await agent.ready(15_000);
    await t.expect(['x/a -x x/server']);
  });
});
