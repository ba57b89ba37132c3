/** Live connections of a cluster, as agents tell them: which of them a change would cut, and that it does. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AgentLab, skipUnlessRoot, until } from '../support/agent-lab.ts';
import { policyObject } from '../support/builders.ts';
import { runCommand } from '../support/command-line.ts';

const NODES = ['node-1', 'node-2'];
const LABELS = { 'app.kubernetes.io/name': 'portcullis' };

describe('portcullis diff --agents', function () {
  this.timeout(60_000);
  let t: AgentLab;
  let file: (name: string, text: string) => string;

  before(async function () {
    skipUnlessRoot.call(this);
    t = await AgentLab.create({ nodes: NODES });
    file = (name, text) => {
      writeFileSync(join(t.lab.dir, name), text);
      return join(t.lab.dir, name);
    };
    for (const node of NODES)
      t.createPod(`kube-system/portcullis-${node}`, { node, labels: LABELS, hostNetwork: true });
    for (const [name, node] of [
      ['a', 'node-1'],
      ['b', 'node-2'],
      ['c', 'node-1'],
    ] as const)
      t.createPod(`x/${name}`, { node, labels: { app: name } });
    await t.lab.settle();
    const token = file('token', 'secret');
    await Promise.all(NODES.map((node) => t.start(node, { flags: [`--http-token-file=${token}`] })));
  });

  after(() => t?.close());

  it('counts the connections that a policy would cut, over nodes and within one, each once; then they are cut', async () => {
    const flows = await Promise.all([t.flow('x/b', 'x/a'), t.flow('x/c', 'x/a'), t.flow('x/a', 'x/b')]);
    const deny = policyObject('x/deny', { podSelector: { matchLabels: { app: 'a' } } });
    const coming = file('deny.json', JSON.stringify(deny));
    const diff = (...more: readonly string[]) =>
      runCommand(['diff', `--kubeconfig=${t.lab.kubeconfig}`, '-f', coming, '--agents', '--group=pod', ...more]);
    const token = `--token-file=${join(t.lab.dir, 'token')}`;
    const { code, out, err } = await diff(token, '--fail-on=cut');
    assert.equal(err, '');
    assert.equal(code, 1, out);
    assert.match(out, /live connections that would be cut: 2 of 3\n/);
    for (const from of ['b', 'c']) assert.match(out, new RegExp(`\\n {2}x/${from} -> x/a: .*, 1\\n`));
    const without = await diff();
    assert.match(without.err, /! node node-1: its live connections are not counted: its agent asks for the token/);
    t.policy('x/deny', { podSelector: { matchLabels: { app: 'a' } }, ingress: [] });
    await until(async () => {
      const before = await Promise.all(flows.map((flow) => flow.status()));
      await new Promise((resolve) => setTimeout(resolve, 300));
      const after = await Promise.all(flows.map((flow) => flow.status()));
      const goesOn = after.map(({ received }, index) => received > before[index]!.received);
      return JSON.stringify(goesOn) === JSON.stringify([false, false, true]);
    }, 'the two are cut, and the third goes on');
    await Promise.all(flows.map((flow) => flow.close()));
  });
});
