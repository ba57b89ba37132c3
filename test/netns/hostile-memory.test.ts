/** An agent with the memory of the image, while users of one namespace write large policies and label waiting pods. */
import assert from 'node:assert/strict';
import { MemoryLimit } from '../../bench/memory-limit.ts';
import { IMAGE_ENV, IMAGE_FLAGS } from '../../bench/suites.ts';
import { AgentLab, type AgentProcess, skipUnlessRoot, until } from '../support/agent-lab.ts';
import { rulesOf, namespaceObject } from '../support/api-objects.ts';

const POLICIES = 40;
/** manifests/base/daemonset.yaml: 256Mi. */
const MEMORY_LIMIT = 256 * 1024 * 1024;
const SERVER = { podSelector: { matchLabels: { pod: 'server' } } };
const FROM_FRIENDS = { ...SERVER, ingress: [{ from: [{ podSelector: { matchLabels: { pod: 'friend' } } }] }] };

describe('large objects of one namespace', function () {
  this.timeout(90_000);
  let t: AgentLab;
  let limit: MemoryLimit | undefined;

  before(async function () {
    skipUnlessRoot.call(this);
    t = await AgentLab.create({ backend: 'iptables-nft', families: [4] });
    await t.pods({ 'x/server': {}, 'x/friend': {}, 'x/stranger': {} });
    t.policy('x/p', FROM_FRIENDS);
  });
  after(async () => {
    await t?.close();
    await limit?.remove();
  });

  it(`fault: ${POLICIES} MB of policies end no agent, neither as they come nor at its start, and others go on as usual`, async () => {
    const env = { ...IMAGE_ENV, NODE_OPTIONS: IMAGE_FLAGS.join(' ') };
    limit = MemoryLimit.create(MEMORY_LIMIT);
    const start = async (): Promise<AgentProcess> => {
      const launched = t.launch('node-1', { env });
      limit?.take(launched.pid);
      await launched.ready();
      return launched;
    };
    const agent = await start();
    t.lab.store.create('namespaces', namespaceObject('evil'));
    for (let n = 0; n < POLICIES; n++)
      t.policy(`evil/p${n}`, { podSelector: { matchLabels: { none: `${n}` } }, ingress: rulesOf(1_000_000, n) });
    await until(
      async () => (await agent.metric('portcullis_objects', { kind: 'networkpolicies' })) > POLICIES,
      'all policies',
    );
    assert.ok((await agent.metric('portcullis_policy_problems')) > 0);
    await t.expect(['x/friend -> x/server', 'x/stranger -x x/server']);
    t.policy('x/p', { ...SERVER, ingress: [] });
    await t.expect(['x/friend -x x/server']);
    await agent.end('SIGKILL');
    t.policy('x/p', FROM_FRIENDS);
    const again = await start();
    await t.expect(['x/friend -> x/server', 'x/stranger -x x/server']);
    assert.ok(again.running && (await again.metric('portcullis_policy_problems')) > 0);
  });
});
