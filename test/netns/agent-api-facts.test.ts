/** Answers of the API server that are no facts: the rules that stand stay. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { AgentLab, skipUnlessRoot, until } from '../support/agent-lab.ts';

const ONLY_A = {
  podSelector: { matchLabels: { pod: 'server' } },
  ingress: [{ from: [{ podSelector: { matchLabels: { pod: 'a' } } }] }],
};
const REACH = ['x/a -> x/server', 'x/b -x x/server'] as const;

describe('fault: the API server and what is no fact', function () {
  this.timeout(30_000);
  let t: AgentLab;
  before(async function () {
    skipUnlessRoot.call(this);
    t = await AgentLab.create();
    await t.pods({ 'x/server': {}, 'x/a': {}, 'x/b': {} });
    t.policy('x/p', ONLY_A);
    await t.start();
    await t.expect(REACH);
  });
  after(() => t?.close());

  it('the Node object is gone, its pods are collected: their rules stay, policies are followed, /readyz says so', async () => {
    const agent = t.agents.get('node-1')!;
    const node = t.lab.store.get('nodes', { name: 'node-1' })!;
    t.lab.store.delete('nodes', { name: 'node-1' });
    await until(async () => (await agent.readiness()).status === 503, 'not ready');
    assert.match((await agent.readiness()).missing['node-known']!, /Node object node-1 is not there/);
    const before = await t.restingText();
    // As by the garbage collector: no kubelet took part, the containers run on.
    t.lab.store.storage.remove('pods', { namespace: 'x', name: 'b' });
    t.lab.store.storage.remove('pods', { namespace: 'x', name: 'server' });
    await until(async () => (await agent.metric('portcullis_objects', { kind: 'pods' })) === 1, 'the deletions');
    await sleep(500);
    assert.equal(await t.kernelText(), before);
    t.policy('x/p', { podSelector: { matchLabels: { pod: 'server' } }, policyTypes: ['Ingress'] });
    await until(async () => (await t.kernelText()) !== before, 'the policy to be followed');

    t.lab.store.create('nodes', { metadata: { name: node.metadata.name }, status: node.status } as never);
    await agent.ready();
    await until(async () => !(await t.kernelText()).includes('PCL-I-'), 'rules of pods that are gone to go');
  });

  it('a node name that the cluster lacks: nothing is written, /readyz names it and the flag', async () => {
    await t.agents.get('node-1')!.end('SIGTERM');
    t.policy('x/p', { podSelector: {}, policyTypes: ['Ingress'] });
    const agent = await t.start();
    await until(async () => (await t.kernelText()).includes('PCL-I-'), 'rules');
    await agent.end('SIGTERM');
    const before = await t.kernelText();
    const lost = t.launch('node-1', { flags: ['--node-name=node-7'] });
    await lost.logged((line) => /no Node node-7 and no pod bound to it/.test(line.message), 'complaint', 0, 10_000);
    const { status, missing } = await lost.readiness();
    assert.equal(status, 503);
    assert.match(missing['node-known']!, /check --node-name \(NODE_NAME\)/);
    assert.match(missing['first-commit']!, /not written/);
    await sleep(500);
    assert.equal(await t.kernelText(), before);
    t.lab.store.create('nodes', { metadata: { name: 'node-7' } } as never);
    await lost.ready();
  });
});
